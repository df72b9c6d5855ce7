"""The class, or the classes, that an answer names.

- A class is named by whole words, never by a part of one: "abnormal" does not name "normal". Case and Unicode width do not matter, hyphens
  and underscores separate words; the longest name wins ("no finding" before "finding").
- A denied name does not count: "no pneumonia" does not name "pneumonia". A denial ("no", "not", "without", ...) reaches to the end of its
  sentence or to a "but". If two classes exist and one of them is declared `negative`, denying the other one names it.
- A name that is left open ("possible pneumonia", "pneumonia cannot be excluded", "pneumonia?", "pneumonia or edema") spoils the answer.
  Words of confidence ("likely", "probably", "suspicious for", "consistent with") do not: the answer has taken a side.
- Two different classes, or one that is named and denied, are no answer to a question for one.
- Option letters are read if the answer is a letter only ("B", "(b)", "option B") or begins with one and a mark ("C) CT"); what
  stands behind it must name the same class, and no other option may be marked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from vrft_aug.parsing.reading import REMEMBERED, Reading, Reason, unusable
from vrft_aug.parsing.scope import Status, statuses
from vrft_aug.parsing.words import Mention, Synonyms, Vocabulary, plain, tokens, vocabulary

_SPACES = re.compile(r"[^\S\n]+")
_LETTER_ONLY = re.compile(
    r"(?:(?:the )?(?:correct |right |best |final )?(?:option|choice|answer)(?: is)?)? ?[:(\[]? ?([a-z])[ )\].:]*", re.IGNORECASE
)
_LETTER_FIRST = re.compile(
    r"(?:(?:option|choice) )?(?:\(([a-z])\)|\[([a-z])\]|([a-z])(?: ?[).:]| [-\u2013\u2014] ))\s?(\S.*)", re.DOTALL | re.IGNORECASE
)
_LETTER_LIST = re.compile(r"\(?[a-z]\)?(?:(?: ?[,;&\n] ?| and | )\(?[a-z]\)?)+\.?", re.IGNORECASE)
_MARKED = re.compile(r"(?<![^\W_])([a-z])\)", re.IGNORECASE)


def _phrases(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(phrase.split()) for phrase in text.split("|"))


_ABSTENTIONS = _phrases(
    "unsure|uncertain|unknown|undetermined|indeterminate|inconclusive|abstain|i abstain|not sure|i am not sure|i'm not sure|"
    "i am unsure|i don't know|i do not know|don't know|cannot tell|can't tell|i cannot tell|cannot determine|cannot be determined|"
    "unable to determine|cannot say|not certain|insufficient information|not enough information"
)
_NOTHING = _phrases(
    "none|none of these|none of them|none of the above|nothing|no finding|no findings|no abnormality|no abnormalities|normal|"
    "unremarkable|no disease|no label|no labels|no abnormal findings|no abnormal finding"
)


def parse_label(
    text: str | None,
    classes: Sequence[str],
    synonyms: Synonyms | None = None,
    *,
    negative: str | None = None,
    letters: bool = True,
) -> str | None:
    """The one class that an answer names, None if there is none or more than one.

    Parameters
    ----------
    text
        The answer, without tags (see :func:`vrft_aug.parsing.read_label` for completions).
    classes
        All class names, in the order in which options are lettered.
    synonyms
        Further names of classes.
    negative
        Of two classes, the one that means the absence of the other.
    letters
        Whether option letters are read; never where a class is itself called by one letter.
    """
    return find_label(text, classes, synonyms, negative=negative, letters=letters).value


def find_label(
    text: str | None,
    classes: Sequence[str],
    synonyms: Synonyms | None = None,
    *,
    negative: str | None = None,
    letters: bool = True,
) -> Reading[str]:
    """As :func:`parse_label`, with the reason where there is none."""
    problem = unusable(text)
    if problem is not None or text is None:
        return Reading(reason=problem)
    known = vocabulary(classes, synonyms)
    stripped = text.strip()
    if stripped in known.classes:
        return Reading(stripped)
    read = _read_remembered if len(text) <= REMEMBERED else _read
    return read(text, known, negative, letters and not known.lettered)


def _read(text: str, known: Vocabulary, negative: str | None, letters: bool) -> Reading[str]:
    words = tokens(plain(text))
    if letters and tuple(words) not in known.phrases:
        found = _letter(text, known.classes)
        if found is not None:
            return _lettered(*found, known, negative)
    reading = _one(words, known, negative)
    if letters and reading.value is not None and not _marks(text, known.classes) <= {reading.value}:
        return Reading(reason=Reason.CONFLICT)
    return reading


_read_remembered = lru_cache(maxsize=2048)(_read)


def is_abstention(text: str | None) -> bool:
    """Whether an answer says that it gives none, such as "unsure" or "cannot tell"."""
    return bool(text) and len(text or "") < 100 and tuple(w for w in tokens(plain(text or "")) if w not in ".!") in _ABSTENTIONS


def _lettered(name: str, rest: str, known: Vocabulary, negative: str | None) -> Reading[str]:
    if not rest:
        return Reading(name)
    named = _one(tokens(plain(rest)), known, negative)
    if named.value is None:
        return named
    agree = named.value == name and _marks(rest, known.classes) <= {name}
    return named if agree else Reading(reason=Reason.CONFLICT)


def _letter(text: str, classes: Sequence[str]) -> tuple[str, str] | None:
    """The class of an option letter and the text behind the letter."""
    stripped = _spaced(text)
    alone, first = _LETTER_ONLY.fullmatch(stripped), _LETTER_FIRST.fullmatch(stripped)
    if alone:
        letter, rest = alone[1], ""
    elif first:
        letter, rest = first[1] or first[2] or first[3], first[4]
    else:
        return None
    number = _place(letter)
    return (classes[number], rest) if number < len(classes) else None


def _spaced(text: str) -> str:
    """`text` with single spaces, so that no pattern has to try several ways to pass them."""
    return _SPACES.sub(" ", text if text.isascii() else unicodedata.normalize("NFKC", text)).strip()


def _marks(text: str, classes: Sequence[str]) -> set[str]:
    """The classes whose option letters are marked in a text, as in "b)"."""
    if ")" not in text:
        return set()
    return {classes[number] for letter in _MARKED.findall(text) if (number := _place(letter)) < len(classes)}


def _place(letter: str) -> int:
    return ord(letter.upper()[0]) - ord("A")


class Named(NamedTuple):
    """The classes that an answer names, by how it speaks of them; one class may be in several sets."""

    stated: set[str]
    denied: set[str]
    left_open: set[str]

    @property
    def problem(self) -> Reason | None:
        """Why this cannot be one answer; None if at most one class is stated and nothing speaks against it."""
        if len(self.stated) > 1:
            return Reason.SEVERAL
        if self.stated & self.denied:
            return Reason.CONFLICT
        return Reason.HEDGED if self.left_open else None


def sort_mentions(words: Sequence[str], mentions: Sequence[Mention], *, several: bool = False) -> Named:
    """Sort the classes of `mentions`, see :func:`vrft_aug.parsing.scope.statuses`."""
    named = Named(set(), set(), set())
    for mention, status in zip(mentions, statuses(words, mentions, several=several), strict=True):
        chosen = named.stated if status is Status.STATED else named.denied if status is Status.DENIED else named.left_open
        chosen |= mention.owners
    return named


def _one(words: list[str], known: Vocabulary, negative: str | None) -> Reading[str]:
    """The one class that is stated."""
    mentions = known.mentions(words)
    if not mentions:
        return Reading(reason=Reason.ABSTAINED if tuple(w for w in words if w not in ".!") in _ABSTENTIONS else Reason.NOT_NAMED)
    found = sort_mentions(words, mentions)
    if found.problem is not None:
        return Reading(reason=found.problem)
    if found.stated:
        return Reading(found.stated.pop())
    if len(known.classes) == 2 and negative in known.classes and found.denied == set(known.classes) - {negative}:
        return Reading(negative)
    return Reading(reason=Reason.DENIED)


def parse_labels(
    text: str | None,
    classes: Sequence[str],
    synonyms: Synonyms | None = None,
    *,
    negative: str | None = None,
    letters: bool = True,
) -> frozenset[str] | None:
    """All classes that an answer names, where several may be true together; None if they cannot be read.

    Denied names are left out. No class at all, the empty set, is answered by "none", "no finding", "normal" and the like, or by denying
    every class. A name left open spoils the answer, and so does denying some classes without naming any.

    Parameters
    ----------
    text
        The answer, without tags (see :func:`vrft_aug.parsing.read_labels` for completions).
    classes, synonyms, letters
        As for :func:`parse_label`; several letters ("A, C") name several classes.
    negative
        The class that means the absence of all others, if there is one; with another it contradicts itself, and "none" names it.
    """
    return find_labels(text, classes, synonyms, negative=negative, letters=letters).value


def find_labels(
    text: str | None,
    classes: Sequence[str],
    synonyms: Synonyms | None = None,
    *,
    negative: str | None = None,
    letters: bool = True,
) -> Reading[frozenset[str]]:
    """As :func:`parse_labels`, with the reason where there are none."""
    problem = unusable(text)
    if problem is not None or text is None:
        return Reading(reason=problem)
    known = vocabulary(classes, synonyms)
    if text.strip() in known.classes:
        return Reading(frozenset({text.strip()}))
    words = tokens(plain(text))
    read_letters = letters and not known.lettered
    if read_letters:
        named = _letter_list(text, known.classes)
        if named is not None:
            return _together(named, negative)
    mentions = known.mentions(words)
    nothing = tuple(word for word in words if word not in ".!") in _NOTHING or text.strip() == "[]"
    if not mentions:
        if nothing:
            return Reading(frozenset({negative} if negative in known.classes else ()))
        return Reading(reason=Reason.ABSTAINED if is_abstention(text) else Reason.NOT_NAMED)
    found = sort_mentions(words, mentions, several=True)
    stated, denied = found.stated, found.denied
    if stated & denied or any(len(mention.owners) > 1 for mention in mentions):
        return Reading(reason=Reason.CONFLICT)
    if found.left_open:
        return Reading(reason=Reason.HEDGED)
    if not stated:
        everything = denied >= set(known.classes) - {negative}
        return Reading(frozenset(set(known.classes) & {negative})) if everything else Reading(reason=Reason.DENIED)
    marked = _marks(text, known.classes) if read_letters else set()
    if marked and marked != stated:
        return Reading(reason=Reason.CONFLICT)
    return _together(stated, negative)


def _together(stated: set[str], negative: str | None) -> Reading[frozenset[str]]:
    alone = negative not in stated or len(stated) == 1
    return Reading(frozenset(stated)) if alone else Reading(reason=Reason.CONFLICT)


def _letter_list(text: str, classes: Sequence[str]) -> set[str] | None:
    """The classes of an answer that is nothing but letters, None if it is something else."""
    stripped = _spaced(text)
    alone = _LETTER_ONLY.fullmatch(stripped)
    if alone:
        places = [_place(alone[1])]
    elif _LETTER_LIST.fullmatch(stripped):
        places = [_place(word) for word in tokens(plain(stripped)) if len(word) == 1 and word.isalpha()]
    else:
        return None
    return {classes[place] for place in places} if max(places) < len(classes) else None
