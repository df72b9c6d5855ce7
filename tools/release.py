"""Write a new version of one package: ``python3 tools/release.py puq-qmri 0.2.0``. Commits nothing.

Sets ``__about__.py`` and ``CITATION.cff`` and moves the fragments of ``changelog.d`` into ``CHANGELOG.md`` (needs towncrier).
"""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

import check_versions


def main(arguments: list[str]) -> int:
    """Change the files and say which tag to make."""
    if len(arguments) != 2 or arguments[0] not in check_versions.PACKAGES or not re.fullmatch(r"\d+\.\d+\.\d+", arguments[1]):
        print(f"usage: release.py {'|'.join(check_versions.PACKAGES)} X.Y.Z", file=sys.stderr)
        return 2
    package, version = arguments
    folder = check_versions.ROOT / "packages" / package
    about = folder / "src" / check_versions.PACKAGES[package] / "__about__.py"
    about.write_text(f'__version__ = "{version}"\n')
    citation = folder / "CITATION.cff"
    text = re.sub(r"^version: .*$", f"version: {version}", citation.read_text(), flags=re.MULTILINE)
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    citation.write_text(re.sub(r"^date-released: .*$", f"date-released: {today}", text, flags=re.MULTILINE))
    command = [sys.executable, "-m", "towncrier", "build", "--yes", "--dir", str(folder), "--version", version]
    subprocess.run(command, check=True, cwd=Path(folder))
    print(f"review and commit, then: git tag {package}-v{version}")
    return check_versions.main()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
