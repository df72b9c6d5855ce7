"""The maps of one subject or session: every collection fitted, written under BIDS names in one step."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from medcore.atomic import atomic_directory
from medcore.errors import InputError
from medcore.io import ImageSeries
from medcore.io.bids import Collection, Name, read_collection, source_uris
from medcore.provenance import RunRecord
from puq_qmri.image_fit import FitSettings, PreparedFit, fit_prepared, prepare_fit
from puq_qmri.inputs import open_b1
from puq_qmri.report import maps_report
from puq_qmri.results import REPORT, write_maps
from puq_qmri.studies.plan import StudySettings, Unit, find_b1


def fit_unit(unit: Unit, output: Path, settings: StudySettings) -> dict[str, Any]:
    """Fit every collection of a subject or session and write ``OUT/sub-XX[/ses-YY]`` in one step; an earlier result is replaced.

    Parameters
    ----------
    unit
        See :func:`puq_qmri.studies.plan.plan_study`.
    output
        Data set of derivatives.
    settings
        Of the fits.

    Returns
    -------
    dict
        Content of ``run.json``.

    Raises
    ------
    InputError, NumericalError, OutputError
        If a collection cannot be read or fitted, or the result not be written.
    """
    if not unit.collections:
        raise InputError(unit.name, "has no collection of quantitative MRI", "choose other labels or kinds")
    b1 = find_b1(unit) if settings.b1 == "auto" else None
    files = [path for collection in unit.collections for path in collection.files]
    record = RunRecord(
        command="puq-qmri bids participant", settings=settings, inputs=[*files, *([b1] if b1 else [])], device=settings.device
    )
    several = len(unit.collections) > 1
    fits = []
    for collection in unit.collections:
        ready, wanted = _prepared(read_collection(collection, part=settings.part), settings, b1)
        fits.append((collection, ready, *fit_prepared(ready, wanted)))
    record.extra = {
        "collections": [
            {"collection": c.name, "suffix": c.suffix, "label": label_of(c), "report": _report_name(c, several), **facts}
            for c, _, _, facts in fits
        ]
    }
    with atomic_directory(output / unit.home, force=True) as folder:
        (folder / "anat").mkdir()
        content = record.write(folder)
        for collection, ready, result, _ in fits:
            used = [*collection.files, *([b1] if b1 and ready.known else [])]
            sources = {"Sources": source_uris(used, output, unit.root)}
            write_maps(folder / "anat", result, ready.series, prefix=_prefix(collection, several), extra=sources)
            title = f"{ready.model} fit of {collection.name}"
            page = maps_report(title, result, ready.series, content, sigma=ready.deviation)
            page.write(folder / _report_name(collection, several))
    return content


def _prepared(series: ImageSeries, settings: StudySettings, b1: Path | None) -> tuple[PreparedFit, FitSettings]:
    """What a fit needs; the map of B1 only for models that know it."""
    shared = {f.name for f in dataclasses.fields(FitSettings)} & {f.name for f in dataclasses.fields(StudySettings)} - {"b1"}
    wanted = FitSettings(**{name: getattr(settings, name) for name in shared})
    ready = prepare_fit(series, None, wanted)
    if b1 is not None and any(p.name == "b1" for p in ready.model.known):
        ready = dataclasses.replace(ready, known={"b1": open_b1(b1, ready.series)})
    return ready, wanted


def label_of(collection: Collection) -> str:
    """The name of a collection without subject and session, alike for all subjects: ``MESE``, ``acq-fine_MESE``."""
    entities = {key: value for key, value in collection.entities.items() if key not in {"sub", "ses"}}
    return Name(entities=entities, suffix=collection.suffix, extension="").render()


def _prefix(collection: Collection, several: bool) -> str:
    """What the names of its maps begin with; among several collections the kind is part of ``acq-``, since all have an M0map."""
    entities = dict(collection.entities)
    if several:
        entities["acq"] = entities.get("acq", "") + collection.suffix
    return Name(entities=entities, suffix="", extension="").render()


def _report_name(collection: Collection, several: bool) -> str:
    return f"report_{label_of(collection)}.html" if several else REPORT
