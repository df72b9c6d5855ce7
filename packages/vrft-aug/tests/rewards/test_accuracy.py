from __future__ import annotations

from typing import Any

import pytest

from medcore.errors import ConfigError
from vrft_aug.rewards import Accuracy
from vrft_aug.testing import check_reward


def judge(answers: list[str], reward: Accuracy | None = None, **row: Any) -> list[float | None]:
    texts = [f"<think>normal pneumonia abnormal</think><answer>{answer}</answer>" for answer in answers]
    columns = {name: [value] * len(texts) for name, value in row.items()}
    return (reward or Accuracy())(prompts=[""] * len(texts), completions=texts, **columns)


@pytest.mark.parametrize(
    "reward", [Accuracy(), Accuracy(negative="normal"), Accuracy(letters=False), Accuracy(synonyms={"normal": ("healthy",)})]
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
