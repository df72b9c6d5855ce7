"""``deidentify``: copy DICOM images without what identifies a person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medcore import commandline
from medcore.commandline import Invocation

_MOST_KEY_BYTES = 4096


def register(app: typer.Typer) -> None:
    """Add the command of this module to `app`."""
    commandline.command(app, writes=True)(deidentify)


def deidentify(
    run: Invocation,
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A DICOM file, or a folder with everything below.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="New folder for the files and their report.")],
    dates: Annotated[
        Literal["remove", "shift"],
        typer.Option(help="Remove dates and times, or shift dates by days that are the same per subject."),
    ] = "remove",
    keep_patient_characteristics: Annotated[
        bool, typer.Option("--keep-patient-characteristics", help="Keep sex, age (90 at most), size and weight.")
    ] = False,
    keep_device: Annotated[
        bool, typer.Option("--keep-device", help="Keep names of device, software, coils and sequences.")
    ] = False,
    clean_descriptors: Annotated[
        bool, typer.Option("--clean-descriptors", help="Keep technical words of series, study and protocol descriptions.")
    ] = False,
    accept_burned_in_text: Annotated[
        bool, typer.Option("--accept-burned-in-text", help="Take images that say that text is in their pixels.")
    ] = False,
    key_file: Annotated[
        Path | None, typer.Option(help="File with a secret of 16 bytes or more: the same new identifiers in every run.")
    ] = None,
) -> dict[str, Any]:
    """Copy DICOM images without what identifies a person (PS3.15 Annex E, basic profile). Pixels are not cleaned; no guarantee."""
    from medcore.io.deidentify import REPORT, DeidentifyOptions
    from medcore.io.deidentify import deidentify as perform

    options = DeidentifyOptions(
        dates=dates,
        keep_patient=keep_patient_characteristics,
        keep_device=keep_device,
        clean_descriptions=clean_descriptors,
        accept_burned_in=accept_burned_in_text,
        key=None if key_file is None else _read_key(key_file),
    )
    report = perform(source, target, options, force=run.force, dry_run=run.dry_run)
    _summarise(run, report.as_dict(), target)
    if not run.dry_run:
        run.say(f"report in {target / REPORT}; look at the images before you pass them on")
    return {"source": str(source), "target": str(target), **report.as_dict()}


def _read_key(path: Path) -> bytes:
    from medcore.io.limits import existing_file

    with existing_file(path).open("rb") as file:
        return file.read(_MOST_KEY_BYTES)


def _summarise(run: Invocation, report: dict[str, Any], target: Path) -> None:
    """Say what was done and what a person has to look at."""
    word = "would write" if report["dry_run"] else "wrote"
    run.say(
        f"{word} {len(report['files'])} files of {report['series']} series, {report['studies']} examinations and "
        f"{report['subjects']} subjects to {target}"
    )
    totals = {
        done: sum(counts.get(done, 0) for counts in report["attributes"].values())
        for done in ("kept", "replaced", "emptied", "removed")
    }
    run.say(f"attributes: {', '.join(f'{number} {done}' for done, number in totals.items())}")
    for flag, number in report["flags"].items():
        run.say(f"check {number} file{'s' * (number > 1)}: {flag}")
    for kind, number in report["not_taken"].items():
        run.say(f"not copied: {number} {kind}")
    for key, text in (("other_files", "files that are no DICOM"), ("links", "symbolic links"), ("duplicates", "duplicates")):
        if report[key]:
            run.say(f"not copied: {report[key]} {text}")
