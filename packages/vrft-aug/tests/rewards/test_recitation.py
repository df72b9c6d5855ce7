from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from medcore.metrics import chrf, rouge_l, token_f1
from vrft_aug.rewards import Recitation
from vrft_aug.testing import check_reward

KNOWLEDGE = "Pneumonia shows white patches or hazy areas in one or both lungs."
SIMILARITIES = ["bleu", "rouge_l", "chrf", "token_f1"]
WORDS = st.lists(st.sampled_from(["white", "patches", "in", "the", "lung", "hazy", "areas"]), min_size=1, max_size=12).map(" ".join)


def judge(reward: Recitation, thoughts: list[str], knowledge: str | None = KNOWLEDGE) -> list[float | None]:
    texts = [f"<think>{thought}</think><answer>pneumonia</answer>" for thought in thoughts]
    return reward(prompts=[""] * len(texts), completions=texts, knowledge=[knowledge] * len(texts))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_invariants(similarity: Any) -> None:
    check_reward(Recitation(similarity=similarity))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_copying_is_one_and_nothing_in_common_is_zero(similarity: Any) -> None:
    copied, other, part = judge(Recitation(similarity=similarity), [KNOWLEDGE, "QQQ 777", "I see white patches in one lung"])
    assert copied == pytest.approx(1.0)
    assert other == pytest.approx(0.0, abs=0.03)
    assert 0 < part < 1


@given(WORDS, WORDS)
def test_similarity_is_a_share(thought: str, knowledge: str) -> None:
    for similarity in SIMILARITIES:
        (value,) = judge(Recitation(similarity=similarity), [thought], knowledge)
        assert 0 <= value <= 1


@pytest.mark.parametrize(("similarity", "metric"), [("rouge_l", rouge_l), ("chrf", chrf), ("token_f1", token_f1)])
def test_similarities_are_those_of_the_metrics(similarity: Any, metric: Any) -> None:
    thought = "hazy areas in one lung"
    assert judge(Recitation(similarity=similarity), [thought]) == [pytest.approx(metric(KNOWLEDGE, thought).value)]


def referee_bleu(reference: list[str], estimate: list[str], order: int) -> float:
    """BLEU from its definition (Papineni et al. 2002), for texts in which every order has a match."""
    logs = []
    for n in range(1, min(order, len(estimate)) + 1):
        grams = [Counter(tuple(t[i : i + n]) for i in range(len(t) - n + 1)) for t in (estimate, reference)]
        logs.append(math.log((grams[0] & grams[1]).total() / grams[0].total()))
    brevity = min(1.0, math.exp(1 - len(reference) / len(estimate)))
    return brevity * math.exp(sum(logs) / len(logs))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "thought", ["white patches or hazy areas in one lung", "both lungs show white patches or hazy areas in one or both lungs now"]
)
def test_bleu_agrees_with_its_definition(order: int, thought: str) -> None:
    knowledge = "pneumonia shows white patches or hazy areas in one or both lungs"
    expected = referee_bleu(knowledge.split(), thought.split(), order)
    assert judge(Recitation(order=order, smoothing="none"), [thought], knowledge) == [pytest.approx(expected)]


def test_brevity_penalty_is_an_option() -> None:
    thought = "white patches or hazy areas"
    with_penalty, without = (judge(Recitation(brevity_penalty=b), [thought])[0] for b in (True, False))
    assert without == pytest.approx(1.0)
    assert with_penalty < 0.5


def test_only_the_thought_counts() -> None:
    reward = Recitation()
    texts = [
        f"{KNOWLEDGE}<think>zzz</think><answer>{KNOWLEDGE}</answer>",
        f"<answer>{KNOWLEDGE}</answer>",
        f"<think>{KNOWLEDGE}",
        f"<think></think>{KNOWLEDGE}",
    ]
    scores = reward(prompts=[""] * 4, completions=texts, knowledge=[KNOWLEDGE] * 4)
    assert scores[0] == pytest.approx(0.0, abs=0.03)
    assert scores[1:] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("knowledge", [None, "", " ... "])
def test_without_knowledge_nothing_can_be_judged(knowledge: str | None) -> None:
    assert judge(Recitation(), ["white patches", ""], knowledge) == [None, None]
    assert Recitation()(prompts=[""], completions=["<think>a</think>"]) == [None]


def test_equal_pairs_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    compare = Recitation._compare
    monkeypatch.setattr(Recitation, "_compare", lambda self, k, t: calls.append(t) or compare(self, k, t))
    scores = judge(Recitation(), ["white patches"] * 30 + ["hazy"])
    assert calls == ["white patches", "hazy"]
    assert len(set(scores[:30])) == 1


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="order: is 0"):
        Recitation(order=0)
    with pytest.raises(ConfigError, match="options of bleu with chrf"):
        Recitation(similarity="chrf", order=2)
    for threshold in (1.0, -0.1, math.nan):
        with pytest.raises(ConfigError, match="soft_threshold: is"):
            Recitation(soft_threshold=threshold)


def test_the_span_says_what_is_compared() -> None:
    texts = [
        f"<think>{KNOWLEDGE}</think><answer>normal</answer>",
        f"<think>zzz</think><answer>{KNOWLEDGE}</answer>",
        f"{KNOWLEDGE} <think></think><answer></answer>",
        f"<think>{KNOWLEDGE}</think>",
    ]
    copied = pytest.approx(1.0)
    expected: dict[Any, list[Any]] = {"think": [copied, 0.0, 0.0, copied], "answer": [0.0, copied, 0.0, 0.0]}
    for span, values in expected.items():
        reward = Recitation(similarity="token_f1", span=span)
        check_reward(reward)
        assert reward(prompts=[""] * 4, completions=texts, knowledge=[KNOWLEDGE] * 4) == values
    whole = Recitation(similarity="token_f1", span="all")
    check_reward(whole)
    scores = whole(prompts=[""] * 4, completions=texts, knowledge=[KNOWLEDGE] * 4)
    assert scores == [pytest.approx(24 / 25), pytest.approx(24 / 25), copied, copied]


@given(WORDS, WORDS, st.floats(0, 1, exclude_max=True), st.sampled_from(SIMILARITIES))
def test_the_soft_threshold_frees_what_is_below_it_and_keeps_the_order(
    thought: str, knowledge: str, threshold: float, similarity: Any
) -> None:
    (plain,) = judge(Recitation(similarity=similarity), [thought], knowledge)
    (soft,) = judge(Recitation(similarity=similarity, soft_threshold=threshold), [thought], knowledge)
    assert plain is not None
    assert soft is not None
    assert 0 <= soft <= plain
    assert soft == pytest.approx((plain - threshold) / (1 - threshold) if plain > threshold else 0.0)


def test_an_honest_paraphrase_is_free_and_a_copy_is_not() -> None:
    paraphrase = "In one lung there are white, hazy patches, so pneumonia is likely."
    plain = judge(Recitation(similarity="token_f1"), [KNOWLEDGE, paraphrase])
    assert plain == [1.0, 0.5]
    assert judge(Recitation(similarity="token_f1", soft_threshold=0.5), [KNOWLEDGE, paraphrase]) == [1.0, 0.0]


def test_copying_and_diversity_of_a_batch_are_logged() -> None:
    logged: dict[str, float] = {}
    thoughts = ["white patches or hazy areas", "I see white patches or nothing", "clear", "white patches or hazy areas"]
    texts = [f"<think>{thought}</think><answer>normal</answer>" for thought in thoughts]

    def log(name: str, value: float) -> None:
        assert name not in logged
        logged[name] = value

    values = Recitation()(prompts=[""] * 5, completions=[*texts, texts[0]], knowledge=[KNOWLEDGE] * 4 + [None], log_metric=log)
    assert values == [*judge(Recitation(), thoughts), None]
    # Runs of four words: 2 of 2, 0 of 3, too short, 2 of 2. Pairs of words: 4 + 5 + 0 + 4, of which 4 + 3 are different.
    assert logged == {"recitation/copy_rate": pytest.approx(2 / 3), "recitation/distinct_2": pytest.approx(7 / 13)}
    logged.clear()
    Recitation()(prompts=[""] * 2, completions=["<think>clear</think>", ""], knowledge=[KNOWLEDGE] * 2, log_metric=log)
    Recitation()(prompts=[""], completions=[texts[0]], log_metric=log)
    Recitation()(prompts=[], completions=[], log_metric=log)
    assert logged == {}
