"""Held-out results: every policy on every task, the ends with all metrics, probes, refusals, confusion, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medcore.report import Report
from medcore.report.figures import confusion_figure
from vrft_aug.evaluation import EvaluationResult
from vrft_aug.report.figures import reliability_figure
from vrft_aug.report.words import PROBE_WORDS, SOURCES, interval, label, main_word, p_word, shares

Evaluations = Mapping[str, Sequence[EvaluationResult]]
ENDS = {"start": "before reinforcement learning", "final": "after"}
"""The policies at both ends in words."""


def add_results(page: Report, evaluations: Evaluations) -> None:
    """Add the sections of held-out results."""
    page.section("Held-out results")
    first = next(iter(evaluations.values()))
    level = first[0].main.level or 0.95
    page.text(
        f"The policy answers each image once, greedily. Brackets hold {level:.0%} intervals from resampling subjects. An answer "
        "that cannot be read counts as wrong and, for grades, as the grade farthest from the truth. Weighted kappa is quadratic; grade "
        "error is the mean distance in grades; box F1 counts boxes as right from an overlap on that the recipe sets."
    )
    ends = {policy: evaluations[policy] for policy in ENDS if policy in evaluations} or dict(evaluations)
    _metrics(page, ends)
    if len(evaluations) > 2:
        _matrix(page, evaluations)
    last = list(ends.values())[-1]
    for result in last:
        _answers(page, result)
    if any(result.probes for result in last):
        _probes(page, last)


def _metrics(page: Report, ends: Evaluations) -> None:
    policies = list(ends)
    table = []
    for parts in zip(*ends.values(), strict=True):
        for key in dict.fromkeys(k for part in parts for k in part.metrics):
            cells = [interval(part.metrics[key]) if key in part.metrics else None for part in parts]
            table.append([f"{parts[-1].name}: {label(key)}", *cells, len(parts[-1].predictions)])
    page.table(["held-out set and metric", *(ENDS.get(p, p) for p in policies), "images"], table)
    for result in list(ends.values())[-1]:
        if result.source is not None:
            page.text(f"{result.name}: AUROC, Brier score and calibration error are of {SOURCES[result.source]}.")


def _matrix(page: Report, evaluations: Evaluations) -> None:
    sets = next(iter(evaluations.values()))
    columns = ["policy", *(f"{r.name} ({main_word(r.task)})" for r in sets)]
    rows = [[policy, *(interval(r.main) for r in found)] for policy, found in evaluations.items()]
    page.table(columns, rows, "Every policy on every task: what a later stage takes from an earlier one shows in its column.")


def _answers(page: Report, result: EvaluationResult) -> None:
    """Confusion, refusals and reliability of one held-out set."""
    if result.confusion is not None:
        matrix = np.array(result.confusion)
        names = [*result.classes, *(["unreadable"] if matrix.shape[1] > len(result.classes) else [])]
        page.figure(
            confusion_figure(matrix, names), f"{result.name}: answers of the final policy against the truth, counts of images."
        )
    if result.refusals:
        page.table(
            [f"{result.name}: why no answer could be read", "share of the images"],
            shares(result.refusals),
            "Of the final policy.",
        )
    if result.reliability:
        page.figure(
            reliability_figure(result.reliability),
            f"{result.name}: confidence of the final policy and how often it is right, in bins of confidence; larger points hold more "
            "images.",
        )


def _probes(page: Report, results: Sequence[EvaluationResult]) -> None:
    page.section("Does it look at the picture?")
    page.text(
        "The final policy is asked again with something changed. Reliance is the plain score less that of the probe, paired by image: "
        "a policy that looks at the picture loses much with other samples' images, one that guesses loses nothing. p-values are of "
        "sign-flip tests over subjects, adjusted (Holm) for the probes of a set. Where another format is asked for, answers are read in "
        "any format; whether the policy obeys is the share in the format that was asked for."
    )
    rows = []
    for result in results:
        for probe in result.probes.values():
            shown = f"{result.name}: {PROBE_WORDS.get(probe.name, probe.name)}"
            if probe.result is None:
                rows.append([shown, f"not made: {probe.reason}", None, None, None, None])
                continue
            cells = [
                interval(probe.result.main),
                interval(probe.reliance, sign=True),
                p_word(probe.p_value),
                interval(probe.unchanged),
                interval(probe.result.metrics["format"]),
            ]
            rows.append([shown, *cells])
    page.table(["probe", "accuracy or IoU", "reliance", "p", "same answer", "format asked for"], rows)
