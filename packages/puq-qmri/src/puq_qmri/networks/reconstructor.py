"""A trained network applied to one measurement: its images, and how sure they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex64
from numpy.typing import NDArray
from torch import Tensor

from medcore.errors import ConfigError
from medcore.io.kspace import KSpace
from puq_qmri.choices import Backend
from puq_qmri.csm import espirit
from puq_qmri.networks.dropout import ensemble, mc_dropout
from puq_qmri.networks.problem import Preparation, Problem
from puq_qmri.networks.settings import NetworkSettings
from puq_qmri.networks.unrolled import UnrolledNetwork
from puq_qmri.networks.weights import Weights
from puq_qmri.signal_models import SignalModel
from puq_qmri.uncertainty import Prediction

NetworkUncertainty = Literal["none", "learned", "mc-dropout", "ensemble"]


@dataclass(kw_only=True)
class NetworkReconstructor:
    """Networks prepared for the sampling of one measurement.

    What does not depend on the samples is made once, and once for all members of an ensemble that take the same latent images.

    Parameters
    ----------
    kspace
        The measurement, noise white between coils.
    members
        Weights with a network; several are an ensemble.
    csm
        Coil maps complex64 (coil, z, y, x); by default those of the measurement, or ESPIRiT.
    device
        Where to compute.
    model
        Signal model whose components the network uses.
    backend
        Library of the non-uniform Fourier transform, for trajectories.

    Raises
    ------
    ConfigError
        If there are no weights, or weights without a network.
    InputError
        If a network cannot take the measurement.
    """

    kspace: KSpace
    members: Sequence[Weights]
    csm: NDArray[np.complex64] | None = None
    device: str | torch.device = "cpu"
    model: str | SignalModel | None = None
    backend: Backend = "auto"
    _networks: list[UnrolledNetwork] = field(default_factory=list, init=False)
    _preparations: list[Preparation] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        for weights in self.members:
            if weights.network is None:
                raise ConfigError("--weights", f"{weights.source} hold a variance head alone", "give weights of a network")
            self._networks.append(weights.network)
        if not self._networks:
            raise ConfigError("--weights", "names no network", "give a folder of weights")
        if self.csm is None:
            self.csm = espirit(self.kspace)
        made: dict[tuple[str | int, ...], Preparation] = {}
        for network in self._networks:
            wanted = network.settings
            key = (wanted.layout, wanted.components, wanted.contrasts, wanted.consistency)
            if key not in made:
                made[key] = self._prepared(self.csm, wanted)
            self._preparations.append(made[key])

    def _prepared(self, csm: NDArray[np.complex64], wanted: NetworkSettings) -> Preparation:
        return Preparation(self.kspace, csm, wanted, model=self.model, device=self.device, backend=self.backend)

    @property
    def problems(self) -> list[Problem]:
        """The measurement as each member takes it."""
        return [p.problem for p in self._preparations]

    @property
    def real_images(self) -> bool:
        """Whether the images are real but for a phase, or nearly so."""
        return any(p.phase is not None for p in self.problems)

    @cached_property
    def images(self) -> Complex64[Tensor, "contrast z y x"]:
        """Images of the measurement, mean over the members."""
        return self._mean(lambda p: p.problem)

    def __call__(self, kspace: KSpace) -> Complex64[Tensor, "contrast z y x"]:
        """Images of a measurement with the same sampling, with a start, phase and scale of its own.

        Raises
        ------
        InputError
            If it was sampled otherwise.
        """
        return self.images if kspace is self.kspace else self._mean(lambda p: p.fresh(kspace))

    def response(self, noise: NDArray[np.complex64]) -> Complex64[Tensor, "contrast z y x"]:
        """Change of the images when a little `noise` is added to the samples, for :func:`puq_qmri.uncertainty.pseudo_replica`.

        Coil maps, phase and scale stay, and the start goes on from that of the measurement, with the noise and without it: an error of
        the phase is none of images held to be real, and would count as one.
        """
        samples = self.kspace.data + noise
        return self._mean(lambda p: p.again(samples)) - self._repeated

    @cached_property
    def _repeated(self) -> Complex64[Tensor, "contrast z y x"]:
        return self._mean(lambda p: p.again(self.kspace.data))

    def _mean(self, problem: Callable[[Preparation], Problem]) -> Tensor:
        """Mean over the members' images of the problems that are made of their preparations, each of which is asked once."""
        asked = {id(p): problem(p) for p in self._preparations}
        found = [self._run(n, asked[id(p)]) for n, p in zip(self._networks, self._preparations, strict=True)]
        return torch.stack(found).mean(dim=0)

    @torch.inference_mode()
    def _run(self, network: UnrolledNetwork, problem: Problem) -> Tensor:
        return problem.images(network([problem])[0]).clone()

    def predict(
        self,
        uncertainty: NetworkUncertainty,
        *,
        n_passes: int = 100,
        seed: int = 0,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> Prediction:
        """Images with the variance that the networks themselves know of.

        Parameters
        ----------
        uncertainty
            ``learned``: of the variance head. ``mc-dropout``: spread over passes with dropout, and the head's variance where there
            is one. ``ensemble``: spread over the members, and the mean of their heads' variances.
        n_passes, seed
            Of the dropout.
        progress
            Wraps the batches of passes.

        Raises
        ------
        ConfigError
            If the weights have no variance head, or there is one member only.
        InputError
            If the network has no dropout.
        """
        if uncertainty == "ensemble":
            if len(self.members) < 2:
                raise ConfigError("--uncertainty ensemble", "has one network", "give --weights several times")
            return ensemble((self._learned(i) for i in range(len(self.members))), real_images=self.real_images)
        if len(self.members) > 1:
            raise ConfigError(f"--uncertainty {uncertainty}", f"has {len(self.members)} networks", "choose ensemble")
        if uncertainty == "mc-dropout":
            return self._dropout(n_passes, seed, progress)
        if uncertainty == "learned" and self.members[0].head is None:
            raise ConfigError("--uncertainty learned", f"{self.members[0].source} have no variance head", "choose another")
        if uncertainty == "learned":
            return self._learned(0)
        zero = torch.zeros_like(self.images.real)
        return Prediction(mean=self.images, aleatoric=zero, epistemic=zero)

    def _learned(self, place: int) -> Prediction:
        """Images of one member with its head's variance, or zero without a head."""
        images = self._run(self._networks[place], self.problems[place])
        head = self.members[place].head
        if head is None:
            variance = torch.zeros_like(images.real)
        else:
            with torch.no_grad():
                variance = head.variance(self.problems[place].evidence(images))
        return Prediction(mean=images, aleatoric=variance, epistemic=torch.zeros_like(variance))

    def _dropout(self, n_passes: int, seed: int, progress: Callable[[Iterable[int]], Iterable[int]]) -> Prediction:
        network, problem = self._networks[0], self.problems[0]

        def draw(count: int) -> list[Tensor]:
            return [problem.images(latent) for latent in network([problem] * count)]

        spread = mc_dropout(network, draw, n_passes=n_passes, batch=1, seed=seed, real_images=self.real_images, progress=progress)
        return dataclasses.replace(spread, aleatoric=self._learned(0).aleatoric)
