"""Write a reward of your own, check it, and use it in a recipe.

A reward is any callable with the signature below. ``0.0`` means judged and wrong; ``None`` means that this sample cannot be judged.
"""

# %% A reward: short thoughts, for samples whose answer is right
from dataclasses import dataclass
from typing import Any

from vrft_aug.parsing import completion_text, read_label, think_text
from vrft_aug.rewards import guard
from vrft_aug.testing import check_reward


@dataclass(frozen=True, kw_only=True)
class Brief:
    """1 for a right answer whose thought has at most `words` words, less for longer ones, 0 for a wrong answer."""

    words: int = 20

    @property
    def __name__(self) -> str:
        return "brief"

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        del prompts
        nothing = [None] * len(completions)
        labels, classes = columns.get("label") or nothing, columns.get("classes") or nothing
        return [self.one(*row) for row in zip(completions, labels, classes, strict=True)]

    def one(self, completion: Any, label: str | None, classes: list[str] | None) -> float | None:
        if label is None or not classes:
            return None
        thought = think_text(completion_text(completion))
        if thought is None or read_label(completion, classes) != label:
            return 0.0
        return min(1.0, self.words / max(1, len(thought.split())))


# %% The checks that every reward must pass: an AssertionError says what does not hold
check_reward(Brief(words=5))

# %% What it pays
completions = [
    "<think>white patches</think><answer>pneumonia</answer>",
    "<think>I see many things, and one of them is a white patch in the lower left lung</think><answer>pneumonia</answer>",
    "<think>white patches</think><answer>no pneumonia</answer>",
]
columns = {"label": ["pneumonia"] * 3, "classes": [["normal", "pneumonia"]] * 3}
values = Brief(words=5)(prompts=[""] * 3, completions=completions, **columns)
print([round(value, 2) for value in values if value is not None])


# %% The trainer puts a guard around every reward: a failure is a sample without a value, counted, never a lost run
def careless(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    del prompts, columns
    return [1 / (len(text) - 1) for text in completions]


guarded = guard(careless)
print(guarded(prompts=[""] * 2, completions=["abc", "a"]), dict(guarded.failures))

# %% In a recipe, by module and attribute (or by an entry point in the group vrft_aug.rewards):
#
#   rewards:
#     - {name: accuracy}
#     - {name: "own_reward:Brief", weight: 0.2, options: {words: 10}}
