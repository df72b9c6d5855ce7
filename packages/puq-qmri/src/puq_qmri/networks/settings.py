"""How an unrolled network is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medcore.errors import ConfigError
from medcore.plugins import unknown_name

Layout = Literal["subspace", "contrast", "channels"]
LAYOUTS: dict[str, str] = {
    "subspace": "the coefficients of few temporal components are the channels: any number of contrasts, any times",
    "contrast": "one contrast after the other with the same weights: any number of contrasts",
    "channels": "all contrasts are the channels: a fixed number of contrasts",
}
Consistency = Literal["cg", "gradient", "projection"]
CONSISTENCIES: tuple[Consistency, ...] = ("cg", "gradient", "projection")
Body = Literal["unet", "plain"]
BODIES: tuple[Body, ...] = ("unet", "plain")


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """How an unrolled network is built.

    Attributes
    ----------
    layout
        What the channels are: ``subspace``, ``contrast`` or ``channels``; see :data:`LAYOUTS`.
    components
        Temporal components of ``subspace``; a scan with fewer contrasts uses fewer.
    contrasts
        Number of contrasts of ``channels``.
    consistency
        How each step returns to the measurement: ``cg`` solves ``(N + lambda) x = A^H y + lambda z`` by `steps` conjugate gradients
        (Aggarwal et al. 2019, doi 10.1109/TMI.2018.2865356), ``gradient`` takes one step along ``A^H y - N z`` (Hammernik et al.
        2018, doi 10.1002/mrm.26977), ``projection`` replaces the measured points of a grid (Schlemper et al. 2018, doi
        10.1109/TMI.2017.2760978).
    steps
        Conjugate-gradient steps of ``cg``.
    unrolls
        Number of steps, each a small network and a return to the measurement.
    share_weights
        Whether all steps have the same weights.
    body
        The small network: ``unet``, or ``plain`` convolutions one after the other.
    widths
        Channels of the levels of ``unet``; of ``plain``, its layers but the last.
    batch_norm
        Batch normalisation after every convolution of ``plain``.
    dropout
        Probability with which whole feature maps are dropped, in training and for Monte-Carlo passes.
    informed
        Whether the small network is also told the data residual, the noise level and the acceleration, beside the images.
    """

    layout: Layout = "subspace"
    components: int = 4
    contrasts: int = 8
    consistency: Consistency = "cg"
    steps: int = 3
    unrolls: int = 5
    share_weights: bool = False
    body: Body = "unet"
    widths: tuple[int, ...] = (32, 48, 64)
    batch_norm: bool = False
    dropout: float = 0.05
    informed: bool = True

    def __post_init__(self) -> None:
        choices: tuple[tuple[str, str, list[str]], ...] = (
            ("layout", self.layout, [*LAYOUTS]),
            ("data consistency", self.consistency, [*CONSISTENCIES]),
            ("network body", self.body, [*BODIES]),
        )
        for what, value, known in choices:
            if value not in known:
                raise unknown_name(what, value, known)
        if self.consistency == "projection" and self.layout == "subspace":
            raise ConfigError("network", "projects in a subspace", "choose consistency cg or gradient, or another layout")
        smallest = min(self.components, self.contrasts, self.steps, self.unrolls, *self.widths, len(self.widths))
        if smallest < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(
                "network settings",
                f"are components={self.components}, contrasts={self.contrasts}, steps={self.steps}, unrolls={self.unrolls}, "
                f"widths={list(self.widths)}, dropout={self.dropout}",
                "give whole numbers of at least 1 and a dropout of at least 0 and below 1",
            )

    @property
    def channels(self) -> int:
        """Channels of the latent images: coefficients are real, contrasts have a real and an imaginary part."""
        return {"subspace": self.components, "contrast": 2, "channels": 2 * self.contrasts}[self.layout]
