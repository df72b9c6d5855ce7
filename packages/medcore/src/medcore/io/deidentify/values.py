"""Checks and replacements of single values: nothing but what its representation allows may stay."""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from collections.abc import Sequence
from typing import Any

_WORD = re.compile(r"[A-Z0-9_ ]{0,16}")
_AGE = re.compile(r"(\d{3})([DWMY])")
_DATE = re.compile(r"(\d{8})")
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_MOMENT = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?(?:[+-]\d{4})?")
_SHOWN_AS = {
    "ImagedNucleus": re.compile(r"\d{0,3}(H|He|Li|C|N|O|F|Na|P|Si|K|Xe|Rb|Cs)\d{0,3}"),
    "RescaleType": re.compile(r"US|OD|HU|MGML|Z_EFF|ED|EDW|PCT|HU_MOD|normalized"),
}
_OLDEST = 89
DUMMY_TEXT = "REMOVED"
DUMMY = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
_TERM_TEXT = """
2d 3d adc anat asl ax axial b0 b1 bold brain breast cardiac cest ciss cor coronal ct dark diff diffusion dixon dl dti dwi echo epi fa
fat fgre fid field fieldmap fisp flair flash fmri fse fspgr gr gradient gre head heart hip inv inversion ir irse kidney knee liver loc
localizer lumbar mag map mapping mdme me megre mese molli mono mp2rage mpr mprage mra mri mrs mt multi neck ob oblique pc pd pelvis perf
phase prostate proton qmri quantitative radial rare real reco recovery ref relaxometry resolve rest sag sagittal scout se shmolli
shoulder space spair spgr spin spine spir spiral spoiled stir swi t1 t1w t2 t2star t2w task tfe tfl thoracic time tof tra trans
transverse trufi tse turbo ute vfa vibe vista water wrist
"""
_TERMS = frozenset(_TERM_TEXT.split())


def is_word(text: str) -> bool:
    """Whether `text` is a legal code string (PS3.5 6.2, CS)."""
    return _WORD.fullmatch(text) is not None


def is_pattern(keyword: str, text: str) -> bool:
    """Whether `text` is a known value of an attribute whose values are short and few."""
    return _SHOWN_AS[keyword].fullmatch(text) is not None


def is_number(value: Any) -> bool:
    """Whether pydicom made a finite number of a value."""
    return isinstance(value, (int, float)) and (isinstance(value, int) or math.isfinite(value))


def listed(value: Any) -> list[Any]:
    """The values of an element, without those that are empty."""
    if value is None or value == "":
        return []
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return list(value)
    return [value]


def aggregate_age(text: str) -> str | None:
    """An age, that of people over 89 years as 90; None if it is no age (PS3.5 6.2, AS)."""
    match = _AGE.fullmatch(text)
    if match is None:
        return None
    number, unit = int(match[1]), match[2]
    years = number / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[unit]
    return "090Y" if years > _OLDEST else text


def shift(text: str, kind: str, days: int) -> str | None:
    """A date, moment or time of day moved by whole days, without its time zone; None if it is none."""
    if kind == "TM":
        return text if _TIME.fullmatch(text) else None
    match = (_DATE if kind == "DA" else _MOMENT).fullmatch(text)
    if match is None:
        return None
    try:
        day = dt.datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=dt.UTC) + dt.timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return day.strftime("%Y%m%d").rjust(8, "0") + ((match[2] or "") if kind == "DT" else "")


def technical_words(text: str) -> str:
    """Those words of a description that are terms of imaging, in capitals."""
    words = re.findall(r"[a-z]+[a-z0-9]*|\d[a-z]+", text.casefold().replace("*", "star"))
    return " ".join(word.upper() for word in words if word in _TERMS)[:64]


@functools.cache
def _meanings() -> dict[tuple[str, str], str]:
    """Meaning of every code of DICOM, SNOMED and UCUM that pydicom's dictionaries know."""
    from pydicom.sr._concepts_dict import concepts
    from pydicom.sr._snomed_dict import mapping

    table: dict[tuple[str, str], str] = {}
    for scheme in ("DCM", "SCT", "UCUM"):
        for entries in concepts[scheme].values():
            for code, (meaning, _) in entries.items():  # some have several meanings: the shortest is the one in use
                table[scheme, code] = min(table.get((scheme, code), meaning), meaning, key=len)
    for old, new in mapping["SRT"].items():
        if ("SCT", new) in table:
            table["SRT", old] = table["SCT", new]
    return table


def known_code(scheme: str, value: str) -> str | None:
    """The meaning that the standard gives a code; None if it is not known."""
    return _meanings().get((scheme, value))
