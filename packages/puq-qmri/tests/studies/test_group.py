"""The statistics of a study against independent ones; every subject has a row."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from medcore.atomic import atomic_directory, write_json
from medcore.errors import InputError
from puq_qmri.studies.group import collect_rows, group_facts, robust_z
from puq_qmri.studies.group_page import write_group
from puq_qmri.studies.plan import plan_study
from puq_qmri.studies.status import Status, write_status


def test_robust_z_is_the_distance_in_scaled_median_deviations(rng: np.random.Generator) -> None:
    values = rng.normal(80, 3, 21)
    expected = (values - np.median(values)) / (median_abs_deviation(values) / 0.6745)
    np.testing.assert_allclose(robust_z(values.tolist()), expected, rtol=1e-12)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0, 3.0, 90.0], [1.0, 1.0, 1.0, 1.0, 1.0, 90.0]])
def test_nothing_stands_out_among_few_or_equal_values(values: list[float]) -> None:
    assert robust_z(values) == [None] * len(values)


def finished(output: Path, subject: str, t2: float, *, fitted: int = 100) -> None:
    """What ``participant`` leaves of one subject, as far as the group looks at it."""
    maps = {
        "t2": {"voxels": fitted, "unit": "s", "median": t2, "quartiles": [0.9 * t2, 1.1 * t2]},
        "m0": {"voxels": fitted, "unit": "a.u.", "median": 5.0, "quartiles": [4.0, 6.0]},
    }
    facts = {"label": "MESE", "model": "t2", "region": {"voxels": 100, "fitted": fitted}, "maps": maps}
    with atomic_directory(output / f"sub-{subject}") as folder:
        write_json(folder / "run.json", {"collections": [facts]})
    write_status(output, Status(subject=subject, state="done", seconds=2.5))


@pytest.fixture
def rows_of(made, tmp_path: Path):
    """Nine subjects: six alike, one far off, one failed, one never run; and a damaged result."""
    output = tmp_path / "maps"
    for i in range(10):
        made.add(f"{i}")
    for i, t2 in enumerate((0.080, 0.081, 0.082, 0.083, 0.084, 0.085)):
        finished(output, str(i), t2, fitted=40 if i == 2 else 100)
    finished(output, "6", 0.140)
    write_status(output, Status(subject="7", state="failed", reason="killed by SIGKILL", seconds=1.0))
    finished(output, "9", 0.080)
    (output / "sub-9" / "run.json").write_text("{}")
    return output, collect_rows(output, plan_study(made.root))


def test_every_subject_is_a_row_and_the_far_one_stands_out(rows_of) -> None:
    _, rows = rows_of
    assert [(row.name, row.state) for row in rows] == [
        *((f"sub-{i}", "done") for i in range(7)),
        ("sub-7", "failed"),
        ("sub-8", "missing"),
        ("sub-9", "failed"),
    ]
    assert "not as it was written" in str(rows[9].reason)
    medians = [0.080, 0.081, 0.082, 0.083, 0.084, 0.085, 0.140]
    expected = (np.array(medians) - 0.083) / (median_abs_deviation(medians) / 0.6745)
    np.testing.assert_allclose([row.maps["MESE t2"].z for row in rows[:7]], expected, rtol=1e-9)
    facts = group_facts(rows)
    assert facts["outliers"] == {"sub-6": ["MESE t2"]}
    assert facts["states"] == {"done": 7, "failed": 2, "missing": 1}
    assert facts["maps"]["MESE t2"]["median"] == pytest.approx(0.083)
    assert set(facts["maps"]) == {"MESE t2"}  # nothing in arbitrary units


def test_page_table_and_facts_say_the_same(rows_of) -> None:
    output, rows = rows_of
    facts = write_group(output, rows, {"command": "puq-qmri bids group"})
    stored = json.loads((output / "group.json").read_text())
    assert stored["participants"] == json.loads(json.dumps(facts["participants"]))
    with (output / "group.tsv").open() as file:
        table = {row["participant_id"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert len(table) == 10
    assert float(table["sub-6"]["MESE_t2_median"]) == 0.14
    assert table["sub-6"]["outlier"] == "MESE_t2"
    assert float(table["sub-2"]["MESE_fitted"]) == 0.4
    assert (table["sub-7"]["reason"], table["sub-7"]["MESE_t2_median"]) == ("killed by SIGKILL", "n/a")
    assert table["sub-8"]["state"] == "missing"
    page = (output / "group.html").read_text()
    for text in ("7 of 10 subjects are done", "failed: sub-7, sub-9", "missing: sub-8", "stands out: sub-6", "killed by SIGKILL"):
        assert text in page
    assert "less than 95 % of the voxels with signal fitted: sub-2<" in page
    assert "<img" in page


def test_rows_of_some_subjects_only(rows_of, made) -> None:
    output, _ = rows_of
    found = collect_rows(output, plan_study(made.root, subjects=["1", "8"]), only=True)
    assert [(row.name, row.state) for row in found] == [("sub-1", "done"), ("sub-8", "missing")]


def test_a_group_without_participants_is_refused(made, tmp_path: Path) -> None:
    made.add("1")
    with pytest.raises(InputError, match=r"holds no status files; run puq-qmri bids \.\.\. participant first"):
        collect_rows(tmp_path, plan_study(made.root))
