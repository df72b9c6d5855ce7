"""Scans of every kind of file give the same samples, and what cannot be one measurement is one error."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medcore.errors import InputError
from medcore.io import KSpace, read_nifti, write_cfl, write_fastmri, write_ismrmrd
from puq_qmri.inputs import open_scan
from puq_qmri.operators.fft import centred_ifft
from puq_qmri.scans import merge_contrasts, read_scan
from puq_qmri.simulation import SimulationSettings, birdcage, simulate

TE = (0.02, 0.05, 0.1)


@pytest.fixture(scope="module", params=["cartesian", "radial"])
def kspace(request: pytest.FixtureRequest) -> KSpace:
    found, _ = simulate(SimulationSettings(size=32, n_coils=4, times=TE, trajectory=request.param, acceleration=2.0))
    return dataclasses.replace(found, csm=birdcage(4, 32))


def same(found: KSpace, expected: KSpace) -> None:
    np.testing.assert_array_equal(found.data, expected.data)
    for name in ("mask", "csm"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    if expected.traj is not None:
        np.testing.assert_allclose(found.traj, expected.traj, atol=1e-6)


def test_a_bart_pair_brings_its_trajectory_and_maps(kspace: KSpace, tmp_path: Path) -> None:
    write_cfl(tmp_path / "scan", kspace)
    for name in ("scan", "scan.cfl"):
        found = open_scan(tmp_path / name, {"te": TE})
        same(found, kspace)
        np.testing.assert_array_equal(found.times["te"], TE)


def test_a_bart_pair_of_one_coil_is_k_space_here(kspace: KSpace, tmp_path: Path) -> None:
    single = dataclasses.replace(kspace, data=kspace.data[:, :1].copy(), csm=None, noise=None)
    write_cfl(tmp_path / "scan", single)
    assert open_scan(tmp_path / "scan.cfl").n_coils == 1


def test_one_contrast_a_file_is_put_together(kspace: KSpace, tmp_path: Path) -> None:
    files = [tmp_path / f"te{i}.h5" for i in range(3)]
    for i, file in enumerate(files):
        write_ismrmrd(file, kspace.select([i]))
    found = open_scan(files)
    same(found, kspace)
    np.testing.assert_allclose(found.times["te"], TE)
    assert found.noise is not None
    assert found.noise.shape[1] == 3 * kspace.noise.shape[1]
    given = open_scan(files, {"te": (0.01, 0.02, 0.03)})
    np.testing.assert_array_equal(given.times["te"], (0.01, 0.02, 0.03))
    with pytest.raises(InputError, match=r"te0.h5 and 2 more: has 2 echo times for 3 contrasts"):
        open_scan(files, {"te": (0.01, 0.02)})


def test_a_full_file_beside_an_undersampled_one_counts_as_measured() -> None:
    full, _ = simulate(SimulationSettings(size=32, n_coils=4, times=TE, acceleration=1.0))
    half, _ = simulate(SimulationSettings(size=32, n_coils=4, times=TE, acceleration=2.0))
    merged = merge_contrasts([full.select([0]), half.select([1])])
    assert merged.mask[0].all()
    np.testing.assert_array_equal(merged.mask[1], half.mask[1])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"n_coils": 5}, r"has coils 5, .* has 4; give files of one protocol"),
        ({"size": 40}, r"has matrix \(1, 40, 40\), .* has \(1, 32, 32\)"),
        ({"trajectory": "radial"}, r"has sampling a trajectory of \(\d+, 64\) samples, .* has a grid"),
    ],
    ids=str,
)
def test_files_of_different_protocols_are_refused(changes: dict[str, object], match: str) -> None:
    settings = SimulationSettings(size=32, n_coils=4, times=TE, acceleration=1.0)
    first, other = (simulate(s)[0] for s in (settings, dataclasses.replace(settings, **changes)))
    with pytest.raises(InputError, match=match):
        merge_contrasts([first, other])


def test_files_of_different_slices_are_refused() -> None:
    first, _ = simulate(SimulationSettings(size=32, n_coils=4, times=TE, acceleration=1.0))
    affine = first.affine.copy()
    affine[2, 3] += 0.005
    with pytest.raises(InputError, match=r"lies elsewhere in space"):
        merge_contrasts([first, dataclasses.replace(first, affine=affine)])


class TestSlices:
    @pytest.fixture
    def volume(self, tmp_path: Path) -> tuple[Path, list[KSpace]]:
        slices = [simulate(SimulationSettings(size=32, n_coils=4, times=TE[:1], acceleration=1.0, seed=s))[0] for s in range(3)]
        slices = [dataclasses.replace(k, affine=k.affine + np.pad([[0.005 * i]], ((2, 1), (3, 0)))) for i, k in enumerate(slices)]
        write_fastmri(tmp_path / "volume.h5", slices)
        return tmp_path / "volume.h5", slices

    def test_one_is_chosen(self, volume: tuple[Path, list[KSpace]]) -> None:
        path, slices = volume
        np.testing.assert_array_equal(open_scan(path, slice_index=2).data, slices[2].data)

    def test_several_and_none_chosen_is_an_error_that_names_the_option(self, volume: tuple[Path, list[KSpace]]) -> None:
        with pytest.raises(InputError, match=r"holds 3 slices \(0 to 2\), none was chosen; choose one with --slice"):
            open_scan(volume[0])
        with pytest.raises(InputError, match=r"holds 3 slices \(0 to 2\), chosen was 3; choose one with --slice"):
            open_scan(volume[0], slice_index=3)

    def test_arrays_have_one(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.ones((2, 3, 8, 8), np.complex64))
        assert open_scan(tmp_path / "a.npy", slice_index=0).n_contrasts == 2
        with pytest.raises(InputError, match=r"holds one slice \(0\), chosen was 1; leave --slice out"):
            open_scan(tmp_path / "a.npy", slice_index=1)


class TestNpz:
    def test_images_and_maps_are_measured_without_noise(self, tmp_path: Path) -> None:
        _, truth = simulate(SimulationSettings(size=32, n_coils=4, times=TE))
        csm = birdcage(4, 32)
        np.savez(tmp_path / "case.npz", image=truth.images[:, 0], sens=csm[:, 0], te_s=np.array(TE), seed=3, roi=np.ones((32, 32)))
        found = open_scan(tmp_path / "case.npz")
        np.testing.assert_array_equal(found.times["te"], TE)
        np.testing.assert_array_equal(found.csm, csm)

        images = centred_ifft(torch.from_numpy(found.data)).numpy()
        np.testing.assert_allclose(images, truth.images[:, None] * csm, atol=1e-5)
        assert "without noise" in found.repairs[0]

    def test_maps_of_another_size_are_refused(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "case.npz", image=np.ones((3, 8, 8), np.complex64), sens=np.ones((4, 8, 7), np.complex64))
        with pytest.raises(InputError, match=r"has image of shape \(3, 8, 8\) and sens of shape \(4, 8, 7\)"):
            read_scan(tmp_path / "case.npz")

    def test_of_several_arrays_the_one_called_kspace(self, tmp_path: Path) -> None:
        data = np.ones((3, 4, 8, 8), np.complex64)
        np.savez(tmp_path / "scan.npz", kspace=data, other=np.zeros(3), ti_s=[0.1, 0.5, 2.0])
        found = open_scan(tmp_path / "scan.npz")
        assert found.data.shape == (3, 4, 1, 8, 8)
        assert found.times["ti"].tolist() == [0.1, 0.5, 2.0]
        np.savez(tmp_path / "more.npz", a=data, b=data)
        with pytest.raises(InputError, match=r"more.npz: holds a, b"):
            open_scan(tmp_path / "more.npz")


def test_run_takes_several_files_with_times(puq: Callable[..., SimpleNamespace], tmp_path: Path) -> None:
    """fastMRI holds one contrast: three files are a measurement of T2."""
    whole, truth = simulate(SimulationSettings(size=32, n_coils=4, times=TE, acceleration=1.0, snr=200.0))
    files = [tmp_path / f"echo{i}.h5" for i in range(3)]
    for i, file in enumerate(files):
        write_fastmri(file, [dataclasses.replace(whole.select([i]), times={})])
    done = puq("run", *files, "--te", "0.02,0.05,0.1", "-o", tmp_path / "out", "--uncertainty", "none", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["times"] == list(TE)
    found = read_nifti(tmp_path / "out" / "T2map.nii.gz", times={}).data[0]
    chosen = truth.pure & np.isfinite(found)
    assert np.median(np.abs(found / truth.maps["t2"] - 1)[chosen]) < 0.05
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert len(record["inputs"]) == 3
