from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import InputError
from puq_qmri.operators import Identity, LinearOperator, Mask
from puq_qmri.testing import check_linear_operator


class Matrix(LinearOperator):
    """A dense complex matrix on vectors: everything about it is known from numpy."""

    def __init__(self, matrix):
        super().__init__((matrix.shape[1],), (matrix.shape[0],))
        self.matrix = torch.as_tensor(matrix)

    def _forward(self, x):
        return self.matrix @ x

    def _adjoint(self, y):
        return self.matrix.conj().T @ y


def dense(operator):
    columns = torch.eye(int(np.prod(operator.domain)), dtype=torch.complex128)
    return torch.stack([operator(c.reshape(operator.domain)).ravel() for c in columns], dim=1).numpy()


def complex_matrix(rng, rows, columns):
    return rng.standard_normal((rows, columns)) + 1j * rng.standard_normal((rows, columns))


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.tuples(*[st.integers(1, 6)] * 3),
    factor=st.complex_numbers(max_magnitude=10, allow_nan=False, allow_infinity=False),
)
def test_the_algebra_is_that_of_matrices(seed, sizes, factor):
    rng = np.random.default_rng(seed)
    a, b, c = (
        complex_matrix(rng, sizes[0], sizes[1]),
        complex_matrix(rng, sizes[1], sizes[2]),
        complex_matrix(rng, sizes[0], sizes[1]),
    )
    operator, inner, second = Matrix(a), Matrix(b), Matrix(c)
    for built, expected in (
        (operator @ inner, a @ b),
        (operator + second, a + c),
        (factor * operator, factor * a),
        (operator * factor, factor * a),
        (operator.H, a.conj().T),
        ((factor * (operator + second) @ inner).H, (factor * (a + c) @ b).conj().T),
        (operator.gram, a.conj().T @ a),
        (operator.H.gram, a @ a.conj().T),
        ((factor * operator).gram, abs(factor) ** 2 * a.conj().T @ a),
        ((operator @ inner).gram, (a @ b).conj().T @ (a @ b)),
        ((operator + second).gram, (a + c).conj().T @ (a + c)),
    ):
        np.testing.assert_allclose(dense(built), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("factor", [2, 0.5, 1j, np.float64(3), np.complex64(1 + 1j)], ids=repr)
def test_any_number_is_a_factor_on_either_side(rng, factor):
    matrix = complex_matrix(rng, 3, 2)
    for built in (factor * Matrix(matrix), Matrix(matrix) * factor):
        np.testing.assert_allclose(dense(built), complex(factor) * matrix)


def test_operators_are_composed_with_at_and_not_with_a_star(rng):
    square = Matrix(complex_matrix(rng, 3, 3))
    with pytest.raises(TypeError, match="unsupported operand"):
        square * square


def test_all_forms_keep_their_promises(rng):
    a, b = Matrix(complex_matrix(rng, 4, 3)), Matrix(complex_matrix(rng, 3, 5))
    for operator in (a, a @ b, a + a, (1 - 2j) * a, a.H, a.gram, Identity((2, 3))):
        check_linear_operator(operator, tolerance=1e-12)


def test_a_faster_normal_operator_of_the_outer_one_is_used(rng):
    class Fast(Matrix):
        @property
        def gram(self):
            return Identity(self.domain)

    inner = Matrix(complex_matrix(rng, 3, 2))
    np.testing.assert_allclose(dense((Fast(complex_matrix(rng, 4, 3)) @ inner).gram), dense(inner.gram), rtol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda a, b: a @ a, r"Matrix\[3\]->\[4\] @ Matrix\[3\]->\[4\]: \(4,\) does not fit \(3,\)"),
        (lambda a, b: a + b, r"Matrix\[3\]->\[4\] \+ Matrix\[2\]->\[3\]: the shapes differ"),
        (
            lambda a, b: a(torch.zeros(4, dtype=torch.complex64)),
            r"Matrix\[3\]->\[4\]: got a tensor of shape \(4,\); give its domain \(3,\)",
        ),
        (lambda a, b: a.adjoint(torch.zeros(3, dtype=torch.complex64)), r"Matrix\[3\]->\[4\]: .*give its codomain \(4,\)"),
        (lambda a, b: (a @ b)(torch.zeros(3, dtype=torch.complex64)), r"Product\[2\]->\[4\]: got a tensor of shape \(3,\)"),
        (lambda a, b: a(torch.zeros(3)), r"Matrix\[3\]->\[4\]: got values of type torch.float32; give complex64 or complex128"),
        (lambda a, b: a.adjoint(torch.zeros(4, dtype=torch.float64)), r"Matrix\[3\]->\[4\]: got values of type torch.float64"),
    ],
)
def test_errors_name_the_operator(rng, build, message):
    a, b = Matrix(complex_matrix(rng, 4, 3)), Matrix(complex_matrix(rng, 3, 2))
    with pytest.raises(InputError, match=message):
        build(a, b)


class TestMask:
    @pytest.mark.parametrize("shape", [(5,), (1,), (3, 1), (2, 1, 1), (2, 3, 5), ()])
    def test_multiplies(self, rng, shape):
        values = torch.as_tensor(rng.standard_normal(shape))
        mask = Mask(values, (2, 3, 5))
        x = torch.randn(2, 3, 5, dtype=torch.complex128)
        assert torch.equal(mask(x), values * x)
        check_linear_operator(mask, tolerance=1e-12)
        np.testing.assert_allclose(mask.gram(x), values**2 * x)

    def test_a_boolean_mask_is_its_own_normal_operator(self, rng):
        mask = Mask(torch.as_tensor(rng.random((3, 4)) < 0.5), (3, 4))
        check_linear_operator(mask, tolerance=1e-14)
        x = torch.randn(3, 4, dtype=torch.complex128)
        assert torch.equal(mask.gram(x), mask(x))

    def test_precision_is_that_of_the_values(self):
        mask = Mask(torch.ones(3, dtype=torch.float64), (3,))
        assert mask(torch.ones(3, dtype=torch.complex64)).dtype == torch.complex64

    @pytest.mark.parametrize("shape", [(4,), (2, 3, 5, 1), (2, 2, 3, 5), (3, 3, 5)])
    def test_refuses_what_does_not_broadcast(self, shape):
        with pytest.raises(InputError, match=r"mask: has shape .*give one that broadcasts to \(2, 3, 5\)"):
            Mask(torch.ones(shape), (2, 3, 5))

    def test_refuses_complex_values(self):
        with pytest.raises(InputError, match="mask: is complex"):
            Mask(torch.ones(3, dtype=torch.complex64), (3,))
