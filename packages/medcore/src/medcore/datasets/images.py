"""Image files as uint8 pixels, decoded within bounds; and folders of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import UInt8

from medcore.atomic import sha256_file
from medcore.datasets.png_check import check_png
from medcore.datasets.tolerance import SampleError, remark, report
from medcore.errors import InputError, MissingExtraError
from medcore.io.guard import foreign_errors, reason
from medcore.io.limits import existing_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
IMAGE_FOLDERS = ("images", "Images")
"""Where the images of a table lie, if not beside it."""
MAX_PIXELS = 1 << 27
"""No image may have more pixels; a decoded colour image of this size takes 400 MB."""
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_HINT = "get another copy of the file"


def open_image(path: Path) -> Any:
    """The image with its header read, not decoded.

    Raises
    ------
    InputError
        If it is no image or claims too many pixels.
    MissingExtraError
        Without Pillow.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("PIL", "medcore[viz]", "reading image files") from error
    try:
        with foreign_errors(path, f"is no image of the kinds {', '.join(_FORMATS)}", "give one of these"):
            image = Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise SampleError(path, f"claims too many pixels ({reason(error)})", _HINT, "bomb") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise SampleError(path, f"claims {width} x {height} pixels, more than {MAX_PIXELS}", _HINT, "bomb")
    return image


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file, from its header.

    Raises
    ------
    InputError
        If it is no image or claims too many pixels.
    """
    with open_image(existing_file(path)) as image:
        width, height = image.size
    return height, width


def read_image(path: str | Path) -> UInt8[np.ndarray, "y x"] | UInt8[np.ndarray, "y x 3"]:
    """Decode a PNG, JPEG, BMP or TIFF file with 8 bits for each channel.

    Grey images come as (y, x), all others as (y, x, 3) RGB; palettes are applied, transparency is dropped, an orientation noted in
    the file is not applied (boxes count stored pixels).

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        If it is missing, damaged, of another kind, of more than 8 bits, has several frames or more than 2**27 pixels.
    MissingExtraError
        Without Pillow.
    """
    path = existing_file(path)
    with open_image(path) as image:
        with foreign_errors(path, "is a damaged image", _HINT):
            frames = getattr(image, "n_frames", 1)
        if frames != 1:
            raise SampleError(path, f"holds {frames} frames", "give one image for each file", "several-frames")
        if image.mode.startswith(("I", "F")):
            deep = f"has more than 8 bits for each pixel (mode {image.mode})"
            raise SampleError(path, deep, "rescale it to 8 bits first", "deep-image")
        check_png(path)
        if image.mode == "CMYK":
            remark(path, "is in CMYK and becomes RGB without a colour profile", "save it as RGB if colours matter", "cmyk")
        with foreign_errors(path, "is a damaged image", _HINT):
            grey = image.mode in {"1", "L", "LA"}
            return np.array(image.convert("L" if grey else "RGB"), dtype=np.uint8)


def folder_of(path: str | Path) -> Path:
    """`path` as a readable folder.

    Raises
    ------
    InputError
        If it is none.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(path, "is not a folder" if path.exists() else "does not exist", "give the folder of the data set")
    return path


def subfolder(folder: Path, names: Iterable[str]) -> Path:
    """The first of the subfolders `names` that exists, else `folder` itself."""
    return next((folder / n for n in names if (folder / n).is_dir()), folder)


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Visible files with one of `suffixes` (lower case) directly in `folder`, by name.

    Raises
    ------
    InputError
        If the folder cannot be read.
    """
    try:
        found = [p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".") and p.is_file()]
    except OSError as error:
        raise InputError(folder, f"cannot be read ({error.strerror})", "check its permissions") from error
    return sorted(found)


def file_inside(folder: Path, name: str, where: str) -> Path:
    """The file called `name`, a relative path with forward slashes, in `folder` or below it; `where` says what named it.

    Raises
    ------
    InputError
        If `name` leads out of the folder (``..``, an absolute path, a drive, a symbolic link to elsewhere), or is no file.
    """
    parts = PurePosixPath(name)
    if not parts.name or parts.is_absolute() or ".." in parts.parts or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
        raise SampleError(
            where,
            f"names the file {name[:200]!r}",
            "give relative paths with forward slashes that stay in the folder",
            "outside-path",
        )
    path = folder / parts
    try:
        real, root = path.resolve(), folder.resolve()
        if not real.is_file():
            absent = f"names {name[:200]!r}, which is not in {folder}"
            raise SampleError(where, absent, "add the file or remove its entry", "missing-image")
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(where, f"names {name[:200]!r}, which cannot be read ({reason(error)})", "correct the name") from error
    if not real.is_relative_to(root):
        leads = f"names {name[:200]!r}, a link that leads out of {folder}"
        raise SampleError(where, leads, "put the file itself there", "outside-path")
    return path


class ImageFolder:
    """The images directly in a folder, found by file name or by stem. A name from a table never leads out of the folder."""

    def __init__(self, folder: Path, files: Iterable[Path] | None = None) -> None:
        self.folder = folder
        self.files = list(files_in(folder, SUFFIXES) if files is None else files)
        self._by_name = {p.name: p for p in self.files}
        self._by_stem: dict[str, list[Path]] = {}
        for file in self.files:
            self._by_stem.setdefault(file.stem, []).append(file)

    def find(self, name: str, where: str) -> Path:
        """The image called `name`, with or without suffix; `where` says what named it.

        Raises
        ------
        InputError
            If `name` is a path, is not there, or fits several files.
        """
        if (
            not name
            or name in {".", ".."}
            or PurePosixPath(name).name != name
            or PureWindowsPath(name).name != name
            or "\0" in name
        ):
            raise SampleError(where, f"names the image {name!r}", "give plain file names without folders", "outside-path")
        if name in self._by_name:
            return self._by_name[name]
        found = self._by_stem.get(name, [])
        if not found:
            absent = f"names the image {name!r}, which is not in {self.folder}"
            raise SampleError(where, absent, "add the image or remove its label", "missing-image")
        if len(found) > 1:
            raise InputError(where, f"names {name!r}, which fits {', '.join(p.name for p in found)}", "write the suffix too")
        return found[0]

    def refuse_unlabelled(self, labelled: Iterable[Path]) -> None:
        """Raise :class:`InputError` naming the first image that is not among `labelled`; where faults are collected, note all."""
        known = set(labelled)
        left = [p for p in self.files if p not in known]
        noted = [report(p.name, SampleError(p, "has no label", "label it or move it elsewhere", "no-label")) for p in left]
        if left and not all(noted):
            more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
            raise InputError(left[0], f"has no label{more}", "label it or move it elsewhere")


def digest(files: Mapping[str, Path] | Iterable[Path]) -> str:
    """One SHA-256 of many files: of the lines ``<sha256>  <name>`` in the order of names, as ``sha256sum * | sha256sum`` gives."""
    named = files if isinstance(files, Mapping) else {p.name: p for p in files}
    lines = [f"{sha256_file(named[name])}  {name}\n" for name in sorted(named)]
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()  # names need not be text
