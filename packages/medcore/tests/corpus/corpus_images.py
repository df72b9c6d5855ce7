"""Bad input: arrays in .npz, pictures, archives, JSON Lines, YAML (the last part of catalogue A), and what else data sets are made of."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from corpus_case import Case
from PIL import Image

CARD = ("datasets", "card", "{path}")
CHECK = ("datasets", "check", "{path}")
CONVERT = ("convert", "{path}", "{out}")
QUESTION = {"image": "eye.png", "question": "Is there a drusen?", "answer": "yes"}
Make = Callable[[Path], Path]


def _medmnist(name: str = "pneumoniamnist.npz", **changes: Any) -> Make:
    """A good MedMNIST file, some arrays of which are replaced, or left out if None."""

    def make(folder: Path) -> Path:
        rng = np.random.default_rng(0)
        arrays: dict[str, Any] = {
            "train_images": rng.integers(0, 256, (6, 28, 28), dtype=np.uint8),
            "train_labels": np.array([[0], [1], [1], [0], [1], [1]], dtype=np.uint8),
        }
        np.savez(folder / name, **{k: v for k, v in (arrays | changes).items() if v is not None})
        return folder / name

    return make


def _then(make: Make, change: Callable[[bytes], bytes]) -> Make:
    def changed(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return changed


def _header(shape: str, descr: str = "|u1") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _archive(*members: tuple[str | zipfile.ZipInfo, bytes], name: str = "pneumoniamnist.npz") -> Make:
    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members:
                archive.writestr(member, content)
        return folder / name

    return make


def _array(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def _link() -> zipfile.ZipInfo:
    member = zipfile.ZipInfo("train_labels.npy")
    member.create_system, member.external_attr = 3, 0o120777 << 16
    return member


def _picture(folder: Path, name: str = "eye.png", mode: str = "RGB", side: int = 24) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(folder / name)
    return folder / name


def _flip(content: bytes) -> bytes:
    """Another last byte of the pixel data: the last 16 bytes are its checksum and the closing chunk."""
    return content[:-17] + bytes([content[-17] ^ 1]) + content[-16:]


def _png(width: int, height: int, rows: bytes = b"") -> Make:
    """A PNG file that claims a size and holds `rows`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def make(folder: Path) -> Path:
        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        (folder / "eye.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        return folder / "eye.png"

    return make


def _sixteen_bits(folder: Path) -> Path:
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 90).save(folder / "eye.png")
    return folder / "eye.png"


def _animated(folder: Path) -> Path:
    frames = [Image.new("L", (20, 20), value) for value in (10, 200)]
    frames[0].save(folder / "eye.png", save_all=True, append_images=frames[1:])
    return folder / "eye.png"


def _questions(*lines: dict[str, Any] | bytes) -> Make:
    def make(folder: Path) -> Path:
        _picture(folder)
        parts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        (folder / "vqa.jsonl").write_bytes(b"".join(p + b"\n" for p in parts))
        return folder / "vqa.jsonl"

    return make


def _graded(text: str, picture: str = "eye.png") -> Make:
    def make(folder: Path) -> Path:
        root = folder / "eyes"
        root.mkdir()
        _picture(root, picture)
        (root / "labels.csv").write_text(text)
        return root

    return make


def _copies(folder: Path) -> Path:
    """Two copies of one picture that contradict each other, a black picture, and one that is cut."""
    root = folder / "eyes"
    root.mkdir()
    content = _picture(root, "a.png", side=80).read_bytes()
    (root / "b.png").write_bytes(content)
    (root / "c.png").write_bytes(content[: len(content) // 2])
    Image.new("RGB", (80, 80)).save(root / "d.png")
    (root / "labels.csv").write_text("image,grade\na,0\nb,2\nc,1\nd,0\n")
    return root


def _boxes(corners: str, prologue: str = "") -> Make:
    def make(folder: Path) -> Path:
        root = folder / "cells"
        (root / "Annotations").mkdir(parents=True)
        _picture(root, "cell.png")
        box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners.split(), strict=True))
        text = f"<annotation><filename>cell.png</filename><object><name>RBC</name><bndbox>{box}</bndbox></object></annotation>"
        (root / "Annotations" / "cell.xml").write_text(prologue + text)
        return root

    return make


_ENTITIES = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'
_OUTSIDE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


def _settings(text: str) -> Make:
    """A settings file beside a good data set."""

    def make(folder: Path) -> Path:
        _graded("image,grade\neye,0\n")(folder)
        (folder / "settings.yaml").write_text(text)
        return folder / "eyes"

    return make


CONFIG = (*CARD, "--config", "{path}/../settings.yaml")
_BOMB = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b]\n"
_IMAGES = _array(np.zeros((2, 28, 28), np.uint8))
_LABELS = _array(np.zeros((2, 1), np.uint8))
_PICKLE = _header("(1,)", "|O") + b"cos\nsystem\n(S'touch owned'\ntR."


CASES: list[Case] = [
    Case(name="I1 npz empty", make=_then(_medmnist(), lambda _: b""), words="is empty", command=CARD),
    Case(name="I1 npz cut", make=_then(_medmnist(), lambda c: c[: len(c) // 2]), words="damaged|no data set", command=CARD),
    Case(
        name="I1 npz with changed bytes in its pixels",
        make=_then(_medmnist(), lambda c: c[:2000] + bytes(64) + c[2064:]),
        words="cannot be read.*CRC",
        expect="reported",
        command=CHECK,
    ),
    Case(
        name="I2 npz of objects",
        make=_archive(("train_images.npy", _IMAGES), ("train_labels.npy", _PICKLE)),
        words="object|type",
        command=CARD,
    ),
    Case(name="I3 npz without labels", make=_medmnist(train_labels=None), words="no data set|no split|holds", command=CARD),
    Case(
        name="I3 npz without the split asked for",
        make=_medmnist(),
        words="has no split 'test', it holds train",
        command=(*CARD, "--option", "split=test"),
    ),
    Case(
        name="I4 label out of range",
        make=_medmnist(train_labels=np.full((6, 1), 2, np.uint8)),
        words="label 2 and classes 0 to 1",
        command=CARD,
    ),
    Case(
        name="I4 label negative",
        make=_medmnist("scans.npz", train_labels=np.full((6, 1), -1, np.int8)),
        words="label -1",
        command=CARD,
    ),
    Case(
        name="I5 more labels than images",
        make=_medmnist(train_labels=np.zeros((7, 1), np.uint8)),
        words=r"\(7, 1\) for 6 images",
        command=CARD,
    ),
    Case(
        name="I6 images of floating-point numbers",
        make=_medmnist(train_images=np.zeros((6, 28, 28))),
        words="float64",
        command=CARD,
    ),
    Case(
        name="I7 another MD5 than published",
        make=_medmnist(),
        words="MD5",
        command=(*CARD, "--option", "verify=true"),
    ),
    Case(
        name="I8 shape of 2^31 images",
        make=_archive(("train_images.npy", _header(f"({2**31}, 28, 28)")), ("train_labels.npy", _LABELS)),
        words="claims 1683627180032 bytes",
        command=CARD,
    ),
    Case(
        name="I8 header of npy that never ends",
        make=_archive(("train_images.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 99), ("train_labels.npy", _LABELS)),
        words="damaged|claims",
        command=CARD,
    ),
    Case(name="P1 picture cut", make=_then(_picture, lambda c: c[: len(c) // 2]), words="damaged image"),
    Case(name="P2 decompression bomb", make=_png(60_000, 60_000), words="60000|too many pixels"),
    Case(name="P2 bomb below Pillow's warning", make=_png(11_600, 11_600, bytes(100)), words="pixels|damaged|no image"),
    Case(name="P3 CMYK", make=lambda f: _picture(f, "eye.jpg", "CMYK"), words="no faults", expect="read"),
    Case(name="P3 sixteen bits", make=_sixteen_bits, words="more than 8 bits"),
    Case(name="P3 animated", make=_animated, words="holds 2 frames"),
    Case(name="P4 width 0", make=_png(0, 20), words="no image|damaged|0 x 20"),
    Case(name="P4 black", make=_png(20, 20, bytes(420)), words="one value", expect="reported"),
    Case(name="P4 fewer rows than claimed", make=_png(20, 20, bytes(42)), words="42 of 420 bytes"),
    Case(
        name="P5 text called png",
        make=_then(_picture, lambda _: b"no picture at all\n"),
        words="no image|text|kind",
        command=CONVERT,
    ),
    Case(
        name="Z1 archive with a member outside",
        make=_archive(("../train_images.npy", _IMAGES), ("train_images.npy", _IMAGES), ("train_labels.npy", _LABELS)),
        words=r"\.\./train_images",
        command=CARD,
    ),
    Case(
        name="Z1 archive with an absolute member",
        make=_archive(("/etc/train_images.npy", _IMAGES), ("train_images.npy", _IMAGES), ("train_labels.npy", _LABELS)),
        words="/etc/train_images",
        command=CARD,
    ),
    Case(
        name="Z2 archive with a symbolic link",
        make=_archive(("train_images.npy", _IMAGES), (_link(), b"/etc/passwd")),
        words="link|no array",
        command=CARD,
    ),
    Case(name="J1 bad line", make=_questions(QUESTION, QUESTION, b'{"image": '), words="line 3.*JSON", command=CARD),
    Case(
        name="J2 missing field",
        make=_questions(QUESTION, {"image": "eye.png", "question": "?"}),
        words="line 2.*answer",
        command=CARD,
    ),
    Case(name="J3 NUL", make=_questions(QUESTION | {"answer": "y\0s"}), words="line 1.*NUL", command=CARD),
    Case(
        name="J4 half of a surrogate pair",
        make=_questions(json.dumps(QUESTION).replace("yes", r"\ud800").encode()),
        words="line 1.*surrogate",
        command=CARD,
    ),
    Case(
        name="J5 line of 10 MB",
        make=_questions(QUESTION, QUESTION | {"answer": "a" * 10_000_000}),
        words="line 2.*more than 10000000 bytes",
        command=CARD,
    ),
    Case(name="J6 empty", make=_then(_questions(QUESTION), lambda _: b""), words="is empty", command=CARD),
    Case(
        name="J7 image outside the folder", make=_questions(QUESTION | {"image": "../../etc/passwd"}), words="line 1", command=CARD
    ),
    Case(
        name="J8 key twice",
        make=_questions(b'{"image": "eye.png", "question": "?", "answer": "a", "answer": "b"}'),
        words="twice",
        command=CARD,
    ),
    Case(
        name="T1 grade that is text",
        make=_graded("image,grade\neye,severe\n"),
        words="grade = 'severe' in line 2",
        command=(*CARD, "--kind", "graded"),
    ),
    Case(name="T2 row too long", make=_graded("image,grade\neye,1,2\n"), words="3 cells in line 2", command=CARD),
    Case(name="T3 image that is a path", make=_graded("image,grade\n../eye,1\n"), words="without folders", command=CARD),
    Case(name="T4 image without row", make=_graded("image,grade\neye,1\n", "other.png"), words="not in|no label", command=CARD),
    Case(name="T5 copies that contradict", make=_copies, words="a is grade 0 and b is grade 2", expect="reported", command=CHECK),
    Case(name="T5 black picture", make=_copies, words="d is black everywhere", expect="reported", command=CHECK),
    Case(name="T5 cut picture in a set", make=_copies, words="c cannot be read", expect="reported", command=CHECK),
    Case(name="X1 entity expansion", make=_boxes("1 1 5 5", _ENTITIES), words="document type or entities", command=CARD),
    Case(name="X2 external entity", make=_boxes("1 1 5 5", _OUTSIDE), words="document type or entities", command=CARD),
    Case(name="X3 corner that is no number", make=_boxes("1 1 5 nan"), words="ymax = 'nan'", command=CARD),
    Case(name="X4 box outside the image", make=_boxes("100 100 120 120"), words="outside its image", command=CARD),
    Case(name="X5 box of zero area", make=_boxes("3 3 3 9"), words="zero area", expect="reported", command=CHECK),
    Case(
        name="Y1 tag",
        make=_settings("kind: !!python/object/apply:os.system ['touch owned']\n"),
        words="not valid YAML",
        command=CONFIG,
    ),
    Case(name="Y2 alias bomb", make=_settings(_BOMB), words="aliases are not allowed", command=CONFIG),
    Case(name="Y3 unknown key", make=_settings("knid: graded\n"), words="did you mean 'kind'", command=CONFIG),
    Case(
        name="Y4 wrong type",
        make=_settings("max_pairs: many\n"),
        words="many",
        command=(*CHECK, "--config", "{path}/../settings.yaml"),
    ),
    Case(name="Y5 list instead of a mapping", make=_settings("- kind\n"), words="not a mapping", command=CONFIG),
]
