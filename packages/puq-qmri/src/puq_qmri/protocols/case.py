"""A fully sampled case in the field layout of the PUQ authors' data sets, as an ``.npz`` file without pickled objects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Complex64, Float
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.images import check_seconds
from medcore.io.npy import list_arrays, load_array

FIELDS = {
    "image": "(contrast, y, x)",
    "sens": "(coil, y, x)",
    "t2": "(y, x)",
    "pd": "(y, x)",
    "roi": "(y, x)",
    "seed": "()",
    "te_s": "(contrast,)",
}
"""Names and axes of the arrays that a case holds."""
MAX_SAMPLES = 1 << 28
"""Contrasts times coils times pixels: the k-space made of a case has at most 2 GiB."""
_LONGEST_T2 = 30.0
"""Seconds; a longer one is in milliseconds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PaperCase:
    """Fully sampled images of one slice with what is needed to measure them again.

    Attributes
    ----------
    image
        complex64 (contrast, y, x).
    sens
        complex64 (coil, y, x), coil sensitivity maps.
    t2, pd
        float64 (y, x): reference T2 in seconds, and proton density.
    roi
        bool (y, x): what counts.
    seed
        Of the sampling.
    te
        float64 (contrast,), echo times in seconds.
    source
        The file.
    """

    image: Complex64[np.ndarray, "contrast y x"]
    sens: Complex64[np.ndarray, "coil y x"]
    t2: Float[np.ndarray, "y x"]
    pd: Float[np.ndarray, "y x"]
    roi: Bool[np.ndarray, "y x"]
    seed: int
    te: Float[np.ndarray, " contrast"]
    source: str


def read_case(path: str | Path) -> PaperCase:
    """Read a case and check every field of it.

    Parameters
    ----------
    path
        An ``.npz`` file with the arrays of :data:`FIELDS`. The authors' own files are pickled; convert them once where they are
        trusted.

    Raises
    ------
    InputError
        If a field is missing, has another shape or type, is not finite, or is not in seconds; or if the file is damaged, holds
        objects, or asks for more memory than :data:`MAX_SAMPLES` samples.
    """
    described = {name: (shape, dtype) for name, shape, dtype in list_arrays(path)}
    missing = [name for name in FIELDS if name not in described]
    if missing:
        layout = ", ".join(f"{name} {axes}" for name, axes in FIELDS.items())
        held = ", ".join(name or "one array without a name" for name in described) or "nothing"
        raise InputError(path, f"lacks {', '.join(missing)} (it holds {held})", f"give an .npz file with {layout}")
    _check_shapes(path, {name: described[name][0] for name in FIELDS})
    fields = {name: load_array(path, key=name) for name in FIELDS}
    for name in ("image", "sens", "t2", "pd", "te_s"):
        _check_values(path, name, fields[name], complex_allowed=name in {"image", "sens"})
    te = fields["te_s"].astype(np.float64).ravel()
    check_seconds({"te": te}, path)
    if (te < 0).any() or len(np.unique(te)) < 2:
        raise InputError(path, f"has te_s {te.tolist()}", "give at least two different echo times in seconds, none negative")
    t2 = fields["t2"].astype(np.float64).reshape(fields["t2"].shape[-2:])
    roi = _region(path, fields["roi"])
    if t2[roi].max() > _LONGEST_T2:
        raise InputError(path, f"has t2 of up to {t2[roi].max():g} in roi, which looks like milliseconds", "give seconds")
    if not (t2[roi] > 0).any():
        raise InputError(path, "has no t2 above zero in roi", "give the reference map in seconds")
    return PaperCase(
        image=fields["image"].astype(np.complex64),
        sens=fields["sens"].astype(np.complex64),
        t2=t2,
        pd=fields["pd"].astype(np.float64).reshape(t2.shape),
        roi=roi,
        seed=_seed(path, fields["seed"]),
        te=te,
        source=str(path),
    )


def _check_shapes(path: str | Path, shapes: dict[str, tuple[int, ...]]) -> None:
    image, sens = shapes["image"], shapes["sens"]
    if len(image) != 3 or 0 in image:
        raise InputError(path, f"has image of shape {image}", f"give {FIELDS['image']}")
    if len(sens) != 3 or sens[1:] != image[1:] or 0 in sens:
        raise InputError(path, f"has sens of shape {sens} beside image of shape {image}", f"give (coil, {image[1]}, {image[2]})")
    for name in ("t2", "pd", "roi"):
        # Some writers keep a leading axis of one.
        if shapes[name] not in (image[1:], (1, *image[1:])):
            raise InputError(path, f"has {name} of shape {shapes[name]} beside image of shape {image}", f"give {image[1:]}")
    if math.prod(shapes["te_s"]) != image[0] or len(shapes["te_s"]) != 1:
        raise InputError(path, f"has te_s of shape {shapes['te_s']} for {image[0]} contrasts", f"give ({image[0]},)")
    if math.prod(shapes["seed"]) != 1:
        raise InputError(path, f"has seed of shape {shapes['seed']}", "give one whole number")
    samples = image[0] * math.prod(sens)
    if samples > MAX_SAMPLES:
        raise InputError(path, f"makes {samples} samples of k-space", f"the limit is {MAX_SAMPLES}: give a smaller case")


def _check_values(path: str | Path, name: str, values: NDArray[Any], *, complex_allowed: bool) -> None:
    if values.dtype.kind not in ("iufc" if complex_allowed else "iuf"):
        raise InputError(
            path, f"has {name} of type {values.dtype}", f"give {'real or complex' if complex_allowed else 'real'} numbers"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        fits = np.isfinite(values.astype(np.complex64 if complex_allowed else np.float32)).all()
    if not fits:
        raise InputError(path, f"has {name} with values that are not finite 32-bit numbers", "repair or rescale them")
    if complex_allowed and not values.any():
        raise InputError(path, f"has {name} of zeros alone", "give a case with signal")


def _region(path: str | Path, values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise InputError(path, f"has roi of type {values.dtype} that is not zero or one", "give zeros and ones")
    if not np.isin(values, (0, 1)).all():
        raise InputError(path, f"has roi with values from {values.min():g} to {values.max():g}", "give zeros and ones")
    if not values.any():
        raise InputError(path, "has an empty roi", "mark the pixels that count with ones")
    return np.asarray(values.reshape(values.shape[-2:]) != 0)


def _seed(path: str | Path, values: NDArray[Any]) -> int:
    value = values.reshape(()).item()
    if isinstance(value, (bool, complex)) or value != value or abs(value) == math.inf or int(value) != value or value < 0:  # noqa: PLR0124 - NaN
        raise InputError(path, f"has seed {value!r}", "give a whole number of 0 or more")
    return int(value)
