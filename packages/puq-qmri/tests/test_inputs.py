"""Scans, images, deviations and masks are told apart by content, and what does not fit is refused with a way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcore.errors import ConfigError, InputError
from medcore.io import ImageSeries, write_ismrmrd, write_nifti
from puq_qmri.inputs import (
    ImageOptions,
    check_times,
    choose_model,
    open_b1,
    open_deviation,
    open_images,
    open_mask,
    open_scan,
    parse_times,
    resolve_model,
    with_repetition_time,
)
from puq_qmri.signal_models.sequence import parse_settings
from puq_qmri.simulation import SimulationSettings, simulate

TE = (0.01, 0.03, 0.06)
AFFINE = np.diag([1e-3, 1e-3, 3e-3, 1.0])


def series(n: int = 3, **times: tuple[float, ...]) -> ImageSeries:
    data = np.arange(n * 2 * 4 * 5, dtype=np.float32).reshape(n, 2, 4, 5)
    return ImageSeries(data=data, affine=AFFINE, times=times, source="memory")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.01,0.02", (0.01, 0.02)), ("0.01 0.02", (0.01, 0.02)), (" 1e-2,  0.02 ", (0.01, 0.02)), ("0", (0.0,)), (None, ())],
)
def test_times_are_separated_by_commas_or_spaces(text: str | None, expected: tuple[float, ...]) -> None:
    assert parse_times(text, "--te") == expected


@pytest.mark.parametrize("text", ["", " , ", "ten", "0.01;0.02", "0.01,0.02ms"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--te: .*give seconds, for example"):
        parse_times(text, "--te")


def test_simulated_times_must_be_seconds_of_the_right_kind() -> None:
    assert check_times((0.0, 0.1), "te") == (0.0, 0.1)
    with pytest.raises(InputError, match=r"looks like milliseconds"):
        check_times((10.0, 20.0), "te")
    with pytest.raises(InputError, match=r"impossible echo time"):
        check_times((-0.1, 0.1), "te")
    with pytest.raises(ConfigError, match=r"--ti: .*give --te"):
        check_times((), "te", unused="0.1")


def test_one_file_or_several_give_the_same_series(tmp_path: Path) -> None:
    whole = series(te=TE)
    write_nifti(tmp_path / "whole.nii.gz", whole.data, AFFINE, sidecar={"EchoTime": list(TE)})
    folder = tmp_path / "parts"
    folder.mkdir()
    for i, te in enumerate(TE):
        write_nifti(folder / f"echo-{i + 1}.nii", whole.data[i], AFFINE, sidecar={"EchoTime": te})
    files = sorted(folder.glob("*.nii"))
    for paths in ([tmp_path / "whole.nii.gz"], [folder], list(reversed(files))):
        found, deviation = open_images(paths)
        assert deviation is None
        np.testing.assert_array_equal(found.data, whole.data)
        np.testing.assert_allclose(found.times["te"], TE)


def test_given_times_take_the_place_of_the_sidecar(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", series().data, AFFINE, sidecar={"EchoTime": list(TE)})
    found, _ = open_images([tmp_path / "a.nii"], ImageOptions(times={"te": (0.02, 0.04, 0.08)}))
    np.testing.assert_array_equal(found.times["te"], [0.02, 0.04, 0.08])
    with pytest.raises(InputError, match=r"has 2 echo times for 3 contrasts"):
        open_images([tmp_path / "a.nii"], ImageOptions(times={"te": (0.02, 0.04)}))
    with pytest.raises(InputError, match=r"looks like milliseconds; give seconds, here perhaps 0.08"):
        open_images([tmp_path / "a.nii"], ImageOptions(times={"te": (20.0, 40.0, 80.0)}))


def test_an_array_of_images_may_be_complex(tmp_path: Path) -> None:
    values = (series().data + 1j).astype(np.complex64)
    np.save(tmp_path / "a.npy", values)
    found, _ = open_images([tmp_path / "a.npy"], ImageOptions(times={"te": TE}))
    np.testing.assert_array_equal(found.data, values)
    last, _ = open_images([tmp_path / "a.npy"], ImageOptions(contrast_axis=1))
    assert last.data.shape == (2, 3, 4, 5)


def test_scans_and_images_are_not_confused(tmp_path: Path) -> None:
    kspace, _ = simulate(SimulationSettings(size=16, n_coils=2, times=TE, acceleration=1.0))
    write_ismrmrd(tmp_path / "scan.h5", kspace)
    write_nifti(tmp_path / "a.nii", series().data, AFFINE)
    with pytest.raises(InputError, match=r"scan.h5: holds k-space, not images; use puq-qmri run"):
        open_images([tmp_path / "scan.h5"])
    with pytest.raises(InputError, match=r"a.nii: holds images, not k-space; .*puq-qmri fit"):
        open_scan(tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"mixes files of the kinds ismrmrd, nifti"):
        open_images([tmp_path / "scan.h5", tmp_path / "a.nii"])
    again = open_scan(tmp_path / "scan.h5", {"te": (0.02, 0.04, 0.08)})
    np.testing.assert_array_equal(again.data, kspace.data)
    np.testing.assert_array_equal(again.times["te"], [0.02, 0.04, 0.08])


def test_deviations_are_a_number_or_an_image(tmp_path: Path) -> None:
    whole = series(te=TE)
    assert open_deviation("2.5", whole) == 2.5
    write_nifti(tmp_path / "one.nii", np.full((2, 4, 5), 3.0, np.float32), AFFINE)
    np.save(tmp_path / "all.npy", whole.data + 1)
    one, every = (open_deviation(str(tmp_path / n), whole) for n in ("one.nii", "all.npy"))
    assert np.shape(one) == whole.data.shape
    assert np.all(np.asarray(one) == 3)
    np.testing.assert_array_equal(every, whole.data + 1)


@pytest.mark.parametrize(
    ("shape", "affine", "match"),
    [
        ((2, 2, 4, 5), AFFINE, r"holds 2 images for 3 contrasts"),
        ((2, 5, 4), AFFINE, r"has the shape \(2, 5, 4\), the images \(2, 4, 5\)"),
        ((2, 4, 5), AFFINE + np.eye(4)[:, [3, 3, 3, 3]] * 0 + np.pad([[0.02]], ((0, 3), (3, 0))), r"lies elsewhere in space"),
    ],
)
def test_deviations_of_another_place_are_refused(tmp_path: Path, shape: tuple[int, ...], affine: np.ndarray, match: str) -> None:
    write_nifti(tmp_path / "s.nii", np.ones(shape, np.float32), affine)
    with pytest.raises(InputError, match=match):
        open_deviation(str(tmp_path / "s.nii"), series(te=TE))


def test_a_word_that_is_neither_number_nor_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"a-lot: does not exist"):
        open_deviation("a-lot", series(te=TE))


def test_masks_are_where_an_image_is_not_zero(tmp_path: Path) -> None:
    values = np.zeros((2, 4, 5), np.float32)
    values[1, 2, 3] = 0.5
    write_nifti(tmp_path / "m.nii", values, AFFINE)
    np.testing.assert_array_equal(open_mask(tmp_path / "m.nii", series()), values != 0)
    values[0, 0, 0] = np.nan
    write_nifti(tmp_path / "n.nii", values, AFFINE)
    with pytest.raises(InputError, match=r"1 NaN"):
        open_mask(tmp_path / "n.nii", series())
    write_nifti(tmp_path / "two.nii", np.ones((2, 2, 4, 5), np.float32), AFFINE)
    with pytest.raises(InputError, match=r"holds 2 images"):
        open_mask(tmp_path / "two.nii", series())


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"te": TE}, "t2"),
        ({"ti": TE}, "ir"),
        ({"te": (0.01, 0.01, 0.01), "ti": TE}, "ir"),
        ({"te": TE, "tr": (1.0, 1.0, 1.0)}, "t2"),
    ],
)
def test_the_times_that_vary_choose_the_model(times: dict[str, tuple[float, ...]], expected: str) -> None:
    assert choose_model(series(**times).times, "x") == expected


@pytest.mark.parametrize(
    ("times", "match"),
    [
        ({}, r"no echo or inversion times that differ; give --te or --ti"),
        ({"te": (0.01, 0.01, 0.01)}, r"no echo or inversion times that differ"),
        ({"te": TE, "ti": TE}, r"varies in echo time and inversion time; name a model"),
    ],
)
def test_times_that_choose_no_model_are_refused(times: dict[str, tuple[float, ...]], match: str) -> None:
    with pytest.raises(InputError, match=match):
        choose_model(series(**times).times, "x")


def test_a_model_needs_its_times() -> None:
    assert str(resolve_model(None, series(te=TE))) == "t2"
    assert str(resolve_model("t2star", series(te=TE))) == "t2star"
    with pytest.raises(InputError, match=r"states no ti, which model ir needs; give --ti in seconds"):
        resolve_model("ir", series(te=TE))
    with pytest.raises(InputError, match=r"has 2 different ti, and model ir estimates 3 parameters"):
        resolve_model("ir", series(ti=(0.1, 0.2, 0.2)))
    with pytest.raises(ConfigError, match=r"'t22': .*did you mean 't2'"):
        resolve_model("t22", series(te=TE))
    with pytest.raises(InputError, match=r"looks like milliseconds"):
        resolve_model("t2", series(te=(10.0, 20.0, 30.0)))


ANGLES = (0.05, 0.2, 0.4)


def test_angles_and_b_values_choose_a_model_where_no_time_varies() -> None:
    assert choose_model({"flip_angle": ANGLES, "te": (0.003,) * 3}, "x") == "vfa"
    assert choose_model({"b_value": (0.0, 5e8, 1e9)}, "x") == "adc"
    assert choose_model({"te": TE, "flip_angle": ANGLES}, "x") == "t2"
    with pytest.raises(InputError, match=r"varies in flip angle and b-value; name a model"):
        choose_model({"flip_angle": ANGLES, "b_value": (0.0, 5e8, 1e9)}, "x")


def test_settings_come_from_options_or_from_what_the_images_state() -> None:
    stated = series(flip_angle=ANGLES, tr=(0.015,) * 3)
    assert resolve_model("vfa", stated).settings() == {"tr": 0.015}
    assert resolve_model(None, stated, {"tr": 0.02}).settings() == {"tr": 0.02}
    assert resolve_model("vfa", with_repetition_time(series(flip_angle=ANGLES), 0.03)).settings() == {"tr": 0.03}
    with pytest.raises(ConfigError, match=r"needs tr \(repetition time in s\); give --tr, or RepetitionTimeExcitation"):
        resolve_model("vfa", series(flip_angle=ANGLES))
    with pytest.raises(InputError, match=r"memory: has tr of 0.01 to 0.02; give one with --tr"):
        resolve_model("vfa", series(flip_angle=ANGLES, tr=(0.01, 0.02, 0.02)))
    with pytest.raises(ConfigError, match=r"model 't2': has no setting 'tr'; its settings: none"):
        resolve_model("t2", series(te=TE), {"tr": 0.02})
    with pytest.raises(
        InputError, match=r"states no flip_angle, which model vfa needs; give --flip-angle in degrees, or a sidecar"
    ):
        resolve_model("vfa", series(te=TE, tr=(0.015,) * 3))


@pytest.mark.parametrize(
    ("tr", "match"), [(0.0, r"--tr: is 0; give seconds"), (float("nan"), r"is nan"), (3000.0, r"milliseconds")]
)
def test_an_impossible_repetition_time_is_refused(tr: float, match: str) -> None:
    with pytest.raises(InputError, match=match):
        with_repetition_time(series(flip_angle=ANGLES), tr)


@pytest.mark.parametrize(("shots", "expected"), [([60, 80], (60, 80)), (141, (70, 71))])
def test_an_mp2rage_finds_its_numbers_in_the_sidecar(shots: object, expected: tuple[int, int]) -> None:
    meta = {"RepetitionTimePreparation": 5.0, "NumberShots": shots, "InversionEfficiency": 0.95}
    data = np.ones((2, 1, 2, 2), np.complex64)
    times = {"ti": (2.7, 0.8), "flip_angle": (0.09, 0.07), "tr": (0.007, 0.007)}
    found = ImageSeries(data=data, affine=AFFINE, times=times, meta=meta, source="memory")
    settings = resolve_model("mp2rage", found).settings()
    assert settings.pop("flip_angles") == pytest.approx((0.07, 0.09))
    assert settings == {"tr": 0.007, "tr_preparation": 5.0, "n_shots": expected, "inversion_efficiency": 0.95}


def test_settings_are_numbers_by_name() -> None:
    assert parse_settings(["t1=1.2", " n_shots = 60, 80"]) == {"t1": 1.2, "n_shots": (60.0, 80.0)}
    for text in ("t1", "t1=", "=3", "t1=long", "t1=1;2"):
        with pytest.raises(ConfigError, match=r"--setting: is .*; give NAME=VALUE"):
            parse_settings([text])
    with pytest.raises(ConfigError, match=r"--setting: gives t1 twice"):
        parse_settings(["t1=1", "t1=2"])


def test_a_b1_map_is_a_ratio(tmp_path: Path) -> None:
    for name, values in (("ratio", 0.9), ("percent", 90.0), ("nothing", 0.0)):
        write_nifti(tmp_path / f"{name}.nii", np.full((2, 4, 5), values, np.float32), AFFINE)
    assert open_b1(tmp_path / "ratio.nii", series()).shape == (2, 4, 5)
    for name, middle in (("percent", "90"), ("nothing", "0")):
        with pytest.raises(InputError, match=rf"{name}.nii: has a median of {middle}, which is no flip angle over the nominal"):
            open_b1(tmp_path / f"{name}.nii", series())


def bids(root: Path, suffix: str, images: list[tuple[str, np.ndarray, dict[str, object]]]) -> Path:
    folder = root / "sub-01" / "anat"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "made", "BIDSVersion": "1.10.0"}')
    for name, data, sidecar in images:
        write_nifti(folder / f"sub-01_{name}_{suffix}.nii.gz", data.astype(np.float32), AFFINE, sidecar=sidecar)
    return root


def test_a_bids_collection_names_its_model_and_settings(tmp_path: Path) -> None:
    facts = {"PulseSequenceType": "SPGR", "RepetitionTimeExcitation": 0.005}
    images = [(f"flip-{i}", np.full((2, 4, 5), 10.0), {**facts, "FlipAngle": a}) for i, a in ((1, 3), (2, 15))]
    found, _ = open_images([bids(tmp_path / "vfa", "VFA", images)])
    assert str(resolve_model(None, found)) == "vfa"
    assert resolve_model(None, found).settings() == {"tr": 0.005}
    megre = [(f"echo-{i}", np.ones((2, 4, 5)), {"EchoTime": te}) for i, te in enumerate(TE, 1)]
    root = bids(tmp_path / "megre", "MEGRE", megre)
    assert str(resolve_model(None, open_images([root])[0])) == "t2star"
    assert str(resolve_model("t2", open_images([root], ImageOptions(subject="01", suffix="MEGRE"))[0])) == "t2"
    with pytest.raises(InputError, match=r"participant '02'"):
        open_images([root], ImageOptions(subject="02"))
