from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError, InputError
from medcore.io import write_ismrmrd
from medcore.provenance import RunRecord
from puq_qmri.held_out.scans import HeldOutSettings, aligned, held_out_scans, list_scans, scan_seeds
from puq_qmri.results import write_truth
from puq_qmri.simulation import SimulationSettings, simulate


def write(folder, name="scan", **changes):
    """What ``puq-qmri simulate`` writes."""
    settings = SimulationSettings(**{"size": 32, "n_coils": 4, "times": (0.01, 0.03, 0.1), "seed": 4, **changes})
    kspace, truth = simulate(settings)
    record = RunRecord(command="puq-qmri simulate", settings=settings, seed=settings.seed)
    write_ismrmrd(folder / f"{name}.h5", kspace)
    write_truth(folder / f"{name}_truth", truth, kspace, record)
    return kspace, truth


class TestSimulated:
    def test_comes_back_with_its_complex_truth(self, tmp_path):
        kspace, truth = write(tmp_path)
        (scan,) = held_out_scans(list_scans([tmp_path]), HeldOutSettings())
        np.testing.assert_allclose(scan.kspace.data, kspace.data, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(scan.truth, truth.images, atol=1e-4 * np.abs(truth.images).max())
        assert np.array_equal(scan.mask, np.isfinite(truth.maps["m0"]))
        assert scan.model == "t2"
        assert scan_seeds(list_scans([tmp_path]), HeldOutSettings(seed=9)) == [4]

    def test_a_truth_of_another_scan_is_refused(self, tmp_path):
        write(tmp_path)
        write(tmp_path, "other", times=(0.01, 0.1))
        shutil.rmtree(tmp_path / "scan_truth")
        (tmp_path / "other_truth").rename(tmp_path / "scan_truth")
        with pytest.raises(
            InputError, match=r"desc-noisefree_images.nii.gz: has shape \(2, 1, 32, 32\), the scan \(3, 1, 32, 32\)"
        ):
            list(held_out_scans([tmp_path / "scan.h5"], HeldOutSettings()))

    def test_a_truth_without_phase_is_refused(self, tmp_path):
        write(tmp_path)
        (tmp_path / "scan_truth" / "desc-noisefree_part-phase_images.nii.gz").unlink()
        with pytest.raises(InputError, match=r"scan_truth: lacks desc-noisefree_part-phase_images.nii.gz; simulate the scan again"):
            list(held_out_scans([tmp_path / "scan.h5"], HeldOutSettings()))


class TestFullySampled:
    @pytest.fixture
    def full(self, tmp_path):
        kspace, truth = write(tmp_path, "full", acceleration=1.0, snr=200.0)
        shutil.rmtree(tmp_path / "full_truth")
        return tmp_path / "full.h5", kspace, truth

    @pytest.mark.parametrize("trajectory", ["cartesian", "radial"])
    def test_is_undersampled_and_its_own_truth(self, full, trajectory):
        path, _, truth = full
        settings = HeldOutSettings(acceleration=2.0, trajectory=trajectory, seed=3)
        (scan,) = held_out_scans([path], settings)
        if trajectory == "cartesian":
            assert scan.kspace.mask.mean() == pytest.approx(0.5, abs=0.02)
        else:
            assert scan.kspace.traj.shape[1] == 25
        # But for the phase that coil maps leave open: the same magnitudes as the noise-free images, up to noise.
        error = np.abs(scan.truth[:, scan.mask]) - np.abs(truth.images[:, scan.mask])
        assert np.sqrt(np.mean(error**2)) < 0.05 * np.abs(truth.images).max()
        assert scan_seeds([path], settings) == [3]

    def test_the_seed_decides(self, full):
        first, same, other = (next(held_out_scans([full[0]], HeldOutSettings(seed=s))).kspace.mask for s in (1, 1, 2))
        assert np.array_equal(first, same)
        assert not np.array_equal(first, other)

    def test_an_undersampled_scan_without_truth_is_refused(self, tmp_path):
        write(tmp_path, acceleration=2.0)
        shutil.rmtree(tmp_path / "scan_truth")
        with pytest.raises(InputError, match="is not fully sampled"):
            list(held_out_scans([tmp_path / "scan.h5"], HeldOutSettings()))


class TestList:
    def test_files_and_folders_by_name(self, tmp_path):
        for name in ("b", "a"):
            write(tmp_path, name)
        (tmp_path / "notes.txt").write_text("no scan")
        assert [p.name for p in list_scans([tmp_path])] == ["a.h5", "b.h5"]
        assert list_scans([tmp_path / "b.h5"]) == [tmp_path / "b.h5"]

    def test_nothing_and_what_is_no_scan(self, tmp_path):
        with pytest.raises(InputError, match="holds no raw data"):
            list_scans([tmp_path])
        with pytest.raises(InputError, match=r"none.h5: does not exist"):
            list_scans([tmp_path / "none.h5"])
        (tmp_path / "notes.txt").write_text("no scan")
        with pytest.raises(InputError, match=r"notes.txt: is no raw data"):
            list_scans([tmp_path / "notes.txt"])


class TestAligned:
    @given(seed=st.integers(0, 1000))
    def test_a_smooth_phase_is_undone_and_errors_stay(self, seed):
        generator = np.random.default_rng(seed)
        y, x = np.mgrid[-1:1:32j, -1:1:32j]
        truth = (1 + generator.random((4, 1, 32, 32))) * np.exp(2j * x)
        smooth = np.exp(1j * (generator.uniform(0, 6) + generator.uniform(-1, 1) * y + generator.uniform(-1, 1) * x * y))
        error = 0.1 * (generator.standard_normal((2, 4, 1, 32, 32)) * np.array([1, 1j])[:, None, None, None, None]).sum(axis=0)
        images = truth * smooth + error
        found = aligned(*(torch.from_numpy(a.astype(np.complex64)) for a in (truth, images))).numpy()
        inner = (..., slice(5, -5), slice(5, -5))
        np.testing.assert_allclose(np.abs(found), np.abs(truth), rtol=1e-5)
        # Seven in a thousand of the error's energy may go with 81 voxels of 4 contrasts; the rest stays.
        left = (images - found)[inner]
        assert np.mean(np.abs(left) ** 2) == pytest.approx(np.mean(np.abs(error[inner]) ** 2), rel=0.05)

    def test_where_nothing_is_known_nothing_turns(self):
        truth = torch.ones(2, 1, 12, 12, dtype=torch.complex64)
        assert torch.equal(aligned(truth, torch.zeros_like(truth)), truth)


@pytest.mark.parametrize(
    ("changes", "message"), [({"acceleration": 0.5}, "acceleration 0.5"), ({"slices": 0}, "0 slices"), ({"snr": -1.0}, "snr -1")]
)
def test_bad_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        HeldOutSettings(**changes)
