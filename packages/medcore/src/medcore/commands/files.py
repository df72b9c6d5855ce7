"""``info`` and ``validate``: what a file or folder is, and whether it is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medcore import commandline
from medcore.commandline import Invocation


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    commandline.command(app)(info)
    commandline.command(app)(validate)


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
