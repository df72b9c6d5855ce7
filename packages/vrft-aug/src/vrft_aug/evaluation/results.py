"""Results of judging: numbers with intervals, every prediction, and the files that hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcore.atomic import write_json, write_text
from medcore.config import from_mapping, to_mapping
from medcore.errors import InputError
from medcore.metrics import MetricResult
from vrft_aug.completions import json_lines
from vrft_aug.recipe import EvaluationSettings

Prediction = dict[str, Any]
EVALUATION, PREDICTIONS = "evaluation.json", "predictions.jsonl"
MEASURES = {
    "localisation": ("mean_iou", "box_f1", "format"),
    "classification": ("accuracy", "balanced_accuracy", "format"),
    "grading": ("accuracy", "balanced_accuracy", "quadratic_weighted_kappa", "grade_mae", "format"),
}
"""Metrics that each task always has, the main one first."""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What one policy did on one held-out set.

    Attributes
    ----------
    name, task
        The data's stage and task.
    metrics
        By name, with intervals that resample subjects; the task's own (:data:`MEASURES`) first.
    predictions
        One for each image, in the order of the rows: truth, completion, what was read from it, and whether it is right.
    classes, confusion
        Names and counts of (true, answered) classes; a last column counts unreadable answers. None for boxes.
    refusals
        Share of the images whose answer could not be read, by reason.
    source
        Where the scores of classes come from: ``likelihood``, ``samples``, ``stated``; None where there are none.
    reliability
        Bins of confidence that hold something: ``low``, ``high``, ``n``, ``confidence`` (mean) and ``accuracy``.
    probes
        By name, the same images asked in another way.
    wall_time_s
        Seconds of generation, without the probes'.
    """

    name: str
    task: str
    metrics: dict[str, MetricResult]
    predictions: list[Prediction] = field(repr=False)
    classes: tuple[str, ...] = ()
    confusion: list[list[int]] | None = None
    refusals: dict[str, MetricResult] = field(default_factory=dict)
    source: str | None = None
    reliability: tuple[dict[str, float], ...] = ()
    probes: dict[str, ProbeResult] = field(default_factory=dict)
    wall_time_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Everything but the predictions, JSON-ready."""
        return {
            "name": self.name,
            "task": self.task,
            "n": len(self.predictions),
            "metrics": _plain(self.metrics),
            "classes": list(self.classes),
            "confusion": self.confusion,
            "refusals": _plain(self.refusals),
            "source": self.source,
            "reliability": [dict(part) for part in self.reliability],
            "probes": {name: probe.as_dict() for name, probe in self.probes.items()},
            "wall_time_s": round(self.wall_time_s, 3),
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any], predictions: Mapping[str | None, list[Prediction]]) -> EvaluationResult:
        """The result that :meth:`as_dict` described.

        Parameters
        ----------
        facts
            That description.
        predictions
            Predictions by probe; those of the plain questions under None.
        """
        return cls(
            name=facts["name"],
            task=facts["task"],
            metrics=_metrics(facts["metrics"]),
            predictions=predictions.get(None, []),
            classes=tuple(facts["classes"]),
            confusion=facts["confusion"],
            refusals=_metrics(facts["refusals"]),
            source=facts["source"],
            reliability=tuple(facts["reliability"]),
            probes={name: ProbeResult.from_dict(part, predictions.get(name, [])) for name, part in facts["probes"].items()},
            wall_time_s=facts["wall_time_s"],
        )

    @property
    def main(self) -> MetricResult:
        """The task's main metric: accuracy, or mean IoU for boxes."""
        return self.metrics[MEASURES[self.task][0]]


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """The same images asked in another way, and what that changed.

    Attributes
    ----------
    name
        The probe.
    reason
        Why it was not made; None where it was.
    result
        Judged as the plain answers are.
    reliance
        Mean over the images of the plain score less the probe's (accuracy, or IoU for boxes), paired, with its interval.
    p_value
        Of a sign-flip test over subjects that there is no difference.
    unchanged
        Share of images with the same answer as in the plain evaluation, whether right or wrong.
    """

    name: str
    reason: str | None = None
    result: EvaluationResult | None = None
    reliance: MetricResult = field(default_factory=lambda: MetricResult(value=None, reason="not made"))
    p_value: float | None = None
    unchanged: MetricResult = field(default_factory=lambda: MetricResult(value=None, reason="not made"))

    def as_dict(self) -> dict[str, Any]:
        """Everything but the predictions, JSON-ready."""
        return {
            "name": self.name,
            "reason": self.reason,
            "result": None if self.result is None else self.result.as_dict(),
            "reliance": self.reliance.as_dict(),
            "p_value": self.p_value,
            "unchanged": self.unchanged.as_dict(),
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any], predictions: list[Prediction]) -> ProbeResult:
        """The result that :meth:`as_dict` described, with its predictions."""
        return cls(
            name=facts["name"],
            reason=facts["reason"],
            result=None if facts["result"] is None else EvaluationResult.from_dict(facts["result"], {None: predictions}),
            reliance=from_mapping(MetricResult, facts["reliance"]),
            p_value=facts["p_value"],
            unchanged=from_mapping(MetricResult, facts["unchanged"]),
        )


def _plain(metrics: Mapping[str, MetricResult]) -> dict[str, Any]:
    return {name: result.as_dict() for name, result in metrics.items()}


def _metrics(facts: Mapping[str, Any]) -> dict[str, MetricResult]:
    return {name: from_mapping(MetricResult, part) for name, part in facts.items()}


def scores(result: EvaluationResult) -> list[float]:
    """One score for each image: 1 if right, else 0; for boxes the IoU (0 where there is nothing to find)."""
    key = "iou" if result.task == "localisation" else "correct"
    return [float(p[key] or 0.0) for p in result.predictions]


def subjects(predictions: Sequence[Prediction]) -> list[str]:
    """Whom each prediction belongs to, for intervals over subjects."""
    return [p.get("subject") or p["sample_id"] for p in predictions]


def write_evaluation(
    folder: Path, results: Mapping[str, Sequence[EvaluationResult]], settings: EvaluationSettings
) -> dict[str, Any]:
    """Write ``evaluation.json`` and ``predictions.jsonl`` (one object a line) to `folder`.

    Parameters
    ----------
    folder
        Existing folder.
    results
        By policy (``"start"``, ``"final"``), one result for each held-out set.
    settings
        Written beside the numbers.

    Returns
    -------
    dict
        The content of ``evaluation.json``.
    """
    summary = {
        "settings": to_mapping(settings),
        "policies": {policy: [r.as_dict() for r in found] for policy, found in results.items()},
    }
    lines = [
        json.dumps({"policy": policy, "set": result.name, "probe": probe, **prediction})
        for policy, found in results.items()
        for result in found
        for probe, part in ((None, result), *((name, p.result) for name, p in result.probes.items()))
        if part is not None
        for prediction in part.predictions
    ]
    write_text(folder / PREDICTIONS, "".join(f"{line}\n" for line in lines))
    write_json(folder / EVALUATION, summary)
    return summary


def read_evaluation(folder: Path) -> dict[str, list[EvaluationResult]]:
    """Read what :func:`write_evaluation` wrote.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    kept: dict[tuple[str, str], dict[str | None, list[Prediction]]] = {}
    hint = "judge the policy again with vrft-aug evaluate"
    try:
        summary = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
        for _, line in json_lines(folder / PREDICTIONS):
            parts = kept.setdefault((line.pop("policy"), line.pop("set")), {})
            parts.setdefault(line.pop("probe"), []).append(line)
        return {
            policy: [EvaluationResult.from_dict(facts, kept.get((policy, facts["name"]), {})) for facts in found]
            for policy, found in summary["policies"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(folder / EVALUATION, f"cannot be read together with {PREDICTIONS}", hint) from error
