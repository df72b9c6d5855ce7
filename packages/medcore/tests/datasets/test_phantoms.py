"""Phantoms: fractions, truth maps and mixing agree with each other, subjects differ, resolution changes nothing but resolution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medcore.datasets.phantoms import ANATOMIES, TISSUES, Phantom, relaxation_phantom
from medcore.datasets.phantoms.tissues import FIELD_STRENGTHS, VIALS
from medcore.errors import ConfigError

SHAPE = (1, 64, 64)
ALL = pytest.mark.parametrize("anatomy", sorted(ANATOMIES))


@pytest.fixture(scope="module")
def phantoms() -> dict[str, Phantom]:
    return {name: relaxation_phantom(name, shape=SHAPE, seed=4) for name in ANATOMIES}


@ALL
def test_fractions_are_parts_of_a_voxel(anatomy, phantoms):
    p = phantoms[anatomy]
    total = p.fractions.sum(axis=0)
    assert p.fractions.shape == (len(p.tissues), *SHAPE)
    assert p.fractions.dtype == np.float32
    assert p.fractions.min() == 0
    assert total.max() <= 1 + 1e-6
    assert (total < 1e-6).any(), "there is air around the object"
    assert all(p.fractions[i].max() > 0.4 for i in range(len(p.tissues)) if "lesion" not in p.tissues[i])


@ALL
def test_some_voxels_are_mixed_and_most_are_pure(anatomy, phantoms):
    p = phantoms[anatomy]
    share = (p.pure & p.foreground).sum() / p.foreground.sum()
    assert 0.4 < share < 0.95
    mixed = ~p.pure & p.foreground
    assert ((p.fractions > 0.05).sum(axis=0)[mixed] >= 2).mean() > 0.6


@ALL
def test_pure_voxels_decay_with_the_values_of_their_tissue(anatomy, phantoms):
    p = phantoms[anatomy]
    te = np.array([0.0, 0.02, 0.08])
    images = p.mix(p.m0[:, None] * np.exp(-te / p.t2[:, None]))
    assert images.shape == (3, *SHAPE)
    inside = p.pure
    tissue = p.fractions.argmax(axis=0)[inside]
    np.testing.assert_allclose(p.t2_map[inside], p.t2[tissue], rtol=2e-3)
    np.testing.assert_allclose(p.t1_map[inside], p.t1[tissue], rtol=2e-3)
    np.testing.assert_allclose(p.m0_map[inside], p.m0[tissue], rtol=2e-3)
    expected = p.m0_map[inside] * np.exp(-te[:, None] / p.t2_map[inside])
    np.testing.assert_allclose(images[:, inside], expected, rtol=1e-2, atol=1e-6)


@ALL
def test_maps_are_finite_in_the_foreground_and_nan_outside(anatomy, phantoms):
    p = phantoms[anatomy]
    for values in (p.m0_map, p.t1_map, p.t2_map):
        assert values.dtype == np.float32
        assert values.shape == SHAPE
        assert np.array_equal(np.isfinite(values), p.foreground)
        assert (values[p.foreground] > 0).all()
    t1, t2 = p.t1_map[p.foreground], p.t2_map[p.foreground]
    assert (t2 <= t1 * 1.0001).all()


@ALL
def test_mixed_voxels_show_the_mean_over_protons(anatomy, phantoms):
    p = phantoms[anatomy]
    z, y, x = np.argwhere(p.foreground & ~p.pure)[0]
    weight = p.fractions[:, z, y, x] * p.m0
    assert p.t1_map[z, y, x] == pytest.approx((weight * p.t1).sum() / weight.sum(), rel=1e-5)
    assert p.m0_map[z, y, x] == pytest.approx(weight.sum(), rel=1e-5)


def test_cortical_bone_gives_no_signal_and_is_background(phantoms):
    p = phantoms["brain"]
    bone = p.tissues.index("cortical bone")
    assert p.m0[bone] == 0
    full = p.fractions[bone] > 0.999
    assert full.any()
    assert not p.foreground[full].any()
    assert not p.pure[full].any()


@ALL
def test_the_foreground_is_one_object_away_from_the_border(anatomy, phantoms):
    p = phantoms[anatomy]
    body = p.fractions.sum(axis=0)[0] > 0.5
    _, pieces = ndimage.label(body)
    assert pieces == 1
    assert not body[[0, -1]].any()
    assert not body[:, [0, -1]].any()


@ALL
def test_the_phase_is_smooth_and_never_constant(anatomy, phantoms):
    phase = relaxation_phantom(anatomy, shape=(1, 128, 128), seed=4).phase
    assert phase.dtype == np.float32
    assert np.isfinite(phase).all()
    assert np.abs(np.diff(phase, axis=1)).max() < 0.15
    assert np.abs(np.diff(phase, axis=2)).max() < 0.15
    assert np.ptp(phase) > 0.5


@ALL
def test_equal_seeds_give_equal_subjects_and_other_seeds_others(anatomy):
    one, again, other = (relaxation_phantom(anatomy, shape=SHAPE, seed=s) for s in (7, 7, 8))
    assert np.array_equal(one.fractions, again.fractions)
    assert np.array_equal(one.t1, again.t1)
    assert np.array_equal(one.phase, again.phase)
    assert np.abs(one.fractions - other.fractions).sum(axis=0).mean() > 0.01
    varied = [TISSUES[t].spread > 0 for t in one.tissues]
    assert np.array_equal(one.t1 != other.t1, varied)


@ALL
@pytest.mark.parametrize("field_strength", FIELD_STRENGTHS)
def test_tissue_values_stay_near_the_table(anatomy, field_strength):
    column = FIELD_STRENGTHS.index(field_strength)
    for seed in range(3):
        p = relaxation_phantom(anatomy, shape=(1, 16, 16), field_strength=field_strength, seed=seed)
        table = [TISSUES[t] for t in p.tissues]
        limit = np.array([2.5 * t.spread for t in table])
        for values, wanted in ((p.t1, [t.t1[column] for t in table]), (p.t2, [t.t2[column] for t in table])):
            assert (np.abs(np.log(values / np.array(wanted))) <= limit + 1e-9).all()
        assert (p.m0 <= 1).all()


def test_the_table_is_physical():
    """T1 does not shrink with field strength in tissue, T2 does not exceed T1, every value has a source."""
    shrinking = [name for name, t in TISSUES.items() if t.t1[1] < t.t1[0] * 0.99 and not name.startswith("vial")]
    assert shrinking == []
    assert all(t.t2[c] <= t.t1[c] for t in TISSUES.values() for c in (0, 1))
    assert all(t.source for t in TISSUES.values())


@pytest.mark.parametrize(
    ("tissue", "t1", "t2"),
    [
        ("white matter", 1.084, 0.069),
        ("grey matter", 1.820, 0.099),
        ("liver", 0.809, 0.034),
        ("kidney cortex", 1.142, 0.076),
        ("subcutaneous fat", 0.382, 0.068),
        ("vial 1", 1.88397, 1.3876),
        ("vial 14", 0.02144, 0.015627),
    ],
)
def test_published_values_at_3_tesla(tissue, t1, t2):
    assert TISSUES[tissue].t1[1] == pytest.approx(t1, rel=1e-4)
    assert TISSUES[tissue].t2[1] == pytest.approx(t2, rel=1e-3)


def test_vials_keep_the_reference_values_and_are_all_there():
    plate = [1883.97, 1330.16, 987.27, 690.08, 484.97, 341.58, 240.86, 174.95, 121.08, 85.75, 60.21, 42.89, 30.40, 21.44]
    p = relaxation_phantom("tubes", shape=(1, 96, 96), seed=3)
    own = [p.t1[p.tissues.index(v)] * 1e3 for v in VIALS]
    np.testing.assert_allclose(own, plate, rtol=1e-9)
    pure = [(p.fractions[p.tissues.index(v)] > 0.999).sum() for v in VIALS]
    assert min(pure) > 30


@pytest.mark.parametrize("anatomy", ["brain", "tubes"])
def test_another_resolution_shows_the_same_subject(anatomy):
    """Averaging the fine phantom over 2 x 2 voxels gives the coarse one, up to how finely edges are counted."""
    fine = relaxation_phantom(anatomy, shape=(1, 128, 128), seed=2)
    coarse = relaxation_phantom(anatomy, shape=(1, 64, 64), seed=2)
    halved = fine.fractions.reshape(len(fine.tissues), 1, 64, 2, 64, 2).mean(axis=(3, 5))
    difference = np.abs(halved - coarse.fractions)
    assert difference.mean() < 4e-3
    assert difference.max() < 0.5
    assert np.array_equal(fine.t1, coarse.t1)


def test_field_strength_changes_values_and_not_geometry():
    low, high = (relaxation_phantom("brain", shape=SHAPE, field_strength=b, seed=1) for b in FIELD_STRENGTHS)
    assert np.array_equal(low.fractions, high.fractions)
    white = low.tissues.index("white matter")
    assert high.t1[white] / low.t1[white] == pytest.approx(1.084 / 0.884)


def test_slices_of_a_volume_change_gradually_and_the_middle_is_the_single_slice():
    volume = relaxation_phantom("brain", shape=(3, 64, 64), seed=6)
    single = relaxation_phantom("brain", shape=(1, 64, 64), seed=6)
    assert np.array_equal(volume.fractions[:, 1], single.fractions[:, 0])
    assert 0 < np.abs(volume.fractions[:, 0] - volume.fractions[:, 1]).sum(axis=0).mean() < 0.5


def test_a_wide_matrix_keeps_voxels_square():
    wide = relaxation_phantom("tubes", shape=(1, 64, 96), seed=1)
    square = relaxation_phantom("tubes", shape=(1, 64, 64), seed=1)
    assert np.array_equal(wide.fractions[..., 16:80], square.fractions)


def test_mix_takes_complex_signals():
    p = relaxation_phantom("tubes", shape=(1, 16, 16))
    signals = np.outer(p.m0, [1.0, 1j])
    images = p.mix(signals)
    np.testing.assert_allclose(images[1], 1j * images[0])


def test_labels_name_the_tissue_that_fills_most():
    p = relaxation_phantom("knee", shape=SHAPE, seed=1)
    air = 1 - p.fractions.sum(axis=0)
    everything = np.concatenate([p.fractions, air[None]])
    winner = everything.argmax(axis=0)
    clear = np.sort(everything, axis=0)[-1] > np.sort(everything, axis=0)[-2] + 1e-3
    expected = np.where(winner == len(p.tissues), -1, winner)
    assert np.array_equal(p.labels[clear], expected[clear])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"anatomy": "brian"}, "'brian': is not one of .*; did you mean 'brain'"),
        ({"field_strength": 7.0}, "is 7 T, tissue values exist for 1.5 T and 3 T"),
        ({"shape": (0, 64, 64)}, r"has shape \(0, 64, 64\)"),
        ({"shape": (1, 4, 64)}, r"has shape \(1, 4, 64\)"),
        ({"shape": (1, 64, 100000)}, "100000"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_what_cannot_be_drawn(arguments, message):
    with pytest.raises(ConfigError, match=message):
        relaxation_phantom(**arguments)
