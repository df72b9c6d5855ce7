"""What is found to do, what it is made of, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from medcore.errors import InputError
from puq_qmri.studies.plan import find_b1, hash_unit, plan_study


def test_units_are_subjects_or_their_sessions(made) -> None:
    made.add("a")
    made.add("b", session="1")
    made.add("b", session="2", suffix="MEGRE")
    (made.root / "sub-c" / "anat").mkdir(parents=True)
    units = plan_study(made.root)
    assert [(u.name, u.home.as_posix(), [c.suffix for c in u.collections]) for u in units] == [
        ("sub-a", "sub-a", ["MESE"]),
        ("sub-b_ses-1", "sub-b/ses-1", ["MESE"]),
        ("sub-b_ses-2", "sub-b/ses-2", ["MEGRE"]),
        ("sub-c", "sub-c", []),
    ]
    assert [u.name for u in plan_study(made.root, subjects=["sub-b"], sessions=["ses-2"])] == ["sub-b_ses-2"]
    assert [u.name for u in plan_study(made.root, suffixes=["MEGRE"]) if u.collections] == ["sub-b_ses-2"]
    absent = plan_study(made.root, subjects=["a", "b"], sessions=["2"])
    assert [(u.name, len(u.collections)) for u in absent] == [("sub-a_ses-2", 0), ("sub-b_ses-2", 1)]


def test_what_is_wrong_with_one_subject_is_its_own_problem(made) -> None:
    for label in ("1", "2", "3"):
        made.add(label)
    folder = made.root / "sub-2" / "anat"
    (folder / "sub-2_echo-1_MESE.nii.gz").rename(folder / "sub-9_echo-1_MESE.nii.gz")
    made.add("3", session="1")
    one, two, three = plan_study(made.root)
    assert one.problem is None
    assert "named for another subject" in str(two.problem)
    assert "both inside and outside of sessions" in str(three.problem)


def test_every_file_that_matters_is_hashed(made) -> None:
    folder = made.add("1")
    (made.root / "MESE.json").write_text(json.dumps({"MagneticFieldStrength": 3.0}))
    b1 = made.add_b1(made.root / "sub-1" / "fmap", "sub-1")
    (unit,) = plan_study(made.root)
    before = hash_unit(unit)
    assert len(before) == 4 + 1 + 1 + 4
    for path in (made.root / "MESE.json", folder / "sub-1_echo-3_MESE.json", folder / "sub-1_echo-2_MESE.nii.gz", b1):
        kept = path.read_bytes()
        path.write_bytes(kept + b" ")
        after = hash_unit(unit)
        assert {key for key in before if before[key] != after[key]} == {path.relative_to(made.root).as_posix()}
        path.write_bytes(kept)


def test_one_map_of_b1_is_taken_and_two_are_refused(made) -> None:
    folder = made.add("1", session="x").parent / "fmap"
    (unit,) = plan_study(made.root)
    assert find_b1(unit) is None
    path = made.add_b1(folder, "sub-1_ses-x")
    assert find_b1(unit) == path
    made.add_b1(folder, "sub-1_ses-x_acq-low")
    with pytest.raises(InputError, match=r"holds 2 maps of B1 .* give --b1 none"):
        find_b1(unit)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"subjects": ["9"]}, r"participant '9': is not in .*, which has 1; choose"),
        ({"subjects": ["../1"]}, r"label '../1': is no sub label"),
        ({"sessions": ["7"]}, r"holds no collection of MESE, .* in session 7; choose other labels"),
        ({"suffixes": ["VFA"]}, r"holds no collection of VFA"),
        ({"suffixes": ["T1w"]}, r"collection 'T1w': is unknown"),
    ],
)
def test_labels_and_kinds_that_are_not_there(made, options: dict[str, list[str]], match: str) -> None:
    made.add("1")
    with pytest.raises(InputError, match=match):
        plan_study(made.root, **options)


def test_what_is_no_data_set_is_refused(made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'none'}: does not exist")):
        plan_study(tmp_path / "none")
    (tmp_path / "plain").mkdir()
    with pytest.raises(InputError, match=r"plain: is no BIDS data set"):
        plan_study(tmp_path / "plain")
    with pytest.raises(InputError, match=r"study: is no BIDS data set with folders sub-"):
        plan_study(made.root)
