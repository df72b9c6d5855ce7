"""The facts of each frame of a parametric map: place, quantity, unit and mapping, strictly checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from medcore.errors import InputError
from medcore.io.dicom.parsing import pydicom_errors
from medcore.io.parametric_map.codes import si_unit

_HINT = "correct this element of the file"


@dataclass(frozen=True, kw_only=True)
class MapFrame:
    """One frame.

    Attributes
    ----------
    index
        Its number in the file.
    position, orientation, spacing, distance
        In millimetres, LPS+; `distance` is that of slices, None where it is not stated.
    label, quantity, unit
        What it shows; `unit` is the SI unit of the values that come out.
    factor, offset
        From stored pixels to values.
    first, last
        Stored pixels for which the mapping holds.
    place
        Number in its stack, None where it has none.
    n_mappings
        How many mappings there are to choose from.
    """

    index: int
    position: Float64[np.ndarray, "3"]
    orientation: Float64[np.ndarray, "6"]
    spacing: tuple[float, float]
    distance: float | None
    label: str
    quantity: str
    unit: str
    factor: float
    offset: float
    first: float
    last: float
    place: int | None
    n_mappings: int

    @property
    def contrast(self) -> tuple[str, str, str]:
        """What frames of one contrast have in common."""
        return self.label, self.quantity, self.unit


def read_map_frames(dataset: Any, path: Path) -> list[MapFrame]:
    """All frames of a parametric map.

    Raises
    ------
    InputError
        If a frame lacks place or mapping, or an element is not what it should be.
    """
    with pydicom_errors(path, "has an element that cannot be read"):
        groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
        shared = list(dataset.get("SharedFunctionalGroupsSequence") or ())
    if not groups:
        raise InputError(path, "describes no frames", "get another copy of the file")
    return [_frame(_Reader([group, *shared], path), index) for index, group in enumerate(groups)]


class _Reader:
    """Macros of one frame: its own win over the shared ones."""

    def __init__(self, groups: list[Any], path: Path) -> None:
        self.groups, self.path = groups, path

    def items(self, keyword: str) -> list[Any]:
        with pydicom_errors(self.path, "has an element that cannot be read"):
            found = next((list(value) for group in self.groups if (value := group.get(keyword))), [])
            if any(not hasattr(item, "PerFrameFunctionalGroupsSequence") and not hasattr(item, "get") for item in found):
                raise TypeError(keyword)
        return found

    def value(self, sequence: str, keyword: str) -> Any:
        items = self.items(sequence)
        return self.of(items[0], keyword) if items else None

    def of(self, item: Any, keyword: str) -> Any:
        with pydicom_errors(self.path, "has an element that cannot be read"):
            return item.get(keyword)

    def numbers(self, value: Any, count: int, keyword: str) -> Float64[np.ndarray, "n"]:
        listed = list(value) if value is not None and hasattr(value, "__len__") and not isinstance(value, str) else [value]
        vector = np.array([float(v) if isinstance(v, (int, float)) else math.nan for v in listed], dtype=np.float64)
        if vector.shape != (count,) or not np.isfinite(vector).all():
            raise InputError(self.path, f"has {keyword} that is not {count} number{'s' * (count > 1)}", _HINT)
        return vector


def _frame(read: _Reader, index: int) -> MapFrame:
    orientation = read.numbers(read.value("PlaneOrientationSequence", "ImageOrientationPatient"), 6, "ImageOrientationPatient")
    axes = orientation.reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3):
        raise InputError(read.path, "has an ImageOrientationPatient that is no pair of orthogonal unit vectors", _HINT)
    spacing = read.numbers(read.value("PixelMeasuresSequence", "PixelSpacing"), 2, "PixelSpacing")
    if spacing.min() <= 0:
        raise InputError(read.path, f"has PixelSpacing {spacing.tolist()}", _HINT)
    distances = [read.value("PixelMeasuresSequence", k) for k in ("SpacingBetweenSlices", "SliceThickness")]
    stated = next((d for d in distances if isinstance(d, (int, float)) and math.isfinite(d) and d > 0), None)
    place = read.value("FrameContentSequence", "InStackPositionNumber")
    mappings = read.items("RealWorldValueMappingSequence")
    if not mappings:
        raise InputError(read.path, f"has no real-world value mapping for frame {index + 1}", "write it with quantity and unit")
    return MapFrame(
        index=index,
        position=read.numbers(read.value("PlanePositionSequence", "ImagePositionPatient"), 3, "ImagePositionPatient"),
        orientation=orientation,
        spacing=(float(spacing[0]), float(spacing[1])),
        distance=None if stated is None else float(stated),
        place=place if isinstance(place, int) else None,
        n_mappings=len(mappings),
        **_mapping(read, mappings[0]),
    )


def _mapping(read: _Reader, item: Any) -> dict[str, Any]:
    if read.of(item, "RealWorldValueLUTData") is not None:
        raise InputError(read.path, "maps pixels to values by a table", "convert it to a linear mapping")
    slope = float(read.numbers(read.of(item, "RealWorldValueSlope"), 1, "RealWorldValueSlope")[0])
    intercept = float(read.numbers(read.of(item, "RealWorldValueIntercept"), 1, "RealWorldValueIntercept")[0])
    if slope == 0:
        raise InputError(read.path, "has RealWorldValueSlope 0", _HINT)
    ends = []
    for end in ("First", "Last"):
        keywords = (f"DoubleFloatRealWorldValue{end}ValueMapped", f"RealWorldValue{end}ValueMapped")
        found = next((v for k in keywords if isinstance(v := read.of(item, k), (int, float))), math.nan)
        ends.append(float(found))
    code = _code(read, item, "MeasurementUnitsCodeSequence", "CodeValue")
    unit, per_si = si_unit(code)
    label = read.of(item, "LUTLabel")
    return {
        "label": str(label or ""),
        "quantity": _quantity(read, item),
        "unit": unit,
        "factor": slope / per_si,
        "offset": intercept / per_si,
        "first": ends[0] if math.isfinite(ends[0]) else -math.inf,
        "last": ends[1] if math.isfinite(ends[1]) else math.inf,
    }


def _code(read: _Reader, item: Any, sequence: str, keyword: str) -> str:
    with pydicom_errors(read.path, "has an element that cannot be read"):
        codes = list(item.get(sequence) or ())
        value = codes[0].get(keyword) if codes else None
    if not isinstance(value, str) or not value:
        raise InputError(read.path, f"has a real-world value mapping without {sequence}", "write it with a coded unit")
    return value


def _quantity(read: _Reader, item: Any) -> str:
    """Meaning of the coded quantity; empty where none is coded."""
    with pydicom_errors(read.path, "has an element that cannot be read"):
        for content in item.get("QuantityDefinitionSequence") or ():
            codes = list(content.get("ConceptCodeSequence") or ())
            if codes:
                return str(codes[0].get("CodeMeaning") or "")
    return ""
