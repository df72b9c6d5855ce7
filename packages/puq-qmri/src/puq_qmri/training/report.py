"""The page of a training: curves, numbers, and what the network makes of examples it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medcore.report import Report
from puq_qmri.networks import UnrolledNetwork
from puq_qmri.networks.variance import VarianceHead
from puq_qmri.training.data import Example
from puq_qmri.training.objectives import relative_error
from puq_qmri.training.run_folder import Curves
from puq_qmri.training.settings import TrainingSettings

PAGE = "report.html"
_TITLES = {
    "loss": "loss",
    "nrmse": "relative error, validation",
    "nrmse_start": "of the images it starts from",
    "nll": "negative log-likelihood, validation",
    "error_over_variance": "squared error over predicted variance",
    "rate": "learning rate",
    "gradient": "norm of the gradient",
}


def write_report(
    folder: Path,
    settings: TrainingSettings,
    curves: Curves,
    network: UnrolledNetwork,
    head: VarianceHead | None,
    examples: list[Example],
    record: dict[str, Any],
) -> Path:
    """Write ``report.html``.

    Parameters
    ----------
    folder
        Of the run.
    settings
        Of the training.
    curves
        Its numbers.
    network, head
        As trained.
    examples
        That were not trained on, to be shown.
    record
        Content of ``run.json``.
    """
    page = Report("Training of a reconstruction network", _what(settings))
    _verdict(page, record.get("validation", {}))
    for stage in settings.stages:
        _stage_section(page, stage, curves)
    page.section("Examples that were not trained on")
    for number, example in enumerate(examples, start=1):
        _example_figures(page, number, example, network, head)
    page.provenance(record)
    return page.write(folder / PAGE)


def _what(settings: TrainingSettings) -> str:
    source = "simulated scans" if settings.data.measured is None else "measured scans, undersampled afterwards"
    return f"layout {settings.network.layout}, {settings.network.unrolls} unrolls, trained with {source}"


def _verdict(page: Report, validation: dict[str, dict[str, float]]) -> None:
    images = validation.get("mean")
    if images is not None:
        better = images["nrmse"] < images["nrmse_start"]
        page.status(
            "passed" if better else "warned",
            f"relative error of validation images {images['nrmse']:.4f}, of those the network starts from {images['nrmse_start']:.4f}",
        )
    found = validation.get("variance")
    if found is not None:
        good = 0.5 < found["error_over_variance"] < 2
        page.status(
            "passed" if good else "warned",
            f"squared error over predicted variance {found['error_over_variance']:.2f} in validation; calibrate before use",
        )


def _stage_section(page: Report, stage: str, curves: Curves) -> None:
    from medcore.report.figures import training_figure

    panels: dict[str, Any] = {"loss": {"training": curves.curve(stage, "loss")}}
    if stage == "mean":
        panels[_TITLES["nrmse"]] = {"network": curves.curve(stage, "nrmse"), "start": curves.curve(stage, "nrmse_start")}
    else:
        panels[_TITLES["nll"]] = {"head": curves.curve(stage, "nll")}
        panels[_TITLES["error_over_variance"]] = {"head": curves.curve(stage, "error_over_variance")}
    for name in ("rate", "gradient"):
        panels[_TITLES[name]] = {"training": curves.curve(stage, name)}
    page.section(f"Stage {stage}")
    page.figure(training_figure(panels), f"Stage {stage}, by optimiser step.")


@torch.no_grad()
def _example_figures(page: Report, number: int, example: Example, network: UnrolledNetwork, head: VarianceHead | None) -> None:
    from medcore.report.figures import map_figure

    problem = example.problem
    network.eval()
    images, start = problem.images(network([problem])[0]), problem.images(problem.start)
    deviation = None if head is None else head.eval().variance(problem.evidence(images)).sqrt()
    mask = example.mask.cpu().numpy()
    numbers = f"relative error {relative_error(images, example):.3f}, at the start {relative_error(start, example):.3f}"
    for contrast in sorted({0, len(images) - 1}):
        shown = {"truth": example.truth, "start": start, "network": images}
        maps = {name: _magnitude(values[contrast]) for name, values in shown.items()}
        page.figure(
            map_figure(maps, quantity="signal", low=0.0),
            f"Example {number}, contrast {contrast + 1} of {len(images)}, magnitude; all contrasts: {numbers}.",
        )
        errors = {name: _magnitude(shown[name][contrast] - example.truth[contrast]) for name in ("start", "network")}
        if deviation is not None:
            errors["predicted deviation"] = np.nan_to_num(deviation[contrast].cpu().numpy(), posinf=0.0)
        high = max(float(np.quantile(e[mask], 0.99)) for e in errors.values()) if mask.any() else None
        page.figure(
            map_figure(errors, quantity="signal", kind="deviation", low=0.0, high=high),
            f"Example {number}, contrast {contrast + 1}: size of the complex error"
            + ("." if deviation is None else ", and the deviation of one component that the head predicts."),
        )


def _magnitude(images: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(images.abs().cpu().numpy(), np.float32)


def model_card(settings: TrainingSettings, validation: dict[str, dict[str, float]]) -> str:
    """Text that goes with the weights: what they were trained on and how well they did."""
    data = settings.data
    source = (
        "simulated scans only (see the recipe in weights.json for all ranges)"
        if data.measured is None
        else "fully sampled measurements that were undersampled afterwards; they are not part of this folder"
    )
    numbers = [f"- {stage}: " + ", ".join(f"{k} {v:.4g}" for k, v in found.items()) for stage, found in validation.items()]
    return "\n".join(
        [
            "# Reconstruction network",
            "",
            f"Layout {settings.network.layout}, {settings.network.unrolls} unrolls; "
            + ("with a variance head." if settings.head is not None else "without a variance head."),
            f"Trained with {data.examples} examples of {source}.",
            "",
            f"Validation on {data.validation} examples that were not trained on:",
            "",
            *numbers,
            "",
            "Trust it for scans like those it was trained with. Variances are not calibrated unless calibration.json is here.",
            "For research use, not for diagnosis.",
            "",
        ]
    )
