"""The search for the time constant against a dense grid, on voxels with any amount of noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from puq_qmri.fitting.solution import Solution
from puq_qmri.fitting.variable_projection import GRID_RATIO, solve
from puq_qmri.signal_models import get_model

DENSE = 1200


def dense_search(name: str, times: np.ndarray, signal: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least misfit over a dense grid of time constants, by QR of every basis, and where it is."""
    model = get_model(name)
    bounds = model.parameters[model.nonlinear]
    grid = np.geomspace(bounds.lower, bounds.upper, DENSE)
    t = torch.tensor(times)
    least, where = np.full(len(signal), np.inf), np.zeros(len(signal))
    root = np.sqrt(weights)
    for value in grid:
        basis = model.basis(torch.tensor(value, dtype=torch.float64), t).numpy()
        q, _ = np.linalg.qr(root[:, :, None] * (basis / np.abs(basis).max(axis=0)))
        target = root * signal
        residual = target - np.einsum("vcl,vl->vc", q, np.einsum("vcl,vc->vl", q, target))
        cost = (residual**2).sum(axis=1)
        where[cost < least] = value
        least = np.minimum(cost, least)
    return least, where


@pytest.mark.parametrize("snr", [1000.0, 30.0, 5.0, 1.0, 0.1])
@pytest.mark.parametrize("name", ["t2", "t2-offset", "ir", "ir2"])
def test_no_other_time_constant_fits_better(name, snr, rng, times, measure) -> None:
    _, images = measure(name, rng, 200, 100 / snr)
    signal = images[:, 0, 0].T.copy() / 100
    weights = np.exp(rng.uniform(-3, 0, signal.shape))
    found = solve(get_model(name), *(torch.tensor(v) for v in (times[name], signal, weights)))
    least, where = dense_search(name, times[name], signal, weights)
    total = (weights * signal**2).sum(axis=1)
    assert (found.cost.numpy() <= least + 1e-9 * least + 1e-13 * total).all()
    assert found.converged.all()
    assert int(found.iterations.max()) <= 15
    step = math.log(10_000) / DENSE
    flat = found.cost.numpy() > (1 - 1e-9) * least  # as good within rounding: the place says nothing
    away = np.abs(np.log(where / found.parameters[:, 1].numpy()))
    assert (away[~flat] < 2 * step).all()


@pytest.mark.parametrize("name", ["t2", "ir"])
def test_the_misfit_has_one_minimum_between_the_neighbours_of_the_best_grid_point(name, rng, times, measure) -> None:
    _, images = measure(name, rng, 100, 80.0)
    signal, t = torch.tensor(images[:, 0, 0].T / 100), torch.tensor(times[name])
    model = get_model(name)
    found = solve(model, t, signal, torch.ones(1, len(t), dtype=torch.float64))
    inner = ~found.at_bound
    offsets = torch.linspace(-math.log(GRID_RATIO), math.log(GRID_RATIO), 81, dtype=torch.float64)
    constants = (found.parameters[inner, 1].log()[:, None] + offsets).exp()
    basis = model.basis(constants, t)
    basis, _ = torch.linalg.qr(basis)
    target = signal[inner][:, None, :, None]
    cost = ((target - basis @ (basis.mT @ target)) ** 2).sum((-1, -2))
    rising = torch.diff(cost) > 0
    turns = torch.diff(rising.int(), dim=-1)
    assert inner.sum() > 50
    assert (turns >= 0).all(), "the misfit falls again after it has risen"


def test_the_gradient_vanishes_at_the_estimate(rng, times, measure) -> None:
    _, images = measure("ir", rng, 300, 40.0)
    signal, t = torch.tensor(images[:, 0, 0].T / 100), torch.tensor(times["ir"])
    model = get_model("ir")
    found = solve(model, t, signal, torch.ones_like(signal))
    inner = ~found.at_bound
    residual = (signal - model.signal(found.parameters, t))[inner]
    jacobian = model.jacobian(found.parameters, t)[inner]
    cosine = torch.einsum("vc,vcp->vp", residual, jacobian) / (residual.norm(dim=-1, keepdim=True) * jacobian.norm(dim=-2))
    assert cosine.abs().max() < 1e-7


def fields(solution: Solution, rows: slice | int) -> list[torch.Tensor]:
    return [getattr(solution, n)[rows] for n in ("parameters", "cost", "converged", "at_bound", "iterations")]


@pytest.mark.parametrize("name", ["t2", "t2-offset", "ir"])
def test_voxels_do_not_influence_each_other(name, rng, times, measure) -> None:
    images = np.concatenate([measure(name, rng, 20, 100 / snr)[1] for snr in (1e4, 20.0, 1.0)], axis=-1)
    signal, t = torch.tensor(images[:, 0, 0].T / 100), torch.tensor(times[name])
    weights = torch.tensor(rng.uniform(0.1, 1, signal.shape))
    model = get_model(name)
    together = solve(model, t, signal, weights)
    assert len(together.iterations.unique()) > 1, "the voxels must settle at different times for this test to mean anything"
    for i in range(len(signal)):
        alone = solve(model, t, signal[i : i + 1], weights[i : i + 1])
        for one, other in zip(fields(alone, slice(0, 1)), fields(together, slice(i, i + 1)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-12)


def test_one_row_of_weights_stands_for_all_voxels(rng, times, measure) -> None:
    _, images = measure("ir", rng, 40, 3.0)
    signal, t = torch.tensor(images[:, 0, 0].T), torch.tensor(times["ir"])
    row = torch.tensor(rng.uniform(0.1, 1, (1, len(t))))
    shared, repeated = (solve(get_model("ir"), t, signal, w) for w in (row, row.expand_as(signal).contiguous()))
    torch.testing.assert_close(shared.parameters, repeated.parameters, rtol=1e-7, atol=0)
    torch.testing.assert_close(shared.cost, repeated.cost)


def test_a_step_limit_that_is_too_small_is_reported(rng, times, measure) -> None:
    _, images = measure("t2", rng, 10, 5.0)
    signal, t = torch.tensor(images[:, 0, 0].T / 100), torch.tensor(times["t2"])
    weights = torch.ones_like(signal)
    hasty = solve(get_model("t2"), t, signal, weights, max_iterations=1)
    patient = solve(get_model("t2"), t, signal, weights)
    assert not hasty.converged.any()
    assert (hasty.iterations <= 1).all()
    assert patient.converged.all()


@pytest.mark.parametrize(
    ("name", "signal", "why"),
    [
        ("t2", [5.0, 5.0, 5.0, 5.0], "a constant has no T2"),
        ("t2", [1.0, 2.0, 3.0, 4.0], "nor has a rising signal"),
        ("t2", [1.0, 0.0, 0.0, 0.0], "a signal in the first echo alone"),
        ("t2-offset", [3.0, 1.0, 1.0, 1.0], "a first echo on a constant"),
        ("t2star", [1.0, 0.0, 0.0, 0.0], "late echoes whose squares vanish"),
    ],
)
def test_signals_that_determine_no_time_constant_lie_at_a_bound(name, signal, why) -> None:
    t = torch.tensor([0.04, 0.06, 0.08, 0.10], dtype=torch.float64)
    values = torch.tensor([signal], dtype=torch.float64)
    assert solve(get_model(name), t, values, torch.ones_like(values)).at_bound.item(), why


@pytest.mark.parametrize("t2", [2e-3, 4.0])
def test_time_constants_near_the_bounds_are_found_without_noise(t2) -> None:
    t = torch.linspace(0.002, 0.03, 12, dtype=torch.float64)
    signal = torch.exp(-t / t2)[None]
    found = solve(get_model("t2"), t, signal, torch.ones_like(signal))
    assert found.parameters[0].tolist() == pytest.approx([1.0, t2], rel=1e-7)
    assert not found.at_bound.item()
