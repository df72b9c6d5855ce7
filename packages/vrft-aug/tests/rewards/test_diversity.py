from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore import metrics
from medcore.errors import InputError
from vrft_aug.rewards.diversity import GroupDiversity, answer_entropy, copy_rate, distinct_n, group_diversity, self_bleu

WORDS = st.lists(st.sampled_from(["white", "patches", "in", "the", "lung"]), max_size=8).map(" ".join)
TEXTS = st.lists(WORDS, max_size=6)
ANYTHING = st.lists(st.text(max_size=40), max_size=5)


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        (["a b c"], 1, 1.0),
        (["a b c", "a b c"], 1, 0.5),
        (["a b c", "a b c"], 2, 0.5),
        (["a b", "b a"], 1, 0.5),
        (["a b", "b a"], 2, 1.0),
        (["a a a a"], 1, 0.25),
        (["a a a a"], 2, 1 / 3),
        (["White patches.", "white PATCHES"], 2, 0.5),
        (["a b", "c"], 2, 1.0),
        (["a", "b"], 2, None),
        ([], 1, None),
        (["", " ... "], 1, None),
    ],
)
def test_distinct_by_hand(texts: list[str], n: int, expected: float | None) -> None:
    assert distinct_n(texts, n) == (None if expected is None else pytest.approx(expected))


@given(TEXTS, st.integers(1, 3))
def test_distinct_is_a_share_that_falls_when_all_is_said_again(texts: list[str], n: int) -> None:
    once, twice = distinct_n(texts, n), distinct_n([*texts, *texts], n)
    if once is None:
        assert twice is None
    else:
        assert 0 < once <= 1
        assert twice == pytest.approx(once / 2)
    assert distinct_n(texts[::-1], n) == once


def test_runs_do_not_cross_from_one_text_into_the_next() -> None:
    assert distinct_n(["a b", "a b"], 2) == distinct_n(["a b"] * 2, 2) == 0.5
    assert distinct_n(["a b a b"], 2) == pytest.approx(2 / 3)


def test_self_bleu_by_hand() -> None:
    """Unigram BLEU of "a b" against "a c", and the other way round: one of two words, equal lengths."""
    assert self_bleu(["a b", "a c"], order=1) == pytest.approx(0.5)
    assert self_bleu(["a b", "a b", "c d"], order=1) == pytest.approx(2 / 3)
    assert self_bleu(["white patches in both lungs"] * 3) == pytest.approx(1.0)
    assert self_bleu(["a b"]) is None
    assert self_bleu(["a b", " ... "]) is None
    assert self_bleu([]) is None


@given(TEXTS)
def test_self_bleu_is_a_share_and_does_not_depend_on_the_order(texts: list[str]) -> None:
    value = self_bleu(texts)
    if value is None:
        assert len([t for t in texts if t]) < 2
    else:
        assert 0 <= value <= 1
        assert self_bleu(texts[::-1]) == pytest.approx(value)


@pytest.mark.parametrize(
    ("answers", "bits"),
    [
        (["a"], 0.0),
        (["a"] * 8, 0.0),
        (["a", "b"], 1.0),
        (["a", "b", "c", "d"], 2.0),
        (["a", "a", "a", "b"], 0.8112781244591328),
        (["Normal", "  normal ", "NORMAL"], 0.0),
        ([None, None, "a", "a"], 1.0),
        ([None], 0.0),
    ],
)
def test_entropy_by_hand(answers: list[str | None], bits: float) -> None:
    value = answer_entropy(answers)
    assert value == pytest.approx(bits)
    assert math.copysign(1, value or 0.0) == 1


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=12))
def test_entropy_lies_between_one_answer_and_all_different(answers: list[str | None]) -> None:
    value = answer_entropy(answers)
    assert value is not None
    assert 0 <= value <= math.log2(len(set(answers))) + 1e-12
    assert answer_entropy(answers * 3) == pytest.approx(value)


def test_nothing_has_no_entropy() -> None:
    assert answer_entropy([]) is None


def test_copy_rate_by_hand() -> None:
    knowledge = "white patches or hazy areas in one or both lungs"
    assert copy_rate(knowledge, knowledge) == 1.0
    assert copy_rate("hazy areas in one lung or so", knowledge) == pytest.approx(1 / 4)
    assert copy_rate("patches white hazy or areas", knowledge) == 0.0
    assert copy_rate("patches white", knowledge, n=1) == 1.0
    assert copy_rate("too short", knowledge) is None
    assert copy_rate("five words of any kind", " ... ") is None


@given(WORDS | st.text(max_size=40), WORDS | st.text(max_size=40), st.integers(1, 5))
def test_copy_rate_is_that_of_the_metrics(text: str, knowledge: str, n: int) -> None:
    expected = metrics.copy_rate(knowledge, text, n=n).value
    assert copy_rate(text, knowledge, n=n) == (None if expected is None else pytest.approx(expected))


@given(ANYTHING, st.text(max_size=40))
def test_whatever_is_written_has_a_number_or_none(texts: list[str], knowledge: str) -> None:
    for value in (distinct_n(texts), self_bleu(texts), *(copy_rate(text, knowledge) for text in texts)):
        assert value is None or 0 <= value <= 1


def test_groups_follow_the_order_of_trl() -> None:
    same = "<think>white patches in the lung</think><answer>pneumonia</answer>"
    other = [{"role": "assistant", "content": "<think>nothing is seen here</think><answer>normal</answer>"}]
    first, second = group_diversity([same, same, same, other], 2)
    assert (first.distinct_1, first.distinct_2, first.answer_entropy) == (0.5, 0.5, 0.0)
    assert first.self_bleu == pytest.approx(1.0)
    assert (second.distinct_1, second.distinct_2, second.answer_entropy) == (1.0, 1.0, 1.0)
    assert second.self_bleu == pytest.approx(0.0, abs=0.1)
    assert group_diversity([], 4) == []
    assert group_diversity(["", ""], 2) == [GroupDiversity(distinct_1=None, distinct_2=None, self_bleu=None, answer_entropy=0.0)]
    with pytest.raises(InputError, match="3 are no whole number of groups of 2"):
        group_diversity([same] * 3, 2)
    with pytest.raises(InputError, match="groups of 0"):
        group_diversity([same], 0)
    with pytest.raises(InputError, match="n: is 0"):
        distinct_n(["a"], 0)
