"""What attributes cannot show: text in the pixels, faces, and other things a person has to look at."""

from __future__ import annotations

from typing import Any

_OVERLAYS = range(0x6000, 0x6020, 2)
_SCREENS = frozenset({"US", "OT", "SC", "ES", "XC", "GM", "SM", "DOC", "IVUS", "OP", "OCT", "HC", "RG", "RF", "XA"})
_SKULL = frozenset({"HEAD", "BRAIN", "SKULL", "FACE", "HEADNECK", "NECK", "JAW", "ORBIT", "EYE", "EAR", "NOSE", "SINUS"})


def is_burned_in(dataset: Any) -> bool:
    """Whether the file says that text is burned into its pixels."""
    return str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES"


def flags_of(dataset: Any) -> list[str]:
    """What a person should look at, one sentence each; no values of the file."""
    flags = []
    if is_burned_in(dataset):
        flags.append("says that text is burned into the pixels, which were not cleaned")
    elif not dataset.get("BurnedInAnnotation") and _looks_like_a_screen(dataset):
        flags.append("is of a kind that often has text in the pixels and does not say that it has none")
    if str(dataset.get("RecognizableVisualFeatures") or "").strip().upper() == "YES":
        flags.append("says that a person can be recognised in the image")
    elif str(dataset.get("BodyPartExamined") or "").strip().upper().replace(" ", "") in _SKULL:
        flags.append("shows the head: a face can be rendered from its slices")
    if "MOSAIC" in [str(v) for v in dataset.get("ImageType") or ()]:
        flags.append("is a Siemens mosaic, whose slices are described in private attributes, which were removed")
    if embedded_overlays(dataset):
        flags.append("had drawings or text in unused bits of its pixels, which were cleared")
    return flags


def _looks_like_a_screen(dataset: Any) -> bool:
    return (
        str(dataset.get("Modality") or "") in _SCREENS
        or "ConversionType" in dataset
        or "Secondary Capture" in dataset.SOPClassUID.name
        or str(dataset.get("PhotometricInterpretation") or "").startswith(("RGB", "YBR", "PALETTE"))
        or "SECONDARY" in [str(v) for v in dataset.get("ImageType") or ()]
    )


def embedded_overlays(dataset: Any) -> bool:
    """Whether overlay planes lie in bits of the pixels that hold no grey values (retired, PS3.3 2004 C.9.2)."""
    return any((group, 0x0102) in dataset and dataset[group, 0x0102].value not in (None, "", 0) for group in _OVERLAYS)


def clear_unused_bits(dataset: Any) -> bytes:
    """Uncompressed 16-bit pixels with all bits outside the grey values set to zero."""
    import numpy as np

    high, stored = int(dataset.HighBit), int(dataset.BitsStored)
    mask = ((1 << stored) - 1) << (high + 1 - stored)
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    pixels = np.frombuffer(dataset.PixelData, f"{order}u2") & np.dtype(f"{order}u2").type(mask)
    return bytes(pixels.astype(f"{order}u2").tobytes())
