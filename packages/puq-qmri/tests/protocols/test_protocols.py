from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from medcore.errors import ConfigError, InputError
from puq_qmri.fitting import fit
from puq_qmri.fitting.mlp import MlpSettings, PixelMlp
from puq_qmri.fitting.mlp_files import save_mlp
from puq_qmri.protocols import line_masks, measure, read_case, score
from puq_qmri.simulation import birdcage

TE = np.array([0, 25, 35, 45, 65, 85, 105, 125]) * 1e-3
SIZE = 64


def fields(**changes):
    """Two tissues and a fluid, real images of one exponential."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    inside = np.hypot(y, x) < 24
    t2 = np.where(np.hypot(y, x) < 14, 0.07, 0.1)
    t2 = np.where(np.hypot(y + 4, x) < 5, 1.5, t2) * inside
    pd = inside * (1 + 0.1 * np.sin(x / 5))
    with np.errstate(divide="ignore"):
        image = (pd * np.exp(-TE[:, None, None] / np.where(t2 > 0, t2, 1))).astype(np.complex64)
    case = {"image": image, "sens": birdcage(4, SIZE)[:, 0], "t2": t2, "pd": pd, "roi": inside, "seed": np.int64(5), "te_s": TE}
    return {**case, **changes}


@pytest.fixture
def case_file(tmp_path):
    def write(**changes):
        path = tmp_path / "case.npz"
        np.savez(path, **{k: v for k, v in fields(**changes).items() if v is not None})
        return path

    return write


def test_reads_what_was_written(case_file):
    case, expected = read_case(case_file(t2=fields()["t2"][None].astype(np.float32), seed=np.array([7.0]))), fields()
    np.testing.assert_array_equal(case.image, expected["image"])
    np.testing.assert_allclose(case.t2, expected["t2"], rtol=1e-6)
    assert case.seed == 7
    assert case.roi.dtype == bool
    np.testing.assert_array_equal(case.te, TE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roi": None, "te_s": None}, r"lacks roi, te_s \(it holds image, sens, t2, pd, seed\)"),
        ({"image": np.ones((8, SIZE), np.complex64)}, r"image of shape \(8, 64\)"),
        ({"sens": np.ones((4, 32, 32), np.complex64)}, r"sens of shape \(4, 32, 32\) beside image of shape \(8, 64, 64\)"),
        ({"t2": np.ones((32, 32))}, r"t2 of shape \(32, 32\)"),
        ({"te_s": TE[:4]}, r"te_s of shape \(4,\) for 8 contrasts"),
        ({"te_s": TE * 1e3}, "looks like milliseconds"),
        ({"te_s": np.full(8, 0.01)}, "at least two different echo times"),
        ({"t2": 70 * fields()["roi"]}, "t2 of up to 70 in roi, which looks like milliseconds"),
        ({"t2": np.zeros((SIZE, SIZE))}, "no t2 above zero in roi"),
        ({"pd": np.full((SIZE, SIZE), np.nan)}, "pd with values that are not finite"),
        ({"image": np.full((8, SIZE, SIZE), np.inf)}, "image with values that are not finite"),
        ({"image": np.zeros((8, SIZE, SIZE))}, "image of zeros alone"),
        ({"t2": np.ones((SIZE, SIZE), complex)}, "t2 of type complex128"),
        ({"roi": np.zeros((SIZE, SIZE), bool)}, "empty roi"),
        ({"roi": np.full((SIZE, SIZE), 0.5)}, "roi with values from 0.5 to 0.5"),
        ({"seed": np.array([1, 2])}, r"seed of shape \(2,\)"),
        ({"seed": np.array(-1)}, "seed -1"),
        ({"seed": np.array(np.nan)}, "seed nan"),
        ({"seed": np.array(1.5)}, "seed 1.5"),
    ],
)
def test_bad_cases_are_refused_with_one_sentence(case_file, changes, message):
    with pytest.raises(InputError, match=message):
        read_case(case_file(**changes))


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "case.npz"
    np.savez(path, **{**fields(), "image": np.array([{"a": 1}], dtype=object)}, allow_pickle=True)
    with pytest.raises(InputError, match="values of type object"):
        read_case(path)


def test_a_case_may_not_ask_for_more_memory_than_the_limit(case_file, monkeypatch):
    path = case_file()
    monkeypatch.setattr("puq_qmri.protocols.case.MAX_SAMPLES", 1000)
    with pytest.raises(InputError, match="makes 131072 samples of k-space; the limit is 1000"):
        read_case(path)


def test_lines_are_those_of_the_published_program():
    """Six-fold, 160 columns: 13 central and 13 others, drawn with a seed for each contrast out of contrasts times coils."""
    masks = line_masks(8, 8, 160, 6.0, seed=3)
    assert masks.sum(axis=1).tolist() == [26] * 8
    assert masks[:, 74:87].all()
    assert len({mask.tobytes() for mask in masks}) == 8
    own = np.random.default_rng(3).choice(0xFFFFFF, 64)[2]
    others = np.concatenate([np.arange(74), np.arange(87, 160)])
    chosen = np.random.default_rng(own).choice(others, size=13, replace=False)
    assert set(np.flatnonzero(masks[2])) == {*range(74, 87), *chosen.tolist()}
    np.testing.assert_array_equal(masks, line_masks(8, 8, 160, 6.0, seed=3))
    assert (masks != line_masks(8, 8, 160, 6.0, seed=4)).any()


@pytest.mark.parametrize("acceleration", [0.5, 100.0, float("nan")])
def test_an_acceleration_that_does_not_suit_the_matrix(acceleration):
    with pytest.raises(ConfigError, match="--acceleration: is"):
        line_masks(8, 8, 160, acceleration, seed=0)


def test_the_measurement_is_the_case_seen_through_its_coils(case_file):
    case = read_case(case_file())
    kspace = measure(case, acceleration=1.0)
    assert kspace.mask.all()
    coil_images = np.fft.ifftshift(kspace.data[:, :, 0], (-2, -1))
    coil_images = np.fft.fftshift(np.fft.ifft2(coil_images, norm="ortho"), (-2, -1))
    np.testing.assert_allclose(coil_images, case.image[:, None] * case.sens, atol=1e-5)
    thinned = measure(case, acceleration=4.0)
    assert not np.any(thinned.data[~np.broadcast_to(thinned.mask[:, None], thinned.data.shape)])
    np.testing.assert_array_equal(thinned.mask, np.broadcast_to(thinned.mask[:, :, :1], thinned.mask.shape))
    assert (measure(case, acceleration=4.0, seed=9).mask != thinned.mask).any()


def test_a_contrast_of_zeros_is_refused(case_file):
    image = fields()["image"].copy()
    image[3] = 0
    with pytest.raises(InputError, match="has a contrast that is zero everywhere"):
        measure(read_case(case_file(image=image)))


def test_scores_are_the_published_numbers():
    """Against scikit-image and the formula, with voxels at either bound of the model and one without signal."""
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    case = fields()
    signals = np.abs(case["image"]) * (1 + 0.05 * rng.standard_normal(case["image"].shape))
    signals[:, 30, 30], signals[:, 40, 40], signals[:, 36, 36] = 1.0, np.eye(8)[0], 0.0
    result = fit(signals[:, None].astype(np.float32), TE, "t2", mask=case["roi"][None])
    found = score(case["t2"], case["roi"], result, signals)
    estimate = np.nan_to_num(result.maps["t2"][0].astype(float))
    estimate[30, 30], estimate[40, 40], estimate[36, 36] = 5.0, 0.001, 0.0
    late = (result.status[0] == 4) & case["roi"] & (signals[-1] > signals[0] / 2)
    estimate[late] = 5.0
    truth, clipped = case["t2"] * case["roi"], np.clip(estimate, 0, 2) * case["roi"]
    assert found.nrmse == pytest.approx(np.sqrt(np.mean((clipped - truth) ** 2) / np.mean(truth**2)), rel=1e-4)
    expected = structural_similarity(truth, clipped, win_size=11, data_range=truth.max())
    assert found.ssim == pytest.approx(expected, abs=1e-6)
    assert found.at_bound >= 2
    assert found.missing == 1
    assert found.voxels == case["roi"].sum()
    tissue = (truth > 0) & (truth <= 0.3)
    error = np.sqrt(np.mean((clipped - truth)[tissue] ** 2) / np.mean(truth[tissue] ** 2))
    assert found.tissue_nrmse == pytest.approx(error, rel=1e-4)
    assert set(found.bias_s) == {"up to 60 ms", "60 to 100 ms", "100 to 300 ms", "above 300 ms"}
    assert found.bias_s["up to 60 ms"] is None


def test_the_command_gives_every_method_beside_the_published_numbers(puq, case_file, tmp_path):
    first = case_file()
    second = shutil.copy(first, tmp_path / "other.npz")
    before = torch.get_rng_state()
    done = puq(
        "benchmark", "puq-paper", first, second, "--method", "subspace", "--method", "adjoint", "--acceleration", 4, "--json"
    )
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [(r["case"], r["method"]) for r in found["results"]] == [
        (str(c), m) for c in (first, second) for m in ("subspace", "adjoint")
    ]
    assert found["protocol"] == "puq-paper"
    assert found["seeds"] == [5, 5]
    subspace, adjoint = found["results"][:2]
    assert subspace["nrmse"] < 0.6 * adjoint["nrmse"]
    assert subspace["ssim"] > adjoint["ssim"]
    assert {"method": "PUQ", "nrmse": 0.30266, "ssim": 0.9752} in found["published"]
    same = {k: v for k, v in found["results"][2].items() if k not in {"case", "seconds", "fit_seconds"}}
    assert same == {k: v for k, v in subspace.items() if k in same}
    assert torch.equal(before, torch.get_rng_state())
    other = json.loads(puq("benchmark", "puq-paper", first, "--method", "adjoint", "--seed", 1, "--json").out)
    assert other["seeds"] == [1]
    assert other["results"][0]["nrmse"] != adjoint["nrmse"]


def test_the_command_prints_tables(puq, case_file):
    done = puq("benchmark", "puq-paper", case_file(), "--method", "adjoint", "--acceleration", 4)
    assert done.code == 0
    assert "PUQ without guidance" in done.out
    assert "0.30266" in done.out
    assert "adjoint" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "subspaze"), "--method 'subspaze': is not one of"),
        (("--acceleration", "60"), "--acceleration: is 60"),
    ],
)
def test_bad_options(puq, case_file, arguments, message):
    done = puq("benchmark", "puq-paper", case_file(), *arguments)
    assert done.code != 0
    assert message in done.err


def test_the_last_step_of_the_published_method_is_scored_beside_the_fit(puq, case_file, tmp_path):
    for name, guided in (("guided", True), ("unguided", False)):
        save_mlp(tmp_path / name, PixelMlp(MlpSettings(guided=guided)))
    common = ("benchmark", "puq-paper", case_file(), "--method", "adjoint", "--acceleration", 4)
    beside = json.loads(puq(*common, "--mlp", tmp_path / "unguided", "--json").out)["results"][0]
    assert beside["nrmse"] != beside["mlp"]["nrmse"]
    assert beside["mlp"]["voxels"] == beside["voxels"]
    # This method has no deviations that the guided network could read.
    guided = puq(*common, "--mlp", tmp_path / "guided", "--json")
    assert json.loads(guided.out)["results"][0]["mlp"] is None
    other = puq("benchmark", "puq-paper", case_file(te_s=TE + 0.01), "--method", "adjoint", "--mlp", tmp_path / "unguided")
    assert "--mlp: was trained for te" in other.err
