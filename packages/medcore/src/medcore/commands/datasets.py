"""``datasets``: data sets of labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medcore import commandline
from medcore.commandline import Invocation

Kind = Annotated[str | None, typer.Option(help="Its kind, where the content leaves a choice; see 'datasets list'.")]
Options = Annotated[list[str] | None, typer.Option(help="An option of its reader, NAME=VALUE; may be repeated.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    commandline.command(app, name="list")(list_kinds)
    commandline.command(app)(card)
    commandline.command(app)(check)
    commandline.command(app, writes=True, seeded=True)(split)


def list_kinds(run: Invocation) -> dict[str, Any]:
    """List the kinds of data sets that can be opened."""
    from medcore.datasets import KINDS

    found = {name: kind.summary for name, kind in KINDS.items()}
    for name, summary in found.items():
        run.say(f"{name:<15}{summary}")
    return {"kinds": found}


def card(
    run: Invocation,
    path: Annotated[Path, typer.Argument(help="A data set's file or folder.")],
    kind: Kind = None,
    option: Options = None,
) -> dict[str, Any]:
    """Show the card of a data set: task, classes, counts, licence, hashes, faults."""
    from medcore.config import to_mapping
    from medcore.datasets import open_dataset
    from medcore.opening import lines

    found: dict[str, Any] = to_mapping(open_dataset(path, kind, **_options(option)).card)
    for line in lines({"card": found}):
        run.say(line)
    return found


def check(
    run: Invocation,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Data sets, or folders of them; all are checked together.")
    ],
    kind: Kind = None,
    option: Options = None,
    near: Annotated[bool, typer.Option("--near/--no-near", help="Look for near duplicates too.")] = True,
    turns: Annotated[bool, typer.Option("--turns", help="Near duplicates: also mirrored and turned ones.")] = False,
    split: Annotated[
        Path | None, typer.Option(help="A stored split of the one data set: look for leaks between its parts.")
    ] = None,
    max_pairs: Annotated[int, typer.Option(min=0, help="How many findings of one kind are shown; --json holds all.")] = 50,
) -> None:
    """Look for duplicates, leaks, conflicting labels, broken and odd images: exit code 8 if faults are found, 0 if not."""
    from medcore.datasets.check import check_dataset
    from medcore.datasets.parts import open_parts
    from medcore.errors import CheckFailedError

    parts = open_parts(paths, kind, _options(option), split)
    total = sum(len(p.dataset) for p in parts)
    report = check_dataset(*parts, near=near, turns=turns, watch=lambda items: run.progress(items, "images", total))
    run.emit({"paths": [str(p) for p in paths]} | report.as_dict())
    for part in report.parts:
        run.say(f"{part.name}: {part.samples} samples")
    shown: dict[str, int] = {}
    for finding in report.findings:
        shown[finding.kind] = shown.get(finding.kind, 0) + 1
        if shown[finding.kind] <= max_pairs:
            run.say(f"{finding.severity}: {finding.kind}: {finding.sentence}")
    for name, count in shown.items():
        if count > max_pairs:
            run.say(f"{count - max_pairs} more: {name}; see --json")
    if faults := len(report.faults):
        what = str(paths[0]) if len(paths) == 1 else f"{len(paths)} paths"
        raise CheckFailedError(what, f"has {faults} fault{'s' * (faults > 1)}", "see the list")
    run.say("no faults found")


def split(
    run: Invocation,
    path: Annotated[Path, typer.Argument(help="A data set's file or folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file to write.")],
    fractions: Annotated[str | None, typer.Option(help="Shares of the parts, for example 0.8,0.1,0.1 (train, val, test).")] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="So many folds for cross-validation instead.")] = None,
    kind: Kind = None,
    option: Options = None,
    subject_column: Annotated[str | None, typer.Option(help="Column of subjects in the data set's table.")] = None,
    group_duplicates: Annotated[
        bool, typer.Option("--group-duplicates/--no-group-duplicates", help="Keep exact and near duplicates in one part.")
    ] = True,
) -> dict[str, Any]:
    """Split a data set by subject, classes spread evenly, and store who is where; the same seed gives the same parts."""
    from medcore.atomic import check_writable
    from medcore.datasets import open_dataset
    from medcore.datasets.splits import split_dataset
    from medcore.datasets.stored_splits import duplicate_groups, part_names, save_split
    from medcore.errors import ConfigError

    if (fractions is None) == (folds is None):
        raise ConfigError("split", "needs --fractions or --folds, and not both", "give one of them")
    shares = [1 / folds] * folds if folds else _shares(fractions or "")
    names = part_names(len(shares), folds=folds is not None)
    options = _options(option) | ({} if subject_column is None else {"subject_column": subject_column})
    check_writable(output, force=run.force)
    dataset = open_dataset(path, kind, **options)
    groups: list[list[int]] = []
    if group_duplicates:
        groups = duplicate_groups(dataset, watch=lambda items: run.progress(items, "images", len(dataset)))
    parts = dict(zip(names, split_dataset(dataset, shares, run.seed, together=groups), strict=True))
    if not run.dry_run:
        save_split(
            output,
            parts,
            fractions=shares,
            seed=run.seed,
            folds=folds is not None,
            duplicates_together=group_duplicates,
            kind=kind,
            options=options,
            force=run.force,
        )
    run.say(f"{'would write' if run.dry_run else 'wrote'} {output}; {len(groups)} groups of duplicates kept together")
    classes = dataset.classes[:8]
    counts = {name: part.card.class_counts for name, part in parts.items()}
    run.table(["part", "samples", *classes], [(n, len(p), *(counts[n][c] for c in classes)) for n, p in parts.items()])
    return {
        "output": str(output),
        "dry_run": run.dry_run,
        "seed": run.seed,
        "duplicate_groups": len(groups),
        "parts": {name: {"samples": len(part), "class_counts": counts[name]} for name, part in parts.items()},
    }


def _options(given: list[str] | None) -> dict[str, Any]:
    from medcore.config import set_value

    options: dict[str, Any] = {}
    for assignment in given or []:
        set_value(options, assignment)
    return options


def _shares(text: str) -> list[float]:
    from medcore.errors import ConfigError

    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigError("--fractions", f"is {text!r}", "give numbers with commas between, for example 0.8,0.1,0.1") from error
