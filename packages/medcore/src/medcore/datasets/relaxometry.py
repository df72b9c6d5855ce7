"""Series for relaxometry as a map-style data set: the collections of a BIDS folder, one sample for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medcore.datasets.base import Annotation, DatasetCard, check_index
from medcore.datasets.images import digest
from medcore.errors import InputError
from medcore.io.bids import Collection, bids_faults, find_collections, licence_of, read_collection
from medcore.io.images import ImageSeries


@dataclass(frozen=True, kw_only=True, eq=False)
class RelaxometrySample:
    """One series with its times.

    Attributes
    ----------
    sample_id
        Common part of the names of its files.
    series
        Images (contrast, z, y, x) with times in seconds and angles in radians.
    kind
        Suffix of the collection, for example ``MESE``.
    subject, session
        Labels; the subject keeps what belongs together on one side of a split.
    """

    sample_id: str
    series: ImageSeries
    kind: str
    subject: str
    session: str | None = None


class RelaxometryFolder:
    """The collections (MESE, MEGRE, IRT1, VFA, MP2RAGE) of a BIDS data set.

    Names are read when the data set is made, images when a sample is asked for.

    Parameters
    ----------
    path
        The data set.
    subjects
        Labels; all if not given.
    kinds
        Suffixes; all if not given.
    licence, source
        For the card, where the data set's description does not state the licence.

    Raises
    ------
    InputError
        If it holds no such collection, or a name or label is wrong.
    """

    def __init__(
        self,
        path: str | Path,
        subjects: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        licence: str | None = None,
        source: str | None = None,
    ) -> None:
        root = Path(path)
        self._collections = tuple(find_collections(root, subjects=subjects, suffixes=kinds))
        if not self._collections:
            raise InputError(root, "holds no collection for relaxometry", "name files <entities>_<suffix>.nii.gz as BIDS has it")
        self._root = root
        self._stated = {"licence": licence, "source": source}

    @cached_property
    def card(self) -> DatasetCard:
        """What the data set is; its classes are the kinds of collections.

        All images are read for its hash when it is first asked for, so that a sample of a large data set does not wait for it.
        """
        files = {str(f.relative_to(self._root)): f for c in self._collections for f in c.files}
        return DatasetCard(
            name=self._root.resolve().name,
            task="relaxometry",
            classes=self.classes,
            ordered=False,
            n_samples=len(self._collections),
            class_counts={kind: sum(c.suffix == kind for c in self._collections) for kind in self.classes},
            licence=self._stated["licence"] or licence_of(self._root),
            source=self._stated["source"] or "not stated",
            sha256={"all images": digest(files)},
            faults=tuple(bids_faults(self._root, subjects=sorted({c.subject for c in self._collections}))),
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The kinds of collections that are there."""
        return tuple(sorted({c.suffix for c in self._collections}))

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """Name, kind and subject of each sample, in order."""
        return tuple(Annotation(sample_id=c.name, label=c.suffix, subject=c.subject) for c in self._collections)

    @property
    def collections(self) -> tuple[Collection, ...]:
        """The samples without their pixels, in order."""
        return self._collections

    def __len__(self) -> int:
        return len(self._collections)

    def __getitem__(self, index: int, /) -> RelaxometrySample:
        collection = self._collections[check_index(index, len(self))]
        return RelaxometrySample(
            sample_id=collection.name,
            series=read_collection(collection),
            kind=collection.suffix,
            subject=collection.subject,
            session=collection.session,
        )

    def __iter__(self) -> Iterator[RelaxometrySample]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"RelaxometryFolder({self._root.resolve().name!r}, {len(self)} collections)"
