"""What ``puq-qmri calibrate`` does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcore.atomic import check_writable
from medcore.commandline import Invocation
from puq_qmri.held_out.judge import Judgement, calibrate_scans
from puq_qmri.held_out.scans import HeldOutSettings, held_out_scans, list_scans, scan_seeds
from puq_qmri.imaging import PipelineSettings
from puq_qmri.results import truth_folder

_WORDS = {
    "nll": "negative log-likelihood (nat)",
    "rms_z": "RMS of error / deviation",
    "ause": "area under sparsification error",
    "spearman": "rank correlation with |error|",
}


def run_calibrate(
    run: Invocation,
    data: Sequence[Path],
    output: Path,
    settings: PipelineSettings,
    held_out: HeldOutSettings,
    *,
    per_contrast: bool | None,
) -> dict[str, Any]:
    """Measure a calibration, print how much it helps, and write it.

    Raises
    ------
    InputError
        If the scans cannot be used; see :func:`~puq_qmri.held_out.scans.held_out_scans`.
    OutputExistsError, OutputError, DiskFullError
        If the file cannot be written.
    """
    paths = list_scans(data)
    words = f"{settings.reconstruction.method}, {settings.uncertainty}"
    if run.dry_run:
        for line in (*(f"would read: {p}" for p in paths), f"would compute: calibration of {words}", f"would write: {output}"):
            run.say(line)
        return {"dry_run": True, "reads": [str(p) for p in paths], "computes": words, "writes": [str(output)]}
    check_writable(output, force=run.force)
    simulated = sum(truth_folder(p).is_dir() for p in paths)
    sampling = [f"{simulated} simulated scans as measured"] if simulated else []
    if simulated < len(paths):
        sampling.append(
            f"{len(paths) - simulated} fully sampled scans, {held_out.trajectory}, acceleration {held_out.acceleration:g}"
        )
    found = calibrate_scans(
        held_out_scans(paths, held_out),
        settings,
        per_contrast=per_contrast,
        seeds=scan_seeds(paths, held_out),
        sampling="; ".join(sampling),
        said=run.say,
    )
    found.calibration.write(output, force=run.force)
    _say(run, found)
    run.say(f"calibration: {output}")
    numbers = {k: ({s: _number(v) for s, v in d.items()} if isinstance(d, dict) else d) for k, d in found.as_dict().items()}
    return {"output": str(output), "calibration": found.calibration.as_dict(), **numbers}


def _say(run: Invocation, found: Judgement) -> None:
    """The table: before and after."""
    scale = found.calibration.scale
    shown = ", ".join(f"{s:.3g}" for s in scale) if isinstance(scale, tuple) else f"{scale:.3g} for all contrasts"
    run.say(f"deviations times {shown}")
    after = "after, on scans left out" if found.apart else "after, on the same scan"
    run.say(f"{'':<36}{'before':>10}  {after}")
    for level, (before, covered) in found.coverage.items():
        run.say(f"{f'inside {100 * level:g} % intervals':<36}{100 * before:>8.1f} %{100 * covered:>9.1f} %")
    for name, (before, value) in found.scores.items():
        run.say(f"{_WORDS[name]:<36}{before:>10.3f}{value:>11.3f}")


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
