"""The ``medcore`` command line."""

from __future__ import annotations

from typing import Any

import typer

from medcore import commandline
from medcore.commandline import Invocation
from medcore.commands import datasets, deidentify, files, measure

app = commandline.application("medcore", "medcore", "Read, check and measure medical-imaging files.")
files.register(app)
deidentify.register(app)
measure.register(app)
group = typer.Typer(help="Data sets of labelled images.", no_args_is_help=True)
datasets.register(group)
app.add_typer(group, name="datasets")


@commandline.command(app)
def doctor(run: Invocation) -> dict[str, Any]:
    """Tell what is installed, what the missing optional parts would add, and how to mend what is wrong. The exit code is 0."""
    from medcore.doctor import examine

    found = examine()
    run.say(f"platform {found['platform']}")
    run.table(["library", "version"], found["versions"].items())
    run.say(f"HDF5 library {found['hdf5']}; largest array {found['max_bytes']} bytes")
    run.say()
    for extra in found["extras"]:
        state = "installed" if extra["complete"] else f"{', '.join(extra['missing'])} missing, {extra['install']}"
        run.say(f"{extra['name']:<8} {extra['purpose']}: {state}")
    run.say()
    for decoder in found["decoders"]:
        run.say(f"{decoder['name']}: {', '.join(decoder['by']) or 'cannot be read'}")
    run.say()
    for problem in found["problems"]:
        run.say(f"problem: {problem}")
    if not found["problems"]:
        run.say("no problems found")
    return found


def main() -> None:
    """Entry point of the console script."""
    commandline.main(app)
