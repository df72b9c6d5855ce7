"""Tables of scores, texts and labels: the right columns reach the right metric, and what does not fit is refused."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from medcore import metrics
from medcore.comparison import compare_labels, compare_scores, compare_texts, find_kind
from medcore.errors import ConfigError, InputError

NAMES = ["normal", "benign", "malignant"]


def write_csv(path, header, rows):
    path.write_text("\n".join([",".join(header), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def three(tmp_path, rng):
    """Labels and probabilities of three classes, the estimate in another order; and the numbers themselves."""
    truth = np.r_[0, 1, 2, rng.integers(0, 3, 27)]
    scores = np.round(rng.dirichlet(np.ones(3) * 2, 30), 6)
    ref = write_csv(
        tmp_path / "ref.csv", ["id", "label", "patient"], [(f"s{i}", NAMES[t], f"p{i // 3}") for i, t in enumerate(truth)]
    )
    order = rng.permutation(30)
    est = write_csv(tmp_path / "est.csv", ["id", *(f"p_{n}" for n in NAMES)], [(f"s{i}", *scores[i]) for i in order])
    return ref, est, truth, scores


def test_scores_of_classes_reach_the_metrics(three):
    ref, est, truth, scores = three
    assert find_kind(ref, [est], []) == "scores"
    found = compare_scores(ref, est)
    assert found.facts["samples"] == 30
    assert found.facts["subjects"] == 10
    for name in ("auroc", "average_precision", "brier", "log_loss"):
        assert found.results[name].value == pytest.approx(metrics.get_metric(name).function(truth, scores).value), name
        assert found.results[name].low < found.results[name].value < found.results[name].high
    sure = (scores.argmax(axis=1) == truth).astype(int), scores.max(axis=1)
    assert found.results["ece"].value == pytest.approx(metrics.ece(*sure).value)
    for i, name in enumerate(NAMES):
        one = metrics.auroc((truth == i).astype(int), scores[:, i])
        assert found.results[f"auroc[{name}]"].value == pytest.approx(one.value)
    assert found.as_dict()["results"][0]["direction"] == "higher"


def test_scores_that_are_no_probabilities_are_only_ranked(three, tmp_path):
    ref, _, truth, scores = three
    est = write_csv(tmp_path / "logits.csv", ["id", *NAMES], [(f"s{i}", *np.log(row)) for i, row in enumerate(scores)])
    found = compare_scores(ref, est)
    assert set(found.results) >= {"auroc", "average_precision"}
    assert "brier" not in found.results
    assert found.results["auroc"].value == pytest.approx(metrics.auroc(truth, np.log(scores)).value)
    with pytest.raises(ConfigError, match="metric 'brier': does not fit this input"):
        compare_scores(ref, est, names=["brier"])


def test_probabilities_that_do_not_sum_to_one_are_refused(three, tmp_path):
    ref, _, _, scores = three
    scores[4] = [0.5, 0.3, 0.1]
    est = write_csv(tmp_path / "short.csv", ["id", *NAMES], [(f"s{i}", *row) for i, row in enumerate(scores)])
    with pytest.raises(InputError, match=r"short\.csv: has probabilities that sum to 0\.9 in a row"):
        compare_scores(ref, est)


def test_a_single_probability_is_that_of_the_positive_class(tmp_path, rng):
    truth, p = rng.integers(0, 2, 20), np.round(rng.uniform(0.01, 0.99, 20), 3)
    ref = write_csv(tmp_path / "ref.csv", ["id", "label"], [(i, "sick" if t else "well") for i, t in enumerate(truth)])
    est = write_csv(tmp_path / "est.csv", ["id", "probability"], list(enumerate(p)))
    assert find_kind(ref, [est], []) == "scores"
    found = compare_scores(ref, est, positive="sick", names=["auroc", "calibration_slope", "ece"])
    assert found.results["auroc"].value == pytest.approx(metrics.auroc(truth, p).value)
    assert found.results["calibration_slope"].value == pytest.approx(metrics.calibration_slope(truth, p).value)
    assert found.results["ece"].value == pytest.approx(metrics.ece(truth, p).value)
    assert found.results["auroc"].low is None
    with pytest.raises(ConfigError, match="positive class: is not known among sick, well; name it with --positive"):
        compare_scores(ref, est)
    with pytest.raises(ConfigError, match="'ill' is no label of"):
        compare_scores(ref, est, positive="ill")
    ref = write_csv(tmp_path / "bits.csv", ["id", "label"], list(enumerate(truth)))
    assert compare_scores(ref, est).results["brier"].value == pytest.approx(metrics.brier(truth, p).value)


def test_findings_that_may_occur_together(tmp_path, rng):
    truth, p = rng.integers(0, 2, (20, 2)), np.round(rng.random((20, 2)), 3)
    columns = ["oedema", "effusion"]
    ref = write_csv(tmp_path / "ref.csv", ["id", *columns], [(i, *row) for i, row in enumerate(truth)])
    est = write_csv(tmp_path / "est.csv", ["id", *columns], [(i, *row) for i, row in enumerate(p)])
    assert find_kind(ref, [est], []) == "scores"
    found = compare_scores(ref, est)
    assert found.results["auroc"].value == pytest.approx(metrics.auroc(truth, p).value)
    assert found.results["auroc[effusion]"].value == pytest.approx(metrics.auroc(truth[:, 1], p[:, 1]).value)
    assert "ece" not in found.results


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("nan", r"est\.csv: has p_benign = 'nan' in row 2, not a finite number"),
        ("inf", "'inf' in row 2"),
        ("", "p_benign = '' in row 2"),
        ("0,5", "has 5 cells in line 3 and 4 columns"),
        ("1e9999", "'1e9999' in row 2"),
    ],
)
def test_scores_that_are_no_numbers_are_refused_with_their_place(three, cell, message):
    ref, est, _, _ = three
    lines = est.read_text().splitlines()
    cells = lines[2].split(",")
    lines[2] = ",".join([*cells[:2], cell, cells[3]])
    est.write_text("\n".join(lines))
    with pytest.raises(InputError, match=message):
        compare_scores(ref, est)


def test_a_class_without_scores_is_named(three):
    ref, est, _, _ = three
    ref.write_text(ref.read_text().replace("malignant", "unclear", 1))
    assert find_kind(ref, [est], []) == "labels"
    with pytest.raises(InputError, match=r"est\.csv: has no scores, its columns are id, p_normal"):
        compare_scores(ref, est)


def test_binary_labels_have_diagnostic_proportions(tmp_path, rng):
    truth, guess = rng.integers(0, 2, 30), rng.integers(0, 2, 30)
    ref = write_csv(tmp_path / "ref.csv", ["id", "label"], list(enumerate(truth)))
    est = write_csv(tmp_path / "est.csv", ["id", "label"], list(enumerate(guess)))
    found = compare_labels(ref, est).results
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        assert found[name] == metrics.get_metric(name).function(truth, guess)
    assert found["matthews"] == metrics.matthews(truth, guess)
    clustered = compare_labels(ref, est, subjects="each").results["sensitivity"]
    assert clustered.value == found["sensitivity"].value
    assert "resamples" in clustered.note
    with pytest.raises(InputError, match="positive class: 'x' does not occur"):
        compare_labels(ref, est, positive="x")


def test_subjects_may_come_from_a_table_of_their_own(three, tmp_path):
    ref, est, _, _ = three
    own = compare_scores(ref, est, names=["brier"])
    bare = write_csv(tmp_path / "bare.csv", ["id", "label"], [line.split(",")[:2] for line in ref.read_text().split()[1:]])
    assert compare_scores(bare, est, names=["brier"]).results["brier"].low is None
    who = write_csv(tmp_path / "who.csv", ["image", "subject"], [(f"s{i}", f"x{i // 3}") for i in range(30)])
    assert compare_scores(bare, est, names=["brier"], subjects=str(who)).results == own.results
    who.write_text(who.read_text().replace("s7,", "t7,"))
    with pytest.raises(InputError, match=r"who\.csv: has no subject for 's7'"):
        compare_scores(bare, est, subjects=str(who))
    who.write_text("image,colour\ns1,red\n")
    with pytest.raises(InputError, match="has the columns image, colour"):
        compare_scores(bare, est, subjects=str(who))


# --- texts and JSON lines


@pytest.fixture
def reports(tmp_path):
    def write(ref, est):
        for name, rows in (("ref.jsonl", ref), ("est.jsonl", est)):
            (tmp_path / name).write_text("\n".join(json.dumps(r) if isinstance(r, dict) else r for r in rows) + "\n")
        return tmp_path / "ref.jsonl", tmp_path / "est.jsonl"

    return write


def test_texts_are_paired_and_scored(reports):
    ref = [{"id": i, "report": f"no sign of pneumonia in lung {i}"} for i in range(6)]
    est = [{"id": i, "report": "no sign of pneumonia" + " here" * i} for i in (3, 1, 0, 2, 5, 4)]
    pair = reports(ref, est)
    assert find_kind(pair[0], [pair[1]], ["rouge_l"]) == "text"
    found = compare_texts(*pair, subjects="each")
    ordered = [r["report"] for r in ref], ["no sign of pneumonia" + " here" * i for i in range(6)]
    for name in ("bleu", "rouge_l", "chrf", "token_f1", "edit_ratio"):
        result = found.results[name]
        assert result.value == pytest.approx(metrics.get_metric(name).function(*ordered).value)
        assert result.low <= result.value <= result.high


def test_an_empty_answer_scores_zero_and_an_empty_reference_is_left_out(reports):
    pair = reports(
        [{"id": 1, "answer": "left lung"}, {"id": 2, "answer": "..."}, {"id": 3, "answer": "clear"}],
        [{"id": 1, "answer": None}, {"id": 2, "answer": "x"}, {"id": 3, "answer": "clear"}],
    )
    found = compare_texts(*pair, names=["token_f1"])
    assert found.facts["unanswered"] == 1
    assert (found.results["token_f1"].value, found.results["token_f1"].n, found.results["token_f1"].dropped) == (0.5, 2, 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 1, "report": ["a"]}', "list or an object as 'report' in line 1"),
        ('{"id": 1, "id": 2}', "line 1: states 'id' twice"),
        ("[1, 2]", "line 1: holds list, not an object"),
        ('{"id": 1, "report": NaN}', "holds NaN"),
        ('{"id": 1', "is not valid JSON"),
        ('{"id": 1, "colour": "red"}', "has no column that is known to hold text, it has id, colour"),
    ],
)
def test_lines_that_are_no_rows_are_refused(reports, line, message):
    pair = reports([line], [{"id": 1, "report": "a"}])
    with pytest.raises(InputError, match=re.escape(message)):
        compare_texts(*pair)


def test_labels_may_be_json_lines_too(reports):
    pair = reports([{"id": "a", "label": True}, {"id": "b", "label": False}], [{"id": "a", "label": 1}, {"id": "b", "label": 1}])
    assert compare_labels(*pair).results["accuracy"].value == 0.5
