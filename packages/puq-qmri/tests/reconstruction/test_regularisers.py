"""What the regularisers do to coefficient images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from puq_qmri.reconstruction.regularisers import LowRankBlocks, kept, regulariser_for
from puq_qmri.reconstruction.splitting import iterate, joint_conjugate_gradients, start

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 19), st.integers(1, 19))


@given(threshold=st.floats(0, 3), size=st.floats(0, 100))
def test_soft_takes_off_the_threshold_and_garrote_less_of_what_is_large(threshold: float, size: float) -> None:
    value = torch.tensor(size, dtype=torch.float64)
    soft, garrote = (float(value * kept(value, threshold, shrinkage)) for shrinkage in ("soft", "garrote"))
    assert soft == pytest.approx(max(size - threshold, 0), abs=1e-9)
    assert soft - 1e-9 <= garrote <= size
    if size > 10 * threshold:
        assert size - garrote <= threshold / 10 + 1e-9


@pytest.mark.parametrize("kind", ["wavelet", "locally-low-rank"])
@given(shape=SHAPES, seed=st.integers(0, 2**31), step=st.integers(0, 99))
def test_frames_are_tight_and_no_threshold_changes_nothing(kind: str, shape: tuple[int, ...], seed: int, step: int) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    regulariser = regulariser_for(kind, "soft", shape)  # type: ignore[arg-type]
    details, coarse = regulariser.analysis(x)
    torch.testing.assert_close(regulariser.synthesis(regulariser.shrink(details, 0.0, step), coarse), x, atol=1e-7, rtol=1e-7)


@given(seed=st.integers(0, 2**31), threshold=st.floats(0, 3))
def test_wavelets_of_all_components_shrink_together(seed: int, threshold: float) -> None:
    x = torch.randn(3, 1, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    regulariser = regulariser_for("wavelet", "soft", x.shape)
    details, _ = regulariser.analysis(x)
    for number, (band, shrunk) in enumerate(zip(details, regulariser.shrink(details, threshold, 0), strict=True)):
        limit = threshold * regulariser.frame.scale(number)  # type: ignore[attr-defined]
        norm = band.square().sum(dim=0).sqrt()
        torch.testing.assert_close(shrunk.square().sum(dim=0).sqrt(), (norm - limit).clamp_min(0), atol=1e-12, rtol=1e-9)
        alive = norm > limit
        direction = torch.nn.functional.cosine_similarity(shrunk, band, dim=0)[alive]
        torch.testing.assert_close(direction, torch.ones_like(direction))


def test_blocks_of_one_component_direction_keep_their_rank() -> None:
    """Images that are multiples of one image lose size, not rank; noise beside them loses its own directions first."""
    generator = torch.Generator().manual_seed(1)
    one = torch.randn(1, 1, 16, 16, generator=generator, dtype=torch.float64)
    x = torch.cat([10 * one, 5 * one, one])
    noisy = x + 0.01 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    blocks = LowRankBlocks((1, 8, 8), "garrote")
    (found,) = blocks.shrink([noisy], 0.05, 3)
    assert (found - x).norm() < 0.75 * (noisy - x).norm()


def test_splitting_reaches_the_minimum_of_a_quadratic_with_soft_wavelets() -> None:
    """For the identity as normal operator the minimum is known where wavelets are those of a single pixel pair: zero or shrunk."""
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    regulariser = regulariser_for("wavelet", "soft", x.shape)
    state = iterate(lambda v: v, x, start(regulariser, x), regulariser, 1e-3, 300)

    def objective(v: torch.Tensor) -> float:
        details, _ = regulariser.analysis(v)
        penalty = sum(
            float(d.square().sum(dim=0).sqrt().sum()) * regulariser.frame.scale(i)  # type: ignore[attr-defined]
            for i, d in enumerate(details)
        )
        return float((v - x).square().sum()) / 2 + 0.05 * 1e-3 * penalty

    best = objective(state.coefficients)
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        other = state.coefficients + 1e-3 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        assert best < objective(other) + 1e-9


def test_conjugate_gradients_solve_for_all_components_together() -> None:
    generator = torch.Generator().manual_seed(4)
    square = torch.randn(24, 24, generator=generator, dtype=torch.float64)
    matrix = square @ square.T + torch.eye(24)
    right = torch.randn(2, 1, 3, 4, generator=generator, dtype=torch.float64)
    found = joint_conjugate_gradients(lambda v: (matrix @ v.ravel()).reshape(v.shape), right, 60, 1e-12)
    torch.testing.assert_close((matrix @ found.ravel()).reshape(right.shape), right, atol=1e-7, rtol=1e-7)
