from __future__ import annotations

import pytest

from vrft_aug.rewards import Format
from vrft_aug.testing import check_reward

RIGHT = "<think>a</think><answer>b</answer>"


@pytest.mark.parametrize(
    "reward", [Format(), Format(think=False), Format(strict=False), Format(form="any"), Format(confidence=True)]
)
def test_invariants(reward: Format) -> None:
    check_reward(reward)


def test_it_judges_every_sample_without_columns() -> None:
    texts = [RIGHT, RIGHT + " bye", "<answer>b</answer>", ""]
    assert Format()(prompts=[""] * 4, completions=texts) == [1.0, 0.0, 0.0, 0.0]
    assert Format(strict=False)(prompts=[""] * 4, completions=texts) == [1.0, 1.0, 0.0, 0.0]
    assert Format(think=False)(prompts=[""] * 4, completions=texts) == [1.0, 0.0, 1.0, 0.0]
    assert Format().__name__ == "format"


def test_other_forms_and_a_confidence() -> None:
    boxed = "<think>a</think>\\boxed{b}"
    sure = RIGHT + "<confidence>0.9</confidence>"
    assert Format(form="boxed")(prompts=[""] * 2, completions=[boxed, RIGHT]) == [1.0, 0.0]
    assert Format(confidence=True)(prompts=[""] * 2, completions=[sure, RIGHT]) == [1.0, 0.0]
    assert Format()(prompts=[""] * 2, completions=[sure, RIGHT]) == [0.0, 1.0]
