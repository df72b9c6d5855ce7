"""The page "Which number is this?" says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from medcore.datasets.phantoms import relaxation_phantom
from medcore.errors import ConfigError
from medcore.metrics import registered, ssim, ssim_gauss, ssim_w11
from medcore.metrics.catalogue import FIELDS, KIND_TITLES, entries, markdown

PAGE = Path(__file__).parents[4] / "docs" / "medcore" / "metrics.md"


@pytest.fixture(scope="module")
def page():
    if not PAGE.exists():
        pytest.skip("the tests run without the documentation's sources")
    return PAGE.read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_metrics(page):
    inside = page.partition("<!-- metrics: begin -->\n")[2].partition("<!-- metrics: end -->\n")[0]
    assert inside.strip() == markdown().strip(), "run: python tools/metrics_table.py"


def test_every_metric_is_listed_once_with_all_fields():
    text = markdown()
    for name, entry in registered().items():
        assert text.count(f"| `{entry.identity}` |") == 1, name
    assert all(set(FIELDS) < set(row) and all(row.values()) for row in entries())
    assert {row["kind"] for row in entries()} == set(KIND_TITLES)
    assert [row["id"] for row in entries(["ccc", "ssim"])] == ["ccc", "ssim"]
    with pytest.raises(ConfigError, match="did you mean 'dice'"):
        entries(["dicee"])


def test_definitions_of_ssim_give_the_numbers_of_the_page(page):
    phantom = relaxation_phantom("brain", shape=(1, 96, 96), field_strength=3.0, seed=1)
    ref = np.asarray(phantom.mix((phantom.m0 * np.exp(-0.05 / phantom.t2))[:, None])).squeeze()
    noise = np.random.default_rng(0)
    shift = noise.standard_normal(ref.shape) + 1j * noise.standard_normal(ref.shape)
    est = np.abs(ref + 0.05 * ref.max() * shift)
    pair = [torch.from_numpy(a)[None, None].double() for a in (est, ref)]
    span = max(ref.max(), est.max()) - min(ref.min(), est.min())
    measured = [
        ssim(ref, est).value,
        ssim_w11(ref, est).value,
        ssim_gauss(ref, est).value,
        float(structural_similarity_index_measure(*pair, data_range=float(ref.max()))),
        float(structural_similarity_index_measure(*pair)),
        ssim_gauss(ref, est, data_range=1.0).value,
        structural_similarity(ref, est, data_range=span),
        ssim(ref, est, mask=ref > 0.05 * ref.max()).value,
    ]
    section = page.partition("## SSIM")[2].partition("## ")[0]
    assert [float(v) for v in re.findall(r"\| (0\.\d{3}) \|", section)] == pytest.approx(measured, abs=6e-4)
    assert structural_similarity(ref, est, data_range=ref.max()) == pytest.approx(measured[0], rel=1e-9)
    assert max(measured) - min(measured) > 0.4
