"""The command line with models that need more than times: angles, b-values, settings, maps of B1."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from medcore.io import ImageSeries, read_nifti, write_nifti
from puq_qmri.pipeline import fit_images
from puq_qmri.signal_models import get_model
from puq_qmri.voxel_fits import fit_panel

AFFINE = np.diag([1e-3, 1e-3, 3e-3, 1.0])
DEGREES = (2.0, 5.0, 12.0, 20.0)
T1 = np.linspace(0.4, 2.0, 12).reshape(1, 3, 4)


def images(name: str, constants: np.ndarray, times: tuple[float, ...], **settings: object) -> np.ndarray:
    model = get_model(name, **settings)
    parameters = torch.tensor(np.stack([np.full(constants.size, 800.0), constants.ravel()], -1))
    signal = model.signal(parameters, torch.tensor(times, dtype=torch.float64)).numpy()
    return signal.T.reshape(len(times), *constants.shape).astype(np.float32)


@pytest.fixture
def vfa(tmp_path: Path) -> Path:
    write_nifti(tmp_path / "vfa.nii.gz", images("vfa", T1, tuple(np.radians(DEGREES)), tr=0.015), AFFINE)
    return tmp_path / "vfa.nii.gz"


def t1_of(folder: Path) -> np.ndarray:
    return read_nifti(folder / "T1map.nii.gz").data[0]


def test_angles_and_repetition_time_from_options(puq, vfa: Path, tmp_path: Path) -> None:
    done = puq("fit", vfa, "-o", tmp_path / "maps", "--flip-angle", "2,5,12,20", "--tr", 0.015, "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["model"] == "vfa"
    assert facts["model_settings"] == {"tr": 0.015}
    np.testing.assert_allclose(t1_of(tmp_path / "maps"), T1, rtol=1e-4)
    sidecar = json.loads((tmp_path / "maps" / "T1map.json").read_text())
    assert sidecar["FlipAngle"] == pytest.approx(DEGREES)
    assert sidecar["SignalModelSettings"] == {"tr": 0.015}


def test_angles_and_repetition_time_from_the_sidecar(puq, vfa: Path, tmp_path: Path) -> None:
    vfa.with_name("vfa.json").write_text(json.dumps({"FlipAngle": list(DEGREES), "RepetitionTimeExcitation": 0.015}))
    assert puq("fit", vfa, "-o", tmp_path / "maps").code == 0
    np.testing.assert_allclose(t1_of(tmp_path / "maps"), T1, rtol=1e-4)


def test_what_is_missing_is_named_with_option_and_field(puq, vfa: Path, tmp_path: Path) -> None:
    done = puq("fit", vfa, "-o", tmp_path / "maps", "--flip-angle", "2,5,12,20")
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        "error: signal model 'vfa': needs tr (repetition time in s); give --tr, or RepetitionTimeExcitation in the sidecar"
    )
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--flip-angle", "2,5"), "has 2 flip angles for 4 contrasts"),
        (("--flip-angle", "2,5,12,many"), "--flip-angle: is '2,5,12,many', which are not numbers; give degrees"),
        (("--flip-angle", "2,5,12,20", "--tr", "15"), "has no voxel"),
        (("--flip-angle", "2,5,12,20", "--tr", "1500"), "looks like milliseconds"),
        (("--flip-angle", "2,5,12,20", "--tr", "0.015", "--setting", "t1=1"), "has no setting 't1'; its settings: tr"),
        (("--flip-angle", "2,5,12,20", "--tr", "0.015", "--setting", "t1"), "--setting: is 't1'; give NAME=VALUE"),
        (("--te", "0.01,0.02,0.03,0.04", "--tr", "0.015", "--model", "vfa"), "states no flip_angle"),
    ],
)
def test_options_that_do_not_fit_are_one_error(puq, vfa: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = puq("fit", vfa, "-o", tmp_path / "maps", *options)
    assert done.code in {2, 5}
    assert message in done.err
    assert not (tmp_path / "maps").exists()


def test_b_values_beside_the_image_and_from_the_option(puq, tmp_path: Path) -> None:
    adc = 1e-9 * np.linspace(0.5, 2.5, 12).reshape(1, 3, 4)
    write_nifti(tmp_path / "dwi.nii", images("adc", adc, (0.0, 2e8, 5e8, 1e9)), AFFINE)
    given = puq("fit", tmp_path / "dwi.nii", "-o", tmp_path / "given", "--b-value", "0 200 500 1000")
    (tmp_path / "dwi.bval").write_text("0 200 500 1000\n")
    stated = puq("fit", tmp_path / "dwi.nii", "-o", tmp_path / "stated")
    assert (given.code, stated.code) == (0, 0)
    assert "adc: median 1.5 10^-3 mm^2/s" in stated.out
    for folder in ("given", "stated"):
        np.testing.assert_allclose(read_nifti(tmp_path / folder / "ADCmap.nii.gz").data[0], adc, rtol=1e-4)
    assert json.loads((tmp_path / "stated" / "ADCmap.json").read_text())["Units"] == "m^2/s"


def test_an_mp2rage_collection_of_complex_parts(puq, tmp_path: Path) -> None:
    settings = {"flip_angles": (math.radians(4), math.radians(5)), "tr": 0.007, "tr_preparation": 5.0, "n_shots": (60, 80)}
    signal = images("mp2rage", T1, (0.8, 2.7), **settings)
    folder = tmp_path / "data" / "sub-1" / "anat"
    folder.mkdir(parents=True)
    (tmp_path / "data" / "dataset_description.json").write_text('{"Name": "made", "BIDSVersion": "1.10.0"}')
    for index, (ti, angle) in enumerate(zip((0.8, 2.7), (4, 5), strict=True)):
        facts = {
            "InversionTime": ti,
            "FlipAngle": angle,
            "RepetitionTimeExcitation": 0.007,
            "RepetitionTimePreparation": 5.0,
            "NumberShots": [60, 80],
            "MagneticFieldStrength": 3.0,
        }
        name = f"sub-1_inv-{index + 1}_part-{{}}_MP2RAGE.nii.gz"
        write_nifti(folder / name.format("real"), signal[index], AFFINE, sidecar=facts)
        write_nifti(folder / name.format("imag"), 0.5 * signal[index], AFFINE, sidecar=facts)
    done = puq("fit", tmp_path / "data", "-o", tmp_path / "maps", "--part", "complex", "--sigma", "0.01")
    assert done.code == 0, done.err
    np.testing.assert_allclose(t1_of(tmp_path / "maps"), T1, rtol=1e-4)


def test_models_tells_what_each_model_needs(puq) -> None:
    listed = {m["name"]: m for m in json.loads(puq("models", "--json").out)["models"]}
    assert [s["name"] for s in listed["mp2rage"]["settings"] if s["required"]] == ["flip_angles", "tr", "tr_preparation", "n_shots"]
    assert listed["vfa"]["settings"][0]["option"] == "--tr"
    assert listed["vfa"]["known"][0]["name"] == "b1"
    assert listed["t2"]["settings"] == []
    text = puq("models").out
    assert "--tr, or RepetitionTimeExcitation in the sidecar: repetition time [s], needed" in text


def test_a_map_of_b1_takes_its_bias_away(puq, tmp_path: Path) -> None:
    b1 = np.linspace(0.8, 1.2, 12).reshape(1, 3, 4)
    model, angles = get_model("vfa", tr=0.015), torch.tensor(np.radians(DEGREES))
    columns = torch.tensor(np.stack([np.full(12, 800.0), T1.ravel(), b1.ravel()], -1))
    write_nifti(tmp_path / "vfa.nii", model.signal(columns, angles).numpy().T.reshape(4, 1, 3, 4).astype(np.float32), AFFINE)
    write_nifti(tmp_path / "b1.nii", b1.astype(np.float32), AFFINE)
    options = ("--flip-angle", "2,5,12,20", "--tr", 0.015)
    done = puq("fit", tmp_path / "vfa.nii", "-o", tmp_path / "maps", *options, "--b1", tmp_path / "b1.nii")
    assert done.code == 0, done.err
    np.testing.assert_allclose(t1_of(tmp_path / "maps"), T1, rtol=1e-4)
    assert puq("fit", tmp_path / "vfa.nii", "-o", tmp_path / "without", *options).code == 0
    assert np.abs(t1_of(tmp_path / "without") / T1 - 1).max() > 0.2  # T1 is wrong by the square of B1
    refused = puq("fit", tmp_path / "vfa.nii", "-o", tmp_path / "t2", "--te", "0.01,0.02,0.03,0.04", "--b1", tmp_path / "b1.nii")
    assert refused.code == 2
    assert "b1" in refused.err


def test_the_curve_of_a_voxel_is_drawn_with_its_b1() -> None:
    b1 = np.array([0.7, 1.3, 1.0]).reshape(1, 1, 3)
    t1 = np.full((1, 1, 3), 1.1)
    model, angles = get_model("vfa", tr=0.015), np.radians(DEGREES)
    columns = torch.tensor(np.stack([np.full(3, 800.0), t1.ravel(), b1.ravel()], -1))
    data = model.signal(columns, torch.tensor(angles)).numpy().T.reshape(4, 1, 1, 3).astype(np.float32)
    series = ImageSeries(data=data, affine=AFFINE, times={"flip_angle": angles, "tr": np.full(4, 0.015)})
    result = fit_images(series, "vfa", known={"b1": b1})
    for x in range(3):
        panel = fit_panel(result, result.signal_model, series, None, (0, 0, x), "voxel")
        np.testing.assert_allclose(np.interp(angles, panel.curve_times, panel.curve), data[:, 0, 0, x], rtol=1e-2)
