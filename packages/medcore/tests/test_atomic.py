"""The atomic writer: whatever happens, the old result or the new one, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.atomic import (
    MANIFEST,
    atomic_directory,
    atomic_file,
    check_writable,
    folders,
    lock,
    sha256_file,
    sweep,
    verify_directory,
    write_bytes,
    write_json,
    write_text,
)
from medcore.errors import DiskFullError, InputError, LockedError, OutputError, OutputExistsError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def visible(folder: Path) -> list[str]:
    return [n for n in names(folder) if not n.startswith(".")]


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A child that runs `code` and says ``ready`` when it is in the middle of its work."""
    program = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until_ready(child: subprocess.Popen[str]) -> None:
    assert child.stdout.readline() == "ready\n", child.stderr.read()


@given(content=st.binary(max_size=2000))
def test_what_is_written_is_read_and_the_hash_is_its_own(content, tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, content)
    assert path.read_bytes() == content
    assert sha256_file(path) == hashlib.sha256(content).hexdigest()
    assert names(tmp_path) == ["a.bin"]


def test_text_is_utf_8_and_line_ends_stay(tmp_path):
    write_text(tmp_path / "a.txt", "ä\r\n\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa4\r\n\n"


def test_the_temporary_file_has_the_target_s_name_and_missing_folders_are_made(tmp_path):
    path = tmp_path / "deep" / "er" / "map.nii.gz"
    with atomic_file(path) as temporary:
        assert temporary.name == "map.nii.gz"
        temporary.write_bytes(b"x")
        assert not path.exists()
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, {1, 2}, b"x"])
def test_what_is_no_json_is_refused_and_the_old_file_stays(value, tmp_path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(InputError, match="not JSON"):
        write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failing_writer_leaves_nothing(error, tmp_path):
    def fail_in_a_file():
        with atomic_file(tmp_path / "new" / "a.txt") as temporary:
            temporary.write_text("half")
            raise error

    def fail_in_a_folder():
        with atomic_directory(tmp_path / "new" / "out") as folder:
            (folder / "half").write_text("half")
            raise error

    for fail in (fail_in_a_file, fail_in_a_folder):
        with pytest.raises(type(error)):
            fail()
        assert names(tmp_path) == []  # not even the folder made for it


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="No such file"), atomic_file(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_an_existing_file_is_kept_unless_asked(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OutputExistsError, match="--force"):
        write_text(path, "new", force=False)
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_long_name_is_no_trouble(tmp_path):
    path = tmp_path / ("ü" * 120 + ".txt")
    write_text(path, "x")
    assert path.read_text() == "x"


@pytest.mark.parametrize("name", [".", "", "..", "a/.."])
def test_a_folder_in_use_is_no_output(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="no name"), atomic_directory(name):
        pass


def test_a_path_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "out", tmp_path / "file" / "deeper" / "out"):
        with pytest.raises(OutputError, match=r"cannot be written \(.*file is a file\)"):
            check_writable(path)
        with pytest.raises(OutputError, match="cannot be written"), atomic_directory(path):
            pass
        with pytest.raises(OutputError, match="cannot be written"):
            write_text(path, "x")
    assert names(tmp_path) == ["file"]


def test_checking_makes_nothing(tmp_path):
    assert check_writable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert names(tmp_path) == []
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputExistsError):
        check_writable(tmp_path / "dangling")


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a file system that nobody can write")
def test_a_read_only_file_system_cannot_be_written():
    for writes in (lambda: check_writable("/proc/out"), lambda: write_text("/proc/out", "x")):
        with pytest.raises(OutputError, match="cannot be written") as caught:
            writes()
        assert caught.value.exit_code == 3


def test_an_error_about_an_input_is_not_blamed_on_the_output(tmp_path):
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    with pytest.raises(FileNotFoundError), atomic_file(out / "a.txt"):
        (inputs / "absent").read_bytes()
    assert names(tmp_path) == ["in"]


# --- folders


def test_a_folder_is_complete_and_checked(tmp_path):
    with atomic_directory(tmp_path / "out") as folder:
        (folder / "maps").mkdir()
        (folder / "maps" / "a.bin").write_bytes(b"abc")
        (folder / "b.bin").write_bytes(b"")
        assert visible(tmp_path) == []
    assert names(tmp_path) == ["out"]
    files = json.loads((tmp_path / "out" / MANIFEST).read_text())["files"]
    assert files == {
        "b.bin": {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()},
        "maps/a.bin": {"size": 3, "sha256": hashlib.sha256(b"abc").hexdigest()},
    }
    verify_directory(tmp_path / "out")


def damage_content(folder):
    (folder / "a").write_bytes(b"abd")


def damage_size(folder):
    (folder / "a").write_bytes(b"abcd")


def remove_a_file(folder):
    (folder / "a").unlink()


def remove_the_manifest(folder):
    (folder / MANIFEST).unlink()


def spoil_the_manifest(folder):
    (folder / MANIFEST).write_text('{"files": [1]}')


def cut_the_manifest(folder):
    (folder / MANIFEST).write_text('{"files": {')


def point_outside(folder):
    (folder / MANIFEST).write_text(json.dumps({"files": {"../a": {"size": 1, "sha256": ""}}}))


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (damage_content, "differs from its manifest"),
        (damage_size, "differs from its manifest"),
        (remove_a_file, "missing"),
        (remove_the_manifest, "never finished"),
        (spoil_the_manifest, "never finished"),
        (cut_the_manifest, "never finished"),
        (point_outside, "outside"),
    ],
)
def test_damage_is_found(damage, word, tmp_path):
    with atomic_directory(tmp_path / "out") as folder:
        (folder / "a").write_bytes(b"abc")
    damage(tmp_path / "out")
    with pytest.raises(InputError, match=word):
        verify_directory(tmp_path / "out")


def write_result(path: Path, text: str, *, force: bool = False) -> None:
    with atomic_directory(path, force=force) as folder:
        (folder / "result").write_text(text)


def test_a_result_is_replaced_only_when_asked_and_other_folders_never(tmp_path):
    out = tmp_path / "out"
    write_result(out, "first")
    with pytest.raises(OutputExistsError):
        write_result(out, "second")
    write_result(out, "second", force=True)
    assert (out / "result").read_text() == "second"
    assert names(tmp_path) == ["out"]
    verify_directory(out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo").write_text("dear to me")
    (tmp_path / "file").write_text("dear to me too")
    for other in ("mine", "file"):
        with pytest.raises(OutputError, match="not written by this program"):
            write_result(tmp_path / other, "third", force=True)
    assert (tmp_path / "mine" / "photo").read_text() == "dear to me"


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    write_result(tmp_path / "out", "x")
    assert (tmp_path / "out" / "result").read_text() == "x"


def no_exchange(*_, **__):
    class Library:
        renameat2 = None

    return Library


def test_file_systems_without_exchange_are_served_too(tmp_path, monkeypatch):
    write_result(tmp_path / "out", "first")
    monkeypatch.setattr(folders.ctypes, "CDLL", no_exchange)
    write_result(tmp_path / "out", "second", force=True)
    assert (tmp_path / "out" / "result").read_text() == "second"
    assert names(tmp_path) == ["out"]
    verify_directory(tmp_path / "out")


def test_death_between_the_two_renames_loses_nothing(tmp_path):
    write_result(tmp_path / "out", "first")
    child = start(
        """
        import os, signal, sys
        from pathlib import Path
        from medcore.atomic import atomic_directory, folders
        class Library:
            renameat2 = None
        folders.ctypes.CDLL = lambda *_, **__: Library
        rename, count = os.rename, [0]
        def dying(a, b):
            count[0] += 1
            if count[0] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(a, b)
        os.rename = dying
        with atomic_directory(sys.argv[1], force=True) as folder:
            (folder / "result").write_text("second")
        """,
        tmp_path / "out",
    )
    assert child.wait(30) == -signal.SIGKILL
    child.communicate()
    assert visible(tmp_path) == []
    sweep(tmp_path)
    assert (tmp_path / "out" / "result").read_text() == "first"
    verify_directory(tmp_path / "out")
    assert names(tmp_path) == ["out"]


KILLED_IN_A_FOLDER = """
    import sys, time
    from medcore.atomic import atomic_directory
    with atomic_directory(sys.argv[1], force=True) as folder:
        (folder / "result").write_text("half of the new")
        print("ready", flush=True)
        time.sleep(60)
"""
KILLED_IN_A_FILE = """
    import sys, time
    from medcore.atomic import atomic_file
    with atomic_file(sys.argv[1]) as path:
        path.write_text("half of the new")
        print("ready", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("before", ["nothing", "old result"])
def test_sigkill_leaves_the_old_folder_or_none(before, tmp_path):
    out = tmp_path / "out"
    if before != "nothing":
        write_result(out, before)
    child = start(KILLED_IN_A_FOLDER, out)
    wait_until_ready(child)
    assert sweep(tmp_path) == []  # the living are left alone
    child.kill()
    child.communicate()
    assert visible(tmp_path) == ([] if before == "nothing" else ["out"])
    if before != "nothing":
        verify_directory(out)
        assert (out / "result").read_text() == before
    write_result(out, "new", force=True)
    assert names(tmp_path) == ["out"]  # and the leftovers are swept
    verify_directory(out)


@pytest.mark.parametrize("before", ["nothing", "old result"])
def test_sigkill_leaves_the_old_file_or_none(before, tmp_path):
    path = tmp_path / "a.txt"
    if before != "nothing":
        path.write_text(before)
    child = start(KILLED_IN_A_FILE, path)
    wait_until_ready(child)
    child.kill()
    child.communicate()
    assert visible(tmp_path) == ([] if before == "nothing" else ["a.txt"])
    assert before == "nothing" or path.read_text() == before
    assert len(sweep(tmp_path)) == 1
    assert names(tmp_path) == ([] if before == "nothing" else ["a.txt"])


def test_a_dead_writer_with_our_own_number_is_swept(tmp_path):
    """In containers every process may have the number 1."""
    leftover = tmp_path / f".out.tmp-{os.getpid()}-0123abcd"
    leftover.mkdir()
    assert sweep(tmp_path) == [leftover]


def test_sigkill_at_any_moment_leaves_one_complete_result(tmp_path):
    """A child replaces a result over and over; whenever it dies, what is there is whole."""
    out = tmp_path / "out"
    code = """
        import sys
        from medcore.atomic import atomic_directory
        for i in range(10**6):
            with atomic_directory(sys.argv[1], force=True) as folder:
                for name in "abc":
                    (folder / name).write_text(str(i) * 2000)
            if i == 0:
                print("ready", flush=True)
    """
    for delay in (0.0, 0.013, 0.029, 0.041):
        child = start(code, out)
        wait_until_ready(child)
        threading.Event().wait(delay)
        child.kill()
        child.communicate()
        assert visible(tmp_path) == ["out"]
        verify_directory(out)
        assert len({(out / name).read_text() for name in "abc"}) == 1
    sweep(tmp_path)
    assert names(tmp_path) == ["out"]


# --- full disk


FULL = """
    import resource, sys
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    from medcore.atomic import atomic_directory, write_bytes
    from medcore.errors import DiskFullError
    try:
        if sys.argv[1] == "file":
            write_bytes(sys.argv[2], b"x" * 100_000)
        else:
            with atomic_directory(sys.argv[2], force=True) as folder:
                (folder / "result").write_bytes(b"x" * 100_000)
    except DiskFullError as error:
        print(error)
        sys.exit(error.exit_code)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit of file sizes")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_full_disk_keeps_the_old_result_and_has_its_own_exit_code(kind, tmp_path):
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("old")
    else:
        write_result(out, "old")
    child = start(FULL, kind, out)
    said, complaint = child.communicate(timeout=60)
    assert (child.returncode, complaint) == (4, "")
    assert "the disk is full" in said
    assert names(tmp_path) == ["out"]
    assert (out if kind == "file" else out / "result").read_text() == "old"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB, where the machine lets us make one."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount], capture_output=True, check=False)  # noqa: S607
    if made.returncode:
        pytest.skip("no right to mount a file system")
    yield mount
    subprocess.run(["umount", mount], check=True)  # noqa: S607


def test_a_disk_that_fills_up_in_the_middle(small_disk):
    write_result(small_disk / "out", "old")
    with pytest.raises(DiskFullError, match="No space left"), atomic_directory(small_disk / "out", force=True) as folder:
        (folder / "result").write_bytes(b"x" * 200_000)
    assert names(small_disk) == ["out"]
    assert (small_disk / "out" / "result").read_text() == "old"


# --- locks and concurrency


LOCKING = """
    import sys, time
    from medcore.atomic import lock
    with lock(sys.argv[1]):
        print("ready", flush=True)
        time.sleep(60)
"""


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path):
    child = start(LOCKING, tmp_path)
    wait_until_ready(child)
    with pytest.raises(LockedError, match=f"process {child.pid}"), lock(tmp_path):
        pass
    child.kill()
    child.communicate()
    with lock(tmp_path):
        pass
    with lock(tmp_path):  # and again
        pass


def test_a_lock_below_a_file_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"), lock(tmp_path / "file" / "x"):
        pass


def test_threads_that_write_one_file_leave_one_of_their_contents(tmp_path):
    contents = [str(i) * 5000 for i in range(8)]
    threads = [threading.Thread(target=write_text, args=(tmp_path / "a.txt", c)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.txt").read_text() in contents
    assert names(tmp_path) == ["a.txt"]


def test_sweeping_leaves_strangers_alone(tmp_path):
    strange = [".hidden", "x.tmp-1-0123abcd", ".out.tmp-1", ".out.tmp-1-0123abc", ".a.tmp-1-0123abcd"]
    for name in strange:
        (tmp_path / name).write_text("not ours")  # the last has our name and is no folder
    (tmp_path / ".link.tmp-1-0123abcd").symlink_to(tmp_path)
    assert sweep(tmp_path) == []
    assert len(names(tmp_path)) == 6
