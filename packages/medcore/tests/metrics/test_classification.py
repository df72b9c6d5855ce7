"""Classification metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from medcore.errors import InputError
from medcore.metrics import (
    accuracy,
    auroc,
    balanced_accuracy,
    brier,
    confusion_matrix,
    ece,
    ece_mass,
    f1,
    grade_mae,
    quadratic_weighted_kappa,
)

labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60).map(lambda p: tuple(np.array(p).T))


@given(pair=labels)
def test_labels_against_scikit_learn(pair):
    ref, est = pair
    assert accuracy(ref, est).value == pytest.approx(sk.accuracy_score(ref, est))
    recalls = sk.recall_score(ref, est, labels=np.unique(ref), average="macro", zero_division=0)
    assert balanced_accuracy(ref, est).value == pytest.approx(recalls)
    assert f1(ref, est).value == pytest.approx(sk.f1_score(ref, est, average="macro", zero_division=0))
    assert np.array_equal(confusion_matrix(ref, est, range(5)), sk.confusion_matrix(ref, est, labels=range(5)))
    assert grade_mae(ref, est).value == pytest.approx(sk.mean_absolute_error(ref, est))


@given(pair=labels)
def test_kappa_against_scikit_learn(pair):
    ref, est = pair
    result = quadratic_weighted_kappa(ref, est)
    if len(set(ref) | set(est)) == 1:
        assert "all grades are equal" in result.reason
    else:
        expected = sk.cohen_kappa_score(ref, est, weights="quadratic", labels=range(5))
        assert result.value == pytest.approx(expected, abs=1e-9)


def test_names_and_numbers_are_labels_alike():
    ref, est = ["a", "b", "a", "c"], ["a", "b", "c", "c"]
    assert accuracy(ref, est).value == accuracy(np.array(ref), np.array(est)).value == 0.75


def test_an_unreadable_answer_is_never_right_and_no_class():
    ref, est = ["a", "b", "a"], ["a", None, "a"]
    assert accuracy(ref, est).value == pytest.approx(2 / 3)
    assert balanced_accuracy(ref, est).value == 0.5
    assert f1(ref, est).value == 0.5  # classes a (1.0) and b (0.0) only
    assert confusion_matrix(ref, est, ["a", "b"]).tolist() == [[2, 0, 0], [0, 0, 1]]
    with pytest.raises(InputError, match="'b', which is none of"):
        confusion_matrix(ref, est, ["a"])


@pytest.mark.parametrize(
    ("ref", "est", "word"),
    [
        (["a"], ["a", "b"], "1 references and 2 estimates"),
        ([None], ["a"], "reference: holds None"),
        ([["a"]], ["a"], "no label"),
        ([float("nan")], [1.0], "no label"),
    ],
)
def test_labels_that_are_none_are_refused(ref, est, word):
    for function in (accuracy, balanced_accuracy, f1):
        with pytest.raises(InputError, match=word):
            function(ref, est)


@pytest.mark.parametrize("function", [accuracy, balanced_accuracy, f1, grade_mae, quadratic_weighted_kappa, ece, ece_mass, brier])
def test_without_samples_there_is_a_reason(function):
    result = function([], [])
    assert (result.value, result.reason) == (None, "there are no samples")


def test_grades_are_whole_numbers():
    for function in (grade_mae, quadratic_weighted_kappa):
        with pytest.raises(InputError, match="not whole numbers"):
            function([1.0, 2.0], [1.5, 2.0])
        with pytest.raises(InputError, match="one grade for each sample"):
            function([1, 2], [1])


# --- probabilities


@st.composite
def scored(draw, classes=2):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2 * classes, 60))
    truth = np.r_[np.arange(classes), rng.integers(0, classes, n - classes)]
    digits = draw(st.sampled_from([1, 2, 9]))  # one digit makes many ties
    if classes == 2:
        return truth, np.round(rng.uniform(0, 1, n), digits)
    scores = rng.dirichlet(np.ones(classes), n)
    return truth, scores


@given(pair=scored())
def test_two_classes_against_scikit_learn(pair):
    truth, scores = pair
    assert auroc(truth, scores).value == pytest.approx(sk.roc_auc_score(truth, scores))
    assert brier(truth, scores).value == pytest.approx(sk.brier_score_loss(truth, scores))
    assert auroc(truth == 1, scores).value == auroc(truth, scores).value


@given(pair=scored(classes=4))
def test_several_classes_against_scikit_learn(pair):
    truth, scores = pair
    assert auroc(truth, scores).value == pytest.approx(sk.roc_auc_score(truth, scores, multi_class="ovr"))
    assert brier(truth, scores).value == pytest.approx(np.mean(np.sum((scores - np.eye(4)[truth]) ** 2, axis=1)))


def test_a_class_without_samples_has_no_area():
    assert "a class has no samples" in auroc([1, 1], [0.2, 0.3]).reason
    assert auroc([0, 1, 1], np.full((3, 3), 1 / 3)).value is None


def by_hand(correct, confidence, bins):
    total = 0.0
    for i in range(bins):
        low, high = i / bins, (i + 1) / bins
        chosen = [j for j, c in enumerate(confidence) if (low < c <= high) or (i == 0 and c == 0)]
        if chosen:
            total += (
                len(chosen)
                / len(confidence)
                * abs(np.mean([confidence[j] for j in chosen]) - np.mean([correct[j] for j in chosen]))
            )
    return total


@given(pair=scored(), bins=st.sampled_from([1, 4, 15]))
def test_calibration_error_of_equal_widths_by_hand(pair, bins):
    correct, confidence = pair
    confidence = confidence + 1e-6 * (np.arange(len(confidence)) + 1) / len(confidence)  # off the edges of the bins
    confidence = np.minimum(confidence, 1.0)
    assert ece(correct, confidence, bins=bins).value == pytest.approx(by_hand(correct, confidence, bins), abs=1e-9)


def test_confidences_on_the_edge_of_a_bin_fall_into_the_lower_one():
    for k in range(1, 16):
        correct, confidence = [1, 0], [k / 15, k / 15 + 1e-4 if k < 15 else 1.0]
        expected = (abs(confidence[0] - 1) + confidence[1]) / 2 if k < 15 else 0.5
        assert ece(correct, confidence).value == pytest.approx(expected, abs=1e-9), k


def test_calibration_error_of_equal_mass_by_hand():
    confidence = np.linspace(0.01, 0.99, 60)
    correct = (np.arange(60) % 3 == 0).astype(int)
    parts = [np.arange(4 * i, 4 * i + 4) for i in range(15)]
    expected = np.mean([abs(confidence[p].mean() - correct[p].mean()) for p in parts])
    assert ece_mass(correct, confidence).value == pytest.approx(expected)


@given(pair=scored())
def test_equal_confidences_share_a_bin_whatever_their_order(pair):
    correct, confidence = pair
    order = np.random.default_rng(0).permutation(len(correct))
    assert ece_mass(correct, confidence).value == pytest.approx(ece_mass(correct[order], confidence[order]).value, abs=1e-12)


def test_booleans_are_right_or_wrong():
    assert ece(np.array([True, False]), np.array([1.0, 0.0])).value == 0
    assert ece(np.array([True, False]), np.array([1.0, 0.0])).note == "15 bins"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: brier([0, 1], [0.5, 1.5]), r"reach from 0.5 to 1.5"),
        (lambda: brier([0, 2], [0.5, 0.5]), r"other values than 0 ... 1"),
        (lambda: auroc([0, 1, 3], np.full((3, 3), 0.3)), r"other values than 0 ... 2"),
        (lambda: auroc([0, 1], [0.5, 0.5, 0.5]), "scores"),
        (lambda: ece([0, 1], [0.5, 0.5], bins=0), "bins"),
        (lambda: ece([0, 1], np.full((2, 2), 0.5)), "has 2 axes"),
        (lambda: ece([0, 1], [0.5, -0.1]), "probabilities"),
        (lambda: ece([0, 2], [0.5, 0.1]), "other values"),
    ],
)
def test_what_is_no_probability_is_refused(call, word):
    with pytest.raises(InputError, match=word):
        call()
