"""What every metric has in common: an identity, a result that is never NaN, checked input.

A metric is a function ``(reference, estimate, ...) -> MetricResult``, registered by :func:`metric` with its variant and version, so that a
number in a table can be traced to one definition. Input that is not finite is refused; input for which the metric has no value (a
constant reference, a single class) gives ``value=None`` and the reason.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, ParamSpec, get_args

import numpy as np
from jaxtyping import Bool, Num, Shaped

from medcore.errors import InputError, NumericalError
from medcore.plugins import unknown_name

P = ParamSpec("P")
Direction = Literal["higher", "lower", "zero", "one", "level", "none"]
Kind = Literal["image", "maps", "mask", "uncertainty", "classification", "probability", "detection", "text"]
Nan = Literal["refuse", "omit"]
Values = Shaped[np.ndarray, "..."] | Sequence[Any]
Mask = Shaped[np.ndarray, "..."] | None
Weights = Shaped[np.ndarray, " samples"]
Weighted = Callable[[Weights], float | None]
"""Value of a statistic of given samples as a function of how often each of them counts; None where it has no value."""


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """One number, or the reason why there is none.

    Attributes
    ----------
    value
        The number, finite; None where the metric is undefined for this input.
    reason
        Why `value` is None, or why a value has no interval.
    low, high, level
        Confidence interval and its level, where one was computed.
    n, dropped
        How many values (voxels, samples, subjects) went in, and how many were left out because they were not finite or empty.
    metric, unit
        Identity, for example ``"ssim/uniform7@1"``, and unit; ``"1"`` is dimensionless, ``"data"`` the unit of the input. A function may
        state another unit than the registered one, as distances in pixels do.
    note
        What else was used, for example the data range.
    """

    value: float | None
    reason: str | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    n: int = 0
    dropped: int = 0
    metric: str = ""
    unit: str = "1"
    note: str = ""

    def __float__(self) -> float:
        """The value.

        Raises
        ------
        NumericalError
            If it is undefined.
        """
        if self.value is None:
            raise NumericalError(self.metric or "metric", f"has no value ({self.reason})", "check the input")
        return self.value

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined ({self.reason})"
        interval = "" if self.low is None or self.high is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.value:.4g}{interval}"

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON-ready values."""
        return asdict(self)


def undefined(reason: str, *, n: int = 0, dropped: int = 0) -> MetricResult:
    """The result of a metric that has no value for its input."""
    return MetricResult(value=None, reason=reason, n=n, dropped=dropped)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A registered metric.

    Attributes
    ----------
    id, variant, version
        Its name, which of the definitions in use this is, and the version of the code's behaviour.
    kind
        The family it belongs to.
    unit
        ``"1"`` for dimensionless, ``"data"`` for the unit of the input.
    direction
        What is better: ``higher``, ``lower``, nearest ``zero``, nearest ``one``, nearest the nominal ``level``, or ``none``.
    definition, source
        The formula in one line, and where it comes from.
    referee
        What its tests compare it with: an independent implementation, published numbers, or the definition computed another way.
    function
        The function itself.
    weighted
        The same for samples with weights, where resampling can be quick: called with the same input it returns a function of the
        weights of the samples. None for metrics that have no such form.
    """

    id: str
    variant: str
    version: int
    kind: Kind
    unit: str
    direction: Direction
    definition: str
    source: str
    referee: str
    function: Callable[..., MetricResult]
    weighted: Callable[..., Weighted] | None = None

    @property
    def identity(self) -> str:
        """``id/variant@version``, written into every result."""
        return f"{self.id}/{self.variant}@{self.version}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the positional inputs."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)


_METRICS: dict[str, Metric] = {}


def metric(
    id: str,  # noqa: A002
    *,
    kind: Kind,
    variant: str,
    direction: Direction,
    definition: str,
    source: str,
    referee: str,
    unit: str = "1",
    version: int = 1,
    weighted: Callable[..., Weighted] | None = None,
) -> Callable[[Callable[P, MetricResult]], Callable[P, MetricResult]]:
    """Register a function as a metric; see :class:`Metric` for the parameters.

    The function's results get the metric's identity and unit, and a value that is not finite becomes an undefined result.

    Raises
    ------
    ValueError
        If the name is taken.
    """

    def register(function: Callable[P, MetricResult]) -> Callable[P, MetricResult]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> MetricResult:
            with np.errstate(all="ignore"):
                result = function(*args, **kwargs)
            if result.value is not None and not math.isfinite(result.value):
                result = undefined("the result is too large for a number", n=result.n, dropped=result.dropped)
            if not all(math.isfinite(x) for x in (result.low, result.high) if x is not None):
                result = replace(result, low=None, high=None, level=None, reason="the interval is unbounded")
            value = None if result.value is None else float(result.value)
            return replace(result, value=value, metric=entry.identity, unit=unit if result.unit == "1" else result.unit)

        if id in _METRICS:
            raise ValueError(f"metric {id!r} is registered twice")
        entry = Metric(
            id=id,
            variant=variant,
            version=version,
            kind=kind,
            unit=unit,
            direction=direction,
            definition=definition,
            source=source,
            referee=referee,
            function=call,
            weighted=weighted,
        )
        _METRICS[id] = entry
        if weighted is not None:
            call.weighted = weighted  # type: ignore[attr-defined]
        return call

    return register


def registered() -> Mapping[str, Metric]:
    """All metrics by name, in the order of their families."""
    families = get_args(Kind)
    return dict(sorted(_METRICS.items(), key=lambda item: families.index(item[1].kind)))


def get_metric(name: str) -> Metric:
    """The metric called `name`.

    Raises
    ------
    ConfigError
        If there is none; the known and the nearest names are listed.
    """
    if name not in _METRICS:
        raise unknown_name("metric", name, list(_METRICS))
    return _METRICS[name]


def numbers(values: Values, what: str, *, complex_ok: bool = False) -> Num[np.ndarray, "..."]:
    """`values` as float64 (or complex128).

    Raises
    ------
    InputError
        If they are no numbers, or complex where that has no meaning.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(what, f"is not an array ({error})", "give values of one shape") from error
    if array.dtype.kind not in "biufc":
        raise InputError(what, f"holds {array.dtype}, not numbers", "give an array of numbers")
    if array.dtype.kind == "c":
        if not complex_ok:
            raise InputError(what, "is complex", "take the magnitude first")
        return array.astype(np.complex128)
    return array.astype(np.float64)


def as_mask(mask: Shaped[np.ndarray, "..."], shape: tuple[int, ...]) -> Bool[np.ndarray, "..."]:
    """`mask` as booleans in `shape`; leading axes (contrasts) may be missing.

    Raises
    ------
    InputError
        If its shape does not fit or it holds anything but 0 and 1.
    """
    array = np.asarray(mask)
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise InputError("mask", f"holds values other than 0 and 1 ({np.unique(array)[:5].tolist()} ...)", "give a binary mask")
    if array.shape != shape[len(shape) - array.ndim :] or array.ndim > len(shape):
        raise InputError("mask", f"has shape {array.shape}, the data {shape}", "give a mask of the data's spatial shape")
    return np.broadcast_to(array.astype(np.bool_), shape)


def selection(arrays: Mapping[str, Num[np.ndarray, "..."]], mask: Mask, nan: Nan) -> tuple[Bool[np.ndarray, "..."], int]:
    """Which values count: inside `mask` and, with ``nan="omit"``, finite in every array; and how many of the mask were left out.

    Raises
    ------
    InputError
        If shapes differ, nothing is selected, or values inside the mask are not finite and `nan` is ``"refuse"``.
    """
    shapes = {name: a.shape for name, a in arrays.items()}
    shape = next(iter(shapes.values()))
    if any(s != shape for s in shapes.values()):
        shown = ", ".join(f"{name} {s}" for name, s in shapes.items())
        raise InputError("shapes", f"differ: {shown}", "give arrays of one shape")
    inside = np.ones(shape, dtype=np.bool_) if mask is None else as_mask(mask, shape)
    finite = np.logical_and.reduce([np.isfinite(a) for a in arrays.values()])
    bad = inside & ~finite
    dropped = int(np.count_nonzero(bad))
    if dropped and nan == "refuse":
        name = next(name for name, a in arrays.items() if not np.isfinite(a[inside]).all())
        first = tuple(int(i) for i in np.argwhere(inside & ~np.isfinite(arrays[name]))[0])
        hint = "give a mask that leaves them out, or choose nan='omit'"
        raise InputError(name, f"{dropped} of {np.count_nonzero(inside)} values are not finite, the first at index {first}", hint)
    return inside & finite, dropped


def prepare(
    arrays: Mapping[str, Values], mask: Mask = None, nan: Nan = "refuse", *, complex_ok: bool = False
) -> tuple[list[Num[np.ndarray, " n"]], int]:
    """The selected values of each array in one dimension, and how many were dropped; see :func:`selection`.

    Raises
    ------
    InputError
        See :func:`numbers` and :func:`selection`.
    """
    found = {name: numbers(values, name, complex_ok=complex_ok) for name, values in arrays.items()}
    chosen, dropped = selection(found, mask, nan)
    return [a[chosen] for a in found.values()], dropped
