"""The small networks between two returns to the measurement: from channel images to a correction of them."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from puq_qmri.networks.settings import NetworkSettings


def body(settings: NetworkSettings, inputs: int, outputs: int) -> nn.Module:
    """The network that the settings ask for."""
    return UNet(inputs, outputs, settings) if settings.body == "unet" else Plain(inputs, outputs, settings)


class Plain(nn.Sequential):
    """3 x 3 convolutions one after the other, the last one without activation.

    Dropout follows every layer but the first and the last, as in the network of papers.
    """

    def __init__(self, inputs: int, outputs: int, settings: NetworkSettings) -> None:
        layers: list[nn.Module] = []
        for place, width in enumerate(settings.widths):
            layers.append(nn.Conv2d(inputs, width, 3, padding=1, bias=not settings.batch_norm))
            layers += [nn.BatchNorm2d(width)] if settings.batch_norm else []
            layers.append(nn.ReLU())
            layers += [nn.Dropout2d(settings.dropout)] if place and settings.dropout else []
            inputs = width
        super().__init__(*layers, nn.Conv2d(inputs, outputs, 3, padding=1))


class UNet(nn.Module):
    """Convolutions at full, half, quarter ... resolution, joined again from the coarsest to the finest.

    After Ronneberger et al. 2015, doi 10.1007/978-3-319-24574-4_28. Images of any size: what halves do not divide is padded. The
    last layer starts at zero, so that the untrained network corrects nothing.
    """

    def __init__(self, inputs: int, outputs: int, settings: NetworkSettings) -> None:
        super().__init__()
        widths = settings.widths
        self.first = _double(inputs, widths[0], settings.dropout)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.coarse = nn.ModuleList(_double(coarse, coarse, settings.dropout) for _, coarse in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairs)
        self.fine = nn.ModuleList(_double(2 * fine, fine, 0.0) for fine, _ in pairs)
        self.last = nn.Conv2d(widths[0], outputs, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch correction y x"]:
        """The correction."""
        height, width = x.shape[-2:]
        unit = 2 ** len(self.down)
        kept = [self.first(nn.functional.pad(x, (0, -width % unit, 0, -height % unit)))]
        for down, convolve in zip(self.down, self.coarse, strict=True):
            kept.append(convolve(down(kept[-1])))
        found = kept.pop()
        for up, convolve in zip(reversed(self.up), reversed(self.fine), strict=True):
            found = convolve(torch.cat([kept.pop(), up(found)], dim=1))
        result: Tensor = self.last(found)[..., :height, :width]
        return result


def _double(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    layers = [
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.1),
    ]
    return nn.Sequential(*layers, *([nn.Dropout2d(dropout)] if dropout else []))
