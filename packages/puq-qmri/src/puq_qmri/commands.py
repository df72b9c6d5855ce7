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


def given_times(
    te: str | None, ti: str | None, flip_angle: str | None = None, b_value: str | None = None
) -> dict[str, tuple[float, ...]]:
    """Times in seconds, flip angles in radians and b-values in s/m^2 from the options that were given."""
    from medcore.units import deg_to_rad
    from puq_qmri.inputs import parse_numbers, parse_times

    found = {key: parse_times(text, f"--{key}") for key, text in (("te", te), ("ti", ti)) if text is not None}
    degrees = parse_numbers(flip_angle, "--flip-angle", "degrees, for example 3,8,15")
    b_values = parse_numbers(b_value, "--b-value", "s/mm^2, for example 0,500,1000")
    found |= {"flip_angle": tuple(deg_to_rad(v) for v in degrees)} if degrees else {}
    return found | ({"b_value": tuple(1e6 * v for v in b_values)} if b_values else {})


def replica_progress(run: Invocation) -> Any:
    """Wraps the range of replicas with a progress bar on the terminal."""
    return lambda items: run.progress(items, "replicas", len(items))


def fit_facts(result: Any, series: Any, mask: Any, sigma: Any) -> dict[str, Any]:
    """JSON-ready facts of a fit: model, times, voxels by status, summary of the maps, repairs."""
    from puq_qmri.results import foreground, summary

    inside = foreground(series.data, sigma) if mask is None else mask
    return {
        "model": result.model,
        "model_settings": result.signal_model.settings(),
        "times": result.times.tolist(),
        "fitter": result.facts.get("fitter"),
        "known": result.facts.get("known", {}),
        "signal": result.facts.get("signal"),
        "sigma_known": result.sigma_known,
        "weighting": result.facts.get("weighting"),
        "robust": result.facts.get("robust"),
        "noise": result.facts.get("noise"),
        "intervals": result.facts.get("intervals"),
        "status": result.counts(),
        "maps": summary(result, inside),
        "left_out": result.facts.get("left_out", []),
        "repairs": list(series.repairs),
    }


def fit_guidance(series: Any, labels: Path | None, correlation: Path | None, **chosen: Any) -> Any:
    """How errors enter a fit, from the options of ``fit``."""
    from medcore.errors import InputError
    from puq_qmri.calibration import Calibration, mixed_correlation
    from puq_qmri.fitting import Guidance
    from puq_qmri.inputs import open_labels

    learned = None
    if correlation is not None:
        found = Calibration.read(correlation).correlation
        if found is None:
            raise InputError(correlation, "holds no correlation between contrasts", "calibrate on scans of one protocol")
        learned = mixed_correlation(found)
    regions = None if labels is None else open_labels(labels, series)
    return Guidance(labels=regions, correlation=learned, **chosen)


def say_maps(run: Invocation, facts: dict[str, Any], output: Path) -> None:
    """Print the facts of a fit for people."""
    for repair in facts["repairs"]:
        run.say(f"input: {repair}")
    for name, values in facts["maps"].items():
        if values["unit"] in {"s", "m^2/s"} and values["voxels"]:
            scale, unit = (1e3, "ms") if values["unit"] == "s" else (1e9, "10^-3 mm^2/s")
            low, high = values["quartiles"]
            spread = f", median deviation {scale * values['median_std']:.3g} {unit}" if "median_std" in values else ""
            middle = f"{name}: median {scale * values['median']:.4g} {unit}"
            run.say(f"{middle} (quartiles {scale * low:.4g} to {scale * high:.4g} {unit}{spread})")
    weighting = facts.get("weighting") or {}
    if weighting.get("rule") in {"auto", "misfit-aware"} and weighting.get("regions"):
        seen = [region for region in weighting["regions"] if region["voxels"]]
        values = ", ".join(f"{region['reduced_chi2']:.2f}" for region in seen[:5]) + (", ..." if len(seen) > 5 else "")
        run.say(f"weights: {weighting['taken']} (residuals over deviations, squared: {values or 'too few voxels'})")
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


def model_facts(name: str, model: Any, settings_of: Any) -> dict[str, Any]:
    """JSON-ready description of a signal model or its class."""

    def listed(parameters: Any) -> list[dict[str, Any]]:
        return [
            {"name": p.name, "map": p.map_name, "unit": p.unit, "lower": finite_or_none(p.lower), "upper": finite_or_none(p.upper)}
            for p in parameters
        ]

    kind = model if isinstance(model, type) else type(model)
    settings = [
        {
            "name": s.name,
            "meaning": s.meaning,
            "unit": s.unit,
            "option": s.option,
            "header": s.header,
            "required": s.required,
            "default": None if s.required else s.default,
        }
        for s in settings_of(kind)
    ]
    return {
        "name": name,
        "formula": model.summary,
        "times": model.times_key,
        "parameters": listed(model.parameters),
        "known": listed(model.known),
        "settings": settings,
        "source": model.source,
    }


def finite_or_none(value: float) -> float | None:
    """Infinity has no place in JSON."""
    return value if abs(value) < float("inf") else None
