"""Single voxels for the report: which to show, and their points, curve and band."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float

from medcore.io import ImageSeries
from medcore.report.figures import QUANTITIES, FitPanel
from puq_qmri.fitting import FitResult, Status
from puq_qmri.fitting.estimates import quantile
from puq_qmri.fitting.signals import to_real
from puq_qmri.signal_models import Parameter, SignalModel

COORDINATES = {
    "te": ("echo time", "ms", 1e3),
    "ti": ("inversion time", "ms", 1e3),
    "flip_angle": ("flip angle", "degrees", 180 / math.pi),
    "b_value": ("b-value", "s/mm\N{SUPERSCRIPT TWO}", 1e-6),
}
"""What contrasts differ in: its name, its unit on the screen, and the factor to that unit."""
_ON_SCREEN = {"s": (1e3, "ms"), "1": (1.0, ""), "m^2/s": (1e9, QUANTITIES["adc"].unit)}


def by_interest(model: SignalModel) -> list[Parameter]:
    """Relaxation times and what else has a physical unit first."""
    return sorted(model.parameters, key=lambda p: p.unit in {"1", "a.u."})


def on_screen(unit: str) -> tuple[float, str]:
    """Factor and unit in which values of an SI unit are shown."""
    return _ON_SCREEN.get(unit, (1.0, unit))


def coordinate(key: str) -> tuple[str, str, float]:
    """Name of what the contrasts differ in, its unit on the screen, and the factor to it."""
    return COORDINATES.get(key, (key, "SI", 1.0))


def label(parameter: Parameter) -> str:
    """Its name on the screen."""
    return QUANTITIES[parameter.name].label if parameter.name in QUANTITIES else parameter.name


def example_voxels(
    result: FitResult, model: SignalModel, inside: Bool[np.ndarray, "z y x"]
) -> list[tuple[str, tuple[int, int, int]]]:
    """Fitted voxels at the 10th, 50th and 90th percentile of the time constant, with the words for them."""
    name = by_interest(model)[0].name
    places = np.argwhere(inside & (result.status == Status.OK) & np.isfinite(result.std[name]))
    if not len(places):
        return []
    values = result.maps[name][tuple(places.T)]
    order = np.argsort(values, kind="stable")
    found = []
    for percent in (10, 50, 90):
        z, y, x = places[order[round((len(order) - 1) * percent / 100)]].tolist()
        found.append((f"{percent}th percentile", (z, y, x)))
    return found


def fit_panel(
    result: FitResult,
    model: SignalModel,
    series: ImageSeries,
    sigma: float | Float[np.ndarray, "contrast z y x"] | None,
    where: tuple[int, int, int],
    words: str,
) -> FitPanel:
    """Points, curve and band of one voxel; the band is that of the curve, by linear propagation."""
    kind, column = result.facts.get("signal", "magnitude"), (slice(None), *where)
    signal = to_real(series.data[(slice(None), *(slice(i, i + 1) for i in where))], kind, model, result.times).reshape(-1)
    deviation = None if sigma is None else np.broadcast_to(sigma[column] if isinstance(sigma, np.ndarray) else sigma, signal.shape)
    columns = [result.maps[p.name][where] for p in model.parameters]
    columns += [result.known[p.name][where] if p.name in result.known else 1.0 for p in model.known]
    values = torch.tensor([float(v) for v in columns], dtype=torch.float64)
    fine = model.curve_times(torch.as_tensor(result.times))
    curve = model.signal(values, fine).numpy()
    half = _band(result, model, values, fine, deviation, where)
    low, high = curve - half, curve + half
    if kind == "magnitude" and model.changes_sign:
        crossing = low * high < 0
        low, high = np.minimum(np.abs(low), np.abs(high)), np.maximum(np.abs(low), np.abs(high))
        low, curve = np.where(crossing, 0.0, low), np.abs(curve)
    parameter = by_interest(model)[0]
    scale, unit = on_screen(parameter.unit)
    value, std = (scale * float(found[parameter.name][where]) for found in (result.maps, result.std))
    shown = None if deviation is None else np.where(np.isfinite(deviation), deviation, 0.0)
    return FitPanel(
        title=f"{words}: {_with(value, std)} \N{PLUS-MINUS SIGN} {_two_digits(std)} {unit}",
        times=result.times,
        signal=signal,
        curve_times=fine.numpy(),
        curve=curve,
        sigma=shown,
        low=low,
        high=high,
    )


def _with(value: float, std: float) -> str:
    """A value of milliseconds without decimals, smaller ones with those of their deviation."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.{len(_two_digits(std).partition('.')[2])}f}"


def _two_digits(value: float) -> str:
    """Two significant digits without exponent, at most three of them decimals."""
    return f"{value:.{min(3, max(0, 1 - math.floor(math.log10(value))))}f}" if 0 < value < 10 else f"{value:.0f}"


def _band(
    result: FitResult,
    model: SignalModel,
    values: Float[torch.Tensor, " column"],
    fine: Float[torch.Tensor, " point"],
    deviation: np.ndarray | None,
    where: tuple[int, int, int],
) -> Float[np.ndarray, " point"]:
    """Half width of the 95 % band of the curve."""
    times = torch.as_tensor(result.times)
    weights = (
        torch.ones_like(times)
        if deviation is None
        else torch.as_tensor(np.where(np.isfinite(deviation), deviation, np.inf)).double() ** -2
    )
    at_times, at_fine = model.jacobian(values, times), model.jacobian(values, fine)
    covariance = torch.linalg.pinv(at_times.T @ (weights[:, None] * at_times), hermitian=True)
    if deviation is None:
        covariance = covariance * (float(result.chi2[where]) / max(result.degrees_of_freedom, 1))
    variance = torch.einsum("tp,pq,tq->t", at_fine, covariance, at_fine).clamp_min(0)
    return quantile(result.degrees_of_freedom, known=result.sigma_known) * variance.sqrt().numpy()
