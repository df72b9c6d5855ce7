r"""Unrolled reconstruction: small networks and returns to the measurement in turn.

.. math:: z_t = x_t + C_t(x_t), \qquad x_{t+1} = \text{consistency}(z_t)

One class serves every layout and every kind of data consistency of :class:`~puq_qmri.networks.settings.NetworkSettings`; slices of a volume
pass the two-dimensional networks as a batch, while the data consistency joins them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Inexact
from torch import Tensor, nn

from medcore.errors import InputError
from puq_qmri.networks.blocks import body
from puq_qmri.networks.problem import N_CONDITIONS, Problem, solve
from puq_qmri.networks.settings import NetworkSettings


class UnrolledNetwork(nn.Module):
    """See the module's text.

    Parameters
    ----------
    settings
        How it is built.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        inputs = 2 * settings.channels + N_CONDITIONS if settings.informed else settings.channels
        count = 1 if settings.share_weights else settings.unrolls
        self.bodies = nn.ModuleList(body(settings, inputs, settings.channels) for _ in range(count))
        adjustable = settings.consistency != "projection"
        self.log_weight = nn.Parameter(torch.zeros(settings.unrolls), requires_grad=adjustable)
        self.weighting = _weighting(settings.unrolls) if settings.informed and adjustable else None

    def forward(self, problems: Sequence[Problem]) -> list[Inexact[Tensor, "latent z y x"]]:
        """Latent images of each scan; all scans have images of one size.

        Raises
        ------
        InputError
            If sizes differ.
        """
        sizes = {tuple(p.start.shape[-2:]) for p in problems}
        if len(sizes) != 1:
            raise InputError("scans of one batch", f"have images of sizes {sorted(sizes)}", "give scans of one size")
        latents = [p.start for p in problems]
        for unroll in range(self.settings.unrolls):
            latents = self._step(unroll, latents, problems)
        return latents

    def _step(self, unroll: int, latents: list[Tensor], problems: Sequence[Problem]) -> list[Tensor]:
        residuals = [p.right - p.normal(x) for p, x in zip(problems, latents, strict=True)] if self.settings.informed else []
        given = []
        for place, (latent, problem) in enumerate(zip(latents, problems, strict=True)):
            images = [self._channels(latent), *([self._channels(residuals[place])] if residuals else [])]
            given.append(torch.cat([*images, *self._constants(problem, images[0])], dim=1))
        corrections = self.bodies[unroll % len(self.bodies)](torch.cat(given)).split([len(g) for g in given])
        moved = [x + self._latent(c, x) for x, c in zip(latents, corrections, strict=True)]
        return [self._consistent(z, p, self._weight(unroll, p)) for z, p in zip(moved, problems, strict=True)]

    def _weight(self, unroll: int, problem: Problem) -> Float[Tensor, "row 1 1 1"]:
        """Weight of the network's image beside the measurement's (``cg``) or length of the step (``gradient``)."""
        logarithm = self.log_weight[unroll].expand(len(problem.conditions))
        if self.weighting is not None:
            logarithm = logarithm + self.weighting(problem.conditions)[:, unroll]
        return logarithm.exp()[:, None, None, None]

    def _consistent(self, image: Tensor, problem: Problem, weight: Tensor) -> Tensor:
        if self.settings.consistency == "cg":

            def map_(x: Tensor) -> Tensor:
                return problem.normal(x) + weight * x

            return solve(map_, problem.right + weight * image, image, self.settings.steps)
        if self.settings.consistency == "gradient":
            return image + weight * (problem.right - problem.normal(image))
        if not problem.gridded:
            raise InputError("projection", "got samples along a trajectory", "choose the data consistency cg or gradient")
        return problem.power * image + problem.right - problem.normal(image)

    def _channels(self, latent: Inexact[Tensor, "latent z y x"]) -> Float[Tensor, "batch channel y x"]:
        """Images as channels; slices, and contrasts where they pass one by one, as the batch."""
        if self.settings.layout == "subspace":
            rows = latent.transpose(0, 1)
            missing = self.settings.channels - len(latent)
            return nn.functional.pad(rows, (0, 0, 0, 0, 0, missing)) if missing else rows
        rows = latent.flatten(0, 1)[:, None] if self.settings.layout == "contrast" else latent.transpose(0, 1)
        return torch.cat([rows.real, rows.imag], dim=1)

    def _latent(self, channels: Float[Tensor, "batch channel y x"], like: Tensor) -> Tensor:
        """The inverse of :meth:`_channels`."""
        if self.settings.layout == "subspace":
            return channels[:, : len(like)].transpose(0, 1)
        found = torch.complex(*channels.chunk(2, dim=1))
        return found.reshape(like.shape) if self.settings.layout == "contrast" else found.transpose(0, 1)

    def _constants(self, problem: Problem, rows: Tensor) -> list[Tensor]:
        if not self.settings.informed:
            return []
        each = problem.conditions.repeat_interleave(len(rows) // len(problem.conditions), dim=0)
        return [each[:, :, None, None].expand(-1, -1, *rows.shape[-2:])]


def _weighting(unrolls: int) -> nn.Module:
    """From what is known of a scan to the logarithm of its weights, which is 0 before training."""
    last = nn.Linear(16, unrolls)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(N_CONDITIONS, 16), nn.SiLU(), last)
