from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from puq_qmri.reconstruction.wavelets import HaarFrame

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))


@given(shape=SHAPES, levels=st.integers(1, 4), seed=st.integers(0, 2**31), complex_=st.booleans())
def test_the_frame_is_tight_and_synthesis_is_its_adjoint_and_inverse(shape, levels, seed, complex_):
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.complex128 if complex_ else torch.float64
    frame = HaarFrame(axes=(-1, -2) if shape[1] == 1 else (-1, -2, -3), levels=levels)
    x = torch.randn(shape, generator=generator, dtype=dtype)
    details, coarse = frame.analysis(x)
    assert len(details) == levels * frame.per_level
    energy = sum(d.abs().square().sum() for d in [*details, coarse])
    torch.testing.assert_close(energy, x.abs().square().sum())
    torch.testing.assert_close(frame.synthesis(details, coarse), x)
    other = [torch.randn(shape, generator=generator, dtype=dtype) for _ in [*details, coarse]]
    there = sum(torch.vdot(a.ravel(), b.ravel()) for a, b in zip([*details, coarse], other, strict=True))
    back = torch.vdot(x.ravel(), frame.synthesis(other[:-1], other[-1]).ravel())
    torch.testing.assert_close(there, back)


def test_coefficients_shift_with_the_image_and_vanish_on_a_constant():
    frame = HaarFrame(axes=(-1, -2), levels=3)
    x = torch.randn(2, 1, 12, 10, dtype=torch.float64)
    details, coarse = frame.analysis(x)
    moved, moved_coarse = frame.analysis(torch.roll(x, (3, -4), (-1, -2)))
    for a, b in zip([*details, coarse], [*moved, moved_coarse], strict=True):
        torch.testing.assert_close(torch.roll(a, (3, -4), (-1, -2)), b)
    flat, level = frame.analysis(torch.full((1, 1, 8, 8), 2.0))
    assert all(not d.any() for d in flat)
    assert torch.equal(level, torch.full((1, 1, 8, 8), 2.0))


def test_white_noise_has_the_stated_size_in_every_band():
    frame = HaarFrame(axes=(-1, -2), levels=3)
    details, _ = frame.analysis(torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0)))
    for band, values in enumerate(details):
        assert abs(values.std() / frame.scale(band) - 1) < 0.06
