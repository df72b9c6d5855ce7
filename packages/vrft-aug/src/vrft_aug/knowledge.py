"""Prior knowledge put into prompts: a text for the task and one for each class, with its origin.

The texts are the same for every sample: what is injected must not depend on the sample's label, or the policy reads the label off the
prompt. So class texts are injected for all classes or for none.

::

    task: Chest X-rays of children.
    classes:
      normal: clear lungs
      pneumonia: white patches or hazy areas in one or both lungs
    provenance:
      author: A. Radiologist
      model: none
      date: 2026-01-31
      licence: CC-BY-4.0
      source: [A textbook of chest radiology, "https://example.org/guideline"]
      reviewer: B. Radiologist

:mod:`vrft_aug.knowledge_lint` looks for what is wrong with such a text, :mod:`vrft_aug.leak` for prompts that tell the label.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medcore.config import from_mapping, load_yaml, unknown_key
from medcore.errors import ConfigError, InputError

MAX_CHARACTERS = 20_000
Placement = Literal["before", "after", "system"]


@dataclass(frozen=True, kw_only=True)
class KnowledgeSettings:
    """Which knowledge is injected, where, and when.

    The source paper (arXiv 2602.10619) injects text written by a large language model; where it stands in the prompt and whether it is
    kept at test time is not public, so both are settings and their defaults are ours.
    """

    file: Path
    """YAML file of the form shown in this module."""
    placement: Placement = "before"
    """Before or after the question, or as a system message."""
    apply_at: Literal["train", "eval", "both"] = "both"
    """Whether the prompts of training, of evaluation, or both carry it."""

    def applies(self, part: Literal["train", "held_out"]) -> bool:
        """Whether the prompts of this part of the data carry the knowledge."""
        return self.apply_at == "both" or (self.apply_at == "train") == (part == "train")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who wrote the knowledge, from what and under which terms; source and reviewer may be missing, which lint tells."""

    author: str
    """Person or institution that answers for the text."""
    model: str
    """Language model that wrote it, with version, or ``none``."""
    date: str
    """Day of writing, YYYY-MM-DD."""
    licence: str
    """SPDX identifier or name of the licence."""
    source: tuple[str, ...] = ()
    """Where the facts come from: titles, identifiers or addresses; in the file, one text or a list."""
    reviewed_by: str | None = None
    """Who checked it, if somebody did; in the file also called ``reviewer``."""

    def __post_init__(self) -> None:
        for name in ("author", "model", "date", "licence"):
            if not getattr(self, name).strip():
                raise ConfigError(f"provenance.{name}", "is empty", "say where the knowledge comes from")
        try:
            dt.date.fromisoformat(self.date)
        except ValueError as error:
            raise ConfigError("provenance.date", f"{self.date!r} is not a date", "write YYYY-MM-DD") from error
        if not all(text.strip() for text in self.source):
            raise ConfigError("provenance.source", "holds an empty text", "name a source or remove it")


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """The content of a knowledge file."""

    provenance: Provenance
    """Origin of the text."""
    task: str = ""
    """Text for the task as a whole."""
    classes: dict[str, str] = field(default_factory=dict)
    """Text for each class."""

    def __post_init__(self) -> None:
        if not self.task.strip() and not self.classes:
            raise ConfigError("knowledge", "has neither a task text nor class texts", "add the key task or classes")
        empty = next((name for name, text in self.classes.items() if not text.strip()), None)
        if empty is not None:
            raise ConfigError(f"knowledge.classes.{empty}", "is empty", "write a text for every class or for none")

    def text(self, classes: Sequence[str] = ()) -> str:
        """What is injected into a prompt that names these `classes`, on one line.

        Raises
        ------
        ConfigError
            If some classes have a text and others have none, or a text belongs to no class.
        """
        named = self.classes if classes else {}
        for name in named:
            if name not in classes:
                raise unknown_key("knowledge.classes", name, list(classes))
        missing = [name for name in classes if name not in named] if named else []
        if missing:
            raise ConfigError("knowledge.classes", f"lacks {', '.join(missing)}", "write a text for every class or for none")
        parts = [self.task, *(f"{name}: {named[name]}" for name in classes if named)]
        text = " ".join(_sentence(part) for part in parts if part.strip())
        if len(text) > MAX_CHARACTERS:
            raise ConfigError("knowledge", f"has {len(text)} characters, more than {MAX_CHARACTERS}", "shorten it")
        return text


def _sentence(text: str) -> str:
    line = " ".join(text.split())
    return line if line[-1] in ".!?" else f"{line}."


def load_knowledge(path: str | Path) -> Knowledge:
    """Read a knowledge file.

    Raises
    ------
    ConfigError
        If it is not of the form shown in this module; provenance is required.
    """
    mapping: dict[str, Any] = load_yaml(path)
    origin = mapping.get("provenance")
    if isinstance(origin, dict):
        mapping["provenance"] = _plain_origin(origin, str(path))
    return from_mapping(Knowledge, mapping, str(path))


def _plain_origin(origin: dict[str, Any], what: str) -> dict[str, Any]:
    """The provenance in the one form that :class:`Provenance` has."""
    plain = dict(origin)
    if isinstance(plain.get("date"), dt.date):
        plain["date"] = plain["date"].isoformat()
    if isinstance(plain.get("source"), str):
        plain["source"] = [plain["source"]]
    if "reviewer" in plain:
        if "reviewed_by" in plain:
            raise ConfigError(f"{what}.provenance", "names reviewer and reviewed_by", "keep one of them")
        plain["reviewed_by"] = plain.pop("reviewer")
    return plain


def check_no_leak(rows: Iterable[Mapping[str, Any]]) -> None:
    """Check that the knowledge in rows of one data set does not tell them apart.

    Raises
    ------
    InputError
        If two rows of the same task carry different knowledge.
    """
    seen: dict[str, str | None] = {}
    for row in rows:
        text = seen.setdefault(row["task"], row.get("knowledge"))
        if text != row.get("knowledge"):
            raise InputError(
                f"sample {row.get('sample_id', '')}",
                "carries other knowledge than the samples before it, which may give its label away",
                "inject the same text for every sample",
            )
