from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from puq_qmri.networks import NetworkSettings
from puq_qmri.operators import acquisition
from puq_qmri.training import Example, SimulatedData, SimulatedExamples
from puq_qmri.training.data import Kept, batches, with_estimated_maps

CONTRAST = NetworkSettings(layout="contrast")
SMALL = SimulatedData(sizes=(32, 40), objects=20, contrasts=(3, 5), n_coils=(4, 5), acceleration=(2.0, 3.0))


def examples(ranges=SMALL, network=CONTRAST, **options):
    return SimulatedExamples(ranges, network, **{"count": 12, **options})


def test_an_example_depends_on_seed_and_number_alone():
    first, again = examples(seed=3), examples(seed=3, count=100)
    for i in (5, 0, 11, 5):
        a, b = first.scan(i), again.scan(i)
        assert np.array_equal(a.kspace.data, b.kspace.data)
        assert np.array_equal(a.truth, b.truth)
        assert np.array_equal(a.csm, b.csm)
    assert not np.array_equal(first.scan(0).truth, examples(seed=4).scan(0).truth)
    assert not np.array_equal(first.scan(0).truth, first.scan(2).truth)


def test_parts_have_objects_of_their_own():
    scans = {part: [examples(part=part).scan(i) for i in range(8)] for part in ("train", "variance", "validation")}
    for one, other in itertools.combinations(scans, 2):
        for a, b in itertools.product(scans[one], scans[other]):
            assert a.truth.shape != b.truth.shape or not np.allclose(np.abs(a.truth), np.abs(b.truth), rtol=0.1)


def test_samples_are_those_of_the_truth():
    ranges = dataclasses.replace(SMALL, noise_free=1.0)
    for i in range(6):
        scan = examples(ranges).scan(i)
        clean = acquisition(scan.kspace, scan.csm)(torch.from_numpy(scan.truth)).numpy()
        np.testing.assert_allclose(scan.kspace.data, clean, atol=2e-5 * np.abs(clean).max())


def test_an_example_is_the_scan_made_ready():
    found = examples(dataclasses.replace(SMALL, snr=(60.0, 60.0)))
    scan, example = found.scan(1), found[1]
    assert np.array_equal(example.truth.numpy(), scan.truth)
    assert np.array_equal(example.mask.numpy(), scan.mask)
    assert example.truth.shape[-2:] == found.size(1) == (40, 40)
    assert example.mask.any()
    start = example.problem.images(example.problem.start)
    error = (start - example.truth).abs().square().sum() / example.truth.abs().square().sum()
    assert error.sqrt() < 0.4


def test_the_subspace_layout_gets_the_model_of_the_times():
    ranges = SimulatedData(sizes=(32,), models=("t1",), trajectories=("cartesian",), acceleration=(2.0, 2.0), n_coils=(4, 4))
    example = examples(ranges, NetworkSettings(layout="subspace"))[0]
    assert example.problem.basis is not None
    latent = example.problem.images(example.problem.latent(example.truth))
    assert (latent - example.truth).norm() < 0.15 * example.truth.norm()


def test_estimated_maps_change_truth_and_maps_together():
    ranges = SimulatedData(
        sizes=(48,), objects=5, n_coils=(6, 6), trajectories=("cartesian",), acceleration=(2.0, 2.0), mixed=0.0, snr=(60.0, 60.0)
    )
    scan = examples(ranges).scan(0)
    found = with_estimated_maps(scan)
    assert np.array_equal(found.kspace.data, scan.kspace.data)
    assert not np.allclose(found.csm, scan.csm, atol=0.01)
    inside = found.mask
    assert inside.sum() > 0.8 * scan.mask.sum()
    # The coil images behind both are the same but for what the estimate gets wrong.
    first, second = scan.csm * scan.truth[0], found.csm * found.truth[0]
    assert np.linalg.norm((first - second)[:, inside]) < 0.1 * np.linalg.norm(first[:, inside])


def test_an_index_beyond_the_end_ends_iteration():
    found = examples(count=2)
    assert len([found.scan(i) for i in range(len(found))]) == 2
    with pytest.raises(IndexError):
        found.scan(2)


class Numbers:
    """Examples that are their own numbers, of two sizes."""

    def __init__(self, count):
        self.count, self.made = count, []

    def __len__(self):
        return self.count

    def size(self, index):
        return (8, 8 + index % 2)

    def __getitem__(self, index):
        self.made.append(index)
        return index


@pytest.mark.parametrize(("count", "batch"), [(12, 2), (11, 3), (3, 4), (1, 1)])
def test_batches_hold_one_size_and_every_epoch_all_examples(count, batch):
    numbers = Numbers(count)
    length = sum(max(len(range(k, count, 2)) // batch, 1) for k in range(min(count, 2)))
    found = list(itertools.islice(batches(numbers, batch, seed=(1, 2)), 3 * length))
    for chosen in found:
        assert len({numbers.size(i) for i in chosen}) == 1
        assert 1 <= len(chosen) <= batch
    for epoch in range(3):
        seen = [i for chosen in found[epoch * length : (epoch + 1) * length] for i in chosen]
        assert len(seen) == len(set(seen))
        assert len(seen) >= count - 2 * (batch - 1)
    if count == 12:
        assert found[:length] != found[length : 2 * length]


@pytest.mark.parametrize("start", [1, 5, 6, 17])
def test_batches_go_on_from_anywhere(start):
    numbers = Numbers(12)
    whole = list(itertools.islice(batches(numbers, 2, seed=(0, 0)), 30))
    assert list(itertools.islice(batches(numbers, 2, seed=(0, 0), start=start), 30 - start)) == whole[start:]


def test_kept_examples_are_made_once_and_the_oldest_go():
    numbers = Numbers(10)
    kept = Kept(numbers, 2, lambda i: 10 * i)
    assert [kept[i] for i in (0, 1, 0, 1, 2, 1, 0)] == [0, 10, 0, 10, 20, 10, 0]
    assert numbers.made == [0, 1, 2, 0]
    assert list(Kept(numbers, 0, lambda i: i)) == list(range(10))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_threads_that_work_ahead_change_nothing(workers):
    kept = Kept(Numbers(10), 10, lambda i: i)
    order = [[1, 2], [3], [1, 9], [0, 4], [5, 6], [7]]
    assert list(kept.ahead(order, workers)) == order


def test_an_error_in_a_thread_arrives():
    def prepare(i):
        if i == 3:
            raise ValueError("example 3")
        return i

    found = []
    with pytest.raises(ValueError, match="example 3"):
        found.extend(Kept(Numbers(10), 10, prepare).ahead([[1], [2], [3], [4]], 2))
    assert isinstance(found, list)


def test_examples_carry_what_the_class_says():
    assert {"problem", "truth", "mask"} == set(Example.__dataclass_fields__)
