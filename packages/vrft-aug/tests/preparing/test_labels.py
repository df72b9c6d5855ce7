"""Slips of the pen among labels, and tables that are written in every usual way."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import makers as m
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import InputError
from vrft_aug.data import DataSettings, open_whole
from vrft_aug.preparing.labels import typos


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"cyst": 10, "Cyst": 2}, {"Cyst": "cyst"}),
        ({"no finding": 5, "No_Finding": 5}, {"no finding": "No_Finding"}),
        ({"pneumonia": 50, "pnuemonia": 1}, {"pnuemonia": "pneumonia"}),
        ({"pneumonia": 50, "pneumonie": 5}, {"pneumonie": "pneumonia"}),
        ({"pneumonia": 50, "pneumonie": 6}, {}),  # too frequent for a slip
        ({"lung nodule": 20, "lung noduel": 1}, {"lung noduel": "lung nodule"}),
        ({"grade 1": 100, "grade 2": 1}, {}),
        ({"stage I": 100, "stage II": 1, "stage IV": 1}, {}),
        ({"type a": 100, "type b": 1}, {}),
        ({"1": 100, "11": 1}, {}),
        ({"normal": 100, "abnormal": 1}, {}),
        ({"hypertension": 100, "hypotension": 1}, {}),
        ({"left": 100, "lift": 1}, {}),  # four letters may be another word
        ({"+": 3, "-": 2}, {}),
        ({}, {}),
    ],
)
def test_slips(counts: dict[str, int], expected: dict[str, str]) -> None:
    assert typos(counts) == expected


@given(st.dictionaries(st.text(max_size=12), st.integers(1, 200), max_size=8))
def test_a_slip_is_rarer_than_what_it_was_meant_to_be_and_that_is_none(counts: dict[str, int]) -> None:
    found = typos(counts)
    assert set(found) <= set(counts)
    for wrong, right in found.items():
        assert right not in found
        assert counts[wrong] <= counts[right]


@given(st.text(alphabet="abcdefghij", min_size=5, max_size=12), st.data())
def test_one_swapped_pair_of_letters_is_found(word: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(word) - 2))
    slip = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    assert typos({word: 100, slip: 1}) == ({} if slip == word else {slip: word})


LABEL = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=20).filter(
    lambda s: s.strip() == s and s.strip()
)


@given(st.lists(LABEL, min_size=2, max_size=6), st.sampled_from(",;\t"), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_tables_of_every_usual_kind_are_read_alike(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str], delimiter: str, bom: bool, end: str
) -> None:
    folder = tmp_path_factory.mktemp("t")
    m.table(folder, ["x"] * len(labels))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    writer.writerow(["Image", "Label"])
    writer.writerows([f"a{i}.png", label] for i, label in enumerate(labels))
    (folder / "labels.csv").write_bytes(text.getvalue().encode("utf-8-sig" if bom else "utf-8"))
    dataset = open_whole(DataSettings(kind="folder", path=folder))
    assert [a.label for a in dataset.annotations] == labels
    assert dataset.classes == tuple(
        sorted(set(labels), key=lambda n: (int(n), n) if all(x.isdecimal() for x in labels) else (0, n))
    )


def test_a_table_in_another_encoding_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = m.table(tmp_path)
    for name in ("utf-16", "cp1252"):
        (folder / "labels.csv").write_bytes("image,label\na0.png,Käfer\n".encode(name))
        with pytest.raises(InputError, match="is not UTF-8 text") as caught:
            open_whole(DataSettings(kind="folder", path=folder))
        assert "save it as UTF-8" in str(caught.value)
