"""What each fault of a user's data gives: its name, and words that say what, where and how to mend it."""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import makers as m
import numpy as np
import pytest
from PIL import Image

from medcore.errors import CheckFailedError, ConfigError, InputError
from vrft_aug.data import DataSettings, PreparedFolder
from vrft_aug.preparing import FAULTS, Checked, PrepareSettings, prepare, refuse

Make = Callable[[Path], Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Data with one kind of fault."""

    name: str
    kind: str
    make: Make
    fault: str
    words: tuple[str, ...]
    count: int = 1
    left: int | None = None
    """Samples that are left where the fault is allowed; None where that is an error."""
    settings: dict[str, Any] = field(default_factory=dict)


def prepared(kind: str, path: Path, output: Path | None = None, **settings: Any) -> Checked:
    data = {key: settings.pop(key) for key in ("classes", "options") if key in settings}
    return prepare(PrepareSettings(data=DataSettings(kind=kind, path=path, **data), **settings), output)


def _damage(name: str, change: Callable[[bytes], bytes]) -> Make:
    def make(folder: Path) -> None:
        path = m.table(folder) / "images" / name
        path.write_bytes(change(path.read_bytes()))

    return make


def _bomb(folder: Path) -> None:
    """A PNG whose header promises 60000 x 60000 pixels in a few bytes."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (m.table(folder) / "images" / "a0.png").write_bytes(data)


def _pages(folder: Path) -> None:
    m.table(folder)
    (folder / "images" / "a0.png").unlink()
    first, second = (Image.fromarray(m.picture(50 + i)) for i in range(2))
    first.save(folder / "images" / "a0.tif", save_all=True, append_images=[second])
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("a0.png", "a0.tif"))


def _animated(folder: Path) -> None:
    m.table(folder)
    first, second = (Image.fromarray(m.picture(50 + i)) for i in range(2))
    first.save(folder / "images" / "a0.png", save_all=True, append_images=[second])


def _link(folder: Path) -> None:
    m.table(folder)
    secret = m.save(m.picture(70), folder.parent / "elsewhere" / "x.png")
    (folder / "images" / "in").mkdir()
    (folder / "images" / "in" / "x.png").symlink_to(secret)
    m.rows(folder, "in/x.png,cyst")


def _cut_jpeg(folder: Path) -> None:
    m.table(folder)
    path = m.save(m.picture(90, 200, 200), folder / "images" / "j.jpg")
    path.write_bytes(path.read_bytes()[:3000])
    m.rows(folder, "j.jpg,cyst")


def _copy(folder: Path, source: str, target: str, row: str) -> None:
    m.save(np.asarray(Image.open(folder / "images" / source)), folder / "images" / target)
    m.rows(folder, row)


def _duplicate(folder: Path) -> None:
    _copy(m.table(folder), "a0.png", "copy.png", "copy.png,cyst")


def _conflict(folder: Path) -> None:
    _copy(m.table(folder), "a0.png", "copy.png", "copy.png,stone")


def _split_table(folder: Path, subjects: list[str] | None = None) -> Path:
    """Eight images in train and val, each of its own subject unless given."""
    lines = ["image,label,split,patient"]
    for i in range(8):
        m.save(m.picture(i, 96, 96), folder / "images" / f"a{i}.png")
        lines.append(f"a{i}.png,{('cyst', 'stone')[i % 2]},{'train' if i < 6 else 'val'},{subjects[i] if subjects else f'p{i}'}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def _leak(folder: Path) -> None:
    _copy(_split_table(folder), "a6.png", "copy.png", "copy.png,cyst,train,p9")


def _smooth(number: int) -> np.ndarray:
    """A picture with structure, as a photograph has it, so that a re-encoded copy is near it."""
    small = np.random.default_rng(number).integers(0, 256, (24, 24), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((192, 192), Image.Resampling.BICUBIC))


def _near_leak(folder: Path) -> None:
    _split_table(folder)
    m.save(_smooth(1), folder / "images" / "a6.png")
    m.save(_smooth(1), folder / "images" / "copy.jpg", quality=70)
    m.rows(folder, "copy.jpg,cyst,train,p9")


def _unlabelled(folder: Path) -> None:
    m.save(m.picture(60), m.table(folder) / "images" / "extra.png")


def _other_size(folder: Path) -> None:
    m.masks(folder)
    m.save(np.full((10, 10), 255, np.uint8), folder / "eye0_OD.png")


def _colour_film(folder: Path) -> None:
    m.films(folder)
    (folder / "f0.dcm").write_bytes((folder / "f0.dcm").read_bytes()[:900])


TEN = [[4.0 + i, 5.0, 8.0, 9.0] for i in range(10)]
CASES = (
    Case(
        name="an image is not there",
        kind="folder",
        make=lambda f: m.rows(m.table(f), "gone.png,cyst"),
        fault="missing-image",
        words=("line 8", "'gone.png'", "add the image or remove its label"),
        left=6,
    ),
    Case(
        name="two images are not there",
        kind="grades",
        make=lambda f: m.rows(m.graded(f, [0, 1, 0, 1]), "gone.png,1", "lost,0"),
        fault="missing-image",
        words=("line 6", "gone.png"),
        count=2,
        left=4,
    ),
    Case(
        name="an absolute path",
        kind="folder",
        make=lambda f: m.rows(m.table(f), "/etc/passwd,cyst"),
        fault="outside-path",
        words=("line 8", "/etc/passwd", "relative paths"),
        left=6,
    ),
    Case(
        name="a path out of the folder",
        kind="vqa",
        make=lambda f: m.vqa(f, m.asked(0), m.asked(1, "no"), {**m.asked(2), "image": "../../x.png"}),
        fault="outside-path",
        words=("line 3", "../../x.png", "stay in the folder"),
        left=2,
    ),
    Case(name="a link out of the folder", kind="folder", make=_link, fault="outside-path", words=("in/x.png", "leads out"), left=6),
    Case(
        name="a picture cut in half",
        kind="folder",
        make=_damage("a0.png", lambda c: c[: len(c) // 2]),
        fault="damaged-image",
        words=("a0.png", "damaged image", "another copy"),
        left=5,
    ),
    Case(name="a JPEG cut", kind="folder", make=_cut_jpeg, fault="damaged-image", words=("j.jpg", "truncated"), left=6),
    Case(
        name="text called .png",
        kind="folder",
        make=_damage("a1.png", lambda _: b"hello, this is no picture"),
        fault="damaged-image",
        words=("a1.png", "is no image"),
        left=5,
    ),
    Case(name="a bomb", kind="folder", make=_bomb, fault="bomb", words=("a0.png", "pixels"), left=5),
    Case(
        name="several pages", kind="folder", make=_pages, fault="several-frames", words=("a0.tif", "2 frames", "one image"), left=5
    ),
    Case(name="an animated picture", kind="folder", make=_animated, fault="several-frames", words=("a0.png", "2 frames"), left=5),
    Case(
        name="a misspelt label among stated classes",
        kind="folder",
        make=lambda f: m.table(f, ["cyst", "stone", "cyst", "stone", "stne"]),
        fault="unknown-label",
        words=("line 6", "'stne'", "did you mean 'stone'"),
        left=4,
        settings={"classes": ("cyst", "stone")},
    ),
    Case(
        name="an unknown label",
        kind="folder",
        make=lambda f: m.table(f, ["cyst", "stone", "cyst", "stone", "zebra"]),
        fault="unknown-label",
        words=("line 6", "'zebra'", "give all classes"),
        left=4,
        settings={"classes": ("cyst", "stone")},
    ),
    Case(
        name="a label in other case",
        kind="folder",
        make=lambda f: m.table(f, ["cyst", "stone", "cyst", "stone", "Cyst"]),
        fault="label-typo",
        words=("'Cyst' (1 sample)", "'cyst' (2 samples)", "correct it"),
        left=4,
    ),
    Case(
        name="a class folder misspelt",
        kind="folder",
        make=lambda f: m.save(m.picture(900), m.tree(f, ("normal", "pneumonia"), 12) / "pnuemonia" / "x.png"),
        fault="label-typo",
        words=("'pnuemonia' (1 sample)", "'pneumonia' (12 samples)"),
        left=24,
    ),
    Case(
        name="a grade that is no number",
        kind="grades",
        make=lambda f: m.rows(m.graded(f, [0, 1, 0, 1]), "a0.png,mild") and m.save(m.picture(9), f / "images" / "a4.png"),
        fault="unknown-label",
        words=("line 6", "'mild'", "not a whole number"),
        settings={"allow": ("repeated", "no-label")},
    ),
    Case(
        name="a gap between grades",
        kind="grades",
        make=lambda f: m.graded(f, [0, 0, 1, 1, 3, 3]),
        fault="grade-gap",
        words=("grade 2", "grade 3", "renumber"),
        left=6,
    ),
    Case(
        name="a class of one sample",
        kind="folder",
        make=lambda f: m.table(f, ["cyst", "stone", "cyst", "stone", "tumour"]),
        fault="lone-label",
        words=("'tumour'", "a4.png", "join classes"),
        left=4,
    ),
    Case(
        name="an empty label",
        kind="folder",
        make=lambda f: m.table(f, ["cyst", "stone", "cyst", "stone", ""]),
        fault="no-label",
        words=("line 6", "label the image"),
        left=4,
    ),
    Case(name="an image without row", kind="folder", make=_unlabelled, fault="no-label", words=("extra.png", "no label"), left=6),
    Case(
        name="an image listed twice",
        kind="folder",
        make=lambda f: m.rows(m.table(f), "a0.png,stone"),
        fault="repeated",
        words=("'a0.png'", "twice"),
        left=5,
    ),
    Case(name="a copy", kind="folder", make=_duplicate, fault="duplicate", words=("a0.png, copy.png", "same pixels"), left=6),
    Case(
        name="a copy with another label",
        kind="folder",
        make=_conflict,
        fault="label-conflict",
        words=("a0.png, copy.png", "different labels"),
        settings={"allow": ("duplicate",)},
    ),
    Case(name="a copy in two parts", kind="folder", make=_leak, fault="leak", words=("a6.png", "train and val"), left=8),
    Case(
        name="a near copy in two parts",
        kind="folder",
        make=_near_leak,
        fault="near-leak",
        words=("a6.png (val)", "copy.jpg (train)"),
        left=8,
    ),
    Case(
        name="a patient in two parts",
        kind="folder",
        make=lambda f: _split_table(f, ["p0", "p1", "p2", "p3", "p4", "Smith", "Smith", "p7"]),
        fault="patient-leak",
        words=("one subject is in train and val", "a5.png, a6.png"),
        left=7,
    ),
    Case(
        name="corners in a COCO file",
        kind="coco",
        make=lambda f: m.coco(f, [[x, y, x + 20, y + 16] for x, y, *_ in [(30 + i, 20 + i) for i in range(8)]]),
        fault="box-convention",
        words=("8 of 8 boxes do not fit as [x, y, width, height]", "fit as [x0, y0, x1, y1]", "convert"),
    ),
    Case(
        name="shares in a COCO file",
        kind="coco",
        make=lambda f: m.coco(f, [[0.1, 0.2, 0.5, 0.25], [0.55, 0.6, 0.4, 0.3]]),
        fault="box-convention",
        words=("lie between 0 and 1", "[x, y, width, height] as shares", "pixels"),
    ),
    Case(
        name="widths in a VOC file",
        kind="voc",
        make=lambda f: m.voc(f, [(30 + i, 20, 12, 9) for i in range(5)]),
        fault="box-convention",
        words=("as [x0, y0, x1, y1]", "[x, y, width, height]"),
    ),
    Case(
        name="one box beyond its image",
        kind="coco",
        make=lambda f: m.coco(f, [*TEN, [60.0, 40.0, 20.0, 20.0]]),
        fault="box-outside",
        words=("10.png", "64 x 48"),
        left=10,
    ),
    Case(
        name="a box of zero area",
        kind="voc",
        make=lambda f: m.voc(f, [(4, 5, 9, 9)] * 3 + [(7, 7, 7, 7)]),
        fault="zero-box",
        words=("3.xml", "zero area"),
        left=3,
    ),
    Case(
        name="a box of zero width",
        kind="coco",
        make=lambda f: m.coco(f, [*TEN, [9, 9, 0, 4]]),
        fault="zero-box",
        words=("10.png", "zero area"),
        left=10,
    ),
    Case(
        name="a negative width",
        kind="coco",
        make=lambda f: m.coco(f, [*TEN, [9, 9, -3, 4]]),
        fault="bad-box",
        words=("annotations[10]", "-3 x 4"),
        left=10,
    ),
    Case(
        name="an empty mask",
        kind="masks",
        make=lambda f: m.masks(f, empty=1),
        fault="empty-mask",
        words=("eye0_OD.png", "draw"),
        left=3,
    ),
    Case(
        name="a mask of another size", kind="masks", make=_other_size, fault="wrong-size", words=("eye0_OD.png", "10 x 10"), left=3
    ),
    Case(
        name="an open question",
        kind="vqa",
        make=lambda f: m.vqa(f, m.asked(0), m.asked(1, "no"), m.asked(2, "a 3 cm nodule", "What is seen?")),
        fault="open-question",
        words=("questions-000003", "no choices", "open_questions"),
        left=2,
    ),
    Case(
        name="an answer that is no choice",
        kind="vqa",
        make=lambda f: m.vqa(f, m.asked(0), m.asked(1, "no"), m.asked(2, "maybe", choices=["left", "right"])),
        fault="unknown-label",
        words=("line 3", "'maybe'", "no choice"),
        left=2,
    ),
    Case(
        name="a line that is no JSON",
        kind="vqa",
        make=lambda f: m.vqa(f, m.asked(0), "{not json", m.asked(1, "no")),
        fault="bad-entry",
        words=("line 2",),
        left=2,
    ),
    Case(
        name="a DICOM file cut",
        kind="dicom",
        make=_colour_film,
        fault="damaged-image",
        words=("f0.dcm",),
        settings={"allow": ("missing-image",)},
    ),
    Case(
        name="films without labels",
        kind="dicom",
        make=lambda f: (m.films(f) / "labels.csv").unlink(),
        fault="no-label",
        words=("no sample", "CSV table"),
        left=6,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_fault_is_named_and_told(tmp_path: Path, case: Case) -> None:
    folder = tmp_path / "data"
    case.make(folder)
    checked = prepared(case.kind, folder, tmp_path / "out", **case.settings)
    own = [f for f in checked.faults if f.kind == case.fault]
    assert len(own) == case.count, [f"{f.kind}: {f.sentence}" for f in checked.faults]
    assert not {f.kind for f in checked.faults} - {case.fault, *case.settings.get("allow", ())}
    for word in case.words:
        assert word in " ".join(f.sentence for f in own)
    assert not (tmp_path / "out").exists(), "data with faults were written"
    with pytest.raises(CheckFailedError, match=f"--allow {case.fault}"):
        refuse(checked, PrepareSettings(data=DataSettings(kind=case.kind, path=folder)))


@pytest.mark.parametrize("case", [c for c in CASES if c.left is not None], ids=lambda case: case.name)
def test_an_allowed_fault_leaves_its_samples_out_and_counts_them(tmp_path: Path, case: Case) -> None:
    folder = tmp_path / "data"
    case.make(folder)
    checked = prepared(case.kind, folder, tmp_path / "out", allow=(case.fault,), **case.settings)
    again = PreparedFolder(tmp_path / "out")
    assert len(again) == checked.facts["samples"] == case.left
    assert list(checked.facts["left_out"]) == [case.fault]
    assert any(case.fault in fault for fault in again.card.faults)
    assert len(list(again)) == case.left, "an image cannot be read back"


def test_every_fault_has_a_case() -> None:
    assert set(FAULTS) - {c.fault for c in CASES} == {"no-subject"}  # tested below


def test_a_file_name_without_patient(tmp_path: Path) -> None:
    m.save(m.picture(77), m.tree(tmp_path / "d") / "cyst" / "nobody.png")
    checked = prepared("folder", tmp_path / "d", options={"subject_pattern": "^(p[0-9]+)_"})
    assert [f.kind for f in checked.faults] == ["no-subject"]
    assert "nobody.png" in checked.faults[0].sentence


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    folder = m.tree(tmp_path / "d")
    (folder / "cyst" / "p0_cyst.png").rename(folder / "cyst" / os.fsdecode(b"k\xe4fer.png"))
    checked = prepared("folder", folder, tmp_path / "out", allow=("bad-entry",))
    assert [f.kind for f in checked.faults] == ["bad-entry"]
    assert checked.faults[0].sentence.isascii()
    assert len(PreparedFolder(tmp_path / "out")) == 5


def test_all_faults_are_listed_not_only_the_first(tmp_path: Path) -> None:
    folder = m.rows(m.table(tmp_path / "d", ["cyst", "stone"] * 3 + ["Stone", ""]), "gone.png,cyst", "/etc/passwd,cyst")
    path = folder / "images" / "a1.png"
    path.write_bytes(path.read_bytes()[:200])
    _copy(folder, "a0.png", "copy.png", "copy.png,cyst")
    found = [f.kind for f in prepared("folder", folder).faults]
    assert sorted(found) == sorted(["no-label", "missing-image", "outside-path", "damaged-image", "label-typo", "duplicate"])


UNREADABLE = {
    "nothing there": ("folder", lambda f: None, "does not exist"),
    "an empty folder": ("folder", lambda f: f.mkdir(), "no folders of images"),
    "latin letters": (
        "folder",
        lambda f: (m.table(f) / "labels.csv").write_bytes(b"image,label\na0.png,k\xe4fer\n"),
        "save it as UTF-8",
    ),
    "a ragged table": ("folder", lambda f: (m.table(f) / "labels.csv").write_text("image,label\na0.png\n"), "1 cells in line 2"),
    "COCO that is no JSON": ("coco", lambda f: (m.coco(f, TEN) / "annotations.json").write_text("{"), "COCO"),
    "no masks": ("masks", lambda f: m.save(m.picture(), f / "a.png"), "no masks"),
    "several labels": (
        "folder",
        lambda f: (m.table(f) / "labels.csv").write_text("image,a,b\n" + "".join(f"a{i}.png,1,{i % 2}\n" for i in range(6))),
        "several classes",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_at_all_is_an_input_error(tmp_path: Path, name: str) -> None:
    kind, make, words = UNREADABLE[name]
    make(tmp_path / "d")
    with pytest.raises(InputError, match=words):
        prepared(kind, tmp_path / "d", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_patient_is_named(tmp_path: Path) -> None:
    folder = m.films(tmp_path / "d")
    m.rows(folder, "f9.dcm,normal")
    (folder / "f0.dcm").write_bytes((folder / "f0.dcm").read_bytes()[:-100])
    checked = prepared("dicom", folder)
    text = str(checked)
    assert {f.kind for f in checked.faults} == {"missing-image", "damaged-image"}
    assert "MRN" not in text
    assert "Doe" not in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"allow": ("duplicat",)}, "did you mean 'duplicate'"),
        ({"allow": ("leak", "leak")}, "twice"),
        ({"split": (0.5, 0.4)}, "sum 1"),
        ({"split": (1.0,)}, "two or three"),
        ({"split": (0.5, 0.6, -0.1)}, "positive"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PrepareSettings(data=DataSettings(kind="folder", path=tmp_path), **settings)


def test_a_preset_is_for_computed_tomography(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"modality CR.*Hounsfield"):
        prepared("dicom", m.films(tmp_path / "d"), options={"window": "lung"})
