"""Build a clean data set from an old one: a new one is filled with what may stay, nothing is deleted from a copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from medcore.__about__ import __version__
from medcore.io.deidentify.attributes import ALWAYS_EMPTY, TEMPORAL, Action, action_for
from medcore.io.deidentify.identity import Pseudonyms, identity_of
from medcore.io.deidentify.options import DeidentifyOptions
from medcore.io.deidentify.values import (
    DUMMY,
    DUMMY_TEXT,
    aggregate_age,
    is_number,
    is_pattern,
    is_word,
    known_code,
    listed,
    shift,
    technical_words,
)

_MAX_DEPTH = 16
_MIN_ECHO = 4
_NAMING = ("PatientID", "OtherPatientIDs", "AccessionNumber", "InstitutionName", "PatientBirthDate", "PatientTelephoneNumbers")
# Words that the standard defines for image types and the like, which a name may happen to equal.
_HARMLESS = frozenset(
    {
        *("ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "NONE", "MIXED", "NORM"),
        *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RESEARCH", "VOLUME", "QUANTITY", "CODE", "HEAD", "BRAIN", "SPIN"),
    }
)


class TooDeepError(ValueError):
    """Sequences are nested deeper than any sound image has them."""


class Cleaner:
    """Cleans data sets of one run.

    Parameters
    ----------
    options
        What may be kept.
    pseudonyms
        New identifiers.
    """

    def __init__(self, options: DeidentifyOptions, pseudonyms: Pseudonyms) -> None:
        self.options, self.pseudonyms = options, pseudonyms
        self.counts: Counter[tuple[str, str]] = Counter()
        self._names: frozenset[str] = frozenset()
        self._subject, self._days, self._multi_frame = "", 0, False

    def clean(self, dataset: Any) -> Any:
        """A new data set with what may stay of `dataset`, which is not changed.

        Raises
        ------
        TooDeepError
            If sequences are nested too deeply.
        """
        identity = identity_of(dataset)
        self._subject, self._days = self.pseudonyms.subject(identity), self.pseudonyms.shift_days(identity)
        self._multi_frame = "PerFrameFunctionalGroupsSequence" in dataset
        self._names = frozenset(_names_in(dataset, 0))
        clean = self._copy(dataset, 0)
        self._declare(clean)
        return clean

    def _copy(self, source: Any, depth: int) -> Any:
        from pydicom.dataset import Dataset

        if depth > _MAX_DEPTH:
            raise TooDeepError
        clean = Dataset()
        for tag in sorted(source.keys()):
            keyword, kind = _known(tag)
            action = action_for(keyword, tag.group, kind, self.options, multi_frame=self._multi_frame)
            before = len(clean)
            done = action.value if action is Action.REMOVE else self._apply(action, source[tag], keyword, kind, clean, depth)
            name = f"{keyword} " if keyword else "private " if tag.is_private else ""
            self.counts[f"{name}({tag.group:04X},{tag.element:04X})", done if len(clean) > before else "removed"] += 1
        return clean

    def _apply(self, action: Action, element: Any, keyword: str, kind: str, clean: Any, depth: int) -> str:
        """Put what may stay of an element into `clean`; returns the word for what was done."""
        if not (kind == element.VR or element.VR in kind.split(" or ")):  # it is not what it should be
            return "removed"
        if action is Action.BYTES:
            clean.add(_same(element, element.value))
            return "kept"
        if action is Action.SEQUENCE:
            return self._sequence(element, clean, depth)
        if action is Action.EMPTY:
            clean.add(_new(element, kind, [] if kind == "SQ" else ""))
            return "emptied"
        if action is Action.SUBJECT:
            clean.add(_new(element, kind, self._subject))
            return "replaced"
        values, done = self._values(action, keyword, kind, listed(element.value))
        if values is not None:
            clean.add(_new(element, kind, values[0] if len(values) == 1 else values))
        return done

    def _sequence(self, element: Any, clean: Any, depth: int) -> str:
        items = list(element.value)
        kept = [_code_item(item) if "CodeValue" in item else self._copy(item, depth + 1) for item in items]
        kept = [item for item in kept if item is not None]
        if kept or not items:
            clean.add(_new(element, "SQ", kept))
        return "kept" if len(kept) == len(items) else "replaced"

    def _values(self, action: Action, keyword: str, kind: str, values: list[Any]) -> tuple[list[Any] | None, str]:
        """The new values, None to remove the attribute; and what was done."""
        if action is Action.NUMBER:
            return (values, "kept") if all(map(is_number, values)) else (None, "removed")
        texts = [str(v) for v in values]
        if action is Action.WORD:
            return self._words(texts)
        if action is Action.PATTERN:
            return (texts, "kept") if texts and all(is_pattern(keyword, t) for t in texts) else (None, "removed")
        if action is Action.TEXT:
            return (texts, "kept") if texts and not any(map(self._echoes, texts)) else self._without_text()
        if action is Action.AGE:
            ages = [aggregate_age(t) for t in texts]
            return ([a for a in ages if a], "kept" if ages == texts else "replaced") if ages and all(ages) else (None, "removed")
        if action is Action.DESCRIPTION:
            words = " ".join(w for w in technical_words(" ".join(texts)).split() if not self._echoes(w))
            return ([words], "replaced") if words else (None, "removed")
        if action is Action.DATE:
            return self._dates(keyword, kind, texts)
        if action is Action.UID:
            new = [self.pseudonyms.uid(t) for t in texts]
            return new, "kept" if new == texts else "replaced"
        if action is Action.LABEL:
            return [t if t.isdigit() and len(t) <= 2 else self.pseudonyms.small_label(t) for t in texts], "replaced"
        return [DUMMY_TEXT], "replaced"

    def _without_text(self) -> tuple[list[Any] | None, str]:
        return ([DUMMY_TEXT], "replaced") if self._multi_frame else (None, "removed")

    def _words(self, texts: list[str]) -> tuple[list[Any] | None, str]:
        """Code strings; one that is none, or that repeats a name, is replaced where its place among others matters."""
        good = [is_word(t) and not self._echoes(t) for t in texts]
        if all(good):
            return texts, "kept"
        if len(texts) > 1:
            return [t if ok else DUMMY_TEXT for t, ok in zip(texts, good, strict=True)], "replaced"
        return None, "removed"

    def _dates(self, keyword: str, kind: str, texts: list[str]) -> tuple[list[Any] | None, str]:
        if self.options.dates == "shift":
            moved = [shift(t, kind, self._days) for t in texts]
            if moved and all(moved):
                return moved, "replaced"
        if keyword in TEMPORAL and self._multi_frame:
            return [DUMMY[kind]], "replaced"
        return ([""], "emptied") if keyword in ALWAYS_EMPTY else (None, "removed")

    def _echoes(self, text: str) -> bool:
        """Whether a text repeats a name or number of the persons in the file."""
        if text.strip() in _HARMLESS:
            return False
        folded = text.casefold()
        return any(name in folded for name in self._names)

    def _declare(self, clean: Any) -> None:
        """What the profile demands in every file, and what images must have."""
        from pydicom.dataset import Dataset
        from pydicom.sr.codedict import codes

        clean.SpecificCharacterSet = "ISO_IR 192"
        for keyword in ALWAYS_EMPTY:
            if keyword not in clean:
                setattr(clean, keyword, "")
        clean.PatientID = clean.PatientName = self._subject
        clean.PatientIdentityRemoved = "YES"
        clean.DeidentificationMethod = f"medcore {__version__}, PS3.15 Annex E"
        clean.DeidentificationMethodCodeSequence = []
        for keyword in self.options.codes():
            code, item = getattr(codes.DCM, keyword), Dataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, "DCM", code.meaning
            clean.DeidentificationMethodCodeSequence.append(item)
        clean.LongitudinalTemporalInformationModified = "MODIFIED" if self.options.dates == "shift" else "REMOVED"


def _known(tag: Any) -> tuple[str, str]:
    """Keyword and value representation by the dictionary of the standard; empty where it has none."""
    from pydicom.datadict import DicomDictionary

    entry = None if tag.is_private else DicomDictionary.get(int(tag))
    return (entry[4], entry[0]) if entry else ("", "")


def _names_in(dataset: Any, depth: int) -> Iterator[str]:
    """Parts of names and numbers of persons and institutions, in lower case; standard attributes at every depth."""
    if depth > _MAX_DEPTH:
        raise TooDeepError
    for tag in dataset.keys():  # noqa: SIM118 - iterating a data set would convert private elements too
        keyword, kind = _known(tag)
        if kind == "SQ":
            element = dataset[tag]
            for item in element.value if element.VR == "SQ" else ():
                yield from _names_in(item, depth + 1)
        elif kind == "PN" or keyword in _NAMING:
            for value in listed(dataset[tag].value):
                text = str(value).casefold()
                yield from (p for p in (text, *text.replace("=", "^").replace(" ", "^").split("^")) if len(p) >= _MIN_ECHO)


def _new(element: Any, kind: str, value: Any) -> Any:
    from pydicom.dataelem import DataElement

    return DataElement(element.tag, element.VR if " or " in kind else kind, value)


def _same(element: Any, value: bytes) -> Any:
    from pydicom.dataelem import DataElement

    new = DataElement(element.tag, element.VR, value)
    new.is_undefined_length = element.is_undefined_length
    return new


def _code_item(item: Any) -> Any:
    """A code that the standard's dictionaries know, with the meaning that they give; None for any other."""
    from pydicom.dataset import Dataset

    value, scheme = str(item.get("CodeValue") or ""), str(item.get("CodingSchemeDesignator") or "")
    meaning = known_code(scheme, value)
    if meaning is None:
        return None
    clean = Dataset()
    clean.CodeValue, clean.CodingSchemeDesignator, clean.CodeMeaning = value, scheme, meaning
    return clean
