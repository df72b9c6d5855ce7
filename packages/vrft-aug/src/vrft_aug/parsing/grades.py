"""The grade that an answer states.

A grade is stated by its name, by its number counted from 0 ("2", "grade 2"), or by both if they agree. Behind a word such as grade, stage
or level, or if they are the whole answer, number words and Roman numbers count as well ("grade two", "Grade II"). "2 of 4" and "2/4" name
the top of the scale and are read only if it is the top of this scale. Denied and open grades are refused as for labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from vrft_aug.parsing.labels import is_abstention, sort_mentions
from vrft_aug.parsing.reading import REMEMBERED, Reading, Reason, unusable
from vrft_aug.parsing.words import Synonyms, Vocabulary, build, plain, tokens

_NUMBER = re.compile(r"(?:(?<![^\W_])[-+])?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:e[-+]?[0-9]{1,3})?")
_BORDER = re.compile(r"(?<=[a-z])(?=[0-9])|(?<=[0-9])(?=[a-z])")
_SLASH = re.compile(r"(?<=[0-9])\s?/\s?(?=[0-9])")
_RANGE = re.compile(r"(?<![0-9.])0\s?(?:-|\u2013|to)\s?([0-9]{1,3})(?![0-9.])")
_COMPARED = re.compile(r"(?<!-)[<>\u2264\u2265~]\s?=?\s?[0-9]")
_NOUNS = frozenset(("grade", "grades", "graded", "stage", "level", "score", "degree", "category", "class", "isup", "rads", "kl"))
_LINKS = frozenset(("is", "of", "as", "at", "equals"))
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ROMAN = ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
_COUNTED = {word: str(number) for names in (_WORDS, _ROMAN) for number, word in enumerate(names) if word}


@dataclass(frozen=True, eq=False)
class _Scale:
    """Names and numbers of grades, ready to be looked for; made once, so that it can be told from others by identity."""

    total: int
    known: Vocabulary
    numbered: bool


def parse_grade(text: str | None, grades: Sequence[str] | int, synonyms: Synonyms | None = None) -> int | None:
    """The grade an answer states, counted from 0; None if there is none or more than one.

    Parameters
    ----------
    text
        The answer, without tags (see :func:`vrft_aug.parsing.read_grade` for completions).
    grades
        Names of all grades in rising order, or their number. Numbers are not read where they mean something else in the names
        ("grade 1" for the lowest grade).
    synonyms
        Further names of named grades.
    """
    return find_grade(text, grades, synonyms).value


def find_grade(text: str | None, grades: Sequence[str] | int, synonyms: Synonyms | None = None) -> Reading[int]:
    """As :func:`parse_grade`, with the reason where there is none."""
    problem = unusable(text)
    if problem is not None or text is None:
        return Reading(reason=problem)
    names = () if isinstance(grades, int) else tuple(grades)
    stripped = text.strip()
    if stripped in names:
        return Reading(names.index(stripped))
    others = tuple((name, tuple(synonyms[name])) for name in names if name in synonyms) if synonyms else ()
    scale = _scale(names, grades if isinstance(grades, int) else len(names), others)
    if scale.numbered and len(stripped) < 4 and _is_number(stripped):  # the usual answer
        return Reading(int(stripped)) if int(stripped) < scale.total else Reading(reason=Reason.OUT_OF_RANGE)
    return (_read_remembered if len(text) <= REMEMBERED else _read)(text, scale)


def _read(text: str, scale: _Scale) -> Reading[int]:
    shown = plain(text)
    if scale.numbered:
        shown = _RANGE.sub(lambda found: " " if int(found[1]) == scale.total - 1 else found[0], shown)
        if not all(map(str.isdigit, _NUMBER.findall(shown))):
            return Reading(reason=Reason.BAD_NUMBER)
    words = _counted(tokens(_BORDER.sub(" ", _SLASH.sub(" of ", shown))), whole=scale.numbered)
    if scale.numbered:
        words, fits = _without_top(words, scale)
        if not fits:
            return Reading(reason=Reason.OUT_OF_RANGE)
    return _stated(text, words, scale, compared=_COMPARED.search(shown) is not None)


_read_remembered = lru_cache(maxsize=2048)(_read)


def _stated(text: str, words: list[str], scale: _Scale, *, compared: bool) -> Reading[int]:
    mentions = scale.known.mentions(words)
    inside = {place for mention in mentions for place in range(mention.start, mention.end)}
    free = [word for place, word in enumerate(words) if word.isdigit() and place not in inside]
    if scale.numbered and free:  # a number that is no grade
        return Reading(reason=Reason.OUT_OF_RANGE if len(free) == 1 and not mentions else Reason.SEVERAL_NUMBERS)
    if not mentions:
        return Reading(reason=Reason.ABSTAINED if is_abstention(text) else Reason.NOT_NAMED)
    numbers = {m.owners for m in mentions if any(map(_is_number, words[m.start : m.end]))}
    if scale.numbered and len(numbers) > 1:
        return Reading(reason=Reason.SEVERAL_NUMBERS)
    found = sort_mentions(words, mentions)
    problem = found.problem
    if problem == Reason.SEVERAL and numbers and len(found.stated) == 2:  # a name and another number
        return Reading(reason=Reason.CONFLICT)
    if problem is not None or not found.stated:
        return Reading(reason=problem or Reason.DENIED)
    return Reading(reason=Reason.HEDGED) if compared else Reading(int(found.stated.pop()))


@lru_cache(maxsize=64)
def _scale(names: tuple[str, ...], total: int, synonyms: tuple[tuple[str, tuple[str, ...]], ...]) -> _Scale:
    worded = list(map(_name, names))
    numbered = all([w for w in words if w.isdigit()] in ([], [str(place)]) for place, words in enumerate(worded))
    pairs = [(str(place), words) for place, words in enumerate(worded)]
    pairs += [(str(names.index(name)), _name(other)) for name, others in synonyms for other in others]
    if numbered:
        pairs += [(str(place), [str(place)]) for place in range(min(total, 1000))]
    return _Scale(total, build(pairs, tuple(map(str, range(min(total, 1000))))), numbered)


def _name(text: str) -> list[str]:
    return _counted(tokens(_BORDER.sub(" ", plain(text))), whole=False)


def _counted(words: list[str], *, whole: bool) -> list[str]:
    """`words` with number words and Roman numbers as digits where they state a grade."""
    alone = [word for word in words if len(word) > 1 or word.isalnum()]
    if whole and (len(alone) == 1 or alone[1:-1] in (["of"], ["out", "of"])):
        counted = [_COUNTED.get(word, word) for word in alone]
        if _is_number(counted[0]) and _is_number(counted[-1]):
            return counted
    found, previous, linked = [], "", ""
    for word in words:
        is_grade = previous in _NOUNS or (previous in _LINKS and linked in _NOUNS)
        of_scale = previous == "of" and linked.isdigit() and linked.isascii()
        found.append(_COUNTED[word] if word in _COUNTED and (is_grade or of_scale) else word)
        linked, previous = (previous if previous != "out" else linked), found[-1]
    return found


def _without_top(words: list[str], scale: _Scale) -> tuple[list[str], bool]:
    """`words` without the "of 4" of "2 of 4", and whether it is the top of this scale."""
    found: list[str] = []
    for word in words:
        if _is_number(word) and found[-1:] == ["of"]:
            before = found[:-2] if found[-2:-1] == ["out"] else found[:-1]
            if before and _is_number(before[-1]):
                if len(word) > 4 or int(word) != scale.total - 1:
                    return words, False
                found = before
                continue
        found.append(word)
    return found, True


def _is_number(word: str) -> bool:
    return word.isdigit() and word.isascii()
