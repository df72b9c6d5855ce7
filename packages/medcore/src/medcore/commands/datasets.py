"""``datasets``: data sets of labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medcore import commandline
from medcore.commandline import Invocation


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    commandline.command(app, name="list")(list_kinds)
    commandline.command(app)(card)


def list_kinds(run: Invocation) -> dict[str, Any]:
    """List the kinds of data sets that can be opened."""
    from medcore.datasets import KINDS

    found = {name: kind.summary for name, kind in KINDS.items()}
    for name, summary in found.items():
        run.say(f"{name:<10}{summary}")
    return {"kinds": found}


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
