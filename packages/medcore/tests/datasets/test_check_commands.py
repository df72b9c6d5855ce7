"""``medcore datasets check`` and ``split`` as a user calls them, on drawn and on real data."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from listed_images import retina
from PIL import Image

from medcore.datasets import GradedFolder, load_split, split_dataset

pytestmark = pytest.mark.integration


@pytest.fixture
def eyes(tmp_path):
    """Two data sets in one folder: eight retinas with grades and patients, and two with boxes; one of these is a copy made with JPEG."""
    grades, cells = tmp_path / "eyes" / "grades", tmp_path / "eyes" / "boxes"
    for folder in (grades / "images", cells / "Annotations", cells / "images"):
        folder.mkdir(parents=True)
    for i in range(8):
        Image.fromarray(retina(i)).save(grades / "images" / f"r{i}.png")
    rows = "".join(f"r{i},{i % 2},p{i // 2}\n" for i in range(8))
    (grades / "labels.csv").write_text("image,grade,patient\n" + rows)
    for name, number in (("x", 20), ("y", 3)):
        Image.fromarray(retina(number)).save(cells / "images" / f"{name}.jpg", quality=60)
        box = "<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>"
        text = f"<annotation><filename>{name}.jpg</filename><object><name>disc</name><bndbox>{box}</bndbox></object></annotation>"
        (cells / "Annotations" / f"{name}.xml").write_text(text)
    return tmp_path / "eyes"


def test_a_clean_data_set(run_cli, eyes):
    done = run_cli("datasets", "check", eyes / "grades")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["grades: 8 samples", "note: licence: grades: the licence is not stated", "no faults found"]


def test_all_data_sets_of_a_folder_are_checked_together(run_cli, eyes):
    done = run_cli("datasets", "check", eyes)
    assert done.returncode == 8
    assert "fault: near shared: boxes/y and grades/r3 show one picture (details correlate to 0.9" in done.stdout
    assert done.stderr == f"error: {eyes}: has 1 fault; see the list\n"
    for arguments in (["--no-near", eyes], [eyes / "boxes"]):
        assert run_cli("datasets", "check", *arguments).returncode == 0
    paths = run_cli("datasets", "check", eyes / "grades", eyes / "boxes", "--json")
    assert paths.returncode == 8
    found = json.loads(paths.stdout)
    assert [f["samples"] for f in found["findings"] if f["severity"] == "fault"] == [["grades/r3", "boxes/y"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{eyes}/nothing"], "does not exist"),
        (["{eyes}/grades/images"], "holds no data set of a known kind"),
        (["{eyes}/grades", "{eyes}/grades/../grades"], "is given twice"),
        (["{eyes}/grades", "{eyes}/boxes", "--split", "{eyes}/s.json"], "applies to one data set, got 2"),
        (["{eyes}/grades", "--split", "{eyes}/s.json"], "does not exist"),
        (["{eyes}/grades", "--kind", "grade"], "did you mean 'graded'"),
        (["{eyes}/grades", "--option", "colour=red"], "has no option 'colour'"),
    ],
)
def test_what_cannot_be_checked(run_cli, eyes, arguments, words):
    done = run_cli("datasets", "check", *[a.format(eyes=eyes) for a in arguments])
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_a_split_is_stored_checked_and_loaded(run_cli, eyes, tmp_path):
    path = tmp_path / "out" / "split.json"
    made = run_cli("datasets", "split", eyes / "grades", "-o", path, "--fractions", "0.5,0.5", "--seed", 3)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[0] == f"wrote {path}; 0 groups of duplicates kept together"
    parts = load_split(GradedFolder(eyes / "grades"), path)
    owners = [{a.subject for a in part.annotations} for part in parts.values()]
    assert sorted(map(len, owners)) == [2, 2]
    assert not owners[0] & owners[1]
    checked = run_cli("datasets", "check", eyes / "grades", "--split", path)
    assert checked.returncode == 0
    assert checked.stdout.splitlines()[:2] == ["grades, train: 4 samples", "grades, test: 4 samples"]
    again = run_cli("datasets", "split", eyes / "grades", "-o", path, "--fractions", "0.5,0.5")
    assert again.returncode == 3
    assert "exists already" in again.stderr


def test_leaks_of_a_split_that_took_no_care(run_cli, eyes, tmp_path):
    """Without patients and without a look at pixels, a copy falls into another part for some seeds; the check of the split says so."""
    content = np.asarray(Image.open(eyes / "grades" / "images" / "r0.png"))
    Image.fromarray((content * 0.85).astype(np.uint8)).save(eyes / "grades" / "images" / "r8.png")
    rows = "".join(f"r{i},{i % 2}\n" for i in range(9))
    (eyes / "grades" / "labels.csv").write_text("image,grade\n" + rows)
    found = GradedFolder(eyes / "grades")
    apart = (
        s for s in range(99) if len({"r0", "r8"} & {a.sample_id for a in split_dataset(found, (0.5, 0.5), s)[0].annotations}) == 1
    )
    path = tmp_path / "split.json"
    common = ["datasets", "split", eyes / "grades", "-o", path, "--fractions", "0.5,0.5", "--seed", next(apart), "--force"]
    assert run_cli(*common, "--no-group-duplicates").returncode == 0
    done = run_cli("datasets", "check", eyes / "grades", "--split", path)
    assert done.returncode == 8
    assert re.search("fault: near leak: r(0 and r8|8 and r0) show one picture", done.stdout)
    assert "1 groups of duplicates" in run_cli(*common).stdout
    done = run_cli("datasets", "check", eyes / "grades", "--split", path)
    assert "leak" not in done.stdout
    assert "fault: near duplicate: r0 and r8 show one picture" in done.stdout


def test_folds_and_a_subject_column(run_cli, eyes, tmp_path):
    (eyes / "grades" / "labels.csv").write_text("image,grade,eye\n" + "".join(f"r{i},0,e{i // 2}\n" for i in range(8)))
    path = tmp_path / "folds.json"
    done = run_cli("datasets", "split", eyes / "grades", "-o", path, "--folds", 4, "--subject-column", "eye", "--json")
    assert done.returncode == 0, done.stderr
    assert [p["samples"] for p in json.loads(done.stdout)["parts"].values()] == [2, 2, 2, 2]
    stored = json.loads(path.read_text())
    assert sorted(stored["subjects"].values()) == [["e0"], ["e1"], ["e2"], ["e3"]]
    assert run_cli("datasets", "check", eyes / "grades", "--split", path).returncode == 0


def test_a_dry_run_writes_nothing(run_cli, eyes, tmp_path):
    done = run_cli("datasets", "split", eyes / "grades", "-o", tmp_path / "s.json", "--folds", 2, "--dry-run")
    assert done.returncode == 0
    assert done.stdout.startswith("would write")
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "needs --fractions or --folds"),
        (["--folds", "3", "--fractions", "0.5,0.5"], "and not both"),
        (["--fractions", "half,half"], "is 'half,half'; give numbers"),
        (["--fractions", "0.5,0.6"], "give positive numbers of sum 1"),
        (["--fractions", "1"], "make 1 part"),
        (["--folds", "5"], "has 4 subjects for 5 parts"),
    ],
)
def test_splits_that_cannot_be(run_cli, eyes, tmp_path, arguments, words):
    done = run_cli("datasets", "split", eyes / "grades", "-o", tmp_path / "s.json", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "s.json").exists()


def faults(done):
    return [(f["kind"], f["samples"]) for f in json.loads(done.stdout)["findings"] if f["severity"] == "fault"]


def test_the_known_duplicates_of_idrid_and_nothing_else(run_cli, data_root):
    done = run_cli("datasets", "check", data_root / "idrid-fundus", "--json")
    assert done.returncode == 8
    assert faults(done) == [
        ("shared", ["grading/IDRiD_102", "segmentation/IDRiD_01"]),
        ("duplicate", ["grading/IDRiD_079", "grading/IDRiD_279"]),
    ]


def test_the_known_duplicates_of_pneumoniamnist_and_nothing_else(run_cli, data_root):
    """Eight images of val are in train too, and 25 are copies of another one; no two different ones of 4,381 are taken for one."""
    done = run_cli("datasets", "check", data_root / "pneumoniamnist", "--json")
    assert done.returncode == 8
    found = faults(done)
    assert {kind for kind, _ in found} == {"leak", "duplicate"}
    leaks = [names for kind, names in found if kind == "leak"]
    assert sum(n.startswith("val-") for names in leaks for n in names) == 8
    assert ["train-000492", "val-000236"] in leaks
    assert sum(len(names) - 1 for _, names in found) == 25
