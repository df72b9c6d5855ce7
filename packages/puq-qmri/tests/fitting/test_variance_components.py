"""Variances learned from residuals: made with known ones, they are found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from puq_qmri.fitting.variance_components import Components, Leftover, estimate, mean_variance

N, CONTRASTS = 4000, 8


def leftover(rng: np.random.Generator, variance: Tensor, used: Tensor | None = None) -> Leftover:
    """Residuals of an unweighted linear fit of two parameters to errors of these variances."""
    used = torch.ones_like(variance, dtype=torch.bool) if used is None else used
    jacobian = torch.as_tensor(rng.standard_normal((len(variance), CONTRASTS, 2)))
    errors = torch.where(used, variance.sqrt() * torch.as_tensor(rng.standard_normal(variance.shape)), 0.0)
    seen = jacobian * used[..., None]
    basis, _ = torch.linalg.qr(seen)
    residuals = errors - torch.einsum("vip,vjp,vj->vi", basis, basis, errors)
    return Leftover(residuals=residuals, jacobian=jacobian, used=used)


def predicted(rng: np.random.Generator, spread: float = 0.8) -> Tensor:
    return torch.as_tensor(np.exp(spread * rng.standard_normal((N, CONTRASTS))))


@pytest.mark.parametrize(("factor", "floor"), [(1.0, 0.0), (9.0, 0.0), (0.05, 0.0), (1.0, 1.0), (2.0, 0.3), (0.0, 1.0)])
@pytest.mark.parametrize("unit", [1.0, 1e-8])
def test_factor_and_floor_are_found_in_any_unit(factor: float, floor: float, unit: float) -> None:
    rng = np.random.default_rng(5)
    given = predicted(rng) * unit
    true = Components(factor=factor, floor=floor, kept=1.0)
    found = estimate(leftover(rng, true.variance(given)), given)
    total = factor + floor
    assert found.factor == pytest.approx(factor, abs=0.06 * total)
    assert found.floor == pytest.approx(floor, abs=0.06 * total)
    assert found.kept > 0.98


def test_shuffled_variances_are_found_to_say_nothing() -> None:
    rng = np.random.default_rng(6)
    true = predicted(rng)
    shuffled = torch.as_tensor(rng.permuted(true.numpy(), axis=1))
    found = estimate(leftover(rng, true), shuffled)
    assert found.factor < 0.1 * found.floor


def test_outlier_voxels_do_not_decide() -> None:
    rng = np.random.default_rng(7)
    given = predicted(rng)
    wild = given.clone()
    wild[:80] *= 1e4
    found = estimate(leftover(rng, wild), given)
    assert found.factor == pytest.approx(1, abs=0.08)
    assert 0.96 < found.kept < 0.985


def test_contrasts_that_were_not_used_do_not_count() -> None:
    rng = np.random.default_rng(8)
    given = predicted(rng)
    used = torch.as_tensor(rng.random((N, CONTRASTS)) > 0.2)
    used[:, :4] = True
    seen = leftover(rng, 2 * given, used)
    infinite = torch.where(used, given, torch.inf)
    assert estimate(seen, infinite).factor == pytest.approx(2, rel=0.08)
    assert seen.reduced(infinite) == pytest.approx(2, rel=0.05)
    assert torch.allclose(mean_variance(infinite)[0, 0], given[0][used[0]].mean())
    assert (seen.projector(infinite)[~used] == 0).all()


def test_variances_that_are_all_alike_leave_the_total_right() -> None:
    rng = np.random.default_rng(9)
    flat = torch.ones(N, CONTRASTS, dtype=torch.float64)
    found = estimate(leftover(rng, 3 * flat), flat)
    assert found.factor + found.floor == pytest.approx(3, rel=0.04)


def test_the_projector_removes_what_the_parameters_explain() -> None:
    rng = np.random.default_rng(10)
    given = predicted(rng)[:20]
    seen = leftover(rng, given)
    projector = seen.projector(given)
    assert torch.einsum("vij,vjp->vip", projector, seen.jacobian).abs().max() < 1e-10
    # Of one voxel, by the formula.
    inverse, jacobian = torch.diag(1 / given[0]), seen.jacobian[0]
    direct = inverse - inverse @ jacobian @ torch.linalg.inv(jacobian.T @ inverse @ jacobian) @ jacobian.T @ inverse
    assert torch.allclose(projector[0], direct, atol=1e-10)
