from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.naive_bayes import BernoulliNB

from medcore.errors import InputError
from vrft_aug.leak import LeakTest, _counted, _naive_bayes, _parts, leak_check, measure_leaks, prompt_text

CLASSES = ["normal", "pneumonia"]
KNOWLEDGE = "normal: clear lungs. pneumonia: white patches."
WARDS = ("surgery", "intensive care", "eye clinic", "children")


def rows(n: int, rng: np.random.Generator, share: float = 0.5, **changes: Any) -> list[dict[str, Any]]:
    """Samples of different people with the same prompt."""
    made = []
    for i in range(n):
        label = CLASSES[int(rng.random() < share)]
        row = {
            "sample_id": f"s{i}",
            "subject": f"p{i}",
            "task": "classification",
            "label": label,
            "classes": CLASSES,
            "prompt": [{"role": "system", "content": KNOWLEDGE}, {"role": "user", "content": "What does the image show?"}],
            "knowledge": KNOWLEDGE,
        }
        made.append(row | {key: value(i, label) if callable(value) else value for key, value in changes.items()})
    return made


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": KNOWLEDGE}, {"role": "user", "content": text}]


def codes(found: list[Any]) -> list[str]:
    return [f.code for f in found]


def test_the_same_prompt_for_all_tells_nothing(rng: np.random.Generator) -> None:
    data = rows(80, rng, share=0.8)
    (test,) = measure_leaks(data)
    assert (test.what, test.samples, test.subjects, test.p_value) == ("prompt", 80, 80, 1.0)
    assert test.accuracy == test.majority
    assert leak_check(data) == []


def test_different_knowledge_for_one_sample_is_found(rng: np.random.Generator) -> None:
    data = rows(40, rng)
    data[17] = data[17] | {"knowledge": "another"}
    (found,) = leak_check(data, where="reasoning, training")
    assert (found.code, found.severity, found.where) == ("different-knowledge", "fault", "reasoning, training")
    assert "sample s17 carries other knowledge" in found.problem
    assert found.remedy == "inject the same text for every sample"


@pytest.mark.parametrize("share", [0.5, 0.85])
@pytest.mark.parametrize("strength", [1.0, 0.7])
def test_metadata_that_goes_with_the_label_is_found(rng: np.random.Generator, share: float, strength: float) -> None:
    """Most of the ill lie in intensive care: no word of the prompt is the answer, and yet it tells."""

    def prompt(i: int, label: str) -> Any:
        ill = label == "pneumonia"
        ward = WARDS[1] if ill and rng.random() < strength else WARDS[0] if not ill and rng.random() < strength else WARDS[2]
        return asked(f"Ward: {ward}. What does the image show?")

    data = rows(160, rng, share=share, prompt=prompt)
    (found,) = leak_check(data)
    assert found.code == "prompt-tells-label"
    assert "the words of the prompt alone give" in found.problem
    (test,) = measure_leaks(data)
    assert test.accuracy > test.majority
    assert test.p_value == pytest.approx(1 / 200)


def test_a_hint_in_the_system_message_or_in_parts_of_a_message_is_found(rng: np.random.Generator) -> None:
    def hidden(i: int, label: str) -> Any:
        parts = [{"type": "image"}, {"type": "text", "text": "What does the image show?"}]
        return [{"role": "system", "content": f"Scanner {1 + (label == 'normal')}"}, {"role": "user", "content": parts}]

    assert codes(leak_check(rows(60, rng, prompt=hidden))) == ["prompt-tells-label"]


def test_the_order_of_words_is_a_hint(rng: np.random.Generator) -> None:
    """Pairs of words are looked at, because a bag of words is the same for both orders."""

    def prompt(i: int, label: str) -> Any:
        return asked("normal or pneumonia?" if label == "normal" else "pneumonia or normal?")

    assert codes(leak_check(rows(60, rng, prompt=prompt))) == ["prompt-tells-label"]


@pytest.mark.property
def test_chance_is_rarely_taken_for_a_leak() -> None:
    """Metadata without relation to the label: at the level of 1 % a fault in 40 data sets may be, several are a mistake."""
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)

        def prompt(i: int, label: str, rng: np.random.Generator = rng) -> Any:
            return asked(f"Ward {rng.choice(WARDS)}, age {rng.integers(1, 9)}. What does the image show?")

        data = rows(60, rng, prompt=prompt)
        found += len(leak_check(data, tests=measure_leaks(data, permutations=99)))
    assert found <= 3


def test_p_values_of_chance_are_spread_evenly() -> None:
    values = []
    for seed in range(80):
        rng = np.random.default_rng(seed)

        def prompt(i: int, label: str, rng: np.random.Generator = rng) -> Any:
            return asked(f"Ward {rng.choice(WARDS)}, age {rng.integers(1, 9)}. What does the image show?")

        values.append(measure_leaks(rows(40, rng, prompt=prompt), permutations=19)[0].p_value)
    assert 0.35 < np.mean(values) < 0.75
    assert np.mean(np.array(values) <= 0.1) < 0.25


def test_the_name_of_a_subject_is_no_leak_and_its_samples_are_no_evidence(rng: np.random.Generator) -> None:
    """Each subject has one label and a word of its own: known subjects are told apart, new ones are not."""
    labels = {f"p{i}": CLASSES[int(rng.random() < 0.5)] for i in range(30)}
    wards = {subject: rng.choice(WARDS) for subject in labels}
    data = []
    for subject, label in labels.items():
        for i in range(8):
            prompt = asked(f"Patient {subject}, ward {wards[subject]}. What does the image show?")
            data += rows(1, rng, sample_id=f"{subject}-{i}", subject=subject, label=label, prompt=prompt)
    assert leak_check(data) == []
    assert measure_leaks(data)[0].subjects == 30


def test_the_guesses_are_those_of_scikit_learn(rng: np.random.Generator) -> None:
    table = (rng.random((90, 12)) < 0.4).astype(float)
    labels = rng.integers(0, 3, 90)
    table[:, 0] = labels == 1
    fold = np.arange(90) % 5
    expected = cross_val_predict(BernoulliNB(alpha=0.5), table, labels, cv=PredefinedSplit(fold))
    assert np.mean(_naive_bayes(_counted(_parts(table, fold), labels), 90) == expected) > 0.97  # the priors differ by half a count


@pytest.mark.parametrize("same_classes", [True, False])
def test_the_right_answer_that_is_always_first_is_found(rng: np.random.Generator, same_classes: bool) -> None:
    names = ["nodule", "effusion", "mass", "fracture", "cyst", "oedema"]

    def make(shuffled: bool) -> list[dict[str, Any]]:
        data = []
        for i in range(80):
            choices = [str(name) for name in rng.permutation(names[:4] if same_classes else rng.permutation(names)[:4])]
            right = str(rng.choice(choices)) if shuffled else choices[0]
            data += rows(1, rng, sample_id=f"s{i}", subject=f"p{i}", label=right, classes=choices)
        return data

    (found,) = leak_check(make(shuffled=False))
    assert found.code == "order-tells-label"
    assert "the order of the choices alone give 100% of 80 labels" in found.problem
    assert leak_check(make(shuffled=True)) == []


def test_a_fixed_order_of_choices_is_not_tested(rng: np.random.Generator) -> None:
    assert [test.what for test in measure_leaks(rows(60, rng, share=0.9))] == ["prompt"]


def test_shuffled_choices_of_a_skewed_data_set_are_no_leak(rng: np.random.Generator) -> None:
    """Nine of ten orders and nine of ten labels are the same: the place is often guessed, and tells nothing."""

    def order(i: int, label: str) -> Any:
        return CLASSES if rng.random() < 0.9 else CLASSES[::-1]

    data = rows(200, rng, share=0.1, classes=order)
    tests = measure_leaks(data)
    assert [test.what for test in tests] == ["prompt", "order"]
    assert tests[1].accuracy > 0.7
    assert leak_check(data) == []


def test_grades_are_labels_and_tasks_are_looked_at_one_by_one(rng: np.random.Generator) -> None:
    grades = rows(60, rng, task="grading", label=None, classes=None, grade=lambda i, label: CLASSES.index(label))
    for row in grades:
        row["prompt"] = asked(f"Clinic {row['grade']}")
    boxes = rows(60, rng, task="localisation", label=None, grade=lambda i, label: i % 2)
    plain = rows(60, rng)
    assert [test.task for test in measure_leaks([*plain, *boxes, *grades])] == ["classification", "grading"]
    (found,) = leak_check([*plain, *boxes, *grades])
    assert "(grading;" in found.problem


def test_a_prompt_that_tells_whether_there_is_anything_to_find_is_found(rng: np.random.Generator) -> None:
    def boxes(i: int, label: str) -> Any:
        return [[0.0, 0.0, 1.0, 1.0]] if label == "pneumonia" else []

    def prompt(i: int, label: str) -> Any:
        return asked(f"Request: {'control' if label == 'normal' else 'cough'}. Where is it?")

    data = rows(60, rng, task="localisation", boxes=boxes, prompt=prompt)
    assert codes(leak_check(data)) == ["prompt-tells-label"]
    assert [test.p_value for test in measure_leaks(rows(60, rng, task="localisation", boxes=boxes))] == [1.0]


def test_few_subjects_or_one_label_are_not_tested(rng: np.random.Generator) -> None:
    assert measure_leaks(rows(19, rng)) == []
    assert measure_leaks(rows(200, rng, subject="the same")) == []
    assert measure_leaks(rows(60, rng, label="normal")) == []
    assert measure_leaks([]) == []


def test_large_data_are_thinned_by_whole_subjects_and_repeatable(rng: np.random.Generator) -> None:
    data = rows(900, rng, subject=lambda i, label: f"p{i // 3}", prompt=lambda i, label: asked(f"Ward {i % 4}"))
    first, second = (measure_leaks(data, max_samples=200, permutations=5) for _ in range(2))
    assert first == second
    assert first[0].samples == 201
    assert first[0].subjects == 67


def test_settings_without_meaning_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="has 1 folds and 199 permutations"):
        measure_leaks(rows(40, rng), folds=1)


def test_when_a_test_counts_as_a_leak() -> None:
    def test(what: Any, accuracy: float, p_value: float) -> LeakTest:
        return LeakTest(what=what, task="t", samples=1, subjects=1, accuracy=accuracy, majority=0.8, p_value=p_value)

    assert test("prompt", 0.9, 0.005).leaks(0.01)
    assert not test("prompt", 0.9, 0.02).leaks(0.01)
    assert not test("prompt", 0.8, 0.005).leaks(0.01)
    assert test("order", 0.4, 0.005).leaks(0.01)


@pytest.mark.parametrize("prompt", [None, "", [], [{"role": "user"}], [{"role": "user", "content": [{"type": "image"}]}]])
def test_prompts_of_any_form_have_a_text(prompt: Any) -> None:
    assert isinstance(prompt_text({"prompt": prompt}), str)
    assert prompt_text({"prompt": "What?"}) == "What?"
