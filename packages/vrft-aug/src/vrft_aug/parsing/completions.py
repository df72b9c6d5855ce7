"""Whole completions: the answer is found, then read. ``explain_*`` gives the value or the reason, ``read_*`` the value or None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vrft_aug.parsing.boxes import Box, find_boxes
from vrft_aug.parsing.grades import find_grade
from vrft_aug.parsing.labels import find_label, find_labels
from vrft_aug.parsing.numbers import find_confidence, find_number
from vrft_aug.parsing.reading import Reading
from vrft_aug.parsing.tags import AnswerForm, answer_text, completion_text
from vrft_aug.parsing.words import Synonyms


def _answer(completion: Any, form: AnswerForm) -> str | None:
    return answer_text(completion_text(completion), form)


def explain_label(
    completion: Any,
    classes: Sequence[str],
    synonyms: Synonyms | None = None,
    *,
    negative: str | None = None,
    letters: bool = True,
    form: AnswerForm = "tags",
) -> Reading[str]:
    """The one class a completion answers with, or why there is none.

    Parameters
    ----------
    completion
        Text, or trl's messages.
    classes, synonyms, negative, letters
        As :func:`vrft_aug.parsing.parse_label`.
    form
        Where the answer stands, see :mod:`vrft_aug.parsing.tags`.
    """
    return find_label(_answer(completion, form), classes, synonyms, negative=negative, letters=letters)


def read_label(
    completion: Any,
    classes: Sequence[str],
    synonyms: Synonyms | None = None,
    *,
    negative: str | None = None,
    letters: bool = True,
    form: AnswerForm = "tags",
) -> str | None:
    """The one class a completion answers with; parameters as :func:`explain_label`."""
    return explain_label(completion, classes, synonyms, negative=negative, letters=letters, form=form).value


def explain_labels(
    completion: Any,
    classes: Sequence[str],
    synonyms: Synonyms | None = None,
    *,
    negative: str | None = None,
    letters: bool = True,
    form: AnswerForm = "tags",
) -> Reading[frozenset[str]]:
    """All classes a completion answers with, or why they cannot be read; parameters as :func:`vrft_aug.parsing.parse_labels`."""
    return find_labels(_answer(completion, form), classes, synonyms, negative=negative, letters=letters)


def read_labels(
    completion: Any,
    classes: Sequence[str],
    synonyms: Synonyms | None = None,
    *,
    negative: str | None = None,
    letters: bool = True,
    form: AnswerForm = "tags",
) -> frozenset[str] | None:
    """All classes a completion answers with; parameters as :func:`explain_labels`."""
    return explain_labels(completion, classes, synonyms, negative=negative, letters=letters, form=form).value


def explain_grade(
    completion: Any, grades: Sequence[str] | int, synonyms: Synonyms | None = None, *, form: AnswerForm = "tags"
) -> Reading[int]:
    """The grade a completion answers with, or why there is none; parameters as :func:`vrft_aug.parsing.parse_grade`."""
    return find_grade(_answer(completion, form), grades, synonyms)


def read_grade(
    completion: Any, grades: Sequence[str] | int, synonyms: Synonyms | None = None, *, form: AnswerForm = "tags"
) -> int | None:
    """The grade a completion answers with; parameters as :func:`explain_grade`."""
    return explain_grade(completion, grades, synonyms, form=form).value


def explain_boxes(completion: Any, *, form: AnswerForm = "tags") -> Reading[list[Box]]:
    """The boxes a completion answers with, or why there are none, see :func:`vrft_aug.parsing.parse_boxes`."""
    return find_boxes(_answer(completion, form))


def read_boxes(completion: Any, *, form: AnswerForm = "tags") -> list[Box] | None:
    """The boxes a completion answers with, see :func:`explain_boxes`."""
    return explain_boxes(completion, form=form).value


def explain_number(completion: Any, unit: str | None = None, *, form: AnswerForm = "tags") -> Reading[float]:
    """The number a completion answers with, or why there is none; parameters as :func:`vrft_aug.parsing.parse_number`."""
    return find_number(_answer(completion, form), unit)


def read_number(completion: Any, unit: str | None = None, *, form: AnswerForm = "tags") -> float | None:
    """The number a completion answers with; parameters as :func:`explain_number`."""
    return explain_number(completion, unit, form=form).value


def explain_confidence(completion: Any, *, form: AnswerForm = "tags") -> Reading[float]:
    """The confidence a completion states, or why there is none, see :func:`vrft_aug.parsing.numbers.find_confidence`."""
    return find_confidence(completion_text(completion), form)


def read_confidence(completion: Any, *, form: AnswerForm = "tags") -> float | None:
    """The confidence a completion states, see :func:`explain_confidence`."""
    return explain_confidence(completion, form=form).value
