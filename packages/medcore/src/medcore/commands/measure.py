"""``metrics``: compare an estimate with a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medcore import commandline
from medcore.commandline import Invocation


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    commandline.command(app, name="metrics", seeded=True)(compare)


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
