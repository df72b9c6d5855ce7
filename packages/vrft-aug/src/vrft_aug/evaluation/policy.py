"""Judging a policy on held-out images: its answers, sampled ones, scores of classes, and probes, as far as the settings ask for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medcore.errors import InputError
from medcore.metrics import MetricResult, cluster_interval, compare_methods, holm
from vrft_aug.columns import without_images
from vrft_aug.evaluation.generation import generate, sample
from vrft_aug.evaluation.judging import judge
from vrft_aug.evaluation.likelihood import class_answers, log_likelihoods, probabilities
from vrft_aug.evaluation.measures import measure, votes
from vrft_aug.evaluation.probes import PROBES, asked_form, shown
from vrft_aug.evaluation.results import EvaluationResult, Prediction, ProbeResult, scores, subjects
from vrft_aug.parsing import AnswerForm
from vrft_aug.recipe import EvaluationSettings, ProbeName

Facts = list[dict[str, Any]]
_RESAMPLES = 2000  # at the least: means cost nothing, and p-values of several probes are adjusted


def evaluate_policy(
    model: Any,
    processor: Any,
    rows: Any,
    settings: EvaluationSettings,
    *,
    name: str = "held-out",
    form: AnswerForm = "tags",
) -> EvaluationResult:
    """Let a policy answer held-out rows greedily and measure the answers, with all that the settings ask for beside.

    Parameters
    ----------
    model, processor
        The policy.
    rows
        Rows of one task, see :func:`vrft_aug.data.load_rows`.
    settings
        Batch size, length, level and number of resamples; samples, likelihood (left out where each question has choices of its own),
        probes.
    name
        Name of the result.
    form
        The form in which answers are read, see :mod:`vrft_aug.parsing.tags`.

    Raises
    ------
    InputError
        If there are no rows or they mix tasks.
    """
    tasks = sorted(set(rows["task"])) if len(rows) else []
    if len(tasks) != 1:
        raise InputError(
            f"evaluation of {name}", f"has {len(rows)} rows of the tasks {', '.join(tasks) or 'none'}", "give rows of one task"
        )
    started = time.perf_counter()
    completions = generate(model, processor, rows, settings)
    without = without_images(rows)
    facts = [without[i] for i in range(len(without))]
    names = _names(facts)
    predictions = [judge(row, text, form=form, right_iou=settings.right_iou) for row, text in zip(facts, completions, strict=True)]
    if settings.samples:
        _add_samples(predictions, _sampled(model, processor, rows, facts, settings, form), names)
    one_question = len({tuple(row.get("classes") or ()) for row in facts}) == 1
    if settings.likelihood and tasks[0] != "localisation" and one_question:
        found = log_likelihoods(model, processor, rows, class_answers(facts[0]), batch_size=settings.batch_size)
        for prediction, row in zip(predictions, probabilities(found), strict=True):
            prediction["scores"] = row.tolist()
    took = time.perf_counter() - started
    plain = measure(predictions, tasks[0], names, settings, name=name, wall_time_s=took)
    if not settings.probes:
        return plain
    wanted = PROBES if "all" in settings.probes else settings.probes
    probes = [_probe(model, processor, rows, facts, plain, settings, probe, form) for probe in wanted]
    return replace(plain, probes={p.name: p for p in _adjusted(probes)})


def _names(facts: Facts) -> tuple[str, ...]:
    """Names of all classes or grades; questions may have choices of their own."""
    names = dict.fromkeys(name for row in facts for name in row.get("classes") or ())
    return tuple(names) or tuple(str(i) for i in range(facts[0].get("num_grades") or 0))


def _sampled(
    model: Any, processor: Any, rows: Any, facts: Facts, settings: EvaluationSettings, form: AnswerForm
) -> list[list[Prediction]]:
    """For each row its sampled answers, judged; identity and truth, which the row's own prediction has, are left out."""
    drawn = sample(
        model,
        processor,
        rows,
        n=settings.samples,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        seed=settings.seed,
        options={"temperature": settings.temperature},
    )
    judged = [
        [judge(row, made.text, form=form, right_iou=settings.right_iou) for made in group]
        for row, group in zip(facts, drawn, strict=True)
    ]
    return [[{k: v for k, v in p.items() if k not in row} for p in group] for row, group in zip(facts, judged, strict=True)]


def _add_samples(predictions: Sequence[Prediction], sampled: Sequence[list[Prediction]], classes: Sequence[str]) -> None:
    place = {name: i for i, name in enumerate(classes)}
    for prediction, group in zip(predictions, sampled, strict=True):
        prediction["samples"] = group
        if prediction["task"] != "localisation":
            answers = [s["answer"] for s in group]
            prediction["votes"] = votes([place.get(a) if isinstance(a, str) else a for a in answers], len(classes))


def _probe(
    model: Any,
    processor: Any,
    rows: Any,
    facts: Facts,
    plain: EvaluationResult,
    settings: EvaluationSettings,
    probe: ProbeName,
    form: AnswerForm,
) -> ProbeResult:
    asked = shown(rows, facts, probe, settings.seed)
    if isinstance(asked, str):
        return ProbeResult(name=probe, reason=asked)
    other = asked_form(probe)
    if other == form:
        return ProbeResult(name=probe, reason="this is the format that is always asked for")
    started = time.perf_counter()
    completions = generate(model, processor, asked, settings)
    # Asked for another format, a policy may keep to its own: what it says is read in any, whether it obeys is the format rate.
    predictions = [
        judge(row, text, form=form if other is None else "any", asked=other, right_iou=settings.right_iou)
        for row, text in zip(facts, completions, strict=True)
    ]
    took = time.perf_counter() - started
    found = measure(predictions, plain.task, _names(facts), settings, name=plain.name, wall_time_s=took)
    return compare(plain, found, probe, settings)


def compare(plain: EvaluationResult, found: EvaluationResult, name: str, settings: EvaluationSettings) -> ProbeResult:
    """What a probe changed, paired by image, with intervals over subjects.

    Parameters
    ----------
    plain, found
        The plain result and the probe's, on the same images in the same order.
    name
        The probe.
    settings
        Level and resamples of the intervals.
    """
    groups = subjects(plain.predictions)
    resamples = max(_RESAMPLES, settings.resamples)
    table = {"plain": scores(plain), name: scores(found)}
    difference = compare_methods(table, name, groups, level=settings.level, n_resamples=resamples)[0]
    same = [float(a["answer"] == b["answer"]) for a, b in zip(plain.predictions, found.predictions, strict=True)]
    return ProbeResult(
        name=name,
        result=found,
        reliance=difference.difference,
        p_value=difference.p_value,
        unchanged=_share(same, groups, settings.level, resamples),
    )


def _share(values: list[float], groups: list[str], level: float, resamples: int) -> MetricResult:
    return cluster_interval(np.array(values), groups, level=level, n_resamples=resamples)


def _adjusted(probes: Sequence[ProbeResult]) -> list[ProbeResult]:
    """Probes with Holm's adjustment of their p-values, for they are looked at together."""
    steps = iter(holm([p.p_value for p in probes if p.p_value is not None]))
    return [p if p.p_value is None else replace(p, p_value=next(steps)) for p in probes]
