"""Sidecars of a data set with the inheritance principle: a JSON file holds for all images below it whose names have its entities."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from medcore.io.bids.names import Name, parse_name
from medcore.io.bids.paths import check_inside, listed
from medcore.io.sidecar import read_json


class Sidecars:
    """Metadata of the images of one data set; every JSON file is read once.

    Parameters
    ----------
    root
        The data set.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read = lru_cache(maxsize=4096)(read_json)
        self._listed = lru_cache(maxsize=4096)(_json_files)

    def of(self, image: Path, name: Name) -> dict[str, Any]:
        """What all applicable sidecars say, the nearest wins.

        Raises
        ------
        InputError
            If two apply at one level, one is not valid, or one is a link out of the data set.
        """
        found: dict[str, Any] = {}
        for path in self.files_of(image, name):
            found |= self._read(path)
        return found

    def files_of(self, image: Path, name: Name) -> list[Path]:
        """The applicable sidecars, the nearest last.

        Raises
        ------
        InputError
            If two apply at one level, or one is a link out of the data set.
        """
        found = []
        for folder in self._levels(image):
            fitting = [
                path
                for path, other in self._listed(folder)
                if other.suffix == name.suffix
                and other.entities.items() <= name.entities.items()
                and (other.entities == name.entities or not _has_image(path))
            ]
            if len(fitting) > 1:
                names = " and ".join(p.name for p in fitting[:3])
                raise InputError(image, f"has two sidecars at one level, {names}", "keep one, or make their names differ")
            if fitting:
                if fitting[0].is_symlink():
                    check_inside(fitting[0], self.root)
                found.append(fitting[0])
        return found

    def _levels(self, image: Path) -> list[Path]:
        """The folders from the root to the image's own."""
        inner = image.parent.relative_to(self.root).parts
        return [self.root.joinpath(*inner[:depth]) for depth in range(len(inner) + 1)]


def _has_image(sidecar: Path) -> bool:
    """Whether a JSON file is that of an image of its own name, and so of no other."""
    stem = sidecar.name.removesuffix(".json")
    return any(sidecar.with_name(stem + extension).exists() for extension in (".nii.gz", ".nii"))


def _json_files(folder: Path) -> tuple[tuple[Path, Name], ...]:
    found = []
    for path in listed(folder):
        if path.suffix != ".json":
            continue
        try:
            found.append((path, parse_name(path)))
        except InputError:  # dataset_description.json, participants.json and files of other tools
            continue
    return tuple(found)
