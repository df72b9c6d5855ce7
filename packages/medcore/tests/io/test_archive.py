"""Archives made to break those who unpack them are refused by name."""

from __future__ import annotations

import stat
import zipfile

import numpy as np
import pytest

from medcore.errors import InputError
from medcore.io.archive import member_names
from medcore.io.npy import load_array
from medcore.opening import describe


@pytest.fixture
def made(tmp_path):
    """An .npz file of one good array and one member of the given name and mode."""

    def make(name="b.npy", mode=stat.S_IFREG | 0o644, flag=0):
        np.savez(tmp_path / "a.npz", a=np.ones((3, 4)))
        with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"/etc/passwd")
        content = (tmp_path / "a.npz").read_bytes()
        if flag:
            for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
                at = content.rindex(mark) + place
                content = content[:at] + bytes([content[at] | flag]) + content[at + 1 :]
            (tmp_path / "a.npz").write_bytes(content)
        return tmp_path / "a.npz"

    return make


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ({"name": "../b.npy"}, r"'../b.npy', whose name leads out"),
        ({"name": "x/../../b.npy"}, "leads out"),
        ({"name": "/etc/b.npy"}, "leads out"),
        ({"name": "C:\\b.npy"}, "leads out"),
        ({"name": "..\\b.npy"}, "leads out"),
        ({"name": "\\\\host\\share\\b.npy"}, "leads out"),
        ({"mode": stat.S_IFLNK | 0o777}, "'b.npy' that is a symbolic link"),
        ({"flag": 1}, "encrypted member 'b.npy'"),
    ],
)
def test_members_that_are_no_ordinary_files_inside_are_refused(member, words, made):
    path = made(**member)
    for door in (lambda p: load_array(p, key="a"), describe):
        with pytest.raises(InputError, match=words):
            door(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(made):
    with pytest.raises(InputError, match=r"holds two members 'a.npy'"):
        load_array(made(name="a.npy"), key="a")


def test_too_many_members_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for i in range(10_001):
            archive.writestr(f"{i}.npy", b"")
    with pytest.raises(InputError, match="holds 10001 members"):
        load_array(tmp_path / "a.npz")


def test_ordinary_archives_list_their_members(made):
    with zipfile.ZipFile(made(name="sub/b..c.npy")) as archive:
        assert member_names(archive, "a.npz") == ["a.npy", "sub/b..c.npy"]
    assert load_array(made(), key="a").shape == (3, 4)
