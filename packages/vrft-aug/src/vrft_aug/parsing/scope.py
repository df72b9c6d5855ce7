"""Which of the names in an answer are stated, which are denied and which are left open.

Words become signals, and two passes carry them to the names, forwards for what stands before a name and backwards for what stands behind
it. Both take time in proportion to the number of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from vrft_aug.parsing.words import Mention


class Status(Enum):
    """How an answer speaks of a name."""

    STATED = auto()
    DENIED = auto()
    OPEN = auto()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Kinds of signals. Plain numbers: members of an enumeration would take longer to compare than all else here.
_K_WORD = 0
_K_FILLER = 1
_K_NAME = 2
_K_COMMA = 3
_K_STOP = 4
_K_QUESTION = 5
_K_TURN = 6
_K_OR = 7
_K_DENY = 8
_K_DENY_BEFORE = 9
_K_DENY_AFTER = 10
_K_DENY_BOTH = 11
_K_HEDGE = 12
_K_MODAL = 13
_K_OPEN = 14

_DENY = _words("no not non without never neither nor none cannot denies excludes lacks lacking absence nothing fails hardly nope")
_SHORTENED = frozenset(f"{verb}nt" for verb in ("is", "does", "do", "was", "are", "ca"))  # written without the apostrophe
_DENY_BEFORE = _words("exclude excluding rules lack against except doubt")
_DENY_AFTER = _words("false wrong incorrect")
_DENY_BOTH = _words("negative excluded ruled unlikely improbable absent")
_HEDGE = _words(
    "possible possibly possibility maybe perhaps potential potentially questionable equivocal query uncertain unsure unclear"
    " indeterminate inconclusive doubtful either differential rule consider borderline resolved"
)
_KINDS: dict[str, int] = {
    **dict.fromkeys(_DENY | _SHORTENED, _K_DENY),
    **dict.fromkeys(_DENY_BEFORE, _K_DENY_BEFORE),
    **dict.fromkeys(_DENY_AFTER, _K_DENY_AFTER),
    **dict.fromkeys(_DENY_BOTH, _K_DENY_BOTH),
    **dict.fromkeys(_HEDGE, _K_HEDGE),
    **dict.fromkeys(("may", "might", "could"), _K_MODAL),
    **dict.fromkeys(("or", "vs", "versus"), _K_OR),
    **dict.fromkeys(("but", "however", "although", "though", "instead", "rather", "yet"), _K_TURN),
    **dict.fromkeys(("is", "are", "was", "it", "i", "am", "very", "most", "highly", "quite", "this", "that"), _K_FILLER),
    **dict.fromkeys((".", ";", "!", "\n"), _K_STOP),
    "whether": _K_OPEN,
    "?": _K_QUESTION,
    ",": _K_COMMA,
}
_IDIOMS: dict[tuple[str, ...], int] = {
    ("no", "doubt"): _K_WORD,
    ("without", "doubt"): _K_WORD,
    ("without", "a", "doubt"): _K_WORD,
    ("no", "question"): _K_WORD,
    ("rather", "than"): _K_DENY_BEFORE,
    ("instead", "of"): _K_DENY_BEFORE,
    ("other", "than"): _K_DENY_BEFORE,
    ("anything", "but"): _K_DENY_BEFORE,
    ("opposed", "to"): _K_DENY_BEFORE,
    ("clear", "of"): _K_DENY_BEFORE,
    ("free", "of"): _K_DENY_BEFORE,
    ("free", "from"): _K_DENY_BEFORE,
    ("low", "probability"): _K_DENY_BEFORE,
    ("low", "likelihood"): _K_DENY_BEFORE,
    ("low", "suspicion"): _K_DENY_BEFORE,
    ("less", "likely"): _K_DENY_BOTH,
    ("to", "exclude"): _K_HEDGE,
    ("question", "of"): _K_HEDGE,
    ("history", "of"): _K_HEDGE,
    ("r", "o"): _K_HEDGE,
    ("at", "least"): _K_HEDGE,
    ("at", "most"): _K_HEDGE,
    ("up", "to"): _K_HEDGE,
    **{(word, "than"): _K_HEDGE for word in ("more", "less", "greater", "worse", "higher", "lower")},
    ("and", "or"): _K_OR,
    ("or", "not"): _K_OPEN,
    ("clear", "if"): _K_OPEN,
    ("should", "be", "excluded"): _K_OPEN,
    ("must", "be", "excluded"): _K_OPEN,
    ("to", "be", "excluded"): _K_OPEN,
    ("vs", "."): _K_OR,
}
_IDIOM_STARTS = frozenset(phrase[0] for phrase in _IDIOMS)
# "cannot be fully excluded", "not sure", "not unlikely": a denial of one of these words leaves everything open.
_UNDECIDED = _words(
    """exclude excluded excluding rule ruled unlikely improbable absent negative free without deny denied impossible sure certain confirm
    confirmed tell say determine determined decide diagnose conclusive know"""
)
_BETWEEN = _words("be been to fully completely entirely yet totally really safely a the with 100")
_COPULAS = _words("is are was were be seems seem appears appear remains looks as")
_EVIDENCE = _words("evidence sign signs indication proof trace suggestion seen present found identified")
_OBJECTS = _words("of for to suggesting")
_REACHING = _words("not never cannot none") | _SHORTENED
_DENIALS_BEFORE = frozenset((_K_DENY, _K_DENY_BEFORE, _K_DENY_BOTH))
_FRESH = frozenset((_K_STOP, _K_QUESTION))
_SENTENCE_ENDS = frozenset((_K_STOP, _K_TURN, _K_QUESTION))
_ENDS = frozenset((_K_COMMA, _K_STOP, _K_QUESTION, _K_TURN))


class _Signals(NamedTuple):
    """What the words of an answer do, names taken together: two lists of equal length."""

    kinds: list[int]
    words: list[str]


def denies(word: str) -> bool:
    """Whether a word alone denies what it stands with."""
    return _KINDS.get(word) == _K_DENY or word.endswith(("n't", "n\u2019t"))


def hedges(word: str) -> bool:
    """Whether a word alone leaves open what it stands with."""
    return _KINDS.get(word) in (_K_HEDGE, _K_MODAL, _K_OR)


def statuses(words: Sequence[str], mentions: Sequence[Mention], *, several: bool = False) -> list[Status]:
    """How `words` speak of each of `mentions`.

    Parameters
    ----------
    words
        Of :func:`vrft_aug.parsing.words.tokens`.
    mentions
        Of :meth:`vrft_aug.parsing.words.Vocabulary.mentions`, in their order.
    several
        Whether several names may be stated together; then "or" between two of them leaves both open.
    """
    signals = _signals(words, mentions)
    if max(signals.kinds, default=0) <= _K_STOP:
        return [Status.STATED] * len(mentions)
    found = []
    for (denied, opened), (denied_behind, opened_behind), offered in zip(
        _forwards(signals, mentions), _backwards(signals), _offered(signals, mentions, several=several), strict=True
    ):
        if opened is None or opened_behind is None:  # a denied denial
            found.append(Status.OPEN)
        elif denied or denied_behind:
            found.append(Status.DENIED)
        else:
            found.append(Status.OPEN if opened or opened_behind or offered else Status.STATED)
    return found


def _signals(words: Sequence[str], mentions: Sequence[Mention]) -> _Signals:
    ends = {mention.start: mention.end for mention in mentions}
    lasts = {mention.end - 1 for mention in mentions}
    kinds: list[int] = []
    firsts: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        if position in ends:
            kinds.append(_K_NAME)
            firsts.append(word)
            position = ends[position]
            continue
        kind, size = _KINDS.get(word, _K_WORD), 1
        if kind == _K_WORD and word[-1] == "t" and word.endswith(("n't", "n\u2019t")):
            kind = _K_DENY
        if word in _IDIOM_STARTS:
            kind, size = next(
                ((_IDIOMS[p], n) for n in (3, 2) if (p := tuple(words[position : position + n])) in _IDIOMS), (kind, 1)
            )
        if word == "free" and size == 1 and position - 1 in lasts:  # "pneumonia-free", but not "free fluid"
            kind = _K_DENY_AFTER
        elif word == "like" and position - 1 in lasts:
            kind = _K_OPEN
        if size == 1 and (kind == _K_DENY or word == "unable"):
            reach = _undecided(words, position, ends)
            kind, size = (_K_OPEN, reach) if reach else (kind, 1)
        kinds.append(kind)
        firsts.append(word)
        position += size
    return _Signals(kinds, firsts)


def _undecided(words: Sequence[str], position: int, ends: dict[int, int]) -> int:
    """Number of words of a denied denial that begins at `position`, 0 if there is none."""
    for offset in range(1, 5):
        place = position + offset
        if place >= len(words) or place in ends:
            return 0
        if words[place] in _UNDECIDED:
            return offset + 1
        if words[place] not in _BETWEEN and not words[place].endswith("ly"):
            return 0
    return 0


def _forwards(signals: _Signals, mentions: Sequence[Mention]) -> list[tuple[bool, bool | None]]:
    """For each name whether what stands before it denies it and leaves it open (None: whatever denies it).

    A denial does not reach the same name twice ("no pneumonia on the left, pneumonia on the right").
    """
    found: list[tuple[bool, bool | None]] = []
    refused: set[frozenset[str]] = set()
    denied = opened = undecided = begun = crossed = False
    for place, kind in enumerate(signals.kinds):
        if kind <= _K_FILLER:
            begun = True
            continue
        if kind == _K_NAME:
            owners = mentions[len(found)].owners
            doubtful = denied and (owners in refused or (crossed and _affirmed(signals, place)))
            found.append((denied, None if undecided or doubtful else opened))
            refused.add(owners)
        elif kind in _DENIALS_BEFORE:
            denied, crossed = True, False
            refused.clear()
        elif kind in (_K_HEDGE, _K_MODAL):
            opened = True
        elif kind == _K_OPEN:
            undecided = True
        elif kind == _K_COMMA:
            crossed = True
        elif kind in _SENTENCE_ENDS:
            # A question mark in front, as in "?pneumonia", asks about what follows.
            # A denial in a question may or may not reach beyond it.
            undecided = kind == _K_QUESTION and (denied or undecided)
            denied, opened = False, kind == _K_QUESTION and not begun
            refused.clear()
        begun = kind not in _FRESH
    return found


def _affirmed(signals: _Signals, place: int) -> bool:
    """Whether a name begins a clause of its own, which a denial in front of a comma may not reach: "..., pneumonia is present"."""
    return place + 1 < len(signals.kinds) and signals.words[place + 1] in ("is", "are", "on", "in")


def _backwards(signals: _Signals) -> list[tuple[bool, bool | None]]:
    """The same for what stands behind it in its clause."""
    found: list[tuple[bool, bool | None]] = []
    strong = weak = named = opened = undecided = asked = False
    bare = True  # whether the clause so far holds nothing but denials and hedges, which then belong to the clause before
    for place in range(len(signals.kinds) - 1, -1, -1):
        kind = signals.kinds[place]
        if kind == _K_NAME:
            found.append((strong or (weak and not named), None if undecided or asked else opened))
            named, bare = True, False
        elif kind in _ENDS:
            answered = bare and (strong or weak)  # "Pneumonia? No."
            if not bare:
                strong = weak = opened = undecided = False
            named, bare = False, True
            if kind in (_K_STOP, _K_QUESTION):
                asked = kind == _K_QUESTION and not answered
        elif kind == _K_OPEN:
            undecided = True
        elif kind in (_K_DENY_AFTER, _K_DENY_BOTH):
            strong = True
        elif kind == _K_DENY:
            weak = weak or _reaches_back(signals, place)
        elif kind in (_K_HEDGE, _K_MODAL):
            opened = opened or _opens_back(signals, place)
        elif kind != _K_FILLER:
            bare = False
    return found[::-1]


def _last(signals: _Signals, place: int) -> bool:
    return place + 1 == len(signals.kinds) or signals.kinds[place + 1] in _ENDS


def _reaches_back(signals: _Signals, place: int) -> bool:
    """Whether a denial behind a name can concern it: "pneumonia: no" does, "pneumonia without effusion" does not."""
    word = signals.words[place]
    before = signals.words[place - 1] if place else ""
    if _last(signals, place) or word in _REACHING or before in _COPULAS or word.endswith(("n't", "n\u2019t")):
        return True
    if word != "no" or before in ("with", "and", "has", "shows", "showing"):
        return False
    for offset in range(1, 4):
        if place + offset >= len(signals.kinds) or signals.kinds[place + offset] in _ENDS:
            return False
        if signals.words[place + offset] in _EVIDENCE:
            return _last(signals, place + offset) or signals.words[place + offset + 1] not in _OBJECTS
    return False


def _opens_back(signals: _Signals, place: int) -> bool:
    """Whether a hedge behind a name can concern it: "pneumonia is possible" does, "pneumonia with possible abscess" does not."""
    if place and signals.kinds[place - 1] == _K_NAME:
        return True
    return signals.kinds[place] == _K_HEDGE and (_last(signals, place) or (place > 0 and signals.words[place - 1] in _COPULAS))


def _offered(signals: _Signals, mentions: Sequence[Mention], *, several: bool) -> list[bool]:
    """For each name whether it is one side of an "or" whose other side is not the same class."""
    places = [place for place, kind in enumerate(signals.kinds) if kind == _K_NAME]
    order = {place: number for number, place in enumerate(places)}
    found = []
    for number, place in enumerate(places):
        offered = False
        for step in (-1, 1):
            if 0 <= place + step < len(signals.kinds) and signals.kinds[place + step] == _K_OR:
                other = order.get(place + 2 * step)
                # Two classes joined by "or" are several classes, which the reader of one label says itself.
                offered = offered or other is None or (several and mentions[other].owners != mentions[number].owners)
        found.append(offered)
    return found
