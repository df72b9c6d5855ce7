"""Metrics of scores, samples, stated confidences and boxes, against scikit-learn, enumeration and hand values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from medcore.errors import InputError
from medcore.metrics import ece
from vrft_aug.evaluation import answer_form, judge, measure, pass_at_k, read_evaluation, reliability, votes, write_evaluation
from vrft_aug.recipe import EvaluationSettings
from vrft_aug.rewards import RewardSettings

QUICK = EvaluationSettings(resamples=100)
CLASSES = ["normal", "pneumonia", "other"]


def answer(text):
    return f"<think>t</think><answer>{text}</answer>"


def judged(label, text, classes=CLASSES, **more):
    row = {"sample_id": "a", "task": "classification", "label": label, "classes": list(classes)}
    return judge(row, text) | more


def numbered(found):
    for i, prediction in enumerate(found):
        prediction["subject"] = str(i)
    return found


def scored(truth, table, classes=CLASSES):
    return numbered(
        [judged(classes[t], answer(classes[t]), classes, scores=list(row)) for t, row in zip(truth, table, strict=True)]
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_two_classes_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = np.r_[0, 1, rng.integers(0, 2, 20)]
    second = np.round(rng.uniform(size=22), 1)  # with ties
    result = measure(scored(truth, np.stack([1 - second, second], 1), CLASSES[:2]), "classification", CLASSES[:2], QUICK, name="x")
    assert result.source == "likelihood"
    assert result.metrics["auroc"].value == pytest.approx(roc_auc_score(truth, second))
    assert result.metrics["brier"].value == pytest.approx(brier_score_loss(truth, second))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_several_classes_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = np.r_[0, 1, 2, rng.integers(0, 3, 20)]
    table = rng.dirichlet(np.ones(3), size=23)
    result = measure(scored(truth, table), "classification", CLASSES, QUICK, name="x")
    assert result.metrics["auroc"].value == pytest.approx(roc_auc_score(truth, table, multi_class="ovr", average="macro"))
    expected = np.mean(np.sum((table - np.eye(3)[truth]) ** 2, axis=1))
    assert result.metrics["brier"].value == pytest.approx(expected)
    sure, right = table.max(1), table.argmax(1) == truth
    by_loops = sum(abs(np.sum((sure - right)[(sure > i / 15) & (sure <= (i + 1) / 15)])) for i in range(15)) / len(truth)
    assert result.metrics["ece"].value == pytest.approx(by_loops)


def test_a_class_that_never_occurs_has_no_area():
    truth = [0, 0, 1, 1, 0, 1]
    table = [[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.1, 0.6, 0.3]]
    found = measure(scored(truth, table), "classification", CLASSES, QUICK, name="x").metrics["auroc"].value
    array = np.array(table)
    each = [roc_auc_score(np.equal(truth, k), array[:, k]) for k in (0, 1)]
    assert found == pytest.approx(np.mean(each))


def test_without_scores_there_are_no_areas():
    result = measure(numbered([judged("normal", answer("normal")) for _ in range(4)]), "classification", CLASSES, QUICK, name="x")
    assert list(result.metrics) == ["accuracy", "balanced_accuracy", "format"]
    assert (result.source, result.reliability) == (None, ())


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_mean_over_all_choices(case):
    n, right, k = case
    flags = [i < right for i in range(n)]
    choices = list(itertools.combinations(flags, k))
    assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_samples_give_pass_at_k_and_shares_of_classes():
    drawn = [["normal", "normal", "pneumonia", "?"], ["pneumonia"] * 4, ["normal"] * 4]
    labels = ["normal", "pneumonia", "pneumonia"]
    found = []
    for label, texts in zip(labels, drawn, strict=True):
        samples = [judged(label, answer(t)) for t in texts]
        shares = votes([None if s["answer"] is None else CLASSES.index(s["answer"]) for s in samples], 3)
        found.append(judged(label, answer("normal"), samples=samples, votes=shares))
    assert [p["votes"] for p in found] == [[0.5, 0.25, 0], [0, 1, 0], [1, 0, 0]]
    result = measure(numbered(found), "classification", CLASSES, QUICK, name="x")
    assert result.source == "samples"
    assert result.metrics["pass@1"].value == pytest.approx((0.5 + 1 + 0) / 3)
    assert result.metrics["pass@2"].value == pytest.approx((1 - 1 / 6 + 1 + 0) / 3)
    assert result.metrics["pass@4"].value == pytest.approx(2 / 3)


def test_stated_confidence_is_judged_by_what_it_says():
    said = [("normal", 0.9), ("normal", 0.8), ("pneumonia", 0.6), (None, None)]
    labels = ["normal", "pneumonia", "pneumonia", "normal"]
    texts = [answer(name) + f"<confidence>{sure}</confidence>" if name else "<think>t</think>" for name, sure in said]
    found = numbered([judged(label, text, CLASSES[:2]) for label, text in zip(labels, texts, strict=True)])
    assert [p.get("confidence") for p in found] == [0.9, 0.8, 0.6, None]
    assert [p["format"] for p in found] == [True, True, True, False]
    result = measure(found, "classification", CLASSES[:2], QUICK, name="x")
    assert result.metrics["stated"].value == 0.75
    assert result.metrics["stated_brier"].value == pytest.approx((0.1**2 + 0.8**2 + 0.4**2) / 3)
    assert result.metrics["stated_auroc"].value == pytest.approx(roc_auc_score([1, 0, 1], [0.9, 0.8, 0.6]))
    # Scores of the second class; nothing said is one half.
    assert result.source == "stated"
    assert result.metrics["auroc"].value == pytest.approx(roc_auc_score([0, 1, 1, 0], [0.1, 0.2, 0.6, 0.5]))


def test_a_confidence_within_the_answer_is_no_second_answer():
    found = judged("normal", answer("normal, confidence 80 %"))
    assert (found["answer"], found["confidence"]) == ("normal", 0.8)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_reliability_bins_add_up_to_the_calibration_error(pairs):
    sure, right = np.array([s for s, _ in pairs]), np.array([r for _, r in pairs])
    bins = reliability(sure, right)
    assert sum(b["n"] for b in bins) == len(pairs)
    assert all(b["low"] - 1e-12 <= b["confidence"] <= b["high"] + 1e-12 for b in bins)
    error = sum(b["n"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / len(pairs)
    assert error == pytest.approx(ece(right.astype(int), sure, bins=10).value)


def box_prediction(truth, text, **more):
    row = {"sample_id": "a", "task": "localisation", "boxes": truth, "image_size": [16, 16], "box_frame": [16.0, 16.0]}
    return judge(row, text, **more)


ONE, TWO = [0.0, 0.0, 4.0, 4.0], [8.0, 8.0, 12.0, 12.0]


@pytest.mark.parametrize(
    ("truth", "text", "counts"),
    [
        ([ONE], answer("[0, 0, 4, 4]"), (1, 0, 0)),
        ([ONE], answer("[0, 0, 4, 1]"), (0, 1, 1)),
        ([ONE, TWO], answer("[0, 0, 4, 4]"), (1, 1, 0)),
        ([ONE], answer("[0, 0, 4, 4], [8, 8, 12, 12]"), (1, 0, 1)),
        ([ONE], "nothing to read", (0, 1, 1)),
        ([], "nothing to read", (0, 0, 1)),
        ([], answer("[]"), (0, 0, 0)),
    ],
)
def test_boxes_are_paired_and_counted(truth, text, counts):
    found = box_prediction(truth, text)
    assert (found["found"], found["missed"], found["spurious"]) == counts


def test_box_f1_counts_boxes_of_all_images():
    found = numbered(
        [
            box_prediction([ONE, TWO], answer("[0, 0, 4, 4]")),
            box_prediction([ONE], answer("[0, 0, 4, 4], [8, 8, 12, 12]")),
            box_prediction([ONE], "?"),
            box_prediction([], answer("[]")),
        ]
    )
    result = measure(found, "localisation", (), QUICK, name="x")
    assert result.metrics["box_f1"].value == pytest.approx(2 * 2 / (2 * 2 + 2 + 2))
    assert result.metrics["box_f1"].n == 3
    strict = box_prediction([ONE], answer("[0, 0, 4, 3]"), right_iou=0.8)
    assert (strict["found"], strict["iou"]) == (0, 0.75)


def test_refusals_are_counted_by_reason():
    texts = [answer("normal"), answer("normal or pneumonia"), answer("normal or pneumonia"), "normal", answer("")]
    result = measure(numbered([judged("normal", t) for t in texts]), "classification", CLASSES, QUICK, name="x")
    shares = {reason: found.value for reason, found in result.refusals.items()}
    assert shares["no answer in the expected form"] == shares["empty answer"] == pytest.approx(0.2)
    assert sum(shares.values()) == pytest.approx(0.8)
    assert all(p.get("reason") is None for p in result.predictions if p["answer"] is not None)


def test_answers_are_read_in_the_form_that_rewards_expect():
    rewards = [RewardSettings(name="format", options={"form": "boxed"}), RewardSettings(name="accuracy")]
    form = answer_form(rewards)
    row = {"sample_id": "a", "task": "classification", "label": "normal", "classes": CLASSES}
    boxed = r"<think>t</think>\boxed{normal}"
    assert form == "boxed"
    assert answer_form(rewards[1:]) == "tags"
    assert (judge(row, boxed, form=form)["correct"], judge(row, boxed, form=form)["format"]) == (True, True)
    assert judge(row, boxed)["correct"] is False
    # Asked for boxes, answered in tags: the answer counts, the format does not.
    kept = judge(row, answer("normal"), form="any", asked="boxed")
    assert (kept["correct"], kept["format"]) == (True, False)


def test_files_hold_what_was_measured(tmp_path):
    truth = [0, 1, 2, 0, 1, 2]
    result = measure(scored(truth, np.full((6, 3), 1 / 3)), "classification", CLASSES, QUICK, name="x", wall_time_s=1.5)
    write_evaluation(tmp_path, {"start": [result], "final": [result, result]}, QUICK)
    found = read_evaluation(tmp_path)
    assert found["start"][0] == result
    assert list(found) == ["start", "final"]
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(InputError, match=r"evaluation\.json: cannot be read"):
        read_evaluation(tmp_path)
