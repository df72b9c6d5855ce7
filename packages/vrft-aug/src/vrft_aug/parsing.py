"""The only reader of completions: tags, class names, grades, boxes.

Every function is total: whatever a model writes, it returns a value or None and never raises, in time proportional to the text. None means
that no single answer could be read. What counts as an answer:

- The answer is the last complete, innermost ``<answer>...</answer>`` outside of ``<think>...</think>``. Tags are exact. Text
  outside of them, and an answer whose tag is not closed, is not read.
- A class is named by whole words, never by a part of one: "abnormal" does not name "normal". Case and Unicode width do not matter, hyphens
  and underscores separate words; the longest name wins ("no finding" before "finding").
- A denied name does not count: "no pneumonia" does not name "pneumonia". A denial ("no", "not", "without", ...) reaches to the end of its
  sentence or to a "but". If two classes exist and one of them is declared `negative`, denying the other one names it.
- Two different classes, or one that is named and denied, are no answer.
- Option letters are read if the answer is a letter only ("B", "(b)", "option B") or begins with one and a mark ("C) CT"); what
  stands behind it must name the same class.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

Box = tuple[float, float, float, float]
MAX_ANSWER = 4000
"""Longest answer that is looked at, in characters; a name, a grade or a few dozen boxes are far shorter."""
MAX_BOXES = 100
"""Most boxes an answer may hold."""

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_ANSWER_TAG = re.compile(r"</?answer>")
# Accents and vowel signs that stay separate characters belong to their word; \w leaves them out.
_MARKS = "".join(chr(code) for code in range(0x300, 0xFE30) if unicodedata.category(chr(code)).startswith("M"))
_TOKEN = re.compile(rf"(?:[^\W_]|[{_MARKS}])+(?:['\u2019][^\W_]+)?|[.;!\n,]")
_ENDS = frozenset({*".;!\n", "but", "however", "although", "though", "instead", "rather", "yet"})
_DENIALS = frozenset(
    {"no", "not", "non", "without", "never", "neither", "nor", "none", "cannot", "denies", "excludes", "lacks", "absence"}
)
_DENIALS_BEFORE = frozenset(
    {"free", "negative", "excluded", "exclude", "excluding", "ruled", "rule", "rules", "unlikely", "absent", "lack"}
)
_DENIALS_AFTER = frozenset({"absent", "excluded", "unlikely", "negative", "ruled", "false"})
_LETTER_ONLY = re.compile(r"(?:option|choice|answer)?\s*[:(\[]?\s*([a-z])[\s)\].:]*", re.IGNORECASE)
_LETTER_FIRST = re.compile(
    r"(?:(?:option|choice)\s+)?(?:\(([a-z])\)|\[([a-z])\]|([a-z])\s*[).:])\s*(\S.*)", re.DOTALL | re.IGNORECASE
)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_GROUP = re.compile(r"\[([^\[\]]*)\]")


def completion_text(completion: Any) -> str:
    """The text of a completion: a string, or trl's list of messages, of which the last one counts."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Mapping):
        return completion_text(completion.get("content"))
    if isinstance(completion, Sequence) and not isinstance(completion, (bytes, bytearray)) and len(completion):
        last = completion[-1]
        if isinstance(last, Mapping) and "content" in last:
            return completion_text(last["content"])
        parts = [part.get("text") for part in completion if isinstance(part, Mapping)]
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def has_format(text: str, *, think: bool = True, strict: bool = True) -> bool:
    """Whether the tags are exactly right.

    Parameters
    ----------
    text
        A completion.
    think
        Whether a thought in front of the answer is required; if not, it is allowed.
    strict
        Whether text outside of the tags is forbidden; white space is always allowed.
    """
    counts = [text.count(tag) for tag in _TAGS]
    with_thought = counts[0] == counts[1] == 1
    if counts[2:] != [1, 1] or not (with_thought or (counts[:2] == [0, 0] and not think)):
        return False
    places = [text.find(tag) for tag in _TAGS if tag in text]
    if places != sorted(places):
        return False
    answer = text[text.find(_TAGS[2]) + len(_TAGS[2]) : text.find(_TAGS[3])]
    thought = think_text(text) if with_thought else "-"
    if not answer.strip() or not (thought or "").strip():
        return False
    if not strict:
        return True
    inner = text[text.find(_TAGS[1]) + len(_TAGS[1]) : text.find(_TAGS[2])] if with_thought else ""
    before, after = text[: places[0]], text[places[-1] + len(_TAGS[3]) :]
    return not (before.strip() or inner.strip() or after.strip())


def think_text(text: str) -> str | None:
    """The text of the first complete ``<think>...</think>``, None without one."""
    start = text.find(_TAGS[0])
    end = text.find(_TAGS[1], start + len(_TAGS[0])) if start >= 0 else -1
    return text[start + len(_TAGS[0]) : end] if end >= 0 else None


def answer_text(text: str) -> str | None:
    """The text of the answer (see this module), None without one."""
    found, start = None, None
    outside = _without_thoughts(text)
    for tag in _ANSWER_TAG.finditer(outside):
        if tag[0] == _TAGS[2]:
            start = tag.end()
        elif start is not None:
            found, start = outside[start : tag.start()], None
    return found


def _without_thoughts(text: str) -> str:
    parts: list[str] = []
    position = 0
    while True:
        start = text.find(_TAGS[0], position)
        end = text.find(_TAGS[1], start) if start >= 0 else -1
        if end < 0:
            return "".join([*parts, text[position:]])
        parts.append(text[position:start])
        position = end + len(_TAGS[1])


def parse_label(
    text: str | None,
    classes: Sequence[str],
    synonyms: Mapping[str, Sequence[str]] | None = None,
    *,
    negative: str | None = None,
    letters: bool = True,
) -> str | None:
    """The one class that an answer names, None if there is none or more than one.

    Parameters
    ----------
    text
        The answer, without tags (see :func:`read_label` for completions).
    classes
        All class names, in the order in which options are lettered.
    synonyms
        Further names of classes.
    negative
        Of two classes, the one that means the absence of the other.
    letters
        Whether option letters are read; never where a class is itself called by one letter.
    """
    if not text or len(text) > MAX_ANSWER:
        return None
    stripped = text.strip()
    if stripped in classes:
        return stripped
    names = [(name, phrase) for name in classes for phrase in (name, *(synonyms or {}).get(name, ()))]
    phrases, words = [_tokens(phrase) for _, phrase in names], _tokens(text)
    if letters and words not in phrases and not any(len(p) == 1 and len(p[0]) == 1 for p in phrases):
        found = _letter(text, classes)
        if found is not None:
            letter, rest = found
            return letter if not rest or _named(_tokens(rest), names, classes, negative) == letter else None
    return _named(words, names, classes, negative)


def _tokens(text: str) -> list[str]:
    """Words and marks that end a sentence or clause, in one spelling."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def _letter(text: str, classes: Sequence[str]) -> tuple[str, str] | None:
    """The class of an option letter and the text behind the letter."""
    stripped = unicodedata.normalize("NFKC", text).strip()
    alone, first = _LETTER_ONLY.fullmatch(stripped), _LETTER_FIRST.fullmatch(stripped)
    if alone:
        letter, rest = alone[1], ""
    elif first:
        letter, rest = first[1] or first[2] or first[3], first[4]
    else:
        return None
    number = ord(letter.upper()) - ord("A")
    return (classes[number], rest) if number < len(classes) else None


def _named(words: list[str], names: Sequence[tuple[str, str]], classes: Sequence[str], negative: str | None) -> str | None:
    """The one class that is named and not denied."""
    mentions = _mentions(words, names)
    affirmed: set[str] = set()
    refused: set[str] = set()
    for (owners, _, _), is_denied in zip(mentions, _denied(words, mentions), strict=True):
        (refused if is_denied else affirmed).update(owners)
    if len(affirmed) == 1 and not affirmed & refused:
        return affirmed.pop()
    if not affirmed and len(classes) == 2 and negative in classes and refused == set(classes) - {negative}:
        return negative
    return None


def _mentions(words: list[str], names: Sequence[tuple[str, str]]) -> list[tuple[set[str], int, int]]:
    """The classes named in `words`, each with the place of its name; of names that begin together the longest counts."""
    phrases: dict[tuple[str, ...], set[str]] = {}
    for owner, phrase in names:
        phrases.setdefault(tuple(_tokens(phrase)), set()).add(owner)
    lengths = sorted({len(p) for p in phrases if p}, reverse=True)
    found, position = [], 0
    while position < len(words):
        fitting = (n for n in lengths if position + n <= len(words))
        size = next((n for n in fitting if tuple(words[position : position + n]) in phrases), 0)
        if size:
            found.append((phrases[tuple(words[position : position + size])], position, position + size))
        position += size or 1
    return found


def _denied(words: list[str], mentions: list[tuple[set[str], int, int]]) -> list[bool]:
    """For each mention whether a denial stands before it in its sentence, or behind it in its clause.

    Words that are part of a name ("no finding") deny nothing.
    """
    starts = {start: end for _, start, end in mentions}
    before: dict[int, bool] = {}
    denial, position = False, 0
    while position < len(words):
        if position in starts:
            before[position] = denial
            position = starts[position]
            continue
        word = words[position]
        denial = (denial or _denies(word) or word in _DENIALS_BEFORE) and word not in _ENDS
        position += 1
    ends = {end: start for start, end in starts.items()}
    behind: dict[int, bool] = {}
    refused, denial, named, position = False, False, False, len(words)
    while position > 0:
        if position in ends:
            position = ends[position]
            behind[position] = refused or (denial and not named)
            named = True
            continue
        position -= 1
        word = words[position]
        if word in _ENDS or word == ",":
            refused = denial = named = False
        refused, denial = refused or word in _DENIALS_AFTER, denial or _denies(word)
    return [before[start] or behind[start] for start in starts]


def _denies(word: str) -> bool:
    return word in _DENIALS or word.endswith(("n't", "n\u2019t"))


def parse_grade(text: str | None, grades: Sequence[str] | int) -> int | None:
    """The grade an answer states, counted from 0; None if there is none or more than one.

    Parameters
    ----------
    text
        The answer, without tags (see :func:`read_grade` for completions).
    grades
        Names of all grades in rising order, or their number. A grade is stated by its name, by its number ("2", "grade 2"), or by
        both if they agree. Numbers are not read where they mean something else in the names ("grade 1" for the lowest grade).
    """
    if not text or len(text) > MAX_ANSWER:
        return None
    names = () if isinstance(grades, int) else tuple(grades)
    total = grades if isinstance(grades, int) else len(names)
    name = parse_label(text, names, letters=False) if names else None
    if any(re.findall("[0-9]+", n) not in ([], [str(i)]) for i, n in enumerate(names)):
        return names.index(name) if name is not None else None
    plain = unicodedata.normalize("NFKC", text)
    numbers = _NUMBER.findall(plain)
    if not numbers:
        return names.index(name) if name is not None else None
    words = _tokens(plain)
    mentioned = bool(_mentions(words, [(n, n) for n in names]))
    # A denied name has been left out by parse_label; a denial without a name must concern the number.
    unclear = name is None if mentioned else any(map(_denies, words))
    if len(numbers) > 1 or not numbers[0].isdigit() or unclear:
        return None
    grade = int(numbers[0]) if len(numbers[0]) < 9 else total
    return grade if grade < total and name in (None, names[grade] if names else None) else None


def parse_boxes(text: str | None) -> list[Box] | None:
    """The boxes an answer states, in its own units; None if it is not a list of boxes, an empty list for ``[]`` or "none".

    Every innermost pair of brackets must hold four finite numbers ``x0, y0, x1, y1`` with x0 <= x1 and y0 <= y1; text around them,
    such as the keys of JSON, does not matter. One bad box spoils the answer.

    Parameters
    ----------
    text
        The answer, without tags (see :func:`read_boxes` for completions).
    """
    if not text or len(text) > MAX_ANSWER:
        return None
    groups = _GROUP.findall(text)
    if not groups:
        return [] if text.strip().casefold() == "none" else None
    if len(groups) == 1 and not groups[0].strip():
        return []
    if len(groups) > MAX_BOXES:
        return None
    boxes = [_box(group) for group in groups]
    return None if None in boxes else [box for box in boxes if box is not None]


def _box(group: str) -> Box | None:
    parts = [part.strip() for part in group.split(",")]
    if len(parts) != 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    x0, y0, x1, y1 = map(float, parts)
    return (x0, y0, x1, y1) if x0 <= x1 and y0 <= y1 and all(map(math.isfinite, (x0, y0, x1, y1))) else None


def read_label(
    completion: Any,
    classes: Sequence[str],
    synonyms: Mapping[str, Sequence[str]] | None = None,
    *,
    negative: str | None = None,
    letters: bool = True,
) -> str | None:
    """The one class a completion answers with; parameters as :func:`parse_label`."""
    return parse_label(answer_text(completion_text(completion)), classes, synonyms, negative=negative, letters=letters)


def read_grade(completion: Any, grades: Sequence[str] | int) -> int | None:
    """The grade a completion answers with; parameters as :func:`parse_grade`."""
    return parse_grade(answer_text(completion_text(completion)), grades)


def read_boxes(completion: Any) -> list[Box] | None:
    """The boxes a completion answers with, see :func:`parse_boxes`."""
    return parse_boxes(answer_text(completion_text(completion)))
