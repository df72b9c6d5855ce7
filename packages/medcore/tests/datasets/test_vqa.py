"""Questions about images in JSON Lines."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.datasets import Dataset, VqaLines
from medcore.datasets.vqa import MAX_ANSWERS, MAX_LINE_BYTES
from medcore.errors import InputError

GOOD = {"image": "images/0.png", "question": "Is there fluid?", "answer": "no"}


def test_questions_and_answers(write_vqa, picture):
    folder = write_vqa(
        GOOD,
        "",
        GOOD | {"image": "images/1.png", "answer": "yes", "choices": ["yes", "no"], "subject": "p4", "split": "test", "id": "q7"},
    )
    found = VqaLines(folder)
    assert isinstance(found, Dataset)
    first, second = found
    assert (first.question, first.answer, first.choices, first.subject) == ("Is there fluid?", "no", (), None)
    assert (second.sample_id, second.choices, second.subject, second.split) == ("q7", ("yes", "no"), "p4", "test")
    assert first.sample_id == "vqa-000001"
    assert np.array_equal(second.image, picture(1))
    card = found.card
    assert (card.task, card.classes, card.class_counts, card.splits) == ("vqa", ("no", "yes"), {"no": 1, "yes": 1}, {"test": 1})
    assert len(VqaLines(folder / "vqa.jsonl", split="test")) == 1


def test_many_answers_are_not_counted(write_vqa):
    card = VqaLines(write_vqa(*[GOOD | {"answer": f"about {i} mm"} for i in range(MAX_ANSWERS + 1)])).card
    assert (card.classes, card.class_counts) == ((), {})
    assert card.notes == ("101 different answers occur, too many to count each",)


def test_fields_that_are_not_read_are_told(write_vqa):
    assert VqaLines(write_vqa(GOOD | {"source": 3})).card.notes == ("the field 'source' of 1 lines is not read",)


def test_images_elsewhere(write_vqa, tmp_path):
    folder = write_vqa(GOOD | {"image": "0.png"})
    with pytest.raises(InputError, match=r"line 1: names '0\.png', which is not in"):
        VqaLines(folder)
    assert len(VqaLines(folder, images=folder / "images")) == 1
    (folder / "more.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"holds more.jsonl, vqa.jsonl; give the file itself"):
        VqaLines(folder)
    with pytest.raises(InputError, match=r"holds no .jsonl file"):
        VqaLines(tmp_path)


BAD = {
    "no JSON": ('{"image": ', "line 2: is not valid JSON"),
    "list": ("[]", "line 2: holds list, not an object"),
    "key twice": ('{"image": "a", "image": "b"}', "line 2: states 'image' twice"),
    "NaN": ('{"image": NaN}', "line 2: holds NaN"),
    "no question": ({"image": "images/0.png", "answer": "no"}, "line 2: has question = None, not a text"),
    "no answer": ({"image": "images/0.png", "question": "x"}, "line 2: has answer = None, not a text"),
    "no image": ({"question": "x", "answer": "no"}, "line 2: has image = None, not a text"),
    "blank": (GOOD | {"answer": "  "}, "line 2: has answer = ' ', not a text"),
    "number": (GOOD | {"answer": 3}, "line 2: has answer = 3, not a text"),
    "NUL": (GOOD | {"question": "a\0b"}, "line 2: has a NUL character in question"),
    "raw NUL": ('{"image": "a\0"}', "line 2: is not valid JSON"),
    "lone surrogate": (GOOD | {"answer": "\udc00"}, r"line 2: has half of a surrogate pair \(U\+DC00\) in answer"),
    "raw surrogate": ('{"answer": "\ud800"}', "line 2: is not UTF-8 text"),
    "up": (GOOD | {"image": "../x.png"}, "line 2: names the file '../x.png'"),
    "absolute": (GOOD | {"image": "/etc/passwd"}, "line 2: names the file '/etc/passwd'"),
    "missing": (GOOD | {"image": "images/9.png"}, "line 2: names 'images/9.png', which is not in"),
    "folder": (GOOD | {"image": "images"}, "line 2: names 'images', which is not in"),
    "one choice": (GOOD | {"choices": ["no"]}, r"line 2: has choices = \['no'\]; give a list of two or more"),
    "choice twice": (GOOD | {"choices": ["no", "no"]}, "line 2: repeats a choice"),
    "no such choice": (GOOD | {"choices": ["a", "b"]}, "line 2: has the answer 'no', no choice"),
    "choice no text": (GOOD | {"choices": ["no", 2]}, "line 2: has choices = 2, not a text"),
    "empty subject": (GOOD | {"subject": ""}, "line 2: has subject = '', not a text"),
    "id twice": (GOOD | {"id": "vqa-000001"}, "has the identifier 'vqa-000001' twice"),
    "deep": ("[" * 200_000, "line 2: is not valid JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lines(write_vqa, name):
    line, words = BAD[name]
    with pytest.raises(InputError, match=words):
        VqaLines(write_vqa(GOOD, line))


def test_a_line_of_more_than_10_mb_is_refused_before_it_is_parsed(write_vqa):
    line = json.dumps(GOOD | {"question": "x" * MAX_LINE_BYTES})
    with pytest.raises(InputError, match="line 2: has more than 10000000 bytes"):
        VqaLines(write_vqa(GOOD, line))


def test_empty_files(write_vqa):
    folder = write_vqa("", "  ")
    with pytest.raises(InputError, match="holds no questions"):
        VqaLines(folder)
    (folder / "vqa.jsonl").write_bytes(b"")
    with pytest.raises(InputError, match=r"vqa.jsonl: is empty"):
        VqaLines(folder)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(lambda t: t == t.strip())


@given(st.lists(st.tuples(TEXT, TEXT, st.none() | TEXT, st.sampled_from([0, 1])), min_size=1, max_size=5), st.booleans())
def test_any_text_comes_back(write_vqa, picture, rows, ascii_only):
    lines = [
        json.dumps({"image": f"images/{i}.png", "question": q, "answer": a, "subject": s}, ensure_ascii=ascii_only)
        for q, a, s, i in rows
    ]
    found = VqaLines(write_vqa(*lines))
    assert [(s.question, s.answer, s.subject) for s in found] == [(q, a, s) for q, a, s, _ in rows]
    assert all(np.array_equal(s.image, picture(i)) for s, (*_, i) in zip(found, rows, strict=True))


@given(st.binary(max_size=80), st.integers(0, 160))
def test_damaged_lines_raise_nothing_else(write_vqa, junk, place):
    folder = write_vqa(GOOD, GOOD | {"choices": ["yes", "no"]})
    content = (folder / "vqa.jsonl").read_bytes()
    (folder / "vqa.jsonl").write_bytes(content[:place] + junk + content[place + len(junk) :])
    with contextlib.suppress(InputError):
        VqaLines(folder)
