"""Splits that are stored, and splits that keep copies together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listed_images import Listed, retina
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from medcore.datasets import (
    GradedFolder,
    duplicate_groups,
    fold_pairs,
    load_split,
    read_split,
    save_split,
    split_dataset,
)
from medcore.datasets.stored_splits import annotations_hash, part_names
from medcore.errors import ConfigError, InputError, OutputExistsError

SETS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 15), st.integers(0, 25)), min_size=40, max_size=100)


def data(n=12, **values):
    return Listed([np.full((4, 4), i, np.uint8) for i in range(n)], **values)


def ids(part):
    return {a.sample_id for a in part.annotations}


def stored(path, dataset, fractions=(0.5, 0.5), seed=4, **values):
    parts = dict(zip(part_names(len(fractions), folds=False), split_dataset(dataset, fractions, seed), strict=True))
    return parts, save_split(path, parts, fractions=fractions, seed=seed, **values)


@given(SETS, st.integers(0, 4))
def test_subjects_and_copies_stay_together(rows, seed):
    """Samples of equal last number are copies; chains of subjects and copies may join many."""
    labels, subjects, pictures = zip(*rows, strict=True)
    found = data(len(rows), label=list(labels), subject=[f"p{n}" for n in subjects])
    groups = [[i for i, p in enumerate(pictures) if p == picture] for picture in set(pictures)]
    linked = csr_array(np.equal.outer(subjects, subjects) | np.equal.outer(pictures, pictures))
    if connected_components(linked)[0] < 2:
        with pytest.raises(InputError, match="has 1 groups of subjects and duplicates for 2 parts"):
            split_dataset(found, (0.6, 0.4), seed, together=groups)
        return
    parts = split_dataset(found, (0.6, 0.4), seed, together=groups)
    assert all(len(part) for part in parts)
    assert sorted(i for p in parts for i in p.indices) == list(range(len(rows)))
    for values in (subjects, pictures):
        assert not {values[i] for i in parts[0].indices} & {values[i] for i in parts[1].indices}


@given(st.lists(st.sampled_from("abc"), min_size=40, max_size=90), st.integers(0, 5), st.randoms(use_true_random=False))
def test_another_order_of_samples_gives_the_same_parts_with_copies_too(labels, seed, random):
    n = len(labels)
    names = [f"s{i}" for i in range(n)]
    copies = [[i, i + 1] for i in range(0, n - 1, 5)]
    order = list(range(n))
    random.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    one = data(n, sample_id=names, label=labels)
    other = data(n, sample_id=[names[i] for i in order], label=[labels[i] for i in order])
    moved = [[place[i] for i in reversed(group)] for group in reversed(copies)]
    first = split_dataset(one, (0.7, 0.3), seed, together=copies)
    second = split_dataset(other, (0.7, 0.3), seed, together=moved)
    assert [ids(p) for p in first] == [ids(p) for p in second]
    assert annotations_hash(one) == annotations_hash(other)


@given(st.lists(st.sampled_from("abc"), min_size=50, max_size=150), st.integers(2, 6), st.integers(0, 5))
def test_folds_are_even_and_every_sample_is_tested_once(labels, folds, seed):
    found = data(len(labels), label=labels)
    parts = split_dataset(found, [1 / folds] * folds, seed)
    assert max(map(len, parts)) - min(map(len, parts)) <= 2
    for name in "abc":
        counts = [p.card.class_counts.get(name, 0) for p in parts]
        assert max(counts) - min(counts) <= 2
    rounds = list(fold_pairs(parts))
    assert sorted(i for _, test in rounds for i in test.indices) == list(range(len(labels)))
    for train, test in rounds:
        assert set(train.indices) | set(test.indices) == set(range(len(labels)))
        assert not set(train.indices) & set(test.indices)


def test_one_fold_is_none():
    with pytest.raises(ConfigError, match="folds: are 1; give at least two"):
        list(fold_pairs([split_dataset(data(), (1.0,))[0]]))


def test_copies_are_found_by_their_pixels():
    images = [retina(i) for i in range(4)]
    found = Listed([*images, images[1], (images[2] * 0.8).astype(np.uint8), images[1]])
    assert duplicate_groups(found) == [[1, 4, 6], [2, 5]]
    assert duplicate_groups(found, near=False) == [[1, 4, 6]]
    with pytest.raises(InputError, match=r"s0: cannot be read, x.png: is cut; remove it"):
        duplicate_groups(Listed([InputError("x.png", "is cut", "get another")]))


def test_what_is_stored_comes_back(tmp_path):
    found = data(label=["a", "b"] * 6, subject=[f"p{i // 2}" for i in range(12)])
    parts, written = stored(tmp_path / "split.json", found, (0.5, 0.25, 0.25), kind="graded", options={"csv": "x.csv"})
    again = load_split(found, tmp_path / "split.json")
    assert {n: p.indices for n, p in again.items()} == {n: p.indices for n, p in parts.items()}
    assert list(again) == ["train", "val", "test"]
    assert again["val"].card.name == "listed, val"
    assert read_split(tmp_path / "split.json") == written
    assert (written.seed, written.n_samples, written.fractions) == (4, 12, (0.5, 0.25, 0.25))
    assert (written.kind, written.options) == ("graded", {"csv": "x.csv"})
    assert sorted(s for part in written.subjects.values() for s in part) == [f"p{i}" for i in range(6)]


def test_equal_seeds_give_equal_files(tmp_path):
    for name in ("a.json", "b.json"):
        stored(tmp_path / name, data())
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_an_existing_file_is_kept(tmp_path):
    stored(tmp_path / "split.json", data())
    before = (tmp_path / "split.json").read_bytes()
    with pytest.raises(OutputExistsError):
        stored(tmp_path / "split.json", data(), seed=5)
    assert (tmp_path / "split.json").read_bytes() == before
    stored(tmp_path / "split.json", data(), seed=5, force=True)
    assert (tmp_path / "split.json").read_bytes() != before


CHANGED = {
    "label": (data(label=["b"] + ["a"] * 11), "labels, boxes or subjects have changed"),
    "subject": (data(subject="p"), "have changed"),
    "box": (data(boxes=((0.0, 0.0, 1.0, 1.0),), box_labels=("a",)), "have changed"),
    "sample more": (data(13), "it has 13 samples, not 12"),
    "sample less": (data(11), "the sample 's11' is gone"),
    "other names": (data(sample_id=[f"t{i}" for i in range(12)]), "the sample 's[0-9]+' is gone"),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_data_set_that_changed_is_refused(tmp_path, change):
    stored(tmp_path / "split.json", data())
    changed, words = CHANGED[change]
    with pytest.raises(InputError, match=rf"split.json: does not fit the data set listed, .*{words}"):
        load_split(changed, tmp_path / "split.json")


def edit(change):
    def apply(content):
        change(content)
        return json.dumps(content)

    return apply


BAD = {
    "no JSON": (lambda _: "{", "JSON"),
    "empty": (lambda _: "", "is empty"),
    "no split": (lambda _: "{}", "is not a stored split"),
    "later version": (edit(lambda c: c.update(version=2)), "has the version 2, this program reads 1"),
    "unknown key": (edit(lambda c: c.update(sed=1)), "did you mean 'seed'"),
    "missing key": (edit(lambda c: c.pop("parts")), "parts"),
    "wrong type": (edit(lambda c: c.update(seed="four")), "must be a whole number"),
    "sample twice": (edit(lambda c: c["parts"].update(test=c["parts"]["train"])), "does not hold each of its samples once"),
    "sample lost": (edit(lambda c: c["parts"].update(test=c["parts"]["test"][1:])), "does not hold each of its samples once"),
    "no parts": (edit(lambda c: c.update(parts={}, n_samples=0)), "does not hold each of its samples once"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path, case):
    change, words = BAD[case]
    path = tmp_path / "split.json"
    stored(path, data())
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(InputError, match=words):
        load_split(data(), path)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_never_give_other_parts_silently(tmp_path, changes):
    """A changed file is refused, or what changed is a description: the parts are those that were stored, or parts of the same samples."""
    path = tmp_path / "split.json"
    parts, _ = stored(path, data(), force=True)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content)
    try:
        again = load_split(data(), path)
    except InputError:
        return
    assert sorted(i for p in again.values() for i in p.indices) == list(range(12))
    assert sorted(map(len, again.values())) == sorted(map(len, parts.values()))


def test_parts_that_are_no_split(tmp_path):
    train, test = split_dataset(data(), (0.5, 0.5))
    for parts in ({"train": train}, {"a": train, "b": train}, {"a": train, "b": split_dataset(data(), (0.5, 0.5))[1]}):
        with pytest.raises(InputError, match="does not hold every sample of one data set once"):
            save_split(tmp_path / "split.json", parts, fractions=(1.0,), seed=0)
    assert test.indices
    assert not (tmp_path / "split.json").exists()


def test_names_of_parts():
    assert part_names(2, folds=False) == ("train", "test")
    assert part_names(3, folds=False) == ("train", "val", "test")
    assert part_names(4, folds=False) == ("part 1", "part 2", "part 3", "part 4")
    assert part_names(3, folds=True) == ("fold 1", "fold 2", "fold 3")
    with pytest.raises(ConfigError, match="make 1 part"):
        part_names(1, folds=False)


def test_a_table_that_is_rewritten_with_the_same_content_still_fits(graded, tmp_path):
    found = GradedFolder(graded)
    stored(tmp_path / "split.json", found)
    table = graded / "labels.csv"
    table.write_text("image;grade;patient\nd;2;p2\nb;2;p1\na;0;p1\nc;1;p2\n")
    again = load_split(GradedFolder(graded), tmp_path / "split.json")
    assert {n: ids(p) for n, p in again.items()} == {n: ids(p) for n, p in load_split(found, tmp_path / "split.json").items()}
    table.write_text("image;grade;patient\nd;2;p2\nb;2;p1\na;1;p1\nc;1;p2\n")
    with pytest.raises(InputError, match="have changed"):
        load_split(GradedFolder(graded), tmp_path / "split.json")
