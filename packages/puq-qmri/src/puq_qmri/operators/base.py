r"""Linear operators with an adjoint, and their algebra.

A subclass writes two methods, ``_forward`` and ``_adjoint``; composition ``A @ B``, sum ``A + B``, multiples ``2 * A``, the adjoint
``A.H`` and the normal operator ``A.gram = A.H @ A`` come from here. The composed forms stand in this module so that no
operator needs to import its own package. Operators act on complex tensors and are differentiable by autograd.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Number
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from medcore.errors import InputError

Shape = tuple[int, ...]


class LinearOperator(ABC):
    """A linear map between complex tensors of fixed shapes.

    Parameters
    ----------
    domain, codomain
        Shapes of what it takes and gives.
    """

    device: torch.device | None = None
    """Where its operands must lie; None where any device will do."""

    def __init__(self, domain: Sequence[int], codomain: Sequence[int]) -> None:
        self.domain: Shape = tuple(domain)
        self.codomain: Shape = tuple(codomain)

    @abstractmethod
    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]: ...

    @abstractmethod
    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]: ...

    # Plain tensors in the two public methods: what does not fit is refused by `_check`, with a sentence.
    def __call__(self, x: Tensor) -> Complex[Tensor, "..."]:
        """Apply the operator.

        Raises
        ------
        InputError
            If `x` is not complex, does not have the shape of the domain or lies on another device than the operator.
        """
        self._check(x, self.domain, "domain")
        return self._forward(x)

    def adjoint(self, y: Tensor) -> Complex[Tensor, "..."]:
        """Apply the adjoint.

        Raises
        ------
        InputError
            If `y` is not complex, does not have the shape of the codomain or lies on another device than the operator.
        """
        self._check(y, self.codomain, "codomain")
        return self._adjoint(y)

    def _check(self, x: Tensor, shape: Shape, side: str) -> None:
        if tuple(x.shape) != shape:
            raise InputError(str(self), f"got a tensor of shape {tuple(x.shape)}", f"give its {side} {shape}")
        if x.dtype not in {torch.complex64, torch.complex128}:
            raise InputError(str(self), f"got values of type {x.dtype}", "give complex64 or complex128")
        if self.device not in {None, x.device}:
            raise InputError(str(self), f"lies on {self.device} and got a tensor on {x.device}", "move one of them")

    @property
    def H(self) -> LinearOperator:  # noqa: N802 - the field's sign for the conjugate transpose
        """The adjoint operator."""
        return _Adjoint(self)

    @property
    def gram(self) -> LinearOperator:
        """The normal operator ``A.H @ A``; a subclass may know a faster form."""
        return self.H @ self

    def weighted_gram(self, weights: Tensor) -> LinearOperator:
        """``A.H W A`` with real weights of the samples that broadcast to the codomain; a subclass may know a faster form."""
        return self.H @ Mask(weights, self.codomain) @ self

    def subspace_gram(self, basis: Tensor, weights: Tensor | None = None) -> LinearOperator:
        r"""Normal operator of the coefficients of a temporal basis, ``B.H A.H W A B`` with ``(B a)_p = \sum_k basis_pk a_k``.

        Acts on (component, ...) instead of (contrast, ...). Where the contrasts are sampled on their own, as by :class:`Fft` and
        :class:`Nufft` with coils, it is one convolution between every two components and no image of a contrast is ever made.

        Parameters
        ----------
        basis
            Real (contrast, component), contrasts as on the first axis of the domain.
        weights
            Real, of the samples, broadcastable to the codomain; 1 if not given.

        Raises
        ------
        InputError
            If the basis is not real or has another number of contrasts, or the weights do not fit.
        """
        expansion = Expansion(basis, self.domain)
        return expansion.H @ (self.gram if weights is None else self.weighted_gram(weights)) @ expansion

    def for_contrasts(self, n_contrasts: int) -> LinearOperator | None:  # noqa: ARG002 - subclasses use it
        """The same operator for another size of the first axis; None where it treats the entries of that axis differently."""
        return None

    def for_one_coil(self) -> LinearOperator | None:
        """The same operator for one coil; None where it treats coils differently, or knows none."""
        return None

    def around(self, middle: LinearOperator) -> LinearOperator:
        """``A.H @ middle @ A``; a subclass may know a form that needs less memory."""
        return self.H @ middle @ self

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        """Composition: ``(A @ B)(x) = A(B(x))``."""
        return _Product(self, other)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        """Sum: ``(A + B)(x) = A(x) + B(x)``."""
        return _Sum(self, other)

    def __mul__(self, factor: object) -> LinearOperator:
        """Multiple: ``(c * A)(x) = (A * c)(x) = c * A(x)``."""
        return _Multiple(self, factor) if isinstance(factor, Number) else NotImplemented

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"{type(self).__name__.lstrip('_')}{list(self.domain)}->{list(self.codomain)}"


class SelfAdjoint(LinearOperator):
    """An operator that is its own adjoint; a subclass writes ``_forward`` alone."""

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self._forward(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        """Itself."""
        return self


class _Adjoint(LinearOperator):
    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(operator.codomain, operator.domain)
        self.operator = operator

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self.operator.adjoint(x)

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self.operator(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        return self.operator


class _Product(LinearOperator):
    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        if outer.domain != inner.codomain:
            raise InputError(f"{outer} @ {inner}", f"{inner.codomain} does not fit {outer.domain}", "compose operators that fit")
        super().__init__(inner.domain, outer.codomain)
        self.outer, self.inner = outer, inner

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self.outer(self.inner(x))

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self.inner.adjoint(self.outer.adjoint(y))

    @property
    def gram(self) -> LinearOperator:
        """``B.H @ A.gram @ B``, so that a fast normal operator of the outer one is used."""
        return self.inner.around(self.outer.gram)

    def weighted_gram(self, weights: Tensor) -> LinearOperator:
        """``B.H @ A.weighted_gram(W) @ B``."""
        return self.inner.around(self.outer.weighted_gram(weights))

    def subspace_gram(self, basis: Tensor, weights: Tensor | None = None) -> LinearOperator:
        """The inner operator around the outer one's form, where the inner one does the same to all contrasts."""
        if self.inner.domain[0] != self.inner.codomain[0] or basis.ndim != 2:
            return super().subspace_gram(basis, weights)
        inner = self.inner.for_contrasts(basis.shape[1])
        return super().subspace_gram(basis, weights) if inner is None else inner.around(self.outer.subspace_gram(basis, weights))


class _Sum(LinearOperator):
    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        if (first.domain, first.codomain) != (second.domain, second.codomain):
            raise InputError(f"{first} + {second}", "the shapes differ", "add operators between the same shapes")
        super().__init__(first.domain, first.codomain)
        self.first, self.second = first, second

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self.first(x) + self.second(x)

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self.first.adjoint(y) + self.second.adjoint(y)


class _Multiple(LinearOperator):
    def __init__(self, operator: LinearOperator, factor: Any) -> None:
        super().__init__(operator.domain, operator.codomain)
        self.operator, self.factor = operator, complex(factor)

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self.factor * self.operator(x)

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return self.factor.conjugate() * self.operator.adjoint(y)

    @property
    def gram(self) -> LinearOperator:
        """``|c|^2 A.gram``."""
        return _Multiple(self.operator.gram, abs(self.factor) ** 2)

    def weighted_gram(self, weights: Tensor) -> LinearOperator:
        """``|c|^2 A.weighted_gram(W)``."""
        return _Multiple(self.operator.weighted_gram(weights), abs(self.factor) ** 2)

    def subspace_gram(self, basis: Tensor, weights: Tensor | None = None) -> LinearOperator:
        """``|c|^2 A.subspace_gram(B, W)``."""
        return _Multiple(self.operator.subspace_gram(basis, weights), abs(self.factor) ** 2)


class Expansion(LinearOperator):
    r"""From coefficients (component, ...) to contrasts (contrast, ...): ``x_p = \sum_k basis_pk a_k``.

    Parameters
    ----------
    basis
        Real (contrast, component).
    codomain
        Shape of what it gives, contrasts first.

    Raises
    ------
    InputError
        If the basis is not a real matrix or has another number of contrasts.
    """

    def __init__(self, basis: Tensor, codomain: Sequence[int]) -> None:
        if basis.ndim != 2 or 0 in basis.shape or len(basis) != codomain[0]:
            raise InputError(
                "temporal basis", f"has shape {tuple(basis.shape)}", f"give (contrast, component) for {codomain[0]} contrasts"
            )
        if not basis.is_floating_point():
            raise InputError("temporal basis", f"has values of type {basis.dtype}", "give real floating-point ones")
        super().__init__((basis.shape[1], *codomain[1:]), codomain)
        self.basis, self.device = basis, basis.device

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        result: Tensor = torch.tensordot(self.basis.to(x.dtype), x, dims=1)
        return result

    def _adjoint(self, y: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        result: Tensor = torch.tensordot(self.basis.T.to(y.dtype), y, dims=1)
        return result


class Identity(SelfAdjoint):
    """The map that changes nothing."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape, shape)

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return x


class Mask(SelfAdjoint):
    """Multiplication with real or boolean values: sampling of a grid, weights of samples.

    Parameters
    ----------
    mask
        Values, broadcastable to `shape`.
    shape
        Shape of what it takes and gives.

    Raises
    ------
    InputError
        If `mask` is complex or does not broadcast to `shape`.
    """

    def __init__(self, mask: Tensor, shape: Sequence[int]) -> None:
        super().__init__(shape, shape)
        offered = (1,) * (len(self.domain) - mask.ndim) + tuple(mask.shape)
        if len(offered) > len(self.domain) or any(m not in {1, n} for m, n in zip(offered, self.domain, strict=True)):
            raise InputError("mask", f"has shape {tuple(mask.shape)}", f"give one that broadcasts to {self.domain}")
        if mask.is_complex():
            raise InputError("mask", "is complex", "give real or boolean values")
        # A single value multiplies tensors of any device.
        self.mask, self.device = mask, mask.device if mask.ndim else None

    def _forward(self, x: Complex[Tensor, "..."]) -> Complex[Tensor, "..."]:
        # Without the cast a float64 mask would turn complex64 into complex128.
        return x * (self.mask if self.mask.dtype == torch.bool else self.mask.to(x.real.dtype))

    @property
    def gram(self) -> LinearOperator:
        """Multiplication with the squared mask."""
        return Mask(self.mask if self.mask.dtype == torch.bool else self.mask**2, self.domain)
