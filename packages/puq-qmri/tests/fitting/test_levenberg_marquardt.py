"""Levenberg-Marquardt for every model: against scipy, against variable projection, at bounds, and on hopeless voxels."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from puq_qmri.fitting import variable_projection
from puq_qmri.fitting.levenberg_marquardt import solve
from puq_qmri.signal_models import Parameter, SeparableModel, SignalModel, get_model

sys.path.insert(0, str(Path(__file__).parent))
from solver_cases import CASES, Case, referee

each = pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
quick = pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c.name, marks=[pytest.mark.integration] if c.name.startswith("epg") else []) for c in CASES],
)
"""One voxel at a time: echo trains take too long for it in a quick run."""
SEPARABLE = [c for c in CASES if isinstance(c.model, SeparableModel)]


def agreement_with_scipy(case: Case, rng: np.random.Generator, count: int) -> float:
    """Share of voxels with all parameters within 1e-4 of scipy's, SNR 50, random weights."""
    truth, signal, known, times = case.draw(rng, count, 50.0)
    weights = torch.tensor(np.exp(rng.uniform(-1.5, 0, signal.shape)))
    found = solve(case.model, times, signal, weights, known=known)
    assert found.converged.all()
    agree = []
    for i in range(count):
        start = truth[i].numpy()
        starts = [
            start,
            start * np.array([1.0, 0.6, *[1.0] * (len(start) - 2)]),
            start * np.array([1.0, 1.7, *[1.0] * (len(start) - 2)]),
        ]
        expected, cost = referee(case.model, times, signal[i], weights[i].sqrt(), starts, None if known is None else known[i])
        assert found.cost[i] <= cost * (1 + 1e-9) + 1e-20, f"scipy found a smaller misfit in voxel {i}"
        agree.append(np.allclose(found.parameters[i].numpy(), expected, rtol=1e-4, atol=0))
    return float(np.mean(agree))


@each
def test_the_estimates_are_those_of_bounded_least_squares_by_scipy(case, rng) -> None:
    assert agreement_with_scipy(case, rng, 25) == 1


@pytest.mark.property
@pytest.mark.timeout(1800)
@each
def test_a_thousand_voxels_agree_with_scipy(case, rng) -> None:
    assert agreement_with_scipy(case, rng, 1000) >= 0.999


@pytest.mark.parametrize("snr", [1e6, 50.0, 20.0])
@pytest.mark.parametrize("case", SEPARABLE, ids=[c.name for c in SEPARABLE])
def test_variable_projection_finds_the_same(case, snr, rng) -> None:
    columns = Case(case.name, case.times, case.tissue, settings=case.settings)
    _, signal, _, times = columns.draw(rng, 400, snr)
    weights = torch.tensor(np.exp(rng.uniform(-1.5, 0, signal.shape)))
    one, other = solve(case.model, times, signal, weights), variable_projection.solve(case.model, times, signal, weights)
    usable = ~other.at_bound
    assert usable.float().mean() > 0.97
    assert one.converged.all()
    # Where an offset is next to undetermined its last digits are those of the tolerance.
    distance = ((one.parameters - other.parameters).abs() / other.parameters.abs())[usable].amax(-1)
    assert distance.quantile(0.995) < 1e-6
    assert distance.max() < 1e-4
    # Either may stop 1e-8 away from the minimum, where the misfit is higher by the square of that.
    torch.testing.assert_close(one.cost[usable], other.cost[usable], rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("name", ["t2", "t2-offset", "ir", "vfa"])
def test_a_correlation_of_the_contrasts_counts_in_both_fitters(name, rng) -> None:
    case = next(c for c in CASES if c.name == name)
    _, signal, _, times = Case(case.name, case.times, case.tissue, settings=case.settings).draw(rng, 30, 30.0)
    n = len(times)
    correlation = 0.6 ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    whitening = torch.tensor(np.linalg.inv(np.linalg.cholesky(correlation)))
    weights = torch.tensor(np.exp(rng.uniform(-1.0, 0, signal.shape)))
    one = solve(case.model, times, signal, weights, whitening=whitening)
    other = variable_projection.solve(case.model, times, signal, weights, whitening=whitening)
    torch.testing.assert_close(one.parameters, other.parameters, rtol=1e-6, atol=1e-9)
    # The misfit is the generalised one, with the inverse covariance of every voxel.
    residual = (signal - case.model.signal(one.parameters, times)).numpy()
    root = weights.sqrt().numpy()
    expected = [r @ np.linalg.solve(correlation / np.outer(w, w), r) for r, w in zip(residual, root, strict=True)]
    np.testing.assert_allclose(one.cost.numpy(), expected, rtol=1e-9)
    moved = one.parameters.clone()
    for factor in (0.999, 1.001):
        moved[:, 1] = one.parameters[:, 1] * factor
        away = (signal - case.model.signal(moved, times)).numpy()
        worse = [r @ np.linalg.solve(correlation / np.outer(w, w), r) for r, w in zip(away, root, strict=True)]
        assert (np.array(worse) > np.array(expected)).all()


@quick
def test_voxels_do_not_influence_each_other(case, rng) -> None:
    parts = [case.draw(rng, 2, snr) for snr in (1e4, 20.0, 2.0)]
    signal, times = torch.cat([p[1] for p in parts]), parts[0][3]
    known = None if parts[0][2] is None else torch.cat([p[2] for p in parts])
    start = torch.cat([p[0] for p in parts])
    weights = torch.ones_like(signal)
    together = solve(case.model, times, signal, weights, start=start, known=known)
    assert len(together.iterations.unique()) > 1, "the voxels must settle at different times for this test to mean anything"
    for i in range(len(signal)):
        row = slice(i, i + 1)
        alone = solve(case.model, times, signal[row], weights[row], start=start[row], known=None if known is None else known[row])
        torch.testing.assert_close(alone.parameters, together.parameters[row], rtol=1e-7, atol=1e-12)
        assert alone.iterations.item() == together.iterations[i].item()


@each
def test_hopeless_voxels_are_no_crash_and_spoil_no_other(case, rng) -> None:
    truth, signal, known, times = case.draw(rng, 12, 40.0)
    start = None if known is None else known
    weights = torch.ones_like(signal)
    good = solve(case.model, times, signal, weights, known=known)
    bad_signal, bad_weights = signal.clone(), weights.clone()
    bad_signal[0], bad_signal[1, 1], bad_signal[2, 0], bad_signal[3], bad_signal[4] = torch.nan, torch.inf, torch.nan, 0.0, 1e-200
    bad_weights[5], bad_weights[6, 1:] = 0.0, 0.0
    found = solve(case.model, times, bad_signal, bad_weights, known=start)
    assert not found.converged[:3].any()
    assert found.parameters[3:7].isfinite().all()
    torch.testing.assert_close(found.parameters[7:], good.parameters[7:], rtol=1e-7, atol=1e-12)
    assert truth.shape == found.parameters.shape


def test_a_parameter_ends_at_its_bound_where_the_misfit_falls_beyond_it() -> None:
    times = torch.linspace(0.01, 0.08, 8, dtype=torch.float64)
    signal = torch.stack([torch.exp(-times / 60.0), torch.exp(-times / 2e-4), torch.linspace(1, 2, 8, dtype=torch.float64)])
    found = solve(get_model("t2"), times, signal, torch.ones_like(signal))
    assert found.at_bound.all()
    assert found.converged.all()
    assert found.parameters[:, 1].tolist() == pytest.approx([5.0, 1e-3, 5.0], rel=1e-9)


@dataclass(frozen=True)
class TwoPools(SignalModel):
    """A fast and a slow decay with a bounded share, no derivative given, and times of its own."""

    fast: float = 0.02

    name: ClassVar[str] = "two-pools"
    summary: ClassVar[str] = "M0 (f exp(-t/fast) + (1-f) exp(-t/T2))"
    source: ClassVar[str] = "test"
    times_key: ClassVar[str] = "te"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(name="m0", map_name="M0map", unit="a.u.", lower=0.0, upper=float("inf")),
        Parameter(name="t2", map_name="T2map", unit="s", lower=0.03, upper=2.0, typical=(0.05, 0.5)),
        Parameter(name="share", map_name="sharemap", unit="1", lower=0.0, upper=1.0),
    )

    def signal(self, parameters: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        m0, t2, share = (p[..., None] for p in parameters.unbind(-1))
        return m0 * (share * torch.exp(-times / self.fast) + (1 - share) * torch.exp(-times / t2))


class Plain(SignalModel):
    """Nothing proportional to anything: a phase that precesses, in radians."""

    name: ClassVar[str] = "precession"
    summary: ClassVar[str] = "sin(w t + p)"
    source: ClassVar[str] = "test"
    times_key: ClassVar[str] = "te"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(name="w", map_name="wmap", unit="rad/s", lower=0.0, upper=60.0),
        Parameter(name="p", map_name="pmap", unit="rad", lower=-2.0, upper=2.0),
    )
    amplitude: ClassVar[int | None] = None

    def signal(self, parameters: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        w, p = (p[..., None] for p in parameters.unbind(-1))
        return torch.sin(w * times + p)


@pytest.mark.parametrize(
    ("model", "ranges"),
    [(TwoPools(), [(50.0, 150.0), (0.08, 0.3), (0.2, 0.6)]), (Plain(), [(5.0, 50.0), (-1.5, 1.5)])],
    ids=["without-jacobian", "without-amplitude"],
)
def test_a_model_of_a_user_needs_no_more_than_its_signal(model, ranges, rng) -> None:
    times = torch.linspace(0.005, 0.3, 24, dtype=torch.float64)
    truth = torch.tensor(np.stack([rng.uniform(*r, 60) for r in ranges], -1))
    clean = model.signal(truth, times)
    found = solve(model, times, clean, torch.ones(1, 24, dtype=torch.float64))
    torch.testing.assert_close(found.parameters, truth, rtol=1e-5, atol=1e-6)
    noisy = clean + 0.01 * clean.abs().amax(-1, keepdim=True) * torch.tensor(rng.standard_normal(clean.shape))
    seen = solve(model, times, noisy, torch.ones_like(noisy))
    for i in range(20):
        _, cost = referee(model, times, noisy[i], torch.ones(24, dtype=torch.float64), [truth[i].numpy()], None)
        assert seen.cost[i] <= cost * (1 + 1e-8)


def test_a_step_limit_that_is_too_small_is_reported(rng) -> None:
    case = CASES[3]
    _, signal, _, times = case.draw(rng, 10, 20.0)
    hasty = solve(case.model, times, signal, torch.ones_like(signal), max_iterations=1)
    assert not hasty.converged.any()
    assert (hasty.iterations == 1).all()


def test_a_bad_start_costs_steps_and_not_the_estimate(rng) -> None:
    case = CASES[0]
    _, signal, _, times = case.draw(rng, 50, 50.0)
    good = solve(case.model, times, signal, torch.ones_like(signal))
    start = torch.tensor([[1e-3, 2.0]], dtype=torch.float64).expand(50, -1)
    bad = solve(case.model, times, signal, torch.ones_like(signal), start=start)
    torch.testing.assert_close(bad.parameters, good.parameters, rtol=1e-6, atol=0)
    assert bad.iterations.double().mean() > good.iterations.double().mean() + 2


def test_a_fixed_parameter_stays_and_the_others_are_the_best_with_it(rng) -> None:
    case = CASES[3]
    truth, signal, _, times = case.draw(rng, 20, 30.0)
    start = truth * torch.tensor([1.0, 1.1, 1.0])
    held = solve(case.model, times, signal, torch.ones_like(signal), start=start, fixed=1)
    torch.testing.assert_close(held.parameters[:, 1], start[:, 1], rtol=1e-12, atol=0)
    for i in range(len(signal)):
        basis = case.model.basis(start[i, 1], times).numpy()
        _, cost, *_ = np.linalg.lstsq(basis, signal[i].numpy(), rcond=None)
        assert held.cost[i].item() == pytest.approx(cost[0], rel=1e-9)


def test_with_the_time_constant_fixed_the_amplitude_alone_is_found(rng) -> None:
    case = CASES[0]
    truth, signal, _, times = case.draw(rng, 20, 30.0)
    held = solve(case.model, times, signal, torch.ones_like(signal), start=truth, fixed=1)
    curve = torch.exp(-times / truth[:, 1:])
    torch.testing.assert_close(held.parameters[:, 0], (curve * signal).sum(-1) / (curve**2).sum(-1), rtol=1e-10, atol=0)
    assert held.converged.all()
