"""Folders of weights: what is written comes back, what is damaged is refused, what is shipped works."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medcore.errors import ConfigError, InputError
from puq_qmri.calibration import Calibration, Provenance
from puq_qmri.imaging import PipelineSettings, estimate
from puq_qmri.networks import NetworkSettings, UnrolledNetwork
from puq_qmri.networks.variance import VarianceHead, VarianceSettings
from puq_qmri.networks.weights import RECORD, TENSORS, load_weights, save_weights, shipped
from puq_qmri.preparation import prepare
from puq_qmri.reconstruction import ReconstructionSettings
from puq_qmri.simulation import SimulationSettings, simulate

CALIBRATION = Calibration(scale=1.5, quantiles={0.68: 1.0, 0.95: 2.0}, provenance=Provenance(n_scans=2, n_values=100))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = UnrolledNetwork(NetworkSettings(unrolls=1, widths=(4, 4)))
    head = VarianceHead(VarianceSettings(channels=4, dilations=(1, 2)))
    save_weights(tmp_path / "w", network=network, head=head, recipe={"steps": 3}, calibration=CALIBRATION, card="# Card")
    return tmp_path / "w"


def test_what_is_written_comes_back(folder: Path) -> None:
    torch.manual_seed(0)
    network = UnrolledNetwork(NetworkSettings(unrolls=1, widths=(4, 4)))
    found = load_weights(folder)
    assert found.network is not None
    assert found.head is not None
    assert found.network.settings == network.settings
    for name, tensor in network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], tensor), name
    assert (found.calibration, found.recipe) == (CALIBRATION, {"steps": 3})
    assert not found.network.training


def test_random_numbers_outside_go_on(folder: Path) -> None:
    before = torch.get_rng_state()
    load_weights(folder)
    assert torch.equal(before, torch.get_rng_state())


def test_half_precision_is_near_and_half_the_size(tmp_path: Path) -> None:
    network = UnrolledNetwork(NetworkSettings(unrolls=1))
    for name, half in (("whole", False), ("half", True)):
        save_weights(tmp_path / name, network=network, half=half)
    sizes = [(tmp_path / name / TENSORS).stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.55 * sizes[1]
    found = load_weights(tmp_path / "half").network
    assert found is not None
    for name, tensor in network.state_dict().items():
        assert found.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)


def change(folder: Path, **values: object) -> None:
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, **values}))


def spoil(folder: Path, what: str) -> None:
    """Damage a folder in one of the ways below."""
    if what == "other bytes":
        content = bytearray((folder / TENSORS).read_bytes())
        content[-1] ^= 1
        (folder / TENSORS).write_bytes(bytes(content))
    elif what == "no tensors":
        (folder / TENSORS).unlink()
    elif what == "no record":
        (folder / RECORD).unlink()
    elif what == "later format":
        change(folder, format=2)
    elif what == "other network":
        settings = json.loads((folder / RECORD).read_text())["network"]
        change(folder, network={**settings, "widths": [4, 8]})
    elif what == "unknown setting":
        settings = json.loads((folder / RECORD).read_text())["network"]
        change(folder, network={**settings, "depth": 3})
    elif what == "no json":
        (folder / RECORD).write_text("{")


@pytest.mark.parametrize(
    ("what", "match"),
    [
        ("other bytes", "does not have the hash"),
        ("no tensors", r"weights\.safetensors"),
        ("no record", r"weights\.json"),
        ("later format", "is of format 2"),
        ("other network", "does not fit the settings"),
        ("unknown setting", "depth"),
        ("no json", "not valid JSON"),
    ],
)
def test_damaged_folders_are_refused(folder: Path, what: str, match: str) -> None:
    spoil(folder, what)
    with pytest.raises((InputError, ConfigError), match=match):
        load_weights(folder)


def test_weights_of_nothing_or_with_nan_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="would hold no weights"):
        save_weights(tmp_path / "none")
    network = UnrolledNetwork(NetworkSettings(unrolls=1, widths=(4,)))
    network.log_weight.data[0] = torch.nan
    save_weights(tmp_path / "nan", network=network)
    with pytest.raises(InputError, match=r"NaN or infinity in network\.log_weight"):
        load_weights(tmp_path / "nan")
    with pytest.raises(ConfigError, match="unroled"):
        load_weights("unroled")


def test_shipped_weights_are_small_described_and_calibrated() -> None:
    folders = shipped()
    assert "unrolled" in folders
    assert sum(f.stat().st_size for p in folders.values() for f in p.iterdir()) < 5_000_000
    for name, path in folders.items():
        found = load_weights(name)
        assert found.head is not None
        assert found.calibration is not None
        assert "never saw" in (path / "MODEL_CARD.md").read_text()


def test_shipped_network_is_nearer_to_the_truth_than_sense_on_an_anatomy_and_coils_it_never_saw() -> None:
    """And its variances are those of its errors within a factor of two, and larger where errors are larger."""
    settings = SimulationSettings(
        anatomy="knee", coils="loops", field_strength=1.5, size=64, acceleration=5.0, snr=40.0, seed=1_000_003
    )
    kspace, truth = simulate(settings)
    white = prepare(kspace)
    images = torch.from_numpy(truth.images)
    inside = torch.from_numpy(np.isfinite(truth.maps["m0"]))
    errors = {}
    for method, uncertainty in (("cg-sense", "none"), ("unrolled", "learned")):
        chosen = PipelineSettings(reconstruction=ReconstructionSettings(method=method), uncertainty=uncertainty)  # type: ignore[arg-type]
        found = estimate(white, chosen, model="t2")
        errors[method] = (found.images.abs() - images.abs())[:, inside]
    assert errors["unrolled"].norm() < 0.6 * errors["cg-sense"].norm()
    assert found.prediction is not None
    deviation = found.prediction.std[:, inside]
    assert 0.5 < float((errors["unrolled"] / deviation).square().mean().sqrt()) < 2.0
    large = deviation > deviation.median()
    assert errors["unrolled"][large].square().mean() > 2 * errors["unrolled"][~large].square().mean()
