from __future__ import annotations

import pickle  # noqa: TID251 - what trainers do with rewards
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import ConfigError
from vrft_aug.rewards import (
    REGISTRY,
    Accuracy,
    BoxIou,
    Calibration,
    Format,
    Length,
    MultiGradeFuzzy,
    Recitation,
    RewardSettings,
    build_reward,
    parse_spec,
)
from vrft_aug.rewards.building import describe_rewards

BUILT_IN = {
    "accuracy": Accuracy,
    "box_iou": BoxIou,
    "calibration": Calibration,
    "format": Format,
    "length": Length,
    "multi_grade_fuzzy": MultiGradeFuzzy,
    "recitation": Recitation,
}


@pytest.fixture(autouse=True)
def plugin_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("plugin_rewards", None)


def test_the_built_ins_come_in_through_the_public_door() -> None:
    assert set(BUILT_IN) <= set(REGISTRY.names())
    for name, kind in BUILT_IN.items():
        reward = build_reward(RewardSettings(name=name))
        assert type(reward.reward) is kind
        assert reward.__name__ == name == kind().__name__


def test_options_are_checked_strictly_and_names_follow_the_label() -> None:
    settings = RewardSettings(name="multi_grade_fuzzy", options={"kernel": "linear", "under": 1}, label="near misses")
    reward = build_reward(settings)
    assert reward.reward == MultiGradeFuzzy(kernel="linear", under=1.0)
    assert reward.__name__ == "near misses"
    with pytest.raises(ConfigError, match=r"multi_grade_fuzzy.kernal: is unknown.*did you mean 'kernel'"):
        build_reward(RewardSettings(name="multi_grade_fuzzy", options={"kernal": "linear"}))
    with pytest.raises(ConfigError, match="must be 'geometric' or"):
        build_reward(RewardSettings(name="multi_grade_fuzzy", options={"kernel": "cubic"}))
    with pytest.raises(ConfigError, match=r"base: is 2\.0"):
        build_reward(RewardSettings(name="multi_grade_fuzzy", options={"base": 2}))
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        build_reward(RewardSettings(name="acuracy"))


@pytest.mark.parametrize(
    ("name", "options", "value"),
    [
        ("plugin_rewards:constant", {}, 0.5),
        ("plugin_rewards:constant", {"value": 0.125}, 0.125),
        ("plugin_rewards:Plain", {"value": 0.375}, 0.375),
        ("plugin_rewards:Strict", {"value": 1}, 1.0),
        ("plugin_rewards:ready", {}, 0.75),
    ],
)
def test_rewards_of_strangers(name: str, options: dict[str, Any], value: float) -> None:
    reward = build_reward(RewardSettings(name=name, options=options))
    assert reward(prompts=[""], completions=["x"], completion_ids=[[1]], trainer_state=None) == [value]
    assert pickle.loads(pickle.dumps(reward))(prompts=[""], completions=["x"]) == [value]  # noqa: S301


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("plugin_rewards:Strict", {}, "Strict.value: is required"),
        ("plugin_rewards:ready", {"value": 1.0}, "takes no options, got value"),
        ("plugin_rewards:Plain", {"volume": 1.0}, "does not take these options"),
        ("plugin_rewards:narrow", {"nope": 1}, "does not take these options"),
        ("plugin_rewards:narrow", {}, "cannot be called like a reward"),
        ("plugin_rewards:later", {}, "is asynchronous"),
        ("plugin_rewards:number", {}, "is a int, not a callable"),
        ("plugin_rewards:nothing", {}, "cannot be imported"),
        ("no_such_module:x", {}, "cannot be imported"),
    ],
)
def test_what_is_no_reward_is_refused(name: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build_reward(RewardSettings(name=name, options=options))


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("accuracy", "accuracy", {}),
        ("accuracy:negative=normal,letters=false", "accuracy", {"negative": "normal", "letters": False}),
        (
            "multi_grade_fuzzy:kernel=table,table=[0.5, 0.1],under=0.5",
            "multi_grade_fuzzy",
            {"kernel": "table", "table": [0.5, 0.1], "under": 0.5},
        ),
        (
            "accuracy: synonyms = {normal: [healthy, clear]} , letters = true",
            "accuracy",
            {"synonyms": {"normal": ["healthy", "clear"]}, "letters": True},
        ),
        ("package.module:Reward", "package.module:Reward", {}),
        ("package.module:Reward:value=0.5", "package.module:Reward", {"value": 0.5}),
        ("module:Reward:", "module:Reward", {}),
    ],
)
def test_specifications(text: str, name: str, options: dict[str, Any]) -> None:
    assert parse_spec(text) == RewardSettings(name=name, options=options)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "has no name"),
        (":a=1", "has no name"),
        ("accuracy:negative", "not of the form key=value"),
        ("accuracy:normal,negative=normal", "not of the form key=value"),
        ("accuracy:letters=true,letters=false", "has the option letters twice"),
        ("multi_grade_fuzzy:table=[0.5", "is not valid YAML"),
    ],
)
def test_wrong_specifications(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        parse_spec(text)


@given(st.text(max_size=60))
def test_any_text_is_a_specification_or_a_known_error(text: str) -> None:
    try:
        settings = parse_spec(text)
    except ConfigError:
        return
    assert settings.name


def test_rewards_describe_themselves() -> None:
    found = {entry["name"]: entry for entry in describe_rewards()}
    assert found["multi_grade_fuzzy"]["options"]["base"] == 0.25
    assert found["box_iou"]["package"] == "vrft-aug"
    assert all(found[name]["summary"].endswith((".", "0.")) for name in BUILT_IN)


@pytest.mark.parametrize(
    ("settings", "match"), [({"name": " "}, "has no name"), ({"name": "format", "weight": float("nan")}, "weight nan")]
)
def test_settings(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        RewardSettings(**settings)
