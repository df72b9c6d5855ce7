"""The faults that prepared data must not have, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from medcore.datasets.tolerance import SampleFault
from medcore.errors import ConfigError
from medcore.plugins import unknown_name

FAULTS = {
    "missing-image": "an entry names an image that is not there",
    "outside-path": "an entry names a file outside the folder: an absolute path, '..', a link",
    "damaged-image": "an image is cut, damaged or no image",
    "bomb": "an image claims more pixels than any image may have; it is not decoded",
    "several-frames": "an image is animated or has several pages",
    "wrong-size": "an image or a mask has another size than is stated or needed",
    "bad-entry": "a line, annotation or object cannot be read",
    "repeated": "an identifier or image is listed twice",
    "no-label": "an image has no row, or a row no label",
    "no-subject": "a file name does not hold the patient that subject_pattern looks for",
    "unknown-label": "a label is none of the classes",
    "label-typo": "a rare label is written nearly like a frequent one",
    "lone-label": "a class has one sample, so it can be learnt or judged, not both",
    "grade-gap": "a grade between the lowest and the highest has no sample",
    "open-question": "a question has no choices and is not answered by yes or no",
    "box-convention": "boxes fit their images in another convention than the one they are read in",
    "box-outside": "a box reaches beyond its image",
    "bad-box": "a box has swapped corners or a negative extent",
    "zero-box": "a box has zero area",
    "empty-mask": "a mask is black everywhere",
    "duplicate": "two samples of one part have the same pixels",
    "label-conflict": "samples with the same pixels have different labels",
    "leak": "samples of two parts have the same pixels",
    "near-leak": "samples of two parts show one picture, re-encoded, scaled, brightened or cut",
    "patient-leak": "one subject is in two parts",
}
"""Names for ``--allow`` and what each means."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Attributes
    ----------
    kind
        One of :data:`FAULTS`.
    sentence
        What is wrong, where, and how to mend it.
    leave
        Samples that are left out where this kind is allowed; none where the data as a whole are concerned.
    """

    kind: str
    sentence: str
    leave: tuple[str, ...] = ()

    def as_dict(self, allowed: Iterable[str]) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "samples": list(self.leave),
            "allowed": self.kind in set(allowed),
        }


def from_reader(found: Iterable[SampleFault]) -> list[Fault]:
    """Faults that a reader met."""
    return [Fault(kind=f.kind if f.kind in FAULTS else "bad-entry", sentence=f.sentence, leave=(f.sample,)) for f in found]


def check_allowed(kinds: Sequence[str]) -> tuple[str, ...]:
    """`kinds` as given.

    Raises
    ------
    ConfigError
        If one is no fault.
    """
    for kind in kinds:
        if kind not in FAULTS:
            raise unknown_name("fault", kind, list(FAULTS))
    if len(set(kinds)) < len(kinds):
        raise ConfigError("--allow", "names a fault twice", "name each once")
    return tuple(kinds)
