"""Damaged DICOM: cut anywhere, changed anywhere; only errors of medcore may escape, and soon."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import pytest
from dicom_files import classic, csa_header, enhanced, mosaic, save
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medcore.errors import InputError
from medcore.io import list_series, read_dicom
from medcore.io.dicom.csa import DamagedHeaderError, read_csa

SECONDS = 2.0
"""Processor time that a file of some kilobytes may take."""
CSA = csa_header({"Unused": [], "NumberOfImagesInMosaic": ["3"], "SliceNormalVector": ["0.0", "0.0", "1.0"]})


def compressed(syntax):
    dataset = classic(Rows=64, Columns=32, PixelData=np.arange(2048, dtype="<u2").tobytes())
    dataset.compress(syntax)
    return dataset


GOOD = {
    "classic": classic,
    "enhanced": enhanced,
    "mosaic": lambda: mosaic(classic(), 3, csa=CSA),
    "RLE": lambda: compressed(RLELossless),
    "JPEG-LS": lambda: compressed(JPEGLSLossless),
    "JPEG 2000": lambda: compressed(JPEG2000Lossless),
}


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    place = tmp_path_factory.mktemp("good")
    return {name: save(make(), place / "a.dcm").read_bytes() for name, make in GOOD.items()}


def read_in_time(path: Path):
    """Images or None for a refusal; anything else escapes."""
    begin, images, complaint = time.process_time(), None, ""
    try:
        images = read_dicom(path)
    except InputError as error:
        complaint = str(error)
    assert "ecret" not in complaint
    assert "\n" not in complaint
    assert time.process_time() - begin < SECONDS
    return images


@pytest.mark.parametrize("name", list(GOOD))
def test_a_file_cut_at_any_sixteenth_byte_is_refused(name, contents, tmp_path):
    content = contents[name]
    assert read_in_time(save(GOOD[name](), tmp_path / "whole.dcm")) is not None
    for length in [*range(0, len(content), 16), *range(len(content) - 16, len(content))]:
        (tmp_path / "cut.dcm").write_bytes(content[:length])
        assert read_in_time(tmp_path / "cut.dcm") is None, f"{name} cut to {length} of {len(content)} bytes was read"


def change(data: st.DataObject, content: bytes, first: int, last: int) -> bytes:
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(first, last))
        changed[place] = data.draw(st.sampled_from([0, 1, 255, changed[place] ^ 1]) | st.integers(0, 255))
    return bytes(changed)


@pytest.mark.parametrize("name", list(GOOD))
@given(data=st.data())
def test_changed_bytes_anywhere_are_images_or_one_error(name, data, contents, tmp_path_factory):
    path = tmp_path_factory.mktemp("changed") / "a.dcm"
    path.write_bytes(change(data, contents[name], 0, len(contents[name]) - 1))
    read_in_time(path)


@pytest.mark.parametrize("name", list(GOOD))
@given(data=st.data())
def test_changed_bytes_in_what_describes_the_picture_are_images_or_one_error(name, data, contents, tmp_path_factory):
    """From the image type to the pixels: sizes, bits, places, times, groups of frames."""
    content = contents[name]
    first, last = (
        content.index(b"\x18\x00\x50\x00" if name != "enhanced" else b"\x28\x00\x02\x00"),
        content.index(b"\xe0\x7f\x10\x00") + 20,
    )
    path = tmp_path_factory.mktemp("changed") / "a.dcm"
    path.write_bytes(change(data, content, first, last))
    read_in_time(path)


SHORT = {b"AE", b"CS", b"DA", b"DS", b"FL", b"FD", b"IS", b"LO", b"PN", b"SH", b"TM", b"UI", b"UL", b"US"}


@pytest.mark.parametrize("name", ["classic", "enhanced", "mosaic"])
@pytest.mark.parametrize("kind", [b"DS", b"FD", b"LO", b"OB", b"SQ", b"US", b"ZZ"])
def test_every_element_with_another_kind_of_value_is_images_or_one_error(name, kind, contents, tmp_path):
    content = contents[name]
    path = tmp_path / "a.dcm"
    for place in range(144, content.index(b"\xe0\x7f\x10\x00")):
        if content[place : place + 2] in SHORT and content[place - 3] in (0, 0x90) and content[place - 1] in (0, 0x10, 0x90):
            path.write_bytes(content[:place] + kind + content[place + 2 :])
            read_in_time(path)


@given(data=st.data())
def test_lists_of_series_refuse_damage_as_well(data, contents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("changed")
    (folder / "a.dcm").write_bytes(change(data, contents["classic"], 132, len(contents["classic"]) - 60))
    complaint = ""
    try:
        assert len(list_series(folder)) <= 1
    except InputError as error:
        complaint = str(error)
    assert "ecret" not in complaint


@pytest.mark.property
@pytest.mark.parametrize("name", list(GOOD))
@given(data=st.data())
def test_shuffled_pieces_of_a_file_are_images_or_one_error(name, data, contents, tmp_path_factory):
    content = contents[name]
    cuts = sorted(data.draw(st.lists(st.integers(132, len(content)), min_size=1, max_size=4)))
    pieces = [content[a:b] for a, b in zip([132, *cuts], [*cuts, len(content)], strict=True)]
    path = tmp_path_factory.mktemp("shuffled") / "a.dcm"
    path.write_bytes(content[:132] + b"".join(data.draw(st.permutations(pieces))))
    read_in_time(path)


# --- the private header of Siemens


@given(content=st.binary(max_size=300), second=st.booleans())
def test_any_bytes_are_a_private_header_or_one_error(content, second):
    try:
        found = read_csa((b"SV10" + bytes(4) if second else b"") + content, frozenset({"", "a"}))
    except DamagedHeaderError:
        return
    assert set(found) <= {"", "a"}


@given(data=st.data())
def test_a_changed_private_header_is_read_soon_or_refused(data):
    begin = time.process_time()
    with contextlib.suppress(DamagedHeaderError):
        read_csa(change(data, CSA, 0, len(CSA) - 1), frozenset({"NumberOfImagesInMosaic"}))
    assert time.process_time() - begin < SECONDS


@pytest.mark.parametrize("length", range(0, len(CSA), 16))
def test_a_cut_private_header_is_refused(length):
    with pytest.raises(DamagedHeaderError):
        read_csa(CSA[:length], frozenset({"SliceNormalVector"}))


# --- slow and large on purpose


def test_five_thousand_nested_sequences_are_refused_at_once(contents, tmp_path):
    content = contents["classic"]
    place = content.index(b"\xe0\x7f\x10\x00")
    nested = (b"\x40\x00\x96\x90SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 5000
    (tmp_path / "a.dcm").write_bytes(content[:place] + nested + content[place:])
    assert read_in_time(tmp_path / "a.dcm") is None


@pytest.mark.parametrize("length", [0xFFFFFFFE, 0xFFFFFFFF, 0x7FFFFFFF])
@pytest.mark.parametrize("vr", [b"OB", b"UN", b"UT", b"SQ"])
def test_lengths_beyond_the_file_are_refused_at_once(length, vr, contents, tmp_path):
    content = contents["classic"]
    place = content.index(b"\xe0\x7f\x10\x00")
    head = b"\x42\x00\x11\x00" + vr + b"\0\0" + length.to_bytes(4, "little")
    (tmp_path / "a.dcm").write_bytes(content[:place] + head + content[place:])
    assert read_in_time(tmp_path / "a.dcm") is None


@pytest.mark.integration
@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "SeriesDescription", "StudyID"])
def test_a_path_in_a_text_leads_nowhere(keyword, run_cli, tmp_path):
    """Nothing is written but the output that was named."""
    (tmp_path / "given").mkdir()
    (tmp_path / "work").mkdir()
    path = save(classic(**{keyword: "../../x"}), tmp_path / "given" / "a.dcm")
    before = set(tmp_path.rglob("*"))
    done = run_cli("convert", path, tmp_path / "work" / "out.nii.gz")
    assert done.returncode == 0, done.stderr
    new = {p.name for p in tmp_path.rglob("*") if p not in before}
    assert new <= {"out.nii.gz", "out.json"}
    assert "x" not in {p.name for p in tmp_path.parent.iterdir()}
