"""What to read: the settings of a data set, and what else the rows of a stage depend on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from medcore.errors import ConfigError
from vrft_aug.knowledge import KnowledgeSettings
from vrft_aug.prompts import PromptSettings, Task

Part = Literal["train", "held_out"]
Kind = Literal["medmnist", "grades", "folder", "voc", "coco", "masks", "dicom", "vqa", "prepared", "drawn-scans", "drawn-grades"]
DRAWN = ("drawn-scans", "drawn-grades")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which images, which of them are held out, and which classes or boxes count."""

    kind: Kind
    """Reader: MedMNIST npz, CSV of ordinal grades with images, images of classes (a CSV table or a folder for each class), Pascal VOC
    folder, COCO JSON, images with masks, DICOM folder with a CSV of labels, questions in JSON Lines, what ``vrft-aug prepare`` wrote, or
    drawn images (no files)."""
    path: Path | None = None
    """File or folder; none for drawn images."""
    train: int | None = None
    """At most this many training images; drawn kinds: exactly this many, 1000 by default."""
    held_out: int | None = None
    """At most this many held-out images; drawn kinds: exactly this many, 256 by default."""
    fraction: float = 0.25
    """Share of the images held out where the source has no split of its own; whole subjects move together."""
    held_out_split: str = "val"
    """Split that is held out where the source has splits (medmnist, and others that state them)."""
    classes: tuple[str, ...] | None = None
    """Names of the classes or, in rising order, of the grades, instead of those of the source."""
    box_class: str | None = None
    """Which boxes count, by default all: a class (voc, coco), a structure (masks), or a kind of finding (drawn)."""
    box_name: str | None = None
    """What the boxes hold, in the words of the question; by default their class."""
    keep_empty: bool = False
    """Localisation: keep images without a box; their right answer is ``[]``."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further parameters of the reader, for example ``structure`` for masks, ``window`` for dicom, or ``noise`` for drawn scans."""
    seed: int = 0
    """Seed of drawing, splitting and thinning."""

    def __post_init__(self) -> None:
        if self.kind in DRAWN and self.path is not None:
            raise ConfigError(
                "data.path", f"{self.path} is given, but {self.kind} reads no file", "remove path or choose another kind"
            )
        if self.kind not in DRAWN and self.path is None:
            raise ConfigError("data.path", f"is missing for kind {self.kind}", "give the file or folder")
        for name in ("train", "held_out"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise ConfigError(f"data.{name}", f"is {limit}", "give at least 1")
        if not 0 < self.fraction < 1:
            raise ConfigError("data.fraction", f"is {self.fraction}", "give a number between 0 and 1")
        if self.seed < 0:
            raise ConfigError("data.seed", f"is {self.seed}", "give 0 or more")
        if self.classes is not None and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            raise ConfigError("data.classes", f"are {', '.join(self.classes)}", "give at least two different names")
        if self.kind in ("medmnist", "grades", "folder", "dicom", "vqa") and (self.box_class or self.box_name):
            raise ConfigError("data.box_class", f"or box_name is given, but {self.kind} has no boxes", "remove it")
        if self.kind == "vqa" and self.classes is not None:
            raise ConfigError("data.classes", "are given, but every question has its own choices", "remove them")


@runtime_checkable
class Stage(Protocol):
    """What the rows of a stage depend on; :class:`vrft_aug.recipe.StageSettings` is one."""

    @property
    def data(self) -> DataSettings:
        """Images and truth."""

    @property
    def task(self) -> Task:
        """What is asked."""

    @property
    def knowledge(self) -> KnowledgeSettings | None:
        """Text injected into the prompts."""

    @property
    def prompts(self) -> PromptSettings:
        """Wording of the question."""
