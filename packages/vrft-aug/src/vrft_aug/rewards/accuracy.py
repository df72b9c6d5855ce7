"""The reward for the right class, classes, grade or number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from medcore.errors import ConfigError
from vrft_aug.parsing import AnswerForm, Reason, check_form, explain_grade, explain_label, explain_labels, explain_number
from vrft_aug.rewards.base import samples


@dataclass(frozen=True)
class Verdict:
    """What an answer earns, and if it could not be read, why."""

    credit: float
    """From 0 to 1."""
    reason: Reason | None = None
    """Why it was not read; then the credit is 0."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    r"""1 for the right answer, less for a partly right one where the task has such answers, else 0.

    ================ ============================================ ==================================================================
    columns          the truth                                    credit
    ================ ============================================ ==================================================================
    ``label``        one of ``classes``                           1 or 0
    ``labels``       several of ``classes``, none of them: []     :math:`F_\beta` of the stated classes; an empty truth is answered
                                                                  by "none", for 1
    ``grade``        0 to ``num_grades`` - 1 (or ``classes``),    1 or 0
                     where ``task`` is ``grading`` or there is
                     no label
    ``value``        a number                                     1 up to `tolerance`, falling to 0 over the further distance `fade`
    ================ ============================================ ==================================================================

    The first of these columns that a sample has counts. What counts as an answer is defined in :mod:`vrft_aug.parsing`: whole words,
    denials, hedges, option letters; one answer only, unless there are ``labels``.

    >>> reward = Accuracy()
    >>> answers = ["<answer>pneumonia</answer>", "<answer>no pneumonia</answer>", "<answer></answer>"]
    >>> reward(prompts=[""] * 3, completions=answers, label=["pneumonia"] * 3, classes=[["normal", "pneumonia"]] * 3)
    [1.0, 0.0, 0.0]
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """Smallest and largest value."""

    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Further names of classes and grades."""
    negative: str | None = None
    """Of two classes, the one that means the absence of the other: then "no pneumonia" names it. Of several that may be true together,
    the one that means the absence of all others."""
    letters: bool = True
    """Whether option letters are read."""
    beta: float = 1.0
    """For ``labels``: how many times as much recall counts as precision."""
    tolerance: float = 0.0
    """For ``value``: distance from the truth that still earns 1."""
    fade: float = 0.0
    """For ``value``: further distance over which the credit falls to 0 in a straight line."""
    relative: bool = False
    """For ``value``: whether `tolerance` and `fade` are shares of the size of the true value instead of distances."""
    unit: str | None = None
    """For ``value``: the only unit that may be written behind the number; it is never converted."""
    form: AnswerForm = "tags"
    """Where the answer stands, see :mod:`vrft_aug.parsing.tags`."""

    def __post_init__(self) -> None:
        check_form(self.form)
        owners: dict[str, str] = {}
        for name, words in self.synonyms.items():
            for word in words:
                owner = owners.setdefault(" ".join(word.casefold().split()), name)
                if owner != name:
                    raise ConfigError("accuracy.synonyms", f"{word!r} stands for {owner} and for {name}", "keep one of them")
        if not 0 < self.beta <= 10:
            raise ConfigError("accuracy.beta", f"is {self.beta}", "give a positive number of at most 10")
        for name, value in (("tolerance", self.tolerance), ("fade", self.fade)):
            if not 0 <= value < math.inf:
                raise ConfigError(f"accuracy.{name}", f"is {value}", "give a finite number of at least 0")

    @property
    def __name__(self) -> str:
        return "accuracy"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Credit of each completion, or None where the truth is not known or is no class."""
        del prompts
        return [None if verdict is None else verdict.credit for verdict in self.verdicts(completions, **columns)]

    def verdicts(self, completions: Sequence[Any], **columns: Any) -> list[Verdict | None]:
        """As the reward itself, with the reason where an answer could not be read."""
        names = ("task", "label", "labels", "classes", "grade", "num_grades", "value")
        return [self._one(*row) for row in samples(completions, columns, *names)]

    def _one(
        self, completion: Any, task: Any, label: Any, labels: Any, classes: Any, grade: Any, num_grades: Any, value: Any
    ) -> Verdict | None:
        if task == "localisation":
            return None
        if label is not None and task != "grading":
            return self._label(completion, label, classes)
        if labels is not None and task != "grading":
            return self._labels(completion, labels, classes)
        if grade is not None or value is None:
            return self._grade(completion, grade, classes, num_grades)
        return self._value(completion, value)

    def _label(self, completion: Any, label: Any, classes: Any) -> Verdict | None:
        if not classes or label not in classes:
            return None
        found = explain_label(completion, classes, self.synonyms, negative=self.negative, letters=self.letters, form=self.form)
        return Verdict(float(found.value == label), found.reason)

    def _labels(self, completion: Any, labels: Any, classes: Any) -> Verdict | None:
        if not classes or isinstance(labels, str) or not set(labels) <= set(classes):
            return None
        found = explain_labels(completion, classes, self.synonyms, negative=self.negative, letters=self.letters, form=self.form)
        return Verdict(0.0 if found.value is None else f_score(found.value, set(labels), self.beta), found.reason)

    def _grade(self, completion: Any, grade: Any, classes: Any, num_grades: Any) -> Verdict | None:
        grades = scale(classes, num_grades)
        if grade is None or grades is None:
            return None
        found = explain_grade(completion, grades, self.synonyms, form=self.form)
        return Verdict(float(found.value == grade), found.reason)

    def _value(self, completion: Any, value: Any) -> Verdict | None:
        if isinstance(value, (bool, str)) or not math.isfinite(value):
            return None
        found = explain_number(completion, self.unit, form=self.form)
        return Verdict(0.0 if found.value is None else self.closeness(found.value, float(value)), found.reason)

    def closeness(self, stated: float, truth: float) -> float:
        """Credit of the number `stated` where `truth` is right, in [0, 1]."""
        size = abs(truth) if self.relative else 1.0
        beyond = abs(stated - truth) - self.tolerance * size
        # A last digit that is lost in the subtraction does not cost the credit.
        if beyond <= 1e-12 * max(abs(stated), abs(truth)):
            return 1.0
        return max(0.0, 1 - beyond / (self.fade * size)) if self.fade * size > 0 else 0.0


def f_score(stated: frozenset[str], truth: set[str], beta: float = 1.0) -> float:
    r"""The :math:`F_\beta` of a set of classes, 1 if both are empty.

    .. math:: F_\beta = \frac{(1 + \beta^2)\,|S \cap T|}{|S| + \beta^2 |T|}

    Parameters
    ----------
    stated, truth
        The sets S and T.
    beta
        How many times as much recall counts as precision (van Rijsbergen 1979).
    """
    if not stated and not truth:
        return 1.0
    return (1 + beta**2) * len(stated & truth) / (len(stated) + beta**2 * len(truth))


def scale(classes: Any, num_grades: Any) -> Sequence[str] | int | None:
    """Names of the grades, or their number where names are not known or do not fit; None where neither is known."""
    if classes and (num_grades is None or len(classes) == num_grades):
        return list(classes)
    return None if num_grades is None else int(num_grades)
