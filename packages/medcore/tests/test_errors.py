"""The tree of errors: exit codes are a public table, messages are one line."""

from __future__ import annotations

import errno

import pytest

from medcore import errors
from medcore.errors import (
    CheckFailedError,
    ConfigError,
    DiskFullError,
    InputError,
    LockedError,
    MedcoreError,
    MissingExtraError,
    NumericalError,
    OutOfMemoryError,
    OutputError,
    OutputExistsError,
    PartialFailureError,
    SeveralSlicesError,
    is_full,
    output_error,
)


@pytest.mark.parametrize(
    ("kind", "code", "parent"),
    [
        (MedcoreError, 2, Exception),
        (InputError, 2, MedcoreError),
        (ConfigError, 2, InputError),
        (MissingExtraError, 2, InputError),
        (OutputError, 3, MedcoreError),
        (OutputExistsError, 3, OutputError),
        (LockedError, 3, OutputError),
        (DiskFullError, 4, OutputError),
        (NumericalError, 5, MedcoreError),
        (SeveralSlicesError, 2, InputError),
        (OutOfMemoryError, 6, MedcoreError),
        (PartialFailureError, 7, MedcoreError),
        (CheckFailedError, 8, MedcoreError),
    ],
)
def test_the_table_of_exit_codes(kind, code, parent):
    assert kind.exit_code == code
    assert kind.__bases__ == (parent,)


def test_every_error_is_in_the_table_of_the_module():
    kinds = {k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, MedcoreError)}
    assert len(kinds) == 13
    assert all(k.__name__ in errors.__doc__ for k in kinds)


def test_a_message_is_one_line_with_all_three_parts():
    error = InputError("a\nfile", "has\ttwo\nlines", "mend  it")
    assert str(error) == "a file: has two lines; mend it"
    assert (error.what, error.problem, error.hint) == ("a\nfile", "has\ttwo\nlines", "mend  it")


def test_a_missing_extra_names_the_command_that_mends_it():
    assert str(MissingExtraError("sacrebleu", "medcore[text]", "BLEU")).endswith("run: pip install 'medcore[text]'")


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, DiskFullError, 4),
        (errno.EDQUOT, DiskFullError, 4),
        (errno.EFBIG, DiskFullError, 4),
        (errno.EACCES, OutputError, 3),
        (errno.EROFS, OutputError, 3),
    ],
)
def test_system_errors_become_what_a_user_can_act_on(number, kind, code):
    import os

    found = output_error("out.nii", OSError(number, os.strerror(number)))
    assert type(found) is kind
    assert found.exit_code == code
    assert os.strerror(number) in str(found)


def test_a_system_error_without_a_number_keeps_its_text():
    assert "file write failed" in str(output_error("x.h5", OSError("file write failed")))


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EFBIG, "File too large"), True),
        (OSError("36864 requested and 1024 written"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (OSError("something else"), False),
    ],
)
def test_a_full_disk_is_told_from_other_trouble(error, full):
    assert is_full(error) is full
    assert output_error("out", error).exit_code == (4 if full else 3)


def test_the_error_below_one_of_a_library_counts():
    def write():
        try:
            raise OSError(errno.ENOSPC, "No space left on device")  # noqa: TRY301 - a library does
        except OSError as error:
            raise OSError("With tag (7fe0,0010) got exception: Traceback (most recent call last)") from error

    with pytest.raises(OSError, match="With tag") as caught:
        write()
    assert str(output_error("out", caught.value)) == (
        "out: the disk is full (No space left on device); free some space or write elsewhere"
    )
