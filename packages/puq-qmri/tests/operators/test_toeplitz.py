from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from puq_qmri.operators import Identity, Nufft, Sensitivity, Toeplitz
from puq_qmri.operators.toeplitz import kernel_spectrum
from puq_qmri.testing import check_linear_operator


def exact_normal(traj, matrix, weights):
    """``A^H W A`` of the definition as one matrix for each contrast."""
    grid = matrix[-traj.shape[-1] :]
    where = np.stack(np.meshgrid(*[np.arange(n) - n // 2 for n in grid], indexing="ij"), -1).reshape(-1, len(grid))
    phase = np.einsum("pjd,rd->pjr", traj.reshape(len(traj), -1, len(grid)).numpy(), where)
    forward = np.exp(-1j * phase) / np.sqrt(np.prod(matrix))
    return np.einsum("pjr,pj,pjs->prs", forward.conj(), weights.reshape(len(traj), -1).numpy(), forward)


@given(
    seed=st.integers(0, 2**31),
    contrasts=st.integers(1, 3),
    coils=st.integers(1, 3),
    matrix=st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
)
def test_is_the_exact_normal_operator(seed, contrasts, coils, matrix):
    generator = torch.Generator().manual_seed(seed)
    dim = 2 if matrix[0] == 1 else 3
    traj = (torch.rand(contrasts, 3, 5, dim, generator=generator, dtype=torch.float64) * 2 - 1) * np.pi
    weights = torch.rand(contrasts, 1, 3, 5, generator=generator, dtype=torch.float64)
    operator = Nufft(traj, matrix, coils).weighted_gram(weights)
    assert isinstance(operator, Toeplitz)
    x = torch.randn(operator.domain, generator=generator, dtype=torch.complex128)
    expected = np.einsum("prs,pcs->pcr", exact_normal(traj, matrix, weights), x.reshape(contrasts, coils, -1).numpy())
    np.testing.assert_allclose(operator(x).reshape(expected.shape), expected, atol=1e-9 * np.abs(expected).max())
    single = operator(x.to(torch.complex64))
    assert single.dtype == torch.complex64
    np.testing.assert_allclose(single.reshape(expected.shape), expected, atol=5e-6 * np.abs(expected).max())


@pytest.mark.parametrize("matrix", [(1, 6, 5), (3, 4, 5)])
def test_is_self_adjoint_positive_and_differentiable(matrix):
    traj = torch.rand(2, 4, 6, 2 if matrix[0] == 1 else 3, dtype=torch.float64) * 2 - 1
    operator = Nufft(traj, matrix, 2).gram
    check_linear_operator(operator, tolerance=1e-9)
    x = torch.randn(operator.domain, dtype=torch.complex128)
    assert torch.vdot(x.ravel(), operator(x).ravel()).real > 0
    assert torch.autograd.gradcheck(operator, (x.requires_grad_(),))


def test_two_transforms_are_kept_where_samples_are_so_few_that_they_are_faster(rng):
    matrix = (1, 20, 20)
    for samples, eps, convolved in ((19, 1e-4, False), (21, 1e-4, True), (19, 1e-6, True)):
        nufft = Nufft(torch.as_tensor(rng.uniform(-3, 3, (1, 1, samples, 2))), matrix, 2, eps=eps)
        assert isinstance(nufft.gram, Toeplitz) == convolved
        x = torch.randn(nufft.domain, dtype=torch.complex128)
        np.testing.assert_allclose(nufft.gram(x), nufft.adjoint(nufft(x)), atol=10 * eps * float(x.norm()))
    slow = Nufft(torch.as_tensor(rng.uniform(-3, 3, (1, 1, 3, 2))), matrix, 2, eps=1e-4, backend="torchkbnufft")
    assert isinstance(slow.gram, Toeplitz)
    volume = Nufft(torch.as_tensor(rng.uniform(-3, 3, (1, 1, 3, 3))), (20, 20, 20), 2, eps=1e-4)
    assert isinstance(volume.gram, Toeplitz)


def test_goes_through_coil_maps_and_keeps_the_two_transforms_where_a_convolution_cannot_do(rng):
    traj = torch.as_tensor(rng.uniform(-3, 3, (2, 4, 9, 2)))
    nufft = Nufft(traj, (1, 6, 7), 3, eps=1e-12)
    maps = torch.as_tensor(rng.standard_normal((3, 1, 6, 7)) + 0j)
    model = nufft @ Sensitivity(maps, 2)
    x = torch.randn(model.domain, dtype=torch.complex128)
    shared = torch.as_tensor(rng.random((2, 1, 4, 9)))
    np.testing.assert_allclose(model.weighted_gram(shared)(x), model.adjoint(shared * model(x)), atol=1e-9)
    per_coil = torch.as_tensor(rng.random((2, 3, 4, 9)))
    np.testing.assert_allclose(model.weighted_gram(per_coil)(x), model.adjoint(per_coil * model(x)), atol=1e-9)
    # Weights of one value; and the generic form of an operator that knows no faster one.
    np.testing.assert_allclose(model.weighted_gram(torch.tensor(2.0))(x), 2 * model.adjoint(model(x)), atol=1e-9)
    y = torch.randn(2, 3, dtype=torch.complex128)
    np.testing.assert_allclose(Identity((2, 3)).weighted_gram(torch.tensor([1.0, 2.0, 3.0]))(y), y * torch.tensor([1, 2, 3]))


def test_a_trajectory_that_is_learned_keeps_its_gradient():
    traj = (torch.rand(1, 3, 4, 2, dtype=torch.float64) - 0.5).requires_grad_()
    operator = Nufft(traj, (1, 5, 5), 1)
    x = torch.randn(operator.domain, dtype=torch.complex128)
    operator.gram(x).abs().square().sum().backward()
    assert traj.grad is not None
    assert traj.grad.abs().max() > 0


def test_the_spectrum_is_real_because_the_lag_without_a_partner_is_zero(rng):
    points = torch.as_tensor(rng.uniform(-3, 3, (1, 30, 2)))
    spectrum = kernel_spectrum(points, (1, 4, 6), dtype=torch.float64)[0].numpy()
    kernel = np.fft.ifft2(spectrum)
    np.testing.assert_allclose(kernel[4], 0, atol=1e-12)
    np.testing.assert_allclose(kernel[:, 6], 0, atol=1e-12)
    np.testing.assert_allclose(kernel[0, 0], 30 / 24, rtol=1e-10)
