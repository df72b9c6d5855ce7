r"""Where the thought and the answer of a completion stand.

=============  ======================================  ============================================================================
form           thought                                 answer
=============  ======================================  ============================================================================
``tags``       ``<think>...</think>``                  the last complete, innermost ``<answer>...</answer>``
``thinking``   ``<thinking>...</thinking>``            the same
``reasoning``  ``<reasoning>...</reasoning>``          the same
``boxed``      ``<think>...</think>``                  the last complete ``\\boxed{...}``
``line``       ``<think>...</think>``                  the last line, if it begins with ``Answer:`` or ``Final answer:``
``any``        any of the three                        the first of tags, box and line that is there
=============  ======================================  ============================================================================

Answers are only read outside of thoughts. Tags are exact. ``any`` is for models trained elsewhere; a reward should expect one form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from medcore.errors import ConfigError

AnswerForm = Literal["tags", "thinking", "reasoning", "boxed", "line", "any"]
_THOUGHTS: dict[str, tuple[str, ...]] = {
    "thinking": ("thinking",),
    "reasoning": ("reasoning",),
    "any": ("think", "thinking", "reasoning"),
}
_ANSWER_TAG = re.compile(r"</?answer>")
_BOX_MARK = re.compile(r"\\boxed\s{0,3}\{|[{}]")
_LINE = re.compile(r"[\s*_#>`-]{0,8}(?:the\s)?(?:final\s)?answer(?:\sis)?[\s*_]{0,4}:[\s*_]{0,4}(.*)", re.IGNORECASE | re.DOTALL)
_LATEX = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s?\{([^{}]*)\}")


class _Span(NamedTuple):
    """A part of a text: the whole of it, and what stands inside of its tags."""

    start: int
    end: int
    text: str


def check_form(form: str) -> str:
    """Return `form` if it is one of the module's table.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if form not in get_args(AnswerForm):
        raise ConfigError("form", f"is {form!r}", f"choose {', '.join(get_args(AnswerForm))}")
    return form


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


def think_text(text: str, form: AnswerForm = "tags") -> str | None:
    """The text of the first complete thought, None without one."""
    found = [span for tag in _THOUGHTS.get(form, ("think",)) if (span := _thought(text, tag, 0))]
    return min(found).text if found else None


def answer_text(text: str, form: AnswerForm = "tags") -> str | None:
    """The text of the answer (see this module), None without one."""
    outside = without_thoughts(text, form)
    span = _answer(outside, form)
    return None if span is None else span.text


def without_thoughts(text: str, form: AnswerForm = "tags") -> str:
    """`text` without its complete thoughts."""
    for tag in _THOUGHTS.get(form, ("think",)):
        opening, closing = f"<{tag}>", f"</{tag}>"
        parts, position = [], 0
        while (start := text.find(opening, position)) >= 0 and (end := text.find(closing, start)) >= 0:
            parts.append(text[position:start])
            position = end + len(closing)
        if position:
            text = "".join([*parts, text[position:]])
    return text


def has_format(text: str, *, think: bool = True, strict: bool = True, form: AnswerForm = "tags", confidence: bool = False) -> bool:
    """Whether thought and answer are there exactly once, in this order and not empty.

    Parameters
    ----------
    text
        A completion.
    think
        Whether a thought in front of the answer is required; if not, it is allowed.
    strict
        Whether text outside of the tags is forbidden; white space is always allowed.
    form
        Which tags, see this module.
    confidence
        Whether one ``<confidence>...</confidence>`` outside of thought and answer is asked for.
    """
    if confidence:
        span = _only(text, "confidence")
        if span is None or not span.text.strip():
            return False
        text = text[: span.start] + text[span.end :]
    tag = _THOUGHTS.get(form, ("think",))
    used = next((name for name in tag if f"<{name}>" in text or f"</{name}>" in text), tag[0])
    thought, rest = _only(text, used), text
    if thought is None:
        if think or f"<{used}>" in text or f"</{used}>" in text:
            return False
    else:
        if not thought.text.strip():
            return False
        rest = text[thought.end :]
    answer = _only_answer(rest, form)
    if answer is None or not answer.text.strip():
        return False
    before = "" if thought is None else text[: thought.start]
    # An answer in front of the thought, or inside of it, is a second one.
    if _ANSWER_TAG.search(before) or (thought is not None and _ANSWER_TAG.search(thought.text) and form in _TAGGED):
        return False
    return not strict or not (before + rest[: answer.start] + rest[answer.end :]).strip()


_TAGGED = ("tags", "thinking", "reasoning", "any")


def _thought(text: str, tag: str, position: int) -> _Span | None:
    start = text.find(f"<{tag}>", position)
    end = text.find(f"</{tag}>", start) if start >= 0 else -1
    return None if end < 0 else _Span(start, end + len(tag) + 3, text[start + len(tag) + 2 : end])


def _only(text: str, tag: str) -> _Span | None:
    """What stands between the only ``<tag>`` and the only ``</tag>``, None if there are more or fewer of them."""
    return _thought(text, tag, 0) if text.count(f"<{tag}>") == text.count(f"</{tag}>") == 1 else None


def _only_answer(text: str, form: AnswerForm) -> _Span | None:
    if form in ("boxed", "line"):
        spans = list(_boxes(text)) if form == "boxed" else list(_lines(text))
        return spans[0] if len(spans) == 1 else None
    if form == "any" and "<answer>" not in text:
        return _only_answer(text, "boxed" if "\\boxed" in text else "line")
    return _only(text, "answer")


def _answer(outside: str, form: AnswerForm) -> _Span | None:
    """The last answer in a text without thoughts."""
    found = None
    if form in _TAGGED:
        found = _last(_tagged(outside))
    if form == "boxed" or (form == "any" and found is None):
        found = _last(_boxes(outside))
    if form == "line" or (form == "any" and found is None):
        found = _last(_lines(outside))
    return found


def _last(spans: Iterator[_Span]) -> _Span | None:
    found = None
    for span in spans:
        found = span
    return found


def _tagged(text: str) -> Iterator[_Span]:
    start = None
    for tag in _ANSWER_TAG.finditer(text):
        if tag[0] == "<answer>":
            start = tag
        elif start is not None:
            yield _Span(start.start(), tag.end(), text[start.end() : tag.start()])
            start = None


def _boxes(text: str) -> Iterator[_Span]:
    r"""Every ``\boxed{...}`` with its braces in balance; of nested ones the outer."""
    start, depth = None, 0
    for mark in _BOX_MARK.finditer(text):
        if start is None:
            if len(mark[0]) > 1:
                start, depth = mark, 1
            continue
        depth += -1 if mark[0] == "}" else 1
        if depth == 0:
            yield _Span(start.start(), mark.end(), _LATEX.sub(r"\1", text[start.end() : mark.start()]))
            start = None


def _lines(text: str) -> Iterator[_Span]:
    """The last line that is not blank, if it states an answer."""
    end = len(text.rstrip())
    start = text.rfind("\n", 0, end) + 1
    line = _LINE.fullmatch(text, start, end)
    if line:
        yield _Span(start, end, line[1].strip(" \t*_`"))
