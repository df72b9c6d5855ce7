from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from puq_qmri.training import StageSettings
from puq_qmri.training.optimisation import (
    RunningMean,
    build_optimiser,
    gradient_norm,
    learning_rate,
    optimiser_tensors,
    restore_optimiser,
    set_rate,
)


def rates(**changes):
    settings = StageSettings(**{"steps": 100, "learning_rate": 0.1, "warmup": 10, **changes})
    return [learning_rate(settings, i) for i in range(settings.steps)]


def test_cosine_warms_up_and_falls_to_zero():
    found = rates()
    assert found[0] == pytest.approx(0.1 / 11)
    assert max(found) == found[10] == pytest.approx(0.1)
    assert all(a < b for a, b in pairwise(found[:11]))
    assert all(a > b for a, b in pairwise(found[10:]))
    assert found[55] == pytest.approx(0.05, rel=0.02)
    assert 0 < found[-1] < 1e-4


def test_one_cycle_rises_for_three_tenths_and_falls():
    found = rates(schedule="one-cycle")
    assert found[0] == pytest.approx(0.1 / 25)
    assert found.index(max(found)) in {29, 30}
    assert max(found) == pytest.approx(0.1, rel=1e-3)
    assert found[-1] == pytest.approx(0, abs=1e-12)


def test_constant_stays_after_the_warm_up():
    assert set(rates(schedule="constant")[10:]) == {0.1}
    assert set(rates(schedule="constant", warmup=0)) == {0.1}


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle", "constant"])
def test_a_single_step_has_a_rate(schedule):
    (found,) = rates(schedule=schedule, steps=1, warmup=0)
    assert 0 < found <= 0.1


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_an_optimiser_goes_on_exactly_where_it_was(name, kind):
    settings = StageSettings(optimiser=name, weight_decay=0.1)

    def run(steps, module, optimiser):
        for i in steps:
            set_rate(optimiser, learning_rate(settings, i))
            optimiser.zero_grad()
            module(torch.full((1, 3), float(i))).square().sum().backward()
            optimiser.step()

    torch.manual_seed(0)
    whole = nn.Linear(3, 2)
    begun = nn.Linear(3, 2)
    begun.load_state_dict(whole.state_dict())
    optimiser = build_optimiser(whole, settings)
    assert type(optimiser) is kind
    run(range(9), whole, optimiser)
    first = build_optimiser(begun, settings)
    run(range(4), begun, first)
    tensors = {k: v.clone() for k, v in optimiser_tensors(first).items()}
    assert all(isinstance(v, torch.Tensor) for v in tensors.values())
    second = build_optimiser(begun, settings)
    restore_optimiser(second, tensors)
    run(range(4, 9), begun, second)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), begun.state_dict().values(), strict=True))


@pytest.mark.parametrize(("clip", "after"), [(0.0, 5.0), (1.0, 1.0), (9.0, 5.0)])
def test_gradients_are_cut_to_a_length(clip, after):
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert float(gradient_norm([parameter], clip)) == pytest.approx(5)
    assert float(parameter.grad.norm()) == pytest.approx(after, rel=1e-4)


def test_the_running_mean_follows_weights_and_copies_counters():
    module = nn.BatchNorm1d(2)
    mean = RunningMean(module, 0.5)
    expected = module.weight.detach().clone()
    for step in range(6):
        with torch.no_grad():
            module.weight += 1.0
            module.num_batches_tracked += 1
        mean.update(module, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module.weight.detach()
    assert torch.allclose(mean.tensors["weight"], expected)
    assert int(mean.tensors["num_batches_tracked"]) == 6
    before = module.weight.detach().clone()
    mean.swap(module)
    assert torch.equal(module.weight.detach(), expected) or torch.allclose(module.weight.detach(), expected)
    mean.swap(module)
    assert torch.equal(module.weight.detach(), before)


def test_without_decay_nothing_is_followed():
    module = nn.Linear(2, 2)
    mean = RunningMean(module, 0.0)
    before = module.weight.detach().clone()
    mean.update(module, 0)
    mean.swap(module)
    assert mean.tensors == {}
    assert torch.equal(module.weight.detach(), before)
    assert math.isfinite(float(before.sum()))
