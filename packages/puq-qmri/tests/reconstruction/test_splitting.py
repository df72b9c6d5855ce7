"""The splitting against the same steps written out, and against the minimum that it should reach."""

from __future__ import annotations

import pytest
import torch

from puq_qmri.reconstruction.splitting import COUPLING, iterate, joint_conjugate_gradients, start


class Shrunk:
    """The image as the only detail, made smaller by the soft threshold."""

    def analysis(self, x):
        return [x], torch.zeros_like(x)

    def synthesis(self, details, coarse):
        return details[0] + coarse

    def shrink(self, details, strength, step):
        return [d.sign() * (d.abs() - strength).clamp_min(0) for d in details]


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(1)
    factor = torch.randn(60, 48, generator=generator, dtype=torch.float64)
    matrix = factor.mT @ factor / 60
    right = torch.randn(3, 1, 4, 4, generator=generator, dtype=torch.float64)
    return lambda x: (matrix @ x.flatten()).reshape(x.shape), right


def by_hand(normal, right, regulariser, strength, iterations, inner):
    x, shrunk, multiplier = right, right, torch.zeros_like(right)

    def map_(v):
        return normal(v) + COUPLING * v

    for step in range(iterations):
        x = x + joint_conjugate_gradients(map_, right + COUPLING * (shrunk - multiplier) - map_(x), inner, 0.0)
        (shrunk,) = regulariser.shrink([x + multiplier], strength, step)
        multiplier = x + multiplier - shrunk
    return x


@pytest.mark.parametrize("inner", [1, 3])
def test_it_takes_the_steps_of_the_textbook_with_one_map_less_in_each(problem, inner):
    normal, right = problem
    calls = []

    def counted(x):
        calls.append(1)
        return normal(x)

    regulariser = Shrunk()
    state = iterate(counted, right, start(regulariser, right), regulariser, 0.3, 20, inner=inner)
    torch.testing.assert_close(state.coefficients, by_hand(normal, right, regulariser, 0.3, 20, inner))
    assert len(calls) == 1 + 20 * inner


def test_two_halves_are_one_whole(problem):
    normal, right = problem
    regulariser = Shrunk()
    state = start(regulariser, right)
    whole = iterate(normal, right, state, regulariser, 0.3, 20)
    half = iterate(normal, right, state, regulariser, 0.3, 10)
    torch.testing.assert_close(iterate(normal, right, half, regulariser, 0.3, 10).coefficients, whole.coefficients)


def test_it_ends_where_no_small_change_makes_the_sum_smaller(problem):
    normal, right = problem
    regulariser, strength = Shrunk(), 10.0
    state = iterate(normal, right, start(regulariser, right), regulariser, strength, 1500)
    (x,), force = state.shrunk, right - normal(state.shrunk[0])
    bound = COUPLING * strength  # the threshold is the penalty's weight over that of the splitting
    on = x != 0
    assert on.any()
    assert (~on).any()
    torch.testing.assert_close(force[on], bound * x[on].sign(), atol=1e-5, rtol=0)
    assert (force[~on].abs() <= bound + 1e-5).all()
