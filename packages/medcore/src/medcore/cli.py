"""The ``medcore`` command line."""

from __future__ import annotations

from typing import Any

import typer

from medcore import commandline
from medcore.commandline import Invocation
from medcore.commands import datasets, files, measure

app = commandline.application("medcore", "medcore", "Read, check and measure medical-imaging files.")
files.register(app)
measure.register(app)
group = typer.Typer(help="Data sets of labelled images.", no_args_is_help=True)
datasets.register(group)
app.add_typer(group, name="datasets")


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
