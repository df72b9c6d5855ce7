"""The facts of one frame, the same whether it comes from a classic file or an enhanced multi-frame one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from medcore.errors import InputError
from medcore.io.dicom.files import n_frames, parser_errors
from medcore.io.guard import foreign_errors

_HINT = "correct this element of the file"
_LONGEST = {"EchoTime": 10e3, "InversionTime": 60e3, "RepetitionTime": 600e3, "FlipAngle": 360.0}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where a frame lies, how it was measured, and how stored pixels become values.

    Times are in milliseconds and angles in degrees, as DICOM has them; None where they are not stated.
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


def read_frames(dataset: Any, file: int, path: Path) -> list[Frame]:
    """All frames of one file.

    Raises
    ------
    InputError
        If a frame has no place in space, or an element is not the number it should be.
    """
    with foreign_errors(path, "has an element that cannot be read", quote=False, also=parser_errors()):
        return list(
            _enhanced(dataset, file, path) if "PerFrameFunctionalGroupsSequence" in dataset else _classic(dataset, file, path)
        )


def _classic(dataset: Any, file: int, path: Path) -> Iterator[Frame]:
    if n_frames(dataset) != 1:
        raise InputError(path, f"has {n_frames(dataset)} frames and says nothing about each", "convert it to enhanced MR first")
    image_type = list(dataset.get("ImageType") or [])
    if "MOSAIC" in image_type:
        raise InputError(
            path, "is a Siemens mosaic, many slices in one picture", "convert it with dcm2niix and read the NIfTI file"
        )
    facts = _Facts([dataset], path)
    kind = image_type[2] if len(image_type) > 2 else ""
    yield facts.frame(
        file=file,
        index=0,
        te=facts.time("EchoTime"),
        ti=facts.time("InversionTime"),
        temporal=facts.whole("TemporalPositionIdentifier"),
        kind=kind,
        component={"M": "MAGNITUDE", "P": "PHASE", "R": "REAL", "I": "IMAGINARY"}.get(
            kind, dataset.get("ComplexImageComponent") or ""
        ),
    )


def _enhanced(dataset: Any, file: int, path: Path) -> Iterator[Frame]:
    per_frame = dataset.PerFrameFunctionalGroupsSequence
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    if len(per_frame) != n_frames(dataset):
        raise InputError(path, f"describes {len(per_frame)} of {n_frames(dataset)} frames", "get another copy of the file")
    for index, group in enumerate(per_frame):
        # Within a functional group comes what the standard asks for; a frame's own group wins over the shared one.
        sources = [
            item
            for owner in (group, *shared)
            for element in owner
            if element.VR == "SQ" and element.tag.group % 2 == 0
            for item in list(element.value)[:1]
        ]
        facts = _Facts([*sources, dataset], path)
        frame_type = list(facts.get("FrameType") or dataset.get("ImageType") or [])
        yield facts.frame(
            file=file,
            index=index,
            te=facts.time("EffectiveEchoTime", limit="EchoTime"),
            ti=facts.time("InversionTimes", limit="InversionTime"),
            temporal=facts.whole("TemporalPositionIndex"),
            kind=str(frame_type[2]) if len(frame_type) > 2 else "",
            component=str(facts.get("ComplexImageComponent") or ""),
        )


class _Facts:
    """Elements looked up in several data sets, the first that has one wins; numbers are checked."""

    def __init__(self, sources: list[Any], path: Path) -> None:
        self.sources, self.path = sources, path

    def get(self, keyword: str) -> Any:
        found = (source.get(keyword) for source in self.sources)
        return next((value for value in found if value is not None and value != ""), None)

    def frame(self, **known: Any) -> Frame:
        rows, columns = int(self.get("Rows")), int(self.get("Columns"))
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
        return Frame(
            position=self.vector("ImagePositionPatient", 3),
            orientation=orientation,
            spacing=(float(spacing[0]), float(spacing[1])),
            thickness=self.number("SpacingBetweenSlices") or self.number("SliceThickness"),
            slope=1.0 if slope is None else slope,
            intercept=self.number("RescaleIntercept") or 0.0,
            tr=self.time("RepetitionTime"),
            flip=self.time("FlipAngle"),
            acquisition=self.whole("AcquisitionNumber"),
            size=(rows, columns),
            **known,
        )

    def number(self, keyword: str) -> float | None:
        value = self.get(keyword)
        if isinstance(value, (list, tuple)) or (hasattr(value, "__len__") and not isinstance(value, str)):
            value = value[0] if len(value) == 1 else value
        if value is None:
            return None
        try:
            number = math.nan if isinstance(value, str) else float(value)
        except (TypeError, ValueError):
            number = math.nan
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
        value = self.get(keyword)
        if value is None:
            raise InputError(
                self.path, f"lacks {keyword}, so it has no place in space", "give images with position and orientation"
            )
        values = [math.nan if isinstance(v, str) else float(v) for v in (value if hasattr(value, "__len__") else [value])]
        vector = np.array(values, dtype=np.float64)
        if vector.shape != (length,) or not np.isfinite(vector).all():
            raise InputError(self.path, f"has {keyword} that is not {length} numbers", _HINT)
        return vector
