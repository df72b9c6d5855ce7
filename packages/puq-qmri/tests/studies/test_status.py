"""Status files: what is written comes back, what is damaged counts as not done."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from puq_qmri.studies.status import STATUS_FILE, Status, read_all, read_status, status_folder, write_status


def test_a_status_comes_back(tmp_path: Path) -> None:
    status = Status(subject="1", session="a", pid=7, host="here", inputs={"x": "0" * 64}, settings={"model": "t2"})
    write_status(tmp_path, status)
    assert read_status(tmp_path, "sub-1_ses-a") == status
    ended = status.ended("failed", "no signal", 1.23456)
    assert (ended.pid, ended.host, ended.seconds, ended.reason) == (None, None, 1.235, "no signal")
    assert dataclasses.replace(ended, state="running", reason=None, pid=7, host="here", seconds=None) == status
    write_status(tmp_path, Status(subject="2", state="done"))
    assert {name: s.state for name, s in read_all(tmp_path).items()} == {"sub-1_ses-a": "running", "sub-2": "done"}


@pytest.mark.parametrize("content", ["", "{", '{"subject": "1", "state": "finished"}', '{"subject": "1", "more": 1}', "[]"])
def test_a_damaged_status_is_none(tmp_path: Path, content: str) -> None:
    folder = status_folder(tmp_path, "sub-1")
    folder.mkdir(parents=True)
    (folder / STATUS_FILE).write_text(content)
    assert read_status(tmp_path, "sub-1") is None
    assert read_all(tmp_path) == {}
    assert read_status(tmp_path, "sub-2") is None


def test_a_status_under_another_name_is_not_counted(tmp_path: Path) -> None:
    write_status(tmp_path, Status(subject="1", state="done"))
    status_folder(tmp_path, "sub-1").rename(status_folder(tmp_path, "sub-2"))
    assert read_all(tmp_path) == {}
