"""Stored DICOM values as 8-bit grey: slope and intercept, window, inversion (PS3.3 C.11.1 and C.11.2)."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from medcore.datasets.window_presets import WINDOW_PRESETS
from medcore.errors import ConfigError, InputError, MissingExtraError
from medcore.io.dicom import read_dicom
from medcore.io.dicom.files import open_dicom
from medcore.io.guard import foreign_errors

WindowChoice = Sequence[float] | str
"""(centre, width), ``"file"``, ``"range"``, or a name of :data:`medcore.datasets.window_presets.WINDOW_PRESETS`."""
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_HINT = "give window=(centre, width) or window='range'"


def check_window(window: WindowChoice) -> tuple[float, float] | str:
    """`window` as centre and width, or the word ``"file"`` or ``"range"``.

    Raises
    ------
    ConfigError
        If it is neither one of these words, nor a preset, nor a finite centre and a positive width.
    """
    if isinstance(window, str):
        if window in ("file", "range"):
            return window
        if window in WINDOW_PRESETS:
            return WINDOW_PRESETS[window]
        near = difflib.get_close_matches(window, list(WINDOW_PRESETS), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use file, range, {', '.join(WINDOW_PRESETS)}, or (centre, width)"
        raise ConfigError("window", f"is {window[:40]!r}", hint)
    if len(window) == 2 and all(_is_number(v) for v in window) and window[1] > 0:
        return float(window[0]), float(window[1])
    raise ConfigError("window", f"is {window!r}", "give (centre, width), 'file', 'range' or the name of a preset")


def check_hounsfield(dataset: Any, window: WindowChoice, path: Path) -> None:
    """Refuse a preset, which is in Hounsfield units, for an image that has none.

    Raises
    ------
    ConfigError
        If `window` names a preset and the image is no CT.
    """
    if isinstance(window, str) and window in WINDOW_PRESETS and (modality := str(dataset.get("Modality") or "none")) != "CT":
        problem = f"is of the modality {modality[:16]}, and the window {window!r} is in Hounsfield units of CT"
        raise ConfigError(path, problem, "give window=(centre, width), 'file' or 'range'")


def window_of(dataset: Any, window: WindowChoice, path: Path) -> str:
    """How an image is shown, in words for the card.

    Raises
    ------
    InputError
        If the file's own window is none.
    """
    if not isinstance(window, str):
        return f"the window centre {window[0]:g}, width {window[1]:g}"
    if window == "range":
        return "the range of their values"
    if "VOILUTSequence" in dataset:
        return "the table of grey values of their file"
    return "the window of their file" if _own_window(dataset, path) is not None else "the range of their values"


def grey_image(path: Path, window: WindowChoice) -> UInt8[np.ndarray, "y x"]:
    """One single-frame file as 8-bit grey, bright is high.

    Raises
    ------
    InputError
        If the file is damaged or its window is none.
    MissingExtraError
        If no decoder is installed for its compression.
    """
    dataset = open_dicom(path)
    stored = _decode(dataset, path)
    values = _modality(dataset, stored, path)
    padding = dataset.get("PixelPaddingValue")
    inside = stored != int(padding) if padding not in (None, "") else np.ones(stored.shape, dtype=bool)
    if window == "file" and "VOILUTSequence" in dataset:
        grey = _spread(_table_of_greys(dataset, values, path), inside)
    elif window == "file" and (own := _own_window(dataset, path)) is not None:
        grey = apply_window(values, *own)
    elif isinstance(window, str):
        grey = _spread(values, inside)
    else:
        grey = apply_window(values, window[0], window[1])
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def grey_volume(files: Sequence[Path], window: WindowChoice) -> UInt8[np.ndarray, "z y x"]:
    """A series as an 8-bit volume, bright is high; ``window="file"`` takes the window of its first file.

    Raises
    ------
    InputError
        If the files are no series of one contrast, or damaged.
    """
    series = read_dicom(files)
    if series.data.shape[0] != 1:
        raise InputError(files[0], f"is of a series with {series.data.shape[0]} contrasts", "give series of one contrast")
    values = np.asarray(series.data[0], dtype=np.float64)
    first = open_dicom(files[0])
    if window == "file" and "VOILUTSequence" in first:
        raise InputError(files[0], "has a table of grey values, which is not applied to volumes", _HINT)
    own = _own_window(first, files[0]) if window == "file" else None
    if own is not None:
        grey = apply_window(values, *own)
    elif isinstance(window, str):
        grey = _spread(values, np.ones(values.shape, dtype=bool))
    else:
        grey = apply_window(values, window[0], window[1])
    return 255 - grey if first.PhotometricInterpretation == "MONOCHROME1" else grey


def apply_window(
    values: Float[np.ndarray, "*shape"], centre: float, width: float, function: str = "LINEAR"
) -> UInt8[np.ndarray, "*shape"]:
    """Values in a window as 0 to 255, after PS3.3 C.11.2.1.2 (LINEAR) and C.11.2.1.3 (LINEAR_EXACT, SIGMOID); halves round to even.

    Parameters
    ----------
    values
        After slope and intercept.
    centre, width
        The window; a LINEAR window of width 1 is a threshold at centre - 0.5.
    function
        ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.
    """
    if function == "SIGMOID":
        share = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    elif function == "LINEAR_EXACT":
        share = (values - centre) / width + 0.5
    elif width == 1:
        share = (values > centre - 0.5).astype(np.float64)
    else:
        share = (values - (centre - 0.5)) / (width - 1) + 0.5
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def _spread(values: Float[np.ndarray, "*shape"], inside: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Lowest to highest value of the image itself as 0 to 255; an image of one value is black."""
    seen = values[inside] if inside.any() else values
    low, high = float(seen.min()), float(seen.max())
    if high == low:
        return np.zeros(values.shape, dtype=np.uint8)
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)


def _decode(dataset: Any, path: Path) -> Shaped[np.ndarray, "y x"]:
    try:
        with foreign_errors(path, "has pixels that cannot be decoded"):
            pixels = np.asarray(dataset.pixel_array)
    except InputError as error:
        if "missing dependencies" in str(error.__cause__):
            raise MissingExtraError("pylibjpeg or gdcm", "medcore[dicom]", str(path)) from error
        raise
    if pixels.shape != (int(dataset.Rows), int(dataset.Columns)):
        raise InputError(path, f"decodes to the shape {pixels.shape}", "give single-frame grey images")
    return pixels


def _modality(dataset: Any, stored: Shaped[np.ndarray, "y x"], path: Path) -> Float[np.ndarray, "y x"]:
    """Values after the modality's table or slope and intercept."""
    if "ModalityLUTSequence" in dataset:
        from pydicom.pixels import apply_modality_lut

        with foreign_errors(path, "has a damaged table of values", quote=False):
            return np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    slope, intercept = _number(dataset, "RescaleSlope", 1.0, path), _number(dataset, "RescaleIntercept", 0.0, path)
    return stored.astype(np.float64) * slope + intercept


def _table_of_greys(dataset: Any, values: Float[np.ndarray, "y x"], path: Path) -> Float[np.ndarray, "y x"]:
    from pydicom.pixels import apply_voi_lut

    with foreign_errors(path, "has a damaged table of grey values", quote=False):
        return np.asarray(apply_voi_lut(np.rint(values).astype(np.int64), dataset, prefer_lut=True), dtype=np.float64)


def _own_window(dataset: Any, path: Path) -> tuple[float, float, str] | None:
    """First window of a file, None if it has none."""
    with foreign_errors(path, "has a window that is no number", _HINT, quote=False):
        pair = [_first(dataset.get(keyword)) for keyword in ("WindowCenter", "WindowWidth")]
        function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if None in pair:
        return None
    centre, width = pair
    if (
        function not in _FUNCTIONS
        or not math.isfinite(centre)
        or not math.isfinite(width)
        or width < (function == "LINEAR")
        or width <= 0
    ):
        raise InputError(path, f"has a {function[:20]} window of centre {centre:g} and width {width:g}", _HINT)
    return centre, width, function


def _first(value: Any) -> Any:
    if value in (None, ""):
        return None
    values = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    return float(values[0]) if values else None


def _number(dataset: Any, keyword: str, default: float, path: Path) -> float:
    with foreign_errors(path, f"has a {keyword} that is no number", quote=False):
        value = dataset.get(keyword)
        number = default if value in (None, "") else float(value)
    if not math.isfinite(number):
        raise InputError(path, f"has {keyword} = {number}", "correct the file")
    return number


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
