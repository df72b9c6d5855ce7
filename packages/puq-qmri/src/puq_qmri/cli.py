"""The ``puq-qmri`` command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medcore import commandline
from medcore.commandline import Invocation
from puq_qmri.commands import (
    chosen_ways,
    given_times,
    is_empty,
    model_facts,
    pipeline_settings,
    reconstruction_settings,
    replica_progress,
    say_maps,
    say_plan,
    say_training_plan,
    start_record,
)
from puq_qmri.devices import checked_device
from puq_qmri.options import (
    B1,
    Accelerations,
    Backend,
    BValue,
    CalibrationFile,
    Coils,
    Components,
    CorrelationFile,
    DensityKind,
    Device,
    Discrepancy,
    Fitter,
    FlipAngle,
    Geometry,
    IntervalsKind,
    Iterations,
    KeepOversampling,
    Labels,
    Method,
    MlpFolder,
    ModelSetting,
    NoiseCoils,
    NoiseKind,
    Output,
    Passes,
    Regularisation,
    Replicas,
    RobustKind,
    Scans,
    Slice,
    Te,
    Ti,
    Tr,
    Trajectory,
    Uncertainty,
    WeightingRule,
    Weights,
)

app = commandline.application(
    "puq-qmri", "puq-qmri", "T1 and T2 maps from undersampled k-space, with a confidence for every voxel."
)


@commandline.command(app, writes=True, seeded=True)
def demo(run: Invocation, output: Output) -> dict[str, Any] | None:
    """Simulate, reconstruct, fit and judge a T2 and a T1 measurement; about a minute."""
    import torch

    from medcore.atomic import check_writable
    from puq_qmri.demo import BESIDE, EVALUATION, MAPS, main_results, parts, run_demo
    from puq_qmri.demo_weights import WEIGHTS
    from puq_qmri.results import REPORT

    if run.dry_run:
        return say_plan(run, [], f"simulation, reconstruction, fit and evaluation of {', '.join(parts(run.seed))}", [output])
    check_writable(output, force=run.force or is_empty(output))
    # Its transforms are small: on a busy machine several threads wait for each other and take many times as long.
    torch.set_num_threads(1)
    done = run_demo(output, seed=run.seed, force=run.force, say=run.say)
    results: dict[str, Any] = {}
    for part in done.parts:
        run.say()
        run.say(f"{part.title}:")
        for beside in (False, True):
            for found in main_results(part, beside=beside):
                facts = results.setdefault(f"{part.name}-{BESIDE}" if beside else part.name, {})[found.region] = found.as_dict()
                region = "voxels of one tissue" if found.region == "pure" else "all voxels"
                run.say(
                    f"  {BESIDE + ', ' if beside else ''}{region}: median error {100 * facts['median_relative_error']:.1f} %, "
                    f"bias {1e3 * facts['bias']:+.1f} ms, "
                    f"95 % intervals hold the truth in {100 * facts['coverage']:.1f} % of {found.voxels - found.missing}"
                )
        held = ", ".join(f"{100 * level:g} %: {100 * share:.0f} %" for level, share in part.held().items())
        run.say(f"  intervals that promise this hold the truth so often, voxels of one tissue: {held}")
    run.say()
    run.say("Median error of one tissue, contrasts of unequal quality, by the weights of the fit:")
    run.say(f"  {'':<16}{''.join(f'{name:>10}' for name in WEIGHTS)}")
    for row in done.weights:
        run.say(f"  {row.model.upper()} {row.method:<13}{''.join(f'{100 * row.errors[name]:>8.2f} %' for name in WEIGHTS)}")
    folders = [f"{name}{end}" for end in ("", f"-{BESIDE}") for name in (MAPS, EVALUATION)]
    pages = [output / REPORT, *(output / p.name / folder / REPORT for p in done.parts for folder in folders)]
    run.say()
    run.say("\n".join(f"page: {page}" for page in pages))
    return {
        "output": str(output),
        "results": results,
        "calibration": {part.name: {f"{level:g}": share for level, share in part.held().items()} for part in done.parts},
        "weights": [{"map": row.model, "method": row.method, **row.errors} for row in done.weights],
        "reports": [str(p) for p in pages],
    }


@commandline.command(app, writes=True, seeded=True)
def simulate(
    run: Invocation,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="ISMRMRD file to be written; the truth goes to <name>_truth beside it.")
    ],
    model: Annotated[Literal["t2", "t1"], typer.Option(help="Spin echoes or inversion recovery.")] = "t2",
    trajectory: Trajectory = "cartesian",
    acceleration: Annotated[
        float, typer.Option(min=1, help="Nyquist number of lines, spokes or interleaves over number measured.")
    ] = 4,
    accelerations: Accelerations = None,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Edge of the image matrix.")] = 128,
    coils: Annotated[int, typer.Option(min=1, max=64, help="Receive coils.")] = 8,
    coil_geometry: Geometry = "birdcage",
    snr: Annotated[
        float, typer.Option(help="Mean signal of the brightest contrast over noise, fully sampled; inf: no noise.")
    ] = 50,
    anatomy: Annotated[
        str, typer.Option(help="Digital phantom: brain, knee, abdomen, ... (an unknown name lists all), or shapes: random ones.")
    ] = "brain",
    field_strength: Annotated[float, typer.Option(help="Tesla.")] = 3.0,
    te: Te = None,
    ti: Ti = None,
) -> dict[str, Any]:
    """Measure a digital phantom: a raw-data file, and its true maps beside it."""
    from medcore.atomic import check_writable
    from medcore.io import write_ismrmrd
    from medcore.provenance import RunRecord
    from puq_qmri.inputs import check_times, parse_numbers, parse_times
    from puq_qmri.results import truth_folder, write_truth
    from puq_qmri.simulation import SimulationSettings
    from puq_qmri.simulation import simulate as measure

    key, other, text = ("te", ti, te) if model == "t2" else ("ti", te, ti)
    settings = SimulationSettings(
        model=model,
        times=check_times(parse_times(text, f"--{key}"), key, unused=other),
        anatomy=anatomy,
        size=size,
        field_strength=field_strength,
        trajectory=trajectory,
        acceleration=acceleration,
        accelerations=parse_numbers(accelerations, "--accelerations", "one number for each contrast, for example 2,4,4,6"),
        n_coils=coils,
        coils=coil_geometry,
        snr=snr,
        seed=run.seed,
    )
    beside = truth_folder(output)
    if run.dry_run:
        return say_plan(
            run,
            [],
            f"a {model} measurement of {anatomy}, {trajectory}, acceleration {accelerations or acceleration}",
            [output, beside],
        )
    record = RunRecord(command="puq-qmri simulate", settings=settings, seed=run.seed)
    for path in (output, beside):
        check_writable(path, force=run.force or is_empty(path))
    kspace, truth = measure(settings)
    write_truth(beside, truth, kspace, record, force=run.force)
    write_ismrmrd(output, kspace, force=run.force)
    run.say(f"scan:  {output}")
    run.say(f"truth: {beside}")
    return {
        "scan": str(output),
        "truth": str(beside),
        "contrasts": kspace.n_contrasts,
        "times": {k: v.tolist() for k, v in kspace.times.items()},
        "samples": list(kspace.data.shape),
        "sampled_fraction": kspace.sampled_fraction,
    }


@commandline.command(app, writes=True, seeded=True)
def recon(
    run: Invocation,
    scans: Scans,
    output: Output,
    method: Method = "auto",
    model: Annotated[str | None, typer.Option(help="Signal model of subspace and unrolled; by default that of the times.")] = None,
    uncertainty: Uncertainty = "auto",
    replicas: Replicas = 32,
    passes: Passes = 100,
    weights: Weights = None,
    calibration: CalibrationFile = None,
    iterations: Iterations = None,
    regularisation: Regularisation = None,
    components: Components = None,
    discrepancy: Discrepancy = None,
    backend: Backend = "auto",
    density: DensityKind = "pipe-menon",
    coils: Coils = 0,
    keep_oversampling: KeepOversampling = False,
    slice_index: Slice = None,
    te: Te = None,
    ti: Ti = None,
    flip_angle: FlipAngle = None,
    tr: Tr = None,
    device: Device = "cpu",
) -> dict[str, Any]:
    """Reconstruct images and measure their noise; ``puq-qmri fit`` takes the folder."""
    from puq_qmri.pipeline import reconstruct_images
    from puq_qmri.report import images_report
    from puq_qmri.results import write_result
    from puq_qmri.slices import open_slices, typical_slice

    chosen = reconstruction_settings(
        method=method,
        max_iterations=iterations,
        regularisation=regularisation,
        components=components,
        discrepancy=discrepancy,
        backend=backend,
        density=density,
    )
    settings = pipeline_settings(
        run,
        chosen,
        uncertainty=uncertainty,
        n_replicas=replicas,
        n_passes=passes,
        weights=tuple(weights or ()),
        calibration=calibration,
        model=model,
        device=device,
        n_coils=coils,
        keep_oversampling=keep_oversampling,
    )
    record = start_record(run, "recon", settings, scans, output)
    kspace = open_slices(scans, given_times(te, ti, flip_angle), tr=tr, slice_index=slice_index)
    typical = typical_slice(kspace)
    if run.dry_run:
        return say_plan(run, scans, f"images of {typical.n_contrasts} contrasts by {chosen_ways(settings, typical)}", [output])
    images = reconstruct_images(kspace, settings, progress=replica_progress(run))
    record.extra = images.summary()
    title = f"Images of {scans[0].name}"
    write_result(output, record, page=lambda c: images_report(title, images, c), images=images, force=run.force)
    repairs = list(images.series.repairs)
    for repair in repairs:
        run.say(f"input: {repair}")
    run.say(f"images: {output}")
    return {"output": str(output), "contrasts": typical.n_contrasts, **images.summary(), "repairs": repairs}


@commandline.command(app, writes=True)
def fit(
    run: Invocation,
    images: Annotated[
        list[Path],
        typer.Argument(
            help="A 4-D NIfTI file, several 3-D ones, a folder of them, DICOM files or folder, a BIDS data set, an .npy array, "
            "or what recon wrote."
        ),
    ],
    output: Output,
    model: Annotated[
        str | None,
        typer.Option(help="Signal model (see puq-qmri models); by default that of the times, angles or b-values that differ."),
    ] = None,
    sigma: Annotated[
        str | None,
        typer.Option(
            help="Deviation of the images: a number, an image, or background: as measured there; none ignores what recon wrote."
        ),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Image that is not zero where to fit; by default everywhere.")] = None,
    signal: Annotated[Literal["auto", "signed", "magnitude", "complex"], typer.Option(help="What the images hold.")] = "auto",
    te: Te = None,
    ti: Ti = None,
    flip_angle: FlipAngle = None,
    b_value: BValue = None,
    tr: Tr = None,
    setting: ModelSetting = None,
    b1: B1 = None,
    series: Annotated[list[str] | None, typer.Option(help="UID or number of a DICOM series; may be repeated.")] = None,
    incomplete: Annotated[Literal["refuse", "drop"], typer.Option(help="What to do with missing DICOM images.")] = "refuse",
    frame_type: Annotated[str | None, typer.Option(help="Which DICOM frames, where several types are mixed.")] = None,
    contrast_axis: Annotated[int | None, typer.Option(help="Which axis of an array holds the contrasts.")] = None,
    subject: Annotated[str | None, typer.Option(help="Which subject of a BIDS data set.")] = None,
    suffix: Annotated[str | None, typer.Option(help="Which BIDS collection: MESE, MEGRE, IRT1, VFA, MP2RAGE.")] = None,
    part: Annotated[
        Literal["auto", "mag", "phase", "real", "imag", "complex"], typer.Option(help="Which part of a BIDS collection's images.")
    ] = "auto",
    fitter: Fitter = "auto",
    mlp: MlpFolder = None,
    weighting: WeightingRule = "auto",
    labels: Labels = None,
    correlation: CorrelationFile = None,
    robust: RobustKind = "none",
    noise: NoiseKind = "gaussian",
    noise_coils: NoiseCoils = 1,
    intervals: IntervalsKind = "auto",
    device: Device = "cpu",
) -> dict[str, Any]:
    """Fit a signal model to images: maps, deviations, 95 % intervals, status, report."""
    from puq_qmri.image_fit import FitSettings, fit_prepared, prepare_fit
    from puq_qmri.inputs import ImageOptions, open_images
    from puq_qmri.report import maps_report
    from puq_qmri.results import write_result
    from puq_qmri.signal_models.sequence import parse_settings

    settings = FitSettings(
        model=model,
        model_settings=parse_settings(setting or []),
        tr=tr,
        sigma=sigma,
        signal=signal,
        mask=mask,
        b1=b1,
        images=ImageOptions(
            times=given_times(te, ti, flip_angle, b_value),
            series=tuple(series or ()),
            incomplete=incomplete,
            frame_type=frame_type,
            contrast_axis=contrast_axis,
            subject=subject,
            suffix=suffix,
            part=part,
        ),
        fitter=fitter,
        mlp=mlp,
        weighting=weighting,
        labels=labels,
        correlation=correlation,
        robust=robust,
        noise=noise,
        noise_coils=noise_coils,
        intervals=intervals,
        device=device,
    )
    inputs = [*images, *settings.files]
    record = start_record(run, "fit", settings, inputs, output)
    ready = prepare_fit(*open_images(images, settings.images), settings)
    found = ready.series
    if run.dry_run:
        return say_plan(
            run, inputs, f"fit of model {ready.model} to {found.n_contrasts} contrasts of {found.shape} voxels", [output]
        )
    result, facts = fit_prepared(ready, settings)
    record.extra = facts
    title = f"{ready.model} fit of {images[0].name}"
    write_result(
        output,
        record,
        page=lambda c: maps_report(title, result, found, c, sigma=ready.deviation, mask=ready.mask),
        series=found,
        maps=result,
        force=run.force,
    )
    say_maps(run, facts, output)
    return {"output": str(output), **facts}


@commandline.command(app, "run", writes=True, seeded=True)
def run_command(
    run: Invocation,
    scans: Scans,
    output: Output,
    model: Annotated[str | None, typer.Option(help="Signal model; by default t2 for echo times, ir for inversion times.")] = None,
    method: Method = "auto",
    uncertainty: Uncertainty = "auto",
    replicas: Replicas = 32,
    passes: Passes = 100,
    weights: Weights = None,
    calibration: CalibrationFile = None,
    iterations: Iterations = None,
    regularisation: Regularisation = None,
    components: Components = None,
    discrepancy: Discrepancy = None,
    backend: Backend = "auto",
    density: DensityKind = "pipe-menon",
    coils: Coils = 0,
    keep_oversampling: KeepOversampling = False,
    slice_index: Slice = None,
    te: Te = None,
    ti: Ti = None,
    flip_angle: FlipAngle = None,
    tr: Tr = None,
    setting: ModelSetting = None,
    fitter: Fitter = "auto",
    mlp: MlpFolder = None,
    weighting: WeightingRule = "auto",
    robust: RobustKind = "none",
    intervals: IntervalsKind = "auto",
    device: Device = "cpu",
) -> dict[str, Any]:
    """From a scan to maps with their confidence: reconstruction, noise, weighted fit, report."""
    from puq_qmri.image_fit import fit_facts
    from puq_qmri.inputs import resolve_model
    from puq_qmri.pipeline import reconstruct_and_fit
    from puq_qmri.report import maps_report
    from puq_qmri.results import write_result
    from puq_qmri.signal_models.sequence import parse_settings
    from puq_qmri.slices import open_slices, typical_slice

    chosen = reconstruction_settings(
        method=method,
        max_iterations=iterations,
        regularisation=regularisation,
        components=components,
        discrepancy=discrepancy,
        backend=backend,
        density=density,
    )
    settings = pipeline_settings(
        run,
        chosen,
        uncertainty=uncertainty,
        n_replicas=replicas,
        n_passes=passes,
        weights=tuple(weights or ()),
        calibration=calibration,
        model=model,
        model_settings=parse_settings(setting or []),
        fitter=fitter,
        mlp=None if mlp is None else str(mlp),
        weighting=weighting,
        robust=robust,
        intervals=intervals,
        device=device,
        n_coils=coils,
        keep_oversampling=keep_oversampling,
    )
    record = start_record(run, "run", settings, [*scans, *([mlp] if mlp else [])], output)
    kspace = open_slices(scans, given_times(te, ti, flip_angle), tr=tr, slice_index=slice_index)
    typical = typical_slice(kspace)
    name = resolve_model(model, typical, settings.model_settings)
    if run.dry_run:
        return say_plan(run, scans, f"images by {chosen_ways(settings, typical)}, fit of model {name}", [output])
    images, result = reconstruct_and_fit(kspace, settings, progress=replica_progress(run))
    facts = {**fit_facts(result, images.series, None, images.deviation), "reconstruction": images.summary()}
    record.extra = facts
    title = f"{name} maps of {scans[0].name}"
    write_result(
        output,
        record,
        page=lambda c: maps_report(title, result, images.series, c, sigma=images.deviation, images=images),
        series=images.series,
        maps=result,
        images=images,
        force=run.force,
    )
    say_maps(run, facts, output)
    return {"output": str(output), **facts}


@commandline.command(app, writes=True)
def evaluate(
    run: Invocation,
    maps: Annotated[Path, typer.Argument(help="Folder of maps, as fit and run write it.")],
    reference: Annotated[Path, typer.Argument(help="Folder of true maps, as simulate writes it.")],
    mask: Annotated[Path | None, typer.Option(help="Image that is not zero where to compare.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for a report with error maps.")] = None,
) -> dict[str, Any]:
    """Compare maps with a reference: errors, agreement, and how often the intervals hold the truth."""
    from puq_qmri.evaluation import evaluate as compare
    from puq_qmri.inputs import open_mask
    from puq_qmri.report import agreement_table, confidence_table, evaluation_report
    from puq_qmri.results import as_series, read_maps, write_result

    inputs = [maps, reference, *([mask] if mask else [])]
    record = None if output is None else start_record(run, "evaluate", {"mask": mask}, inputs, output)
    estimate, truth = read_maps(maps), read_maps(reference)
    region = None if mask is None else open_mask(mask, as_series(truth))
    if run.dry_run:
        return say_plan(run, inputs, "comparison of the maps in both folders", [] if output is None else [output])
    found = compare(estimate, truth, mask=region)
    for columns, rows in (agreement_table(found), confidence_table(found)):
        run.table(columns, [["-" if cell is None else cell for cell in row] for row in rows])
        run.say()
    results: dict[str, Any] = {}
    for one in found:
        results.setdefault(one.map_name, {})[one.region] = one.as_dict()
    if output is not None and record is not None:
        record.extra = {"results": results}
        write_result(output, record, page=lambda c: evaluation_report("Agreement", estimate, truth, found, c), force=run.force)
        run.say(f"report: {output}")
    metrics = {key: result.metric for key, result in found[0].metrics.items()}
    return {"maps": str(maps), "reference": str(reference), "results": results, "metrics": metrics}


@commandline.command(app, writes=True, seeded=True)
def calibrate(
    run: Invocation,
    data: Annotated[
        list[Path],
        typer.Argument(help="Scans, or folders of them: simulated ones with their truth beside them, or fully sampled ones."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to be written, for run --calibration.")],
    method: Method = "cg-sense",
    weights: Weights = None,
    uncertainty: Uncertainty = "pseudo-replica",
    model: Annotated[str | None, typer.Option(help="Signal model, by default that of the times.")] = None,
    replicas: Replicas = 32,
    passes: Passes = 100,
    scale: Annotated[
        Literal["auto", "contrast", "one"],
        typer.Option(
            help="A factor for each contrast, or one for all (for protocols that vary); auto: each, where all scans agree."
        ),
    ] = "auto",
    acceleration: Annotated[float, typer.Option(min=1, help="Of fully sampled scans, which are undersampled first.")] = 4,
    trajectory: Annotated[
        Literal["cartesian", "jittered", "radial"], typer.Option(help="How fully sampled scans are undersampled.")
    ] = "cartesian",
    snr: Annotated[float, typer.Option(min=0, help="Of noise added to fully sampled scans; 0 adds none.")] = 0,
    device: Device = "cpu",
) -> dict[str, Any]:
    """Measure on scans with known truth how far to trust the predicted deviations of the images."""
    from puq_qmri.held_out.command import run_calibrate
    from puq_qmri.held_out.scans import HeldOutSettings
    from puq_qmri.imaging import PipelineSettings

    settings = PipelineSettings(
        reconstruction=reconstruction_settings(method=method),
        uncertainty=uncertainty,
        weights=tuple(weights or ()),
        n_replicas=replicas,
        n_passes=passes,
        model=model,
        seed=run.seed,
        device=checked_device(device),
    )
    held_out = HeldOutSettings(acceleration=acceleration, trajectory=trajectory, snr=snr, seed=run.seed)
    per_contrast = {"auto": None, "contrast": True, "one": False}[scale]
    return run_calibrate(run, data, output, settings, held_out, per_contrast=per_contrast)


@commandline.command(app)
def benchmark(
    run: Invocation,
    protocol: Annotated[Literal["puq-paper"], typer.Argument(help="A published experiment.")],
    cases: Annotated[
        list[Path], typer.Argument(help="Cases in the authors' field layout: .npz with image, sens, t2, pd, roi, seed, te_s.")
    ],
    method: Annotated[list[str] | None, typer.Option(help="How images are made; may be repeated. By default every way.")] = None,
    acceleration: Annotated[float, typer.Option(min=1, help="Lines of k-space over lines measured.")] = 6,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the lines, instead of the seed of each case.")] = None,
    mlp: MlpFolder = None,
    device: Device = "cpu",
) -> dict[str, Any]:
    """Run a published experiment on your cases; prints the scores beside the published ones."""
    from puq_qmri.protocols.command import run_benchmark

    found = run_benchmark(run, cases, method or [], acceleration=acceleration, seed=seed, mlp=mlp, device=checked_device(device))
    return {"protocol": protocol, **found}


@commandline.command(app, writes=True, seeded=True, recipe=True)
def train(
    run: Invocation,
    recipe: Annotated[
        str, typer.Argument(metavar="CONFIG", help="YAML file, or a recipe of the package: tiny, shipped, puq-paper.")
    ],
    output: Output,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the training in the folder was interrupted.")] = False,
) -> dict[str, Any]:
    """Train a reconstruction network and its variance head; can be killed and resumed. A --seed of 0 leaves the recipe's."""
    from puq_qmri.training.settings import load_settings

    settings = load_settings(recipe, run.overrides, seed=run.seed or None)
    if run.dry_run:
        return say_training_plan(run, settings, output)
    from puq_qmri.training.loop import train as train_network

    result = train_network(settings, output, resume=resume, force=run.force, say=run.say)
    run.say(f"weights: {result.weights}")
    run.say(f"report: {output / 'report.html'}")
    return {"output": str(output), "weights": str(result.weights), "validation": result.validation}


@commandline.command(app, writes=True)
def bids(
    run: Invocation,
    bids_dir: Annotated[Path, typer.Argument(metavar="BIDS_DIR", help="BIDS data set with collections of quantitative MRI.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Data set of derivatives; made, or continued.")],
    level: Annotated[
        Literal["participant", "group"],
        typer.Argument(help="participant: maps of every subject; group: one page about all of them, made anew each time."),
    ],
    participant_label: Annotated[list[str] | None, typer.Option(help="Only this subject; may be repeated.")] = None,
    session_label: Annotated[list[str] | None, typer.Option(help="Only this session; may be repeated.")] = None,
    suffix: Annotated[
        list[str] | None, typer.Option(help="Only this kind of collection, for example MESE; may be repeated.")
    ] = None,
    part: Annotated[
        Literal["auto", "mag", "phase", "real", "imag", "complex"], typer.Option(help="Which part of the images.")
    ] = "auto",
    model: Annotated[str | None, typer.Option(help="Signal model, by default that of each collection.")] = None,
    setting: ModelSetting = None,
    tr: Tr = None,
    sigma: Annotated[str | None, typer.Option(help="Deviation of the images: a number, or background: as measured there.")] = None,
    signal: Annotated[Literal["auto", "signed", "magnitude", "complex"], typer.Option(help="What the images hold.")] = "auto",
    b1: Annotated[
        Literal["auto", "none"], typer.Option(help="auto: the subject's fmap/*_TB1map, for models that know B1.")
    ] = "auto",
    fitter: Fitter = "auto",
    weighting: WeightingRule = "auto",
    robust: RobustKind = "none",
    noise: NoiseKind = "gaussian",
    noise_coils: NoiseCoils = 1,
    intervals: IntervalsKind = "auto",
    device: Device = "cpu",
    engine: Annotated[
        Literal["local", "dask"], typer.Option(help="local: processes here; dask: on a cluster (needs puq-qmri[dask]).")
    ] = "local",
    jobs: Annotated[int | None, typer.Option(min=1, help="Subjects at a time; by default one a processor.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, tcp://host:8786; by default a cluster is made here.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(min=0.1, help="Seconds after which a subject is stopped.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed/--keep-failed", help="Whether to try those again that failed before.")
    ] = True,
) -> dict[str, Any]:
    """Fit every subject of a BIDS data set, each in a process of its own; run again to go on. --force replaces other settings."""
    from puq_qmri.studies.command import Running, run_group, run_participants
    from puq_qmri.studies.plan import StudySettings, plan_study

    labels = {"subjects": participant_label or (), "sessions": session_label or ()}
    units = plan_study(bids_dir.absolute(), **labels, suffixes=suffix or ())
    if level == "group":
        return run_group(run, units, output, only=bool(participant_label or session_label))
    given: dict[str, Any] = {}
    if setting:  # loads torch, which only the processes of the subjects need otherwise
        from puq_qmri.signal_models.sequence import parse_settings

        given = parse_settings(setting)
    settings = StudySettings(
        suffixes=tuple(suffix or ()),
        part=part,
        model=model,
        model_settings=given,
        tr=tr,
        sigma=sigma,
        signal=signal,
        b1=b1,
        fitter=fitter,
        weighting=weighting,
        robust=robust,
        noise=noise,
        noise_coils=noise_coils,
        intervals=intervals,
        device=device,
    )
    how = Running(engine=engine, scheduler=scheduler, jobs=jobs, timeout=timeout, retry_failed=retry_failed)
    return run_participants(run, units, output, settings, how)


@commandline.command(app, "train-mlp", writes=True, seeded=True, recipe=True)
def train_mlp(
    run: Invocation,
    output: Output,
    recipe: Annotated[
        str, typer.Argument(metavar="[CONFIG]", help="YAML file, or a recipe of the package: puq-paper, puq-paper-unguided.")
    ] = "puq-paper",
) -> dict[str, Any]:
    """Train a pixelwise network on simulated voxels, for fit --mlp; about half a minute. A --seed of 0 leaves the recipe's."""
    from medcore.atomic import check_writable
    from medcore.config import to_mapping
    from puq_qmri.training.mlp import load_mlp_training, train_to_folder

    settings = load_mlp_training(recipe, run.overrides, seed=run.seed or None)
    network, guided = settings.network, "with" if settings.network.guided else "without"
    if run.dry_run:
        what = f"a network for model {network.model}, {len(network.times)} contrasts, {guided} deviations, {settings.steps} steps"
        return say_plan(run, [], what, [output])
    check_writable(output, force=run.force or is_empty(output))
    train_to_folder(settings, output, force=run.force, progress=lambda steps: run.progress(steps, "steps", settings.steps))
    run.say(f"network: {output}, model {network.model}, {len(network.times)} contrasts, {guided} deviations")
    return {"output": str(output), "training": to_mapping(settings)}


@commandline.command(app)
def models(run: Invocation) -> dict[str, Any]:
    """List the signal models: formula, parameters, units, settings, source."""
    from puq_qmri.signal_models import REGISTRY, find_model, settings_of

    found = [model_facts(name, find_model(name), settings_of) for name in REGISTRY.names()]
    width = max(len(m["name"]) for m in found)
    for m in found:
        run.say(f"{m['name']:<{width}}  {m['formula']}")
        listed = ", ".join(f"{p['name']} [{p['unit']}]" for p in m["parameters"])
        known = f"; takes {', '.join(p['name'] for p in m['known'])} maps" if m["known"] else ""
        run.say(f"{'':<{width}}  estimates {listed}; needs {m['times']}{known}; {m['source']}")
        for s in m["settings"]:
            default = "needed" if s["required"] else f"default {s['default']}"
            header = f", or {s['header']} in the sidecar" if s["header"] else ""
            run.say(f"{'':<{width}}  {s['option']}{header}: {s['meaning']} [{s['unit']}], {default}")
    return {"models": found}


@commandline.command(app)
def doctor(run: Invocation) -> dict[str, Any]:
    """Tell what is installed, what is missing, and what is broken. Writes nothing."""
    from puq_qmri.diagnosis import diagnose

    facts = diagnose()
    for key, value in facts.items():
        words = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        run.say(f"{key.replace('_', ' '):<12} {words}")
    return facts


def main() -> None:
    """Entry point of the console script."""
    commandline.main(app)
