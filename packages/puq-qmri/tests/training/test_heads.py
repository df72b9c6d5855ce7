from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from medcore.errors import ConfigError, NumericalError
from puq_qmri.imaging import PipelineSettings, estimate
from puq_qmri.networks import NetworkSettings
from puq_qmri.networks.losses import nll
from puq_qmri.networks.variance import VarianceSettings
from puq_qmri.networks.weights import load_weights
from puq_qmri.training.data import SimulatedExamples
from puq_qmri.training.heads import HeadSettings, finished_scans, make_head, train_head
from puq_qmri.training.ranges import SimulatedData
from puq_qmri.training.settings import StageSettings

SMALL = SimulatedData(
    anatomies=("shapes",),
    trajectories=("cartesian",),
    contrasts=(3, 4),
    sizes=(32,),
    n_coils=(4, 4),
    mixed=0.5,
    acceleration=(1.5, 4.0),
    objects=40,
)


def settings(method="cg-sense", **changes):
    stage = StageSettings(steps=250, batch=2, learning_rate=8e-3, schedule="one-cycle")
    head = VarianceSettings(channels=8, dilations=(1, 2))
    return HeadSettings(
        **{"method": method, "head": head, "data": SMALL, "examples": 80, "calibration": 6, "stage": stage, **changes}
    )


@pytest.fixture(scope="module")
def scans():
    return list(finished_scans(settings(), "variance"))


class TestTrainHead:
    def test_it_predicts_errors_of_scans_that_it_never_saw_better_than_a_constant(self, scans):
        head = train_head(scans, settings())
        others = list(finished_scans(settings(), "validation"))
        constant = torch.tensor(np.log(np.mean([float(s.shown.error[s.mask.expand_as(s.truth)].mean()) for s in scans])))
        learned, fixed = [], []
        for scan in others:
            with torch.no_grad():
                predicted = head(scan.evidence)
            learned.append(float(nll(predicted, scan.shown.error, scan.shown.mask)))
            fixed.append(float(nll(constant.expand_as(predicted).float(), scan.shown.error, scan.shown.mask)))
        assert np.mean(learned) < np.mean(fixed) - 0.1

    def test_the_seed_decides_and_random_numbers_outside_go_on(self, scans):
        few = settings(stage=StageSettings(steps=2, batch=2, learning_rate=1e-3))
        torch.manual_seed(1)
        expected = torch.rand(2)
        torch.manual_seed(1)
        first, same = (train_head(scans[:3], few) for _ in range(2))
        assert torch.equal(torch.rand(2), expected)
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))

    def test_a_loss_that_is_not_finite_stops_it(self, scans):
        broken = dataclasses.replace(scans[0], truth=scans[0].truth * torch.nan)
        with pytest.raises(NumericalError, match="variance head, step 1: has the loss nan"):
            train_head([broken], settings())


def test_scans_to_train_and_to_calibrate_with_share_no_object(scans):
    others = list(finished_scans(settings(calibration=6), "validation"))
    assert not any(
        a.truth.shape == b.truth.shape and torch.equal(a.mask, b.mask) and torch.allclose(a.truth, b.truth)
        for a in scans
        for b in others
    )


@pytest.mark.parametrize("method", ["cg-sense", "subspace"])
def test_it_is_written_as_weights_with_recipe_and_calibration(tmp_path, method):
    few = settings(method, examples=2, calibration=2, stage=StageSettings(steps=1, batch=1, learning_rate=1e-3))
    make_head(tmp_path / "head", few, card="# A head\n")
    weights = load_weights(tmp_path / "head")
    assert weights.network is None
    assert weights.head.settings == few.head
    assert weights.calibration.provenance.method == f"{method}, learned"
    assert weights.method == method
    assert isinstance(weights.calibration.scale, float)
    assert weights.recipe["data"]["sizes"] == [32]
    scan = SimulatedExamples(SMALL, NetworkSettings(), count=1, seed=9).scan(0)
    found = estimate(scan.kspace, PipelineSettings(uncertainty="learned", weights=(str(tmp_path / "head"),)), model=scan.model)
    assert found.facts["method"] == method
    assert found.facts["weights"] == str(tmp_path / "head")
    inside = found.images.abs() > 0.2 * found.images.abs().max()
    assert found.prediction.std[inside].isfinite().all()
    assert (found.prediction.std[inside] > 0).all()


@pytest.mark.parametrize(("changes", "message"), [({"examples": 0}, "examples=0"), ({"seed": -1}, "seed=-1")])
def test_bad_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        settings(**changes)
