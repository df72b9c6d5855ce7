"""Files are recognised by content; names do not matter."""

from __future__ import annotations

import gzip
import shutil

import h5py
import numpy as np
import pytest

import medcore
from medcore import io
from medcore.errors import InputError
from medcore.io import ImageSeries, KSpace, recognise, write_ismrmrd, write_nifti
from medcore.io.limits import check_size, existing_file


@pytest.fixture
def files(tmp_path, cartesian, classic_dicom, save_dicom):
    """One file of every kind, under names that say nothing or lie."""
    write_nifti(tmp_path / "a.nii", np.ones((2, 1, 2, 2), np.float32), np.diag([1e-3, 1e-3, 1e-3, 1]))
    made = {"nifti": tmp_path / "plain.dcm", "nifti-gz": tmp_path / "zipped"}
    shutil.move(tmp_path / "a.nii", made["nifti"])
    made["nifti-gz"].write_bytes(gzip.compress(made["nifti"].read_bytes()))
    made["dicom"] = save_dicom(classic_dicom(), tmp_path / "picture.npy")
    write_ismrmrd(tmp_path / "scan.nii.gz", cartesian)
    made["ismrmrd"] = tmp_path / "scan.nii.gz"
    for name, array in (("npy", np.ones((3, 4))), ("npy-complex", np.ones((2, 3, 4), np.complex64))):
        with (tmp_path / name).open("wb") as file:
            np.save(file, array)
        made[name] = tmp_path / name
    with (tmp_path / "npz").open("wb") as file:
        np.savez(file, x=np.ones((3, 4)))
    made["npz"] = tmp_path / "npz"
    with (tmp_path / "medmnist").open("wb") as file:
        np.savez(file, train_images=np.ones((3, 4)), train_labels=np.ones(3))
    made["medmnist"] = tmp_path / "medmnist"
    with h5py.File(tmp_path / "hdf5", "w") as file:
        file["x"] = 1
    made["hdf5"] = tmp_path / "hdf5"
    made["text"] = tmp_path / "text.nii.gz"
    made["text"].write_text("hello")
    return made


KINDS = {"nifti-gz": "nifti", "npy-complex": "npy", "text": None}


def test_content_decides(files):
    assert {name: recognise(path) for name, path in files.items()} == {name: KINDS.get(name, name) for name in files}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nifti", ImageSeries),
        ("nifti-gz", ImageSeries),
        ("dicom", ImageSeries),
        ("npy", ImageSeries),
        ("npz", ImageSeries),
        ("ismrmrd", KSpace),
        ("npy-complex", KSpace),
    ],
)
def test_every_kind_opens(files, name, kind):
    assert type(io.open(files[name])) is kind
    assert type(medcore.open(files[name])) is kind


@pytest.mark.parametrize(
    ("name", "word"), [("hdf5", r"\(hdf5\)"), ("text", r"\(unknown content\)"), ("medmnist", "open it with medcore.open")]
)
def test_other_kinds_are_named(files, name, word):
    with pytest.raises(InputError, match=word):
        io.open(files[name])


def test_an_option_the_reader_does_not_have_is_named(files):
    with pytest.raises(InputError, match=r"read by read_nifti, which has no such option .*'series'"):
        io.open(files["nifti"], series=3)


def test_options_reach_the_reader(files):
    assert io.open(files["nifti"], times={"te": [0.01, 0.02]}).times["te"].tolist() == [0.01, 0.02]


def test_folders(tmp_path, classic_dicom, save_dicom):
    dicom, nifti, empty = (tmp_path / name for name in ("dicom", "nifti", "empty"))
    for folder in (dicom / "deep", nifti, empty):
        folder.mkdir(parents=True)
    save_dicom(classic_dicom(), dicom / "deep" / "x")
    affine = np.diag([1e-3, 1e-3, 1e-3, 1])
    for i, te in enumerate((0.02, 0.01)):
        write_nifti(nifti / f"{i}.nii.gz", np.full((1, 2, 2), te, np.float32), affine, sidecar={"EchoTime": te})
    assert [recognise(p) for p in (dicom, nifti, empty)] == ["dicom-folder", "nifti-folder", None]
    assert io.open(dicom).data.shape == (1, 1, 4, 6)
    assert io.open(nifti).data[:, 0, 0, 0] == pytest.approx([0.01, 0.02])
    with pytest.raises(InputError, match="of no kind"):
        io.open(empty)


@pytest.mark.parametrize(
    ("name", "word"),
    [("absent", "does not exist"), ("empty", "is empty"), ("nul\0", "no file name"), ("/dev/null", "is not a file")],
)
def test_paths_that_cannot_be_read_are_named(name, word, tmp_path):
    (tmp_path / "empty").touch()
    for read in (recognise, existing_file):
        with pytest.raises(InputError, match=word):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("shape", "file_bytes", "word"),
    [
        ((0, 3), 100, "claims the shape"),
        ((2, -3), 100, "claims the shape"),
        ((1 << 29,), 1 << 20, "claims 536870912 bytes"),
        ((1 << 37,), 1 << 36, "set MEDCORE_MAX_BYTES"),
        ((1 << 40, 1 << 40, 1 << 40), 1 << 40, "claims"),
    ],
)
def test_claims_beyond_the_budget_are_refused(shape, file_bytes, word):
    with pytest.raises(InputError, match=word):
        check_size("x", shape, 1, file_bytes)


def test_claims_within_the_budget_are_believed():
    check_size("x", (1 << 28,), 1, 1)
    check_size("x", (1 << 29,), 1, (1 << 29) // 200 + 1)
