"""Bytes of every kind of good file are changed at random: it is read, or refused in one line, whatever the bytes are."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import scipy.io
from dicom_files import classic, save
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from PIL import Image

import medcore
from medcore.errors import MedcoreError
from medcore.io import ImageSeries, KSpace, write_cfl, write_fastmri, write_ismrmrd, write_nifti, write_parametric_map
from medcore.opening import describe, find_faults, lines

RNG = np.random.default_rng(7)
AFFINE = np.diag([1e-3, 2e-3, 3e-3, 1.0])
IMAGES = RNG.uniform(1, 9, (2, 2, 4, 3)).astype(np.float32)
SIDECAR = {"EchoTime": [0.01, 0.02], "FlipAngle": 90}
VOC = """<annotation><filename>a.png</filename><size><width>8</width><height>6</height><depth>3</depth></size>
<object><name>RBC</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>4</ymax></bndbox></object></annotation>"""


def _kspace(contrasts: int = 2) -> KSpace:
    data = (RNG.standard_normal((contrasts, 2, 1, 6, 4)) + 1j).astype(np.complex64)
    return KSpace(data=data, matrix=(1, 6, 4), fov=(0.005, 0.2, 0.2), times={"te": [0.01, 0.02][:contrasts]})


def _nifti(folder: Path, name: str) -> Path:
    write_nifti(folder / name, IMAGES, AFFINE, sidecar=SIDECAR)
    return folder / name


def _picture(folder: Path, name: str) -> Path:
    Image.fromarray(RNG.integers(0, 255, (6, 8, 3)).astype(np.uint8)).save(folder / name)
    return folder / name


def _npy(folder: Path) -> Path:
    np.save(folder / "a.npy", IMAGES)
    return folder / "a.npy"


def _npz(folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", a=IMAGES)
    return folder / "a.npz"


def _medmnist(folder: Path) -> Path:
    arrays = {}
    for split, n in (("train", 6), ("val", 2), ("test", 2)):
        arrays[f"{split}_images"] = RNG.integers(0, 255, (n, 28, 28)).astype(np.uint8)
        arrays[f"{split}_labels"] = np.arange(n)[:, None] % 2
    np.savez_compressed(folder / "pneumoniamnist.npz", **arrays)
    return folder / "pneumoniamnist.npz"


def _ismrmrd(folder: Path) -> Path:
    write_ismrmrd(folder / "a.h5", _kspace())
    return folder / "a.h5"


def _fastmri(folder: Path) -> Path:
    write_fastmri(folder / "a.h5", [_kspace(1), _kspace(1)])
    return folder / "a.h5"


def _hdf5(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["group/values"] = IMAGES
        file["names"] = [b"a", b"bc"]
    return folder / "a.h5"


def _dicom_folder(folder: Path) -> Path:
    for z in range(2):
        save(classic(float(z)), folder / f"{z}.dcm")
    return folder


def _parametric_map(folder: Path) -> Path:
    write_parametric_map(folder / "a.dcm", ImageSeries(data=IMAGES[:1], affine=AFFINE), quantity="QSM", unit="1")
    return folder / "a.dcm"


def _several_arrays(folder: Path) -> Path:
    np.savez(folder / "a.npz", a=IMAGES, names=np.array(["a", "b"]), c=np.arange(3))
    return folder / "a.npz"


def _cfl(folder: Path) -> Path:
    write_cfl(folder / "a", _kspace())
    return folder / "a.cfl"


def _mat(folder: Path) -> Path:
    scipy.io.savemat(folder / "a.mat", {"a": IMAGES, "b": {"c": "text", "d": [1, 2]}}, do_compression=True)
    return folder / "a.mat"


def _written(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return make


def _voc_folder(folder: Path) -> Path:
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir()
    _picture(folder / "JPEGImages", "a.png")
    (folder / "Annotations" / "a.xml").write_text(VOC)
    return folder


def _graded_folder(folder: Path) -> Path:
    for name in ("a.png", "b.png"):
        _picture(folder, name)
    (folder / "labels.csv").write_text("image,grade\na,0\nb,1\n")
    return folder


def _nifti_folder(folder: Path) -> Path:
    for echo in (1, 2):
        write_nifti(folder / f"sub-1_echo-{echo}_MESE.nii", IMAGES[0], AFFINE, sidecar={"EchoTime": 0.01 * echo})
    return folder


def _bids_folder(folder: Path) -> Path:
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.11.1"}))
    (folder / "sub-1" / "anat").mkdir(parents=True)
    return _nifti_folder(folder / "sub-1" / "anat").parents[1]


def _philips(folder: Path) -> Path:
    source = Path(os.environ["MEDCORE_TEST_DATA"], "philips-enhanced-mr", "PARREC")
    for name in ("fieldmap.PAR", "fieldmap.REC"):
        shutil.copyfile(source / name, folder / name)
    return folder / "fieldmap.PAR"


KINDS: dict[str, Callable[[Path], Path]] = {
    "nii": lambda folder: _nifti(folder, "a.nii"),
    "nii.gz": lambda folder: _nifti(folder, "a.nii.gz"),
    "npy": _npy,
    "npz": _npz,
    "npz of several": _several_arrays,
    "medmnist": _medmnist,
    "dicom folder": _dicom_folder,
    "parametric map": _parametric_map,
    "ismrmrd": _ismrmrd,
    "fastmri": _fastmri,
    "hdf5": _hdf5,
    "cfl": _cfl,
    "mat": _mat,
    "png": lambda folder: _picture(folder, "a.png"),
    "jpeg": lambda folder: _picture(folder, "a.jpg"),
    "bmp": lambda folder: _picture(folder, "a.bmp"),
    "tiff": lambda folder: _picture(folder, "a.tif"),
    "json": _written("a.json", json.dumps({"a": [1, 2.5, None], "b": {"c": "d"}})),
    "xml": _written("a.xml", VOC),
    "table": _written("a.csv", 'image,grade\n"a, b",1\nc,2\n'),
    "text": _written("a.md", "# Title\n\nSome words.\n"),
    "voc folder": _voc_folder,
    "graded folder": _graded_folder,
    "nifti folder": _nifti_folder,
    "bids folder": _bids_folder,
}


class Edit(NamedTuple):
    """One change: at a part of the length, so many bytes go and these come."""

    at: float
    drop: int
    put: bytes
    from_end: bool = False


EDITS = st.lists(
    st.builds(
        Edit,
        at=st.floats(0, 1),
        drop=st.sampled_from([0, 0, 1, 1, 2, 4, 8, 10**6]),
        put=st.one_of(
            st.binary(max_size=8),
            st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\0\0\xc0\x7f", b"-1", b"1e400", b"\n"]),
        ),
    ),
    min_size=1,
    max_size=4,
)


def mutate(content: bytes, edits: list[Edit]) -> bytes:
    for edit in edits:
        place = int(edit.at * len(content))
        drop = edit.drop or len(edit.put)  # as often as not the length stays
        content = content[:place] + edit.put + content[place + drop :]
    return content


def survive(path: Path) -> None:
    """All three doors read what lies there or refuse it in one line that names no line of code."""
    for door in (medcore.open, describe, find_faults):
        try:
            found = door(path)
        except MedcoreError as error:
            assert "\n" not in str(error)  # noqa: PT017 - or no error at all
            assert len(str(error)) < 1000  # noqa: PT017
        else:
            if door is describe:
                json.dumps(found, allow_nan=False)
                assert all(isinstance(line, str) for line in lines(found))


def attack(make: Callable[[Path], Path], which: int, edits: list[Edit], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = make(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    chosen = files[which % len(files)]
    chosen.write_bytes(mutate(chosen.read_bytes(), edits))
    survive(path)


EVERY = pytest.mark.parametrize("kind", list(KINDS))


@EVERY
def test_good_files_are_read_by_every_door(kind: str, tmp_path: Path) -> None:
    path = KINDS[kind](tmp_path)
    assert describe(path)["type"]
    find_faults(path)


@EVERY
@seed(20261124)
@settings(max_examples=30)
@given(which=st.integers(0, 5), edits=EDITS)
def test_changed_bytes(kind: str, which: int, edits: list[Edit], tmp_path: Path) -> None:
    attack(KINDS[kind], which, edits, tmp_path / "given")


@pytest.mark.property
@EVERY
@settings(max_examples=1000)
@given(which=st.integers(0, 5), edits=EDITS)
def test_many_changed_bytes(kind: str, which: int, edits: list[Edit], tmp_path: Path) -> None:
    attack(KINDS[kind], which, edits, tmp_path / "given")


@pytest.mark.integration
@settings(max_examples=30)
@given(which=st.integers(0, 1), edits=EDITS)
def test_changed_bytes_of_a_real_par_file(which: int, edits: list[Edit], data_root: Path, tmp_path: Path) -> None:
    attack(_philips, which, edits, tmp_path / "given")


@EVERY
def test_cut_anywhere(kind: str, tmp_path: Path) -> None:
    """Every sixteenth byte of the largest file, at most 200 cuts."""
    make = KINDS[kind]
    path = make(tmp_path)
    largest = max((p for p in tmp_path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = largest.read_bytes()
    for end in range(0, len(content), max(16, len(content) // 200)):
        largest.write_bytes(content[:end])
        survive(path)
