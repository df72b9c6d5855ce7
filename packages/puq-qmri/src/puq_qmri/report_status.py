"""What the page of a fit says first: how much could be fitted, what the weights and intervals are, what to beware of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Real

from medcore.io import ImageSeries
from medcore.report import Report
from puq_qmri.fitting import FitResult, Status
from puq_qmri.fitting.weighting import TRUSTED
from puq_qmri.results import weights_in_words

_REGIONS = 3
"""Most regions whose weights are told."""


def notes(page: Report, repairs: Sequence[str]) -> None:
    """What readers repaired or left out."""
    for repair in repairs:
        page.status("warned", f"input: {repair}")


def fit_status(page: Report, result: FitResult, inside: Bool[np.ndarray, "z y x"], series: ImageSeries) -> None:
    """State and sentence about each thing worth knowing; parameters as :func:`puq_qmri.report.maps_report`, `inside` the region."""
    fitted, total = int((inside & (result.status == Status.OK)).sum()), int(inside.sum())
    share = fitted / total if total else 0.0
    page.status(
        "passed" if share >= 0.95 else "warned", f"{fitted} of {total} voxels with signal were fitted ({100 * share:.1f} %)"
    )
    if result.sigma_known:
        page.status("info", f"weights: {weights_in_words(result)}")
        _weighting_status(page, result)
    elif result.degrees_of_freedom < 1:
        page.status("warned", "as many contrasts as parameters and no known deviations: there is no confidence")
    else:
        page.status(
            "info",
            f"deviations of the images are unknown: residuals with {result.degrees_of_freedom} degrees of freedom give the intervals",
        )
    if result.sigma_known and result.degrees_of_freedom > 0:
        from scipy.stats import chi2

        misfit = median(result.chi2[inside]) / float(chi2.median(result.degrees_of_freedom))
        page.status(
            "passed" if 0.5 <= misfit <= 2 else "warned",
            f"median misfit {misfit:.2f} times that of noise alone (1 where model and deviations are right)",
        )
    _intervals_status(page, result)
    if left_out := result.facts.get("left_out"):
        page.status("warned", f"contrast {', '.join(map(str, left_out))} has no signal anywhere and was left out")
    if result.facts.get("signal") == "magnitude" and result.facts.get("noise", "gaussian") == "gaussian":
        page.status("info", "magnitude images: at low signal their noise floor lengthens relaxation times")
    notes(page, series.repairs)


def _intervals_status(page: Report, result: FitResult) -> None:
    """Where intervals come from, if not from the deviation alone."""
    found = result.facts.get("intervals", {})
    profiled, unended = ({name: n for name, n in found.get(key, {}).items() if n} for key in ("profiled", "open"))
    if profiled:
        counts = ", ".join(f"{name} in {n} voxels" for name, n in profiled.items())
        page.status("info", f"intervals by the profile likelihood, lopsided as the data are: {counts}")
    if unended:
        counts = ", ".join(f"{name} in {n} voxels" for name, n in unended.items())
        page.status("warned", f"intervals that the data do not end within the bounds of the model: {counts}")


def _weighting_status(page: Report, result: FitResult) -> None:
    """What the rule of the weights saw in the regions."""
    regions = [r for r in result.facts.get("weighting", {}).get("regions", []) if r["voxels"]]
    shown = regions if len(regions) <= _REGIONS else [regions[i] for i in evenly(len(regions), _REGIONS)]
    for region in shown:
        trusted = region["taken"] != "none"
        page.status(
            "info" if region["reduced_chi2"] <= TRUSTED else "warned",
            f"{region['region']}: residuals are {region['reduced_chi2']:.2f} times as large as the deviations say (squared, median), "
            + ("so that these weigh the contrasts" if trusted else "so that all contrasts weigh the same"),
        )
    if result.facts.get("robust", "none") != "none":
        page.status("info", f"robust estimates ({result.facts['robust']}): contrasts far from what the others say count less")
    if result.facts.get("noise", "gaussian") != "gaussian":
        page.status("info", f"maximum likelihood for {result.facts['noise']} noise")


def evenly(n: int, most: int = 4) -> list[int]:
    """At most `most` of `n` numbers, evenly spread, the first and last among them."""
    return list(range(n)) if n <= most else [round(i * (n - 1) / (most - 1)) for i in range(most)]


def median(values: Real[np.ndarray, "..."]) -> float:
    """Of the finite values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else math.nan
