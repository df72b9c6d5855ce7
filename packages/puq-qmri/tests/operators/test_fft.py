from __future__ import annotations

import numpy as np
import pytest
import torch

from medcore.errors import InputError
from puq_qmri.operators import Convolution, Fft
from puq_qmri.testing import check_linear_operator

SHAPES = [(1, 8, 8), (1, 7, 9), (2, 3, 1, 6, 5), (2, 4, 5, 6), (3, 1, 1, 1, 4)]


def centred(x, transform):
    axes = (-3, -2, -1)
    return np.fft.fftshift(transform(np.fft.ifftshift(x, axes), axes=axes, norm="ortho"), axes)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_numpy_centred_and_orthonormal(rng, shape):
    x = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    operator = Fft(shape)
    np.testing.assert_allclose(operator(torch.as_tensor(x)), centred(x, np.fft.fftn), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(operator.adjoint(torch.as_tensor(x)), centred(x, np.fft.ifftn), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", [6, 7])
def test_the_centre_of_image_and_kspace_is_at_half_the_size(n):
    point = torch.zeros(1, n, n, dtype=torch.complex128)
    point[0, n // 2, n // 2] = 1
    np.testing.assert_allclose(Fft((1, n, n))(point), np.full((1, n, n), 1 / n), atol=1e-14)
    constant = torch.ones(1, n, n, dtype=torch.complex128)
    np.testing.assert_allclose(Fft((1, n, n))(constant), n * point, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_keeps_its_promises(rng, shape):
    check_linear_operator(Fft(shape), tolerance=1e-12)
    check_linear_operator(Fft(shape), tolerance=1e-5, dtype=torch.complex64)
    for mask_shape in (shape, shape[-3:], shape[-2:], (*shape[:-2], 1, shape[-1])):
        mask = torch.as_tensor(rng.random(mask_shape) < 0.6)
        check_linear_operator(Fft(shape, mask), tolerance=1e-12)
        check_linear_operator(Fft(shape, mask).gram, tolerance=1e-12)


def test_points_outside_the_mask_come_out_as_zero(rng):
    mask = torch.as_tensor(rng.random((1, 5, 6)) < 0.5)
    x = torch.randn(2, 1, 5, 6, dtype=torch.complex128)
    samples = Fft(x.shape, mask)(x)
    assert torch.equal(samples[:, ~mask], torch.zeros_like(samples[:, ~mask]))
    np.testing.assert_allclose(samples[:, mask], Fft(x.shape)(x)[:, mask])


def test_convolution_with_a_spectrum_of_powers_squares_in_its_gram(rng):
    spectrum = torch.as_tensor(rng.standard_normal((4, 5, 6)))
    check_linear_operator(Convolution(spectrum, (2, 4, 5, 6)), tolerance=1e-12)
    check_linear_operator(Convolution(spectrum, (2, 4, 5, 6)).gram, tolerance=1e-12)


def test_refuses_too_few_axes_and_a_foreign_mask():
    with pytest.raises(InputError, match=r"Fft: has shape \(4, 4\)"):
        Fft((4, 4))
    with pytest.raises(InputError, match="mask: has shape"):
        Fft((1, 4, 4), torch.ones(1, 4, 5, dtype=torch.bool))
