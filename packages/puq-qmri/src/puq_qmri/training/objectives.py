"""What the two stages minimise, and how they are judged on examples that were not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Complex64, Float32
from torch import Tensor, nn

from puq_qmri.networks import UnrolledNetwork
from puq_qmri.networks.losses import beta_nll, squared_error
from puq_qmri.networks.variance import Evidence, VarianceHead
from puq_qmri.training.data import Example
from puq_qmri.training.settings import Loss

_DARK, _FLOOR = 0.05, 1e-4
"""Least squared signal that an error is related to; relative error below which an image counts as right."""


@runtime_checkable
class Objective(Protocol):
    """What a stage trains, and to what end."""

    @property
    def module(self) -> nn.Module:
        """What the optimiser changes."""
        ...

    def prepare(self, example: Example) -> Any:
        """What the loss needs of an example; it stays the same during the stage."""
        ...

    def loss(self, items: Sequence[Any]) -> Tensor:
        """Mean over prepared examples."""
        ...

    def validate(self, items: Iterable[Any]) -> dict[str, float]:
        """Numbers of prepared examples that are not trained on."""
        ...


class MeanObjective:
    """Squared error of the images, in units of the scale of each scan.

    Parameters
    ----------
    network
        What is trained.
    loss
        See :class:`~puq_qmri.training.settings.TrainingSettings`.
    """

    def __init__(self, network: UnrolledNetwork, loss: Loss) -> None:
        self.network, self.kind = network, loss

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.network

    def prepare(self, example: Example) -> Example:
        """The example itself."""
        return example

    def loss(self, items: Sequence[Example]) -> Tensor:
        """Mean over the examples."""
        self.network.train()
        latents = self.network([e.problem for e in items])
        return torch.stack([self._error(x, e) for x, e in zip(latents, items, strict=True)]).mean()

    def _error(self, latent: Tensor, example: Example) -> Tensor:
        problem = example.problem
        if self.kind == "latent":
            return (latent - problem.latent(example.truth)).abs().square().mean()
        if self.kind == "relative":
            # The logarithm: its gradient stays of one size for scans whose start is nearly perfect, which a ratio lets drown all others.
            return ((_relative(latent, example) + _FLOOR) / (_relative(problem.start, example) + _FLOOR)).log()
        images, truth = problem.images(latent) / problem.scale, example.truth / problem.scale
        if self.kind == "images":
            return (images - truth).abs().square().mean()
        if self.kind == "real":
            return (images.real - truth.real).square().mean()
        return (_magnitude(images) - truth.abs()).square().mean()

    @torch.no_grad()
    def validate(self, items: Iterable[Example]) -> dict[str, float]:
        """Error of the images and of those they start from, relative to the true ones, over voxels with signal."""
        self.network.eval()
        found: dict[str, list[float]] = {"nrmse": [], "nrmse_start": []}
        for example in items:
            images = example.problem.images(self.network([example.problem])[0])
            found["nrmse"].append(relative_error(images, example))
            found["nrmse_start"].append(relative_error(example.problem.images(example.problem.start), example))
        return {name: sum(values) / len(values) for name, values in found.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """Finished images as a variance head sees them, and what it should say.

    Attributes
    ----------
    evidence
        Of the images.
    error
        Squared error of one component, in units of the squared scale of the evidence.
    mask
        Voxels with signal.
    """

    evidence: Evidence
    error: Float32[Tensor, "contrast z y x"]
    mask: Bool[Tensor, "1 z y x"]


def shown(
    images: Complex64[Tensor, "contrast z y x"],
    truth: Complex64[Tensor, "contrast z y x"],
    evidence: Evidence,
    mask: Bool[Tensor, "z y x"],
    *,
    real_images: bool,
) -> Shown:
    """Finished images with the evidence of their errors, as a variance head is trained with them."""
    error = squared_error(images, truth, real_images=real_images) / evidence.scale**2
    return Shown(evidence=evidence, error=error, mask=mask[None])


def variance_loss(head: VarianceHead, items: Sequence[Shown], beta: float) -> Tensor:
    """:func:`~puq_qmri.networks.losses.beta_nll` of a head, mean over the examples."""
    head.train()
    return torch.stack([beta_nll(head(s.evidence), s.error, s.mask, beta=beta) for s in items]).mean()


class VarianceObjective:
    """Likelihood of the errors of finished images; the network stays as it is.

    Parameters
    ----------
    network
        Makes the images.
    head
        What is trained.
    beta
        Of :func:`puq_qmri.networks.losses.beta_nll`.
    """

    def __init__(self, network: UnrolledNetwork, head: VarianceHead, beta: float) -> None:
        self.network, self.head, self.beta = network.eval(), head, beta

    @property
    def module(self) -> nn.Module:
        """The head."""
        return self.head

    @torch.no_grad()
    def prepare(self, example: Example) -> Shown:
        """The network's images of an example and their errors."""
        problem = example.problem
        images = problem.images(self.network([problem])[0])
        return shown(images, example.truth, problem.evidence(images), example.mask, real_images=problem.phase is not None)

    def loss(self, items: Sequence[Shown]) -> Tensor:
        """Mean over the examples."""
        return variance_loss(self.head, items, self.beta)

    @torch.no_grad()
    def validate(self, items: Iterable[Shown]) -> dict[str, float]:
        """Negative log-likelihood, and mean squared error over mean predicted variance (1 where the size of errors is right)."""
        self.head.eval()
        nll, errors, variances = [], [], []
        for one in items:
            logarithm = self.head(one.evidence)
            nll.append(float(beta_nll(logarithm, one.error, one.mask, beta=0.0)))
            inside = one.mask.expand_as(logarithm) & logarithm.isfinite()
            errors.append(float(one.error[inside].mean()))
            variances.append(float(logarithm[inside].exp().mean()))
        return {"nll": sum(nll) / len(nll), "error_over_variance": sum(errors) / sum(variances)}


def relative_error(images: Tensor, example: Example) -> float:
    """Root mean square error over root mean square of the truth, where there is signal."""
    inside = example.mask.expand_as(example.truth)
    error, size = (images - example.truth)[inside], example.truth[inside]
    return float((error.abs().square().sum() / size.abs().square().sum()).sqrt())


def _relative(latent: Tensor, example: Example) -> Tensor:
    """Mean over the voxels with signal of the squared error over the squared signal, which has a floor."""
    truth = example.problem.latent(example.truth)
    error, size = (x.abs().square().sum(dim=0)[example.mask] for x in (latent - truth, truth))
    return (error / (size + _DARK)).mean()


def _magnitude(images: Tensor) -> Tensor:
    """With a gradient at zero."""
    return (images.real.square() + images.imag.square() + 1e-12).sqrt()
