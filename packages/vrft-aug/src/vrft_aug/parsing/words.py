"""Words of an answer, and names as sequences of words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

# Accents and vowel signs that stay separate characters belong to their word; \w leaves them out.
_MARKS = "".join(chr(code) for code in range(0x300, 0xFE30) if unicodedata.category(chr(code)).startswith("M"))
_TOKEN = re.compile(rf"(?:[^\W_]|[{_MARKS}])+(?:['\u2019][^\W_]+)?|[.;!?\n,]")
_TOKEN_ASCII = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)?|[.;!?\n,]")
# What cannot be seen: soft hyphens, zero-width characters, marks of writing direction, byte order marks.
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
Synonyms = Mapping[str, Sequence[str]]
Phrase = tuple[str, ...]


def plain(text: str) -> str:
    """One spelling for case, width and invisible characters."""
    return text.lower() if text.isascii() else _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold()


def tokens(text: str) -> list[str]:
    """Words, and marks that end a sentence or clause, of :func:`plain` text."""
    return (_TOKEN_ASCII if text.isascii() else _TOKEN).findall(text)


class Mention(NamedTuple):
    """Names found in a text from word `start` to before word `end`."""

    owners: frozenset[str]
    """The classes that are called so; more than one if a name is ambiguous."""
    start: int
    """First word."""
    end: int
    """Word behind the last one."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Names of classes, ready to be looked for; made once, so that it can be told from others by identity."""

    classes: tuple[str, ...]
    """The classes in their order."""
    phrases: Mapping[Phrase, frozenset[str]]
    """Who is called by these words."""
    sizes: Mapping[str, tuple[int, ...]]
    """By the first word: numbers of words of the names that begin with it, the longest first."""
    lettered: bool
    """Whether a name is a single letter, so that letters cannot be options."""

    def mentions(self, words: Sequence[str]) -> list[Mention]:
        """The names in `words`; of names that begin together the longest counts."""
        found, position, total = [], 0, len(words)
        sizes, phrases = self.sizes, self.phrases
        while position < total:
            for size in sizes.get(words[position], ()):
                owners = phrases.get(tuple(words[position : position + size]))
                if owners is not None and position + size <= total:
                    found.append(Mention(owners, position, position + size))
                    position += size
                    break
            else:
                position += 1
        return found


def vocabulary(classes: Sequence[str], synonyms: Synonyms | None = None) -> Vocabulary:
    """The vocabulary of `classes`; made once for each list of classes and synonyms."""
    names = tuple(classes)
    if not synonyms:
        return _vocabulary(names, ())
    return _vocabulary(names, tuple((name, tuple(synonyms[name])) for name in names if name in synonyms))


@lru_cache(maxsize=256)
def _vocabulary(classes: tuple[str, ...], synonyms: tuple[tuple[str, tuple[str, ...]], ...]) -> Vocabulary:
    names = [(name, name) for name in classes] + [(name, word) for name, words in synonyms for word in words]
    return build([(owner, tokens(plain(phrase))) for owner, phrase in names], classes)


def build(named: Sequence[tuple[str, Sequence[str]]], classes: tuple[str, ...]) -> Vocabulary:
    """A vocabulary from pairs of a class and the words of a name."""
    phrases: dict[Phrase, frozenset[str]] = {}
    sizes: dict[str, set[int]] = {}
    for owner, words in named:
        if words:
            phrases[tuple(words)] = phrases.get(tuple(words), frozenset()) | {owner}
            sizes.setdefault(words[0], set()).add(len(words))
    ordered = {first: tuple(sorted(lengths, reverse=True)) for first, lengths in sizes.items()}
    return Vocabulary(classes, phrases, ordered, lettered=any(len(p) == 1 and len(p[0]) == 1 for p in phrases))
