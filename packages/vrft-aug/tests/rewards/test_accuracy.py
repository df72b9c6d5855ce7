from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import fbeta_score

from medcore.errors import ConfigError
from vrft_aug.parsing import Reason
from vrft_aug.rewards import Accuracy
from vrft_aug.rewards.accuracy import Verdict, f_score
from vrft_aug.testing import check_reward


def judge(answers: list[str], reward: Accuracy | None = None, **row: Any) -> list[float | None]:
    texts = [f"<think>normal pneumonia abnormal</think><answer>{answer}</answer>" for answer in answers]
    columns = {name: [value] * len(texts) for name, value in row.items()}
    return (reward or Accuracy())(prompts=[""] * len(texts), completions=texts, **columns)


@pytest.mark.parametrize(
    "reward",
    [
        Accuracy(),
        Accuracy(negative="normal"),
        Accuracy(letters=False),
        Accuracy(synonyms={"normal": ("healthy",)}),
        Accuracy(form="any", beta=2.0, tolerance=1.0, fade=1.0),
    ],
)
def test_invariants(reward: Accuracy) -> None:
    check_reward(reward)


# Each row is a probe for which the scoring of a neighbouring project pays a wrong answer, or refuses a right one.
@pytest.mark.parametrize(
    ("answer", "label", "classes", "score"),
    [
        ("", "pneumonia", ["normal", "pneumonia"], 0.0),
        ("normal", "abnormal", ["normal", "abnormal"], 0.0),
        ("abnormal", "normal", ["normal", "abnormal"], 0.0),
        ("no pneumonia", "pneumonia", ["normal", "pneumonia"], 0.0),
        ("benign or malignant", "malignant", ["benign", "malignant"], 0.0),
        ("e", "effusion with pneumothorax", ["effusion with pneumothorax", "normal"], 0.0),
        ("No Effusion", "Effusion", ["Effusion", "No Finding"], 0.0),
        ("Effusion No Finding", "Effusion", ["Effusion", "No Finding"], 0.0),
        ("A or B or C", "liver", ["liver", "spleen", "lung"], 0.0),
        ("liver, spleen, lung", "liver", ["liver", "spleen", "lung"], 0.0),
        ("C) CT", "CT", ["MRI", "X-ray", "CT"], 1.0),
        ("A. Liver", "liver", ["liver", "spleen"], 1.0),
        ("D) Normal", "Normal", ["AVM", "Bleed", "Cyst", "Normal"], 1.0),
        ("B", "liver", ["spleen", "liver"], 1.0),
        ("Pneumonia.", "pneumonia", ["normal", "pneumonia"], 1.0),
    ],
)
def test_probes(answer: str, label: str, classes: list[str], score: float) -> None:
    assert judge([answer], label=label, classes=classes) == [score]


def test_the_answer_must_stand_in_its_tag() -> None:
    texts = ["pneumonia", "<think>pneumonia</think>", "<answer>pneumonia", "<think>x</think><answer>pneumonia</answer>"]
    scores = Accuracy()(prompts=[""] * 4, completions=texts, label=["pneumonia"] * 4, classes=[["normal", "pneumonia"]] * 4)
    assert scores == [0.0, 0.0, 0.0, 1.0]


def test_wrong_is_zero_and_not_applicable_is_none() -> None:
    known = {"label": "normal", "classes": ["normal", "pneumonia"]}
    assert judge(["pneumonia", "gibberish"], **known) == [0.0, 0.0]
    assert judge(["normal"]) == [None]
    assert judge(["normal"], label="normal") == [None]
    assert judge(["normal"], label=None, classes=["normal", "pneumonia"]) == [None]
    assert judge(["normal"], label="cyst", classes=["normal", "pneumonia"]) == [None]
    assert judge(["[1, 2, 3, 4]"], task="localisation", **known) == [None]


def test_grading_compares_grades() -> None:
    names = ["none", "mild", "severe"]
    row = {"task": "grading", "label": "mild", "grade": 1}
    assert judge(["mild", "1", "grade 1", "severe", "x"], classes=names, num_grades=3, **row) == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert judge(["1", "2", "mild"], num_grades=3, **row) == [1.0, 0.0, 0.0]
    assert judge(["1"], **row) == [None]
    assert judge(["1"], task="grading", grade=None, num_grades=3) == [None]


def test_synonyms_negative_and_letters_are_options() -> None:
    row = {"label": "normal", "classes": ["normal", "pneumonia"]}
    assert judge(["no pneumonia", "healthy", "A"], **row) == [0.0, 0.0, 1.0]
    reward = Accuracy(synonyms={"normal": ("healthy",)}, negative="normal", letters=False)
    assert judge(["no pneumonia", "healthy", "A"], reward, **row) == [1.0, 1.0, 0.0]


def test_a_synonym_has_one_class() -> None:
    with pytest.raises(ConfigError, match="'Clear ' stands for normal and for pneumonia"):
        Accuracy(synonyms={"normal": ("clear",), "pneumonia": ("Clear ",)})


FINDINGS = ["atelectasis", "effusion", "mass", "nodule"]


@pytest.mark.parametrize(
    ("answer", "labels", "score", "why"),
    [
        ("effusion, mass", ["effusion", "mass"], 1.0, "all"),
        ("mass and effusion", ["effusion", "mass"], 1.0, "in any order"),
        ("effusion", ["effusion", "mass"], 2 / 3, "half of them"),
        ("effusion, nodule", ["effusion", "mass"], 0.5, "one right, one wrong"),
        ("atelectasis, effusion, mass, nodule", ["effusion"], 0.4, "naming everything does not pay"),
        ("atelectasis", ["effusion"], 0.0, "wrong"),
        ("effusion, no mass", ["effusion"], 1.0, "a denied finding is not stated"),
        ("effusion or mass", ["effusion"], 0.0, "left open"),
        ("possible effusion", ["effusion"], 0.0, "left open"),
        ("none", [], 1.0, "none of them"),
        ("no findings", [], 1.0, "none of them"),
        ("effusion", [], 0.0, "one that is not there"),
        ("none", ["effusion"], 0.0, "overlooked"),
        ("B, C", ["effusion", "mass"], 1.0, "letters"),
        ("", [], 0.0, "silence is no answer"),
        ("opacity", [], 0.0, "another word is no answer"),
    ],
)
def test_several_labels(answer: str, labels: list[str], score: float, why: str) -> None:
    assert judge([answer], labels=labels, classes=FINDINGS) == [pytest.approx(score)], why


def test_recall_may_count_more() -> None:
    row = {"labels": ["effusion", "mass"], "classes": FINDINGS}
    missed, added = "effusion", "effusion, mass, nodule, atelectasis"
    assert judge([missed, added], **row) == [pytest.approx(2 / 3), pytest.approx(2 / 3)]
    few, many = judge([missed, added], Accuracy(beta=2.0), **row)
    assert few == pytest.approx(5 / 9)
    assert many == pytest.approx(10 / 12)


@given(st.sets(st.sampled_from(FINDINGS)), st.sets(st.sampled_from(FINDINGS)), st.sampled_from([0.5, 1.0, 2.0]))
def test_f_score_agrees_with_scikit_learn(stated: set[str], truth: set[str], beta: float) -> None:
    rows = [[name in chosen for name in FINDINGS] for chosen in (truth, stated)]
    expected = fbeta_score(rows[0], rows[1], beta=beta, zero_division=1.0) if stated or truth else 1.0
    if not (stated and truth):
        expected = float(stated == truth)
    assert f_score(frozenset(stated), truth, beta) == pytest.approx(expected)
    assert 0 <= f_score(frozenset(stated), truth, beta) <= 1
    assert (f_score(frozenset(stated), truth, beta) == 1) == (stated == truth)


@pytest.mark.parametrize(
    ("reward", "answer", "score"),
    [
        (Accuracy(), "55", 1.0),
        (Accuracy(), "55.0 %", 1.0),
        (Accuracy(), "54.9", 0.0),
        (Accuracy(tolerance=2.0), "57", 1.0),
        (Accuracy(tolerance=2.0), "57.1", 0.0),
        (Accuracy(tolerance=2.0, fade=4.0), "59", 0.5),
        (Accuracy(tolerance=2.0, fade=4.0), "51", 0.5),
        (Accuracy(tolerance=2.0, fade=4.0), "61", 0.0),
        (Accuracy(tolerance=2.0, fade=4.0), "1e9", 0.0),
        (Accuracy(tolerance=0.1, relative=True), "60.5", 1.0),
        (Accuracy(tolerance=0.1, relative=True), "60.6", 0.0),
        (Accuracy(tolerance=0.1, fade=0.2, relative=True), "66", 0.5),
        (Accuracy(tolerance=9.0), "50 to 60", 0.0),
        (Accuracy(tolerance=9.0), "not 55", 0.0),
        (Accuracy(tolerance=9.0), "< 55", 0.0),
        (Accuracy(tolerance=9.0), "", 0.0),
        (Accuracy(unit="%"), "55 %", 1.0),
        (Accuracy(unit="%"), "55 ml", 0.0),
    ],
)
def test_numbers(reward: Accuracy, answer: str, score: float) -> None:
    assert judge([answer], reward, value=55) == [pytest.approx(score)]


@given(st.floats(-1e6, 1e6), st.floats(0, 1e3), st.floats(0, 1e3), st.lists(st.floats(0, 1e4), min_size=2), st.booleans())
def test_closer_never_earns_less(truth: float, tolerance: float, fade: float, distances: list[float], relative: bool) -> None:
    reward = Accuracy(tolerance=tolerance, fade=fade, relative=relative)
    credits_ = [reward.closeness(truth + distance, truth) for distance in sorted(distances)]
    assert all(0 <= value <= 1 for value in credits_)
    assert all(a >= b - 1e-9 for a, b in pairwise(credits_))
    assert reward.closeness(truth, truth) == 1


def test_what_cannot_be_judged() -> None:
    assert judge(["effusion"], labels=["cyst"], classes=FINDINGS) == [None]
    assert judge(["effusion"], labels=["effusion"]) == [None]
    assert judge(["effusion"], labels="effusion", classes=FINDINGS) == [None]
    for value in (float("nan"), float("inf"), True, "55"):
        assert judge(["55"], value=value) == [None]
    assert judge(["55"], value=55, task="localisation") == [None]


def test_the_first_column_that_is_there_decides() -> None:
    both = {"label": "mass", "labels": ["mass", "nodule"], "classes": FINDINGS, "value": 3}
    assert judge(["mass", "mass, nodule", "3"], **both) == [1.0, 0.0, 0.0]
    assert judge(["2", "3"], task="grading", grade=2, num_grades=5, value=3) == [1.0, 0.0]


def test_other_forms() -> None:
    row = {"label": ["normal"] * 2, "classes": [["normal", "pneumonia"]] * 2}
    texts = ["<think>x</think>\\boxed{normal}", "<answer>normal</answer>"]
    assert Accuracy(form="boxed")(prompts=[""] * 2, completions=texts, **row) == [1.0, 0.0]
    assert Accuracy()(prompts=[""] * 2, completions=texts, **row) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("options", "match"),
    [({"beta": 0.0}, "beta: is 0"), ({"tolerance": -1.0}, "tolerance: is -1"), ({"fade": float("inf")}, "fade: is inf")],
)
def test_wrong_options(options: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Accuracy(**options)


def test_verdicts_say_why_an_answer_was_not_read() -> None:
    texts = [f"<answer>{answer}</answer>" for answer in ("normal", "pneumonia", "possible pneumonia", "both")]
    found = Accuracy().verdicts(texts, label=["normal"] * 4, classes=[["normal", "pneumonia"]] * 4)
    assert found == [Verdict(1.0), Verdict(0.0), Verdict(0.0, Reason.HEDGED), Verdict(0.0, Reason.NOT_NAMED)]
    assert Accuracy().verdicts(texts[:1]) == [None]
