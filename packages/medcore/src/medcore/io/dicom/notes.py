"""What is odd about a series that can be read all the same: named in `repairs`, never mended in silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medcore.io.dicom.files import program_in
from medcore.io.dicom.parsing import pydicom_errors

_LOSSY = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"})
_KEYWORDS = (
    "LossyImageCompression",
    "GantryDetectorTilt",
    "PixelPaddingValue",
    "InstanceNumber",
    "SeriesInstanceUID",
    "PhotometricInterpretation",
)
_MOST_NUMBERS = 10


def notes_about(datasets: Sequence[Any], what: str) -> list[str]:
    """Notes about the files of one series, each once with the number of files it concerns."""
    with pydicom_errors(what):
        facts = [{keyword: dataset.get(keyword) for keyword in _KEYWORDS} for dataset in datasets]
        syntaxes = [str(dataset.file_meta.TransferSyntaxUID) for dataset in datasets]
        programs = [program_in(dataset.preamble or b"") for dataset in datasets]
        other = sum(_implicit(dataset) != dataset.file_meta.TransferSyntaxUID.is_implicit_VR for dataset in datasets)
        falling = sum(list(dataset.keys()) != sorted(dataset.keys()) for dataset in datasets)
    notes = [
        f"the preamble of {programs.count(kind)} files begins like a program ({kind}); never run them"
        for kind in sorted({kind for kind in programs if kind})
    ]
    if any(fact["PhotometricInterpretation"] == "MONOCHROME1" for fact in facts):
        notes.append("MONOCHROME1: values are kept, only their display is inverted")
    lossy = sum(fact["LossyImageCompression"] == "01" or uid in _LOSSY for fact, uid in zip(facts, syntaxes, strict=True))
    if lossy:
        notes.append(f"the pixels of {lossy} files were compressed with loss")
    tilts = {float(t) for fact in facts if isinstance(t := fact["GantryDetectorTilt"], (int, float)) and t}
    if tilts:
        notes.append(
            f"GantryDetectorTilt {', '.join(f'{t:g}' for t in sorted(tilts))} degrees; the affine follows the positions stated"
        )
    padding = {int(p) for fact in facts if isinstance(p := fact["PixelPaddingValue"], int)}
    if padding:
        notes.append(f"pixels outside the picture have the stored value {', '.join(map(str, sorted(padding)))} and are kept")
    if other:
        notes.append(f"{other} files are not encoded as their transfer syntax says (explicit and implicit value representation)")
    if falling:
        notes.append(f"{falling} files have elements out of order")
    return [*notes, *_missing_numbers(facts)]


def _implicit(dataset: Any) -> bool:
    """How the elements really are encoded; pydicom adapts to it without saying so."""
    return bool(dataset.get_item("PixelData", keep_deferred=True).is_implicit_VR)


def _missing_numbers(facts: list[dict[str, Any]]) -> list[str]:
    """Gaps between the instance numbers of one series: images that were there once."""
    notes = []
    for uid in sorted({str(fact["SeriesInstanceUID"]) for fact in facts}):
        mine = [fact["InstanceNumber"] for fact in facts if str(fact["SeriesInstanceUID"]) == uid]
        numbers = {int(n) for n in mine if isinstance(n, int)}
        if len(numbers) < 2 or len(numbers) != len(mine):
            continue
        absent = max(numbers) - min(numbers) + 1 - len(numbers)
        if absent:
            some = [n for n in range(min(numbers), min(max(numbers), min(numbers) + 10_000)) if n not in numbers][:_MOST_NUMBERS]
            more = " and others" if absent > len(some) else ""
            notes.append(f"instance numbers {', '.join(map(str, some))}{more} are absent")
    return notes
