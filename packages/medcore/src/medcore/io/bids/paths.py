"""Folders of a data set: listed without following links that lead out of it, errors of the system told as bad input."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from medcore.errors import InputError


def listed(folder: Path) -> list[Path]:
    """What lies directly in a folder, by name.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(folder, f"cannot be read ({error.strerror})", "give the folder of the data set") from error


def check_inside(path: Path, root: Path) -> None:
    """Refuse a file or folder whose content lies outside the data set, or nowhere.

    Parameters
    ----------
    path
        Below `root` by name; it or a folder above it may be a link, as git annex makes them.
    root
        The data set.

    Raises
    ------
    InputError
        If it is, or lies behind, a link to nothing, in a circle, or out of the data set.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise InputError(path, "is a link to nothing", "get the content of the link, for example with git annex") from error
    if not real.is_relative_to(root.resolve()):
        raise InputError(path, "is a link that leads out of the data set", "copy it into the data set")


def images_below(folder: Path) -> Iterator[Path]:
    """All NIfTI files below a folder, by name; folders that are links are not entered, so that cycles do not matter."""
    for home, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(home, name) for name in sorted(files) if name.endswith((".nii", ".nii.gz")))
