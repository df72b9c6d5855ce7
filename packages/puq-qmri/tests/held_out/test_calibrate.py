from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from medcore.errors import InputError
from puq_qmri.calibration import Calibration
from puq_qmri.held_out import calibrate_scans
from puq_qmri.imaging import PipelineSettings
from puq_qmri.reconstruction import ReconstructionSettings
from puq_qmri.simulation import SimulationSettings, birdcage, simulate
from puq_qmri.training.data import Scan


def simulated(seed, **changes):
    settings = {"size": 32, "n_coils": 4, "times": (0.01, 0.04, 0.12), "acceleration": 4.0, "snr": 30.0, "seed": seed}
    kspace, truth = simulate(SimulationSettings(**{**settings, **changes}))
    csm = birdcage(kspace.n_coils, kspace.matrix[-1])  # known, which saves the time of ESPIRiT
    return Scan(
        kspace=dataclasses.replace(kspace, csm=csm), csm=csm, truth=truth.images, mask=np.isfinite(truth.maps["m0"]), model="t2"
    )


def settings(method="cg-sense", **changes):
    chosen = {"reconstruction": ReconstructionSettings(method=method), "uncertainty": "pseudo-replica", "n_replicas": 8}
    return PipelineSettings(**{**chosen, **changes})


@pytest.fixture(scope="module")
def judged():
    return calibrate_scans([simulated(s) for s in (1, 2, 3)], settings(), sampling="cartesian", seeds=(1, 2, 3))


class TestCalibrateScans:
    def test_intervals_of_noise_alone_are_too_narrow_and_calibrated_ones_hold_on_scans_left_out(self, judged):
        before, after = judged.coverage[0.9]
        assert before < 0.8
        # Three scans of a few thousand correlated values: within some percent of what is promised.
        assert after == pytest.approx(0.9, abs=0.04)
        assert judged.apart
        assert judged.scores["rms_z"][1] == pytest.approx(1, abs=0.15)
        assert judged.scores["nll"][1] < judged.scores["nll"][0]

    def test_it_has_a_scale_for_each_contrast_and_says_what_it_was_measured_on(self, judged):
        calibration = judged.calibration
        assert len(calibration.scale) == 3
        assert min(calibration.scale) > 1
        assert calibration.provenance.method == "cg-sense, pseudo-replica"
        assert (calibration.provenance.n_scans, calibration.provenance.seeds) == (3, (1, 2, 3))

    def test_a_single_scan_is_judged_by_itself_and_says_so(self):
        found = calibrate_scans([simulated(1)], settings())
        assert not found.apart
        assert found.coverage[0.9][1] == pytest.approx(0.9, abs=0.002)

    def test_protocols_that_vary_get_one_scale(self):
        found = calibrate_scans([simulated(1), simulated(2, times=(0.01, 0.1))], settings())
        assert isinstance(found.calibration.scale, float)
        with pytest.raises(InputError, match=r"scans: have \[2, 3\] contrasts"):
            calibrate_scans([simulated(1), simulated(2, times=(0.01, 0.1))], settings(), per_contrast=True)

    def test_errors_of_images_with_a_shared_phase_are_those_along_it(self):
        """The subspace of one component: a phase off by a constant everywhere is no error."""
        plain = simulated(1, times=(0.01, 0.04, 0.12))
        turned = dataclasses.replace(plain, truth=plain.truth * np.complex64(np.exp(1j)))
        first, second = (calibrate_scans([scan], settings("subspace")) for scan in (plain, turned))
        np.testing.assert_allclose(first.calibration.scale, second.calibration.scale, rtol=1e-3)

    def test_without_uncertainty_there_is_nothing_to_calibrate(self):
        with pytest.raises(InputError, match="leaves nothing to calibrate"):
            calibrate_scans([simulated(1)], settings(uncertainty="none"))

    def test_without_scans(self):
        with pytest.raises(InputError, match="calibration: has no scan"):
            calibrate_scans([], settings())


class TestCommand:
    @pytest.fixture
    def folder(self, puq, tmp_path):
        for seed in (1, 2):
            options = ("--size", 32, "--coils", 4, "--te", "0.01,0.05,0.1", "--seed", seed, "--acceleration", 2)
            assert puq("simulate", "-o", tmp_path / "scans" / f"s{seed}.h5", *options).code == 0
        return tmp_path / "scans"

    def test_from_scans_to_a_file_that_can_be_used(self, puq, folder, tmp_path):
        output = tmp_path / "calibration.json"
        done = puq("calibrate", folder, "-o", output, "--replicas", 4, "--json")
        assert done.code == 0, done.err
        facts = json.loads(done.out)
        calibration = Calibration.read(output)
        assert facts["calibration"] == calibration.as_dict()
        assert calibration.provenance.seeds == (1, 2)
        assert set(facts["coverage"]) == {"0.5", "0.68", "0.9", "0.95"}
        assert facts["judged_on_other_scans"] is True
        assert puq("calibrate", folder, "-o", output, "--replicas", 4).code == 3

    def test_the_table_shows_before_and_after(self, puq, folder, tmp_path):
        done = puq("calibrate", folder, "-o", tmp_path / "c.json", "--replicas", 4, "--scale", "one")
        assert done.code == 0, done.err
        assert "inside 95 % intervals" in done.out
        assert "after, on scans left out" in done.out
        assert "area under sparsification error" in done.out
        assert "for all contrasts" in done.out

    def test_a_dry_run_writes_nothing(self, puq, folder, tmp_path):
        done = puq("calibrate", folder, "-o", tmp_path / "c.json", "--dry-run")
        assert done.code == 0
        assert "would write" in done.out
        assert not (tmp_path / "c.json").exists()

    def test_a_folder_without_scans_is_an_error_in_one_line(self, puq, tmp_path):
        done = puq("calibrate", tmp_path, "-o", tmp_path / "c.json")
        assert done.code == 2
        assert len(done.err.strip().splitlines()) == 1
        assert "holds no raw data" in done.err


def test_the_calibrated_deviation_is_that_of_the_file(judged, tmp_path):
    from puq_qmri.imaging import estimate
    from puq_qmri.preparation import prepare

    judged.calibration.write(tmp_path / "c.json")
    white = prepare(simulated(5).kspace)
    plain, used = (estimate(white, settings(calibration=c), model="t2").prediction.std for c in ("none", str(tmp_path / "c.json")))
    scale = torch.tensor(judged.calibration.scale)[:, None, None, None]
    known = plain.isfinite()
    torch.testing.assert_close(used[known], (plain * scale)[known], rtol=1e-4, atol=0)
