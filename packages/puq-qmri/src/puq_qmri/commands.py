"""What the commands of ``puq-qmri`` share; heavy libraries are imported inside the functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcore.commandline import Invocation
from puq_qmri.devices import checked_device

if TYPE_CHECKING:
    from puq_qmri.pipeline import PipelineSettings
    from puq_qmri.reconstruction import ReconstructionSettings
    from puq_qmri.training.settings import TrainingSettings


def start_record(run: Invocation, command: str, settings: Any, inputs: list[Path], output: Path) -> Any:
    """Check that output can be written before anything is computed, and hash the input."""
    from medcore.atomic import check_writable
    from medcore.errors import InputError
    from medcore.provenance import RunRecord

    for path in inputs:
        if not path.exists():
            raise InputError(path, "does not exist", "check the path")
    if not run.dry_run:
        check_writable(output, force=run.force or is_empty(output))
    device = getattr(settings, "device", "cpu")
    return RunRecord(command=f"puq-qmri {command}", settings=settings, seed=run.seed, inputs=inputs, device=device)


def is_empty(path: Path) -> bool:
    """Whether it is a folder without content, which may be filled without ``--force``."""
    return path.is_dir() and not any(path.iterdir())


def reconstruction_settings(**given: Any) -> ReconstructionSettings:
    """Settings with the options that were given; those that are None keep their own defaults."""
    from puq_qmri.reconstruction import ReconstructionSettings

    return ReconstructionSettings(**{key: value for key, value in given.items() if value is not None})


def pipeline_settings(run: Invocation, reconstruction: ReconstructionSettings, *, device: str, **chosen: Any) -> PipelineSettings:
    """Settings of the whole method, on a device that is there."""
    from puq_qmri.pipeline import PipelineSettings

    return PipelineSettings(reconstruction=reconstruction, seed=run.seed, device=checked_device(device), **chosen)


def chosen_ways(settings: PipelineSettings, kspace: Any) -> str:
    """Method and uncertainty in words, after the choice that ``auto`` leaves to the scan."""
    from puq_qmri.pipeline import image_model, settled

    found = settled(settings, kspace, image_model(settings, kspace))
    return f"{found.reconstruction.method}, uncertainty {found.uncertainty}"


def given_times(te: str | None, ti: str | None) -> dict[str, tuple[float, ...]]:
    """Times in seconds from the options ``--te`` and ``--ti`` that were given."""
    from puq_qmri.inputs import parse_times

    return {key: parse_times(text, f"--{key}") for key, text in (("te", te), ("ti", ti)) if text is not None}


def replica_progress(run: Invocation) -> Any:
    """Wraps the range of replicas with a progress bar on the terminal."""
    return lambda items: run.progress(items, "replicas", len(items))


def fit_facts(result: Any, series: Any, mask: Any, sigma: Any) -> dict[str, Any]:
    """JSON-ready facts of a fit: model, times, voxels by status, summary of the maps, repairs."""
    from puq_qmri.results import foreground, summary

    inside = foreground(series.data, sigma) if mask is None else mask
    return {
        "model": result.model,
        "times": result.times.tolist(),
        "signal": result.facts.get("signal"),
        "sigma_known": result.sigma_known,
        "status": result.counts(),
        "maps": summary(result, inside),
        "left_out": result.facts.get("left_out", []),
        "repairs": list(series.repairs),
    }


def say_maps(run: Invocation, facts: dict[str, Any], output: Path) -> None:
    """Print the facts of a fit for people."""
    for repair in facts["repairs"]:
        run.say(f"input: {repair}")
    for name, values in facts["maps"].items():
        if name[0] == "t" and values["voxels"]:
            low, high = values["quartiles"]
            spread = f", median deviation {1e3 * values['median_std']:.3g} ms" if "median_std" in values else ""
            run.say(f"{name}: median {1e3 * values['median']:.4g} ms (quartiles {1e3 * low:.4g} to {1e3 * high:.4g} ms{spread})")
    if facts["left_out"]:
        run.say(f"left out of the fit, without signal: contrast {', '.join(map(str, facts['left_out']))}")
    run.say("voxels: " + ", ".join(f"{count} {name}" for name, count in facts["status"].items() if count))
    run.say(f"maps: {output}")


def say_plan(run: Invocation, reads: list[Path], computes: str, writes: list[Path]) -> dict[str, Any]:
    """What ``--dry-run`` says."""
    for word, values in (("would read", reads), ("would compute", [computes]), ("would write", writes)):
        for value in values:
            run.say(f"{word}: {value}")
    return {"dry_run": True, "reads": [str(p) for p in reads], "computes": computes, "writes": [str(p) for p in writes]}


def say_training_plan(run: Invocation, settings: TrainingSettings, output: Path) -> dict[str, Any]:
    """What ``train --dry-run`` says."""
    from puq_qmri.training.planning import plan

    facts = plan(settings)
    run.say(f"would train a network of {facts['network_parameters']} parameters with data: {facts['data']}")
    if facts["head_parameters"] is not None:
        run.say(f"would train a variance head of {facts['head_parameters']} parameters")
    for stage in facts["stages"]:
        run.say("stage {name}: {steps} steps of {batch}, {examples} different examples".format(**stage))
    run.say(f"validation: {facts['validation']} examples")
    run.say(f"would write: {output}")
    return {"dry_run": True, **facts, "writes": [str(output)]}


def finite_or_none(value: float) -> float | None:
    """Infinity has no place in JSON."""
    return value if abs(value) < float("inf") else None
