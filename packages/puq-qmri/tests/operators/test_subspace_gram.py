from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import InputError
from puq_qmri.operators import Expansion, Fft, Mask, Nufft, Sensitivity, SubspaceConvolution, SubspaceToeplitz
from puq_qmri.testing import check_linear_operator


def drawn(generator, shape):
    return torch.randn(shape, generator=generator, dtype=torch.complex128)


def fourier(kind, contrasts, coils, matrix, generator):
    """A Fourier operator, and weights of its samples that all coils share."""
    if kind == "radial":
        traj = (torch.rand(contrasts, 3, 5, 2 if matrix[0] == 1 else 3, generator=generator, dtype=torch.float64) * 2 - 1) * np.pi
        return Nufft(traj, matrix, coils, eps=1e-12), torch.rand(contrasts, 1, 3, 5, generator=generator, dtype=torch.float64)
    shape = {"points": (contrasts, 1, *matrix), "lines": (contrasts, 1, 1, matrix[1], 1), "whole": (1, 1, 1, 1, 1)}[kind]
    mask = torch.rand(shape, generator=generator) < (2 if kind == "whole" else 0.6)
    weights = torch.rand(contrasts, 1, matrix[0], 1, 1, generator=generator, dtype=torch.float64)
    # As a measurement brings it: for every point of the grid.
    return Fft((contrasts, coils, *matrix), mask.expand(contrasts, 1, *matrix)), weights


@pytest.mark.parametrize("kind", ["radial", "points", "lines", "whole"])
@given(
    seed=st.integers(0, 2**31),
    contrasts=st.integers(1, 5),
    components=st.integers(1, 4),
    coils=st.integers(1, 3),
    matrix=st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
    weighted=st.booleans(),
)
def test_is_the_normal_operator_between_bases(kind, seed, contrasts, components, coils, matrix, weighted):
    generator = torch.Generator().manual_seed(seed)
    transform, weights = fourier(kind, contrasts, coils, matrix, generator)
    model = transform @ Sensitivity(drawn(generator, (coils, *matrix)), contrasts)
    basis = torch.randn(contrasts, components, generator=generator, dtype=torch.float64)
    operator = model.subspace_gram(basis, weights if weighted else None)
    a = drawn(generator, operator.domain)
    images = torch.einsum("pk,kzyx->pzyx", basis.to(a.dtype), a)
    samples = model(images) * (weights if weighted else 1)
    expected = torch.einsum("pk,pzyx->kzyx", basis.to(a.dtype), model.adjoint(samples))
    scale = float(expected.abs().max()) + 1e-300
    np.testing.assert_allclose(operator(a), expected, atol=1e-9 * scale)
    single = operator(a.to(torch.complex64))
    np.testing.assert_allclose(single, expected, atol=1e-5 * scale)


@pytest.mark.parametrize("kind", ["radial", "points", "lines", "whole"])
@pytest.mark.parametrize("matrix", [(1, 6, 5), (3, 4, 5)])
def test_is_self_adjoint_positive_and_differentiable(kind, matrix):
    generator = torch.Generator().manual_seed(3)
    transform, weights = fourier(kind, 4, 2, matrix, generator)
    model = transform @ Sensitivity(drawn(generator, (2, *matrix)), 4)
    basis = torch.linalg.qr(torch.randn(4, 3, generator=generator, dtype=torch.float64)).Q
    for operator in (model.subspace_gram(basis, weights), transform.subspace_gram(basis)):
        check_linear_operator(operator, tolerance=1e-9)
        x = drawn(generator, operator.domain)
        assert torch.vdot(x.ravel(), operator(x).ravel()).real > 0
        assert torch.autograd.gradcheck(operator, (x.requires_grad_(),), fast_mode=True)


def test_takes_the_short_way_where_there_is_one():
    generator = torch.Generator().manual_seed(4)
    basis = torch.randn(4, 2, generator=generator)
    radial, shared = fourier("radial", 4, 3, (1, 6, 5), generator)
    assert isinstance(radial.subspace_gram(basis, shared), SubspaceToeplitz)
    grid, _ = fourier("lines", 4, 3, (1, 6, 5), generator)
    convolution = grid.subspace_gram(basis)
    assert isinstance(convolution, SubspaceConvolution)
    # Whole lines along x: nothing to transform there.
    assert convolution.axes == (-2,)


@pytest.mark.parametrize("kind", ["radial", "points"])
def test_other_ways_give_the_same(kind):
    """Weights of each coil, multiples, and operators before the coils that know no other number of contrasts."""
    generator = torch.Generator().manual_seed(5)
    transform, _ = fourier(kind, 3, 2, (1, 5, 6), generator)
    basis = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    per_coil = torch.rand(transform.codomain, generator=generator, dtype=torch.float64)
    coils = Sensitivity(drawn(generator, (2, 1, 5, 6)), 3)
    each = Mask(torch.rand(3, 1, 5, 6, generator=generator, dtype=torch.float64), coils.domain)
    a = drawn(generator, (2, 1, 5, 6))
    for model in (transform @ coils, 2j * (transform @ coils), transform @ coils @ each, transform @ (coils @ each)):
        for weights in (per_coil, None):
            expansion = Expansion(basis, model.domain)
            there = model(expansion(a))
            expected = expansion.adjoint(model.adjoint(there if weights is None else weights * there))
            np.testing.assert_allclose(model.subspace_gram(basis, weights)(a), expected, atol=1e-9 * float(expected.abs().max()))


def test_an_expansion_keeps_its_promises(rng):
    check_linear_operator(Expansion(torch.as_tensor(rng.standard_normal((5, 3))), (5, 2, 1, 4, 3)), tolerance=1e-12)


@pytest.mark.parametrize(
    ("basis", "message"),
    [
        (torch.ones(3, 2), r"temporal basis: has shape \(3, 2\); give \(contrast, component\) for 4 contrasts"),
        (torch.ones(4), r"temporal basis: has shape \(4,\)"),
        (torch.ones(4, 0), r"temporal basis: has shape \(4, 0\)"),
        (torch.ones(4, 2, dtype=torch.complex64), "temporal basis: has values of type torch.complex64"),
        (torch.ones(4, 2, dtype=torch.int64), "temporal basis: has values of type torch.int64"),
    ],
)
@pytest.mark.parametrize("kind", ["radial", "points"])
def test_bad_bases(kind, basis, message):
    transform, _ = fourier(kind, 4, 2, (1, 4, 4), torch.Generator().manual_seed(0))
    model = transform @ Sensitivity(torch.ones(2, 1, 4, 4, dtype=torch.complex64), 4)
    for operator in (transform, model):
        with pytest.raises(InputError, match=message):
            operator.subspace_gram(basis)
