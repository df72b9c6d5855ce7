"""Write the tables of docs/medcore/metrics.md from the metrics themselves: ``python tools/metrics_table.py``; a test compares them."""

from __future__ import annotations

from pathlib import Path

from medcore.metrics.catalogue import markdown

PAGE = Path(__file__).parents[1] / "docs" / "medcore" / "metrics.md"
MARKS = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"


def main() -> None:
    """Replace what stands between the marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    PAGE.write_text(before + MARKS[0] + "\n" + markdown() + "\n" + MARKS[1] + after, encoding="utf-8")


if __name__ == "__main__":
    main()
