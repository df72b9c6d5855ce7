from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from puq_qmri.simulation import contrast_images, random_shapes
from puq_qmri.training import SimulatedData
from puq_qmri.training.ranges import vary


@given(seed=st.integers(0, 100_000))
def test_what_is_drawn_lies_within_the_ranges(seed):
    ranges = SimulatedData()
    drawn = ranges.draw(np.random.default_rng(seed), size=64, object_seed=7)
    assert drawn.seed == 7
    assert drawn.anatomy in ranges.anatomies
    assert drawn.coils in ranges.coils
    assert drawn.trajectory in ranges.trajectories
    times = np.array(drawn.times)
    assert 4 <= len(times) <= 12
    assert (np.diff(times) > 0).all()
    if drawn.model == "t2":
        assert 0 <= times[0] <= 0.02
        assert 0.08 <= times[-1] <= 0.25
    else:
        assert times[0] >= 0.03 * (1 - 1e-9)
        assert times[-1] <= 5.0 * (1 + 1e-9)
    assert 4 <= drawn.n_coils <= 12
    assert drawn.snr == math.inf or 10 <= drawn.snr <= 100
    assert 2 <= drawn.acceleration <= 10
    assert set(drawn.accelerations) <= {2.0, 10.0}
    assert not drawn.accelerations or drawn.trajectory in {"cartesian", "jittered"}


def test_every_kind_occurs():
    rng = np.random.default_rng(0)
    drawn = [SimulatedData().draw(rng, size=64, object_seed=0) for _ in range(400)]
    assert {d.anatomy for d in drawn} == {"brain", "abdomen", "shapes"}
    assert {d.model for d in drawn} == {"t1", "t2"}
    assert {d.trajectory for d in drawn} == {"cartesian", "radial", "jittered"}
    assert {d.coils for d in drawn} == {"birdcage", "random-birdcage"}
    assert 5 < sum(d.snr == math.inf for d in drawn) < 50
    assert 30 < sum(bool(d.accelerations) for d in drawn) < 120
    logs = np.log([d.acceleration for d in drawn])
    assert abs(np.mean(logs) - np.log([2, 10]).mean()) < 0.1


def test_a_protocol_that_is_given_is_kept():
    ranges = SimulatedData(models=("t2",), times=(0.01, 0.03))
    assert all(ranges.draw(np.random.default_rng(s), size=32, object_seed=0).times == (0.01, 0.03) for s in range(5))


def test_a_varied_object_is_turned_with_all_that_belongs_to_it():
    phantom = random_shapes(24, seed=3)
    found = vary(phantom, np.random.default_rng(4))
    assert (found.t2 <= found.t1).all()
    assert found.m0.max() <= 1
    assert np.median(np.abs(np.log(found.t1 / phantom.t1))) < 0.5
    assert not np.array_equal(found.t1, phantom.t1)
    # The eight ways to turn a square; the same one for every field.
    turns = [
        lambda a, k=k, m=m: np.rot90(a, k, axes=(-2, -1))[..., ::-1] if m else np.rot90(a, k, axes=(-2, -1))
        for k in range(4)
        for m in (0, 1)
    ]
    fitting = [t for t in turns if np.array_equal(t(phantom.fractions), found.fractions)]
    assert len(fitting) == 1
    for name in ("phase", "foreground", "pure"):
        assert np.array_equal(fitting[0](getattr(phantom, name)), getattr(found, name))
    images = contrast_images(found, "t2", np.array([0.0, 0.1]))
    assert np.isfinite(images).all()


def test_objects_are_turned_in_all_ways():
    phantom = random_shapes(16, seed=3)
    rng = np.random.default_rng(0)
    assert len({vary(phantom, rng).fractions.tobytes() for _ in range(60)}) == 8
