"""The table of completions: what is in it, what a resumed stage does with it, what damaged ones say."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from medcore.errors import DiskFullError, InputError, OutputError
from vrft_aug import completions
from vrft_aug.completions import CompletionLog, Round, TableFacts, read_table

FACTS = TableFacts(
    rewards=("accuracy", "format"), weights=(1.0, 0.5), generations=2, scale_rewards="group", aggregation="sum_then_normalize"
)


def made(step: int, *names: str, mark: str = "", reward: float = 1.0) -> Round:
    """A round with two completions for each of the samples `names`."""
    rows = [{"sample_id": n, "prompt": [{"role": "user", "content": "?"}], "image": object()} for n in names for _ in "ab"]
    return Round(
        step=step,
        max_steps=9,
        rows=rows,
        completions=[[{"role": "assistant", "content": f"{step}{mark}{i}"}] for i in range(len(rows))],
        completion_ids=[[i, 7] for i in range(len(rows))],
        rewards=[[reward, float("nan")]] * len(rows),
        advantages=[0.1] * len(rows),
    )


def log(folder: Path, limit: int = 1000) -> CompletionLog:
    return CompletionLog(folder, FACTS, limit=limit)


def texts(folder: Path) -> list[str]:
    return [e["completion"][0]["content"] for e in read_table(folder, "x").entries]


def test_what_a_line_holds(tmp_path: Path) -> None:
    writer = log(tmp_path)
    writer.add(made(0, "a", "b"))
    writer.add(made(1, "b"))
    table = read_table(tmp_path, "x")
    assert table.entries[2] == {
        "step": 0,
        "round": 0,
        "group": 1,
        "row": 1,
        "sample_id": "b",
        "completion": [{"role": "assistant", "content": "02"}],
        "completion_ids": [2, 7],
        "rewards": {"accuracy": 1.0, "format": None},
        "advantage": 0.1,
    }
    assert [list(part) for part in table.rounds()] == [[0, 1, 2, 3], [4, 5]]
    assert table.rows == [{"sample_id": n, "prompt": [{"role": "user", "content": "?"}]} for n in "ab"]
    assert (table.facts.max_steps, table.facts.weights) == (9, (1.0, 0.5))


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-45, -3.4028234663852886e38, 0.30000001192092896])
def test_numbers_come_back_as_they_were(tmp_path: Path, value: float) -> None:
    log(tmp_path).add(made(0, "a", reward=value))
    assert read_table(tmp_path, "x").entries[0]["rewards"]["accuracy"] == value


def test_rounds_done_again_replace_the_old_ones(tmp_path: Path) -> None:
    first = log(tmp_path)
    for step in range(4):
        first.add(made(step, "a", "b" if step < 2 else "c"))
    resumed = log(tmp_path)  # the checkpoint was of step 2
    resumed.add(made(2, "a", "c", mark="again"))
    resumed.add(made(3, "d", mark="again"))
    assert texts(tmp_path) == [f"{s}{i}" for s in (0, 1) for i in range(4)] + [f"2again{i}" for i in range(4)] + [
        "3again0",
        "3again1",
    ]
    table = read_table(tmp_path, "x")
    assert [e["round"] for e in table.entries] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 2
    assert [table.rows[e["row"]]["sample_id"] for e in table.entries] == [e["sample_id"] for e in table.entries]


def test_a_stage_begun_anew_begins_a_new_table(tmp_path: Path) -> None:
    log(tmp_path).add(made(0, "a"))
    log(tmp_path).add(made(0, "b", mark="new"))
    assert texts(tmp_path) == ["0new0", "0new1"]


def test_a_torn_line_goes_with_its_round(tmp_path: Path) -> None:
    first = log(tmp_path)
    first.add(made(0, "a"))
    first.add(made(1, "b"))
    for name in (completions.TABLE, completions.ROWS):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-5])
    log(tmp_path).add(made(1, "b", mark="again"))
    assert texts(tmp_path) == ["00", "01", "1again0", "1again1"]
    assert [row["sample_id"] for row in read_table(tmp_path, "x").rows] == ["a", "b"]


def test_completions_whose_rows_are_lost_are_not_given_other_rows(tmp_path: Path) -> None:
    first = log(tmp_path)
    first.add(made(0, "a"))
    first.add(made(1, "b"))
    (tmp_path / completions.ROWS).write_text("")
    log(tmp_path).add(made(2, "c"))
    table = read_table(tmp_path, "x")
    assert [(e["sample_id"], table.rows[e["row"]]["sample_id"]) for e in table.entries] == [("c", "c")] * 2


def test_the_limit_keeps_whole_rounds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = log(tmp_path, limit=5)
    with caplog.at_level(logging.WARNING):
        for step in range(4):
            writer.add(made(step, "a"))
    assert texts(tmp_path) == ["00", "01", "10", "11"]
    assert caplog.text.count("full with 4 completions") == 1
    again = log(tmp_path, limit=5)
    again.add(made(2, "a"))
    assert texts(tmp_path) == ["00", "01", "10", "11"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        log(tmp_path / "file" / "x").add(made(0, "a"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(tmp_path: Path) -> None:
    writer = log(tmp_path)
    writer.add(made(0, "a"))
    (tmp_path / completions.TABLE).unlink()
    (tmp_path / completions.TABLE).symlink_to("/dev/full")
    with pytest.raises(DiskFullError):
        writer.add(made(1, "a"))


def _entry(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {"step": 0, "round": 0, "group": 0, "row": 0, "completion": "x", "completion_ids": [], "advantage": 0.0}
    return {**good, "rewards": {"accuracy": 1.0, "format": None}, **changes}


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["{"], "completions.jsonl line 1: is not JSON"),
        ([_entry(), _entry(rewards={"accuracy": 1.0})], "line 2: does not fit the other files"),
        ([_entry(row=1)], "line 1: does not fit the other files"),
        ([_entry(row=-1)], "line 1: does not fit the other files"),
        ([_entry(step="1")], "line 1: has no usable step"),
        ([_entry(completion_ids=None)], "line 1: has no usable completion_ids"),
        ([{k: v for k, v in _entry().items() if k != "advantage"}], "line 1: has no usable completion or advantage"),
        ([_entry()], "has 1 completions in round 0, not whole groups of 2"),
        ([_entry(group=1), _entry(group=1)], "not whole groups of 2"),
    ],
)
def test_damaged_tables_are_named_and_not_shown(tmp_path: Path, lines: list[Any], match: str) -> None:
    log(tmp_path).add(made(0, "secret"))
    (tmp_path / completions.TABLE).write_text("".join((v if isinstance(v, str) else json.dumps(v)) + "\n" for v in lines))
    with pytest.raises(InputError, match=match) as caught:
        read_table(tmp_path, "x")
    assert "secret" not in str(caught.value)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"facts\.json: cannot be read; train with log_completions"):
        read_table(tmp_path, "x")
