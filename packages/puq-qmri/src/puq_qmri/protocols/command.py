"""The command ``puq-qmri benchmark``: every case with every method, and a table beside the published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcore.commandline import Invocation
from medcore.plugins import unknown_name
from puq_qmri.fitting.mlp_files import load_mlp
from puq_qmri.networks.weights import predicts_variance, shipped
from puq_qmri.pipeline import PipelineSettings
from puq_qmri.protocols.case import read_case
from puq_qmri.protocols.puq_paper import PUBLISHED, MethodResult, run_case
from puq_qmri.protocols.scores import Scores
from puq_qmri.reconstruction import METHODS, ReconstructionSettings

_COLUMNS = ("method", "NRMSE", "SSIM", "NRMSE up to 0.3 s", "median error", "images", "no estimate", "seconds")


def run_benchmark(
    run: Invocation,
    cases: Sequence[Path],
    methods: Sequence[str],
    *,
    acceleration: float,
    seed: int | None,
    mlp: Path | None = None,
    device: str,
) -> dict[str, Any]:
    """Read all cases before anything is computed, run them, and print their tables.

    Parameters
    ----------
    run
        The command line's voice.
    cases
        Files of cases.
    methods
        Names of reconstructions; none for all that can be run.
    acceleration, seed
        See :func:`puq_qmri.protocols.measure`.
    mlp
        Folder of a pixelwise network, the last step of the published method; its maps get rows of their own.
    device
        Where to compute.

    Raises
    ------
    InputError
        See :func:`puq_qmri.protocols.read_case`.
    ConfigError
        If there is no such method, or the acceleration does not suit a case.
    """
    settings = [_settings(name, device) for name in (methods or _available())]
    network = None if mlp is None else load_mlp(mlp, device=device)
    opened = [read_case(path) for path in cases]
    results: list[dict[str, Any]] = []
    for path, case in zip(cases, opened, strict=True):
        found = run_case(case, settings, acceleration=acceleration, seed=seed, mlp=network)
        results += [{"case": str(path), **one.as_dict()} for one in found]
        run.say(f"{path}: {len(case.te)} contrasts, {len(case.sens)} coils, acceleration {acceleration:g}")
        run.table(_COLUMNS, [row for one in found for row in _rows(one)])
        run.say()
    run.say("published, on one in-vivo slice at acceleration 6:")
    run.table(_COLUMNS[:3], [[name, f"{error:.5f}", f"{similarity:.4f}"] for name, error, similarity in PUBLISHED])
    published = [{"method": name, "nrmse": error, "ssim": similarity} for name, error, similarity in PUBLISHED]
    return {
        "acceleration": acceleration,
        "seeds": [case.seed if seed is None else seed for case in opened],
        "results": results,
        "published": published,
    }


def _available() -> list[str]:
    """Every method that can be run: a network only where the package has its weights."""
    return [name for name in METHODS if name != "unrolled" or name in shipped()]


def _settings(method: Any, device: str) -> PipelineSettings:
    """The method's own settings, with the deviations that its weights predict; there is no noise for replicas to repeat."""
    if method not in METHODS:
        raise unknown_name("--method", method, list(METHODS))
    learned = method in shipped() and predicts_variance(method)
    return PipelineSettings(
        reconstruction=ReconstructionSettings(method=method), uncertainty="learned" if learned else "none", device=device
    )


def _rows(result: MethodResult) -> list[list[str]]:
    rows = [_row(result, result.method, result.scores, result.fit_seconds)]
    if result.mlp is not None:
        rows.append(_row(result, f"{result.method}, mlp", result.mlp, result.mlp_seconds))
    return rows


def _row(result: MethodResult, name: str, scores: Scores, seconds: float) -> list[str]:
    numbers = [(scores.nrmse, ".5f"), (scores.ssim, ".4f"), (scores.tissue_nrmse, ".4f"), (scores.median_relative_error, ".2%")]
    cells = ["-" if value is None else format(value, shown) for value, shown in numbers]
    image = "-" if result.image_nrmse is None else f"{result.image_nrmse:.4f}"
    none = f"{scores.at_bound + scores.missing} of {scores.voxels}"
    return [name, *cells, image, none, f"{result.seconds + seconds:.1f}"]
