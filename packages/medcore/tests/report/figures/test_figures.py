"""Figures: what is drawn is the data, in the field's colours and units."""

from __future__ import annotations

import math
import sys

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError, InputError
from medcore.report.figures import (
    QUANTITIES,
    FitPanel,
    SpreadPanel,
    calibration_figure,
    confusion_figure,
    fit_figure,
    map_figure,
    relaxometry_colormap,
    relaxometry_table,
    sampling_figure,
    sparsification_figure,
    spread_figure,
    training_figure,
)
from medcore.report.figures.colours import quantity, table_indices
from medcore.report.figures.curves import running_mean


def pixels(figure):
    """Each image of a figure as drawn: (values, what is invalid, axes)."""
    return [(image.get_array(), axis) for axis in figure.axes for image in axis.get_images()]


def drawn(figure):
    """Draw it for real; layout and text are computed then."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


ranges = st.tuples(st.floats(0, 1), st.floats(1e-3, 10)).map(lambda r: (r[0] * r[1] * 0.95, r[1]))


@given(bounds=ranges, n=st.integers(16, 512))
def test_the_table_is_read_upwards_from_1_to_its_end_and_0_is_kept_for_invalid(bounds, n):
    indices = table_indices(*bounds, n)
    assert indices[0] == 0
    assert indices[1:].min() >= 1
    assert indices[-1] == n - 1
    assert np.all(np.diff(indices) >= 0)


@given(high=st.floats(0.01, 10))
def test_small_values_are_shown_linearly_and_large_ones_by_ratio(high):
    """The recommendation's curve from 0: up to high / e linear with half the table, above it logarithmic with the other half."""
    n = 256
    x = np.arange(1, n + 1) * high / n
    indices = table_indices(0.0, high, n).astype(float)
    bend = high / math.e
    line, curve = x[1:] <= bend, x[1:] > bend
    assert np.allclose(indices[1:][line], 1 + n / 2 * x[1:][line] / bend, atol=1.01)
    assert np.allclose(indices[1:][curve], n * (0.5 + 1 / n) + (n / 2 - 1) * np.log(x[1:][curve] / bend), atol=1.01)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (1, 1), (2, 1), (-2, -1), (0, math.inf), (math.nan, 1)])
def test_an_empty_range_is_refused(low, high):
    with pytest.raises(InputError, match="display range"):
        table_indices(float(low), float(high))


def test_t1_is_lipari_t2_is_navia_and_rates_run_the_other_way():
    from cmcrameri import cm

    for name, table in (("t1", cm.lipari), ("T2", cm.navia), ("T2*", cm.navia)):
        found = relaxometry_table(name, 0.0, 1.0)
        assert np.all(found[0] == 0)
        assert found[-1] == pytest.approx(table(1.0)[:3])
    assert relaxometry_table("R2*", 0.0, 50.0)[-1] == pytest.approx(cm.navia(0.0)[:3])
    with pytest.raises(InputError, match="no recommended colours"):
        relaxometry_table("m0", 0.0, 1.0)


def test_invalid_is_black_and_below_the_range_is_not():
    colours = relaxometry_colormap("t1", 0.5, 2.0)
    assert colours(np.ma.masked_array([1.0], [True]))[0, :3].tolist() == [0, 0, 0]
    assert colours.get_under()[:3] == pytest.approx(colours(0)[:3])


def test_names_of_quantities():
    assert quantity("R2*") is QUANTITIES["r2star"]
    assert quantity("T1\N{GREEK SMALL LETTER RHO}") is QUANTITIES["t1rho"]
    with pytest.raises(ConfigError, match=r"did you mean 't1'\?"):
        quantity("t1x")


@pytest.fixture
def t2():
    values = np.linspace(0.02, 0.3, 20).reshape(4, 5)
    values[0, 0], values[0, 1], values[0, 2] = np.nan, -0.01, 0.0
    return values


def test_a_map_is_drawn_in_milliseconds_and_what_is_invalid_is_masked(t2):
    mask = np.ones((4, 5), bool)
    mask[3, 4] = False
    figure = map_figure({"fit": t2}, quantity="t2", mask=mask)
    ((values, axis),) = [p for p in pixels(figure) if p[1].get_title()]
    assert axis.get_title() == "fit"
    assert values.mask.sum() == 4
    assert values[1, 1] == pytest.approx(1e3 * t2[1, 1])
    assert axis.get_images()[0].get_clim() == (0, 200)
    assert any(a.get_ylabel() == "T2 [ms]" for a in figure.axes)
    colours = drawn(figure).reshape(-1, 4)
    assert np.any(np.all(colours == [0, 0, 0, 255], axis=1))


def test_differences_are_symmetric_and_deviations_start_at_zero():
    values = np.array([[0.01, -0.03], [0.02, np.nan]])
    difference = pixels(map_figure(values, quantity="t2", kind="difference"))[0][1].get_images()[0]
    low, high = difference.get_clim()
    assert low == -high
    assert difference.get_cmap().name == "RdBu_r"
    deviation = pixels(map_figure(np.abs(values), quantity="t2", kind="deviation"))[0][1].get_images()[0]
    assert deviation.get_clim()[0] == 0
    assert deviation.get_array()[0, 1] == pytest.approx(30)


def test_slices_are_those_that_show_something():
    volume = np.full((9, 4, 5), np.nan)
    volume[2:8] = np.arange(2, 8)[:, None, None]
    figure = map_figure(volume, quantity="t1", slices=3)
    shown = [float(v.max()) / 1e3 for v, a in pixels(figure) if not a.get_ylabel()]
    assert shown == [3, 5, 7]
    assert drawn(figure).shape[1] > drawn(figure).shape[0]  # side by side
    one = map_figure(volume, quantity="t1")
    assert pixels(one)[0][0].max() == 5e3


def test_empty_and_odd_maps_can_be_drawn():
    for values in (np.full((3, 3), np.nan), np.zeros((3, 3)), np.full((3, 3), 1e9), np.ones((1, 1)), np.ones((2, 3)) * 1j):
        for kind in ("value", "deviation", "difference"):
            drawn(map_figure(values, quantity="t1", kind=kind))
            drawn(map_figure(values, quantity="m0", kind=kind))


@pytest.mark.parametrize(
    ("maps", "options", "word"),
    [
        ({"a": np.ones((2, 3)), "b": np.ones((3, 2))}, {}, "have the shapes"),
        ({}, {}, "have the shapes"),
        (np.ones((0, 3)), {}, "not empty"),
        (np.ones(3), {}, "has 1 axes"),
        (np.ones((2, 3)), {"mask": np.ones((3, 2))}, "give a mask of the maps' shape"),
        (np.ones((2, 3)), {"low": 2.0, "high": -1.0}, "display range|range"),
    ],
)
def test_maps_that_do_not_fit_are_refused(maps, options, word):
    if options.get("high") == -1.0:
        drawn(map_figure(maps, quantity="m0", **options))  # a grey map takes what comes
        return
    with pytest.raises(InputError, match=word):
        map_figure(maps, quantity="t1", **options)


@pytest.mark.parametrize(
    ("affine", "origin", "aspect"),
    [
        (None, "upper", 1.0),
        (np.diag([1, 2, 5, 1.0]), "lower", 2.0),  # rows run to anterior: up
        (np.diag([1, -2, 5, 1.0]), "upper", 2.0),
        (np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 3, 0, 0], [0, 0, 0, 1.0]]), "lower", 3.0),  # coronal, rows run to superior
    ],
)
def test_which_way_is_up(affine, origin, aspect):
    figure = map_figure(np.ones((3, 4)), quantity="t1", affine=affine)
    (_, axis) = pixels(figure)[0]
    assert axis.get_images()[0].origin == origin
    assert axis.get_aspect() == aspect


def test_fits_show_the_points_in_milliseconds():
    times = np.array([0.01, 0.02, 0.04])
    panel = FitPanel(
        title="v", times=times, signal=[3, 2, 1], curve_times=times, curve=[3, 2, 1], sigma=[0.1] * 3, low=[2, 1, 0], high=[4, 3, 2]
    )
    figure = fit_figure([panel] * 4, time="inversion time")
    assert len(figure.axes) == 4
    axis = figure.axes[0]
    assert axis.get_xlabel() == "inversion time [ms]"
    assert axis.lines[0].get_xdata().tolist() == [10, 20, 40]
    drawn(figure)


def test_curves_carry_their_names_and_differ_in_line_style():
    x = np.linspace(0, 1, 5)
    curves = {f"c{i}": (x, x**i) for i in range(1, 5)}
    for figure in (calibration_figure(curves), sparsification_figure(curves), training_figure({"reward": curves}, window=3)):
        axis = figure.axes[0]
        assert [t.get_text() for t in axis.get_legend().get_texts()][-4:] == list(curves)
        named = [line for line in axis.lines if line.get_label() in curves]
        assert len({(line.get_color(), line.get_linestyle()) for line in named}) == 4
        drawn(figure)


def test_training_curves_with_gaps_are_drawn():
    drawn(training_figure({"reward": {"a": ([0, 1, 2], [np.nan, 1.0, np.inf])}, "kl": {"a": ([0], [1.0])}}, window=2))


@given(values=st.lists(st.floats(-1e3, 1e3) | st.just(math.nan), min_size=1, max_size=20), window=st.integers(1, 25))
def test_running_means_leave_out_what_is_no_number(values, window):
    found = running_mean(np.array(values), window)
    for i, mean in enumerate(found):
        part = np.array(values[max(0, i - window + 1) : i + 1])
        part = part[np.isfinite(part)]
        if window == 1:
            assert mean == values[i] or math.isnan(values[i])
        elif part.size:
            assert mean == pytest.approx(part.mean(), abs=1e-9)
        else:
            assert math.isnan(mean)


def test_confusion_shows_counts_and_shares():
    matrix = np.array([[3, 1, 0], [0, 4, 4]])
    figure = confusion_figure(matrix, ["a", "b", "unreadable"])
    axis = figure.axes[0]
    assert [t.get_text() for t in axis.texts] == ["3", "1", "0", "0", "4", "4"]
    assert axis.get_images()[0].get_array()[1].tolist() == [0, 0.5, 0.5]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]
    drawn(figure)
    drawn(confusion_figure(np.zeros((2, 2), int), ["a", "b"]))
    for bad in (np.ones((3, 2), int), np.ones((2, 3), int)):
        with pytest.raises(InputError, match="2 classes"):
            confusion_figure(bad, ["a", "b"])


@pytest.mark.parametrize("draw", [fit_figure, calibration_figure, sparsification_figure, training_figure])
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(InputError, match="nothing to draw"):
        draw([] if draw is fit_figure else {})


def test_drawing_leaves_no_trace_in_global_state(t2):
    before = dict(mpl.rcParams)
    backend = sys.modules.get("matplotlib.pyplot")
    map_figure(t2, quantity="t2")
    fit_figure([FitPanel(title="v", times=[1.0], signal=[1.0], curve_times=[1.0], curve=[1.0])])
    assert dict(mpl.rcParams) == before
    assert sys.modules.get("matplotlib.pyplot") is backend


def test_a_spread_shows_every_subject_and_marks_those_that_stand_out() -> None:
    panel = SpreadPanel(
        title="T2", unit="ms", names=["a", "b", "c"], median=[80.0, 82.0, 140.0], low=[70.0, 71.0, 120.0], high=[90.0, 95.0, 160.0],
        marked=[False, False, True],
    )  # fmt: skip
    (axis,) = spread_figure([panel]).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b", "c"]
    plain, marked = axis.containers
    np.testing.assert_array_equal(plain[0].get_xydata(), [[0, 80], [1, 82]])
    np.testing.assert_array_equal(marked[0].get_xydata(), [[2, 140]])
    (bars,) = marked[2]
    np.testing.assert_allclose(bars.get_segments()[0], [[2, 120], [2, 160]])
    assert any(np.allclose(line.get_ydata(), 82.0) for line in axis.lines)  # the median of the medians
    with pytest.raises(InputError, match="nothing to draw"):
        spread_figure([])


def test_sampling_shows_points_of_the_grid_and_places_of_readouts() -> None:
    mask = np.zeros((6, 4), bool)
    mask[2] = True
    readout = np.array([[[-3.0, 1.0], [3.0, -1.0]]])
    grid, lines = sampling_figure({"TE 10 ms": mask, "TE 20 ms": readout}).axes
    np.testing.assert_array_equal(grid.images[0].get_array(), mask)
    assert grid.images[0].origin == "lower"
    (line,) = lines.lines
    np.testing.assert_array_equal(line.get_xydata(), [[1.0, -3.0], [-1.0, 3.0]])  # k_x to the right, k_y upwards
    with pytest.raises(InputError, match="sampling figure"):
        sampling_figure({})
