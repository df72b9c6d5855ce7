"""What coefficient images are expected to be: jointly sparse in wavelets, or of low rank in small blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from puq_qmri.reconstruction.splitting import Regulariser
from puq_qmri.reconstruction.wavelets import HaarFrame

RegulariserKind = Literal["wavelet", "locally-low-rank"]
Shrinkage = Literal["garrote", "soft"]
REGULARISERS: tuple[RegulariserKind, ...] = get_args(RegulariserKind)
SHRINKAGES: tuple[Shrinkage, ...] = get_args(Shrinkage)
LEVELS = 3
BLOCK = 8
"""Voxels along each edge of a block; fewer where the image has fewer."""


def regulariser_for(kind: RegulariserKind, shrinkage: Shrinkage, shape: tuple[int, ...]) -> Regulariser:
    """The regulariser of coefficient images of `shape` (component, z, y, x)."""
    if kind == "wavelet":
        frame = HaarFrame(axes=tuple(axis for axis in (-1, -2, -3) if shape[axis] > 1), levels=LEVELS)
        return JointWavelets(frame, shrinkage)
    return LowRankBlocks(tuple(min(BLOCK, n) for n in shape[1:]), shrinkage)


def kept(size: Tensor, threshold: float, shrinkage: Shrinkage) -> Tensor:
    """The factor by which a coefficient of this size is kept.

    ``soft`` takes the threshold off every coefficient. The non-negative ``garrote`` (Gao 1998, doi
    10.1080/10618600.1998.10474789) takes off ``threshold^2 / size``: it leaves large coefficients nearly as they are, and with them
    the contrast of edges; its penalty is not convex.
    """
    ratio = threshold / size.clamp_min(torch.finfo(size.dtype).tiny)
    return (1 - (ratio if shrinkage == "soft" else ratio**2)).clamp_min(0)


@dataclass(frozen=True)
class JointWavelets:
    """Undecimated Haar wavelets; a coefficient survives or falls in all components together."""

    frame: HaarFrame
    shrinkage: Shrinkage

    def analysis(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Wavelet coefficients by band, and the coarse image."""
        return self.frame.analysis(x)

    def synthesis(self, details: list[Tensor], coarse: Tensor) -> Tensor:
        """The image."""
        return self.frame.synthesis(details, coarse)

    def shrink(self, details: list[Tensor], strength: float, step: int) -> list[Tensor]:  # noqa: ARG002 - the same at every step
        """Shrink the norm over the components."""
        return [self._band(band, strength * self.frame.scale(number)) for number, band in enumerate(details)]

    def _band(self, band: Tensor, threshold: float) -> Tensor:
        norm = band.abs().square().sum(dim=0, keepdim=True).sqrt()
        return band * kept(norm, threshold, self.shrinkage)


@dataclass(frozen=True)
class LowRankBlocks:
    """Singular values of blocks, voxels by components, are shrunk; the blocks lie elsewhere at every step.

    Zhang et al. 2015, doi 10.1002/mrm.25421. The threshold is `strength` times the largest singular value that noise of unit size
    gives a block, over four: as far above noise as the wavelets' threshold.
    """

    block: tuple[int, ...]
    shrinkage: Shrinkage

    def analysis(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The image as the only detail."""
        return [x], torch.zeros_like(x)

    def synthesis(self, details: list[Tensor], coarse: Tensor) -> Tensor:  # noqa: ARG002 - nothing is coarse
        """The image."""
        return details[0]

    def shrink(self, details: list[Tensor], strength: float, step: int) -> list[Tensor]:
        """Shrink the singular values of every block."""
        (image,) = details
        generator = torch.Generator().manual_seed(step)
        shifts = [int(torch.randint(size, (1,), generator=generator)) for size in self.block]
        moved = torch.roll(image, shifts, dims=(1, 2, 3))
        blocks, padded = self._cut(moved)
        # The Gram matrix of the components is small: its eigenvectors are the right singular vectors.
        values, vectors = torch.linalg.eigh(blocks.mH @ blocks)
        sizes = values.clamp_min(0).sqrt()
        noise = math.sqrt(blocks.shape[1]) + math.sqrt(blocks.shape[2])
        factors = kept(sizes, strength * noise / 4, self.shrinkage).to(blocks.dtype)
        shrunk = self._join(((blocks @ vectors) * factors[:, None]) @ vectors.mH, padded, moved.shape)
        return [torch.roll(shrunk, [-s for s in shifts], dims=(1, 2, 3))]

    def _cut(self, image: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Blocks (block, voxel, component); periodic padding fills the last ones."""
        padded = tuple(-(-n // b) * b for n, b in zip(image.shape[1:], self.block, strict=True))
        for axis, (wanted, n) in enumerate(zip(padded, image.shape[1:], strict=True), start=1):
            if wanted > n:
                image = torch.cat([image, image.narrow(axis, 0, wanted - n)], dim=axis)
        counts = [p // b for p, b in zip(padded, self.block, strict=True)]
        parts = image.reshape(-1, counts[0], self.block[0], counts[1], self.block[1], counts[2], self.block[2])
        return parts.permute(1, 3, 5, 2, 4, 6, 0).reshape(math.prod(counts), math.prod(self.block), -1), padded

    def _join(self, blocks: Tensor, padded: tuple[int, ...], shape: torch.Size) -> Tensor:
        counts = [p // b for p, b in zip(padded, self.block, strict=True)]
        parts = blocks.reshape(*counts, *self.block, -1).permute(6, 0, 3, 1, 4, 2, 5)
        _, depth, height, width = shape
        return parts.reshape(-1, *padded)[:, :depth, :height, :width]
