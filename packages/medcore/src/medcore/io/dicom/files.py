"""Open one DICOM file and make sure that it is whole.

pydicom reads a file that was cut in half without a word; here every element must have the length it claims, and the stored pixels
exactly the length that rows, columns, frames and bits demand (:mod:`medcore.io.dicom.pixels`).
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from medcore.errors import InputError
from medcore.io.dicom.parsing import pydicom_errors
from medcore.io.dicom.pixels import check_pixels
from medcore.io.limits import FREE_BYTES, MAX_EXPANSION, check_size, existing_file, max_bytes

DEFLATED = "1.2.840.10008.1.2.1.99"
_DIRECTORY = "1.2.840.10008.1.3.10"
_SIEMENS_NON_IMAGE = "1.3.12.2.1107.5.9.1"
_HINT = "get another copy of the file"
_HEAVY = 1 << 16
"""Elements above this many bytes stay in the file until somebody asks for them."""
_REQUIRED = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
)
_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UI"})
_PROGRAMS = {
    b"MZ": "MZ, Windows",
    b"\x7fELF": "ELF, Linux",
    b"\xfe\xed\xfa\xce": "Mach-O, macOS",
    b"\xfe\xed\xfa\xcf": "Mach-O, macOS",
    b"\xce\xfa\xed\xfe": "Mach-O, macOS",
    b"\xcf\xfa\xed\xfe": "Mach-O, macOS",
    b"\xca\xfe\xba\xbe": "Mach-O, macOS",
    b"#!": "#!, a script",
}


class NoImageError(InputError):
    """A sound DICOM file of a kind that holds no image, such as a report, a presentation state or a DICOMDIR."""


def is_dicom(head: bytes) -> bool:
    """Whether the first 132 bytes of a file are those of DICOM."""
    return head[128:132] == b"DICM"


def program_in(preamble: bytes) -> str | None:
    """Which kind of program the 128 bytes before the letters DICM begin like (CVE-2019-11687); None for none."""
    return next((name for magic, name in _PROGRAMS.items() if preamble.startswith(magic)), None)


def open_dicom(path: str | Path) -> Any:
    """Parse one DICOM image file; returns a pydicom Dataset whose pixels were measured, but neither read nor decoded.

    Raises
    ------
    NoImageError
        If it is another DICOM object than an image.
    InputError
        If the file is missing, not DICOM, cut, lies about its size, or holds no greyscale image.
    """
    import pydicom

    path = existing_file(path)
    size = path.stat().st_size
    check_size(path, (size,), 1, size)
    with path.open("rb") as file:
        head = file.read(132)
    if not is_dicom(head):
        raise InputError(path, "is not a DICOM file", "give a file with the letters DICM at byte 128")
    syntax, meta_length = _file_meta(path)
    if syntax == DEFLATED:
        _check_deflated(path, meta_length)
    with pydicom_errors(path, "is damaged DICOM"):
        dataset = pydicom.dcmread(path, defer_size=None if syntax == DEFLATED else _HEAVY)
        found = {keyword: dataset.get(keyword) for keyword in (*_REQUIRED, "NumberOfFrames", "HighBit")}
        found["SOPClassUID"] = found["SOPClassUID"] or dataset.file_meta.get("MediaStorageSOPClassUID")
        whole, mixed = _measure(dataset, None if syntax == DEFLATED else size)
    for keyword in ("SOPClassUID", "SeriesInstanceUID", "PhotometricInterpretation"):
        if not isinstance(found[keyword] or "", str):
            raise InputError(path, f"has {keyword} that is no text", _HINT)
    _check_class(found, syntax, path)
    if not whole:
        raise InputError(path, "ends in the middle of an element, so it is cut", _HINT)
    if mixed:
        raise InputError(path, "has a text element with zero bytes inside, so a length in it is wrong", _HINT)
    for keyword in _REQUIRED:
        if found[keyword] in (None, ""):
            raise InputError(path, f"lacks {keyword}, so it is cut or no image", _HINT)
    check_pixels(dataset, found, path)
    return dataset


def _file_meta(path: Path) -> tuple[str, int | None]:
    """The transfer syntax, and the length of the file's own header where it is stated."""
    from pydicom.filereader import read_file_meta_info

    with pydicom_errors(path, "has a damaged file header"):
        meta = read_file_meta_info(path)
        syntax, length = str(meta.get("TransferSyntaxUID") or ""), meta.get("FileMetaInformationGroupLength")
    if not syntax:
        raise InputError(path, "does not say how it is encoded (TransferSyntaxUID)", _HINT)
    return syntax, length if isinstance(length, int) else None


def _check_deflated(path: Path, meta_length: int | None) -> None:
    """Refuse a deflated data set that expands beyond the budget, before pydicom expands it."""
    if meta_length is None:
        raise InputError(path, "does not say where its deflated part begins", _HINT)
    content = path.read_bytes()
    budget = min(max(FREE_BYTES, MAX_EXPANSION * len(content)), max_bytes())
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    pending, total = content[132 + 12 + meta_length :], 0
    while pending and not engine.eof:
        try:
            total += len(engine.decompress(pending, 1 << 24))
        except zlib.error as error:
            raise InputError(path, "has a deflated part that is damaged", _HINT) from error
        pending = engine.unconsumed_tail
        if total > budget:
            raise InputError(path, f"expands to more than {budget} bytes", _HINT)
    if not engine.eof:
        raise InputError(path, "has a deflated part that is cut", _HINT)


def _measure(dataset: Any, size: int | None) -> tuple[bool, bool]:
    """Whether every element is as long as it claims, and whether a text swallowed what came after it.

    A length that is too large makes one element swallow the next ones, which would be missing without a word. Only the outermost
    elements are looked at; `size` is that of the file, None where elements do not lie in the file as they are.
    """
    from pydicom.datadict import dictionary_VR
    from pydicom.dataelem import RawDataElement

    whole, mixed = True, False
    for tag in dataset.keys():  # noqa: SIM118 - iterating a Dataset itself would decode its elements
        raw = dataset.get_item(tag, keep_deferred=True)
        if not isinstance(raw, RawDataElement) or raw.length == 0xFFFFFFFF:
            continue
        if raw.value is None:
            whole &= size is None or raw.length == 0 or raw.value_tell + raw.length <= size
            continue
        whole &= len(raw.value) == raw.length
        kind = raw.VR
        if kind is None and not tag.is_private:
            try:
                kind = dictionary_VR(tag)
            except KeyError:
                continue
        mixed |= kind in _TEXT and not tag.is_private and b"\0" in raw.value.rstrip(b"\0 ")
    return whole, mixed


def _check_class(found: dict[str, Any], syntax: str, path: Path) -> None:
    """Tell objects that never hold pixels from images that lost theirs."""
    from pydicom.uid import UID_dictionary

    uid = str(found["SOPClassUID"] or "")
    if uid == _DIRECTORY:
        raise NoImageError(path, "is a DICOMDIR, an index of other files", "give the folder with the images instead")
    name = "Siemens CSA Non-Image Storage" if uid == _SIEMENS_NON_IMAGE else UID_dictionary.get(uid, ("",))[0]
    if found["Rows"] is None and name.endswith("Storage") and ("Image" not in name or uid == _SIEMENS_NON_IMAGE):
        raise NoImageError(path, f"is no image but {name}", "give the files of an image series")
    if UID_dictionary.get(syntax, ("", ""))[1] != "Transfer Syntax":
        raise InputError(path, f"names the unknown transfer syntax {syntax[:64]!r}", "convert it to an uncompressed one")


def n_frames(dataset: Any) -> int:
    """Number of frames of a data set from :func:`open_dicom`; 1 where it is not stated."""
    value = dataset.get("NumberOfFrames")
    return 1 if value in (None, "") else int(value)
