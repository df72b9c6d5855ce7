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
    commandline.command(app, writes=True)(convert)


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


def convert(
    run: Invocation,
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Images or k-space, a file or folder of any kind that is read.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="File or folder to write; its suffix names the format.")],
    to: Annotated[str | None, typer.Option(help="Format, where the suffix leaves a choice.")] = None,
    series: Annotated[str | None, typer.Option(help="UID or number of one DICOM series.")] = None,
    incomplete: Annotated[Literal["refuse", "drop"] | None, typer.Option(help="What to do with missing DICOM slices.")] = None,
    subject: Annotated[str | None, typer.Option(help="Subject of a BIDS data set, read or written.")] = None,
    suffix: Annotated[str | None, typer.Option(help="Kind of BIDS collection, for example MESE.")] = None,
    slice_index: Annotated[int | None, typer.Option(help="Which slice of multi-slice k-space.")] = None,
    traj: Annotated[Path | None, typer.Option(help="BART pair: the pair with its trajectory.")] = None,
    csm: Annotated[Path | None, typer.Option(help="BART pair: the pair with its coil maps.")] = None,
    holds: Annotated[Literal["images", "kspace"] | None, typer.Option(help="BART pair: what it holds.")] = None,
    quantity: Annotated[str | None, typer.Option(help="Maps: what the values are, T2 (DICOM) or T2map (BIDS).")] = None,
    unit: Annotated[str | None, typer.Option(help="Maps: their unit, for example s.")] = None,
    source_dicom: Annotated[Path | None, typer.Option(help="DICOM parametric map: the series it was made from.")] = None,
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Allow changes of values, for example magnitudes of complex data.")
    ] = False,
) -> dict[str, Any]:
    """Convert images or k-space to another format; says what is lost, and refuses what would change values."""
    from medcore.convert import Options
    from medcore.convert import convert as perform

    reading: dict[str, Any] = {"series": series, "incomplete": incomplete, "subject": subject, "suffix": suffix}
    reading |= {"slice_index": slice_index, "traj": traj, "csm": csm, "kind": holds}
    own = subject if to == "bids" else None
    if own is not None:
        del reading["subject"]
    options = Options(quantity=quantity, unit=unit, source_dicom=source_dicom, subject=own, lossy=lossy, force=run.force)
    done = perform(
        source, target, to=to, options=options, dry_run=run.dry_run, **{k: v for k, v in reading.items() if v is not None}
    )
    run.say(f"{'would write' if run.dry_run else 'wrote'} {done.target} ({done.kind}): {done.content} {list(done.shape)}")
    for word, notes in (("mended", done.repairs), ("not kept", done.lost), ("changed", done.changed)):
        for note in notes:
            run.say(f"{word}: {note}")
    return {"dry_run": run.dry_run, **done.as_dict()}
