r"""Predicted variances made right on scans whose truth is known.

Two steps, both measured on held-out scans: a factor for the deviations of each contrast (or one for all), so that errors over
deviations have a root mean square of 1; then, for each level, the factor that makes an interval hold that part of the errors
(split conformal prediction: Angelopoulos and Bates 2021, arXiv 2107.07511), which needs no normal distribution. The correlation of the
errors between contrasts can be learned as well.

Every scan weighs the same. The promise is for voxels exchangeable with those it was measured on: the same kind of scan, sampling and
noise. Voxels of one scan are not independent, so that few scans leave coverage of a new scan uncertain, whatever the number of voxels.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex64, Float, Float32
from torch import Tensor

from medcore.atomic import write_json
from medcore.config import from_mapping, to_mapping
from medcore.errors import InputError
from medcore.io.json_object import parse_object
from medcore.provenance import versions
from puq_qmri.uncertainty import Prediction, component_errors, contrast_correlation

LEVELS = (0.5, 0.68, 0.9, 0.95)
FILE = "calibration.json"
_FORMAT = 1
_MAX_BYTES = 1_000_000
_MOST_VALUES = 50_000
"""Errors of one contrast and scan that are kept; of more, equally spaced ones."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a calibration was measured on.

    Attributes
    ----------
    n_scans, n_values
        Scans, and errors of single components.
    seeds
        Of simulated scans; empty for measured ones.
    sampling, method
        In words.
    date
        Day, ``YYYY-MM-DD``.
    versions
        Of the software.
    """

    n_scans: int
    n_values: int
    seeds: tuple[int, ...] = ()
    sampling: str = ""
    method: str = ""
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How far to trust predicted variances.

    Attributes
    ----------
    scale
        Factors of the deviations: one, or one for each contrast.
    quantiles
        By level: half the width of the interval in calibrated deviations (1.96 for normal errors at 0.95). Infinite where too few
        errors were seen to promise the level.
    correlation
        Of the errors between contrasts, or None.
    provenance
        What it was measured on.
    """

    scale: tuple[float, ...] | float
    quantiles: dict[float, float]
    correlation: tuple[tuple[float, ...], ...] | None = None
    provenance: Provenance

    def __post_init__(self) -> None:
        scales = [self.scale] if isinstance(self.scale, float | int) else list(self.scale)
        if not scales or not all(0 < s < math.inf for s in scales):
            raise InputError("calibration", f"has the scale {self.scale}", "calibrate again")
        for level, factor in self.quantiles.items():
            if not 0 < level < 1 or not factor > 0:
                raise InputError("calibration", f"has the factor {factor} at level {level}", "calibrate again")
        ordered = [self.quantiles[level] for level in sorted(self.quantiles)]
        if ordered != sorted(ordered):
            raise InputError("calibration", f"has the factors {ordered}, which do not rise with the level", "calibrate again")
        if self.correlation is not None:
            _check_correlation(np.array(self.correlation, object), len(scales) if isinstance(self.scale, tuple) else None)

    @property
    def n_contrasts(self) -> int | None:
        """Number of contrasts it is for; None if for any."""
        if isinstance(self.scale, tuple):
            return len(self.scale)
        return None if self.correlation is None else len(self.correlation)

    def apply(self, prediction: Prediction) -> Prediction:
        """The prediction with both variances multiplied by the squared scale.

        Raises
        ------
        InputError
            If it has another number of contrasts.
        """
        square = self._scales(prediction.mean) ** 2
        return dataclasses.replace(prediction, aleatoric=prediction.aleatoric * square, epistemic=prediction.epistemic * square)

    def interval(self, prediction: Prediction, level: float) -> Float32[Tensor, "contrast z y x"]:
        """Half the width of the interval of one component at `level`, around the mean of an *uncalibrated* prediction.

        It is symmetric about the real and the imaginary part of the mean alike, and for images that are real but for a phase about
        the part along it.

        Raises
        ------
        InputError
            If it has another number of contrasts, or the level was not calibrated.
        """
        known = {round(k, 6): v for k, v in self.quantiles.items()}
        if round(level, 6) not in known:
            stated = ", ".join(f"{k:g}" for k in sorted(self.quantiles))
            raise InputError("level", f"is {level:g}, and the calibration knows {stated}", "choose one of them")
        return known[round(level, 6)] * self._scales(prediction.mean) * prediction.std

    def _scales(self, images: Complex64[Tensor, "contrast z y x"]) -> Float32[Tensor, "#contrast 1 1 1"]:
        if self.n_contrasts not in {None, len(images)}:
            raise InputError(
                "calibration",
                f"is for {self.n_contrasts} contrasts, the images have {len(images)}",
                "calibrate on scans of this protocol, or with one scale for all contrasts",
            )
        scale = torch.tensor(self.scale if isinstance(self.scale, tuple) else (self.scale,), dtype=torch.float32)
        return scale.to(images.device)[:, None, None, None]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "format": _FORMAT,
            "scale": list(self.scale) if isinstance(self.scale, tuple) else self.scale,
            "quantiles": {f"{k:g}": v if math.isfinite(v) else None for k, v in sorted(self.quantiles.items())},
            "correlation": None if self.correlation is None else [list(row) for row in self.correlation],
            "provenance": to_mapping(self.provenance),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], what: str = "calibration") -> Calibration:
        """The calibration of :meth:`as_dict`.

        Raises
        ------
        InputError
            If a key is unknown or missing, or a value is not what it should be.
        """
        keys = {"format", "scale", "quantiles", "correlation", "provenance"}
        if set(content) != keys:
            wrong = ", ".join(sorted(set(content) ^ keys, key=str))[:200]
            raise InputError(what, f"lacks keys or has others ({wrong})", "calibrate again")
        if content["format"] != _FORMAT:
            raise InputError(what, f"has format {str(content['format'])[:20]}, not {_FORMAT}", "calibrate again with this version")
        try:
            return cls(
                scale=_scale_of(content["scale"]),
                quantiles=_quantiles_of(content["quantiles"]),
                correlation=_correlation_of(content["correlation"]),
                provenance=from_mapping(Provenance, content["provenance"], f"{what} provenance"),
            )
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise InputError(what, f"holds a value that is not what it should be ({error})", "calibrate again") from error

    def write(self, path: str | Path, *, force: bool = False) -> None:
        """Write a JSON file.

        Raises
        ------
        OutputExistsError, OutputError, DiskFullError
            See :func:`medcore.atomic.write_json`.
        """
        write_json(path, self.as_dict(), force=force)

    @classmethod
    def read(cls, path: str | Path) -> Calibration:
        """Read a file of :meth:`write`, or the one in a folder of weights.

        Raises
        ------
        InputError
            If it cannot be read, or :meth:`from_dict` refuses it.
        """
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise InputError(path, f"has {path.stat().st_size} bytes, more than {_MAX_BYTES}", "give a calibration")
            content = path.read_bytes()
        except OSError as error:
            raise InputError(path, f"cannot be read ({error.strerror})", "give a file that puq-qmri calibrate wrote") from error
        return cls.from_dict(parse_object(content, str(path), "calibrate again", finite=True), str(path))


def calibrate(
    predictions: Iterable[Prediction],
    truths: Iterable[Tensor],
    masks: Iterable[Tensor],
    *,
    real_images: bool = False,
    per_contrast: bool = True,
    correlation: bool = True,
    levels: Sequence[float] = LEVELS,
    seeds: Sequence[int] = (),
    sampling: str = "",
    method: str = "",
) -> Calibration:
    r"""Measure a calibration on scans whose truth is known.

    With :math:`z = e / \sigma` for the errors of single components, the scale of a contrast is the root mean square of z, first over the
    voxels of each scan and then over the scans. The factor of a level :math:`1 - \alpha` is the smallest one that at least
    :math:`\lceil (n + 1) (1 - \alpha) \rceil / n` of the n scaled errors do not exceed in magnitude, each scan weighing the same.

    Parameters
    ----------
    predictions
        Of the scans; taken one by one.
    truths
        True images of each, complex64 (contrast, z, y, x).
    masks
        Voxels that count, bool (z, y, x). Those of infinite or zero variance do not count either.
    real_images
        Whether the images are real but for a phase.
    per_contrast
        A scale for each contrast, where all scans have the same contrasts; otherwise one scale for all, for protocols that vary.
    correlation
        Whether to learn the correlation between contrasts; only with a scale for each.
    levels
        Of the intervals.
    seeds, sampling, method
        For the provenance.

    Raises
    ------
    InputError
        If there are no scans or no errors, or the number of contrasts varies where each has a scale.
    """
    if not levels or not all(0 < level < 1 for level in levels):
        raise InputError("levels", f"are {list(levels)}", "give numbers between 0 and 1")
    scans, matrices = [], []
    for prediction, truth, mask in zip(predictions, truths, masks, strict=True):
        scans.append(_z_scores(prediction, truth, mask, real_images=real_images))
        if per_contrast and correlation:
            matrices.append(_correlation(prediction, truth, mask, real_images=real_images))
    if not scans:
        raise InputError("calibration", "has no scan", "give scans whose truth is known")
    scale = _scale(scans, per_contrast=per_contrast)
    factors = torch.tensor(scale if isinstance(scale, tuple) else (scale,) * max(len(s) for s in scans), dtype=torch.float64)
    scaled = [np.concatenate([np.abs(z) / float(f) for z, f in zip(scan, factors, strict=False)]) for scan in scans]
    weights = np.concatenate([np.full(len(z), 1 / len(z)) for z in scaled])
    values = np.concatenate(scaled)
    return Calibration(
        scale=scale,
        quantiles={float(level): _conformal(values, weights, level) for level in sorted(set(levels))},
        correlation=_mean_correlation(matrices),
        provenance=Provenance(
            n_scans=len(scans),
            n_values=len(values),
            seeds=tuple(int(s) for s in seeds),
            sampling=sampling,
            method=method,
            date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
            versions={k: v for k, v in versions().items() if k in {"puq-qmri", "torch", "numpy"}},
        ),
    )


def mixed_correlation(
    correlation: Sequence[Sequence[float]] | Float[np.ndarray, "contrast contrast"], share: float = 0.05
) -> Float[np.ndarray, "contrast contrast"]:
    """A correlation with a small share of independent errors mixed in, so that it can be inverted however few scans it came from."""
    matrix = np.asarray(correlation, np.float64)
    return (1 - share) * matrix + share * np.eye(len(matrix))


def _z_scores(prediction: Prediction, truth: Tensor, mask: Tensor, *, real_images: bool) -> list[Float[np.ndarray, " n"]]:
    """Errors over deviations of each contrast."""
    mean = prediction.mean
    if truth.shape != mean.shape or mask.shape != mean.shape[1:]:
        raise InputError(
            "calibration",
            f"has images of shape {tuple(mean.shape)}, a truth of {tuple(truth.shape)} and a mask of {tuple(mask.shape)}",
            "give all three of the same scan",
        )
    found = []
    for errors, deviation in zip(component_errors(mean, truth, real_images=real_images), prediction.std, strict=True):
        usable = mask & deviation.isfinite() & (deviation > 0)
        z = (errors[..., usable] / deviation[usable]).double().flatten().cpu().numpy()
        if not np.isfinite(z).all():
            raise InputError("calibration", "has images or a truth that are not finite", "leave that scan out")
        found.append(z[:: max(1, math.ceil(len(z) / _MOST_VALUES))])
    if not any(len(z) for z in found):
        raise InputError("calibration", "has a scan without a voxel of known variance", "leave that scan out, or give another mask")
    return found


def _scale(scans: list[list[Float[np.ndarray, "..."]]], *, per_contrast: bool) -> tuple[float, ...] | float:
    if not per_contrast:
        squares = [np.mean(np.concatenate(scan) ** 2) for scan in scans]
        return _positive(float(np.sqrt(np.mean(squares))))
    counts = sorted({len(scan) for scan in scans})
    if len(counts) > 1:
        raise InputError("scans", f"have {counts} contrasts", "give scans of one protocol, or take one scale for all contrasts")
    found = []
    for number in range(counts[0]):
        squares = [np.mean(scan[number] ** 2) for scan in scans if len(scan[number])]
        if not squares:
            raise InputError("scans", f"have no error of contrast {number}", "take one scale for all contrasts")
        found.append(_positive(float(np.sqrt(np.mean(squares)))))
    return tuple(found)


def _positive(value: float) -> float:
    if value <= 0:
        raise InputError("scans", "have no error at all", "give scans with noise")
    return value


def _conformal(values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"], level: float) -> float:
    """The smallest value that the finite-sample level of the weights does not exceed; infinite if it is above all."""
    n = len(values)
    wanted = math.ceil((n + 1) * level - 1e-9) / n
    if wanted > 1:
        return math.inf
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    place = int(np.searchsorted(cumulated / cumulated[-1], wanted - 1e-12))
    return float(max(values[order][min(place, n - 1)], np.finfo(np.float32).tiny))


def _correlation(prediction: Prediction, truth: Tensor, mask: Tensor, *, real_images: bool) -> Tensor:
    errors = component_errors(prediction.mean, truth, real_images=real_images)
    return contrast_correlation([errors[:, part] for part in range(errors.shape[1])], std=prediction.std, mask=mask)


def _mean_correlation(matrices: list[Tensor]) -> tuple[tuple[float, ...], ...] | None:
    """Mean over the scans, which is a correlation again."""
    if not matrices or len(matrices[0]) < 2:
        return None
    mean = torch.stack(matrices).double().mean(dim=0)
    return tuple(tuple(float(f"{v:.6g}") for v in row) for row in ((mean + mean.T) / 2).tolist())


def _scale_of(value: Any) -> tuple[float, ...] | float:
    return tuple(_number(v) for v in value) if isinstance(value, list) else _number(value)


def _quantiles_of(value: Any) -> dict[float, float]:
    if not isinstance(value, Mapping) or not value:
        raise TypeError("quantiles are no mapping of levels")
    return {float(k): math.inf if v is None else _number(v) for k, v in value.items()}


def _correlation_of(value: Any) -> tuple[tuple[float, ...], ...] | None:
    return None if value is None else tuple(tuple(_number(v) for v in row) for row in value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{str(value)[:40]!r} is no finite number")
    return float(value)


def _check_correlation(given: np.ndarray, wanted: int | None) -> None:
    size = len(given)
    if given.shape != (size, size) or size < 1 or wanted not in {None, size}:
        raise InputError(
            "calibration", f"has a correlation of shape {given.shape} for {wanted or size} contrasts", "calibrate again"
        )
    matrix = given.astype(np.float64)
    alike = np.allclose(matrix, matrix.T, atol=1e-5) and np.allclose(np.diag(matrix), 1, atol=1e-5)
    if not alike or np.linalg.eigvalsh(matrix).min() < -1e-4:
        raise InputError(
            "calibration", "has a correlation that is none (symmetric, 1 on the diagonal, not negative)", "calibrate again"
        )
