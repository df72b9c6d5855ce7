"""Files that are neither images of a scanner nor k-space: what they are and what is wrong with them.

Pictures, tables, JSON, XML, text, plain HDF5 and MATLAB files lie beside medical images everywhere. They are recognised by content,
described without loading more than needed, and checked as far as their format says what is right.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medcore.errors import InputError
from medcore.io.guard import foreign_errors, reason
from medcore.io.hdf5 import describe_hdf5
from medcore.io.json_object import parse_object
from medcore.io.limits import existing_file
from medcore.io.npy import list_arrays, load_array
from medcore.io.parrec import par_of
from medcore.io.sidecar import read_json

_PICTURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
_MAT5 = b"MATLAB 5.0 MAT-file"
_MAX_TEXT, _MAX_LISTED = 64 << 20, 50
_HINT = "get another copy of the file"


def recognise_content(path: str | Path) -> str | None:
    """``image``, ``mat``, ``rec``, ``json``, ``xml``, ``table``, ``text``, or None for anything else.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    path = existing_file(path)
    with path.open("rb") as file:
        head = file.read(4096)
    if any(head.startswith(magic) for magic in _PICTURES):
        return "image"
    if head.startswith(_MAT5):
        return "mat"
    if par_of(path) is not None:
        return "rec"
    return _kind_of_text(head)


def _kind_of_text(head: bytes) -> str | None:
    text = _decoded(head)
    if text is None:
        return None
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("{"):
        return "json"
    if start.startswith("<?xml") or (start.startswith("<") and not start.lower().startswith(("<!doctype html", "<html"))):
        return "xml"
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    if len(lines) > 1:
        for delimiter in ",;\t":
            counts = {line.count(delimiter) for line in lines[:-1]}
            if len(counts) == 1 and counts != {0} and not start.startswith("#"):
                return "table"
    return "text"


def _decoded(head: bytes) -> str | None:
    """`head` as text, None if it is not UTF-8 or holds control characters."""
    for cut in range(4):  # the last character may be torn
        with contextlib.suppress(UnicodeDecodeError):
            text = head[: len(head) - cut].decode()
            return None if any(ord(c) < 32 and c not in "\t\r\n\f" for c in text) else text
    return None


def describe_content(path: str | Path, kind: str) -> dict[str, Any]:
    """JSON-ready facts about a file.

    Parameters
    ----------
    path
        The file.
    kind
        One of the kinds of :func:`recognise_content`, or ``hdf5``, or ``npy`` and ``npz`` where they are no images.

    Raises
    ------
    InputError
        If it is damaged.
    """
    return _DESCRIBE[kind](existing_file(path))


def content_faults(path: str | Path, kind: str) -> list[str]:
    """What is wrong with such a file though it can be read.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    facts = describe_content(path, kind)
    if kind == "image":
        from medcore.datasets.images import read_image

        pixels = read_image(path)
        return ["all pixels have one value"] if pixels.min() == pixels.max() else []
    if kind in {"npy", "npz"}:
        return _array_faults(existing_file(path))
    return [str(fault) for fault in facts.get("faults", [])]


def _image(path: Path) -> dict[str, Any]:
    from medcore.datasets.images import image_size

    with path.open("rb") as file:
        head = file.read(8)
    height, width = image_size(path)
    name = next(name for magic, name in _PICTURES.items() if head.startswith(magic))
    return {"type": "picture", "picture_format": name, "axes": {"y": height, "x": width}}


def _table(path: Path) -> dict[str, Any]:
    from medcore.datasets.tables import read_table

    table = read_table(path)
    empty = [c for c in table.columns if c and not any(table.column(c))]
    facts: dict[str, Any] = {"type": "table", "rows": len(table.rows), "columns": list(table.columns)}
    return facts | {"faults": [f"column {c!r} is empty" for c in empty]}


def _json(path: Path) -> dict[str, Any]:
    if (count := _json_lines(path)) is not None:
        return {"type": "JSON Lines", "lines": count}
    content = read_json(path)
    return {"type": "JSON object", "keys": len(content), "first_keys": list(content)[:_MAX_LISTED]}


def _json_lines(path: Path) -> int | None:
    """How many objects a file holds that has one in each line, None if it is no such file.

    Raises
    ------
    InputError
        If the first two lines are objects and a later one is not.
    """
    if path.stat().st_size > _MAX_TEXT:
        return None
    lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith(b"{") and line.rstrip().endswith(b"}") for line in lines[:2]):
        return None
    for number, line in enumerate(lines, 1):
        parse_object(line, f"{path}, line {number}")
    return len(lines)


def _xml(path: Path) -> dict[str, Any]:
    import defusedxml.ElementTree
    from defusedxml import DefusedXmlException

    if path.stat().st_size > _MAX_TEXT:
        raise InputError(path, f"has {path.stat().st_size} bytes, more than {_MAX_TEXT}", _HINT)
    try:
        root = defusedxml.ElementTree.fromstring(path.read_bytes(), forbid_dtd=True)
    except (SyntaxError, DefusedXmlException, ValueError, LookupError) as error:
        raise InputError(path, f"is XML that cannot be read ({reason(error)})", _HINT) from error
    facts: dict[str, Any] = {"type": "XML", "root": root.tag, "elements": sum(1 for _ in root.iter())}
    if root.tag != "annotation":
        return facts
    boxes = list(root.iter("bndbox"))
    flat = sum(_is_flat(box) for box in boxes)
    noted = [f"{flat} of {len(boxes)} boxes have zero area"] if flat else []
    return facts | {"type": "Pascal VOC annotation", "boxes": len(boxes), "faults": noted}


def _is_flat(box: Any) -> bool:
    try:
        x0, y0, x1, y1 = (float(box.findtext(k) or "nan") for k in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        return True
    return not (x1 > x0 and y1 > y0)


def _text(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_TEXT:
        raise InputError(path, f"has {path.stat().st_size} bytes, more than {_MAX_TEXT}", _HINT)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, f"is not UTF-8 text ({reason(error)})", "save it as UTF-8") from error
    return {"type": "text", "lines": len(text.splitlines())}


def _mat(path: Path) -> dict[str, Any]:
    import scipy.io

    with foreign_errors(path, "is a damaged MATLAB file"):
        listed = scipy.io.whosmat(io.BytesIO(path.read_bytes()))
    arrays = [{"name": name, "shape": [int(n) for n in shape], "dtype": kind} for name, shape, kind in listed[:_MAX_LISTED]]
    return {"type": "MATLAB 5 file", "arrays": arrays}


def _arrays(path: Path) -> dict[str, Any]:
    found = list_arrays(path)
    listed = [{"name": n or "array", "shape": [int(k) for k in shape], "dtype": str(t)[:80]} for n, shape, t in found[:_MAX_LISTED]]
    return {"type": "arrays", "arrays": listed}


def _array_faults(path: Path) -> list[str]:
    faults = []
    for name, _, dtype in list_arrays(path):
        if dtype.kind in "biufc":
            values = load_array(path, key=name or None)
            if bad := int((~np.isfinite(values)).sum()):
                faults.append(f"{name or 'the array'}: {bad} values are no numbers")
    return faults


def _rec(path: Path) -> dict[str, Any]:
    par = par_of(path)
    return {"type": "values of a PAR/REC pair", "described_by": str(par)}


_DESCRIBE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "image": _image,
    "table": _table,
    "json": _json,
    "xml": _xml,
    "text": _text,
    "hdf5": describe_hdf5,
    "mat": _mat,
    "rec": _rec,
    "npy": _arrays,
    "npz": _arrays,
}
