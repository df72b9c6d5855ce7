"""A preflight for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medcore.config import to_mapping
from vrft_aug.preflight.judging import Thresholds, Verdict, judge_figures
from vrft_aug.preflight.statistics import Figures


def as_facts(found: Sequence[Figures], thresholds: Thresholds) -> dict[str, Any]:
    """Figures and verdict of each stage and the thresholds, JSON-ready."""
    stages = [{**f.as_dict(), "verdict": to_mapping(judge_figures(f, thresholds))} for f in found]
    return {"thresholds": to_mapping(thresholds), "stages": stages}


def lines(found: Figures, verdict: Verdict) -> list[str]:
    """What a terminal shows of one stage."""
    passes = ", ".join(f"Pass@{k} {value:.1%}" for k, value in found.pass_at.items())
    spread = "-" if found.spread is None else f"{found.spread:.3g}"
    separation = "-" if found.separation is None else f"{found.separation:.0%}"
    shares = f"right format {found.format_rate:.1%}, truncated {found.truncated:.1%}, not judged {found.not_judged:.1%}"
    shown = [
        f"{found.stage}: {verdict.advice}",
        f"  {verdict.reason}",
        f"  answers    {found.right} right, {found.wrong} wrong, {found.unreadable} unreadable",
        f"             Acc@1 {found.accuracy:.1%}; {passes}; right for other images {found.elsewhere:.1%}",
        f"  sampling   {found.images} images x {found.samples} at temperature {found.temperature:g}; {shares}",
        f"  reward     spread in a group {spread}; groups without spread {found.flat:.1%}; right earns more than wrong {separation}",
    ]
    for r in found.rewards:
        means = ", ".join(
            f"{what} {'-' if value is None else format(value, '.3g')}"
            for what, value in (("mean", r.mean), ("right", r.mean_right), ("wrong", r.mean_wrong))
        )
        shown.append(f"    {r.weight:+g} {r.name}: {means}, not judged {r.not_judged:.1%}")
    return [*shown, *(f"  note       {note}" for note in verdict.notes)]
