"""What is wrong with a text that is to be injected into prompts.

============== ======== ======================================================================================
code           kind     found
============== ======== ======================================================================================
no-source      warning  nothing says where the facts come from
no-reviewer    warning  nobody is named who checked the text
length         warning  the longest text of a class has over 4 times the words of the shortest: length is a hint
long           warning  over 2000 characters are put into every prompt
too-long       fault    more characters than a prompt may get
future-date    fault    the day of writing has not come yet
missing-class  fault    a class of the task has no text while others have one
unknown-class  fault    a text belongs to no class of the task
no-attribute   fault    a text says nothing but names of classes
same-text      fault    two classes have the same text, but for their names
instruction    fault    the text tells what to answer instead of what is to be seen
tag            fault    the text holds tags of answers or chats
============== ======== ======================================================================================
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from medcore.metrics.text import words
from vrft_aug.knowledge import MAX_CHARACTERS, Knowledge

LONG = 2000
"""Characters of a text above which it makes every prompt expensive."""
LENGTH_RATIO = 4
"""Ratio of the words of two classes' texts above which length is a hint."""
_FEW_WORDS = 12  # below this many, ratios of lengths say nothing
_FILLERS = frozenset(
    words(
        "a an the is are was it its this that these those there here of in on at to for with without as by from and or but not no any "
        "image images picture film scan shows show showing shown seen sees see looks look looking like typical typically class classes "
        "label labels name named called grade grades category finding findings means mean case cases patient patients has have having "
        "be being can may does do which who what"
    )
)
_TAG = re.compile(r"</?\s*(?:think|answer|image|video|tool|system|user|assistant)\b[^<>]{0,40}>|<\|[^<>|]{1,40}\|>", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?;\n]+")
_IMPERATIVE = re.compile(
    r"\s*(?:please\s+)?(?:answer|reply|respond|output|choose|select|pick|predict|classify|diagnose|always|never|ignore|disregard)\b",
    re.IGNORECASE,
)
_ADDRESSED = re.compile(
    r"\b(?:you|the model|the assistant)\s+(?:must|should|shall|will|have to|has to|are to|is to)\b"
    r"|\b(?:correct|right|true|final)\s+(?:answer|label|class)\b|\banswer\s+(?:is|should|must|with)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    code: str
    """Short name, see the modules that make findings."""
    severity: Literal["fault", "warning"]
    """A fault fails the check."""
    where: str
    """Key of the knowledge file, or stage and task of a recipe."""
    problem: str
    """What is wrong, with the value."""
    remedy: str
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.severity} {self.code}: {self.where}: {self.problem}; {self.remedy}"


def lint_knowledge(knowledge: Knowledge, classes: Sequence[str] = (), *, today: dt.date | None = None) -> list[Finding]:
    """Everything that the module's table lists and that holds for `knowledge`.

    Parameters
    ----------
    knowledge
        The content of a knowledge file.
    classes
        Names of the classes of the task; without them, whether the right classes have a text is not looked at.
    today
        The day to compare with, by default that of this machine.
    """
    return [
        *_origin(knowledge, today or dt.datetime.now(dt.UTC).date()),
        *_coverage(knowledge, classes),
        *_lengths(knowledge),
        *_contents(knowledge, classes or list(knowledge.classes)),
        *_wording(knowledge, classes or list(knowledge.classes)),
    ]


def _origin(knowledge: Knowledge, today: dt.date) -> Iterator[Finding]:
    origin = knowledge.provenance
    if not origin.source:
        yield _warn("no-source", "provenance.source", "is missing", "say where the facts come from")
    if not (origin.reviewed_by or "").strip():
        by = f"written by {origin.model}" if origin.model.strip().casefold() != "none" else f"written by {origin.author}"
        yield _warn(
            "no-reviewer", "provenance.reviewer", f"is missing for a text {by}", "let somebody who knows the field check it"
        )
    if dt.date.fromisoformat(origin.date) > today:
        yield _fault("future-date", "provenance.date", f"is {origin.date}, which is after {today}", "state the day of writing")


def _coverage(knowledge: Knowledge, classes: Sequence[str]) -> Iterator[Finding]:
    if not classes or not knowledge.classes:
        return
    for name in classes:
        if name not in knowledge.classes:
            yield _fault("missing-class", f"classes.{name}", "has no text", "write a text for every class or for none")
    for name in knowledge.classes:
        if name not in classes:
            yield _fault("unknown-class", f"classes.{name}", f"is none of {', '.join(classes)}", "use the names of the data")


def _lengths(knowledge: Knowledge) -> Iterator[Finding]:
    total = len(knowledge.task) + sum(len(name) + len(text) for name, text in knowledge.classes.items())
    if total > MAX_CHARACTERS:
        yield _fault("too-long", "knowledge", f"has {total} characters, more than {MAX_CHARACTERS}", "shorten it")
    elif total > LONG:
        yield _warn("long", "knowledge", f"puts {total} characters into every prompt", "keep what can be seen in an image")
    counts = {name: len(words(text)) for name, text in knowledge.classes.items()}
    if counts:
        short, long = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if counts[long] > max(_FEW_WORDS, LENGTH_RATIO * counts[short]):
            problem = f"has {counts[long]} words and {short} has {counts[short]}"
            yield _warn("length", f"classes.{long}", problem, "write texts of similar length")


def _contents(knowledge: Knowledge, classes: Sequence[str]) -> Iterator[Finding]:
    """What the texts of the classes say beside names."""
    names = {word for name in classes for word in words(name)}
    said = {name: [word for word in words(text) if word not in names] for name, text in knowledge.classes.items()}
    for name, text in said.items():
        if not set(text) - _FILLERS:
            problem = f"{_short(knowledge.classes[name])!r} names no attribute, only classes"
            yield _fault("no-attribute", f"classes.{name}", problem, "say what can be seen")
    for first, second in combinations(said, 2):
        if said[first] == said[second] and set(said[first]) - _FILLERS:
            problem = f"and classes.{second} have the same text, but for their names"
            yield _fault("same-text", f"classes.{first}", problem, "say what tells them apart")


def _wording(knowledge: Knowledge, classes: Sequence[str]) -> Iterator[Finding]:
    choices = "|".join(re.escape(name) for name in sorted(classes, key=len, reverse=True))
    told = re.compile(
        rf"\b(?:answer|reply|respond|say|write|output|choose|select|pick|predict|diagnose|label)\b(?:\s+(?:it|with|as|this))*\s+[\"'(\u201c]?(?:{choices})\b",
        re.IGNORECASE,
    )
    texts = {"task": knowledge.task, **{f"classes.{name}": text for name, text in knowledge.classes.items()}}
    for where, text in texts.items():
        tag = _TAG.search(text)
        if tag:
            yield _fault("tag", where, f"holds {tag[0]!r}, which the model or the parser may take for its own", "remove it")
        for sentence in _SENTENCE.findall(" ".join(text.split())):
            if _IMPERATIVE.match(sentence) or _ADDRESSED.search(sentence) or (choices and told.search(sentence)):
                problem = f"{_short(sentence)!r} tells what to answer"
                yield _fault("instruction", where, problem, "say what can be seen, not what to answer")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def _fault(code: str, where: str, problem: str, remedy: str) -> Finding:
    return Finding(code=code, severity="fault", where=where, problem=problem, remedy=remedy)


def _warn(code: str, where: str, problem: str, remedy: str) -> Finding:
    return Finding(code=code, severity="warning", where=where, problem=problem, remedy=remedy)
