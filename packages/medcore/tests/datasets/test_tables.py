"""CSV tables: what is read, and the line that is to blame when it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.datasets.tables import read_table
from medcore.errors import InputError


@pytest.fixture
def write(tmp_path):
    def make(content: str | bytes):
        path = tmp_path / "t.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_line_ends_marks_and_empty_lines(write, delimiter, end):
    lines = (
        ["a,b", "1, x ", "", '2,"y, z"'] if delimiter == "," else [f"a{delimiter}b", f"1{delimiter} x ", "", f"2{delimiter}y, z"]
    )
    table = read_table(write("\ufeff" + end.join(lines) + end))
    assert table.columns == ("a", "b")
    assert table.rows == (("1", "x"), ("2", "y, z"))
    assert table.lines == (2, 4)
    assert table.whole_numbers("a") == (1, 2)


def test_empty_columns_at_the_end_are_left_out(write):
    assert read_table(write("a,b,,\n1,2,,\n3,4\n".replace("3,4", "3,4,,"))).columns == ("a", "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n", "has no rows below its header"),
        (b"\n\n", "has no rows"),
        (b"a,b\n1,2\n1\n", "has 1 cells in line 3 and 2 columns"),
        (b"a,b\n1,2,3\n", "has 3 cells in line 2 and 2 columns"),
        (b"a,a\n1,2\n", "has the column 'a' twice"),
        (b"a,b\n\xff\xfe,1\n", "is not UTF-8 text"),
        (b'a,b\n"1,2\n', "is no valid CSV in line 2"),
        (b"a,b\n1," + b"x" * 200_000 + b"\n", "is no valid CSV in line 2"),
    ],
)
def test_bad_tables(write, content, message):
    with pytest.raises(InputError, match=message):
        read_table(write(content))


@pytest.mark.parametrize("cell", ["1.0", "two", "", "1e3", "--1", "0x1", "1234567890123", "NaN", "\u0661"])
def test_cells_that_are_no_whole_numbers(write, cell):
    table = read_table(write(f"k,g\na,1\nb,{cell}\n"))
    with pytest.raises(InputError, match="in line 3, not a whole number") as caught:
        table.whole_numbers("g")
    assert repr(cell) in str(caught.value)


def test_unknown_columns_list_the_known(write):
    with pytest.raises(InputError, match="has no column 'c', its columns are a, b"):
        read_table(write("a,b\n1,2\n")).column("c")


@pytest.mark.parametrize("name", ["Image name", "IMAGE_NAME", "image-name", " image.name "])
def test_columns_are_found_whatever_their_case_and_separators(write, name):
    assert read_table(write(f"{name},b\n1,2\n")).find(("file", "image_name")) == name.strip()


@given(st.lists(st.tuples(st.integers(-999, 999), st.text("xyz,;\" '", max_size=6)), min_size=1, max_size=8))
def test_what_the_csv_module_writes_comes_back(tmp_path_factory, rows):
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("number", "words"), *rows])
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_text(text.getvalue())
    table = read_table(path)
    assert table.whole_numbers("number") == tuple(n for n, _ in rows)
    assert table.column("words") == tuple(w.strip() for _, w in rows)
