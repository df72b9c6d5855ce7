"""Partial credit for ordinal grades: the multi-grade fuzzy reward (MFRS).

The idea is from arXiv 2602.10619: a miss by one grade earns more than a miss by three, so that groups without a right answer still
have a direction. Its kernel is not public and a review quotes two values for a miss of two grades, 1/10 and 0.0625. Hence the kernel
is a choice here, and the default, ``geometric`` with base 0.25 (0.25 ** 2 = 0.0625), is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Literal

from medcore.errors import ConfigError
from vrft_aug.parsing import AnswerForm, check_form, read_grade
from vrft_aug.rewards.accuracy import scale
from vrft_aug.rewards.base import samples

MAX_REACH = 10_000
"""Longest `reach`; beyond it, rounding could make a miss by one grade worth as much as the right grade."""


@dataclass(frozen=True, kw_only=True)
class MultiGradeFuzzy:
    r"""Credit in [0, 1] that falls with the distance d between stated and true grade; 1 only for d = 0.

    ============= ==================================================
    kernel        credit at distance d, with K grades
    ============= ==================================================
    ``geometric`` ``base ** d``
    ``gaussian``  ``exp(-d ** 2 / (2 * sigma ** 2))``
    ``linear``    ``max(0, 1 - d / reach)``, reach by default K - 1
    ``quadratic`` ``max(0, 1 - (d / reach) ** 2)``, the weights of quadratic kappa
    ``table``     ``table[d - 1]``, 0 beyond its end
    ============= ==================================================

    Uses the columns ``grade`` and ``num_grades`` (or ``classes``, the names of the grades). A completion without a readable grade earns
    0; a sample whose true grade is none of the scale cannot be judged.

    >>> reward = MultiGradeFuzzy(under=0.5)
    >>> answers = [f"<answer>{g}</answer>" for g in (2, 3, 1, 9)]
    >>> reward(prompts=[""] * 4, completions=answers, grade=[2] * 4, num_grades=[5] * 4)
    [1.0, 0.25, 0.125, 0.0]
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """Smallest and largest value."""

    kernel: Literal["geometric", "gaussian", "linear", "quadratic", "table"] = "geometric"
    """Shape of the credit."""
    base: float = 0.25
    """Credit of a miss by one grade, for ``geometric``; 0 is plain accuracy."""
    sigma: float = 0.6
    """Width in grades, for ``gaussian``; 0.6 gives 0.25 at a distance of one."""
    reach: int | None = None
    """Distance without credit, for ``linear`` and ``quadratic``."""
    table: tuple[float, ...] = ()
    """Credits at distance 1, 2, ..., for ``table``."""
    under: float = 1.0
    """Factor for a stated grade below the truth; smaller than `over` where overlooking disease is worse."""
    over: float = 1.0
    """Factor for a stated grade above the truth."""
    cutoff: int | None = None
    """Distances above this earn nothing."""
    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Further names of grades."""
    form: AnswerForm = "tags"
    """Where the answer stands, see :mod:`vrft_aug.parsing.tags`."""

    def __post_init__(self) -> None:
        check_form(self.form)
        what = "multi_grade_fuzzy"
        if not 0 <= self.base < 1:
            raise ConfigError(f"{what}.base", f"is {self.base}", "give a number of at least 0 and below 1")
        if not 0.01 <= self.sigma <= 100:
            raise ConfigError(f"{what}.sigma", f"is {self.sigma}", "give 0.01 to 100 grades")
        if self.reach is not None and not 1 <= self.reach <= MAX_REACH:
            raise ConfigError(f"{what}.reach", f"is {self.reach}", f"give 1 to {MAX_REACH}")
        if self.cutoff is not None and self.cutoff < 0:
            raise ConfigError(f"{what}.cutoff", f"is {self.cutoff}", "give 0 or more")
        if not (0 <= self.under <= 1 and 0 <= self.over <= 1):
            raise ConfigError(f"{what}.under and over", f"are {self.under} and {self.over}", "give numbers from 0 to 1")
        if (self.kernel == "table") != bool(self.table):
            raise ConfigError(f"{what}.table", f"is {list(self.table)} with kernel {self.kernel}", "give both or neither")
        if not all(0 <= value < 1 for value in self.table) or any(a < b for a, b in pairwise(self.table)):
            raise ConfigError(f"{what}.table", f"is {list(self.table)}", "give falling numbers of at least 0 and below 1")

    @property
    def __name__(self) -> str:
        return "multi_grade_fuzzy"

    def credit(self, stated: int, truth: int, num_grades: int) -> float:
        """Credit of the grade `stated` where `truth` is right, in [0, 1]."""
        distance = abs(stated - truth)
        if distance == 0:
            return 1.0
        if self.cutoff is not None and distance > self.cutoff:
            return 0.0
        return self._kernel(distance, num_grades) * (self.under if stated < truth else self.over)

    def _kernel(self, distance: int, num_grades: int) -> float:
        if self.kernel == "table":
            return self.table[distance - 1] if distance <= len(self.table) else 0.0
        if self.kernel == "geometric":
            return float(self.base**distance)
        if self.kernel == "gaussian":
            return math.exp(-(distance**2) / (2 * self.sigma**2))
        share = distance / (self.reach or max(1, num_grades - 1))
        return max(0.0, 1 - share if self.kernel == "linear" else 1 - share**2)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Credit of each completion, None where the true grade or the number of grades is not known."""
        del prompts
        return [self._one(*row) for row in samples(completions, columns, "grade", "classes", "num_grades")]

    def _one(self, completion: Any, grade: Any, classes: Any, num_grades: Any) -> float | None:
        grades = scale(classes, num_grades)
        if grade is None or grades is None:
            return None
        total = grades if isinstance(grades, int) else len(grades)
        if grade not in range(total):
            return None
        stated = read_grade(completion, grades, self.synonyms, form=self.form)
        return 0.0 if stated is None else self.credit(stated, int(grade), total)
