"""File names of the Brain Imaging Data Structure: entities, suffix and extension, parsed strictly.

Source: BIDS 1.11.1, https://bids-specification.readthedocs.io, "Common principles" and the appendices "Entities" and "Quantitative MRI".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medcore.errors import InputError

ENTITIES = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir", "run", "mod", "echo", "flip",
    "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "seg", "res", "den", "label", "desc",
)  # fmt: skip
"""Entities in the order in which names have them."""
INDICES = frozenset({"run", "echo", "flip", "inv", "split", "chunk"})
"""Entities whose value is a number."""
EXTENSIONS = (".nii.gz", ".nii", ".json")
_LABEL = re.compile(r"[A-Za-z0-9+]+")
_SUFFIX = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True, kw_only=True)
class Name:
    """A parsed file name.

    Attributes
    ----------
    entities
        Values by entity, in the order of the name; indices without leading zeros.
    suffix, extension
        For example ``MESE`` and ``.nii.gz``.
    """

    entities: dict[str, str]
    suffix: str
    extension: str

    def render(self) -> str:
        """The file name, entities in the standard's order."""
        ordered = [f"{key}-{self.entities[key]}" for key in ENTITIES if key in self.entities]
        return "_".join([*ordered, self.suffix]) + self.extension


def parse_name(path: str | Path) -> Name:
    """Parse the file name of `path`.

    Raises
    ------
    InputError
        If it is not ``key-value_..._suffix.extension`` with known, different entities and alphanumeric values.
    """
    path = Path(path)
    extension = next((e for e in EXTENSIONS if path.name.endswith(e)), "")
    *pairs, suffix = path.name.removesuffix(extension).split("_")
    if not extension or not _SUFFIX.fullmatch(suffix):
        raise InputError(path, "is no BIDS file name", "name it <entity>-<label>_..._<suffix>.nii.gz")
    entities: dict[str, str] = {}
    for pair in pairs:
        key, dash, value = pair.partition("-")
        if not dash or key not in ENTITIES or key in entities or not _LABEL.fullmatch(value):
            raise InputError(path, f"has {pair!r} in its name", f"use each of {', '.join(ENTITIES)} once, with letters and digits")
        if key in INDICES:
            if not value.isdigit():
                raise InputError(path, f"has {pair!r} in its name, which is not a number", "number it")
            value = str(int(value))
        entities[key] = value
    return Name(entities=entities, suffix=suffix, extension=extension)


def check_label(kind: str, label: str) -> str:
    """A label that may become part of a path: letters and digits only, without its ``sub-`` or ``ses-``.

    Raises
    ------
    InputError
        If it holds anything else, as ``..`` or a slash.
    """
    text = label.removeprefix(f"{kind}-")
    if not _LABEL.fullmatch(text):
        raise InputError(f"label {label!r}", f"is no {kind} label", "use letters and digits only")
    return text
