"""Every writer of the package in one table: how it writes generation 1 or 2 of a result, and how that is read back."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dicom_files import classic, save
from PIL import Image

from medcore.atomic import atomic_directory, sha256_file, verify_directory, write_bytes, write_json
from medcore.io import (
    ImageSeries,
    KSpace,
    read_cfl,
    read_dicom,
    read_fastmri,
    read_ismrmrd,
    read_nifti,
    write_cfl,
    write_fastmri,
    write_ismrmrd,
    write_nifti,
)
from medcore.io.bids import ParameterMap, write_derivative
from medcore.io.npy import load_array, write_npy
from medcore.io.parametric_map import read_parametric_map, write_parametric_map
from medcore.report import Report

AFFINE = np.diag([1e-3, 2e-3, 3e-3, 1.0])
SHAPE = (2, 4, 48, 48)
"""Images of 74 KB: enough for a disk to fill up in the middle."""


@dataclass(frozen=True, kw_only=True)
class Writer:
    """A writer.

    Attributes
    ----------
    write
        ``write(inputs, out, generation, force)`` makes its outputs in the folder `out`.
    read
        ``read(out)`` is the generation that lies there; it raises or fails an assertion if that is of no one generation.
    outputs
        Names in `out`; a folder stands for what is below it.
    beside
        Which of them may be absent after a death between two renamings.
    second_lacks
        Those that generation 2 does not have.
    prepare
        Makes what `write` reads, once.
    """

    write: Callable[[Path, Path, int, bool], None]
    read: Callable[[Path], int]
    outputs: tuple[str, ...]
    beside: tuple[str, ...] = ()
    second_lacks: tuple[str, ...] = ()
    prepare: Callable[[Path], None] | None = None


def values(generation: int) -> np.ndarray:
    """Images that gzip cannot shrink, of one sign: that of their generation."""
    noise = np.random.default_rng(generation).uniform(0.5, 1.0, SHAPE).astype(np.float32)
    return noise if generation == 1 else -noise


def generation_of(array: np.ndarray) -> int:
    for generation in (1, 2):
        if np.array_equal(array, values(generation)):
            return generation
    raise AssertionError("values of neither generation")


def kspace(generation: int) -> KSpace:
    data = values(generation)[:, None].astype(np.complex64)
    return KSpace(data=data, matrix=SHAPE[1:], fov=(0.1, 0.2, 0.2), times={"te": [0.01 * generation, 0.03]})


def _command(*arguments: object, force: bool) -> None:
    """Run ``medcore`` in this process; leaves it with SystemExit."""
    from medcore.cli import main

    sys.argv = ["medcore", *map(str, arguments), *(["--force"] if force else [])]
    main()


def _write_nifti(_: Path, out: Path, generation: int, force: bool) -> None:
    write_nifti(out / "a.nii.gz", values(generation), AFFINE, sidecar={"EchoTime": [0.01 * generation, 0.03]}, force=force)


def _read_nifti(out: Path) -> int:
    series = read_nifti(out / "a.nii.gz")
    generation = generation_of(series.data)
    assert not series.times or series.times["te"][0] == 0.01 * generation, "the sidecar of another generation"
    return generation


def _write_bare_nifti(_: Path, out: Path, generation: int, force: bool) -> None:
    """Generation 1 has a sidecar, generation 2 none."""
    sidecar = {"EchoTime": [0.01, 0.03]} if generation == 1 else None
    write_nifti(out / "a.nii", values(generation), AFFINE, sidecar=sidecar, force=force)


def _read_bare_nifti(out: Path) -> int:
    series = read_nifti(out / "a.nii")
    generation = generation_of(series.data)
    assert not series.times or generation == 1, "the sidecar of another generation"
    return generation


def _write_folder(_: Path, out: Path, generation: int, force: bool) -> None:
    with atomic_directory(out / "result", force=force) as folder:
        (folder / "maps").mkdir()
        for name in "ab":
            np.save(folder / "maps" / f"{name}.npy", values(generation))


def _read_folder(out: Path) -> int:
    verify_directory(out / "result")
    found = {generation_of(np.load(out / "result" / "maps" / f"{name}.npy")) for name in "ab"}
    assert len(found) == 1, "two generations in one folder"
    return found.pop()


def _prepare_images(inputs: Path) -> None:
    for generation in (1, 2):
        write_nifti(inputs / f"{generation}.nii", values(generation), AFFINE, sidecar={"EchoTime": [0.01 * generation, 0.03]})


def _prepare_kspace(inputs: Path) -> None:
    for generation in (1, 2):
        write_ismrmrd(inputs / f"{generation}.h5", kspace(generation))


def _json(generation: int) -> dict[str, Any]:
    return {"generation": generation, "text": "x" * 100_000}


def _of(written: Callable[[Path, int, bool], None]) -> Callable[[Path, Path, int, bool], None]:
    """A writer that reads nothing."""
    return lambda _, out, generation, force: written(out, generation, force)


def _converted(suffix: str) -> Callable[[Path, Path, int, bool], None]:
    def write(inputs: Path, out: Path, generation: int, force: bool) -> None:
        source = next(inputs.glob(f"{generation}.*[!n]"))
        _command("convert", source, out / f"a{suffix}", force=force)

    return write


def _slices(generation: int) -> list[KSpace]:
    array = values(generation)[0, :, None, None, None].astype(np.complex64)
    return [KSpace(data=plane, matrix=(1, *SHAPE[2:]), fov=(0.005, 0.2, 0.2)) for plane in array]


def _read_slices(out: Path) -> int:
    planes = [read_fastmri(out / "a.h5", slice_index=i).data[0, 0, 0].real for i in range(SHAPE[1])]
    return next(g for g in (1, 2) if np.array_equal(np.stack(planes), values(g)[0]))


def _write_cfl(_: Path, out: Path, generation: int, force: bool) -> None:
    """Both generations have coil maps, which tell it too."""
    maps = np.full((1, *SHAPE[1:]), generation, np.complex64)
    write_cfl(out / "a", dataclasses.replace(kspace(generation), csm=maps), force=force)


def _read_cfl(out: Path) -> int:
    if (out / "a.hdr").exists():
        found = read_cfl(out / "a", csm=out / "a_csm", kind="kspace")
        generation = generation_of(found.data[:, 0].real)
        assert found.csm is not None
        assert (found.csm == generation).all(), "coil maps of another generation"
        return generation
    values_of = np.fromfile(out / "a.cfl", "<c8")  # what a death may leave: refused by the reader
    return 1 if values_of[0].real > 0 else 2


def _write_derivative(_: Path, out: Path, generation: int, force: bool) -> None:
    maps = [ParameterMap(suffix=name, data=values(generation)[i]) for i, name in enumerate(("T2map", "M0map"))]
    write_derivative(out / "maps", maps, AFFINE, subject="01", force=force)


def _read_derivative(out: Path) -> int:
    folder = out / "maps" / "sub-01" / "anat"
    assert (out / "maps" / "dataset_description.json").is_file()
    paths = [folder / f"sub-01_{name}.nii.gz" for name in ("T2map", "M0map")]
    died = any(folder.glob(".*"))  # then the second map may still lie in hiding
    found = [read_nifti(path).data[0] for path in (paths[:1] if died and not paths[1].exists() else paths)]
    generation = 1 if found[0][0, 0, 0] > 0 else 2
    assert all(np.array_equal(one, values(generation)[i]) for i, one in enumerate(found)), "maps of two generations"
    return generation


def _write_page(_: Path, out: Path, generation: int, force: bool) -> None:
    page = Report(f"generation {generation}")
    page.text("x" * 100_000)
    page.write(out / "a.html", force=force)


def _write_parametric_map(_: Path, out: Path, generation: int, force: bool) -> None:
    series = ImageSeries(data=values(generation)[:1], affine=AFFINE)
    write_parametric_map(out / "a.dcm", series, quantity="QSM", unit="1", force=force)


def _prepare_dicom(inputs: Path) -> None:
    """Two series of one person, told apart by the value of their pixels."""
    for generation in (1, 2):
        folder = inputs / str(generation)
        folder.mkdir()
        for z in range(3):
            pixels = np.full((64, 64), generation, "<u2").tobytes()
            save(classic(float(z), Rows=64, Columns=64, PixelData=pixels), folder / f"{z}.dcm")


def _read_dicom_folder(out: Path) -> int:
    verify_directory(out / "clean")
    series = read_dicom(out / "clean")
    assert series.data.min() == series.data.max(), "slices of two generations"
    return int(series.data.min())


def _prepare_grades(inputs: Path) -> None:
    rows = ["image,grade"]
    for i in range(300):
        name = f"{i:040d}"
        Image.new("L", (4, 4), i % 250).save(inputs / f"{name}.png")
        rows.append(f"{name},{i % 2}")
    (inputs / "labels.csv").write_text("\n".join(rows) + "\n")


def _write_split(inputs: Path, out: Path, generation: int, force: bool) -> None:
    options = ("--fractions", "0.5,0.5", "--seed", generation, "--no-group-duplicates")
    _command("datasets", "split", inputs, "-o", out / "split.json", *options, force=force)


WRITERS: dict[str, Writer] = {
    "write_bytes": Writer(
        write=_of(lambda out, g, force: write_bytes(out / "a", values(g).tobytes(), force=force)),
        read=lambda out: generation_of(np.frombuffer((out / "a").read_bytes(), np.float32).reshape(SHAPE)),
        outputs=("a",),
    ),
    "write_json": Writer(
        write=_of(lambda out, g, force: write_json(out / "a.json", _json(g), force=force)),
        read=lambda out: int(json.loads((out / "a.json").read_text())["generation"]),
        outputs=("a.json",),
    ),
    "atomic_directory": Writer(write=_write_folder, read=_read_folder, outputs=("result",)),
    "write_npy": Writer(
        write=_of(lambda out, g, force: write_npy(out / "a.npy", values(g), force=force)),
        read=lambda out: generation_of(load_array(out / "a.npy")),
        outputs=("a.npy",),
    ),
    "write_nifti with sidecar": Writer(write=_write_nifti, read=_read_nifti, outputs=("a.nii.gz", "a.json"), beside=("a.json",)),
    "write_nifti without sidecar": Writer(
        write=_write_bare_nifti, read=_read_bare_nifti, outputs=("a.nii", "a.json"), beside=("a.json",), second_lacks=("a.json",)
    ),
    "write_ismrmrd": Writer(
        write=_of(lambda out, g, force: write_ismrmrd(out / "a.h5", kspace(g), force=force)),
        read=lambda out: generation_of(read_ismrmrd(out / "a.h5").data[:, 0].real),
        outputs=("a.h5",),
    ),
    "write_fastmri": Writer(
        write=_of(lambda out, g, force: write_fastmri(out / "a.h5", _slices(g), force=force)), read=_read_slices, outputs=("a.h5",)
    ),
    "write_cfl": Writer(
        write=_write_cfl,
        read=_read_cfl,
        outputs=("a.cfl", "a.hdr", "a_csm.cfl", "a_csm.hdr"),
        beside=("a.hdr", "a_csm.cfl", "a_csm.hdr"),
    ),
    "write_derivative": Writer(write=_write_derivative, read=_read_derivative, outputs=("maps",)),
    "write_parametric_map": Writer(
        write=_write_parametric_map,
        read=lambda out: 1 if read_parametric_map(out / "a.dcm").data[0, 0, 0, 0] > 0 else 2,
        outputs=("a.dcm",),
    ),
    "Report.write": Writer(
        write=_write_page, read=lambda out: 1 if "generation 1" in (out / "a.html").read_text() else 2, outputs=("a.html",)
    ),
    "medcore convert to NIfTI": Writer(
        write=_converted(".nii.gz"),
        read=_read_nifti,
        outputs=("a.nii.gz", "a.json"),
        beside=("a.json",),
        prepare=_prepare_images,
    ),
    "medcore deidentify": Writer(
        write=lambda inputs, out, g, force: _command("deidentify", inputs / str(g), out / "clean", force=force),
        read=_read_dicom_folder,
        outputs=("clean",),
        prepare=_prepare_dicom,
    ),
    "medcore datasets split": Writer(
        write=_write_split,
        read=lambda out: int(json.loads((out / "split.json").read_text())["seed"]),
        outputs=("split.json",),
        prepare=_prepare_grades,
    ),
    "medcore convert to ISMRMRD": Writer(
        write=_converted(".h5"),
        read=lambda out: generation_of(read_ismrmrd(out / "a.h5").data[:, 0].real),
        outputs=("a.h5",),
        prepare=_prepare_kspace,
    ),
}


def state(out: Path) -> dict[str, str]:
    """Hash of every visible file below `out`."""
    files = (p for p in sorted(out.rglob("*")) if p.is_file() and not any(n.startswith(".") for n in p.relative_to(out).parts))
    return {p.relative_to(out).as_posix(): sha256_file(p) for p in files}


def hidden(out: Path) -> list[str]:
    """Leftovers in `out`."""
    return [p.relative_to(out).as_posix() for p in out.rglob(".*")]
