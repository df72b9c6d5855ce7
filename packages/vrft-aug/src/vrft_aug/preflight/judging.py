"""The verdict of a preflight, a function of its figures and of thresholds that are written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medcore.errors import ConfigError
from vrft_aug.preflight.statistics import Figures

Advice = Literal["RL", "SFT first", "fix the reward"]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Where verdicts change.

    Reinforcement learning sharpens what a policy can already do: on medical images it helps where Pass@K is high and can do harm where
    there is nothing to sharpen, so support is measured first (arXiv 2603.01301). The numbers here are ours, not of that work: they mark the
    clear cases.
    """

    least_pass: float = 0.1
    """Below this Pass@K the policy does not find right answers often enough to learn from them."""
    deviations: float = 2.0
    """Answers must fit their own images better than other images by so many standard errors."""
    separation: float = 0.7
    """A right answer must earn more than a wrong one with at least this probability; 0.5 is a reward that cannot tell."""
    least_answers: int = 5
    """The reward is judged only if there are at least so many right answers and so many readable wrong ones."""
    flat: float = 0.95
    """From this share of groups without spread on, nothing is learned."""
    solved: float = 0.95
    """From this Acc@1 on, groups without spread mean that there is nothing left to learn."""
    truncated: float = 0.25
    """From this share of completions that are cut off on, a note says so."""

    def __post_init__(self) -> None:
        shares = (self.least_pass, self.separation, self.flat, self.solved, self.truncated)
        if not all(0 <= value <= 1 for value in shares) or self.deviations < 0 or self.least_answers < 1:
            raise ConfigError("thresholds", f"are {self}", "give shares in [0, 1], deviations >= 0 and least_answers >= 1")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do before a stage.

    Attributes
    ----------
    advice
        ``RL``, ``SFT first`` or ``fix the reward``.
    reason
        Why, in a sentence.
    notes
        What else should be known.
    """

    advice: Advice
    reason: str
    notes: tuple[str, ...] = ()


def judge_figures(found: Figures, thresholds: Thresholds = Thresholds()) -> Verdict:
    """The verdict on one stage.

    The first that holds decides:

    1. a reward with a weight judged nothing: fix the reward;
    2. Pass@K is low: SFT first;
    3. the format reward is never paid although there are right answers, or right answers do not earn more than wrong ones: fix the reward;
    4. answers fit other images as well as their own: SFT first;
    5. hardly any group has spread, and the task is not solved: SFT first;
    6. else: RL.
    """
    advice, reason = _decide(found, thresholds)
    return Verdict(advice=advice, reason=reason, notes=_notes(found, thresholds))


def _decide(found: Figures, limits: Thresholds) -> tuple[Advice, str]:
    silent = [r.name for r in found.rewards if r.weight and r.not_judged == 1.0]
    if silent:
        return (
            "fix the reward",
            f"{' and '.join(silent)} judged none of the completions: a column it needs is missing, or it fails.",
        )
    shown = f"Pass@{found.samples} is {found.best_pass:.1%} and Acc@1 {found.accuracy:.1%}"
    if found.best_pass < limits.least_pass:
        return "SFT first", f"{shown}: right answers are too rare to be learned from."
    fault = _fault(found, limits)
    if fault is not None:
        return "fix the reward", fault
    if not found.gain > limits.deviations * found.gain_error:
        own = found.pass_at[1]
        return "SFT first", (
            f"answers fit their own images ({own:.1%} right) no better than other images ({found.elsewhere:.1%}): the policy guesses."
        )
    if found.flat >= limits.flat:
        if found.accuracy >= limits.solved:
            return "RL", f"Acc@1 is {found.accuracy:.1%} already: little is left to learn."
        return (
            "SFT first",
            f"{shown}, but {found.flat:.1%} of the groups have no spread: sampling finds nothing else to learn from.",
        )
    return "RL", f"{shown}, and right answers earn more than wrong ones{_chance(found)}."


def _chance(found: Figures) -> str:
    return "" if found.separation is None else f" ({found.separation:.0%} of pairs)"


def _fault(found: Figures, limits: Thresholds) -> str | None:
    """What is wrong with the reward, if that can be told."""
    never = next((r for r in found.rewards if r.reward == "format" and r.weight > 0 and r.constant and r.mean == 0), None)
    if never is not None and found.right >= limits.least_answers:
        return f"{never.name} is 0 on all completions though {found.right} answers are right: prompts ask for another format."
    if found.separation is None or min(found.right, found.wrong) < limits.least_answers:
        return None
    if found.separation < 0.5 - (limits.separation - 0.5):
        return f"wrong answers earn more than right ones in {1 - found.separation:.0%} of the pairs."
    if found.separation < limits.separation:
        return f"right answers earn more than wrong ones in {found.separation:.0%} of the pairs only, where 50 % is chance."
    return None


def _notes(found: Figures, limits: Thresholds) -> tuple[str, ...]:
    notes = []
    if found.truncated >= limits.truncated:
        notes.append(f"{found.truncated:.1%} of the completions reach max_completion_length without an end")
    if found.accuracy >= limits.solved:
        notes.append(f"Acc@1 is {found.accuracy:.1%} already, so that little is left to learn")
    if found.flat >= 0.5:
        notes.append(f"{found.flat:.1%} of the groups have no spread and teach nothing")
    same = [r.name for r in found.rewards if r.weight and r.constant]
    if same:
        notes.append(f"{' and '.join(same)} paid the same for every completion")
    partly = [f"{r.name} ({r.not_judged:.1%})" for r in found.rewards if 0 < r.not_judged < 1]
    if partly:
        notes.append(f"not judged by {', '.join(partly)}")
    return tuple(notes)
