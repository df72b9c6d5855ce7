"""Open a file for de-identification, and say which kinds of objects are taken at all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from medcore.io.dicom.files import is_dicom
from medcore.io.dicom.parsing import pydicom_errors
from medcore.io.limits import check_size, existing_file

_HINT = "get another copy of the file"
_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_NEEDED = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_PIXELS = {"PixelData": None, "FloatPixelData": 32, "DoubleFloatPixelData": 64}


class NotTakenError(InputError):
    """A sound DICOM file of a kind that is not de-identified, because text or documents are what it is for.

    Attributes
    ----------
    kind
        Name of its SOP class.
    """

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(path, f"is {kind}, which holds text or documents that no list of attributes can clean", "give images")
        self.kind = kind


def is_dicom_file(path: Path) -> bool:
    """Whether a file begins like DICOM."""
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check its permissions") from error


def open_image(path: Path) -> Any:
    """Parse one image with its pixels.

    Raises
    ------
    NotTakenError
        If it is a report, a document, a presentation state or another object that is no image.
    InputError
        If it is damaged, cut, or lacks what identifies it.
    """
    import pydicom
    from pydicom.uid import UID_dictionary

    path = existing_file(path)
    size = path.stat().st_size
    check_size(path, (size,), 1, size)
    if not is_dicom_file(path):
        raise InputError(path, "is not a DICOM file", "give a file with the letters DICM at byte 128")
    with pydicom_errors(path, "has a damaged file header"):
        syntax = str(pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID") or "")
    if syntax == _DEFLATED or UID_dictionary.get(syntax, ("", ""))[1] != "Transfer Syntax":
        raise InputError(path, f"is stored with the transfer syntax {syntax[:64]!r}", "convert it to explicit little endian")
    with pydicom_errors(path, "is damaged DICOM"):
        dataset = pydicom.dcmread(path)
        whole = _is_whole(dataset)
        uid = str(dataset.get("SOPClassUID") or "")
        missing = [k for k in _NEEDED if not str(dataset.get(k) or "")]
    if not (uid and whole):
        raise InputError(path, "ends in the middle of an element" if uid else "lacks SOPClassUID, so it is cut", _HINT)
    name = UID_dictionary.get(uid, ("an object of an unknown class",))[0]
    if uid != _PARAMETRIC_MAP and "Image Storage" not in name:
        raise NotTakenError(path, name)
    if missing:
        raise InputError(path, f"lacks {', '.join(missing)}", _HINT)
    with pydicom_errors(path):
        _check_pixels(dataset, path)
    return dataset


def _is_whole(dataset: Any) -> bool:
    """Whether every outermost element is as long as it claims; pydicom passes over a cut at the end."""
    from pydicom.dataelem import RawDataElement

    elements = [dataset.get_item(tag) for tag in dataset.keys()]  # noqa: SIM118 - iterating would convert them
    raw = [e for e in elements if isinstance(e, RawDataElement) and e.length != 0xFFFFFFFF]
    return all(len(e.value or b"") == e.length for e in raw)


def _check_pixels(dataset: Any, path: Path) -> None:
    """Refuse absent pixels, and uncompressed ones of another length than stated: bytes that are no pixels would be copied unseen."""
    found = [k for k in _PIXELS if k in dataset]
    if len(found) != 1:
        raise InputError(path, f"has {len(found)} kinds of pixel data, so it is cut or no image", _HINT)
    if dataset[found[0]].is_undefined_length or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    samples = 2 if str(dataset.PhotometricInterpretation).endswith("_422") else int(dataset.SamplesPerPixel)
    bits = _PIXELS[found[0]] or int(dataset.BitsAllocated)
    pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1) * samples
    expected, length = math.ceil(pixels * bits / 8), len(dataset[found[0]].value)
    if length not in (expected, expected + expected % 2):
        raise InputError(path, f"has {length} bytes of pixels where its header says {expected}", _HINT)
