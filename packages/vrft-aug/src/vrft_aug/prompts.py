"""What the model is asked, in which form it must answer, and what a right answer looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vrft_aug.coordinates import check_coordinates

Task = Literal["localisation", "classification", "grading"]


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """Wording of the question."""

    style: Literal["full", "short"] = "full"
    """``full`` explains the answer format in words; ``short`` is a few words, for tiny models that learn the format by example."""
    question: str | None = None
    """Own question instead of the built-in one; class names, units and format are appended in style ``full``."""
    coordinates: str = "norm1000"
    """Units of boxes, see :mod:`vrft_aug.coordinates`; tiny models learn a coarse grid such as ``norm16``."""

    def __post_init__(self) -> None:
        check_coordinates(self.coordinates)
