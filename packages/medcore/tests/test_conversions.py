"""Every pair of formats: what both promise to keep comes through equal, whatever the shapes, values and places."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import medcore
from medcore.convert import Options, convert
from medcore.io import (
    ImageSeries,
    KSpace,
    read_cfl,
    read_nifti,
    read_npy,
    write_cfl,
    write_fastmri,
    write_ismrmrd,
    write_nifti,
    write_parametric_map,
)
from medcore.io.bids import ParameterMap, write_derivative
from medcore.io.npy import read_npy_kspace, write_npy
from medcore.opening import describe, find_faults

FINITE = st.floats(-(2.0**99), 2.0**99, width=32)


@st.composite
def affines(draw: Any) -> np.ndarray:
    """Voxels of any size, turned any way, anywhere."""
    w, x, y, z = (q := draw(hnp.arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: q @ q > 0.01))) / np.sqrt(q @ q)
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn * draw(hnp.arrays(np.float64, 3, elements=st.floats(2e-4, 2e-2)))
    affine[:3, 3] = draw(hnp.arrays(np.float64, 3, elements=st.floats(-0.5, 0.5)))
    return affine


@st.composite
def maps(draw: Any) -> dict[str, Any]:
    """Arguments for one real image; formats that keep times have an echo time."""
    shape = (1, *draw(st.tuples(*[st.integers(1, 4)] * 3)))
    data = draw(hnp.arrays(np.float32, shape, elements=FINITE))
    return {"data": data, "affine": draw(affines()), "times": {"te": [draw(st.floats(1e-4, 0.9))]}, "meta": {"units": "1"}}


@st.composite
def scans(draw: Any) -> dict[str, Any]:
    """Arguments for one plane of one contrast, some columns not measured."""
    coils, y, x = draw(st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(2, 6)))
    parts = draw(hnp.arrays(np.float32, (2, 1, coils, 1, y, x), elements=st.floats(1, 1e6, width=32)))
    measured = draw(hnp.arrays(np.bool_, x).filter(np.any))
    mask = np.broadcast_to(measured, (1, 1, y, x)).copy()
    data = ((parts[0] - 1j * parts[1]) * mask[:, None]).astype(np.complex64)
    return {
        "data": data,
        "mask": None if mask.all() else mask,
        "matrix": (1, y, x),
        "fov": tuple(draw(hnp.arrays(np.float64, 3, elements=st.floats(1e-3, 0.5))).tolist()),
        "times": {"te": [draw(st.floats(1e-4, 0.9))], "tr": [draw(st.floats(1e-3, 20))]},
        "noise": data[0, :, 0, 0] + 1,
        "field_strength": 3.0,
    }


def _bids_source(folder: Path, item: ImageSeries) -> Path:
    one = ParameterMap(suffix="M0map", data=item.data[0], sidecar={"EchoTime": float(item.times["te"][0])})
    return write_derivative(folder / "maps", [one], item.affine, subject="01")[0]


def _nifti_source(folder: Path, item: ImageSeries) -> Path:
    sidecar = {"EchoTime": float(item.times["te"][0]), "Units": item.meta["units"]}
    write_nifti(folder / "a.nii.gz", item.data, item.affine, sidecar=sidecar)
    return folder / "a.nii.gz"


def _at(name: str, write: Callable[[Path, Any], None]) -> Callable[[Path, Any], Path]:
    def make(folder: Path, item: Any) -> Path:
        write(folder / name, item)
        return folder / name

    return make


WRITE: dict[str, Callable[[Path, Any], Path]] = {
    "nifti": _nifti_source,
    "npy": _at("a.npy", lambda p, item: write_npy(p, item.data)),
    "cfl": _at("a.cfl", write_cfl),
    "parametric-map": _at("a.dcm", lambda p, item: write_parametric_map(p, item, quantity="QSM", unit="1")),
    "bids": _bids_source,
    "ismrmrd": _at("a.h5", write_ismrmrd),
    "fastmri": _at("b.h5", lambda p, item: write_fastmri(p, [item])),
}
"""How a source of each kind is made."""
TARGET = {"nifti": "out.nii", "npy": "out.npy", "cfl": "out.cfl", "parametric-map": "out.dcm", "bids": "out"} | {
    "ismrmrd": "out.mrd", "fastmri": "out.h5",
}  # fmt: skip
IMAGE_KEEPS = {
    "nifti": {"values", "affine", "te"},
    "npy": {"values"},
    "cfl": {"values"},
    "parametric-map": {"values", "affine"},
    "bids": {"values", "affine", "te"},
}
KSPACE_KEEPS = {
    "ismrmrd": {"values", "mask", "affine", "fov", "te", "tr", "noise", "field"},
    "fastmri": {"values", "mask", "affine", "fov", "te", "tr", "noise", "field"},
    "cfl": {"values", "mask"},
    "npy": {"values", "mask"},
}


def _read_map(kind: str, path: Path) -> ImageSeries:
    if kind == "cfl":
        return read_cfl(path, kind="images")
    if kind == "bids":
        (image,) = path.rglob("*_M0map.nii.gz")
        return read_nifti(image)
    return read_npy(path) if kind == "npy" else medcore.open(path)


def _read_scan(kind: str, path: Path) -> KSpace:
    if kind == "cfl":
        return read_cfl(path, kind="kspace")
    return read_npy_kspace(path) if kind == "npy" else medcore.open(path)


def _compare(before: Any, after: Any, keeps: set[str]) -> None:
    for name in keeps:
        if name == "values":
            assert np.array_equal(after.data, before.data), name
        elif name == "affine":  # formats store it in single precision or as decimal text
            np.testing.assert_allclose(after.affine, before.affine, rtol=2e-6, atol=1e-7)
        elif name in ("te", "tr"):
            np.testing.assert_allclose(after.times[name], before.times[name], rtol=1e-11)
        elif name == "mask":
            assert (after.mask is None) == (before.mask is None)
            assert before.mask is None or np.array_equal(after.mask, before.mask)
        elif name == "fov":
            np.testing.assert_allclose(after.fov, before.fov, rtol=1e-9)
        elif name == "noise":
            assert np.array_equal(after.noise, before.noise)
        else:
            assert after.field_strength == before.field_strength


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("source", "target"), list(itertools.product(IMAGE_KEEPS, repeat=2)))
@settings(max_examples=3)
@given(arguments=maps())
def test_images(source: str, target: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    item = ImageSeries(**arguments)
    folder = _fresh(tmp_path / "work")
    out = folder / "result" / TARGET[target]
    options = Options(quantity="M0map" if target == "bids" else "QSM", unit="arbitrary" if target == "bids" else "1", subject="01")
    reading = {"kind": "images"} if source == "cfl" else {"contrast_axis": 0} if source == "npy" else {}
    done = convert(WRITE[source](folder, item), out, to=target, options=options, **reading)
    kept = IMAGE_KEEPS[source] & IMAGE_KEEPS[target]
    _compare(item, _read_map(target, out), kept)
    assert ("te" in IMAGE_KEEPS[target]) or source not in ("nifti", "bids") or any("times" in fact for fact in done.lost)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(KSPACE_KEEPS, repeat=2)))
@settings(max_examples=4)
@given(arguments=scans())
def test_k_space(source: str, target: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    item = KSpace(**arguments)
    folder = _fresh(tmp_path / "work")
    out = folder / "result" / TARGET[target]
    reading = {"kind": "kspace"} if source == "cfl" else {}
    done = convert(WRITE[source](folder, item), out, to=target, **reading)
    _compare(item, _read_scan(target, out), KSPACE_KEEPS[source] & KSPACE_KEEPS[target])
    if "noise" in KSPACE_KEEPS[source] - KSPACE_KEEPS[target]:
        assert {"noise scan", "field strength", "times (te, tr)"} <= set(done.lost)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "float32", "float64", "complex64", "bool"])
@settings(max_examples=15)
@given(data=st.data())
def test_nifti_keeps_every_type_shape_and_place(dtype: str, data: st.DataObject, tmp_path: Path) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=4, max_side=5))
    inexact = {"elements": {"min_value": -1e6, "max_value": 1e6}} if dtype.startswith("float") else {}
    if dtype == "complex64":
        inexact = {"elements": st.complex_numbers(max_magnitude=1e6, width=64)}
    if dtype == "int32":  # what float32 holds exactly
        inexact = {"elements": st.integers(-(2**24), 2**24)}
    array = data.draw(hnp.arrays(dtype, shape, **inexact))
    affine = data.draw(affines())
    path = _fresh(tmp_path / "work") / data.draw(st.sampled_from(["a.nii", "a.nii.gz"]))
    write_nifti(path, array, affine)
    found = read_nifti(path)
    expected = array.astype(np.complex64 if dtype == "complex64" else np.float32)
    assert np.array_equal(found.data, expected if array.ndim == 4 else expected[None])
    np.testing.assert_allclose(found.affine, affine, rtol=2e-6, atol=1e-7)


@settings(max_examples=60)
@given(data=st.data())
def test_arrays_keep_every_type_and_shape(data: st.DataObject, tmp_path: Path) -> None:
    dtype = data.draw(st.sampled_from(["uint8", "int16", "float32", "float64", "complex64", ">f4", "bool"]))
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=5, max_side=4)))
    array = data.draw(st.sampled_from([array, np.asfortranarray(array), array[::-1]]))
    path = _fresh(tmp_path / "work") / "a.npy"
    write_npy(path, array)
    again = np.load(path, allow_pickle=False)
    assert again.dtype == array.dtype
    assert again.tobytes() == np.ascontiguousarray(array).tobytes()


def test_what_a_derivative_names_is_found_again(tmp_path: Path) -> None:
    item = ImageSeries(data=np.ones((1, 2, 3, 4), np.float32), affine=np.diag([1e-3, 1e-3, 1e-3, 1]))
    write_nifti(tmp_path / "a.nii", item.data, item.affine)
    convert(tmp_path / "a.nii", tmp_path / "maps", to="bids", options=Options(quantity="T1map", subject="07"))
    assert describe(tmp_path / "maps")["format"] == "bids-folder"
    assert find_faults(tmp_path / "maps") == []
    assert (tmp_path / "maps" / "sub-07" / "anat" / "sub-07_T1map.nii.gz").is_file()
