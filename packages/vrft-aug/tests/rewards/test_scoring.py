from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from medcore.errors import ConfigError, InputError, OutputExistsError
from vrft_aug.rewards.scoring import score_file, write_scores


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_each_line_is_judged_with_its_own_columns(tmp_path: Path) -> None:
    file = write(
        tmp_path / "x.jsonl",
        {"completion": "<answer>2</answer>", "grade": 2, "num_grades": 5},
        "",
        {"completion": [{"role": "assistant", "content": "<answer>4</answer>"}], "grade": 2, "num_grades": 5, "prompt": "?"},
        {"completion": "<answer>2</answer>"},
    )
    facts = score_file(file, "multi_grade_fuzzy:kernel=linear")
    assert facts["scores"] == [1.0, 0.5, None]
    assert facts["mean"] == 0.75
    assert (facts["judged"], facts["not_judged"], facts["failures"]) == (2, 1, {})
    assert facts["options"] == {"kernel": "linear"}


def test_without_a_judged_line_there_is_no_mean(tmp_path: Path) -> None:
    assert score_file(write(tmp_path / "x.jsonl", {"completion": "a"}), "accuracy")["mean"] is None
    assert score_file(write(tmp_path / "empty.jsonl"), "accuracy")["scores"] == []


def test_columns_of_wrong_types_are_failures_of_single_lines(tmp_path: Path) -> None:
    good = {"completion": "<answer>[0, 0, 10, 10]</answer>", "boxes": [[0, 0, 10, 10]], "image_size": [1000, 1000]}
    facts = score_file(write(tmp_path / "x.jsonl", good, good | {"boxes": "text"}, good | {"image_size": 7}), "box_iou")
    assert facts["scores"] == [1.0, None, None]
    assert sum(facts["failures"].values()) == 2


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("not json", "line 2: is not JSON"),
        ("[1]", "line 2: is not an object"),
        ('{"completion": "x", "grade": NaN}', "line 2: holds NaN, which is not JSON"),
        ('{"completion": "x", "grade": -Infinity}', "line 2: holds -Infinity"),
        ('{"completion": 7}', "line 2: has a completion that is int, not text"),
        ('{"completion": null}', "line 2: has a completion that is NoneType"),
        ('{"text": "x"}', "line 2: is not an object"),
        ("[" * 100_000, "line 2: is not JSON"),
        ("\x00", "line 2: is not JSON"),
    ],
)
def test_bad_lines_are_named_and_not_shown(tmp_path: Path, line: str, match: str) -> None:
    file = write(tmp_path / "x.jsonl", {"completion": "secret"}, line)
    with pytest.raises(InputError, match=match) as caught:
        score_file(file, "accuracy")
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 400


SAMPLE = {"label": "mild", "classes": ["none", "mild"]}


def test_several_rewards_and_their_table(tmp_path: Path) -> None:
    first = {"completion": "<think>t</think><answer>mild</answer>", "sample_id": "a, b", **SAMPLE}
    file = write(tmp_path / "x.jsonl", first, "", {"completion": "mild"})
    facts = score_file(file, ["accuracy", "format"])
    assert [(f["reward"], f["scores"], f["mean"]) for f in facts["rewards"]] == [
        ("accuracy", [1.0, None], 1.0),
        ("format", [1.0, 0.0], 0.5),
    ]
    assert "scores" not in facts  # which of the two would it be
    assert facts["lines"] == [1, 3]
    write_scores(tmp_path / "x.csv", facts)
    assert list(csv.reader((tmp_path / "x.csv").read_text().splitlines())) == [
        ["line", "sample_id", "accuracy", "format"],
        ["1", "a, b", "1.0", "1.0"],
        ["3", "", "", "0.0"],
    ]
    with pytest.raises(OutputExistsError):
        write_scores(tmp_path / "x.csv", facts, force=False)


def test_one_reward_in_two_ways_is_told_apart(tmp_path: Path) -> None:
    file = write(tmp_path / "x.jsonl", {"completion": "<answer>1</answer>"})
    specs = ["format:think=false", "format"]
    assert [f["reward"] for f in score_file(file, specs)["rewards"]] == specs
    assert [f["scores"] for f in score_file(file, specs)["rewards"]] == [[1.0], [0.0]]
    with pytest.raises(ConfigError, match="'format' is given twice"):
        score_file(file, ["format", "format"])


def test_the_completion_table_of_trl(tmp_path: Path) -> None:
    """Columns as trl's trainer writes them with log_completions: messages, a column a reward, NaN where it did not judge."""
    pandas = pytest.importorskip("pandas")
    answers = ["<think>t</think><answer>mild</answer>", "<answer>none</answer>", "?"]
    frame = pandas.DataFrame(
        {
            "step": [1, 1, 2],
            "prompt": [[{"role": "user", "content": "which?"}]] * 3,
            "completion": [[{"role": "assistant", "content": text}] for text in answers],
            "old": [1.0, float("nan"), 0.0],
            "label": ["mild", "mild", None],
            "classes": [["none", "mild"]] * 3,
            "grade": [1.0, float("nan"), float("nan")],
            "advantage": [0.5, -0.5, 0.0],
        }
    )
    frame.to_parquet(tmp_path / "completions_00001.parquet")
    facts = score_file(tmp_path / "completions_00001.parquet", ["accuracy", "format"])
    assert [f["scores"] for f in facts["rewards"]] == [[1.0, 0.0, None], [1.0, 0.0, 0.0]]
    assert facts["lines"] == [1, 2, 3]


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1"])
def test_a_damaged_parquet_table(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(InputError, match="is not a parquet table"):
        score_file(tmp_path / "x.parquet", "format")


def test_a_parquet_table_without_completions(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"text": ["a"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="row 1: is not an object with the key 'completion'"):
        score_file(tmp_path / "x.parquet", "format")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        score_file(tmp_path / "missing.jsonl", "accuracy")
    with pytest.raises(InputError, match="cannot be read"):
        score_file(tmp_path, "accuracy")
    with pytest.raises(ConfigError, match="is not one of"):
        score_file(write(tmp_path / "x.jsonl"), "nothing")
