r"""A network that predicts the variance of reconstructed images, for any reconstruction and any number of contrasts.

What it is shown of every contrast and voxel (:func:`gather_evidence`) is free of the scale of the measurement and close to an
error estimate already:

- the image and the back-projected residual :math:`A^H W (y - A x)`;
- what lies across the local phase of the image: signal varies smoothly in phase, so that this is noise and aliasing;
- what the other contrasts do not predict: signals of relaxation lie in a subspace of two or three dimensions, noise and
  aliasing of one contrast do not;
- and, the same for all voxels of a contrast, what is known of its sampling.

One small convolutional network looks at each contrast in the same way and, between two of its layers, at mean and spread of all of
them: the order and the number of the contrasts are free. It is trained on the errors of finished images
(:mod:`puq_qmri.networks.losses`); the images themselves do not change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Complex64, Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from medcore.errors import ConfigError, InputError
from medcore.io.kspace import KSpace
from puq_qmri.signal_models import SignalModel, find_model
from puq_qmri.uncertainty import noise_level_or_zero, sampled_fractions

N_FEATURES = 9
N_CONDITIONS = 11
_FLOOR = 1e-3
"""Part of the scale below which amplitudes are not told apart."""
_ACROSS = 3
"""Which feature is the local energy across the phase."""
_WINDOW = 5
"""Voxels over which energies and phases are averaged."""


@dataclass(frozen=True, kw_only=True)
class VarianceSettings:
    """Shape of a :class:`VarianceHead`.

    Attributes
    ----------
    channels
        Width.
    dilations
        Distance between the taps of each 3 x 3 layer; the receptive field is ``1 + 2 * sum(dilations)`` voxels and those averaged
        before, which should reach over the distance that aliasing travels.
    conditioned
        Whether the head knows level, sampling and time of the contrasts; without, it is a comparison, not of use.
    low, high
        Limits of the log variance, in units of the squared scale.
    """

    channels: int = 24
    dilations: tuple[int, ...] = (1, 1, 2, 4, 8)
    conditioned: bool = True
    low: float = -16.0
    high: float = 4.0

    def __post_init__(self) -> None:
        if not 1 <= self.channels <= 256 or not self.dilations or min(self.dilations) < 1:
            raise ConfigError(
                "variance head",
                f"has {self.channels} channels and dilations {list(self.dilations)}",
                "give 1 to 256 channels and at least one dilation of 1 or more",
            )
        if not -80 <= self.low < self.high <= 80:
            raise ConfigError("variance head", f"has limits {self.low:g} and {self.high:g}", "give rising numbers from -80 to 80")


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What is known of the errors of images.

    Attributes
    ----------
    features
        float32 (contrast, feature, z, y, x), logarithms of amplitudes over `scale`.
    conditions
        float32 (contrast, condition): level and sampling.
    known
        bool (contrast, z, y, x): voxels to which measured samples contribute. The variance of the others is infinite.
    scale
        A robust signal level, in the unit of the images.
    """

    features: Float32[Tensor, "contrast feature z y x"]
    conditions: Float32[Tensor, "contrast condition"]
    known: Bool[Tensor, "contrast z y x"]
    scale: float


@torch.no_grad()
def gather_evidence(
    images: Complex64[Tensor, "contrast z y x"],
    residual_images: Complex64[Tensor, "*shape"],
    *,
    level: float | Float[Tensor, "*levels"],
    sampled_fraction: Float[Tensor, "*fractions"],
    times: Float[Tensor, "*times"],
) -> Evidence:
    """What a :class:`VarianceHead` is shown; detached from the images.

    Parameters
    ----------
    images
        Reconstructed images x.
    residual_images
        ``A^H W (y - A x)``, with the density compensation W of a trajectory.
    level
        Noise of one component of a sample (:func:`puq_qmri.uncertainty.noise_level`), for all contrasts or for each; 0 for data
        without noise.
    sampled_fraction
        Part of k-space that was measured in each contrast (:func:`puq_qmri.uncertainty.sampled_fractions`); 0 marks a contrast
        without samples.
    times
        Echo, inversion or other times in any unit: only their order is used.

    Raises
    ------
    InputError
        If shapes differ or a value is not finite.
    """
    _check(images, residual_images, level, sampled_fraction, times)
    measured = (sampled_fraction.to(images.device) > 0)[:, None, None, None]
    known = measured & ((images != 0) | (residual_images != 0))
    chosen = known.flatten(1).any(dim=1)
    scale = _signal_level(images[chosen]) if chosen.any() else 1.0
    x = torch.where(known, images / scale, 0)
    residual = torch.where(known, residual_images / scale, 0)
    misfit = torch.zeros_like(x.real)
    misfit[chosen] = _misfit(x[chosen])
    across = _across_phase(x)
    energies = [x.abs().square(), residual.abs().square(), across.square(), misfit]
    features = torch.stack(
        [
            *(_log(local_mean(e)) for e in (misfit, *energies[:3], _slopes(x))),
            *(_log(e) for e in (misfit, across.square())),
            x.abs().clamp_max(4) - 1,
            residual.abs().clamp_max(4),
        ],
        dim=1,
    )
    conditions = _conditions(features, known, level, scale, sampled_fraction, times)
    return Evidence(features=features, conditions=conditions, known=known, scale=scale)


def evidence_of(
    kspace: KSpace,
    images: Complex64[Tensor, "contrast z y x"],
    residual_images: Complex64[Tensor, "contrast z y x"],
    *,
    model: str | SignalModel | None = None,
) -> Evidence:
    """:func:`gather_evidence` for images of a measurement, whose noise is white between coils.

    Parameters
    ----------
    kspace
        The measurement.
    images, residual_images
        See :func:`gather_evidence`.
    model
        Signal model whose times order the contrasts, see :func:`contrast_order`.
    """
    return gather_evidence(
        images,
        residual_images,
        level=noise_level_or_zero(kspace),
        sampled_fraction=sampled_fractions(kspace),
        times=contrast_order(kspace, model),
    )


def contrast_order(kspace: KSpace, model: str | SignalModel | None = None) -> Float[Tensor, " contrast"]:
    """What orders the contrasts: times of the model, without one the first kind of times; without times their numbers."""
    key = find_model(model).times_key if model else next(iter(kspace.times), None)
    return torch.as_tensor(kspace.times[key] if key in kspace.times else np.arange(kspace.n_contrasts), dtype=torch.float64)


class VarianceHead(nn.Module):
    """Log variance of one component of every contrast and voxel.

    Slices are treated one by one. Each 3 x 3 layer adds to its input, shifted by what the sampling of the contrast suggests; half
    way, every contrast learns mean and standard deviation over the contrasts of all channels.

    Parameters
    ----------
    settings
        See :class:`VarianceSettings`.
    """

    def __init__(self, settings: VarianceSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or VarianceSettings()
        width = self.settings.channels
        self.enter = nn.Conv2d(N_FEATURES, width, 1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in self.settings.dilations)
        self.share = nn.Conv2d(2 * width, width, 1)
        self.condition = nn.Sequential(
            nn.Linear(N_CONDITIONS, 2 * width), nn.SiLU(), nn.Linear(2 * width, width * (len(self.layers) + 1))
        )
        self.leave = nn.Conv2d(width + N_FEATURES, 1, 1)
        # The start is the local energy across the phase, which is the noise of complex images; training refines it.
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, evidence: Evidence) -> Float32[Tensor, "contrast z y x"]:
        """Log variance of one component in units of ``evidence.scale ** 2``, infinite where nothing is known.

        One component is the real or the imaginary part, and for images that are real but for a phase the part along it.
        """
        conditions = evidence.conditions if self.settings.conditioned else torch.zeros_like(evidence.conditions)
        shifts = self.condition(conditions).unflatten(1, (len(self.layers) + 1, -1, 1, 1)).unbind(1)
        present = evidence.known.flatten(1).any(dim=1)
        slices = [self._slice(evidence.features[:, :, z], shifts, present) for z in range(evidence.features.shape[2])]
        log_variance = torch.stack(slices, dim=1)
        low, high = self.settings.low, self.settings.high
        bounded = high - functional.softplus(high - log_variance)
        bounded = low + functional.softplus(bounded - low)
        return torch.where(evidence.known, bounded, torch.inf)

    def variance(self, evidence: Evidence) -> Float32[Tensor, "contrast z y x"]:
        """Variance of one component in the squared unit of the images."""
        found: Float32[Tensor, "contrast z y x"] = self(evidence).exp() * evidence.scale**2
        return found

    def _slice(
        self,
        features: Float32[Tensor, "contrast feature y x"],
        shifts: tuple[Float32[Tensor, "contrast channel 1 1"], ...],
        present: Bool[Tensor, " contrast"],
    ) -> Float32[Tensor, "contrast y x"]:
        hidden = self.enter(features) + shifts[0]
        for number, (layer, shift) in enumerate(zip(self.layers, shifts[1:], strict=True)):
            hidden = hidden + functional.silu(layer(hidden) + shift)
            if number == len(self.layers) // 2 and present.any():
                hidden = hidden + self.share(_over_contrasts(hidden, present))
        found: Float32[Tensor, "contrast y x"] = self.leave(torch.cat([hidden, features], dim=1))[:, 0]
        return found + _UNIT * features[:, _ACROSS] + _CENTRE


_CENTRE, _UNIT = -7.0, 3.0
"""Logarithms of squared amplitudes lie between -14 and 2; networks like numbers around zero."""


def _over_contrasts(
    hidden: Float32[Tensor, "contrast channel y x"], present: Bool[Tensor, " contrast"]
) -> Float32[Tensor, "1 double y x"]:
    shown = hidden[present]
    mean = shown.mean(dim=0, keepdim=True)
    spread = ((shown - mean).square().mean(dim=0, keepdim=True) + 1e-6).sqrt()
    return torch.cat([mean, spread], dim=1)


def _log(energy: Float32[Tensor, "*size"]) -> Float32[Tensor, "*size"]:
    return ((energy + _FLOOR**2).log() - _CENTRE) / _UNIT


def _signal_level(images: Complex64[Tensor, "contrast z y x"]) -> float:
    """Mean over the foreground of the root mean square over contrasts; 1 for images of zeros."""
    # In units of the largest value squares stay within the range of single precision, whatever the scanner's scale.
    peak = float(images.abs().max()) or 1.0
    strength = (images / peak).abs().square().mean(dim=0).sqrt().flatten()
    high = strength.kthvalue(max(1, math.ceil(0.98 * strength.numel()))).values
    inside = strength > 0.15 * high
    return peak * float(strength[inside].double().mean()) if inside.any() else 1.0


def local_mean(values: Float32[Tensor, "image z y x"], window: int = _WINDOW) -> Float32[Tensor, "image z y x"]:
    """Mean over the voxels of a window in the slice, of those inside the image."""
    found: Tensor = functional.avg_pool2d(values, window, stride=1, padding=window // 2, count_include_pad=False)
    return found


def _slopes(x: Complex64[Tensor, "contrast z y x"]) -> Float32[Tensor, "contrast z y x"]:
    """Squared differences to the next voxels along y and x, half of it each way."""
    found = torch.zeros_like(x.real)
    for axis in (2, 3):
        step = x.diff(dim=axis).abs().square() / 4
        for shift in (0, 1):
            found.narrow(axis, shift, step.shape[axis]).add_(step)
    return found


def _across_phase(x: Complex64[Tensor, "contrast z y x"]) -> Float32[Tensor, "contrast z y x"]:
    """Part of each image across its local phase, which signals of both signs share: that of the mean square."""
    square = x.square()
    axis = torch.complex(local_mean(square.real), local_mean(square.imag))
    half = torch.where(axis.abs() > 0, axis, 1.0).angle() / 2
    return torch.imag(x * torch.polar(torch.ones_like(half), -half))


def _misfit(x: Complex64[Tensor, "contrast z y x"]) -> Float32[Tensor, "contrast z y x"]:
    """Energy of what a linear prediction from the other contrasts leaves of each.

    With the second moments S of the contrasts over all voxels, it is ``(S^-1 x)_i / (S^-1)_ii``: noisy contrasts count less in the
    predictions of the others, and are predicted no better for it.
    """
    n = len(x)
    if n == 1:
        return torch.zeros_like(x.real)
    flat = x.flatten(1).to(torch.complex128)
    moments = flat @ flat.mH / flat.shape[1] + _FLOOR**2 * torch.eye(n, device=x.device)
    inverse = torch.linalg.inv(moments)
    left: Tensor = (inverse @ flat) / inverse.diagonal().real[:, None]
    return left.abs().square().float().reshape(x.shape)


def _conditions(
    features: Float32[Tensor, "contrast feature z y x"],
    known: Bool[Tensor, "contrast z y x"],
    level: float | Float[Tensor, " contrast"],
    scale: float,
    sampled_fraction: Float[Tensor, " contrast"],
    times: Float[Tensor, " contrast"],
) -> Float32[Tensor, "contrast condition"]:
    """What holds for a contrast as a whole: level, sampling, place in the series, and the mean of what its voxels show."""
    n, device = len(features), features.device
    noise = torch.as_tensor(level, dtype=torch.float32, device=device).expand(n) / scale
    fraction = sampled_fraction.to(device, torch.float32).clamp(1e-3, 1).log()
    present = known.flatten(1).any(dim=1)
    together = fraction[present].mean() if present.any() else fraction.mean()
    order = times.to(device).double()
    # Equal times share the middle of their ranks.
    rank = ((order[None] < order[:, None]).sum(dim=1) + (order[None] <= order[:, None]).sum(dim=1) - 1) / 2
    counts = known.flatten(1).sum(dim=1).clamp_min(1)
    shown = [0, 1, 2, 3, 4]
    means = (features[:, shown] * known[:, None]).flatten(2).sum(dim=2) / counts[:, None]
    plain = torch.stack(
        [
            _log(noise.square()),
            fraction + 1,
            (together + 1).expand(n),
            (fraction - together),
            (rank / max(n - 1, 1)).float() - 0.5,
            torch.full((n,), math.log(n / 8) / 2, device=device),
        ],
        dim=1,
    )
    return torch.cat([plain, means], dim=1)


def _check(images: Tensor, residual_images: Tensor, level: float | Tensor, sampled_fraction: Tensor, times: Tensor) -> None:
    if residual_images.shape != images.shape:
        raise InputError(
            "residual images", f"have shape {tuple(residual_images.shape)}, the images {tuple(images.shape)}", "give one of each"
        )
    series = {"sampled fractions": sampled_fraction, "times": times}
    if isinstance(level, Tensor) and level.ndim:
        series["noise levels"] = level
    for name, values in series.items():
        if values.shape != (len(images),):
            raise InputError(name, f"are {values.numel()}, the images {len(images)}", "give one for each contrast")
    for name, values in {"images": images, "residual images": residual_images, **series}.items():
        if not bool(values.isfinite().all()):
            raise InputError(name, "hold values that are not finite", "repair what they were made from")
    levels = torch.as_tensor(level)
    if not bool((levels.isfinite() & (levels >= 0)).all()) or bool((sampled_fraction < 0).any()):
        raise InputError("noise level and sampled fractions", "hold a negative or infinite value", "give numbers of 0 or more")
