"""What is wrong with single samples: raised as ever, or, while somebody collects it, noted so that all of it is found in one pass.

Readers refuse a data set at its first fault. Whoever prepares one wants the whole list::

    with collect_faults() as found:
        dataset = VocFolder("cells")        # what cannot be read is left out
    for fault in found.faults:
        print(fault.kind, fault.sentence)

A sample may be in the data set and among the faults (a box of zero area): who collects decides what becomes of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from medcore.errors import ConfigError, InputError, MissingExtraError


class SampleError(InputError):
    """One sample cannot be used; the others may be.

    Parameters
    ----------
    what, problem, hint
        As in :class:`medcore.errors.MedcoreError`.
    kind
        Name of the fault, see :class:`SampleFault`.
    """

    def __init__(self, what: str | Path, problem: str, hint: str, kind: str = "damaged-image") -> None:
        super().__init__(what, problem, hint)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class SampleFault:
    """What is wrong with one sample.

    Attributes
    ----------
    kind
        Name that never changes: ``missing-image``, ``outside-path``, ``damaged-image``, ``bomb``, ``several-frames``, ``deep-image``,
        ``wrong-size``, ``no-label``, ``unknown-label``, ``repeated``, ``zero-box``, ``box-outside``, ``empty-mask``, ``bad-entry``.
    sample
        Identifier of the sample, or the place that would have made one (a line of a table).
    what, problem, hint
        Where, what, and how to mend it.
    """

    kind: str
    sample: str
    what: str
    problem: str
    hint: str

    @property
    def sentence(self) -> str:
        """The three parts as one line."""
        return " ".join(f"{self.what}: {self.problem}; {self.hint}".split())


@dataclass(frozen=True, kw_only=True)
class StatedBox:
    """A box as its file states it, in whatever convention that was.

    Attributes
    ----------
    sample
        Its image.
    numbers
        The four numbers.
    height, width
        Of the image.
    """

    sample: str
    numbers: tuple[float, float, float, float]
    height: int
    width: int


@dataclass(kw_only=True, eq=False)
class Collected:
    """What was found while reading.

    Attributes
    ----------
    faults
        In the order in which they were met.
    remarks
        What is no fault but changes pixels, such as a conversion of colours.
    boxes
        Every box as stated.
    """

    faults: list[SampleFault] = field(default_factory=list)
    remarks: list[SampleFault] = field(default_factory=list)
    boxes: list[StatedBox] = field(default_factory=list)

    def add(self, error: InputError, sample: str, kind: str) -> None:
        """Note an error; an error that names its own kind keeps it."""
        own = error.kind if isinstance(error, SampleError) else kind
        self.faults.append(SampleFault(kind=own, sample=sample, what=error.what, problem=error.problem, hint=error.hint))


_NOW: ContextVar[Collected | None] = ContextVar("collected faults", default=None)


@contextlib.contextmanager
def collect_faults() -> Iterator[Collected]:
    """Collect, instead of raising, what is wrong with single samples; in this thread and until the block ends."""
    found = Collected()
    token = _NOW.set(found)
    try:
        yield found
    finally:
        _NOW.reset(token)


@contextlib.contextmanager
def spare(sample: str, kind: str = "bad-entry") -> Iterator[None]:
    """Errors in this block concern one sample only: noted where they are collected, raised where they are not.

    Wrong options and missing libraries are always raised.
    """
    try:
        yield
    except (ConfigError, MissingExtraError):
        raise
    except InputError as error:
        found = _NOW.get()
        if found is None:
            raise
        found.add(error, sample, kind)


def report(sample: str, error: SampleError) -> bool:
    """Note `error` where errors are collected; False, and nothing else, where they are not."""
    found = _NOW.get()
    if found is not None:
        found.add(error, sample, error.kind)
    return found is not None


def remark(what: str | Path, problem: str, hint: str, kind: str) -> None:
    """Note what is no fault, where anything is collected."""
    found = _NOW.get()
    if found is not None:
        found.remarks.append(SampleFault(kind=kind, sample=Path(what).name, what=str(what), problem=problem, hint=hint))


def note_box(sample: str, numbers: tuple[float, float, float, float], height: int, width: int) -> None:
    """Note a box as stated, where anything is collected."""
    found = _NOW.get()
    if found is not None:
        found.boxes.append(StatedBox(sample=sample, numbers=numbers, height=height, width=width))
