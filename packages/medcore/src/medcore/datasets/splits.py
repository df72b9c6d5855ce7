"""Parts of a data set: subsets, and splits that keep subjects together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from medcore.datasets.base import Annotation, Dataset, DatasetCard, Sample, check_index, tally
from medcore.datasets.groups import Groups
from medcore.errors import ConfigError, InputError


class Subset:
    """Some samples of a data set, in the order given; images are decoded by the data set itself.

    Parameters
    ----------
    dataset
        Where the samples come from.
    indices
        Their numbers.
    name
        What the card calls it.

    Raises
    ------
    InputError
        If a number is out of range or occurs twice.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int], name: str = "subset") -> None:
        length = len(dataset)
        wrong = next((i for i in indices if not 0 <= i < length), None)
        if wrong is not None or len(set(indices)) != len(indices):
            problem = f"has the number {wrong} of {length} samples" if wrong is not None else "names a sample twice"
            raise InputError("subset", problem, "give different numbers of samples that exist")
        self.dataset, self.indices, self._name = dataset, tuple(int(i) for i in indices), name

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """The samples without their pixels, in order."""
        everything = self.dataset.annotations
        return tuple(everything[i] for i in self.indices)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the whole data set, also where none of a class is here."""
        return self.dataset.classes

    @property
    def card(self) -> DatasetCard:
        """The card of the whole, with name, size and counts of this part."""
        whole, chosen = self.dataset.card, self.annotations
        counts = tally(chosen, whole.task, whole.classes)
        return replace(whole, name=f"{whole.name}, {self._name}", n_samples=len(chosen), class_counts=counts)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Sample:
        return self.dataset[self.indices[check_index(index, len(self))]]

    def __repr__(self) -> str:
        return f"Subset({self._name!r}, {len(self)} of {len(self.dataset)} samples)"


def split_dataset(
    dataset: Dataset, fractions: Sequence[float], seed: int = 0, *, together: Sequence[Sequence[int]] = ()
) -> tuple[Subset, ...]:
    """Split a data set at random so that no subject falls into two parts and classes are spread evenly.

    Samples without a subject are subjects of their own. Subjects are taken class by class (a subject's class is its most frequent
    label) in random order, and each goes to the part that lacks most samples of that class; what whole subjects cannot divide goes
    where most samples of this and earlier classes are lacking. With equal `seed` the result depends on nothing but identifiers,
    subjects and labels: another order of samples gives the same parts.

    Parameters
    ----------
    dataset
        Any data set.
    fractions
        Wanted share of each part, positive, of sum 1, for example ``(0.8, 0.2)``. Shares are met as closely as whole subjects allow:
        where every sample is its own subject, each part has the wanted size of each class, and of all, to within one sample.
    seed
        Random seed.
    together
        Groups of sample numbers that must stay in one part, for example those of :func:`duplicate_groups`; the subjects of a group are
        treated as one.

    Returns
    -------
    tuple of Subset
        One for each fraction; samples keep their order within a part.

    Raises
    ------
    ConfigError
        If the fractions are not positive or their sum is not 1.
    InputError
        If there are fewer subjects than parts, or a part would be less than half a sample.
    """
    shares = [float(f) for f in fractions]
    if not shares or not all(f > 0 for f in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ConfigError("fractions", f"are {list(fractions)}", "give positive numbers of sum 1")
    subjects = _subjects(dataset.annotations, together)
    if len(subjects) < len(shares):
        what = "groups of subjects and duplicates" if together else "subjects"
        raise InputError(
            dataset.card.name, f"has {len(subjects)} {what} for {len(shares)} parts", "ask for fewer parts or add subjects"
        )
    small = next((s for s in shares if s * len(dataset) < 0.5), None)
    if small is not None:
        raise InputError(dataset.card.name, f"is too small for a part of {small:g}", "ask for larger or fewer parts")
    parts = _assign(subjects, dataset.annotations, np.array(shares), np.random.default_rng(seed))
    return tuple(Subset(dataset, sorted(p), name=f"part {i + 1} of {len(parts)}") for i, p in enumerate(parts))


def fold_pairs(folds: Sequence[Subset]) -> Iterator[tuple[Subset, Subset]]:
    """Training and test part of each round of a cross-validation: all folds but one, and that one.

    Raises
    ------
    ConfigError
        If there are fewer than two folds.
    """
    if len(folds) < 2:
        raise ConfigError("folds", f"are {len(folds)}", "give at least two, as split_dataset(dataset, [1 / k] * k) makes them")
    for i, test in enumerate(folds):
        rest = sorted(n for fold in folds if fold is not test for n in fold.indices)
        yield Subset(test.dataset, rest, name=f"training part of round {i + 1}"), test


def _subjects(annotations: Sequence[Annotation], together: Sequence[Sequence[int]]) -> dict[str, list[int]]:
    """Numbers of the samples of each subject, or of what `together` makes one; the name does not depend on the order of samples."""
    # A prefix keeps an identifier from being mistaken for a subject of the same name.
    keys = [f"sample {a.sample_id}" if a.subject is None else f"subject {a.subject}" for a in annotations]
    groups = Groups(len(keys))
    first: dict[str, int] = {}
    for i, key in enumerate(keys):
        groups.join(first.setdefault(key, i), i)
    for group in together:
        for other in group:
            groups.join(group[0], other)
    found: dict[int, list[int]] = {}
    for i in range(len(keys)):
        found.setdefault(groups.root(i), []).append(i)
    return {min(keys[i] for i in members): members for members in found.values()}


def _class_of(members: Sequence[Annotation]) -> str:
    labels = Counter(label for a in members for label in ((a.label,) if a.label is not None else a.labels or a.box_labels))
    return min(labels, key=lambda label: (-labels[label], label)) if labels else ""


def _assign(
    subjects: dict[str, list[int]], annotations: Sequence[Annotation], shares: np.ndarray, rng: np.random.Generator
) -> list[list[int]]:
    by_class: dict[str, list[str]] = {}
    for name in sorted(subjects):
        by_class.setdefault(_class_of([annotations[i] for i in subjects[name]]), []).append(name)
    parts: list[list[str]] = [[] for _ in shares]
    owed = np.zeros(len(shares))  # what the classes so far should have given each part and did not
    for label in sorted(by_class):
        names = by_class[label]
        order = [names[i] for i in rng.permutation(len(names))]
        own, target = np.zeros(len(shares)), shares * sum(len(subjects[n]) for n in names)
        # Large subjects first: small ones then even out what they leave.
        for name in sorted(order, key=lambda n: -len(subjects[n])):
            size = len(subjects[name])
            best = _neediest(target - own, owed + target - own, size)
            parts[best].append(name)
            own[best] += size
        owed += target - own
    _fill_empty(parts, subjects, shares)
    return [[i for name in names for i in subjects[name]] for names in parts]


def _fill_empty(parts: list[list[str]], subjects: dict[str, list[int]], shares: np.ndarray) -> None:
    """Give every empty part the subject of a part with several whose size is nearest to its share: a few large groups leave some empty."""
    total = sum(map(len, subjects.values()))
    for wanted, part in zip(shares * total, parts, strict=True):
        if part:
            continue
        spare = [(abs(len(subjects[n]) - wanted), n, other) for other in parts if len(other) > 1 for n in other]
        _, name, giver = min(spare, key=lambda found: found[:2])
        giver.remove(name)
        part.append(name)


def _neediest(lacking: np.ndarray, overall: np.ndarray, size: int) -> int:
    """The part that lacks most of the class; where none lacks a whole subject any more, the one that lacks most samples so far."""
    lacking, overall = np.round(lacking, 9), np.round(overall, 9)
    if lacking.max() >= size:
        return int(np.lexsort((-overall, -lacking))[0])
    return int(np.argmax(np.where((lacking > 0) | (lacking.max() <= 0), overall, -np.inf)))
