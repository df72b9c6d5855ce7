"""The report writer: sections of text, tables and figures in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medcore.atomic import write_text
from medcore.errors import InputError
from medcore.report import markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_LIMIT = 5_000_000
"""Largest page in bytes; figures that would pass it are left out with a visible note."""

State = Literal["passed", "warned", "failed", "info"]
_WORDS = {"passed": "Passed", "warned": "Warning", "failed": "Failed", "info": "Note"}
_PNG = b"\x89PNG\r\n\x1a\n"
_PROVENANCE = ("command", "exit_state", "started", "wall_time_s", "device", "platform", "seed")
_LOG = logging.getLogger(__name__)


class Report:
    """One page, filled from top to bottom and written once.

    Everything is escaped. The page holds no script, loads nothing, and says so to the browser (Content-Security-Policy). It
    follows the reader's light or dark setting. Methods return the report, so calls can be chained.

    Parameters
    ----------
    title
        Title of the page.
    subtitle
        One line below it.
    purpose
        The line at the foot of the page.

    Examples
    --------
    >>> report = Report("T2 of one slice", "eight echoes")
    >>> _ = report.status("passed", "all fits converged").section("Numbers").table(["region", "T2 [ms]"], [["white matter", 65.0]])
    >>> "white matter" in report.html()
    True
    """

    def __init__(self, title: str, subtitle: str = "", *, purpose: str = "For research use only, not for diagnosis.") -> None:
        self.title, self.subtitle, self.purpose = title, subtitle, purpose
        self._status: list[tuple[str, str]] = []
        self._sections: list[tuple[str, list[str]]] = []
        self._size = 0

    def status(self, state: State, text: str) -> Report:
        """Add a line to the list of checks at the top of the page."""
        if state not in _WORDS:
            raise InputError("report status", f"{state!r} is not one of {', '.join(_WORDS)}", "choose one of these")
        self._status.append((state, text))
        return self

    def section(self, title: str) -> Report:
        """Start a section; what follows goes into it."""
        self._sections.append((title, []))
        return self

    def text(self, text: str) -> Report:
        """Add plain text; an empty line starts a new paragraph."""
        return self._add(markup.paragraphs(text))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Report:
        """Add a table of numbers, texts and None (shown as a dash).

        Raises
        ------
        InputError
            If a row has another length than `columns`.
        """
        kept = [list(row) for row in rows]
        for row in kept:
            if len(row) != len(columns):
                raise InputError(f"table {caption!r}", f"a row has {len(row)} cells for {len(columns)} columns", "fill the row")
        return self._add(markup.table(columns, kept, caption))

    def values(self, values: Mapping[str, object]) -> Report:
        """Add a list of names and values."""
        return self._add(markup.definitions(values))

    def figure(self, figure: Figure | bytes, caption: str, *, alt: str = "", dpi: int = 160) -> Report:
        """Add a figure.

        Parameters
        ----------
        figure
            A matplotlib figure, or the bytes of a PNG file.
        caption
            What the figure shows; printed below it.
        alt
            What a reader who cannot see it should know, by default the caption.
        dpi
            Pixels stored for each inch of a matplotlib figure; it is shown at its own size, 96 pixels an inch.

        Raises
        ------
        InputError
            If the bytes are not a PNG file or neither caption nor alt is given.
        """
        png, scale = (figure, 1.0) if isinstance(figure, bytes) else (_png(figure, dpi), 96 / dpi)
        if not png.startswith(_PNG) or len(png) < 24:
            raise InputError("report figure", f"its {len(png)} bytes are not a PNG file", "give a matplotlib figure or a PNG file")
        if not (alt or caption):
            raise InputError("report figure", "has neither caption nor alternative text", "say what it shows")
        width, height = (round(int.from_bytes(png[i : i + 4]) * scale) for i in (16, 20))
        code = base64.b64encode(png).decode()
        if self._size + len(code) > PAGE_LIMIT * 0.95:
            _LOG.warning("figure %r left out: the page would pass %d bytes", caption, PAGE_LIMIT)
            return self._add(f'<p class="absent">Figure left out to keep this page small: {markup.escape(caption or alt)}</p>')
        image = f'<img src="data:image/png;base64,{code}" width="{width}" height="{height}" alt="{markup.escape(alt or caption)}">'
        below = f"<figcaption>{markup.escape(caption)}</figcaption>" if caption else ""
        return self._add(f"<figure>{image}{below}</figure>")

    def details(self, title: str, text: str) -> Report:
        """Add a block of preformatted text that is closed until the reader opens it (a log, a settings file)."""
        return self._add(markup.details(title, text))

    def provenance(self, record: Mapping[str, Any]) -> Report:
        """Add a section with a run's record (the content of ``run.json``): the main facts, versions, and all of it to open."""
        self.section("Provenance")
        facts = {key.removesuffix("_s").replace("_", " "): record[key] for key in _PROVENANCE if record.get(key) is not None}
        if "wall time" in facts:
            facts["wall time"] = f"{facts['wall time']} s"
        facts.update({f"{name} version": value for name, value in dict(record.get("versions", {})).items()})
        return self.values(facts).details("Full record", markup.as_json(dict(record)))

    def html(self) -> str:
        """The page as text."""
        style = resources.files("medcore.report").joinpath("style.css").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        title = markup.escape(self.title)
        head = (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
            f"<title>{title}</title>\n<style>{style}</style>\n</head>\n"
        )
        subtitle = f'<p class="subtitle">{markup.escape(self.subtitle)}</p>\n' if self.subtitle else ""
        header = f"<header>\n<h1>{title}</h1>\n{subtitle}{self._status_list()}{self._navigation()}</header>\n"
        sections = "\n".join(self._section_html(i, *section) for i, section in enumerate(self._sections))
        footer = f"<footer><p>{markup.escape(self.purpose)}</p></footer>\n" if self.purpose else ""
        return f"{head}<body>\n{header}<main>\n{sections}\n</main>\n{footer}</body>\n</html>\n"

    def write(self, path: str | Path, *, force: bool = True) -> Path:
        """Write the page to `path`, atomically.

        Raises
        ------
        OutputError
            If it cannot be written, or exists and `force` is false.
        """
        write_text(path, self.html(), force=force)
        return Path(path)

    def _add(self, block: str) -> Report:
        if not self._sections:
            self.section("Summary")
        self._sections[-1][1].append(block)
        self._size += len(block.encode())
        return self

    def _status_list(self) -> str:
        items = "".join(
            f'<li class="{state}"><strong>{_WORDS[state]}</strong> <span>{markup.escape(text)}</span></li>\n'
            for state, text in self._status
        )
        return f'<ul class="status" aria-label="Status">\n{items}</ul>\n' if items else ""

    def _navigation(self) -> str:
        if len(self._sections) < 3:
            return ""
        links = "".join(f'<li><a href="#s{i}">{markup.escape(title)}</a></li>\n' for i, (title, _) in enumerate(self._sections))
        return f'<nav aria-label="Sections"><ul>\n{links}</ul></nav>\n'

    @staticmethod
    def _section_html(index: int, title: str, blocks: list[str]) -> str:
        inner = "\n".join(blocks)
        return f'<section id="s{index}" aria-labelledby="h{index}">\n<h2 id="h{index}">{markup.escape(title)}</h2>\n{inner}\n</section>'


def _png(figure: Figure, dpi: int) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
