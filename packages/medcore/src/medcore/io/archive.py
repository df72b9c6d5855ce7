"""Archives from strangers: names and kinds of members are checked before any is read."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from medcore.errors import InputError

MAX_MEMBERS = 10_000
_ENCRYPTED = 1
_HINT = "get another copy of the file, from a source you trust"


def member_names(archive: zipfile.ZipFile, path: str | Path) -> list[str]:
    """Names of the members of a zip archive, which is refused if one is not an ordinary file inside it.

    Nothing here unpacks archives; but one made to break those who do is not what it says it is.

    Parameters
    ----------
    archive
        Opened for reading.
    path
        Its file, for the message.

    Raises
    ------
    InputError
        If there are more than 10,000 members, two of one name, or one that is a link, is encrypted, or would leave its folder.
    """
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise InputError(path, f"holds {len(members)} members", f"give an archive of at most {MAX_MEMBERS}")
    names: set[str] = set()
    for member in members:
        shown = repr(member.filename[:80])
        if _leaves(member.orig_filename) or _leaves(member.filename):
            raise InputError(path, f"holds a member {shown}, whose name leads out of the archive", _HINT)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(path, f"holds a member {shown} that is a symbolic link", _HINT)
        if member.flag_bits & _ENCRYPTED:
            raise InputError(path, f"holds an encrypted member {shown}", "save it without a password")
        if member.filename in names:
            raise InputError(path, f"holds two members {shown}", _HINT)
        names.add(member.filename)
    return [member.filename for member in members]


def _leaves(name: str) -> bool:
    """Whether a name is absolute, climbs, or holds a null byte, in the eyes of any operating system."""
    windows = PureWindowsPath(name)
    return (
        "\0" in name
        or bool(windows.drive or windows.root)
        or PurePosixPath(name).is_absolute()
        or ".." in windows.parts
        or not name
    )
