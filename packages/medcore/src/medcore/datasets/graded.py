"""A CSV table of ordinal grades beside a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medcore.atomic import sha256_file
from medcore.datasets.base import AnnotatedImages, Annotation, DatasetCard, Pixels, class_names, count_classes
from medcore.datasets.images import IMAGE_FOLDERS, ImageFolder, read_image, subfolder
from medcore.datasets.origin import find_origin
from medcore.datasets.tables import Table, find_table, known_column
from medcore.datasets.tolerance import SampleError, spare
from medcore.errors import InputError

IMAGE_COLUMNS = ("image", "image_name", "image_id", "filename", "file_name", "file", "id_code", "id")
GRADE_COLUMNS = ("grade", "retinopathy_grade", "level", "diagnosis", "label", "severity", "score")
SUBJECT_COLUMNS = ("subject", "subject_id", "patient", "patient_id")
_MAX_GRADES = 100


class GradedFolder(AnnotatedImages):
    """Images with one ordinal grade each.

    The folder holds one CSV file with a header; the images (PNG, JPEG, BMP, TIFF) lie beside it or in ``images/``. Every image has
    a row and every row an image. The table names images by file name, with or without suffix.

    Parameters
    ----------
    path
        The folder, or the CSV file in it.
    csv
        Name of the table where the folder holds several.
    image_column, grade_column, subject_column
        Columns of file name, grade and patient. By default the first known name, whatever its case: ``image``, ``image name``, ``id``,
        ...; ``grade``, ``retinopathy grade``, ``level``, ``diagnosis``, ``label``, ...; ``subject``, ``patient id``, ... A column of
        subjects is not needed: every image is then its own subject.
    classes
        Names of the grades, mildest first; by default ``grade 0`` up to the highest that occurs.
    licence, source
        For the card, which else takes the licence from a LICENSE file, see :func:`medcore.datasets.origin.find_origin`.

    Raises
    ------
    InputError
        If a file is missing or damaged, an image has no row or a row no image (the file is named), a name occurs twice or is a path, or a
        grade is not a whole number from 0 on.
    """

    def __init__(
        self,
        path: str | Path,
        csv: str | None = None,
        image_column: str | None = None,
        grade_column: str | None = None,
        classes: Sequence[str] | None = None,
        subject_column: str | None = None,
        licence: str | None = None,
        source: str | None = None,
    ) -> None:
        folder, table = find_table(Path(path), csv)
        origin = find_origin(folder, licence, source)
        images = ImageFolder(subfolder(folder, IMAGE_FOLDERS))
        names = table.column(image_column or known_column(table, IMAGE_COLUMNS, "file names", "image_column"))
        numbers = _grades(table, grade_column or known_column(table, GRADE_COLUMNS, "grades", "grade_column"), classes)
        subject = subject_column or table.find(SUBJECT_COLUMNS)
        subjects = table.column(subject) if subject else None
        where = [f"{table.path}, line {line}" for line in table.lines]
        files: dict[int, Path] = {}
        seen: set[str] = set()
        for i, (name, place) in enumerate(zip(names, where, strict=True)):
            with spare(name[:80] or place):
                file = images.find(name, place)
                if file.stem in seen:
                    twice = f"has the identifier {file.stem!r} twice"
                    raise SampleError(table.path, twice, "give every sample its own", "repeated")
                seen.add(file.stem)
                files[i] = file
        images.refuse_unlabelled(files.values())
        rows = [i for i in files if i in numbers]
        self._files, grades = [files[i] for i in rows], [numbers[i] for i in rows]
        known, faults = _grade_names(grades, classes)
        annotations = [
            Annotation(
                sample_id=files[i].stem,
                label=known[numbers[i]],
                grade=numbers[i],
                subject=subjects[i] if subjects else files[i].stem,
            )
            for i in rows
        ]
        card = DatasetCard(
            name=folder.name,
            task="grading",
            classes=known,
            ordered=True,
            n_samples=len(annotations),
            class_counts=count_classes(known, [known[g] for g in grades]),
            licence=origin.licence,
            source=origin.source,
            sha256={table.path.name: sha256_file(table.path)},
            faults=faults,
        )
        super().__init__(annotations, card)

    def read_image(self, index: int) -> Pixels:
        """Decode image `index`."""
        return read_image(self._files[index])


def _grades(table: Table, column: str, given: Sequence[str] | None) -> dict[int, int]:
    """The grade of every row that has one."""
    count = _MAX_GRADES if given is None else min(len(class_names(given)), _MAX_GRADES)
    found = {}
    table.column(column)  # refuses an unknown column before any row is looked at
    for i, line in enumerate(table.lines):
        with spare(f"line {line}", "unknown-label"):
            grade = table.whole_number(column, i)
            if not 0 <= grade < count:
                problem = f"has the grade {grade} in line {line}, grades are 0 to {count - 1}"
                raise InputError(table.path, problem, "correct the table")
            found[i] = grade
    return found


def _grade_names(grades: Sequence[int], given: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    count = len(class_names(given)) if given is not None else max(grades, default=-1) + 1
    names = class_names(given) if given is not None else tuple(f"grade {g}" for g in range(count))
    return names, tuple(f"{names[g]} has no image" for g in range(count) if g not in set(grades))
