from __future__ import annotations

import dataclasses
import itertools
import shutil

import numpy as np
import pytest
import torch

from medcore.errors import InputError
from medcore.io import write_ismrmrd
from puq_qmri.networks import NetworkSettings
from puq_qmri.operators import acquisition
from puq_qmri.operators.fft import centred_fft
from puq_qmri.simulation import SimulationSettings, birdcage, simulate
from puq_qmri.training import MeasuredData
from puq_qmri.training.measured import measured_examples
from puq_qmri.training.sources import check_source, list_sources, open_source

CONTRAST = NetworkSettings(layout="contrast")
COUNTS = {"mean": 6, "variance": 3, "validation": 3}


def sets(folder, network=CONTRAST, counts=COUNTS, seed=0, **changes):
    settings = MeasuredData(folder=folder, **{"acceleration": (2.0, 3.0), "centre_fraction": 0.15, **changes})
    return measured_examples(settings, network, counts=counts, seed=seed, device="cpu")


def test_the_reference_is_the_object_as_the_maps_see_it(measured_folder):
    source = open_source(measured_folder / "scan1.h5", MeasuredData(folder=measured_folder))
    settings = SimulationSettings(size=32, times=(0.01, 0.05, 0.1), acceleration=1.0, n_coils=4, snr=60.0, coils="loops", seed=1)
    truth = np.abs(simulate(settings)[1].images)
    inside = source.mask
    error = np.abs(source.reference)[:, inside] - truth[:, inside]
    assert np.sqrt((error**2).sum() / (truth[:, inside] ** 2).sum()) < 0.06
    assert source.slices == (0,)
    assert source.model == "t2"
    assert source.noise is not None


def test_images_with_maps_are_normalised_together(measured_folder):
    source = open_source(measured_folder / "slice.npz", MeasuredData(folder=measured_folder))
    np.testing.assert_allclose((np.abs(source.csm) ** 2).sum(axis=0), 1, rtol=1e-5)
    with np.load(measured_folder / "slice.npz") as file:
        np.testing.assert_allclose(source.reference[:, 0], 2 * file["image"], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(source.coil_images[:, :, 0], file["image"][:, None] * file["sens"], rtol=1e-4, atol=1e-6)
    assert source.times["te"].tolist() == [0.01, 0.05, 0.1]


def test_parts_have_files_of_their_own(measured_folder):
    found = sets(measured_folder)
    files = {name: set(s.files) for name, s in found.items()}
    assert all(files.values())
    assert all(not files[a] & files[b] for a, b in itertools.combinations(files, 2))
    assert set.union(*files.values()) == {p for p in measured_folder.iterdir() if p.suffix != ".txt"}
    assert len({frozenset(map(str, sets(measured_folder, seed=s)["validation"].files)) for s in range(8)}) > 1


@pytest.mark.parametrize("kind", ["cartesian", "jittered", "radial"])
def test_samples_are_those_of_the_coil_images(measured_folder, kind):
    counts = {"mean": 4, "validation": 1}
    found = sets(measured_folder, counts=counts, trajectories=(kind,))["mean"]
    scan = found.scan(1)
    path = list(found.files)[1 % len(found.files)]
    source = open_source(path, found.settings)
    if kind == "radial":
        assert scan.kspace.traj is not None
        # Along a trajectory: what the maps make of the reference, but for the noise that no map explains.
        clean = acquisition(scan.kspace, scan.csm)(torch.from_numpy(scan.truth)).numpy()
        assert np.linalg.norm(scan.kspace.data - clean) < 0.25 * np.linalg.norm(clean)
        return
    full = centred_fft(torch.from_numpy(source.coil_images)).numpy()
    measured = np.broadcast_to(scan.kspace.mask[:, None], full.shape)
    np.testing.assert_allclose(scan.kspace.data[measured], full[measured], rtol=1e-4, atol=1e-4 * np.abs(full).max())
    assert not scan.kspace.data[~measured].any()
    part = scan.kspace.mask.mean()
    assert 1 / 3.2 < part < 1 / 1.8


def test_examples_depend_on_seed_and_number_and_masks_differ(measured_folder):
    first, again = sets(measured_folder)["mean"], sets(measured_folder)["mean"]
    assert np.array_equal(first.scan(2).kspace.data, again.scan(2).kspace.data)
    assert not np.array_equal(first.scan(0).kspace.mask, first.scan(len(first.files)).kspace.mask)
    with pytest.raises(IndexError):
        first.scan(6)


def test_rectangles_are_cut_from_image_maps_and_truth_alike(measured_folder):
    found = sets(measured_folder, crop=20, counts={"mean": 6, "validation": 1})["mean"]
    for i in range(4):
        scan = found.scan(i)
        assert scan.truth.shape[-2:] == scan.csm.shape[-2:] == scan.mask.shape[-2:] == found.size(i) == (20, 20)
        full = np.broadcast_to(scan.kspace.mask[:, None], scan.kspace.data.shape)
        clean = centred_fft(torch.from_numpy(scan.csm[None] * scan.truth[:, None])).numpy()
        assert np.linalg.norm((scan.kspace.data - clean)[full]) < 0.3 * np.linalg.norm(clean[full])


def test_noise_is_added_and_known(measured_folder):
    counts = {"mean": 1, "validation": 1}
    plain, noisy = (sets(measured_folder, counts=counts, snr=snr)["mean"].scan(0) for snr in ((), (15.0, 15.0)))
    assert np.array_equal(plain.kspace.mask, noisy.kspace.mask)
    added = (noisy.kspace.data - plain.kspace.data)[np.broadcast_to(plain.kspace.mask[:, None], plain.kspace.data.shape)]
    signal = np.abs(plain.truth[:, plain.mask]).mean(axis=1).max()
    assert added.real.std() == pytest.approx(signal / 15, rel=0.05)
    own = 0.0 if plain.kspace.noise is None else plain.kspace.noise.real.var()
    assert noisy.kspace.noise.real.var() == pytest.approx((signal / 15) ** 2 + own, rel=0.05)


def test_a_volume_gives_its_slices_with_signal(tmp_path):
    image = np.zeros((3, 4, 24, 24), np.complex64)
    image[:, 1:3, 6:18, 6:18] = np.array([3, 2, 1])[:, None, None, None]
    np.savez(tmp_path / "volume.npz", image=image, sens=np.repeat(birdcage(4, 24), 4, axis=1), te_s=[0.01, 0.02, 0.03])
    source = open_source(tmp_path / "volume.npz", MeasuredData(folder=tmp_path))
    assert source.slices == (1, 2)
    shutil.copy(tmp_path / "volume.npz", tmp_path / "other.npz")
    scan = sets(tmp_path, counts={"mean": 2, "validation": 2})["mean"].scan(0)
    assert scan.truth.shape == (3, 1, 24, 24)
    assert scan.mask.any()


def write(folder, name="a.h5", **changes):
    kspace, _ = simulate(
        SimulationSettings(**{"size": 24, "n_coils": 3, "times": (0.01, 0.05, 0.1), "acceleration": 1.0, **changes})
    )
    write_ismrmrd(folder / name, kspace)
    return folder / name


@pytest.mark.parametrize(
    ("changes", "network", "message"),
    [
        ({"acceleration": 2.0}, CONTRAST, r"a.h5: is not fully sampled \(50 % of the grid was measured\)"),
        ({"trajectory": "radial", "acceleration": 2.0}, CONTRAST, "a.h5: was measured along a trajectory; give k-space on a grid"),
        ({}, NetworkSettings(layout="channels", contrasts=8), "has 3 contrasts, the network 8; set network.contrasts=3"),
        ({}, NetworkSettings(components=4), "has 3 contrasts for 4 temporal components; set network.components=3"),
    ],
)
def test_measurements_that_cannot_be_trained_with(tmp_path, changes, network, message):
    with pytest.raises(InputError, match=message):
        check_source(write(tmp_path, **changes), MeasuredData(folder=tmp_path), network)


def test_missing_times_and_how_to_give_them(tmp_path):
    kspace, _ = simulate(SimulationSettings(size=24, n_coils=3, acceleration=1.0))
    write_ismrmrd(tmp_path / "a.h5", dataclasses.replace(kspace, times={}))
    network = NetworkSettings()
    with pytest.raises(InputError, match=r"states no echo or inversion times; set data\.measured\.te"):
        check_source(tmp_path / "a.h5", MeasuredData(folder=tmp_path), network)
    te = tuple(0.01 * (i + 1) for i in range(8))
    assert check_source(tmp_path / "a.h5", MeasuredData(folder=tmp_path, te=te), network) == (24, 24)
    assert check_source(tmp_path / "a.h5", MeasuredData(folder=tmp_path), CONTRAST) == (24, 24)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": np.ones((3, 24, 24))}, "has image of type float64"),
        ({"image": np.ones((3, 20, 24), complex)}, r"has image of shape \(3, 1, 20, 24\) and sens of shape"),
        ({"image": np.full((3, 24, 24), np.nan + 0j)}, "has NaN or infinity in image"),
        ({"te_s": np.array([0.01, 0.02])}, "has 3 images and 2 te"),
        ({"te_s": np.array([10.0, 20.0, 30.0])}, "seconds"),
    ],
)
def test_bad_images_with_maps(tmp_path, changes, message):
    arrays = {"image": np.ones((3, 24, 24), complex), "sens": birdcage(3, 24)[:, 0], "te_s": np.array([0.01, 0.02, 0.03])} | changes
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        check_source(tmp_path / "a.npz", MeasuredData(folder=tmp_path), CONTRAST)


def test_files_without_signal(tmp_path):
    np.savez(tmp_path / "a.npz", image=np.zeros((3, 24, 24), complex), sens=birdcage(3, 24)[:, 0])
    with pytest.raises(InputError, match="holds no signal"):
        open_source(tmp_path / "a.npz", MeasuredData(folder=tmp_path))


def test_folders_that_hold_too_little(tmp_path, measured_folder):
    with pytest.raises(InputError, match="is not a folder"):
        list_sources(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match="holds 1 files, none of them raw data"):
        list_sources(tmp_path)
    shutil.copy(measured_folder / "slice.npz", tmp_path)
    with pytest.raises(InputError, match="holds 1 measurements; give at least 3"):
        sets(tmp_path)
