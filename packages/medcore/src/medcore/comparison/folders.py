"""Folders of images, compared file by file: each pair is a sample, and subjects have one or several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medcore.comparison.images import ImageOptions, image_results
from medcore.comparison.results import Comparison, Measure, measured, metric_of
from medcore.comparison.tables import look_up_subjects
from medcore.datasets.images import SUFFIXES
from medcore.errors import InputError

_IMAGES = (".nii.gz", ".nii", ".npy", ".npz", ".dcm", ".par", *SUFFIXES)
_SUBJECT = re.compile(r"(?:^|[/_])sub-([0-9A-Za-z]+)(?=[/_.]|$)")


def compare_folders(
    reference: Path,
    estimate: Path,
    *,
    mask: Path | None = None,
    sd: Path | None = None,
    options: ImageOptions | None = None,
    subjects: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare the images of two folders, file by file; results are means over images, with intervals over subjects.

    Files belong together whose paths inside the folders are equal but for the format. Subjects are those of `subjects`, or the ``sub-``
    labels of BIDS where every path has one; without them there are no intervals. An image without value is left out and counted.

    Parameters
    ----------
    reference, estimate
        The folders; every file of the reference has its partner.
    mask, sd
        Folders of masks and of standard deviations, with the same names; or one mask for all images.
    options
        See :class:`ImageOptions`.
    subjects
        A table of samples (paths inside the folder) and subjects, or ``each``.
    seed
        Random seed of the intervals.

    Raises
    ------
    InputError
        If a file has no partner (it is named) or cannot be compared; see :func:`compare_images`.
    """
    options = options or ImageOptions()
    own = images_below(reference)
    partners = [_partners(reference, own, folder) for folder in (estimate, mask, sd) if folder is not None and folder.is_dir()]
    if mask is not None and not mask.is_dir():
        partners.insert(1, dict.fromkeys(own, mask))
    tables = iter(partners)
    estimates = next(tables)
    masks = next(tables) if mask is not None else {}
    deviations = next(tables) if sd is not None else {}
    rows = []
    for name, file in own.items():
        rows.append(image_results(file, estimates[name], masks.get(name), deviations.get(name), options)[0])
    names = list(own)
    who = _subjects(names, subjects)
    measures, units = {}, {}
    for key in rows[0]:
        values = np.array([np.nan if row[key].value is None else row[key].value for row in rows], dtype=np.float64)
        reasons = [row[key].reason for row in rows if row[key].value is None]
        kept = np.isfinite(values)
        lost = f"no image has a value: {reasons[0]}" if not kept.any() else None
        measures[key] = Measure(metric=metric_of(key), statistic=np.mean, columns=(values,), kept=kept, reason=lost)
        units[key] = rows[0][key].unit
    results = measured(measures, who, level=options.level, seed=seed, units=units)
    for key, result in results.items():
        results[key] = replace(result, note="; ".join(n for n in ("mean over images", result.note) if n))
    facts: dict[str, Any] = {"images": len(names), "subjects": len(set(who)) if who else None, "masked": mask is not None}
    return Comparison(kind=options.kind, facts=facts, results=results, measures=measures, subjects=who)


def images_below(folder: Path) -> dict[str, Path]:
    """The image files below a folder, by their path in it without suffix; hidden files do not count.

    Raises
    ------
    InputError
        If there are none, or two differ only in their suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        inner = path.relative_to(folder)
        suffix = next((s for s in _IMAGES if path.name.lower().endswith(s)), None)
        if suffix is None or any(part.startswith(".") for part in inner.parts):
            continue
        name = inner.as_posix()[: -len(suffix)]
        if name in found:
            raise InputError(folder, f"holds {found[name].name} and {path.name}, which may both be {name!r}", "keep one")
        found[name] = path
    if not found:
        raise InputError(folder, "holds no images", f"give a folder of {', '.join(_IMAGES)} files")
    return found


def _partners(reference: Path, own: dict[str, Path], folder: Path) -> dict[str, Path]:
    theirs = images_below(folder)
    missing = next((name for name in own if name not in theirs), None)
    if missing is not None:
        raise InputError(folder, f"lacks {missing!r}, which {reference} has", "give both folders the same names")
    return theirs


def _subjects(names: Sequence[str], subjects: str | None) -> tuple[str, ...] | None:
    if subjects is not None:
        return look_up_subjects(subjects, names)
    found = [match[1] if (match := _SUBJECT.search(name)) else None for name in names]
    known = tuple(s for s in found if s is not None)
    return known if len(known) == len(names) else None
