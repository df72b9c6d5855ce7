"""What a scan gets where nobody names a method."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from medcore.errors import ConfigError
from puq_qmri.automatic import JOINT, automatic_method, automatic_uncertainty
from puq_qmri.calibration import Calibration, Provenance
from puq_qmri.held_out import calibrate_scans
from puq_qmri.imaging import PipelineSettings, estimate, settled
from puq_qmri.networks import NetworkSettings, UnrolledNetwork
from puq_qmri.networks.weights import save_weights
from puq_qmri.pipeline import image_model, reconstruct_images
from puq_qmri.reconstruction import ReconstructionSettings, Reconstructor
from puq_qmri.simulation import SimulationSettings, birdcage, simulate


def scan(**changes):
    given = {"size": 32, "n_coils": 4, "times": (0.01, 0.03, 0.06, 0.12), "acceleration": 3.0, "snr": 40.0}
    kspace, _ = simulate(SimulationSettings(**{**given, **changes}))
    return dataclasses.replace(kspace, csm=birdcage(kspace.n_coils, kspace.matrix[-1]))


def without(kspace, *lost):
    mask = kspace.mask.copy()
    mask[list(lost)] = False
    return dataclasses.replace(kspace, mask=mask, data=kspace.data * mask[:, None])


@pytest.mark.parametrize(
    ("changes", "model", "expected"),
    [
        ({}, "t2", JOINT),
        ({"model": "t1", "times": (0.1, 0.4, 1.0, 3.0)}, "ir", JOINT),
        ({"trajectory": "radial"}, "t2", JOINT),
        ({"acceleration": 1.0}, "t2", "cg-sense"),
        ({"trajectory": "radial", "acceleration": 1.0}, "t2", "cg-sense"),
        ({"times": (0.01, 0.06)}, "t2", "cg-sense"),
        ({}, "t2star", "cg-sense"),
        ({}, "ir", "cg-sense"),
        ({}, None, "cg-sense"),
    ],
)
def test_contrasts_are_joined_where_samples_are_missing_and_the_model_allows_it(changes, model, expected):
    assert automatic_method(scan(**changes), model) == expected


def test_a_lost_contrast_is_no_reason_for_a_network_and_does_not_count_as_measured():
    full = scan(acceleration=1.0)
    full = dataclasses.replace(full, mask=np.ones((4, 1, 32, 32), bool))
    assert automatic_method(without(full, 1), "t2") == "cg-sense"
    assert automatic_method(without(scan(), 1), "t2") == JOINT
    assert automatic_method(without(scan(), 1, 2), "t2") == "cg-sense"


@pytest.mark.parametrize(
    ("changes", "method", "weights", "expected"),
    [
        ({}, "unrolled", (), "learned"),
        ({}, "cg-sense", (), "learned"),
        ({}, "adjoint", (), "pseudo-replica"),
        ({}, "adjoint", ("cg-sense",), "learned"),
        ({}, "unrolled", ("unrolled", "unrolled"), "ensemble"),
        ({"acceleration": 1.0}, "cg-sense", (), "pseudo-replica"),
        ({"acceleration": 1.0}, "unrolled", ("unrolled",), "pseudo-replica"),
    ],
)
def test_the_learned_deviations_are_for_what_samples_leave_open(changes, method, weights, expected):
    assert automatic_uncertainty(scan(**changes), method, weights=weights) == expected


def test_without_noise_and_without_weights_there_is_nothing_to_propagate():
    quiet = dataclasses.replace(scan(acceleration=1.0), noise=np.zeros((4, 64), np.complex64))
    assert automatic_uncertainty(quiet, "cg-sense", weights=()) == "none"


def test_what_was_named_stays_and_what_was_chosen_is_told():
    kspace = scan()
    named = PipelineSettings(reconstruction=ReconstructionSettings(method="adjoint"), uncertainty="none")
    assert settled(named, kspace, "t2") == named
    passes = PipelineSettings(uncertainty="mc-dropout")
    assert settled(passes, scan(acceleration=1.0), "t2").reconstruction.method == "unrolled"
    steps = PipelineSettings(reconstruction=ReconstructionSettings(method="auto", max_iterations=3))
    assert settled(steps, kspace, "t2").reconstruction == ReconstructionSettings(method=JOINT, max_iterations=3)
    images = reconstruct_images(kspace)
    assert (images.facts["method"], images.facts["uncertainty"]) == (JOINT, "learned")
    assert images.summary()["method"] == JOINT


def test_weights_that_are_named_tell_the_method_and_a_network_without_head_propagates_noise(tmp_path):
    kspace = scan()
    assert settled(PipelineSettings(weights=("cg-sense",)), kspace, "t2").reconstruction.method == "cg-sense"
    save_weights(tmp_path / "w", network=UnrolledNetwork(NetworkSettings(unrolls=1, widths=(4,))))
    found = settled(PipelineSettings(weights=(str(tmp_path / "w"),)), scan(acceleration=1.0), "t2")
    assert found.reconstruction.method == "unrolled"
    found = settled(PipelineSettings(weights=(str(tmp_path / "w"),)), kspace, "t2")
    assert (found.reconstruction.method, found.uncertainty) == ("unrolled", "pseudo-replica")


def test_several_networks_are_an_ensemble_and_each_is_told(tmp_path):
    for seed in (1, 2):
        torch.manual_seed(seed)
        save_weights(tmp_path / str(seed), network=UnrolledNetwork(NetworkSettings(unrolls=1, widths=(4,))))
    folders = tuple(str(tmp_path / name) for name in ("1", "2"))
    found = estimate(scan(), PipelineSettings(weights=folders), model="t2")
    assert found.facts["uncertainty"] == "ensemble"
    assert [m["weights"] for m in found.facts["members"]] == list(folders)


def test_a_head_is_for_the_errors_of_one_method():
    learned = PipelineSettings(
        reconstruction=ReconstructionSettings(method="adjoint"), uncertainty="learned", weights=("cg-sense",)
    )
    with pytest.raises(ConfigError, match="cg-sense predict errors of method cg-sense, and the method is adjoint"):
        estimate(scan(), learned, model="t2")
    with pytest.raises(ConfigError, match="--weights: names 2 folders for method adjoint"):
        estimate(scan(), dataclasses.replace(learned, weights=("cg-sense", "cg-sense")), model="t2")


@pytest.mark.parametrize(("measured", "right"), [("cg-sense, learned", False), ("adjoint, pseudo-replica", True), ("", True)])
def test_a_calibration_of_another_method_or_uncertainty_is_refused(tmp_path, measured, right):
    provenance = Provenance(n_scans=1, n_values=10, method=measured)
    Calibration(scale=2.0, quantiles={0.95: 2.0}, provenance=provenance).write(tmp_path / "c.json")
    settings = PipelineSettings(
        reconstruction=ReconstructionSettings(method="adjoint"), uncertainty="pseudo-replica", n_replicas=2, calibration="none"
    )
    plain = estimate(scan(), settings, model="t2").prediction
    settings = dataclasses.replace(settings, calibration=str(tmp_path / "c.json"))
    if right:
        np.testing.assert_allclose(estimate(scan(), settings, model="t2").prediction.std, 2 * plain.std)
        return
    with pytest.raises(ConfigError, match="was measured on cg-sense, learned, and this is adjoint, pseudo-replica"):
        estimate(scan(), settings, model="t2")


def test_times_that_tell_of_no_model_leave_contrast_by_contrast():
    kspace = dataclasses.replace(scan(), times={})
    settings = PipelineSettings()
    assert image_model(settings, kspace) is None
    assert settled(settings, kspace, None).reconstruction.method == "cg-sense"


def test_a_calibration_and_a_reconstructor_are_for_one_method():
    with pytest.raises(ConfigError, match="method or uncertainty auto; name the ones that are to be calibrated"):
        calibrate_scans([], PipelineSettings())
    with pytest.raises(ConfigError, match=r"method auto: may be a network; use puq_qmri\.imaging\.estimate"):
        Reconstructor(kspace=scan(), settings=ReconstructionSettings(method="auto"))
