"""BIDS JSON sidecars: read strictly, times checked to be seconds.

Source: Brain Imaging Data Structure 1.11.1, appendix "Quantitative MRI": EchoTime and InversionTime are seconds, FlipAngle degrees.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.images import check_seconds
from medcore.io.json_object import parse_object
from medcore.io.limits import existing_file
from medcore.units import deg_to_rad

MAX_BYTES = 4 << 20
_KEYS = {
    "te": ("EchoTime",),
    "ti": ("InversionTime",),
    # RepetitionTime beside it may be the time between preparations, as in MP2RAGE.
    "tr": ("RepetitionTimeExcitation", "RepetitionTime"),
    "flip_angle": ("FlipAngle",),
}
_META = {
    "vendor": "Manufacturer",
    "model": "ManufacturersModelName",
    "field_strength": "MagneticFieldStrength",
    "sequence": "PulseSequenceType",
    "units": "Units",
}
_SEQUENCE = ("RepetitionTimePreparation", "NumberShots", "InversionEfficiency")
"""Numbers of a sequence that come into ``meta`` under their BIDS names, times in seconds."""
_ESTIMATED = {"EstimationReference", "EstimationAlgorithm"}
_HINT = "correct the sidecar"


def sidecar_path(image: Path) -> Path:
    """The JSON file that belongs to a ``.nii`` or ``.nii.gz`` file, or to a ``.hdr``/``.img`` pair."""
    stem = image.name.removesuffix(".gz")
    suffix = next((s for s in (".nii", ".hdr", ".img") if stem.endswith(s)), "")
    return image.with_name(f"{stem.removesuffix(suffix)}.json")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object: at most 4 MB, no key twice, no NaN or infinity.

    Raises
    ------
    InputError
        If it is not that.
    """
    size = existing_file(path).stat().st_size
    if size > MAX_BYTES:
        raise InputError(path, f"has {size} bytes, more than {MAX_BYTES}", _HINT)
    return parse_object(path.read_bytes(), str(path), _HINT, finite=True)


def sidecar_times(content: dict[str, Any], n_contrasts: int, path: Path) -> dict[str, NDArray[np.float64]]:
    """Times of a sidecar in seconds and radians; a single value holds for all contrasts.

    Several times beside one image that was estimated from several (it states ``EstimationReference`` or ``EstimationAlgorithm``)
    are those of its sources, as BIDS has it, and are left out. In a list zero is allowed: a first echo at time 0.

    Raises
    ------
    InputError
        If a value is not a positive number, looks like milliseconds, or comes in another number than the contrasts.
    """
    times = {}
    for key, names in _KEYS.items():
        name = next((n for n in names if n in content), None)
        if name is None:
            continue
        values = content[name] if isinstance(content[name], list) else [content[name]]
        lowest = 0 if len(values) > 1 else 1e-9
        if not values or any(isinstance(v, bool) or not isinstance(v, (int, float)) or not lowest <= v < 1e9 for v in values):
            raise InputError(path, f"has {name} = {content[name]!r}", "give positive numbers, times in seconds")
        if n_contrasts == 1 and len(values) > 1 and not _ESTIMATED.isdisjoint(content):
            continue
        if len(values) not in (1, n_contrasts):
            raise InputError(path, f"has {len(values)} values of {name} for {n_contrasts} images", "give one value for each image")
        scale = deg_to_rad(1.0) if key == "flip_angle" else 1.0
        times[key] = np.broadcast_to(scale * np.array(values, dtype=np.float64), (n_contrasts,)).copy()
    check_seconds(times, path)
    return times


def sidecar_meta(content: dict[str, Any]) -> dict[str, Any]:
    """The facts of a sidecar that identify nobody."""
    numbers = {name: content[name] for name in _SEQUENCE if _are_numbers(content.get(name))}
    return numbers | {key: content[name] for key, name in _META.items() if isinstance(content.get(name), (str, int, float))}


def b_values(image: Path, n_contrasts: int) -> dict[str, NDArray[np.float64]]:
    """The b-values of a ``.bval`` file beside an image, in s/m^2 (the file has s/mm^2, separated by blanks); none without one.

    Raises
    ------
    InputError
        If it holds something else than one number that is not negative for each contrast.
    """
    path = sidecar_path(image).with_suffix(".bval")
    if not path.is_file():
        return {}
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(path, f"has {size} bytes, more than {MAX_BYTES}", "give one b-value for each image")
    try:
        values = np.array(path.read_text(encoding="ascii").split(), dtype=np.float64)
    except ValueError as error:  # a UnicodeDecodeError is one too
        raise InputError(path, "holds something else than numbers", "give b-values in s/mm^2, separated by blanks") from error
    if values.shape != (n_contrasts,) or not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError(
            path, f"holds {values.size} b-values for {n_contrasts} images", "give one that is not negative for each image"
        )
    return {"b_value": 1e6 * values}


def _are_numbers(value: Any) -> bool:
    """Whether it is one number, or a list of them."""
    values = value if isinstance(value, list) and value else [value]
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
