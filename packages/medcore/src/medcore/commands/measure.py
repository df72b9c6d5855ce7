"""``metrics``: compare estimates with a reference, and with each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medcore import commandline
from medcore.commandline import Invocation
from medcore.errors import ConfigError

if TYPE_CHECKING:
    from medcore.comparison import Comparison, Kind, Ranking

_IMAGES, _TABLES = "Images and masks", "Tables"
_APPLIES = {
    "--mask": ("images",),
    "--sd": ("images",),
    "--label": ("masks",),
    "--pairs": ("images", "masks"),
    "--contrast-axis": ("images", "masks"),
    "--ignore-geometry": ("images", "masks"),
    "--column": ("labels", "values", "scores", "text"),
    "--id-column": ("labels", "values", "scores", "text"),
    "--subject-column": ("labels", "values", "scores", "text"),
    "--positive": ("labels", "scores"),
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    commandline.command(app, name="metrics", seeded=True)(compare)


def compare(
    run: Invocation,
    reference: Annotated[Path | None, typer.Argument(metavar="REF", help="What is right.", show_default=False)] = None,
    estimates: Annotated[
        list[Path] | None,
        typer.Argument(metavar="EST...", help="What is judged; several are compared with the first.", show_default=False),
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="A metric; may be repeated. By default those that fit.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List every metric: identity, unit, direction, definition.")] = False,
    kind: Annotated[
        Literal["images", "masks", "labels", "values", "scores", "boxes", "text"] | None,
        typer.Option(help="What the files hold. By default told from the files and metrics."),
    ] = None,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    subjects: Annotated[
        str | None,
        typer.Option(metavar="CSV|each", help="Table of samples and subjects for intervals; 'each': every sample is a subject."),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="An image of 0 and 1, where to compare.", rich_help_panel=_IMAGES)] = None,
    sd: Annotated[
        list[Path] | None,
        typer.Option(help="Image of standard deviations of EST; one for each EST.", rich_help_panel=_IMAGES),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="REF and EST are folders of images, compared file by file.", rich_help_panel=_IMAGES)
    ] = False,
    label: Annotated[int | None, typer.Option(help="Masks: the label to compare.", rich_help_panel=_IMAGES)] = None,
    nan: Annotated[
        Literal["refuse", "omit"], typer.Option(help="What to do with voxels that are no numbers.", rich_help_panel=_IMAGES)
    ] = "refuse",
    contrast_axis: Annotated[
        int | None, typer.Option(help=".npy: which axis holds the contrasts.", rich_help_panel=_IMAGES)
    ] = None,
    ignore_geometry: Annotated[
        bool, typer.Option("--ignore-geometry", help="Compare despite different positions.", rich_help_panel=_IMAGES)
    ] = False,
    column: Annotated[
        str | None, typer.Option(help="Column of labels, grades, measurements or texts.", rich_help_panel=_TABLES)
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of sample names.", rich_help_panel=_TABLES)] = None,
    subject_column: Annotated[str | None, typer.Option(help="Column of subjects in REF.", rich_help_panel=_TABLES)] = None,
    positive: Annotated[str | None, typer.Option(help="The positive one of two classes.", rich_help_panel=_TABLES)] = None,
) -> dict[str, Any]:
    """Compare estimates with a reference: images, maps, masks, labels, grades, measurements, scores, boxes or texts.

    Images are files that medcore reads, or folders of them (--pairs). Tables are CSV, TSV or JSON lines, paired by sample name.
    Boxes are COCO's JSON: annotations and a list of results. Several estimates are compared with the first, by subject, with
    intervals of the differences and p-values adjusted after Holm.
    """
    if list_:
        return _list(run, metric or [])
    if reference is None or not estimates:
        raise ConfigError("REF" if reference is None else "EST", "is missing", "give a reference and an estimate, or --list")
    from medcore import comparison

    _check_paths([reference, *estimates], folders=pairs)
    names = metric or []
    what: Kind = kind or comparison.find_kind(reference, estimates, names, column)
    given = {
        "--mask": mask,
        "--sd": sd,
        "--label": label,
        "--pairs": pairs or None,
        "--contrast-axis": contrast_axis,
        "--ignore-geometry": ignore_geometry or None,
        "--column": column,
        "--id-column": id_column,
        "--subject-column": subject_column,
        "--positive": positive,
    }
    _refuse_unused(given, what)
    _check_together(what, sd, estimates, subjects, pairs=pairs)
    common: dict[str, Any] = {"subjects": subjects, "seed": run.seed}
    table = {**common, "names": names, "level": level, "id_column": id_column, "subject_column": subject_column, "column": column}
    shared: dict[str, Any] = {
        "names": names,
        "nan": nan,
        "contrast_axis": contrast_axis,
        "ignore_geometry": ignore_geometry,
        "kind": what,
        "label": label,
        "level": level,
    }

    def one(path: Path, deviation: Path | None) -> Comparison:
        match what:
            case "labels":
                return comparison.compare_labels(reference, path, positive=positive, **table)
            case "scores":
                return comparison.compare_scores(reference, path, positive=positive, **table)
            case "values":
                return comparison.compare_values(reference, path, **table)
            case "text":
                return comparison.compare_texts(reference, path, **table)
            case "boxes":
                return comparison.compare_boxes(reference, path, names=names, level=level, **common)
        if pairs:
            options = comparison.ImageOptions(**shared)
            return comparison.compare_folders(reference, path, mask=mask, sd=deviation, options=options, **common)
        return comparison.compare_images(reference, path, mask=mask, sd=deviation, **shared)

    labels = _names(estimates)
    deviations: list[Path | None] = [*sd] if sd else [None] * len(estimates)
    found = {name: one(path, d) for name, path, d in zip(labels, estimates, deviations, strict=True)}
    if len(found) == 1:
        (single,) = found.values()
        _show(run, single.kind, single.facts, {labels[0]: single.results})
        return {"reference": str(reference), "estimate": str(estimates[0]), **single.as_dict()}
    ranking = comparison.rank(found, level=level, seed=run.seed)
    _show(run, ranking.kind, ranking.facts, ranking.estimates)
    _show_differences(run, ranking)
    return {"reference": str(reference), **ranking.as_dict()}


def _check_paths(paths: list[Path], *, folders: bool) -> None:
    for path in paths:
        if not path.exists():
            raise ConfigError(path, "does not exist", "check the path")
        if folders and not path.is_dir():
            raise ConfigError(path, "is a file, --pairs compares folders", "give folders, or leave out --pairs")


def _check_together(what: str, sd: list[Path] | None, estimates: list[Path], subjects: str | None, *, pairs: bool) -> None:
    if sd and len(sd) != len(estimates):
        raise ConfigError("--sd", f"is given {len(sd)} times for {len(estimates)} estimates", "give one for each")
    if subjects is not None and what in {"images", "masks"} and not pairs:
        raise ConfigError("--subjects", "does not apply to single images", "leave it out, or add --pairs")


def _refuse_unused(given: dict[str, Any], what: str) -> None:
    wrong = next((name for name, value in given.items() if value is not None and what not in _APPLIES[name]), None)
    if wrong:
        where = "tables" if what in {"labels", "values", "scores", "text"} else what
        raise ConfigError(wrong, f"does not apply to {where}", "leave it out")


def _names(estimates: list[Path]) -> list[str]:
    """Short names of the estimates that tell them apart."""
    short = [path.name for path in estimates]
    full = [str(path) for path in estimates]
    names = short if len(set(short)) == len(short) else full
    if len(set(names)) != len(names):
        raise ConfigError("EST", "names one file twice", "give different estimates")
    return names


def _show(run: Invocation, kind: str, facts: dict[str, Any], estimates: dict[str, dict[str, Any]]) -> None:
    from medcore.opening import lines

    for line in lines({"compared": kind, **facts}):
        run.say(line)
    for name, results in estimates.items():
        if len(estimates) > 1:
            run.say()
            run.say(name)
        rows = [(key, _value(r), _interval(r), r.unit, r.n, r.dropped) for key, r in results.items()]
        run.table(["metric", "value", "interval", "unit", "n", "left out"], rows)
        for key, r in results.items():
            if r.reason:
                run.say(f"{key}: {r if r.value is None else r.reason}")


def _show_differences(run: Invocation, ranking: Ranking) -> None:
    run.say()
    run.say(f"differences from {ranking.baseline}, paired by sample, p-values of {len(ranking.differences)} comparisons after Holm")
    rows = [
        (
            f"{d.name}: {d.metric}",
            _value(d.difference),
            _interval(d.difference),
            _p(d.p_value),
            _p(d.p_holm),
            "" if ranking.reason else d.difference.n,
        )
        for d in ranking.differences
    ]
    run.table(["estimate: metric", "difference", "interval", "p", "p (Holm)", "subjects"], rows)
    if ranking.reason:
        run.say(f"no p-values: {ranking.reason}")


def _value(result: Any) -> str:
    return "undefined" if result.value is None else f"{result.value:.4g}"


def _interval(result: Any) -> str:
    return "" if result.low is None or result.high is None else f"[{result.low:.4g}, {result.high:.4g}]"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _list(run: Invocation, names: list[str]) -> dict[str, Any]:
    from medcore.metrics.catalogue import entries

    found = entries(names)
    for entry in found:
        run.say(f"{entry['metric']}  [{entry['unit']}, {_DIRECTIONS[entry['direction']]}]")
        run.say(f"    {entry['definition']}")
    return {"metrics": found}


_DIRECTIONS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "zero": "best at 0",
    "one": "best at 1",
    "level": "best at its level",
    "none": "no better side",
}
