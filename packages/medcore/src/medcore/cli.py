"""The ``medcore`` command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medcore import commandline
from medcore.commandline import Invocation

app = commandline.application("medcore", "medcore", "Read, check and measure medical-imaging files.")
datasets = typer.Typer(help="Data sets of labelled images.", no_args_is_help=True)
app.add_typer(datasets, name="datasets")


@commandline.command(app)
def info(
    run: Invocation,
    path: Annotated[Path, typer.Argument(help="A file or folder: NIfTI, DICOM, ISMRMRD, .npy, or a dataset.")],
    series: Annotated[str | None, typer.Option(help="UID or number of one DICOM series.")] = None,
    incomplete: Annotated[Literal["refuse", "drop"] | None, typer.Option(help="What to do with missing DICOM slices.")] = None,
) -> dict[str, Any]:
    """Say what a file or folder is: axes, times, geometry, repairs; or classes and counts. Names no patient."""
    from medcore.opening import describe, lines

    facts = describe(path, **{k: v for k, v in {"series": series, "incomplete": incomplete}.items() if v is not None})
    for line in lines(facts):
        run.say(line)
    return facts


@commandline.command(app)
def validate(run: Invocation, path: Annotated[Path, typer.Argument(help="A file or folder.")]) -> None:
    """Check a file or folder: exit code 0 if faultless, 8 if it can be read with faults, 2 if not."""
    from medcore.errors import CheckFailedError
    from medcore.opening import find_faults

    faults = find_faults(path)
    run.emit({"path": str(path), "faults": faults})
    for fault in faults:
        run.say(fault)
    if faults:
        raise CheckFailedError(path, f"has {len(faults)} fault{'s' * (len(faults) > 1)}", "see the list")
    run.say(f"{path}: no faults found")


@commandline.command(app, name="metrics", seeded=True)
def compare(
    run: Invocation,
    reference: Annotated[Path, typer.Argument(metavar="REF", help="What is right: images or maps, or a CSV of labels or grades.")],
    estimate: Annotated[Path, typer.Argument(metavar="EST", help="What is judged, of the same kind.")],
    mask: Annotated[Path | None, typer.Option(help="Images: an image of 0 and 1, where to compare.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="A metric; may be repeated. By default those that fit.")] = None,
    nan: Annotated[Literal["refuse", "omit"], typer.Option(help="Images: what to do with voxels that are no numbers.")] = "refuse",
    contrast_axis: Annotated[int | None, typer.Option(help=".npy: which axis holds the contrasts.")] = None,
    ignore_geometry: Annotated[
        bool, typer.Option("--ignore-geometry", help="Images: compare despite different positions.")
    ] = False,
    column: Annotated[str | None, typer.Option(help="CSV: column of labels or grades.")] = None,
    id_column: Annotated[str | None, typer.Option(help="CSV: column of sample names.")] = None,
    subject_column: Annotated[str | None, typer.Option(help="CSV: column of subjects in REF, for intervals.")] = None,
    level: Annotated[float, typer.Option(help="CSV: level of the intervals.")] = 0.95,
) -> dict[str, Any]:
    """Compare an estimate with a reference: images and maps voxel by voxel, or labels and grades sample by sample."""
    from medcore.comparison import compare_images, compare_labels, is_table
    from medcore.errors import ConfigError, InputError
    from medcore.opening import lines

    tables = [is_table(p) for p in (reference, estimate)]
    if tables[0] != tables[1]:
        raise InputError(estimate, f"is another kind of file than {reference}", "give two images or two CSV tables")
    image_only = {"--mask": mask, "--contrast-axis": contrast_axis, "--ignore-geometry": ignore_geometry or None}
    label_only = {"--column": column, "--id-column": id_column, "--subject-column": subject_column}
    wrong = next((k for k, v in (image_only if tables[0] else label_only).items() if v is not None), None)
    if wrong:
        raise ConfigError(wrong, f"does not apply to {'tables' if tables[0] else 'images'}", "leave it out")
    if tables[0]:
        found = compare_labels(
            reference,
            estimate,
            names=metric or (),
            column=column,
            id_column=id_column,
            subject_column=subject_column,
            level=level,
            seed=run.seed,
        )
    else:
        found = compare_images(
            reference,
            estimate,
            mask=mask,
            names=metric or (),
            nan=nan,
            contrast_axis=contrast_axis,
            ignore_geometry=ignore_geometry,
        )
    for line in lines({"compared": found.kind, **found.facts}):
        run.say(line)
    rows = [(name, str(r), r.unit, r.n, r.dropped) for name, r in found.results.items()]
    run.table(["metric", "value", "unit", "n", "left out"], rows)
    for name, r in found.results.items():
        if r.value is not None and r.reason:
            run.say(f"{name}: {r.reason}")
    return {"reference": str(reference), "estimate": str(estimate), **found.as_dict()}


@commandline.command(datasets, name="list")
def list_kinds(run: Invocation) -> dict[str, Any]:
    """List the kinds of data sets that can be opened."""
    from medcore.datasets import KINDS

    found = {name: kind.summary for name, kind in KINDS.items()}
    for name, summary in found.items():
        run.say(f"{name:<10}{summary}")
    return {"kinds": found}


@commandline.command(datasets)
def card(
    run: Invocation,
    path: Annotated[Path, typer.Argument(help="A data set's file or folder.")],
    kind: Annotated[str | None, typer.Option(help="Its kind, where the content leaves a choice; see 'datasets list'.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option of its reader, NAME=VALUE; may be repeated.")] = None,
) -> dict[str, Any]:
    """Show the card of a data set: task, classes, counts, licence, hashes, faults."""
    from medcore.config import set_value, to_mapping
    from medcore.datasets import open_dataset
    from medcore.opening import lines

    options: dict[str, Any] = {}
    for assignment in option or []:
        set_value(options, assignment)
    found: dict[str, Any] = to_mapping(open_dataset(path, kind, **options).card)
    for line in lines({"card": found}):
        run.say(line)
    return found


@commandline.command(app)
def doctor(run: Invocation) -> dict[str, Any]:
    """Tell what is installed, which optional parts are missing and what they would add. The exit code is 0 either way."""
    from medcore.doctor import examine

    found = examine()
    run.say(f"platform {found['platform']}")
    run.table(["library", "version"], found["versions"].items())
    for name in found["missing"]:
        run.say(f"{name} is needed and not installed: pip install {name}")
    run.say()
    for extra in found["extras"]:
        state = "installed" if extra["complete"] else f"{', '.join(extra['missing'])} missing, {extra['install']}"
        run.say(f"{extra['name']:<8} {extra['purpose']}: {state}")
    return found


def main() -> None:
    """Entry point of the console script."""
    commandline.main(app)
