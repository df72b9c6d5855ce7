"""Boxes in COCO's JSON: annotations as reference, a list of results as estimate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medcore import metrics
from medcore.comparison.results import Comparison, Measure, chosen, measured
from medcore.comparison.tables import look_up_subjects
from medcore.datasets.coco import SUBJECT_KEYS
from medcore.datasets.strict_json import MAX_BYTES, check_number, check_whole, load_json
from medcore.errors import InputError
from medcore.io.json_object import parse_object
from medcore.io.limits import existing_file
from medcore.metrics import Bound

BOX_METRICS = ("mean_average_precision", "ap50", "ap75")
_SCORED = {*BOX_METRICS}


def compare_boxes(
    reference: Path,
    estimate: Path,
    *,
    names: Sequence[str] = (),
    subjects: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare detections with annotations, both in COCO's JSON.

    Parameters
    ----------
    reference
        An object with ``images``, ``annotations`` and ``categories``; crowd regions are refused.
    estimate
        A list of ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}``; or such an object, whose annotations have scores.
        Without scores there are only metrics that need none.
    names
        Metrics; by default :data:`BOX_METRICS`. ``mean_iou`` and ``mean_giou`` take all boxes of an image together, whatever their
        class and score.
    subjects
        A table of samples (``file_name``, or the number of the image) and subjects, or ``each``; by default what the images state as
        ``subject`` or ``patient_id``.
    level, seed
        Level and random seed of the intervals.

    Raises
    ------
    InputError
        If a file is damaged, names an unknown image or category, or holds a box that is none.
    ConfigError
        If a metric is unknown or does not fit.
    """
    content = load_json(reference)
    images = _list(content, "images", reference)
    place = {check_whole(image.get("id"), "id", f"{reference}, images"): i for i, image in enumerate(images)}
    if len(place) != len(images):
        raise InputError(reference, "states an image twice", "give every image its own id")
    known = {check_whole(c.get("id"), "id", f"{reference}, categories") for c in _list(content, "categories", reference)}
    truth = _by_image(_list(content, "annotations", reference), place, known, reference)
    found = _by_image(_results(estimate), place, known, estimate)
    scored = all(s is not None for one in found for s in one["score"])
    columns = [_objects([one["box"] for one in boxes]) for boxes in (truth, found)]
    more = [_objects([one["score"] for one in found]), *(_objects([one["kind"] for one in side]) for side in (truth, found))]
    fits = {n: m for n, m in metrics.registered().items() if m.kind == "detection" and (scored or n not in _SCORED)}
    kept = np.ones(len(images), dtype=np.bool_)
    measures = {
        m.id: Measure(metric=m, statistic=Bound(m), columns=tuple(columns + more if m.id in _SCORED else columns), kept=kept)
        for m in chosen(names, BOX_METRICS if scored else ("mean_iou", "mean_giou"), fits)
    }
    who = _subjects(images, subjects)
    facts: dict[str, Any] = {
        "images": len(images),
        "subjects": len(set(who)) if who else None,
        "boxes": sum(len(one["box"]) for one in truth),
        "detections": sum(len(one["box"]) for one in found),
    }
    results = measured(measures, who, level=level, seed=seed)
    return Comparison(kind="boxes", facts=facts, results=results, measures=measures, subjects=who)


def _list(content: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    found = content.get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InputError(path, f"has no list of objects called {key!r}", "give COCO's JSON")
    return found


def _results(path: Path) -> list[dict[str, Any]]:
    path = existing_file(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(path, f"has {size} bytes, more than {MAX_BYTES}", "give a smaller file")
    raw = path.read_bytes()
    if not raw.lstrip().startswith(b"["):
        return _list(load_json(path), "annotations", path)
    # A list is read by the reader of objects, which is strict.
    return _list(parse_object(b'{"results": ' + raw.strip() + b"}", str(path)), "results", path)


def _by_image(
    records: Sequence[Mapping[str, Any]], place: Mapping[int, int], known: set[int], path: Path
) -> list[dict[str, list[Any]]]:
    """For each image its boxes ``[x0, y0, x1, y1]``, classes and scores."""
    found: list[dict[str, list[Any]]] = [{"box": [], "kind": [], "score": []} for _ in place]
    for i, record in enumerate(records):
        where = f"{path}, box {i + 1}"
        image, kind = (check_whole(record.get(key), key, where) for key in ("image_id", "category_id"))
        if image not in place:
            raise InputError(where, f"is of image {image}, which the reference does not have", "correct the file")
        if kind not in known:
            raise InputError(where, f"is of category {kind}, which the reference does not have", "correct the file")
        if record.get("iscrowd"):
            raise InputError(where, "is a crowd region", "give one box for each object")
        box = record.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            shown = json.dumps(box)[:60]
            raise InputError(where, f"has bbox = {shown}", "give [x, y, width, height]")
        x, y, width, height = (check_number(v, "bbox", where) for v in box)
        if width < 0 or height < 0:
            raise InputError(where, f"has a size of {width:g} x {height:g}", "give [x, y, width, height]")
        score = record.get("score")
        one = found[place[image]]
        one["box"].append([x, y, x + width, y + height])
        one["kind"].append(kind)
        one["score"].append(None if score is None else check_number(score, "score", where))
    return found


def _objects(values: Sequence[Any]) -> np.ndarray:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _subjects(images: Sequence[Mapping[str, Any]], subjects: str | None) -> tuple[str, ...] | None:
    if subjects is not None:
        return look_up_subjects(subjects, [str(image.get("file_name", image["id"])) for image in images])
    key = next((k for k in SUBJECT_KEYS if all(k in image for image in images)), None)
    return tuple(str(image[key]) for image in images) if key else None
