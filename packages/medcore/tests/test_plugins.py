"""One door for built-ins and guests, tested with real installed distributions on the path."""

from __future__ import annotations

import sys

import pytest

from medcore.errors import ConfigError
from medcore.plugins import Registry, unknown_name

GROUP = "medcore_tests.things"
REGISTRY = Registry(group=GROUP, kind="thing")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay down a distribution with entry points and modules, as pip would."""

    def lay_down(distribution, entries, **modules):
        site = tmp_path / distribution
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()))
        for name, code in modules.items():
            (site / f"{name}.py").write_text(code)
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(str(site))

    return lay_down


def test_a_guest_is_found_by_name_and_by_module(install):
    install("guestone", {"beta": "guestone_a:B.c", "alpha": "guestone_a:a"}, guestone_a="a = 1\nclass B:\n    c = 2\n")
    assert REGISTRY.names() == ["alpha", "beta"]
    assert (REGISTRY.load("alpha"), REGISTRY.load("beta")) == (1, 2)
    assert REGISTRY.load("guestone_a:B.c") == 2


def test_a_file_of_the_current_folder_is_found_by_an_installed_command(tmp_path, monkeypatch):
    (tmp_path / "own_things.py").write_text("mine = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    assert REGISTRY.load("own_things:mine") == 3
    monkeypatch.delitem(sys.modules, "own_things")


def test_listing_imports_nothing(install):
    install("guesttwo", {"broken": "guesttwo_a:a"}, guesttwo_a="raise RuntimeError('imported')")
    assert REGISTRY.names() == ["broken"]
    assert "guesttwo_a" not in sys.modules


def test_two_owners_of_a_name_are_both_shown(install):
    install("guestthree", {"same": "one:a"})
    install("guestfour", {"same": "two:a"})
    with pytest.raises(ConfigError, match="offered twice") as caught:
        REGISTRY.names()
    assert "guestthree (one:a)" in str(caught.value)
    assert "guestfour (two:a)" in str(caught.value)


def test_an_unknown_name_names_the_nearest(install):
    install("guestfive", {"alpha": "x:a", "beta": "x:a"})
    with pytest.raises(ConfigError, match=r"thing 'alpa': is not one of alpha, beta; did you mean 'alpha'\?"):
        REGISTRY.load("alpa")


def test_nothing_installed_is_said():
    assert "(none installed)" in str(unknown_name("thing", "x", []))


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("no_such_module_anywhere:a", "No module named"),
        ("guestsix_a:absent", "no attribute 'absent'"),
        ("guestsix_a:", "cannot be imported"),
        (":a", "cannot be imported"),
        ("..a:b", "cannot be imported"),
        ("guestsix_syntax:a", "SyntaxError"),
        ("guestsix_raises:a", "RuntimeError: at import"),
    ],
)
def test_whatever_an_import_raises_is_one_error(install, name, word):
    modules = {"guestsix_a": "a = 1", "guestsix_syntax": "a = = 1", "guestsix_raises": "raise RuntimeError('at import')"}
    install("guestsix", {}, **modules)
    with pytest.raises(ConfigError, match=word):
        REGISTRY.load(name)
