"""``vrft-aug prepare``: from words to settings, and what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcore.atomic import check_writable
from medcore.commandline import Invocation
from medcore.config import from_mapping, set_value
from medcore.errors import ConfigError
from medcore.provenance import RunRecord
from vrft_aug.data import DataSettings
from vrft_aug.preparing.faults import Fault
from vrft_aug.preparing.run import Checked, PrepareSettings, prepare, refuse

MAX_SHOWN = 20
"""Faults of one kind that are shown; --json holds all."""


def settings_of(
    kind: str,
    source: Path,
    *,
    classes: str | None,
    option: Sequence[str] | None,
    window: str | None,
    split: str | None,
    grey: str,
    allow: Sequence[str] | None,
    near: bool,
    seed: int,
) -> PrepareSettings:
    """Settings of the options of the command line.

    Raises
    ------
    ConfigError
        If one cannot be.
    """
    options: dict[str, Any] = {}
    for assignment in option or []:
        set_value(options, assignment)
    if window is not None:
        if kind != "dicom":
            raise ConfigError(
                "--window", f"is given, but {kind} has none", "leave it out; --grey is for images of more than 8 bits"
            )
        options["window"] = list(_numbers("--window", window, 2)) if "," in window else window
    data = {"kind": kind, "path": str(source), "options": options}
    if classes is not None:
        if kind in ("voc", "coco", "masks"):
            raise ConfigError("--classes", f"are given, but {kind} has boxes", "leave them out; all kinds of boxes are kept")
        data["classes"] = [name.strip() for name in classes.split(",")]
    mapped: Any = _numbers("--grey", grey, 2) if "," in grey else grey
    if mapped not in ("percentile", "range") and not (isinstance(mapped, tuple) and mapped[0] < mapped[1]):
        raise ConfigError("--grey", f"is {grey!r}", "give percentile, range, or the lowest and highest value, such as 0,4095")
    return PrepareSettings(
        data=from_mapping(DataSettings, data, "data"),
        split=None if split is None else _numbers("--split", split),
        seed=seed,
        allow=tuple(allow or ()),
        grey=mapped,
        near=near,
    )


def run_prepare(run: Invocation, settings: PrepareSettings, output: Path) -> dict[str, Any]:
    """Check, say what was found, write.

    Raises
    ------
    CheckFailedError
        If there are faults that are not allowed.
    InputError, OutputError
        See :func:`vrft_aug.preparing.run.prepare`.
    """
    source = str(settings.data.path)
    if output.resolve().is_relative_to(Path(source).resolve()):
        raise ConfigError("--output", f"{output} lies in the data themselves", "choose a folder elsewhere")
    check_writable(output, force=run.force or _is_empty(output))
    record = RunRecord(command="vrft-aug prepare", settings=settings, seed=settings.seed, inputs=[] if run.dry_run else [source])
    checked = prepare(
        settings,
        None if run.dry_run else output,
        force=run.force,
        record=record,
        watch=lambda items: run.progress(items, "images", len(items)),  # type: ignore[arg-type]
    )
    _show(run, checked, settings)
    refused = bool(checked.refused(settings.allow))
    written = not run.dry_run and not refused
    facts = {"source": source, "output": str(output), "written": written, **checked.facts}
    if refused:
        run.emit(facts)
        refuse(checked, settings)
    run.say(f"wrote {output}" if written else f"would write {output}")
    return facts


def _show(run: Invocation, checked: Checked, settings: PrepareSettings) -> None:
    shown: Counter[str] = Counter()
    for fault in checked.faults:
        shown[fault.kind] += 1
        if shown[fault.kind] <= MAX_SHOWN:
            run.say(f"{'left out' if fault.kind in settings.allow else 'fault'}: {fault.kind}: {_line(fault)}")
    for kind, count in shown.items():
        if count > MAX_SHOWN:
            run.say(f"{count - MAX_SHOWN} more: {kind}; see --json")
    for note in checked.notes:
        run.say(f"note: {note}")
    for name, part in checked.facts["parts"].items():
        run.say(f"{name}: {part['samples']} samples")


def _line(fault: Fault) -> str:
    return " ".join(fault.sentence.split())


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _numbers(what: str, text: str, count: int | None = None) -> tuple[Any, ...]:
    try:
        found = tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(what, f"is {text!r}", "give numbers with commas between") from error
    if count is not None and len(found) != count:
        raise ConfigError(what, f"is {text!r}", f"give {count} numbers")
    return found
