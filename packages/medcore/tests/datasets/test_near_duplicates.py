"""Near duplicates: changed copies are found, other pictures of the same kind are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listed_images import Listed, retina
from PIL import Image

from medcore.datasets import find_near_duplicates, hash_search
from medcore.datasets.alignment import match
from medcore.datasets.fingerprints import VIEWS, fingerprint, resampler
from medcore.datasets.hash_search import SURE, near_pairs
from medcore.datasets.near_duplicates import TURNS, link
from medcore.errors import ConfigError


def compressed(image, quality):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def scaled(image, factor):
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((round(width * factor), round(height * factor)), Image.Resampling.BICUBIC))


def levels(image, contrast, brightness):
    return np.clip((image - 128.0) * contrast + 128 + brightness, 0, 255).astype(np.uint8)


def cropped(image, share, down=0.5, right=0.5):
    height, width = image.shape[:2]
    rows, columns = round(height * share), round(width * share)
    y, x = round(rows * down), round(columns * right)
    return image[y : height - rows + y, x : width - columns + x]


def shifted(image, rows, columns):
    moved = np.zeros_like(image)
    moved[rows:, columns:] = image[: image.shape[0] - rows, : image.shape[1] - columns]
    return moved


CHANGES = {
    "JPEG 95": lambda i: compressed(i, 95),
    "JPEG 30": lambda i: compressed(i, 30),
    "half size": lambda i: scaled(i, 0.5),
    "double size": lambda i: scaled(i, 2),
    "darker": lambda i: levels(i, 1, -25),
    "brighter": lambda i: levels(i, 1, 25),
    "less contrast": lambda i: levels(i, 0.7, 0),
    "more contrast": lambda i: levels(i, 1.3, 0),
    "cut by 2 %": lambda i: cropped(i, 0.02),
    "cut by 5 % at a corner": lambda i: cropped(i, 0.05, 0, 1),
    "cut by 10 %": lambda i: cropped(i, 0.1),
    "shifted by 1 %": lambda i: shifted(i, 1, 2),
    "grey": lambda i: np.asarray(Image.fromarray(i).convert("L")),
    "all at once": lambda i: compressed(levels(scaled(cropped(i, 0.04, 0.2, 0.7), 0.8), 1.1, 10), 60),
}
RETINAS = [retina(i) for i in range(8)]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_nothing_else(change):
    images = [*RETINAS, *[CHANGES[change](image) for image in RETINAS[:4]]]
    found = find_near_duplicates(Listed(images))
    assert {(k.first, k.second) for k in found} == {(f"s{i}", f"s{i + 8}") for i in range(4)}
    assert all(0.8 <= k.correlation <= 1 + 1e-6 and k.turned == TURNS[0] for k in found)


def test_changed_copies_in_another_set_and_their_order():
    own, other = Listed(RETINAS[:4]), Listed([RETINAS[5], compressed(RETINAS[2], 30), RETINAS[1]], sample_id=["x", "y", "z"])
    assert [(k.first, k.second) for k in find_near_duplicates(own, other)] == [("s1", "z"), ("s2", "y")]
    assert [(k.first, k.second) for k in find_near_duplicates(other, own)] == [("z", "s1"), ("y", "s2")]


@pytest.mark.parametrize("turn", range(1, 8))
def test_turned_copies_are_found_when_asked_for(turn):
    square = [retina(i, 128, 128) for i in range(4)]
    turned = {1: np.rot90(square[0]), 2: np.rot90(square[0], 2), 3: np.rot90(square[0], 3), 4: square[0][:, ::-1]}
    turned |= {5: square[0][::-1], 6: square[0].swapaxes(0, 1), 7: np.rot90(square[0], 2).swapaxes(0, 1)}
    found = Listed([*square, compressed(np.ascontiguousarray(turned[turn]), 80)])
    assert find_near_duplicates(found) == []
    (pair,) = find_near_duplicates(found, turns=True)
    assert {pair.first, pair.second} == {"s0", "s4"}
    first, second = (found.images[int(name[1])] for name in (pair.first, pair.second))
    wanted = TURNS.index(pair.turned)
    undone = {1: np.rot90(first), 2: np.rot90(first, 2), 3: np.rot90(first, 3), 4: first[:, ::-1], 5: first[::-1]}
    undone |= {6: first.swapaxes(0, 1), 7: np.rot90(first, 2).swapaxes(0, 1)}
    assert np.abs(undone[wanted].astype(float) - second).mean() < 6


def test_three_copies_are_joined_without_every_pair():
    copies = [RETINAS[0], compressed(RETINAS[0], 60), levels(RETINAS[0], 0.8, 0), RETINAS[1]]
    found = find_near_duplicates(Listed(copies))
    assert len(found) == 2
    assert {name for k in found for name in (k.first, k.second)} == {"s0", "s1", "s2"}


def test_flat_images_are_not_compared():
    flat = [np.full((30, 30), v, np.uint8) for v in (0, 0, 9)]
    assert [fingerprint(image) for image in flat] == [None] * 3
    assert find_near_duplicates(Listed(flat)) == []
    assert link([]) == []


def test_volumes_are_compared_by_their_mean():
    volumes = [np.stack([retina(i + k)[..., 0] for k in range(3)]) for i in (0, 10, 20)]
    volumes.append(np.clip(volumes[1] * 0.8 + 10, 0, 255).astype(np.uint8))
    found = find_near_duplicates(Listed(volumes, card={"volumetric": True}))
    assert [(k.first, k.second) for k in found] == [("s1", "s3")]


@pytest.mark.parametrize("least", [0.0, -1.0, 1.1, float("nan")])
def test_a_correlation_that_cannot_be(least):
    with pytest.raises(ConfigError, match=r"least: is .*; give a correlation above 0 and at most 1"):
        link([fingerprint(RETINAS[0])], least=least)


def test_small_images_need_a_higher_correlation():
    small = [scaled(image[..., 0], 0.2) for image in RETINAS]
    assert min(small[0].shape) < 64
    softer = [scaled(scaled(image, 0.6), 1 / 0.6) for image in small]
    prints = [fingerprint(image) for image in (*small, *softer)]
    strict, loose = link(prints), link(prints, least=0.5)
    assert all(k.correlation >= 0.9 for k in strict)
    assert len(loose) > len(strict)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(-0.06, 0.06), st.floats(-0.06, 0.06), st.floats(0.93, 1.0))
def test_alignment_recovers_shift_and_scale(number, down, right, size):
    """The second thumbnail is the first, resampled at known positions; from a start that is off by the whole change it is aligned."""
    first = fingerprint(retina(number)).thumbnail.astype(np.float64)
    room = 1 - size
    top, left = (0.5 + np.clip(v, -0.5 * room, 0.5 * room) / max(room, 1e-9) * 0.9 if room else 0 for v in (down, right))
    box = (room * top, room * top + size, room * left, room * left + size)
    second = resampler(64, 64, box[0], box[1]) @ first @ resampler(64, 64, box[2], box[3]).T
    pair = [x.round().astype(np.uint8)[None] for x in (first, second)]
    found = match(*pair, np.array(VIEWS[:1]))
    assert found.correlation[0] > 0.9
    assert found.difference[0] < 0.1


def test_a_pair_without_overlap_does_not_agree():
    thumbnail = fingerprint(RETINAS[0]).thumbnail[None]
    found = match(thumbnail, thumbnail, np.array([[0.8, 1.8, 0.8, 1.8]]))
    assert (found.correlation[0], found.difference[0]) == (0.0, np.inf)


def pairs_of(queries, codes, radius):
    return {(int(a), int(b)) for q, c in near_pairs(queries, codes, radius) for a, b in zip(q, c, strict=True)}


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(0, SURE))
def test_buckets_miss_no_pair_within_the_sure_radius(seed, radius):
    """Referee: all pairs compared bit by bit. Codes come in clusters, so that near ones occur."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2, (5, 64))
    bits = centres[rng.integers(0, 5, 150)] ^ (rng.random((150, 64)) < 0.06)
    codes = np.ascontiguousarray(np.packbits(bits.astype(np.uint8), axis=1)).view(np.uint64)[:, 0]
    distance = (bits[:, None] != bits[None]).sum(axis=2)
    expected = {(int(a), int(b)) for a, b in np.argwhere(distance <= radius)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hash_search, "_FEW", 0)
        patch.setattr(hash_search, "_BLOCK", 500)
        by_buckets = pairs_of(codes, codes, radius)
    assert by_buckets == expected
    assert pairs_of(codes, codes, radius) == expected


def test_resampling_keeps_means_and_places():
    row = np.zeros(90, np.float32)
    row[44:46] = 1
    for side in (30, 64, 200):
        small = resampler(90, side) @ row
        assert np.allclose(resampler(90, side).sum(axis=1), 1)
        assert np.average(np.arange(side) + 0.5, weights=small) == pytest.approx(side / 2, abs=0.02 * side)
