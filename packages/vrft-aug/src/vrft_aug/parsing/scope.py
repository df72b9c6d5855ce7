"""Which of the names in an answer are stated, which are denied and which are left open.

Words become signals, and two passes carry them to the names, forwards for what stands before a name and backwards for what stands behind
it. Both take time in proportion to the number of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, auto

from vrft_aug.parsing.words import Mention


class Status(Enum):
    """How an answer speaks of a name."""

    STATED = auto()
    DENIED = auto()
    OPEN = auto()


class _Kind(IntEnum):
    WORD = auto()
    FILLER = auto()
    NAME = auto()
    COMMA = auto()
    STOP = auto()
    QUESTION = auto()
    TURN = auto()
    OR = auto()
    DENY = auto()
    DENY_BEFORE = auto()
    DENY_AFTER = auto()
    DENY_BOTH = auto()
    HEDGE = auto()
    MODAL = auto()
    OPEN = auto()


_DENY = """no not non without never neither nor none cannot cant denies excludes lacks lacking absence nothing fails isnt doesnt dont wasnt
arent nope""".split()
_DENY_BEFORE = "exclude excluding rules lack against except".split()
_DENY_AFTER = "false wrong incorrect".split()
_DENY_BOTH = "negative excluded ruled unlikely improbable absent".split()
_HEDGE = """possible possibly possibility maybe perhaps potential potentially questionable equivocal query uncertain unsure unclear
indeterminate inconclusive doubtful either differential rule consider borderline""".split()
_KINDS: dict[str, _Kind] = {
    **dict.fromkeys(_DENY, _Kind.DENY),
    **dict.fromkeys(_DENY_BEFORE, _Kind.DENY_BEFORE),
    **dict.fromkeys(_DENY_AFTER, _Kind.DENY_AFTER),
    **dict.fromkeys(_DENY_BOTH, _Kind.DENY_BOTH),
    **dict.fromkeys(_HEDGE, _Kind.HEDGE),
    **dict.fromkeys(("may", "might", "could"), _Kind.MODAL),
    **dict.fromkeys(("or", "vs", "versus"), _Kind.OR),
    **dict.fromkeys(("but", "however", "although", "though", "instead", "rather", "yet"), _Kind.TURN),
    **dict.fromkeys(("is", "are", "was", "it", "very", "most", "highly", "quite", "this", "that"), _Kind.FILLER),
    **dict.fromkeys((".", ";", "!", "\n"), _Kind.STOP),
    "?": _Kind.QUESTION,
    ",": _Kind.COMMA,
}
_IDIOMS: dict[tuple[str, ...], _Kind] = {
    ("no", "doubt"): _Kind.WORD,
    ("without", "doubt"): _Kind.WORD,
    ("without", "a", "doubt"): _Kind.WORD,
    ("no", "question"): _Kind.WORD,
    ("rather", "than"): _Kind.DENY_BEFORE,
    ("instead", "of"): _Kind.DENY_BEFORE,
    ("other", "than"): _Kind.DENY_BEFORE,
    ("anything", "but"): _Kind.DENY_BEFORE,
    ("opposed", "to"): _Kind.DENY_BEFORE,
    ("clear", "of"): _Kind.DENY_BEFORE,
    ("free", "of"): _Kind.DENY_BEFORE,
    ("free", "from"): _Kind.DENY_BEFORE,
    ("less", "likely"): _Kind.DENY_BOTH,
    ("to", "exclude"): _Kind.HEDGE,
    ("question", "of"): _Kind.HEDGE,
    ("r", "o"): _Kind.HEDGE,
    ("at", "least"): _Kind.HEDGE,
    ("at", "most"): _Kind.HEDGE,
    ("up", "to"): _Kind.HEDGE,
    ("and", "or"): _Kind.OR,
}
_IDIOM_STARTS = frozenset(phrase[0] for phrase in _IDIOMS)
# "cannot be fully excluded", "not sure", "not unlikely": a denial of one of these words leaves everything open.
_UNDECIDED = frozenset(
    """exclude excluded excluding rule ruled unlikely improbable absent negative free without deny denied impossible sure certain confirm
    confirmed tell say determine determined decide diagnose conclusive know""".split()
)
_BETWEEN = frozenset("be been to fully completely entirely yet totally really safely a the with 100".split())
_COPULAS = frozenset("is are was were be seems seem appears appear remains looks as".split())
_EVIDENCE = frozenset("evidence sign signs indication proof trace suggestion seen present found identified".split())
_OBJECTS = frozenset("of for to suggesting".split())
_REACHING = frozenset("not never cannot none cant isnt doesnt dont wasnt arent".split())
_ENDS = (_Kind.COMMA, _Kind.STOP, _Kind.QUESTION, _Kind.TURN)


@dataclass(slots=True)
class _Signal:
    kind: _Kind
    word: str


def denies(word: str) -> bool:
    """Whether a word alone denies what it stands with."""
    return _KINDS.get(word) == _Kind.DENY or word.endswith(("n't", "n\u2019t"))


def hedges(word: str) -> bool:
    """Whether a word alone leaves open what it stands with."""
    return _KINDS.get(word) in (_Kind.HEDGE, _Kind.MODAL, _Kind.OR)


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
    if all(signal.kind <= _Kind.STOP for signal in signals):
        return [Status.STATED] * len(mentions)
    found = []
    for (denied, opened), (denied_behind, opened_behind), offered in zip(
        _forwards(signals), _backwards(signals), _offered(signals, mentions, several=several), strict=True
    ):
        if opened is None or opened_behind is None:  # a denied denial
            found.append(Status.OPEN)
        elif denied or denied_behind:
            found.append(Status.DENIED)
        else:
            found.append(Status.OPEN if opened or opened_behind or offered else Status.STATED)
    return found


def _signals(words: Sequence[str], mentions: Sequence[Mention]) -> list[_Signal]:
    ends = {mention.start: mention.end for mention in mentions}
    lasts = {mention.end - 1 for mention in mentions}
    signals, position = [], 0
    while position < len(words):
        word = words[position]
        if position in ends:
            signals.append(_Signal(_Kind.NAME, word))
            position = ends[position]
            continue
        kind, size = _KINDS.get(word, _Kind.WORD), 1
        if kind == _Kind.WORD and word.endswith(("n't", "n\u2019t")):
            kind = _Kind.DENY
        if word in _IDIOM_STARTS:
            kind, size = next(
                ((_IDIOMS[p], n) for n in (3, 2) if (p := tuple(words[position : position + n])) in _IDIOMS), (kind, 1)
            )
        if word == "free" and size == 1 and position - 1 in lasts:  # "pneumonia-free", but not "free fluid"
            kind = _Kind.DENY_AFTER
        if size == 1 and (kind == _Kind.DENY or word == "unable"):
            reach = _undecided(words, position, ends)
            kind, size = (_Kind.OPEN, reach) if reach else (kind, 1)
        signals.append(_Signal(kind, word))
        position += size
    return signals


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


def _forwards(signals: Sequence[_Signal]) -> list[tuple[bool, bool | None]]:
    """For each name whether what stands before it denies it and leaves it open (None: by a denied denial)."""
    found: list[tuple[bool, bool | None]] = []
    denied, opened, begun = False, False, False
    undecided = False
    for signal in signals:
        kind = signal.kind
        if kind == _Kind.NAME:
            found.append((denied, None if undecided else opened))
        elif kind in (_Kind.DENY, _Kind.DENY_BEFORE, _Kind.DENY_BOTH):
            denied = True
        elif kind in (_Kind.HEDGE, _Kind.MODAL):
            opened = True
        elif kind == _Kind.OPEN:
            undecided = True
        elif kind in (_Kind.STOP, _Kind.TURN, _Kind.QUESTION):
            # A question mark in front, as in "?pneumonia", asks about what follows.
            denied, opened, undecided = False, kind == _Kind.QUESTION and not begun, False
        begun = kind not in (_Kind.STOP, _Kind.QUESTION)
    return found


def _backwards(signals: Sequence[_Signal]) -> list[tuple[bool, bool | None]]:
    """The same for what stands behind it in its clause."""
    found: list[tuple[bool, bool | None]] = []
    strong = weak = named = opened = undecided = asked = False
    bare = True  # whether the clause so far holds nothing but denials and hedges, which then belong to the clause before
    for place in range(len(signals) - 1, -1, -1):
        kind = signals[place].kind
        if kind == _Kind.NAME:
            found.append((strong or (weak and not named), None if undecided else opened or asked))
            named, bare = True, False
        elif kind in _ENDS:
            if not bare or kind == _Kind.TURN:
                strong = weak = opened = undecided = False
            named, bare = False, True
            if kind in (_Kind.STOP, _Kind.QUESTION):
                asked = kind == _Kind.QUESTION
        elif kind == _Kind.OPEN:
            undecided = True
        elif kind in (_Kind.DENY_AFTER, _Kind.DENY_BOTH):
            strong = True
        elif kind == _Kind.DENY:
            weak = weak or _reaches_back(signals, place)
        elif kind in (_Kind.HEDGE, _Kind.MODAL):
            opened = opened or _opens_back(signals, place)
        elif kind != _Kind.FILLER:
            bare = False
    return found[::-1]


def _last(signals: Sequence[_Signal], place: int) -> bool:
    return place + 1 == len(signals) or signals[place + 1].kind in _ENDS


def _reaches_back(signals: Sequence[_Signal], place: int) -> bool:
    """Whether a denial behind a name can concern it: "pneumonia: no" does, "pneumonia without effusion" does not."""
    word = signals[place].word
    if _last(signals, place) or word in _REACHING or word.endswith(("n't", "n\u2019t")):
        return True
    if word != "no" or (place and signals[place - 1].word in ("with", "and", "has", "shows", "showing")):
        return False
    for offset in range(1, 4):
        if place + offset >= len(signals) or signals[place + offset].kind in _ENDS:
            return False
        if signals[place + offset].word in _EVIDENCE:
            return _last(signals, place + offset) or signals[place + offset + 1].word not in _OBJECTS
    return False


def _opens_back(signals: Sequence[_Signal], place: int) -> bool:
    """Whether a hedge behind a name can concern it: "pneumonia is possible" does, "pneumonia with possible abscess" does not."""
    if signals[place].kind == _Kind.MODAL:
        return place > 0 and signals[place - 1].kind == _Kind.NAME
    return _last(signals, place) or (place > 0 and signals[place - 1].word in _COPULAS)


def _offered(signals: Sequence[_Signal], mentions: Sequence[Mention], *, several: bool) -> list[bool]:
    """For each name whether it is one side of an "or" whose other side is not the same class."""
    places = [place for place, signal in enumerate(signals) if signal.kind == _Kind.NAME]
    order = {place: number for number, place in enumerate(places)}
    found = []
    for number, place in enumerate(places):
        offered = False
        for step in (-1, 1):
            if 0 <= place + step < len(signals) and signals[place + step].kind == _Kind.OR:
                other = order.get(place + 2 * step)
                # Two classes joined by "or" are several classes, which the reader of one label says itself.
                offered = offered or other is None or (several and mentions[other].owners != mentions[number].owners)
        found.append(offered)
    return found
