"""Bad input: NIfTI images, their sidecars, and BIDS data sets (catalogue N1-N16, B1-B10)."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from corpus_case import Case

from medcore.io import write_nifti

AFFINE = np.diag([1e-3, 1e-3, 2e-3, 1.0])
CONVERT = ("convert", "{path}", "{out}")
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, SROW = 40, 70, 76, 108, 112, 280


def _good(folder: Path, name: str = "image.nii", contrasts: int = 0, sidecar: dict[str, Any] | None = None) -> Path:
    shape = (contrasts, 4, 5, 6) if contrasts else (4, 5, 6)
    write_nifti(folder / name, np.arange(np.prod(shape), dtype=np.float32).reshape(shape), AFFINE, sidecar=sidecar)
    return folder / name


def _bytes(content: bytes, name: str = "image.nii") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _changed(change: Callable[[bytearray], Any], name: str = "image.nii") -> Callable[[Path], Path]:
    """A good file whose bytes `change` changes or replaces."""

    def make(folder: Path) -> Path:
        path = _good(folder, name)
        content = bytearray(path.read_bytes())
        path.write_bytes(change(content) or content)
        return path

    return make


def _put(offset: int, kind: str, *values: float) -> Callable[[Path], Path]:
    def change(content: bytearray) -> None:
        struct.pack_into(f"<{len(values)}{kind}", content, offset, *values)

    return _changed(change)


def _flip_checksum(content: bytearray) -> None:
    content[-8] ^= 0xFF


def _bomb(folder: Path) -> Path:
    """A header that claims 800 MB and a gzip stream that delivers them from under a megabyte."""
    header = bytearray(_good(folder, "a.nii").read_bytes()[:352])
    (folder / "a.nii").unlink()
    struct.pack_into("<8h", header, DIM, 3, 600, 600, 600, 1, 1, 1, 1)
    path = folder / "bomb.nii.gz"
    with gzip.open(path, "wb", compresslevel=9) as stream:
        stream.write(header)
        block = bytes(1 << 20)
        for _ in range(825):
            stream.write(block)
    return path


def _voxels(value: float) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import nibabel

        data = np.ones((6, 5, 4), np.float32)
        data[1, 2, 3] = value
        nibabel.save(nibabel.Nifti1Image(data, np.diag([1, 1, 2, 1])), folder / "image.nii")
        return folder / "image.nii"

    return make


def _sidecar(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = _good(folder, contrasts=2)
        path.with_suffix(".json").write_text(text)
        return path

    return make


def _mask_elsewhere(folder: Path) -> Path:
    _good(folder)
    moved = AFFINE.copy()
    moved[0, 3] = 0.05
    write_nifti(folder / "mask.nii", np.ones((4, 5, 6), np.uint8), moved)
    return folder


def _tree(
    times: tuple[Any, ...] = (0.01, 0.02, 0.03),
    suffix: str = "MESE",
    change: Callable[[Path], Any] | None = None,
) -> Callable[[Path], Path]:
    """A data set with one collection, which `change` then spoils."""
    entity, key = {"MESE": ("echo", "EchoTime"), "IRT1": ("inv", "InversionTime")}[suffix]

    def make(folder: Path) -> Path:
        root = folder / "data"
        for number, value in enumerate(times, 1):
            name = f"sub-01_{entity}-{number}_{suffix}.nii.gz"
            sidecar = None if value is None else {key: value}
            path = root / "sub-01" / "anat" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _good(path.parent, name, sidecar=sidecar)
        (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.11.1"}))
        if change is not None:
            change(root / "sub-01" / "anat")
        return root

    return make


def _drop(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def _other_shape(folder: Path) -> None:
    path = folder / "sub-01_echo-2_MESE.nii.gz"
    write_nifti(path, np.ones((4, 5, 7), np.float32), AFFINE, sidecar={"EchoTime": 0.02}, force=True)


def _link_out(folder: Path) -> None:
    image = folder / "sub-01_echo-2_MESE.nii.gz"
    outside = folder.parents[2] / "outside.nii.gz"
    image.rename(outside)
    image.symlink_to(outside)


def _link_folder(folder: Path) -> None:
    outside = folder.parents[2] / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)


def _link_sidecar(folder: Path) -> None:
    sidecar = folder / "sub-01_echo-2_MESE.json"
    outside = folder.parents[2] / "outside.json"
    sidecar.rename(outside)
    sidecar.symlink_to(outside)


def _link_to_itself(folder: Path) -> None:
    image = folder / "sub-01_echo-2_MESE.nii.gz"
    image.unlink()
    image.symlink_to(image)


def _null_time(folder: Path) -> None:
    (folder / "sub-01_echo-2_MESE.json").write_text('{"EchoTime": null}')


def _two_sidecars(folder: Path) -> None:
    (folder / "sub-01_MESE.json").write_text('{"FlipAngle": 90}')


def _half(name: str) -> Callable[[Path], Path]:
    """One half of a pair without the other."""

    def make(folder: Path) -> Path:
        import nibabel

        nibabel.save(nibabel.Nifti1Pair(np.ones((6, 5, 4), np.float32), np.eye(4)), folder / "image.hdr")
        for file in ("image.hdr", "image.img"):
            if file != name:
                (folder / file).unlink()
        return folder / name

    return make


def _link_broken(folder: Path) -> None:
    image = folder / "sub-01_echo-2_MESE.nii.gz"
    image.unlink()
    image.symlink_to(".git/annex/object")


def _link_cycle(folder: Path) -> None:
    (folder / "again").symlink_to(folder.parents[1])


def _named_for_another(folder: Path) -> None:
    for file in list(folder.glob("sub-01_echo-2*")):
        file.rename(folder / file.name.replace("sub-01", "sub-02"))


def _bad_entity(folder: Path) -> None:
    for file in list(folder.glob("sub-01_echo-2*")):
        file.rename(folder / file.name.replace("echo-2", "echo-..2"))


def _deep(depth: int) -> str:
    return '{"a": ' + "[" * depth + "]" * depth + "}"


CASES: list[Case] = [
    Case(name="N1 empty", make=_bytes(b""), words="is empty", command=CONVERT),
    Case(name="N2 text", make=_bytes(b"this is no image\n" * 40), words="is a|is of no kind|data set|text", command=CONVERT),
    Case(name="N3 header only", make=_changed(lambda c: c[:348]), words="is cut|no kind", command=CONVERT),
    Case(name="N4 cut in the voxels", make=_changed(lambda c: c[:-33]), words="is cut: it has", command=CONVERT),
    Case(name="N4 header of a pair alone", make=_half("image.hdr"), words="put image.img beside it", command=CONVERT),
    Case(name="N4 voxels of a pair alone", make=_half("image.img"), words="no kind", command=CONVERT),
    Case(name="N5 gzip cut", make=_changed(lambda c: c[:-40], "i.nii.gz"), words="cannot be decompressed|is cut", command=CONVERT),
    Case(name="N6 gzip with a wrong checksum", make=_changed(_flip_checksum, "i.nii.gz"), words="CRC", command=CONVERT),
    Case(name="N7 gzip bomb", make=_bomb, words="claims 864000000 bytes", command=CONVERT),
    Case(name="N8 dimension 0", make=_put(DIM + 2, "h", 0), words="claims the shape|dim", command=CONVERT),
    Case(name="N8 dimension -8", make=_put(DIM + 2, "h", -8), words="claims the shape|dim", command=CONVERT),
    Case(name="N8 dimensions 32767^3", make=_put(DIM, "h", 3, 32767, 32767, 32767), words="claims", command=CONVERT),
    Case(name="N8 nine axes", make=_put(DIM, "h", 9), words="dim|axes", command=CONVERT),
    Case(name="N9 unknown data type", make=_put(DATATYPE, "h", 77), words="type", command=CONVERT),
    Case(name="N10 slope infinite", make=_put(SLOPE, "f", np.inf), words="slope|infinite|scl", command=CONVERT),
    Case(name="N11 offset NaN", make=_put(VOX_OFFSET, "f", np.nan), words="data at byte nan", command=CONVERT),
    Case(name="N12 affine NaN", make=_put(SROW, "f", np.nan), words="affine", command=CONVERT),
    Case(name="N12 affine singular", make=_put(SROW, "f", *[0.0] * 8), words="singular", command=CONVERT),
    Case(name="N13 voxel size 0", make=_put(PIXDIM + 4, "f", 0.0, 0.0, 0.0), words="pixdim|voxel|fields|size", command=CONVERT),
    Case(
        name="N14 four axes where three are due",
        make=_tree(change=lambda f: _good(f, "sub-01_echo-4_MESE.nii", 2, {"EchoTime": [0.04, 0.05]})),
        words="holds 2 images",
        expect="reported",
    ),
    Case(
        name="N15 voxels NaN",
        make=_voxels(np.nan),
        words=r"1 values are no numbers, the first at index \(0, 3, 2, 1\)",
        expect="reported",
    ),
    Case(name="N15 voxels infinite", make=_voxels(np.inf), words="infinite", command=CONVERT),
    Case(
        name="N16 mask elsewhere",
        make=_mask_elsewhere,
        words="lies elsewhere than",
        command=("metrics", "{path}/image.nii", "{path}/image.nii", "--mask", "{path}/mask.nii"),
    ),
    Case(name="B1 missing sidecar", make=_tree((0.01, None, 0.03)), words="has no EchoTime", expect="reported"),
    Case(name="B1 missing sidecar, converted", make=_tree((0.01, None, 0.03)), words="has no EchoTime", command=CONVERT),
    Case(name="B1 no time in a sidecar", make=_tree(change=_null_time), words="has no EchoTime", command=CONVERT),
    Case(
        name="B1 two sidecars for one image",
        make=_tree(change=_two_sidecars),
        words="has two sidecars at one level",
        command=CONVERT,
    ),
    Case(name="B2 echo times in ms", make=_tree((10, 20, 30)), words="looks like milliseconds", command=CONVERT),
    Case(name="B3 inversion time 0", make=_tree((0, 0.5, 1.0), "IRT1"), words="InversionTime = 0", command=CONVERT),
    Case(name="B3 inversion time negative", make=_tree((0.1, -0.5, 1.0), "IRT1"), words="InversionTime = -0.5", command=CONVERT),
    Case(name="B3 inversion time twice", make=_tree((0.1, 0.5, 0.5), "IRT1"), words="two images of one ti", command=CONVERT),
    Case(name="B3 times out of order", make=_tree((1.0, 0.1, 0.5), "IRT1"), words="sorted by ti", expect="reported"),
    Case(name="B4 NaN in a sidecar", make=_sidecar('{"EchoTime": NaN}'), words="holds NaN", command=CONVERT),
    Case(name="B4 key twice", make=_sidecar('{"EchoTime": 0.1, "EchoTime": 0.2}'), words="'EchoTime' twice", command=CONVERT),
    Case(name="B4 deep sidecar", make=_sidecar(_deep(100_000)), words="is not valid JSON", command=CONVERT),
    Case(name="B4 sidecar is a list", make=_sidecar("[1, 2]"), words="holds list, not an object", command=CONVERT),
    Case(name="B5 missing echo", make=_tree(change=_drop("sub-01_echo-2_MESE.nii.gz")), words="lacks echo 2 of 3", command=CONVERT),
    Case(name="B6 other shape", make=_tree(change=_other_shape), words="another shape or position", command=CONVERT),
    Case(name="B7 link out of the data set", make=_tree(change=_link_out), words="leads out of the data set", command=CONVERT),
    Case(name="B7 folder that leads out", make=_tree(change=_link_folder), words="anat: is a link that leads out", command=CONVERT),
    Case(
        name="B7 sidecar that leads out", make=_tree(change=_link_sidecar), words="json: is a link that leads out", command=CONVERT
    ),
    Case(name="B7 link to itself", make=_tree(change=_link_to_itself), words="is a link to nothing", command=CONVERT),
    Case(
        name="B8 output inside the input",
        make=_tree(),
        words="lies in the source folder",
        command=("convert", "{path}", "{path}/sub-01/anat/sub-01_T2w.nii.gz"),
    ),
    Case(name="B7 broken link", make=_tree(change=_link_broken), words="is a link to nothing", command=CONVERT),
    Case(name="B7 cycle of links", make=_tree(change=_link_cycle), words="no faults found", expect="read"),
    Case(name="B9 named for another subject", make=_tree(change=_named_for_another), words="another subject", command=CONVERT),
    Case(
        name="B9 dots in the subject asked for",
        make=_tree(),
        words="is no sub label",
        command=(*CONVERT, "--subject", "../../etc"),
    ),
    Case(name="B10 unknown participant", make=_tree(), words="which has 01; choose", command=(*CONVERT, "--subject", "02")),
    Case(name="B9 dots in a label", make=_tree(change=_bad_entity), words="'echo-..2' in its name", command=CONVERT),
]
