"""Files that belong together: all of the old generation, all of the new one, or the first alone, never mixed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from medcore.atomic import atomic_file, atomic_files, check_writable, sweep, write_text
from medcore.errors import OutputError, OutputExistsError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def write_pair(folder: Path, text: str, *, force: bool = True, repeat: int = 1) -> None:
    with atomic_files([folder / "image", folder / "sidecar"], force=force) as (image, sidecar):
        image.write_text(text * repeat)
        sidecar.write_text(text)


def read_pair(folder: Path) -> tuple[str, str]:
    return (folder / "image").read_text(), (folder / "sidecar").read_text()


def test_a_pair_appears_and_is_replaced_together(tmp_path):
    folder = tmp_path / "new"
    with atomic_files([folder / "image", folder / "sidecar"]) as (image, sidecar):
        assert (image.name, sidecar.name) == ("image", "sidecar")
        image.write_text("1")
        sidecar.write_text("1")
        assert [n for n in names(folder) if not n.startswith(".")] == []
    write_pair(folder, "2")
    assert read_pair(folder) == ("2", "2")
    assert names(folder) == ["image", "sidecar"]


@pytest.mark.parametrize("existing", ["image", "sidecar"])
def test_no_file_of_a_pair_is_replaced_unless_asked(existing, tmp_path):
    (tmp_path / existing).write_text("dear to me")
    with pytest.raises(OutputExistsError, match=existing):
        write_pair(tmp_path, "2", force=False)
    assert (tmp_path / existing).read_text() == "dear to me"
    assert names(tmp_path) == [existing]


def test_a_stale_file_goes_with_what_it_described(tmp_path):
    write_pair(tmp_path, "1")
    with atomic_files([tmp_path / "image"], stale=[tmp_path / "sidecar", tmp_path / "absent"]) as (image,):
        image.write_text("2")
    assert names(tmp_path) == ["image"]
    assert (tmp_path / "image").read_text() == "2"


def test_a_failing_writer_keeps_both(tmp_path):
    def fail() -> None:
        with atomic_files([tmp_path / "image", tmp_path / "sidecar"]) as (image, _):
            image.write_text("2")
            raise ValueError("boom")

    write_pair(tmp_path, "1")
    with pytest.raises(ValueError, match="boom"):
        fail()
    with pytest.raises(OutputError, match="No such file"), atomic_files([tmp_path / "image", tmp_path / "sidecar"]) as (image, _):
        image.write_text("2")  # and no sidecar
    assert read_pair(tmp_path) == ("1", "1")
    assert names(tmp_path) == ["image", "sidecar"]


@pytest.mark.parametrize("bad", [["a/image", "b/sidecar"], ["image", "image"]])
def test_only_different_files_of_one_folder_belong_together(bad, tmp_path):
    with pytest.raises(ValueError, match="not different files"), atomic_files([tmp_path / name for name in bad]):
        pass
    assert names(tmp_path) == []


def test_a_folder_is_never_replaced_by_a_file(tmp_path):
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "photo").write_text("dear to me")
    for write in (lambda: write_pair(tmp_path, "2"), lambda: write_text(tmp_path / "image", "2")):
        with pytest.raises(OutputError, match="is a folder"):
            write()
    assert names(tmp_path / "image") == ["photo"]


def test_a_name_with_a_null_byte_is_refused(tmp_path):
    with pytest.raises(OutputError, match="no name for an output"):
        check_writable(tmp_path / "a\0b")


def test_somebody_who_was_faster_is_not_overwritten(tmp_path):
    def write() -> None:
        with atomic_file(tmp_path / "a", force=False) as path:
            path.write_text("mine")
            (tmp_path / "a").write_text("theirs")

    with pytest.raises(OutputExistsError):
        write()
    assert (tmp_path / "a").read_text() == "theirs"
    assert names(tmp_path) == ["a"]


def test_a_step_that_fails_is_undone(tmp_path, monkeypatch):
    """Each renaming in turn meets a broken disk."""
    rename, replace = os.rename, os.replace
    for k in range(10):
        count = [0]

        def failing(how, *paths, k=k, count=count):
            count[0] += 1
            if count[0] == k + 1:
                raise OSError(5, "Input/output error", os.fspath(paths[0]))
            how(*paths)

        write_pair(tmp_path, "1")
        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", lambda *p, f=failing: f(rename, *p))
            patched.setattr(os, "replace", lambda *p, f=failing: f(replace, *p))
            try:
                write_pair(tmp_path, "2")
            except OutputError as error:
                assert "Input/output error" in str(error)  # noqa: PT017 - the last round succeeds
        if count[0] <= k:
            break
        assert read_pair(tmp_path) in {("1", "1"), ("2", "2")}
        assert names(tmp_path) == ["image", "sidecar"]
    assert k == 3  # the old sidecar out, the image, the new sidecar
    assert read_pair(tmp_path) == ("2", "2")


@pytest.mark.parametrize(("step", "left", "settled"), [(1, ["image", "sidecar"], "1"), (2, ["image"], "1"), (3, ["image"], "2")])
def test_death_between_two_steps_is_settled_by_the_next_writer(step, left, settled, tmp_path):
    write_pair(tmp_path, "1")
    code = """
        import os, signal, sys
        from pathlib import Path
        from medcore.atomic import atomic_files
        count = [0]
        def dying(how):
            def step(*paths):
                count[0] += 1
                if count[0] == int(sys.argv[2]):
                    os.kill(os.getpid(), signal.SIGKILL)
                how(*paths)
            return step
        os.rename, os.replace = dying(os.rename), dying(os.replace)
        folder = Path(sys.argv[1])
        with atomic_files([folder / "image", folder / "sidecar"]) as paths:
            for path in paths:
                path.write_text("2")
    """
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path), str(step)], check=False)
    assert child.returncode == -9
    assert [n for n in names(tmp_path) if not n.startswith(".")] == left
    write_text(tmp_path / "other", "x")
    assert names(tmp_path) == ["image", "other", "sidecar"]
    assert read_pair(tmp_path) == (settled, settled)


def test_what_was_written_after_a_death_is_not_lost(tmp_path):
    """The settled entry never replaces a younger one."""
    leftover = tmp_path / ".image.tmp-1-0123abcd"
    (leftover / ".replaced").mkdir(parents=True)
    (leftover / "sidecar").write_text("of the dead")
    (leftover / ".note").write_text('["image", "sidecar"]')
    write_pair(tmp_path, "younger", force=True)
    assert not leftover.exists()
    assert read_pair(tmp_path) == ("younger", "younger")


@pytest.mark.parametrize("note", ["", "{", "[1]", "[]", '["../../image", "../../sidecar"]', '{"a": 1}'])
def test_a_strange_note_does_no_harm(note, tmp_path):
    folder = tmp_path / "folder"
    leftover = folder / ".image.tmp-1-0123abcd"
    leftover.mkdir(parents=True)
    (leftover / ".note").write_text(note)
    assert sweep(folder) == [leftover]
    assert names(folder) == []
    assert names(tmp_path) == ["folder"]


def test_threads_never_mix_their_pairs(tmp_path):
    def write(text: str) -> None:
        for _ in range(20):
            write_pair(tmp_path, text, repeat=500)

    threads = [threading.Thread(target=write, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    image, sidecar = read_pair(tmp_path)
    assert image == sidecar * 500
    assert names(tmp_path) == ["image", "sidecar"]
