"""Strict settings: what goes out comes back, and whatever is wrong is named."""

from __future__ import annotations

import contextlib
import json
import string
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medcore.config import MAX_BYTES, from_mapping, load_yaml, parse_yaml, set_value, to_mapping, unknown_key
from medcore.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    factor: float = 1.0
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    steps: int
    rate: float = 1e-3
    fast: bool = False
    mode: Literal["a", "b", 3] = "a"
    size: tuple[int, float, str] = (1, 2.0, "x")
    levels: tuple[float, ...] = ()
    tags: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    path: Path | None = None
    count_or_name: int | str = 0
    anything: Any = None

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError(f"steps is {self.steps}, below 0")


finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(codec="utf-8"), max_size=8)
inners = st.builds(Inner, factor=finite, name=st.none() | text)
everything = st.builds(
    Settings,
    steps=st.integers(0, 10**30),
    rate=finite,
    fast=st.booleans(),
    mode=st.sampled_from(["a", "b", 3]),
    size=st.tuples(st.integers(), finite, text),
    levels=st.lists(finite, max_size=3).map(tuple),
    tags=st.lists(text, max_size=3),
    weights=st.dictionaries(text, finite, max_size=3),
    inner=inners,
    many=st.lists(inners, max_size=2).map(tuple),
    path=st.none() | st.text(string.ascii_letters + "/", min_size=1).map(Path),
    count_or_name=st.integers() | text,
    anything=st.none() | st.booleans() | finite | text,
)


@given(settings=everything)
def test_settings_survive_the_way_through_json(settings):
    plain = json.loads(json.dumps(to_mapping(settings), allow_nan=False))
    assert from_mapping(Settings, plain) == settings


@given(settings=everything)
def test_settings_survive_the_way_through_a_yaml_file(settings, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(to_mapping(settings), default_style='"'), encoding="utf-8")
    assert from_mapping(Settings, load_yaml(path)) == settings


@pytest.mark.parametrize("name", [f.name for f in fields(Settings)])
def test_an_unknown_key_names_its_nearest_neighbour(name):
    with pytest.raises(ConfigError, match=rf"settings\.{name}x: is unknown, valid are steps, .*did you mean '{name}'\?"):
        from_mapping(Settings, {f"{name}x": 1})


def test_a_key_like_nothing_else_is_to_be_removed():
    assert str(unknown_key("recipe", "zzzzzz", ["alpha", "beta"])) == "recipe.zzzzzz: is unknown, valid are alpha, beta; remove it"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, r"s\.steps: is required and missing"),
        ({"steps": True}, r"s\.steps: must be a whole number, got True"),
        ({"steps": 1.0}, "a whole number, got 1.0"),
        ({"steps": "1"}, "a whole number, got '1'"),
        ({"steps": None}, "a whole number, got None"),
        ({"steps": 1, "rate": True}, r"s\.rate: must be a number, got True"),
        ({"steps": 1, "rate": "fast"}, "a number, got 'fast'"),
        ({"steps": 1, "rate": float("nan")}, "a finite number, got nan"),
        ({"steps": 1, "rate": float("inf")}, "a finite number, got inf"),
        ({"steps": 1, "rate": 10**400}, "a finite number"),
        ({"steps": 1, "fast": 1}, "true or false, got 1"),
        ({"steps": 1, "mode": "c"}, "'a' or 'b' or 3, got 'c'"),
        ({"steps": 1, "mode": 3.0}, "got 3.0"),
        ({"steps": 1, "mode": ["a"]}, r"got \['a'\]"),
        ({"steps": 1, "size": [1, 2.0]}, r"s\.size: must be a list of 3"),
        ({"steps": 1, "size": [1, 2.0, "x", 4]}, "a list of 3"),
        ({"steps": 1, "size": [1, "x", "x"]}, r"s\.size\.1: must be a number"),
        ({"steps": 1, "size": "abc"}, "a list, got 'abc'"),
        ({"steps": 1, "levels": [1, 2, "x"]}, r"s\.levels\.2: must be a number"),
        ({"steps": 1, "tags": "abc"}, "must be a list"),
        ({"steps": 1, "weights": [1]}, "must be a mapping"),
        ({"steps": 1, "weights": {"a": "b"}}, r"s\.weights\.a: must be a number"),
        ({"steps": 1, "inner": 3}, r"s\.inner: is a int, not a mapping"),
        ({"steps": 1, "inner": {"factr": 3}}, r"s\.inner\.factr: is unknown.*'factor'"),
        ({"steps": 1, "many": [{}, {"factor": "x"}]}, r"s\.many\.1\.factor: must be a number"),
        ({"steps": 1, "path": 3}, "must be a path, got 3"),
        ({"steps": 1, "count_or_name": 1.5}, "a whole number or text, got 1.5"),
        ({"steps": 1, 7: 1}, r"s\.7: is unknown"),
        ({"steps": -1}, "s: steps is -1, below 0"),
        ([("steps", 1)], "is a list, not a mapping"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(changes, word):
    with pytest.raises(ConfigError, match=word):
        from_mapping(Settings, changes, "s")


def test_a_whole_number_is_taken_where_a_number_is_expected():
    settings = from_mapping(Settings, {"steps": 1, "rate": 2, "levels": [1]})
    assert (settings.rate, type(settings.rate)) == (2.0, float)
    assert type(settings.levels[0]) is float


def test_the_given_mapping_is_not_changed():
    given_values = {"steps": 1, "weights": {"a": 1}, "tags": ["x"]}
    before = json.dumps(given_values)
    from_mapping(Settings, given_values)
    assert json.dumps(given_values) == before


# --- YAML


@pytest.mark.parametrize(
    ("written", "value"), [("1e-5", 1e-5), ("1E3", 1e3), ("-2.5e-3", -2.5e-3), (".5e2", 50.0), ("1.0e+3", 1e3)]
)
def test_numbers_with_exponents_are_numbers(written, value):
    assert parse_yaml(f"rate: {written}", "x") == {"rate": value}


@pytest.mark.parametrize("written", ["1e", "e5", "1e5x", "0x1e5", "v1e5", "1e-5 s"])
def test_what_only_looks_like_an_exponent_is_none(written):
    value = parse_yaml(f"rate: {written}", "x")["rate"]
    assert value == (0x1E5 if written == "0x1e5" else written)


def test_an_empty_file_is_an_empty_mapping():
    assert parse_yaml("", "x") == parse_yaml("# nothing\n", "x") == {}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("a: 1\nb: 2\na: 3\n", r"key 'a' stands twice \(line 3\)"),
        ("x:\n  a: 1\n  a: 1\n", "key 'a' stands twice"),
        ("a: &x 1\nb: *x\n", "aliases are not allowed"),
        ("a: &a [*a]\n", "aliases"),
        ("[1, 2]", "holds a list, not a mapping"),
        ("just text", "holds a str"),
        ("7: a", "the key 7, which is not text"),
        ("?", "the key None, which is not text"),
        ("no: a", "the key False, which is not text"),
        ("a: [1", "not valid YAML"),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("a: !!python/name:os.system", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        ("a: !!float ''", "not valid YAML"),
        ("a: !!bool perhaps", "not valid YAML"),
        ("a: !!int x", "not valid YAML"),
        ("a: 2020-13-45", "not valid YAML"),
        ("? [a]\n: 1", "not valid YAML"),
        ("!!map [a]", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("a: " + "[" * 5000, "not valid YAML"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_bad_yaml_is_one_error(content, word):
    with pytest.raises(ConfigError, match=word) as caught:
        parse_yaml(content, "recipe.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("recipe.yaml: ")


@given(content=st.text(st.sampled_from("ab1!&*?:-[]{},#|>'\"%@` \n\t.eE+~<=") | st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_a_mapping_or_one_error(content):
    with contextlib.suppress(ConfigError):
        assert isinstance(parse_yaml(content, "x"), dict)


def test_a_file_of_many_keys_is_read_in_time():
    content = "".join(f"k{i}:\n" for i in range(20_000))
    begin = time.process_time()
    assert len(parse_yaml(content, "x")) == 20_000
    assert time.process_time() - begin < 30  # comparing each key with each took minutes


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "No such file"),
        (b"\xff\xfe\x00a", "not UTF-8"),
        (b"#" * (MAX_BYTES + 1), "more than 1000000"),
        ("folder", "directory"),
    ],
)
def test_bad_files_are_named(content, word, tmp_path):
    path = tmp_path / "x.yaml"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"x\.yaml: .*{word}"):
        load_yaml(path)


# --- --set


def test_values_are_set_deep_in_mappings_and_lists():
    mapping: dict[str, Any] = {"stages": [{"lr": 1}, {"lr": 2}], "name": "x"}
    for assignment in ("stages.1.lr=1e-4", "stages.0={a: [1, 2]}", "new.deep.key=true", "name=", "text='a=b'"):
        set_value(mapping, assignment)
    assert mapping == {"stages": [{"a": [1, 2]}, {"lr": 1e-4}], "new": {"deep": {"key": True}}, "name": None, "text": "a=b"}


@pytest.mark.parametrize(
    ("assignment", "word"),
    [
        ("a", "not of the form"),
        ("=1", "not of the form"),
        ("a..b=1", "not of the form"),
        ("name.x=1", "inside a plain value|nothing at"),
        ("name.x.y=1", "nothing at"),
        ("stages.2.lr=1", "nothing at '2'"),
        ("stages.-1=1", "nothing at '-1'"),
        ("stages.²=1", "nothing at '²'"),
        ("stages.x=1", "nothing at 'x'"),
        ("a=[1", "not valid YAML"),
        ("a=b: c", "not valid YAML"),
    ],
)
def test_bad_assignments_change_nothing(assignment, word):
    mapping = {"stages": [{"lr": 1}], "name": "x"}
    before = json.dumps(mapping)
    with pytest.raises(ConfigError, match=word):
        set_value(mapping, assignment)
    assert json.dumps(mapping) == before
