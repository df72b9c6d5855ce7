"""Scans of several slices become one volume: each slice as by itself, in its place, whatever the order in the file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from medcore.errors import InputError, NumericalError, SeveralSlicesError
from medcore.io import KSpace, read_nifti, write_fastmri, write_ismrmrd
from puq_qmri.csm import espirit
from puq_qmri.fitting import Status
from puq_qmri.networks import NetworkSettings
from puq_qmri.operators.fft import centred_fft
from puq_qmri.pipeline import PipelineSettings, image_model, reconstruct_and_fit, reconstruct_images, settled
from puq_qmri.preparation import prepare
from puq_qmri.reconstruction import ReconstructionSettings
from puq_qmri.results import read_maps
from puq_qmri.simulation import SimulationSettings, Truth, simulate
from puq_qmri.slices import SlicedScan, open_slices
from puq_qmri.training.settings import MeasuredData
from puq_qmri.training.sources import check_source, open_source

TE = (0.01, 0.04, 0.1)
GAP = 0.007
Call = Callable[..., SimpleNamespace]


def oblique() -> np.ndarray:
    """Voxels of 5.5 x 5.5 x 5 mm, turned about two axes."""
    a, b = 0.3, -0.5
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag([0.22 / 40, 0.22 / 40, 0.005])
    affine[:3, 3] = [-0.1, 0.02, 0.05]
    return affine


def measured(n: int, trajectory: str = "cartesian", **changes: object) -> list[tuple[KSpace, Truth]]:
    """Slices of different objects, `GAP` apart along their normal."""
    found = []
    for i in range(n):
        kspace, truth = simulate(
            SimulationSettings(
                **{"size": 40, "n_coils": 4, "times": TE, "acceleration": 1.5, "trajectory": trajectory, "seed": i, **changes}
            )
        )
        affine = oblique()
        affine[:3, 3] += i * GAP * affine[:3, 2] / np.linalg.norm(affine[:3, 2])
        found.append((dataclasses.replace(kspace, affine=affine), truth))
    return found


def write_slices(path: Path, slices: Sequence[KSpace], numbers: Sequence[int] | None = None) -> Path:
    """An ISMRMRD file as scanners write several slices: one table of readouts, places in their heads."""
    rows = []
    for number, kspace in zip(numbers or range(len(slices)), slices, strict=True):
        single = path.with_name(f"one-{number}.h5")
        write_ismrmrd(single, kspace)
        with h5py.File(single) as file:
            table = file["dataset/data"][()]
            table["head"]["idx"]["slice"] = number
            rows.append(table)
            xml, kind = file["dataset/xml"][()], file["dataset/data"].dtype
        single.unlink()
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        text = group.create_dataset("xml", (1,), dtype=h5py.special_dtype(vlen=bytes))
        text[:] = xml
        group.create_dataset("data", data=np.concatenate(rows), dtype=kind)
    return path


def settings(method: str = "cg-sense", **changes: object) -> PipelineSettings:
    return PipelineSettings(
        reconstruction=ReconstructionSettings(method=method), **{"uncertainty": "pseudo-replica", "n_replicas": 4, **changes}
    )


@pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
def test_every_slice_is_reconstructed_as_by_itself_and_lies_in_its_place(tmp_path: Path, trajectory: str) -> None:
    slices = [kspace for kspace, _ in measured(3, trajectory)]
    # The file counts them in the order of an interleaved acquisition.
    path = write_slices(tmp_path / "scan.h5", [slices[0], slices[2], slices[1]])
    scan = open_slices(path)
    assert isinstance(scan, SlicedScan)
    assert len(scan) == 3
    volume = reconstruct_images(scan, settings())
    assert volume.series.data.shape == (3, 3, 40, 40)
    assert volume.deviation is not None
    for z, number in enumerate((0, 2, 1)):
        alone = reconstruct_images(open_slices(path, slice_index=number), settings())
        np.testing.assert_array_equal(volume.series.data[:, z], alone.series.data[:, 0])
        np.testing.assert_array_equal(volume.deviation[:, z], alone.deviation[:, 0])
        corner = np.array([7.0, 3.0, z, 1.0])
        expected = slices[z].affine @ [7.0, 3.0, 0.0, 1.0]
        np.testing.assert_allclose(volume.series.affine @ corner, expected, atol=1e-6)
        assert volume.facts["slices"][z]["slice"] == number
        assert volume.facts["slices"][z]["residuals"] == alone.summary()["residuals"]
    np.testing.assert_allclose(np.linalg.norm(volume.series.affine[:3, 2]), GAP, rtol=1e-4)
    np.testing.assert_array_equal(volume.series.times["te"], TE)


def test_the_command_line_makes_maps_of_the_whole_volume(puq: Call, tmp_path: Path) -> None:
    both = measured(2)
    path = write_slices(tmp_path / "scan.h5", [kspace for kspace, _ in both])
    words = ("--method", "cg-sense", "--replicas", 4, "--json")
    done = puq("run", path, "-o", tmp_path / "all", *words)
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert sum(facts["status"].values()) == 2 * 40 * 40
    assert [found["slice"] for found in facts["reconstruction"]["slices"]] == [0, 1]
    volume = read_nifti(tmp_path / "all" / "T2map.nii.gz")
    assert volume.shape == (2, 40, 40)
    for z, (kspace, truth) in enumerate(both):
        inside = truth.pure[0]
        error = np.abs(volume.data[0, z] - truth.maps["t2"][0])[inside] / truth.maps["t2"][0][inside]
        assert np.nanmedian(error) < 0.1
        np.testing.assert_allclose(volume.affine @ [1, 2, z, 1], kspace.affine @ [1, 2, 0, 1], atol=1e-6)
    done = puq("run", path, "-o", tmp_path / "second", "--slice", 1, *words)
    assert done.code == 0, done.err
    alone = read_maps(tmp_path / "second").maps["T2map"]
    np.testing.assert_array_equal(alone[0], read_maps(tmp_path / "all").maps["T2map"][1])
    done = puq("recon", path, "-o", tmp_path / "images", *words)
    assert read_nifti(tmp_path / "images" / "desc-std_images.nii.gz").data.shape == (3, 2, 40, 40)
    missing = puq("run", path, "-o", tmp_path / "none", "--slice", 2)
    assert missing.code == 2
    assert "holds 2 slices (0 to 1), chosen was 2; choose one with --slice" in missing.err


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_a_slice_without_signal_stays_empty_and_the_others_are_as_ever(tmp_path: Path, empty: int) -> None:
    slices = [kspace for kspace, _ in measured(3)]
    slices[empty] = dataclasses.replace(slices[empty], data=np.zeros_like(slices[empty].data))
    path = write_slices(tmp_path / "scan.h5", slices)
    images, maps = reconstruct_and_fit(open_slices(path), settings())
    assert not images.series.data[:, empty].any()
    assert np.isposinf(images.deviation[:, empty]).all()
    assert (maps.status[empty] == Status.NO_SIGNAL).all()
    assert images.facts["slices"][empty] == {"slice": empty, "empty": True}
    assert f"no sample in slice {empty}: image empty, variance infinite, not fitted" in images.series.repairs
    for z in {0, 1, 2} - {empty}:
        assert (maps.status[z] == Status.OK).mean() > 0.3
        np.testing.assert_allclose(images.series.affine @ [0, 0, z, 1], slices[z].affine @ [0, 0, 0, 1], atol=1e-6)


def test_a_slice_of_noise_is_no_obstacle(tmp_path: Path, rng: np.random.Generator) -> None:
    slices = [kspace for kspace, _ in measured(2)]
    assert slices[1].noise is not None
    noise = rng.choice(slices[1].noise.ravel(), slices[1].data.shape).astype(np.complex64)
    slices[1] = dataclasses.replace(slices[1], data=noise * slices[1].mask[:, None])
    _, maps = reconstruct_and_fit(open_slices(write_slices(tmp_path / "scan.h5", slices)), settings())
    assert (maps.status[0] == Status.OK).mean() > 0.3


def test_all_slices_are_made_by_the_way_that_the_first_with_signal_gets(tmp_path: Path) -> None:
    slices = [kspace for kspace, _ in measured(2, acceleration=1.0)]
    thinned = np.zeros(slices[1].data.shape[-3:], bool)
    thinned[:, ::4] = thinned[:, 14:26] = True
    slices[1] = dataclasses.replace(slices[1], data=slices[1].data * thinned, mask=np.broadcast_to(thinned, (3, 1, 40, 40)).copy())
    path, automatic = write_slices(tmp_path / "scan.h5", slices), PipelineSettings(n_replicas=4)
    images = reconstruct_images(open_slices(path), automatic)
    assert (images.facts["method"], images.facts["uncertainty"]) == ("cg-sense", "pseudo-replica")
    second = open_slices(path, slice_index=1)
    model = image_model(automatic, second)
    assert settled(automatic, second, model).reconstruction.method != "cg-sense"
    alone = reconstruct_images(second, settings())
    np.testing.assert_array_equal(images.series.data[:, 1], alone.series.data[:, 0])
    np.testing.assert_array_equal(images.deviation[:, 1], alone.deviation[:, 0])


def test_contrasts_in_files_of_their_own_and_slices_in_each(puq: Call, tmp_path: Path) -> None:
    slices = [kspace for kspace, _ in measured(2, acceleration=1.0)]
    files = []
    for i in range(len(TE)):
        files.append(tmp_path / f"echo{i}.h5")
        write_fastmri(files[-1], [dataclasses.replace(k.select([i]), times={}) for k in slices])
    words = ("--te", ",".join(map(str, TE)), "--method", "cg-sense", "--replicas", 2)
    done = puq("run", *files, "-o", tmp_path / "maps", *words, "--json")
    assert done.code == 0, done.err
    maps = read_nifti(tmp_path / "maps" / "T2map.nii.gz")
    assert maps.shape == (2, 40, 40)
    np.testing.assert_allclose(maps.affine @ [0, 0, 1, 1], slices[1].affine @ [0, 0, 0, 1], atol=1e-6)


def moved(kspace: KSpace, step: Sequence[float]) -> KSpace:
    affine = kspace.affine.copy()
    affine[:3, 3] += step
    return dataclasses.replace(kspace, affine=affine)


def turned(kspace: KSpace) -> KSpace:
    affine = kspace.affine.copy()
    affine[:3, :2] = affine[:3, 1::-1] * [1, -1]
    return dataclasses.replace(kspace, affine=affine)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda k: moved(k, 0.002 * k.affine[:3, 2] / np.linalg.norm(k.affine[:3, 2])), r"up to 1 mm beside an even stack"),
        (turned, r"has slices of different directions"),
        (
            lambda k: dataclasses.replace(k, data=k.data[:2].copy(), mask=k.mask[:2].copy(), times={"te": k.times["te"][:2]}),
            r"slices of 3 contrasts of \(1, 40, 40\) and of 2",
        ),
        (lambda k: dataclasses.replace(k, times={"te": 2 * k.times["te"]}), r"measured at different times"),
    ],
    ids=["uneven", "turned", "contrasts", "times"],
)
def test_what_is_no_stack_is_refused(change: Callable[[KSpace], KSpace], match: str) -> None:
    slices = [kspace for kspace, _ in measured(3)]
    slices[2] = change(slices[2])
    scan = SlicedScan(typical=slices[0], number=0, numbers=(0, 1, 2), read=slices.__getitem__)
    with pytest.raises(InputError, match=rf"{match}.*; choose one with --slice"):
        reconstruct_images(scan, settings(method="adjoint", uncertainty="none"))


def test_slices_without_places_are_put_side_by_side_which_is_said() -> None:
    slices = [dataclasses.replace(kspace, affine=oblique()) for kspace, _ in measured(3)]
    scan = SlicedScan(typical=slices[0], number=0, numbers=(0, 1, 2), read=slices.__getitem__)
    series = reconstruct_images(scan, settings(method="adjoint", uncertainty="none")).series
    np.testing.assert_allclose(series.affine[:3, :3], oblique()[:3, :3])
    np.testing.assert_allclose(series.affine @ [4, 5, 1, 1], oblique() @ [4, 5, 0, 1])
    assert "no places of the 3 slices in the file, put 5 mm apart in the order of their numbers" in series.repairs


def test_one_slice_and_no_signal_at_all(tmp_path: Path) -> None:
    kspace = measured(1)[0][0]
    write_ismrmrd(tmp_path / "one.h5", kspace)
    assert isinstance(open_slices(tmp_path / "one.h5", tr=2.0), KSpace)
    assert open_slices(tmp_path / "one.h5", tr=2.0).times["tr"].tolist() == [2.0, 2.0, 2.0]
    nothing = dataclasses.replace(kspace, data=np.zeros_like(kspace.data))
    path = write_slices(tmp_path / "scan.h5", [nothing, nothing])
    with pytest.raises(NumericalError, match=r"holds no signal in any of its 2 slices"):
        open_slices(path)
    with pytest.raises(SeveralSlicesError, match=r"holds 2 slices \(0 to 1\), chosen was 5"):
        open_slices(path, slice_index=5)
    with pytest.raises(InputError, match=r"has several slices, and coil maps were given"):
        reconstruct_images(
            SlicedScan(typical=kspace, number=0, numbers=(0, 1), read=lambda _: kspace), csm=np.ones((4, 1, 40, 40), "c8")
        )


def test_fully_sampled_slices_are_learnt_from_and_calibrated_on_one_by_one(puq: Call, tmp_path: Path) -> None:
    slices = [kspace for kspace, _ in measured(3, acceleration=1.0)]
    slices[1] = dataclasses.replace(slices[1], data=np.zeros_like(slices[1].data))
    path, settings = write_slices(tmp_path / "scan.h5", slices), MeasuredData(folder=tmp_path)
    assert check_source(path, settings, NetworkSettings(layout="subspace", components=3)) == (40, 40)
    source = open_source(path, settings)
    assert source.slices == (0, 1), "the slice without signal is left out"
    for place, number in enumerate((0, 2)):
        alone = prepare(open_slices(path, slice_index=number))
        np.testing.assert_array_equal(source.csm[:, place], espirit(alone)[:, 0])
        np.testing.assert_allclose(centred_fft(torch.from_numpy(source.coil_images[:, :, [place]])).numpy(), alone.data, atol=1e-4)
    done = puq("calibrate", path, "-o", tmp_path / "calibration.json", "--replicas", 2, "--acceleration", 2)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "calibration.json").read_text())["provenance"]["n_scans"] == 2


def test_slices_of_one_file_that_are_not_fully_sampled_are_refused(tmp_path: Path) -> None:
    path = write_slices(tmp_path / "scan.h5", [kspace for kspace, _ in measured(2)])
    with pytest.raises(InputError, match="is not fully sampled"):
        open_source(path, MeasuredData(folder=tmp_path))
