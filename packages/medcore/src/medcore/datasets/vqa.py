"""Questions about images, with answers: JSON Lines beside the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medcore.atomic import sha256_file
from medcore.datasets.base import AnnotatedImages, Annotation, DatasetCard, Pixels, count_splits, tally
from medcore.datasets.images import file_inside, files_in, folder_of, read_image
from medcore.datasets.labels import choose_split
from medcore.datasets.origin import find_origin
from medcore.datasets.strict_json import check_text
from medcore.datasets.tolerance import SampleError, spare
from medcore.errors import InputError
from medcore.io.json_object import parse_object
from medcore.io.limits import existing_file

MAX_LINE_BYTES = 10_000_000
MAX_BYTES = 2 << 30
MAX_ANSWERS = 100
_KNOWN = {"id", "image", "question", "answer", "choices", "split", "subject"}
_HINT = "correct the line"


class VqaLines(AnnotatedImages):
    """Questions, answers and images in a JSON Lines file.

    Every line is one object::

        {"image": "images/17.png", "question": "Is there fluid?", "answer": "no",
         "choices": ["yes", "no"], "subject": "p4", "split": "test"}

    (on one line). ``image`` (a path that stays in the folder), ``question`` and ``answer`` are needed; ``choices``, ``subject``,
    ``split`` and ``id`` are not. Other fields are not read, which ``card.notes`` tells. Several questions may be asked about one
    image. Empty lines are passed over.

    Where at most 100 different answers occur they are the classes of the data set, so that its card shows how they are balanced.

    Parameters
    ----------
    path
        The ``.jsonl`` file, or a folder that holds one.
    images
        Folder that ``image`` counts from; by default that of the file.
    split
        Which published part; by default all.
    licence, source
        For the card, which else takes the licence from a LICENSE file, see :func:`medcore.datasets.origin.find_origin`.

    Raises
    ------
    InputError
        If the file is empty, damaged or larger than 2 GB, a line is longer than 10 MB, no JSON object, lacks a field, holds NUL or
        half of a surrogate pair, names a file that does not exist or lies outside the folder, or its answer is not among its
        choices. The number of the line is told.
    """

    def __init__(
        self,
        path: str | Path,
        images: str | Path | None = None,
        split: str | None = None,
        licence: str | None = None,
        source: str | None = None,
    ) -> None:
        file = _find_lines(Path(path))
        folder = file.parent if images is None else folder_of(images)
        annotations: list[Annotation] = []
        files: list[Path] = []
        seen: set[str] = set()
        unread: Counter[str] = Counter()
        for number, item in read_lines(file):
            where = f"{file}, line {number}"
            unread.update(str(key)[:40] for key in item if key not in _KNOWN)
            with spare(f"{file.stem}-{number:06d}"):
                image = file_inside(folder, check_text(item.get("image"), "image", where), where)
                made = _annotation(item, f"{file.stem}-{number:06d}", where)
                if made.sample_id in seen:
                    raise SampleError(
                        where, f"has the identifier {made.sample_id!r} twice", "give every sample its own", "repeated"
                    )
                seen.add(made.sample_id)
                files.append(image)
                annotations.append(made)
        if not annotations:
            raise InputError(file, "holds no questions", "give one JSON object a line")
        chosen = choose_split(annotations, split, str(file))
        kept = [annotations[i] for i in chosen]
        self._files = [files[i] for i in chosen]
        answers = tuple(sorted({a.answer for a in annotations if a.answer is not None}))
        classes = answers if len(answers) <= MAX_ANSWERS else ()
        origin = find_origin(file.parent, licence, source)
        many = f"{len(answers)} different answers occur, too many to count each"
        notes = [f"the field {key!r} of {n} lines is not read" for key, n in unread.most_common(20)]
        card = DatasetCard(
            name=file.stem if split is None else f"{file.stem} {split}",
            task="vqa",
            classes=classes,
            ordered=False,
            n_samples=len(kept),
            class_counts=tally(kept, "vqa", classes),
            licence=origin.licence,
            source=origin.source,
            sha256={file.name: sha256_file(file)},
            splits=count_splits(annotations),
            notes=(*notes, *((many,) if not classes else ())),
        )
        super().__init__(kept, card)

    def read_image(self, index: int) -> Pixels:
        """Decode image `index`."""
        return read_image(self._files[index])


def read_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file with their line numbers, one line in memory at a time.

    Raises
    ------
    InputError
        If the file is missing, empty or too large, or a line too long or no JSON object.
    """
    size = existing_file(file).stat().st_size
    if size > MAX_BYTES:
        raise InputError(file, f"has {size} bytes, more than {MAX_BYTES}", "split the file")
    number = 0
    with file.open("rb") as stream:
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"{file}, line {number}", f"has more than {MAX_LINE_BYTES} bytes", "split the line or the file")
            if not line.strip():
                continue
            item: dict[str, Any] | None = None
            with spare(f"line {number}"):
                item = parse_object(line, f"{file}, line {number}")
            if item is not None:
                yield number, item


def looks_like_vqa(file: Path) -> bool:
    """Whether the first line of a file seems to be a question about an image; of a ``.jsonl`` file also a line that is no object."""
    try:
        with file.open("rb") as stream:
            head = stream.read(1 << 16).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return False
    line = head.split(b"\n", 1)[0]
    fields = sum(key in line for key in (b'"image"', b'"question"', b'"answer"'))
    if line.startswith(b"{") and fields > 1:
        return True
    if file.suffix.lower() != ".jsonl":
        return False
    try:
        parse_object(line, "")
    except InputError:
        return True  # a damaged file goes to its reader, which says what is wrong with it
    return False


def _find_lines(path: Path) -> Path:
    if not path.is_dir():
        return existing_file(path)
    found = files_in(path, (".jsonl",))
    if len(found) != 1:
        names = ", ".join(f.name for f in found[:10]) or "no .jsonl file"
        raise InputError(path, f"holds {names}", "give the file itself" if found else "add one JSON object a line")
    return found[0]


def _annotation(item: dict[str, Any], name: str, where: str) -> Annotation:
    question, answer = (check_text(item.get(key), key, where) for key in ("question", "answer"))
    choices: tuple[str, ...] = ()
    if item.get("choices") is not None:
        listed = item["choices"]
        if not isinstance(listed, list) or len(listed) < 2:
            raise InputError(where, f"has choices = {ascii(listed)[:60]}", "give a list of two or more texts")
        choices = tuple(check_text(c, "choices", where) for c in listed)
        if len(set(choices)) < len(choices) or answer not in choices:
            problem = "repeats a choice" if len(set(choices)) < len(choices) else f"has the answer {answer[:60]!r}, no choice"
            raise SampleError(where, problem, _HINT, "bad-entry" if len(set(choices)) < len(choices) else "unknown-label")
    optional = {key: check_text(item[key], key, where) for key in ("id", "subject", "split") if item.get(key) is not None}
    return Annotation(
        sample_id=optional.get("id", name),
        question=question,
        answer=answer,
        choices=choices,
        subject=optional.get("subject"),
        split=optional.get("split"),
    )
