"""The table of bad input: how many cases were tried, refused, reported, read, and passed over in silence."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--corpus-table", help="write the table of bad input to this Markdown file")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    table: dict[str, Counter[str]] = defaultdict(Counter)
    faults: dict[str, Counter[str]] = defaultdict(Counter)
    for report in [r for found in ("passed", "failed") for r in terminalreporter.stats.get(found, [])]:
        properties = dict(getattr(report, "user_properties", ()))
        if "corpus" in properties:
            table[properties["corpus"]][properties.get("corpus_outcome", "silent")] += 1
        if "fault" in properties:
            found = {"writers": 1, "tried": properties["fault_tried"], "problems": properties["fault_problems"]}
            faults[properties["fault"]].update(found)
    if not table and not faults:
        return
    rows = ["| input | tried | refused | reported | read as it should be | silent or wrong |", "|---|---|---|---|---|---|"]
    for family, counts in table.items():
        shown = " | ".join(str(counts[k]) for k in ("refused", "reported", "read", "silent"))
        rows.append(f"| {family} | {counts.total()} | {shown} |")
    rows += ["", "| fault in a writer | writers | tried | result lost, mixed or left behind |", "|---|---|---|---|"]
    rows += [f"| {name.replace('_', ' ')} | {c['writers']} | {c['tried']} | {c['problems']} |" for name, c in faults.items()]
    terminalreporter.section("bad input and faults")
    for row in rows:
        terminalreporter.write_line(row)
    if target := config.getoption("--corpus-table"):
        Path(target).write_text("\n".join(rows) + "\n", encoding="utf-8")
