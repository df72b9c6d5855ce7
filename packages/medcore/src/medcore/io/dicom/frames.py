"""The facts of one frame, the same whether it comes from a classic file or an enhanced multi-frame one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from medcore.errors import InputError
from medcore.io.dicom.files import n_frames
from medcore.io.dicom.mosaic import is_mosaic, read_tiles
from medcore.io.dicom.parsing import pydicom_errors

_HINT = "correct this element of the file"
_LONGEST = {"EchoTime": 10e3, "InversionTime": 60e3, "RepetitionTime": 600e3, "FlipAngle": 360.0}


_COMPONENTS = {"M": "MAGNITUDE", "P": "PHASE", "R": "REAL", "I": "IMAGINARY"}
_KEYWORDS = (
    *(
        "Rows",
        "Columns",
        "PixelSpacing",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "SpacingBetweenSlices",
        "SliceThickness",
    ),
    *("RescaleSlope", "RescaleIntercept", "EchoTime", "EffectiveEchoTime", "InversionTime", "InversionTimes", "RepetitionTime"),
    *("FlipAngle", "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber", "FrameAcquisitionNumber"),
    *("ImageType", "FrameType", "ComplexImageComponent"),
)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where a frame lies, how it was measured, and how stored pixels become values.

    Times are in milliseconds and angles in degrees, as DICOM has them; None where they are not stated. `corner` is the first row and
    column of the slice within its picture, which matters in a mosaic. `distance` is the stated one from slice to slice. `zeros` names the
    times that are given as zero.
    """

    file: int
    index: int
    position: Float[np.ndarray, "3"]
    orientation: Float[np.ndarray, "6"]
    spacing: tuple[float, float]
    thickness: float | None
    slope: float
    intercept: float
    te: float | None
    ti: float | None
    tr: float | None
    flip: float | None
    temporal: int | None
    acquisition: int | None
    kind: str
    component: str
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    distance: float | None = None
    zeros: tuple[str, ...] = ()


def read_frames(dataset: Any, file: int, path: Path) -> list[Frame]:
    """All frames of one file.

    Raises
    ------
    InputError
        If a frame has no place in space, or an element is not the number it should be.
    """
    with pydicom_errors(path):
        enhanced = "PerFrameFunctionalGroupsSequence" in dataset
        table = "ModalityLUTSequence" in dataset
    if table:
        raise InputError(path, "turns stored pixels into values by a table (ModalityLUTSequence)", "convert it to rescaled pixels")
    return list(_enhanced(dataset, file, path) if enhanced else _classic(dataset, file, path))


def _classic(dataset: Any, file: int, path: Path) -> Iterator[Frame]:
    if n_frames(dataset) != 1:
        raise InputError(path, f"has {n_frames(dataset)} frames and says nothing about each", "convert it to enhanced MR first")
    facts = _Facts([dataset], path)
    kind = facts.third("ImageType")
    frame = facts.frame(
        file=file,
        index=0,
        te=facts.time("EchoTime"),
        ti=facts.time("InversionTime"),
        temporal=facts.whole("TemporalPositionIdentifier"),
        acquisition=facts.whole("AcquisitionNumber"),
        kind=kind,
        component=_COMPONENTS.get(kind, facts.word("ComplexImageComponent")),
    )
    if not is_mosaic(dataset):
        yield frame
        return
    distance = frame.thickness if frame.distance is None else frame.distance
    for tile in read_tiles(dataset, path, frame.position, frame.orientation, frame.spacing, distance):
        yield replace(frame, position=tile.position, size=tile.size, corner=(tile.row, tile.column))


def _enhanced(dataset: Any, file: int, path: Path) -> Iterator[Frame]:
    with pydicom_errors(path):
        per_frame = list(dataset.PerFrameFunctionalGroupsSequence)
        shared = [item for group in dataset.get("SharedFunctionalGroupsSequence") or () for item in _macros(group)]
    if len(per_frame) != n_frames(dataset):
        raise InputError(path, f"describes {len(per_frame)} of {n_frames(dataset)} frames", "get another copy of the file")
    for index, group in enumerate(per_frame):
        with pydicom_errors(path):
            own = _macros(group)
        facts = _Facts([*own, *shared, dataset], path)
        acquisition = facts.whole("FrameAcquisitionNumber")
        yield facts.frame(
            file=file,
            index=index,
            te=facts.time("EffectiveEchoTime", limit="EchoTime"),
            ti=facts.time("InversionTimes", limit="InversionTime"),
            temporal=facts.whole("TemporalPositionIndex"),
            acquisition=facts.whole("AcquisitionNumber") if acquisition is None else acquisition,
            kind=facts.third("FrameType") or facts.third("ImageType"),
            component=facts.word("ComplexImageComponent"),
        )


def _macros(group: Any) -> list[Any]:
    """The data sets within one functional group: a frame's own win over the shared ones."""
    return [item for element in group if element.VR == "SQ" and element.tag.group % 2 == 0 for item in list(element.value)[:1]]


def _first(sources: list[Any], keyword: str) -> Any:
    found = (source.get(keyword) for source in sources)
    return next((value for value in found if value is not None and value != ""), None)


class _Facts:
    """Elements looked up in several data sets, the first that has one wins; numbers are checked."""

    def __init__(self, sources: list[Any], path: Path) -> None:
        self.path = path
        with pydicom_errors(path):
            self.found = {keyword: _first(sources, keyword) for keyword in _KEYWORDS}

    def word(self, keyword: str) -> str:
        value = self.found[keyword]
        return value if isinstance(value, str) else ""

    def third(self, keyword: str) -> str:
        """Third of several words, which says what an image shows."""
        value = self.found[keyword]
        return (
            str(value[2])
            if value is not None and not isinstance(value, str) and hasattr(value, "__len__") and len(value) > 2
            else ""
        )

    def frame(self, **known: Any) -> Frame:
        spacing = self.vector("PixelSpacing", 2)
        orientation = self.vector("ImageOrientationPatient", 6)
        axes = orientation.reshape(2, 3)
        if min(spacing) <= 0:
            raise InputError(self.path, f"has PixelSpacing {spacing.tolist()}", _HINT)
        if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3):
            raise InputError(self.path, "has an ImageOrientationPatient that is no pair of orthogonal unit vectors", _HINT)
        slope = self.number("RescaleSlope")
        if slope == 0:
            raise InputError(self.path, "has RescaleSlope 0", _HINT)
        distance = self.number("SpacingBetweenSlices")
        return Frame(
            position=self.vector("ImagePositionPatient", 3),
            orientation=orientation,
            spacing=(float(spacing[0]), float(spacing[1])),
            thickness=abs(distance) if distance else self.number("SliceThickness"),
            slope=1.0 if slope is None else slope,
            intercept=self.number("RescaleIntercept") or 0.0,
            tr=self.time("RepetitionTime"),
            flip=self.time("FlipAngle"),
            size=(int(self.found["Rows"]), int(self.found["Columns"])),
            distance=distance,
            zeros=tuple(k for k in ("EchoTime", "EffectiveEchoTime") if self.found[k] is not None and self.number(k) == 0),
            **known,
        )

    def number(self, keyword: str) -> float | None:
        value = self.found[keyword]
        if value is None:
            return None
        if hasattr(value, "__len__") and not isinstance(value, str) and len(value) == 1:
            value = value[0]
        number = float(value) if isinstance(value, (int, float)) else math.nan
        if not math.isfinite(number):
            raise InputError(self.path, f"has {keyword} that is not one number", _HINT)
        return number

    def time(self, keyword: str, *, limit: str | None = None) -> float | None:
        """A number above zero and below the longest plausible one; zero means "not stated"."""
        value = self.number(keyword)
        if value is not None and not 0 <= value <= _LONGEST[limit or keyword]:
            raise InputError(self.path, f"has {keyword} {value:g}", "correct it; times are milliseconds, angles degrees")
        return value or None

    def whole(self, keyword: str) -> int | None:
        value = self.number(keyword)
        return None if value is None else int(value)

    def vector(self, keyword: str, length: int) -> Float[np.ndarray, "n"]:
        value = self.found[keyword]
        if value is None:
            raise InputError(
                self.path, f"lacks {keyword}, so it has no place in space", "give images with position and orientation"
            )
        listed = list(value) if hasattr(value, "__len__") and not isinstance(value, str) else [value]
        vector = np.array([float(v) if isinstance(v, (int, float)) else math.nan for v in listed], dtype=np.float64)
        if vector.shape != (length,) or not np.isfinite(vector).all():
            raise InputError(self.path, f"has {keyword} that is not {length} numbers", _HINT)
        return vector
