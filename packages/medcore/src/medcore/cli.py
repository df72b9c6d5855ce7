"""The ``medcore`` command line."""

from __future__ import annotations

from typing import Any

from medcore import commandline
from medcore.commandline import Invocation

app = commandline.application("medcore", "medcore", "Read, check and measure medical-imaging files.")


@commandline.command(app)
def doctor(run: Invocation) -> dict[str, Any]:
    """Tell what is installed and what is missing."""
    from medcore.provenance import versions

    found = versions()
    run.table(["library", "version"], found.items())
    return {"versions": found}


def main() -> None:
    """Entry point of the console script."""
    commandline.main(app)
