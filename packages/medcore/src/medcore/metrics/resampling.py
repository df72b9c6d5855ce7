"""What resampling needs: samples in groups, and statistics as functions of how often each sample counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from medcore.errors import InputError
from medcore.metrics.base import Metric, MetricResult, Weighted, Weights, numbers

Statistic = Callable[..., float | MetricResult | None]
Groups = Shaped[np.ndarray, "..."] | Sequence[Any]
MIN_GROUPS = 3


@dataclass(frozen=True)
class Grouping:
    """The groups of samples.

    Attributes
    ----------
    index
        For each sample the number of its group, in the order of their first samples.
    count
        How many groups there are.
    """

    index: Int[np.ndarray, " samples"]
    count: int


@dataclass(frozen=True)
class Bound:
    """A metric with its options, to be used as a statistic.

    Attributes
    ----------
    metric
        The registered metric.
    options
        Keyword arguments of every call.
    """

    metric: Metric
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *columns: Any) -> MetricResult:
        """The metric of `columns`."""
        return self.metric.function(*columns, **self.options)

    @property
    def weighted(self) -> Callable[..., Weighted] | None:
        """The metric of weighted samples; None if it has no such form."""
        quick = self.metric.weighted
        if quick is None:
            return None
        return lambda *columns: quick(*columns, **self.options)


def grouping(groups: Groups | None, n: int) -> Grouping:
    """Number the groups of `n` samples; None takes every sample as its own.

    Raises
    ------
    InputError
        If there is not one group for each sample.
    """
    if groups is None:
        return Grouping(np.arange(n), n)
    labels = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(labels) != n:
        raise InputError("groups", f"{len(labels)} for {n} samples", "give the group of every sample")
    place: dict[Any, int] = {}
    index = np.array([place.setdefault(label, len(place)) for label in labels], dtype=np.int64)
    return Grouping(index, len(place))


def as_columns(values: Any) -> tuple[Shaped[np.ndarray, "..."], ...]:
    """The arrays to resample: numbers must be finite, labels may be anything.

    Raises
    ------
    InputError
        If they are empty, of different lengths, or hold a number that is not finite.
    """
    given = values if isinstance(values, tuple) else (values,)
    found = tuple(np.asarray(v) for v in given)
    for array in found:
        if array.ndim == 0 or not array.shape[0] or len(array) != len(found[0]):
            shapes = [a.shape for a in found]
            raise InputError(
                "values", f"have the shapes {shapes}", "give arrays with one entry for each sample along the first axis"
            )
        if array.dtype.kind in "fc" and not np.isfinite(numbers(array, "values", complex_ok=True)).all():
            raise InputError("values", f"{np.count_nonzero(~np.isfinite(array))} are not finite", "leave these samples out of all")
    return found


def evaluator(statistic: Statistic, columns: Sequence[Shaped[np.ndarray, "..."]]) -> Weighted:
    """`statistic` of `columns` as a function of whole-number weights: as if each sample were there as often as its weight says.

    Means, and metrics that know their weighted form, are not evaluated on copies of the samples, which makes thousands of resamples quick.
    """
    quick = getattr(statistic, "weighted", None)
    if statistic is np.mean and len(columns) == 1 and columns[0].ndim == 1 and columns[0].dtype.kind in "biuf":
        inner = weighted_mean(columns[0].astype(np.float64))
    elif quick is not None:
        inner = quick(*columns)
    else:
        places = np.arange(len(columns[0]))

        def inner(weights: Weights) -> float | None:
            index = np.repeat(places, weights.astype(np.int64))
            return plain_value(statistic(*(c[index] for c in columns)))

    def evaluate(weights: Weights) -> float | None:
        with np.errstate(all="ignore"):
            return plain_value(inner(weights))

    return evaluate


def plain_value(value: float | MetricResult | None) -> float | None:
    """The number, None where there is none."""
    value = value.value if isinstance(value, MetricResult) else value
    return None if value is None or not np.isfinite(value) else float(value)


def weighted_mean(values: Float[np.ndarray, " samples"]) -> Weighted:
    """The mean of `values` as a function of their weights; None where all weights are 0."""

    def mean(weights: Weights) -> float | None:
        total = float(weights.sum())
        return float(weights @ values) / total if total else None

    return mean


def drawn_weights(rng: np.random.Generator, groups: Grouping) -> Float[np.ndarray, " samples"]:
    """How often each sample counts in one bootstrap sample of whole groups."""
    times = np.bincount(rng.integers(groups.count, size=groups.count), minlength=groups.count)
    return np.asarray(times[groups.index], dtype=np.float64)
