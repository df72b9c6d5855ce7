r"""Whether a policy looks at the picture: the same questions without it, with another one, without the knowledge, in another format.

================== ==================================================================================================================
probe              what is changed
================== ==================================================================================================================
``blank``          every image is one shade of grey, of the same size
``shuffled``       every question gets the image of another one with another right answer, as far as there are such
``no-knowledge``   the knowledge is taken out of the prompt
``form-thinking``  the thought is asked for in ``<thinking>`` tags; likewise ``form-reasoning``
``form-boxed``     the answer is asked for as ``\boxed{...}``
``form-line``      the answer is asked for on a last line that begins with ``Answer:``
================== ==================================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from vrft_aug.parsing import AnswerForm
from vrft_aug.recipe import ProbeName

PROBES: tuple[ProbeName, ...] = (
    "blank",
    "shuffled",
    "no-knowledge",
    "form-thinking",
    "form-reasoning",
    "form-boxed",
    "form-line",
)
"""Every probe."""
GREY = (128, 128, 128)
Message = dict[str, str]
# The words of the full style, see vrft_aug.prompts, and what stands in their place.
_THOUGHT, _ANSWER = "between <think> and </think>", "between <answer> and </answer>"
_WORDS: dict[AnswerForm, tuple[str, str]] = {
    "thinking": ("between <thinking> and </thinking>", _ANSWER),
    "reasoning": ("between <reasoning> and </reasoning>", _ANSWER),
    "boxed": (_THOUGHT, r"as \boxed{answer}"),
    "line": (_THOUGHT, "on a last line that begins with Answer:"),
}


class Shown:
    """Rows as a policy is shown them, with other images or prompts; sliced like rows.

    Parameters
    ----------
    rows
        Rows with ``prompt``, ``image`` and ``knowledge``.
    order
        For each row the number of the row whose image it gets; None for its own.
    blank
        Whether images are grey.
    reword
        Makes another prompt of a prompt and its knowledge.
    """

    def __init__(
        self,
        rows: Any,
        *,
        order: Sequence[int] | None = None,
        blank: bool = False,
        reword: Callable[[Sequence[Message], str | None], list[Message]] | None = None,
    ) -> None:
        self.rows, self.order, self.blank, self.reword = rows, order, blank, reword

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> dict[str, list[Any]]:
        batch = self.rows[part]
        images, asked = batch["image"], batch["prompt"]
        if self.order is not None:
            images = self.rows[list(self.order[part])]["image"]
        if self.blank:
            images = [_grey(image) for image in images]
        if self.reword is not None:
            asked = [self.reword(p, k) for p, k in zip(asked, batch["knowledge"], strict=True)]
        return {"prompt": asked, "image": images}


def _grey(image: Any) -> Any:
    from PIL import Image

    return Image.new("RGB", image.size, GREY)


def shown(rows: Any, facts: Sequence[Mapping[str, Any]], probe: ProbeName, seed: int) -> Shown | str:
    """The rows as a probe shows them, or why it does not apply to them.

    Parameters
    ----------
    rows
        Rows of one task.
    facts
        The same without images.
    probe
        One of :data:`PROBES`.
    seed
        Seed of the exchange of images.
    """
    if probe == "blank":
        return Shown(rows, blank=True)
    if probe == "shuffled":
        truths = [_truth(row) for row in facts]
        return "all images have the same right answer" if len(set(truths)) < 2 else Shown(rows, order=exchange(truths, seed))
    if probe == "no-knowledge":
        if not any(row.get("knowledge") for row in facts):
            return "the prompts carry no knowledge"
        return Shown(rows, reword=without_knowledge)
    form = asked_form(probe)
    return Shown(rows, reword=lambda prompt, _: in_form(prompt, cast("AnswerForm", form)))


def asked_form(probe: ProbeName) -> AnswerForm | None:
    """The format for which a probe asks, None if it leaves the format as it is."""
    return cast("AnswerForm", probe.removeprefix("form-")) if probe.startswith("form-") else None


def _truth(row: Mapping[str, Any]) -> Any:
    if row["task"] == "localisation":
        return tuple(tuple(box) for box in row["boxes"])
    return row["grade"] if row["task"] == "grading" else row["label"]


def exchange(truths: Sequence[Any], seed: int) -> list[int]:
    """For each sample the number of another one, each given once; with another truth for as many samples as possible.

    Samples are put in order of their truth (at random within and among truths) and moved on by the size of the largest group, so that
    nobody stays within a group unless it holds more than half of them.

    Parameters
    ----------
    truths
        Hashable truth of each sample.
    seed
        Seed of the order.
    """
    rng = np.random.default_rng(seed)
    groups: dict[Any, list[int]] = {}
    for i in rng.permutation(len(truths)):
        groups.setdefault(truths[i], []).append(int(i))
    queue = [i for group in groups.values() for i in group]
    step = max((len(group) for group in groups.values()), default=0)
    step = 1 if step == len(queue) else step
    given = [0] * len(queue)
    for place, i in enumerate(queue):
        given[i] = queue[(place + step) % len(queue)]
    return given


def without_knowledge(prompt: Sequence[Message], knowledge: str | None) -> list[Message]:
    """The prompt as :func:`vrft_aug.prompts.messages` makes it without `knowledge`."""
    if not knowledge:
        return list(prompt)
    kept = [m for m in prompt if m["content"] != knowledge]
    return [{**m, "content": m["content"].removeprefix(f"{knowledge}\n").removesuffix(f"\n{knowledge}")} for m in kept]


def in_form(prompt: Sequence[Message], form: AnswerForm) -> list[Message]:
    """The prompt asking for another answer format: its words for the usual one are replaced; where there are none, a sentence is added."""
    thought, answer = _WORDS[form]
    last = prompt[-1]
    text = last["content"]
    if _ANSWER in text:
        text = text.replace(_THOUGHT, thought).replace(_ANSWER, answer)
    else:
        text = f"{text} First think {thought}, then give the answer {answer}."
    return [*prompt[:-1], {**last, "content": text}]
