"""Ignorance of a network by Monte-Carlo dropout and by ensembles, in the memory of a few passes.

Dropout that stays on draws networks from an approximate posterior (Gal and Ghahramani 2016, arXiv 1506.02142); members of an
ensemble were trained from different starts (Lakshminarayanan et al. 2017, arXiv 1612.01474). Either way the spread of the images is
the epistemic variance; mean and spread are updated image by image (Welford 1962, doi 10.1080/00401706.1962.10490022), and no image is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Complex64, Float32
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from medcore.errors import InputError
from puq_qmri.uncertainty import Prediction

Drawn = Sequence[Tensor] | Tensor
"""Images of several passes."""


class Moments:
    """Running mean and squared deviations of images.

    Parameters
    ----------
    real_images
        Whether the images are real but for a phase: the variance of one component is then ``E|d|^2``, otherwise half of it.
    """

    def __init__(self, *, real_images: bool = False) -> None:
        self.count = 0
        self._parts = 1 if real_images else 2
        self._mean = torch.zeros(0, dtype=torch.complex64)
        self._squares = torch.zeros(0)

    def add(self, images: Complex64[Tensor, "contrast z y x"]) -> None:
        """Take images in; they are not kept.

        Raises
        ------
        InputError
            If their shape differs from that of the first.
        """
        if self.count == 0:
            self._mean, self._squares = torch.zeros_like(images), torch.zeros_like(images.real)
        elif images.shape != self._mean.shape:
            raise InputError(
                "images", f"have shape {tuple(images.shape)} after {tuple(self._mean.shape)}", "give predictions of one measurement"
            )
        self.count += 1
        before = images - self._mean
        self._mean += before / self.count
        self._squares += (before * (images - self._mean).conj()).real

    @property
    def mean(self) -> Complex64[Tensor, "contrast z y x"]:
        """Mean of the images taken in."""
        return self._mean

    @property
    def variance(self) -> Float32[Tensor, "contrast z y x"]:
        """Unbiased variance of one component; zero after a single image."""
        return self._squares / (self._parts * max(self.count - 1, 1))


@contextmanager
def dropout_only(network: nn.Module) -> Iterator[None]:
    """Keep dropout on and everything else as in evaluation (batch normalisation above all); the modes come back afterwards.

    Raises
    ------
    InputError
        If the network has no dropout.
    """
    modes = {module: module.training for module in network.modules()}
    active = [m for m in modes if isinstance(m, _DropoutNd) and m.p > 0]
    if not active:
        raise InputError("network", "has no dropout", "train one with dropout, or choose another uncertainty")
    network.eval()
    try:
        for layer in active:
            layer.train()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def mc_dropout(
    network: nn.Module,
    predict: Callable[[int], Drawn | tuple[Drawn, Drawn]],
    *,
    n_passes: int = 100,
    batch: int = 2,
    seed: int = 0,
    real_images: bool = False,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Prediction:
    """Mean and spread of the images over passes with dropout.

    Parameters
    ----------
    network
        Holds the dropout layers; its modes and torch's random numbers are afterwards as before.
    predict
        From a number of passes to the complex64 images (contrast, z, y, x) of each, as a list or stacked. May also give, as second
        of a pair, the variances that each pass predicts (float32, of one component); their mean is the aleatoric variance.
    n_passes
        Passes in all; the relative error of a variance is about ``(2 / n_passes) ** 0.5``.
    batch
        Passes done at once. Memory grows with it; a GPU is better used.
    seed
        Of the dropout. The result depends on `batch` as well, because random numbers are drawn for a batch at once.
    real_images
        Whether the images are real but for a phase.
    progress
        Wraps the batches, for a progress bar.

    Returns
    -------
    Prediction
        With an aleatoric variance of zero where `predict` gives none.

    Raises
    ------
    InputError
        If there are fewer than two passes, or no dropout.
    """
    if n_passes < 2 or batch < 1:
        raise InputError("Monte-Carlo dropout", f"has {n_passes} passes in batches of {batch}", "give at least 2 and 1")
    moments, noise = Moments(real_images=real_images), _Mean()
    sizes = [min(batch, n_passes - start) for start in range(0, n_passes, batch)]
    with torch.inference_mode(), dropout_only(network), _seeded(network, seed):
        for size in progress(sizes):
            # No name here holds on to a batch while the next one is computed.
            _take(predict(size), moments, noise)
    if moments.count != n_passes:
        raise InputError("predict", f"gave {moments.count} images in {n_passes} passes", "give one for each pass asked for")
    spread = moments.variance
    aleatoric = noise.value if noise.count else torch.zeros_like(spread)
    return _outside_inference(moments.mean, aleatoric, spread)


def ensemble(members: Iterable[Prediction], *, real_images: bool = False) -> Prediction:
    """One prediction of several members.

    The variance of a mixture: the aleatoric variance is the mean of the members', the epistemic one the variance of their means and
    the mean of what they state themselves.

    Parameters
    ----------
    members
        At least two predictions of one measurement; taken one by one, so that a generator needs the memory of one.
    real_images
        Whether the images are real but for a phase.

    Raises
    ------
    InputError
        If there are fewer than two, or shapes differ.
    """
    moments, aleatoric, own = Moments(real_images=real_images), _Mean(), _Mean()
    for member in members:
        moments.add(member.mean)
        aleatoric.add(member.aleatoric)
        own.add(member.epistemic)
    if moments.count < 2:
        raise InputError("ensemble", f"has {moments.count} members", "give at least 2")
    return Prediction(mean=moments.mean, aleatoric=aleatoric.value, epistemic=moments.variance + own.value)


class _Mean:
    """Running mean of variances; infinite ones stay infinite."""

    def __init__(self) -> None:
        self.count = 0
        self._total = torch.zeros(0)

    def add(self, values: Float32[Tensor, "contrast z y x"]) -> None:
        self._total = values.clone() if self.count == 0 else self._total.add_(values)
        self.count += 1

    @property
    def value(self) -> Float32[Tensor, "contrast z y x"]:
        return self._total / self.count


def _take(drawn: Drawn | tuple[Drawn, Drawn], moments: Moments, noise: _Mean) -> None:
    images, variances = drawn if isinstance(drawn, tuple) else (drawn, ())
    for image in images:
        moments.add(image)
    for variance in variances:
        noise.add(variance)


@contextmanager
def _seeded(network: nn.Module, seed: int) -> Iterator[None]:
    devices = {p.device for p in network.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield


def _outside_inference(mean: Tensor, aleatoric: Tensor, epistemic: Tensor) -> Prediction:
    """Copies that autograd may record, unlike tensors made in inference mode."""
    return Prediction(mean=mean.clone(), aleatoric=aleatoric.clone(), epistemic=epistemic.clone())
