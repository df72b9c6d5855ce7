"""The number that an answer states, and the confidence that stands beside it.

Exactly one number must be there: a range, a comparison ("< 5"), a denial or a second number is no answer. A decimal comma is read ("4,5"),
a comma in front of exactly three digits could be either mark and is refused ("1,234"), unless a decimal point follows ("1,234.5").
"""

from __future__ import annotations

import math
import re

from vrft_aug.parsing.labels import is_abstention
from vrft_aug.parsing.reading import Reading, Reason, unusable
from vrft_aug.parsing.scope import denies, hedges
from vrft_aug.parsing.tags import AnswerForm, without_thoughts
from vrft_aug.parsing.words import plain, tokens

_NUMBER = re.compile(r"(?<![^\W_])(?<![^\W_][.,])(?:(?<![0-9)%])[-+])?(?:[0-9][0-9.,]*|\.[0-9]+)(?:e[-+]?[0-9]{1,3}(?![0-9]))?")
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+(?:[.,][0-9]+)?|\.[0-9]+)(?:e[-+]?[0-9]{1,3})?")
_DOUBTFUL = re.compile(r"[-+]?[0-9]{1,3},[0-9]{3}")
_COMPARED = re.compile(r"[<>\u2264\u2265]")
_UNIT = re.compile(r"\s*([^\s\d.,;:()]*)")
_CONFIDENCE_TAG = re.compile(r"<confidence>([^<>]*)</confidence>")
_CONFIDENCE = re.compile(
    r"\bconfidence(?:\s(?:level|score))?(?:\sis|\sof)?\s?[:=]?\s?([-+]?[0-9]{0,12}[.,]?[0-9]{1,12}\s?(?:%|percent\b|/\s?[0-9]{1,9})?)(?![0-9.,]*[0-9])",
    re.IGNORECASE,
)
_SHARE = re.compile(r"([0-9]+(?:[.,][0-9]+)?|[.,][0-9]+)\s?(%|percent|/\s?([0-9]+))?")


def parse_number(text: str | None, unit: str | None = None) -> float | None:
    """The one number that an answer states, None if there is none or more than one.

    Parameters
    ----------
    text
        The answer, without tags (see :func:`vrft_aug.parsing.read_number` for completions).
    unit
        The only unit that may stand behind the number; it may be left out. By default whatever stands there does not matter, and nothing
        is ever converted.
    """
    return find_number(text, unit).value


def find_number(text: str | None, unit: str | None = None) -> Reading[float]:
    """As :func:`parse_number`, with the reason where there is none."""
    problem = unusable(text)
    if problem is not None or text is None:
        return Reading(reason=problem)
    shown = plain(text).replace("\u2212", "-")
    found = list(_NUMBER.finditer(shown))
    if not found:
        return Reading(reason=Reason.ABSTAINED if is_abstention(text) else Reason.NO_NUMBER)
    if len(found) > 1:
        return Reading(reason=Reason.SEVERAL_NUMBERS)
    words = tokens(shown)
    if any(map(denies, words)):
        return Reading(reason=Reason.DENIED)
    if _COMPARED.search(shown) or any(map(hedges, words)) or "?" in words:
        return Reading(reason=Reason.HEDGED)
    written = found[0][0].rstrip(".,")
    value = _value(written)
    if value is None:
        return Reading(reason=Reason.BAD_NUMBER)
    behind = _UNIT.match(shown, found[0].start() + len(written))
    if unit is not None and behind and behind[1] not in ("", plain(unit).strip()):
        return Reading(reason=Reason.OTHER_UNIT)
    return Reading(value)


def _value(written: str) -> float | None:
    if _THOUSANDS.fullmatch(written.lstrip("-+")):
        written = written.replace(",", "")
    elif _DOUBTFUL.fullmatch(written) or not _DECIMAL.fullmatch(written):
        return None
    value = float(written.replace(",", "."))
    return value if math.isfinite(value) else None


def find_confidence(text: str, form: AnswerForm = "tags") -> Reading[float]:
    """The confidence that a completion states outside of its thought, from 0 to 1.

    It is ``<confidence>0.8</confidence>``, or "confidence: 80 %", "confidence 0.8", "confidence: 8/10". A number above 1 needs a per cent
    sign. Two statements must be equal.

    Parameters
    ----------
    text
        A completion's text.
    form
        Where its thought stands, see :mod:`vrft_aug.parsing.tags`.
    """
    shown = without_thoughts(text, form)
    stated = _CONFIDENCE_TAG.findall(shown)
    if not stated and len(shown) <= 100_000:
        stated = _CONFIDENCE.findall(shown)
    if not stated:
        return Reading(reason=Reason.NO_NUMBER)
    values = {_share(part) for part in stated[:100]}
    if len(values) > 1:
        return Reading(reason=Reason.SEVERAL_NUMBERS)
    value = values.pop()
    if value is None:
        return Reading(reason=Reason.BAD_NUMBER)
    return Reading(value) if 0 <= value <= 1 else Reading(reason=Reason.OUT_OF_RANGE)


def without_confidence(text: str) -> str:
    """`text` without its statements of confidence, so that their numbers are not taken for the answer."""
    return _CONFIDENCE.sub(" ", _CONFIDENCE_TAG.sub(" ", text))


def _share(text: str) -> float | None:
    match = _SHARE.fullmatch(text.strip().lower())
    if match is None or len(match[1]) > 30 or len(match[3] or "") > 9:
        return None
    value = float(match[1].replace(",", "."))
    if match[3]:
        return value / int(match[3]) if int(match[3]) else None
    return value / 100 if match[2] else value
