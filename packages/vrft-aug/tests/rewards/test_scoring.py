from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medcore.errors import ConfigError, InputError
from vrft_aug.rewards.scoring import score_file


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
        ("[1]", "line 2: is not an object with the key 'completion'"),
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


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        score_file(tmp_path / "missing.jsonl", "accuracy")
    with pytest.raises(InputError, match="cannot be read"):
        score_file(tmp_path, "accuracy")
    with pytest.raises(ConfigError, match="is not one of"):
        score_file(write(tmp_path / "x.jsonl"), "nothing")
