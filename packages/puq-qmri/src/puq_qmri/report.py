"""The report pages: maps with their confidence, voxels with their fits, agreement with a truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from medcore.io import ImageSeries
from medcore.report import Report
from medcore.report.figures import QUANTITIES, calibration_figure, fit_figure, map_figure, sampling_figure
from puq_qmri.evaluation import REGIONS, Evaluation, errors
from puq_qmri.fitting import STATUS_TEXT, FitResult, Status
from puq_qmri.report_status import evenly, fit_status, median, notes
from puq_qmri.results import MapFolder, ReconstructedImages, fitted_part, foreground, summary
from puq_qmri.signal_models import Parameter, SignalModel
from puq_qmri.voxel_fits import by_interest, coordinate, example_voxels, fit_panel, on_screen
from puq_qmri.voxel_fits import label as label_of

_SLICES = 3
_RELATIVE_HIGH = 0.5
"""Upper end of the display of relative deviations; noise voxels would otherwise set it."""


def maps_report(
    title: str,
    result: FitResult,
    series: ImageSeries,
    record: dict[str, Any],
    *,
    sigma: float | Float[np.ndarray, "contrast z y x"] | None = None,
    mask: Bool[np.ndarray, "z y x"] | None = None,
    images: ReconstructedImages | None = None,
) -> Report:
    """Page of a fit.

    Parameters
    ----------
    title
        Of the page.
    result
        The fit.
    series
        The images that were fitted.
    record
        Content of ``run.json``.
    sigma
        Deviations of the images, as given to the fit.
    mask
        As given to the fit; without one the summary is about the voxels of :func:`puq_qmri.results.foreground`.
    images
        Reconstructed images, where the fit followed a reconstruction.
    """
    model = result.signal_model
    inside = foreground(series.data, sigma) if mask is None else mask
    series, sigma = fitted_part(result, series, sigma)
    made = ", ".join(f"{name} {value}" for name, value in model.settings().items() if value is not None)
    page = Report(title, f"model {model.name}: {model.summary}{f' ({made})' if made else ''}")
    fit_status(page, result, inside, series)
    _maps_section(page, result, model, inside, series)
    _numbers_section(page, result, model, inside, mask_given=mask is not None)
    _voxels_section(page, result, model, inside, series, sigma)
    if images is not None:
        _images_section(page, images)
    return page.provenance(record)


def images_report(title: str, images: ReconstructedImages, record: dict[str, Any]) -> Report:
    """Page of a reconstruction; `record` is the content of ``run.json``."""
    page = Report(title, f"{images.series.n_contrasts} contrasts of {images.series.shape} voxels (z, y, x)")
    notes(page, images.series.repairs)
    _images_section(page, images)
    return page.provenance(record)


def evaluation_report(
    title: str, maps: MapFolder, reference: MapFolder, evaluations: Sequence[Evaluation], record: dict[str, Any]
) -> Report:
    """Page of a comparison with a reference; parameters as :func:`puq_qmri.evaluation.evaluate`."""
    page = Report(title, f"{maps.source} against {reference.source}")
    for found in evaluations:
        if "coverage" in found.metrics and found.region == evaluations[-1].region:
            page.status(*coverage_line(found))
    agreement_section(page, "Agreement", evaluations)
    page.text(
        "Intervals of voxels promise to hold the true value 95 times in 100. Coverage counts how often they did. A root mean square of the "
        "z-scores above 1 says that deviations are too small, or that estimates are biased. Mixed voxels hold several tissues, so a single "
        "relaxation time is not the truth there."
    )
    page.section("Maps")
    for name in dict.fromkeys(found.map_name for found in evaluations):
        _comparison(page, name, maps, reference)
    return page.provenance(record)


def agreement_table(evaluations: Sequence[Evaluation]) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of errors, relaxation times in milliseconds."""
    columns = ["map", "region", "voxels", "missing", "median error [%]", "bias", "limits of agreement", "NRMSE", "CCC"]
    rows = []
    for found in evaluations:
        scale, unit = _scale(found.map_name)
        value = {key: result.value for key, result in found.metrics.items()}
        low, high = value["loa_low"], value["loa_high"]
        rows.append(
            [
                f"{found.map_name} [{unit}]",
                found.region,
                found.voxels,
                found.missing,
                _rounded(value["median_relative_error"], 100.0, 2),
                None if value["bias"] is None else float(f"{scale * value['bias']:.3g}"),
                None if low is None or high is None else f"{scale * low:.3g} to {scale * high:.3g}",
                _rounded(value["nrmse"], 1.0, 3),
                _rounded(value["ccc"], 1.0, 3),
            ]
        )
    return columns, rows


def confidence_table(evaluations: Sequence[Evaluation]) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of coverage and z-scores, of the maps with intervals."""
    columns = ["map", "region", "95 % intervals that hold the reference [%]", "root mean square of z-scores"]
    rows: list[list[object]] = [
        [
            found.map_name,
            found.region,
            _rounded(found.metrics["coverage"].value, 100.0, 1),
            _rounded(found.metrics["z_score_rms"].value, 1.0, 2) if "z_score_rms" in found.metrics else None,
        ]
        for found in evaluations
        if "coverage" in found.metrics
    ]
    return columns, rows


def agreement_section(page: Report, title: str, evaluations: Sequence[Evaluation]) -> None:
    """A section with both tables."""
    page.section(title).table(*agreement_table(evaluations), caption="Estimates against the reference")
    columns, rows = confidence_table(evaluations)
    if rows:
        page.table(columns, rows, caption="Confidence against the reference")


def coverage_line(found: Evaluation) -> tuple[Any, str]:
    """State and sentence about the coverage of one map's intervals."""
    value = found.metrics["coverage"].value
    if value is None:
        return "info", f"{found.map_name}: no interval to count"
    words = f"{found.map_name}, {REGIONS[found.region]}: {100 * value:.1f} % of the 95 % intervals hold the reference"
    return ("passed" if 0.93 <= value <= 0.97 else "warned"), words


def _rounded(value: float | None, scale: float, digits: int) -> float | None:
    return None if value is None else round(scale * value, digits)


def _scale(map_name: str) -> tuple[float, str]:
    """Factor and unit to show values of a map with."""
    quantity = QUANTITIES.get(map_name.removesuffix("map").lower())
    return (quantity.scale, quantity.unit) if quantity is not None and quantity.unit == "ms" else (1.0, "a.u.")


def _quantity(parameter: Parameter) -> str | None:
    """The name under which figures know a parameter; None if there is no scale for it."""
    if parameter.name in QUANTITIES:
        return parameter.name
    return "signal" if parameter.unit == "a.u." else None


def _maps_section(
    page: Report, result: FitResult, model: SignalModel, inside: Bool[np.ndarray, "z y x"], series: ImageSeries
) -> None:
    page.section("Maps")
    for parameter in by_interest(model):
        quantity = _quantity(parameter)
        if quantity is None:
            continue
        values, std, label = result.maps[parameter.name], result.std[parameter.name], label_of(parameter)
        shown: dict[str, Any] = {"affine": series.affine, "slices": _SLICES}
        page.figure(map_figure({label: values}, quantity=quantity, **shown), f"{label}, all fitted voxels. Black: no value.")
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(values > 0, std / values, np.nan)
        if not np.isfinite(std[inside]).any():
            continue
        high = float(np.nanpercentile(std[inside], 90)) or None
        page.figure(
            map_figure({f"{label} deviation": std}, quantity=quantity, kind="deviation", mask=inside, high=high, **shown),
            f"Standard deviation of {label} in voxels with signal; the range ends at its 90th percentile.",
        )
        if parameter.unit == "s":
            page.figure(
                map_figure(
                    {f"{label} relative deviation": relative}, quantity="relative", mask=inside, high=_RELATIVE_HIGH, **shown
                ),
                f"Standard deviation of {label} over its value in voxels with signal.",
            )
    if result.sigma_known and result.degrees_of_freedom > 0:
        reduced = result.chi2 / result.degrees_of_freedom
        page.figure(
            map_figure({"Misfit": reduced}, quantity="chi2", mask=inside, high=5.0, affine=series.affine, slices=_SLICES),
            "Weighted squared residuals per degree of freedom: about 1 where model and deviations are right.",
        )


def _numbers_section(
    page: Report, result: FitResult, model: SignalModel, inside: Bool[np.ndarray, "z y x"], *, mask_given: bool
) -> None:
    rows = []
    facts = summary(result, inside)
    for parameter in by_interest(model):
        found = facts[parameter.name]
        scale, unit = on_screen(parameter.unit)
        if not found["voxels"]:
            rows.append([label_of(parameter), unit, 0, None, None, None, None])
            continue
        low, high = found["quartiles"]
        std = found.get("median_std")
        rows.append(
            [
                label_of(parameter),
                unit,
                found["voxels"],
                scale * found["median"],
                scale * low,
                scale * high,
                None if std is None else scale * std,
            ]
        )
    region = (
        "within the mask"
        if mask_given
        else "with signal (root mean square of the contrasts above noise and 15 % of its 98th percentile)"
    )
    page.section("Numbers").table(
        ["parameter", "unit", "voxels", "median", "lower quartile", "upper quartile", "median deviation"],
        rows,
        caption=f"Fitted voxels {region}",
    )
    counts = [
        [STATUS_TEXT[s], int((result.status == s).sum()), int((inside & (result.status == s)).sum())]
        for s in Status
        if (result.status == s).any()
    ]
    page.table(["how the fit ended", "all voxels", "voxels with signal"], counts, caption="Status of the voxels")


def _voxels_section(
    page: Report,
    result: FitResult,
    model: SignalModel,
    inside: Bool[np.ndarray, "z y x"],
    series: ImageSeries,
    sigma: float | Float[np.ndarray, "contrast z y x"] | None,
) -> None:
    chosen = example_voxels(result, model, inside)
    if not chosen:
        return
    panels = [fit_panel(result, model, series, sigma, where, words) for words, where in chosen]
    page.section("Voxels")
    time, unit, scale_of_times = coordinate(model.times_key)
    page.figure(
        fit_figure(panels, time=time, unit=unit, scale=scale_of_times),
        f"Measured signals, fitted curve and its 95 % band in voxels whose {label_of(by_interest(model)[0])} (shown with its standard "
        "deviation) lies at the named percentile of the voxels with signal."
        + (" Bars: one standard deviation." if sigma is not None else ""),
    )


def _images_section(page: Report, images: ReconstructedImages) -> None:
    series = images.series
    key = next((k for k in ("te", "ti") if k in series.times), None)
    names = {i: f"{key.upper()} {1e3 * series.times[key][i]:.4g} ms" if key else f"contrast {i}" for i in range(series.n_contrasts)}
    shown = evenly(series.n_contrasts)
    page.section("Images").figure(
        map_figure({names[i]: series.data[i] for i in shown}, quantity="signal", affine=series.affine),
        "Magnitude of the reconstructed contrasts"
        + (f", {len(shown)} of {series.n_contrasts}." if len(shown) < series.n_contrasts else "."),
    )
    if images.deviation is not None:
        inside = foreground(series.data, images.deviation)
        finite = {names[i]: np.where(np.isfinite(images.deviation[i]), images.deviation[i], np.nan) for i in shown}
        page.figure(
            map_figure(finite, quantity="signal", mask=inside, affine=series.affine),
            "Standard deviation of the real or imaginary part under the measured noise, in voxels with signal.",
        )
    parts: list[str | None] = [None] * series.n_contrasts
    if images.sampling is not None:
        page.figure(sampling_figure({names[i]: images.sampling.shown(i) for i in shown}), "Where k-space was measured.")
        parts = [f"{100 * f:.1f} %" for f in images.sampling.fractions]
    rows = [
        [names[i], parts[i], steps, residual, None if images.deviation is None else median(images.deviation[i][inside])]
        for i, (steps, residual) in enumerate(zip(images.iterations, images.residuals, strict=True))
    ]
    page.table(
        ["contrast", "measured points", "iterations", "relative residual", "median deviation"],
        rows,
        caption="Reconstruction of the contrasts",
    )
    if images.noise_level is not None:
        page.values({"noise of one component of a sample": images.noise_level, "measured in": images.noise_source})


def _comparison(page: Report, name: str, maps: MapFolder, reference: MapFolder) -> None:
    quantity = name.removesuffix("map").lower()
    quantity = quantity if quantity in QUANTITIES else "signal"
    inside = np.isfinite(reference.maps[name]) & (reference.maps[name] != 0)
    shown: dict[str, Any] = {"affine": maps.affine, "slices": 1}
    page.figure(
        map_figure({"reference": reference.maps[name], "estimate": maps.maps[name]}, quantity=quantity, mask=inside, **shown),
        f"{name}, reference and estimate, where the reference has a value.",
    )
    difference = errors(maps, reference, name)
    if not np.isfinite(difference[inside]).any():
        return
    high = float(np.nanpercentile(np.abs(difference[inside]), 90)) or None
    page.figure(
        map_figure({"estimate - reference": difference}, quantity=quantity, kind="difference", mask=inside, high=high, **shown),
        f"Error of {name}; the range ends at its 90th percentile.",
    )
    if name in maps.std:
        curves = {"all voxels": calibration_points(maps, reference, name, inside)}
        if reference.pure is not None:
            curves["voxels of one tissue"] = calibration_points(maps, reference, name, inside & reference.pure)
        page.figure(calibration_figure(curves), f"How often intervals of {name} hold the reference, by the level they promise.")


def calibration_points(
    maps: MapFolder, reference: MapFolder, name: str, inside: Bool[np.ndarray, "z y x"]
) -> tuple[Float[np.ndarray, " level"], Float[np.ndarray, " level"]]:
    """Promised and observed coverage of central normal intervals."""
    from medcore.metrics import calibration_curve

    std = maps.std[name]
    there = inside & np.isfinite(maps.maps[name]) & np.isfinite(std) & (std > 0)
    curve = calibration_curve(reference.maps[name], maps.maps[name], std, mask=there)
    return curve.x, curve.y
