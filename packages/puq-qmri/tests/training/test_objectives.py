from __future__ import annotations

import dataclasses

import pytest
import torch

from puq_qmri.networks import NetworkSettings, UnrolledNetwork
from puq_qmri.networks.variance import VarianceHead, VarianceSettings
from puq_qmri.training import SimulatedData, SimulatedExamples
from puq_qmri.training.data import Example
from puq_qmri.training.objectives import MeanObjective, VarianceObjective, relative_error

NETWORK = NetworkSettings(layout="contrast", steps=1, unrolls=1, widths=(4,), dropout=0.0)


RANGES = SimulatedData(
    anatomies=("shapes",),
    trajectories=("cartesian",),
    contrasts=(3, 3),
    sizes=(24,),
    n_coils=(3, 3),
    acceleration=(2.0, 2.0),
    objects=5,
)


@pytest.fixture(scope="module")
def found():
    examples = SimulatedExamples(RANGES, NETWORK, count=3)
    return [examples[i] for i in range(3)]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UnrolledNetwork(NETWORK)


@pytest.mark.parametrize("kind", ["latent", "images", "real", "magnitude"])
def test_the_loss_is_the_squared_error_in_units_of_the_scale(found, network, kind):
    expected = []
    for example in found:
        with torch.no_grad():
            images = example.problem.images(network([example.problem])[0])
        scaled, truth = images / example.problem.scale, example.truth / example.problem.scale
        parts = {"real": lambda x: x.real, "magnitude": lambda x: x.abs()}
        part = parts.get(kind, lambda x: x)
        expected.append((part(scaled) - part(truth)).abs().square().mean())
    loss = MeanObjective(network, kind).loss(found)
    assert loss.item() == pytest.approx(float(torch.stack(expected).mean()), rel=1e-4)
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


class _Given(UnrolledNetwork):
    """A network whose latent images are these parts of the way from the start to the truth."""

    def __init__(self, parts):
        super().__init__(NETWORK)
        self.parts = parts

    def forward(self, problems):
        pairs = zip(self.parts, problems, strict=True)
        return [p.start + part * (p.latent(truth) - p.start) for (part, truth), p in pairs]


def test_the_relative_loss_counts_every_scan_alike_however_good_its_start(found):
    def loss(parts, examples):
        return MeanObjective(_Given([(a, e.truth) for a, e in zip(parts, examples, strict=True)]), "relative").loss(examples).item()

    assert loss([0.0, 0.0, 0.0], found) == pytest.approx(0, abs=1e-6)
    # Half of the error is a quarter of the squared error, in one scan as in another: the logarithm adds up.
    halves = [loss([0.5], [e]) for e in found]
    assert halves == pytest.approx([-2 * 0.6931] * 3, abs=0.02)
    near = found[0].problem.start + 0.9 * (found[0].problem.latent(found[0].truth) - found[0].problem.start)
    good = dataclasses.replace(found[0], problem=dataclasses.replace(found[0].problem, start=near))
    assert loss([-9.0, 0.0, 0.0], [good, *found[1:]]) < 2  # ten times the error of a start that is good: no more than log(100) / 3


def test_scaling_the_measurement_leaves_the_loss(network):
    scan = SimulatedExamples(RANGES, NETWORK, count=1).scan(0)
    kspace = dataclasses.replace(
        scan.kspace, data=scan.kspace.data * 50, noise=None if scan.kspace.noise is None else scan.kspace.noise * 50
    )
    bright = dataclasses.replace(scan, kspace=kspace, truth=scan.truth * 50)
    losses = [MeanObjective(network, "images").loss([Example.of(s, NETWORK)]).item() for s in (scan, bright)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_validation_is_the_relative_error_where_there_is_signal(found, network):
    result = MeanObjective(network, "images").validate(found)
    by_hand = []
    for example in found:
        start = example.problem.images(example.problem.start).numpy()
        truth, mask = example.truth.numpy(), example.mask.numpy()
        by_hand.append(float((abs(start - truth)[:, mask] ** 2).sum() ** 0.5 / (abs(truth)[:, mask] ** 2).sum() ** 0.5))
    assert result["nrmse_start"] == pytest.approx(sum(by_hand) / 3, rel=1e-4)
    assert relative_error(found[0].truth, found[0]) == 0
    assert network.training is False


def test_the_variance_stage_leaves_the_network_alone_and_learns_the_size_of_errors(found, network):
    torch.manual_seed(1)
    head = VarianceHead(VarianceSettings(channels=4, dilations=(1,)))
    objective = VarianceObjective(network, head, beta=0.5)
    items = [objective.prepare(e) for e in found]
    before = objective.validate(items)
    optimiser = torch.optim.Adam(objective.module.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        objective.loss(items).backward()
        optimiser.step()
    after = objective.validate(items)
    assert all(p.grad is None for p in network.parameters())
    assert after["nll"] < before["nll"]
    assert after["error_over_variance"] == pytest.approx(1, abs=0.3)
