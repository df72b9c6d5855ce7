"""The reward for the right class or grade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from medcore.errors import ConfigError
from vrft_aug.parsing import read_grade, read_label
from vrft_aug.rewards.base import samples


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """1 for the right answer, else 0.

    Uses the columns ``label`` and ``classes``; where ``task`` is ``grading``, ``grade`` and ``num_grades`` (or ``classes``). What counts
    as an answer is defined in :mod:`vrft_aug.parsing`: whole words, denials, option letters, one answer only.

    >>> reward = Accuracy()
    >>> answers = ["<answer>pneumonia</answer>", "<answer>no pneumonia</answer>", "<answer></answer>"]
    >>> reward(prompts=[""] * 3, completions=answers, label=["pneumonia"] * 3, classes=[["normal", "pneumonia"]] * 3)
    [1.0, 0.0, 0.0]
    """

    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Further names of classes."""
    negative: str | None = None
    """Of two classes, the one that means the absence of the other: then "no pneumonia" names it."""
    letters: bool = True
    """Whether option letters are read."""

    def __post_init__(self) -> None:
        owners: dict[str, str] = {}
        for name, words in self.synonyms.items():
            for word in words:
                owner = owners.setdefault(" ".join(word.casefold().split()), name)
                if owner != name:
                    raise ConfigError("accuracy.synonyms", f"{word!r} stands for {owner} and for {name}", "keep one of them")

    @property
    def __name__(self) -> str:
        return "accuracy"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """1.0, 0.0, or None where the truth is not known or is no class."""
        del prompts
        rows = samples(completions, columns, "task", "label", "classes", "grade", "num_grades")
        return [self._one(*row) for row in rows]

    def _one(self, completion: Any, task: Any, label: Any, classes: Any, grade: Any, num_grades: Any) -> float | None:
        if task == "grading" or label is None:
            return _grade(completion, grade, classes, num_grades)
        if task == "localisation" or not classes or label not in classes:
            return None
        return float(read_label(completion, classes, self.synonyms, negative=self.negative, letters=self.letters) == label)


def _grade(completion: Any, grade: Any, classes: Any, num_grades: Any) -> float | None:
    grades = scale(classes, num_grades)
    return None if grade is None or grades is None else float(read_grade(completion, grades) == grade)


def scale(classes: Any, num_grades: Any) -> Sequence[str] | int | None:
    """Names of the grades, or their number where names are not known or do not fit; None where neither is known."""
    if classes and (num_grades is None or len(classes) == num_grades):
        return list(classes)
    return None if num_grades is None else int(num_grades)
