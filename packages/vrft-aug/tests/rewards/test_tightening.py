from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError, InputError
from vrft_aug.rewards import Tightening, TightenSettings

SETTINGS = st.builds(
    lambda start, width, step, target, window, fewest: TightenSettings(
        start=start, stop=min(1.0, start + width), step=step, target=target, window=window, min_samples=fewest
    ),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0.01, 0.5),
    st.floats(0.01, 1),
    st.integers(1, 4),
    st.integers(1, 12),
)
VALUES = st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8)
ROUNDS = st.lists(VALUES, max_size=40)


def rule(**changes: Any) -> TightenSettings:
    return TightenSettings(**({"start": 0.5, "stop": 0.8, "step": 0.1, "target": 0.5, "window": 2, "min_samples": 4} | changes))


@given(SETTINGS, ROUNDS)
def test_the_threshold_never_falls_and_stays_between_start_and_stop(settings: TightenSettings, rounds: list[list[float]]) -> None:
    schedule = Tightening(settings=settings)
    seen = [schedule.threshold]
    for values in rounds:
        rose = schedule.observe(values)
        seen.append(schedule.threshold)
        assert rose == (seen[-1] > seen[-2])
    assert seen[0] == settings.start
    assert all(settings.start <= value <= settings.stop for value in seen)
    assert all(a <= b <= a + settings.step + 1e-9 for a, b in pairwise(seen))


@given(SETTINGS)
def test_perfect_scores_reach_the_stop_and_no_further(settings: TightenSettings) -> None:
    schedule = Tightening(settings=settings)
    needed = settings.last_level * max(settings.window, settings.min_samples)
    for _ in range(needed):
        schedule.observe([1.0] * settings.min_samples)
    assert schedule.threshold == settings.stop
    assert not schedule.observe([1.0] * settings.min_samples)
    assert schedule.rounds == []


@given(SETTINGS, ROUNDS)
def test_what_was_not_judged_does_not_count(settings: TightenSettings, rounds: list[list[float]]) -> None:
    plain, mixed = Tightening(settings=settings), Tightening(settings=settings)
    for values in rounds:
        plain.observe([v for v in values if not math.isnan(v)])
        mixed.observe([math.nan, *values, math.nan])
    assert plain == mixed


@given(SETTINGS, ROUNDS, st.integers(0, 40))
def test_a_saved_state_goes_on_as_if_nothing_had_happened(settings: TightenSettings, rounds: list[list[float]], when: int) -> None:
    whole, first = Tightening(settings=settings), Tightening(settings=settings)
    for values in rounds:
        whole.observe(values)
    for values in rounds[:when]:
        first.observe(values)
    second = Tightening(settings=settings)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for values in rounds[when:]:
        second.observe(values)
    assert second == whole


def test_it_rises_only_when_every_condition_holds() -> None:
    good, bad = [0.9, 0.5], [0.49, 0.1]
    cases: list[tuple[str, TightenSettings, list[list[float]], float]] = [
        ("all hold", rule(), [good, good], 0.6),
        ("exactly at the target", rule(), [good, bad], 0.6),
        ("the window is not full", rule(), [good * 5], 0.5),
        ("too few samples", rule(min_samples=5), [good, good], 0.5),
        ("too few judged samples", rule(), [[0.9, math.nan], [0.9, math.nan, 0.9]], 0.5),
        ("below the target", rule(target=0.51), [good, bad], 0.5),
        ("old rounds are forgotten", rule(target=0.75), [bad, bad, good, good], 0.6),
        ("rounds before a rise do not count again", rule(), [good, good, good], 0.6),
        ("the share is that of the new threshold", rule(), [good, good, [0.55, 0.55], [0.55, 0.55]], 0.6),
        ("nothing but unjudged", rule(min_samples=1), [[math.nan]] * 5, 0.5),
    ]
    for why, settings, rounds, expected in cases:
        schedule = Tightening(settings=settings)
        for values in rounds:
            schedule.observe(values)
        assert schedule.threshold == pytest.approx(expected), why


@pytest.mark.parametrize(
    ("settings", "levels"),
    [
        (rule(), [0.5, 0.6, 0.7, 0.8, 0.8]),
        (rule(stop=0.75), [0.5, 0.6, 0.7, 0.75, 0.75]),
        (rule(stop=0.5), [0.5, 0.5]),
        (rule(stop=0.5 + 1e-15), [0.5, 0.5 + 1e-15, 0.5 + 1e-15]),
        (TightenSettings(start=0.3, stop=0.6, step=0.1), [0.3, 0.4, 0.5, 0.6, 0.6]),
    ],
)
def test_levels(settings: TightenSettings, levels: list[float]) -> None:
    assert [settings.threshold(i) for i in range(len(levels))] == pytest.approx(levels)
    assert settings.threshold(settings.last_level) == settings.stop
    assert settings.last_level == len(levels) - 2


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"start": 0.9, "stop": 0.5}, "goes from 0.9 to 0.5"),
        ({"start": -0.1}, "goes from -0.1"),
        ({"stop": 1.1}, "to 1.1"),
        ({"start": math.nan}, "goes from nan"),
        ({"step": 0.0}, "step: is 0.0"),
        ({"target": 0.0}, "target: is 0.0"),
        ({"target": 1.2}, "target: is 1.2"),
        ({"window": 0}, "window: is 0"),
        ({"min_samples": 0}, "min_samples: is 0"),
    ],
)
def test_rules_without_meaning_are_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        TightenSettings(**settings)


@pytest.mark.parametrize(
    "state",
    [{}, {"level": 0}, {"level": "x", "rounds": []}, {"level": 9, "rounds": []}, {"level": -1, "rounds": []}]
    + [{"level": 0, "rounds": rounds} for rounds in ([[1, 2]], [[1]], [[-1, -2]], [[2, 1]] * 3, 5)],
)
def test_a_state_of_another_rule_is_refused_and_changes_nothing(state: dict[str, Any]) -> None:
    schedule = Tightening(settings=rule(), level=1, rounds=[(3, 1)])
    with pytest.raises(InputError, match=r"state of a threshold.*start the stage again"):
        schedule.load_state_dict(state)
    assert (schedule.level, schedule.rounds) == (1, [(3, 1)])
