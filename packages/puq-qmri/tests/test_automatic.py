"""What a scan gets where nobody names a method."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medcore.errors import ConfigError
from puq_qmri.automatic import JOINT, automatic_method, automatic_uncertainty
from puq_qmri.held_out import calibrate_scans
from puq_qmri.imaging import PipelineSettings, settled
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
        ({}, "unrolled", False, "learned"),
        ({}, "cg-sense", False, "learned"),
        ({}, "adjoint", False, "pseudo-replica"),
        ({}, "adjoint", True, "learned"),
        ({"acceleration": 1.0}, "cg-sense", False, "pseudo-replica"),
    ],
)
def test_the_learned_deviations_are_for_what_samples_leave_open(changes, method, weights, expected):
    assert automatic_uncertainty(scan(**changes), method, weights=weights) == expected


def test_without_noise_and_without_weights_there_is_nothing_to_propagate():
    quiet = dataclasses.replace(scan(acceleration=1.0), noise=np.zeros((4, 64), np.complex64))
    assert automatic_uncertainty(quiet, "cg-sense", weights=False) == "none"


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
