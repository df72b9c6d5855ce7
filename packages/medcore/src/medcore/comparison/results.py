"""Results of one estimate, and of several against the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from medcore import metrics
from medcore.errors import ConfigError, InputError
from medcore.metrics import Metric, MetricResult
from medcore.metrics.base import undefined
from medcore.metrics.paired import adjusted
from medcore.metrics.resampling import Statistic

NO_SUBJECTS = "the subjects are not known"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of one estimate, with the samples that it comes from.

    Attributes
    ----------
    metric
        Which metric it is.
    statistic
        Called with `columns`; returns the number or a result.
    columns
        Arguments of the statistic, one entry for each sample.
    kept
        Which samples have a value; the statistic sees only these.
    reason
        Why there is no number at all.
    """

    metric: Metric
    statistic: Statistic
    columns: tuple[np.ndarray, ...]
    kept: Bool[np.ndarray, " samples"]
    reason: str | None = None

    def selected(self, kept: Bool[np.ndarray, " samples"]) -> tuple[np.ndarray, ...]:
        """The columns of the samples that are `kept`."""
        return tuple(column[kept] for column in self.columns)

    def result(self, unit: str) -> MetricResult:
        """The number without interval."""
        dropped = int(np.count_nonzero(~self.kept))
        if self.reason or not self.kept.any():
            found = undefined(self.reason or "no sample has a value", n=int(self.kept.sum()), dropped=dropped)
            return replace(found, metric=self.metric.identity, unit=unit)
        value = self.statistic(*self.selected(self.kept))
        if isinstance(value, MetricResult):
            return replace(value, dropped=value.dropped + dropped)
        number = None if value is None else float(value)
        return MetricResult(value=number, n=int(self.kept.sum()), dropped=dropped, metric=self.metric.identity, unit=unit)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Results of all metrics of one estimate.

    Attributes
    ----------
    kind
        What was compared: ``images``, ``masks``, ``labels``, ``grades``, ``scores``, ``boxes``, ``text``.
    facts
        How much was compared: axes, or samples and subjects.
    results
        One for each metric, by its name; of one class as ``auroc[class]``.
    measures
        The samples behind the results, where there are several.
    subjects
        The subject of each sample, where it is known.
    """

    kind: str
    facts: dict[str, Any]
    results: dict[str, MetricResult]
    measures: Mapping[str, Measure] = field(default_factory=dict, repr=False)
    subjects: Sequence[str] | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts and results."""
        return {"kind": self.kind, **self.facts, "results": _rows(self.results)}


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Several estimates of one reference.

    Attributes
    ----------
    kind, facts
        As in :class:`Comparison`.
    estimates
        Results by name of the estimate and of the metric.
    baseline
        Name of the estimate the others are compared with.
    differences
        One for each other estimate and metric, p-values adjusted together (Holm).
    reason
        Why there are no p-values, if there are none.
    """

    kind: str
    facts: dict[str, Any]
    estimates: dict[str, dict[str, MetricResult]]
    baseline: str
    differences: list[metrics.Comparison]
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts, results and differences."""
        found = [{"estimate": name, "results": _rows(results)} for name, results in self.estimates.items()]
        differences = [d.as_dict() for d in self.differences]
        return {
            "kind": self.kind,
            **self.facts,
            "estimates": found,
            "baseline": self.baseline,
            "differences": differences,
            "reason": self.reason,
        }


def measured(
    measures: Mapping[str, Measure],
    subjects: Sequence[str] | None,
    *,
    level: float,
    seed: int,
    units: Mapping[str, str] | None = None,
) -> dict[str, MetricResult]:
    """The result of each measure, with a bootstrap interval over `subjects` where they are known."""
    found = {}
    for name, measure in measures.items():
        plain = measure.result((units or {}).get(name, measure.metric.unit))
        if subjects is not None and plain.value is not None:
            who = [s for s, kept in zip(subjects, measure.kept, strict=True) if kept]
            drawn = metrics.cluster_interval(measure.selected(measure.kept), who, measure.statistic, level=level, seed=seed)
            note = "; ".join(n for n in (plain.note, drawn.note) if n)
            plain = replace(plain, low=drawn.low, high=drawn.high, level=drawn.level, reason=drawn.reason, note=note)
        found[name] = plain
    return found


def rank(found: Mapping[str, Comparison], *, level: float = 0.95, seed: int = 0) -> Ranking:
    """Compare estimates of one reference with the first of them.

    Differences are those of the same samples: where one of two estimates has no value, the sample is left out of their difference.
    Intervals and p-values are those of :func:`medcore.metrics.paired.paired_comparison`, clustered by subject; all p-values are adjusted
    together.

    Parameters
    ----------
    found
        At least two comparisons with the same reference, by name.
    level, seed
        Level of the intervals and random seed.

    Raises
    ------
    ConfigError
        If there are fewer than two.
    """
    if len(found) < 2:
        raise ConfigError("estimates", f"{len(found)} cannot be compared with each other", "give at least two")
    baseline, *others = found
    first = found[baseline]
    reason = None if first.measures else "there is one image only; compare folders with --pairs"
    reason = reason or (NO_SUBJECTS if first.subjects is None else None)
    differences = []
    for name in others:
        for key, result in found[name].results.items():
            if key in first.results:
                difference, p_value = _difference(first, found[name], key, result, reason, level, seed)
                differences.append(
                    metrics.Comparison(
                        name=name, reference=baseline, difference=difference, p_value=p_value, p_holm=None, metric=key
                    )
                )
    return Ranking(
        kind=first.kind,
        facts=first.facts,
        estimates={name: one.results for name, one in found.items()},
        baseline=baseline,
        differences=adjusted(differences),
        reason=reason,
    )


def _difference(
    first: Comparison, second: Comparison, key: str, result: MetricResult, reason: str | None, level: float, seed: int
) -> tuple[MetricResult, float | None]:
    before = first.results[key]
    if before.value is None or result.value is None:
        lacking = before.reason if before.value is None else result.reason
        return replace(result, value=None, low=None, high=None, level=None, reason=lacking, note=""), None
    if reason or first.subjects is None:
        value, n = result.value - before.value, min(before.n, result.n)
        return MetricResult(value=value, n=n, reason=reason, unit=result.unit, metric=result.metric), None
    one, two = first.measures[key], second.measures[key]
    kept = one.kept & two.kept
    who = [s for s, k in zip(first.subjects, kept, strict=True) if k]
    difference, p_value = metrics.paired_comparison(
        one.selected(kept), two.selected(kept), two.statistic, who, level=level, seed=seed
    )
    return replace(difference, dropped=int(np.count_nonzero(~kept)), unit=result.unit, metric=result.metric), p_value


def _rows(results: Mapping[str, MetricResult]) -> list[dict[str, Any]]:
    return [{"name": n, "direction": metric_of(n).direction, **r.as_dict()} for n, r in results.items()]


def metric_of(name: str) -> Metric:
    """The metric of a result's name, which may state a class in brackets."""
    return metrics.get_metric(name.partition("[")[0])


def chosen(names: Sequence[str], default: Sequence[str], fits: Mapping[str, Metric]) -> list[Metric]:
    """The metrics called `names`, or the default ones.

    Raises
    ------
    ConfigError
        If a name is unknown or its metric does not fit the input.
    """
    found = [metrics.get_metric(n) for n in (names or default)]
    for m in found:
        if m.id not in fits:
            raise ConfigError(f"metric {m.id!r}", f"does not fit this input, which has {', '.join(fits)}", "choose one of these")
    return found


def check_level(level: float) -> None:
    """Refuse a level that is not between 0 and 1.

    Raises
    ------
    InputError
        If it is not.
    """
    if not 0 < level < 1:
        raise InputError("level", f"is {level}", "give a number between 0 and 1")
