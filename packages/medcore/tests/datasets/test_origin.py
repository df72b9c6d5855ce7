"""Licence and source: said, found, or not stated."""

from __future__ import annotations

import pytest

from medcore.datasets import GradedFolder
from medcore.datasets.origin import find_origin
from medcore.errors import ConfigError


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({}, "not stated"),
        ({"LICENSE": "\n  MIT License\n\nCopyright\n"}, "MIT License (first line of LICENSE)"),
        ({"licence.txt": "# CC BY 4.0 #\nmore\n"}, "CC BY 4.0 (first line of licence.txt)"),
        ({"LICENSE": "\n \n"}, "not stated"),
        ({"LICENSE.py": "MIT\n"}, "not stated"),
        ({"README.md": "---\nlicense: cc-by-4.0\ntags: [x]\n---\n# Eyes\n", "LICENSE": "MIT\n"}, "cc-by-4.0"),
        ({"README.md": "---\nlicense: [mit, cc0-1.0]\n---\n"}, "mit, cc0-1.0"),
        ({"README.md": "---\nlicense: {a: b\n---\n", "LICENSE": "MIT\n"}, "MIT (first line of LICENSE)"),
        ({"README.md": "---\nlicense: mit\n"}, "not stated"),
        ({"README.md": "license: mit\n"}, "not stated"),
        ({"LICENSE": "A\x1b[31mB\x07 C\n"}, "A [31mB C (first line of LICENSE)"),
        ({"LICENSE": "x" * 500}, "x" * 200 + " (first line of LICENSE)"),
    ],
)
def test_what_a_folder_states(tmp_path, files, licence):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert find_origin(tmp_path) == (licence, "not stated")


def test_what_the_caller_says_counts_first(graded):
    (graded / "LICENSE").write_text("MIT\n")
    assert GradedFolder(graded).card.licence == "MIT (first line of LICENSE)"
    card = GradedFolder(graded, licence=" CC BY 4.0 ", source="our clinic").card
    assert (card.licence, card.source) == ("CC BY 4.0", "our clinic")


@pytest.mark.parametrize("value", ["", "  ", "two\nlines", "x" * 201, "bell\x07"])
def test_one_line_is_wanted(tmp_path, value):
    with pytest.raises(ConfigError, match="licence: is "):
        find_origin(tmp_path, licence=value)
    with pytest.raises(ConfigError, match="source: is "):
        find_origin(tmp_path, source=value)


def test_a_licence_that_is_a_folder_or_too_large_is_not_stated(tmp_path):
    (tmp_path / "LICENSE").mkdir()
    (tmp_path / "LICENSE.txt").write_bytes(b"x" * ((1 << 20) + 1))
    assert find_origin(tmp_path).licence == "not stated"
