"""Splits: whole subjects, even classes, nothing lost; subsets and duplicates."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.datasets import AnnotatedImages, Annotation, Dataset, DatasetCard, Subset, find_duplicates, split_dataset
from medcore.errors import ConfigError, InputError

CLASSES = ("a", "b", "c")


class Numbers(AnnotatedImages):
    """A data set whose image i holds the number `pixels[i]`."""

    def __init__(self, labels, subjects=None, pixels=None, order=None):
        subjects = [None] * len(labels) if subjects is None else subjects
        items = [Annotation(sample_id=f"s{i}", label=c, subject=s) for i, (c, s) in enumerate(zip(labels, subjects, strict=True))]
        items = [items[i] for i in order] if order is not None else items
        counts = {c: list(labels).count(c) for c in CLASSES}
        card = DatasetCard(
            name="numbers", task="classification", classes=CLASSES, ordered=False, n_samples=len(items), class_counts=counts
        )
        super().__init__(items, card)
        self.pixels = pixels or list(range(len(labels)))

    def read_image(self, index):
        return np.full((2, 2), self.pixels[index], np.uint8)


def ids(part):
    return [a.sample_id for a in part.annotations]


SETS = st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(0, 12)), min_size=30, max_size=90)


@given(SETS, st.integers(0, 5))
def test_a_split_keeps_everything_and_every_subject_whole(rows, seed):
    labels, numbers = zip(*rows, strict=True)
    found = Numbers(labels, [f"p{n}" for n in numbers])
    if len(set(numbers)) < 6:
        return
    parts = split_dataset(found, (0.5, 0.3, 0.2), seed)
    assert sorted(i for p in parts for i in p.indices) == list(range(len(found)))
    owners = [{a.subject for a in p.annotations} for p in parts]
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]


@given(SETS, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(rows, seed, random):
    labels, numbers = zip(*rows, strict=True)
    subjects = [f"p{n}" if n else None for n in numbers]
    order = list(range(len(rows)))
    random.shuffle(order)
    one, other = Numbers(labels, subjects), Numbers(labels, subjects, order=order)
    if len(set(subjects)) < 4:
        return
    parts = [[set(ids(p)) for p in split_dataset(d, (0.6, 0.4), seed)] for d in (one, other)]
    assert parts[0] == parts[1]


@given(st.lists(st.sampled_from(CLASSES), min_size=20, max_size=120), st.integers(0, 9))
def test_single_images_are_divided_within_one_sample(labels, seed):
    shares = (0.7, 0.1, 0.2)
    parts = split_dataset(Numbers(labels), shares, seed)
    total = Counter(labels)
    for part, share in zip(parts, shares, strict=True):
        assert abs(len(part) - share * len(labels)) <= 1 + 1e-9
        for name in CLASSES:
            assert abs(part.card.class_counts[name] - share * total[name]) <= 1 + 1e-9


def test_seeds_choose_other_samples_and_equal_seeds_the_same():
    found = Numbers(["a", "b"] * 40)
    assert ids(split_dataset(found, (0.5, 0.5), 1)[0]) == ids(split_dataset(found, (0.5, 0.5), 1)[0])
    assert ids(split_dataset(found, (0.5, 0.5), 1)[0]) != ids(split_dataset(found, (0.5, 0.5), 2)[0])


def test_a_subject_is_not_mistaken_for_a_sample_of_its_name():
    """Sample s0 has no subject; subject "s0" belongs to others."""
    found = Numbers(["a"] * 4, [None, "s0", "s0", None])
    parts = split_dataset(found, (0.5, 0.5), 0)
    assert sorted(len(p) for p in parts) == [2, 2]


def test_one_huge_subject_still_leaves_the_other_part_something():
    found = Numbers(["a"] * 12, ["big"] * 10 + ["x", "y"])
    parts = split_dataset(found, (0.5, 0.5), 0)
    assert sorted(len(p) for p in parts) == [2, 10]


@pytest.mark.parametrize("fractions", [(), (0.5, 0.4), (1.5, -0.5), (1.0, 0.0), (float("nan"), 0.5)])
def test_fractions_are_positive_and_of_sum_one(fractions):
    with pytest.raises(ConfigError, match="give positive numbers of sum 1"):
        split_dataset(Numbers(["a"] * 9), fractions)


def test_too_few_subjects():
    with pytest.raises(InputError, match="numbers: has 1 subjects for 2 parts"):
        split_dataset(Numbers(["a"] * 9, ["p"] * 9), (0.5, 0.5))
    with pytest.raises(InputError, match=r"is too small for a part of 0\.01"):
        split_dataset(Numbers(["a"] * 9), (0.99, 0.01))


def test_a_subset_is_a_dataset():
    found = Numbers(["a", "b", "c", "a"])
    part = Subset(found, [3, 1], name="mine")
    assert isinstance(part, Dataset)
    assert [s.sample_id for s in (part[0], part[1], part[-1])] == ["s3", "s1", "s1"]
    assert part[0].image[0, 0] == 3
    assert part.card.name == "numbers, mine"
    assert part.card.class_counts == {"a": 1, "b": 1, "c": 0}
    assert part.classes == CLASSES
    with pytest.raises(IndexError):
        part[2]


@pytest.mark.parametrize(
    ("indices", "message"), [([4], "has the number 4 of 4"), ([-1], "has the number -1"), ([1, 1], "names a sample twice")]
)
def test_subsets_of_samples_that_do_not_exist(indices, message):
    with pytest.raises(InputError, match=message):
        Subset(Numbers(["a"] * 4), indices)


def test_iteration_ends_and_indices_are_checked():
    found = Numbers(["a", "b"])
    assert [s.label for s in found] == ["a", "b"]
    assert found[-1].sample_id == "s1"
    for index in (2, -3):
        with pytest.raises(IndexError):
            found[index]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_duplicates_are_all_samples_of_equal_pixels(pixels):
    groups = find_duplicates(Numbers(["a"] * len(pixels), pixels=pixels))
    expected = {frozenset(f"s{i}" for i, v in enumerate(pixels) if v == value) for value in pixels if pixels.count(value) > 1}
    assert {frozenset(g.members) for g in groups} == expected
    assert all(g.others == () for g in groups)


def test_leaks_between_two_sets_name_both_sides():
    one = Numbers(["a"] * 4, pixels=[1, 2, 2, 3])
    other = Numbers(["a"] * 3, pixels=[9, 3, 2])
    groups = find_duplicates(one, other)
    assert [(g.members, g.others) for g in groups] == [(("s1", "s2"), ("s2",)), (("s3",), ("s1",))]
