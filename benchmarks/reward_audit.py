"""What attacks earn from every built-in reward on real data, and from the broken ones of public scripts (MEDCORE_TEST_DATA)."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from _results import publish

from medcore.config import from_mapping
from vrft_aug.audit import ATTACKS, AuditSettings, StageAudit, audit_recipe
from vrft_aug.recipe import Recipe

TESTS = Path(__file__).resolve().parents[1] / "packages" / "vrft-aug" / "tests" / "audit"
SAMPLES = 64


def excess(found: StageAudit, kind: str) -> str:
    """The largest excess of one attack over the rewards and their sum, as a share of right minus wrong."""
    if kind not in found.excess:
        return "."
    total = found.rewards[-1]
    spread = (found.earned["honest right"][total] or 0.0) - (found.earned["honest wrong"][total] or 0.0)
    values = [max(0.0, v) / abs(spread) if spread else float(v > 0) for v in found.excess[kind].values() if v is not None]
    return f"{max(values):.2f}" if values and max(values) > 0 else "0"


def main() -> None:
    """Audit the stages of the tests."""
    sys.path.insert(0, str(TESTS))
    from real_stages import known_bad, stages

    root = Path(os.environ["MEDCORE_TEST_DATA"])
    columns: dict[str, StageAudit] = {}
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "knowledge.yaml"
        for title, mapping in {**stages(root, known), **known_bad(root, known)}.items():
            (columns[title],) = audit_recipe(from_mapping(Recipe, mapping, title), AuditSettings(samples=SAMPLES))
    rows: list[list[object]] = []
    for title, found in columns.items():
        total = found.rewards[-1]
        honest = [found.earned.get(kind, {}).get(total) for kind in ("honest right", "honest wrong")]
        names = " + ".join(r.removeprefix("vrft_aug.rewards.") for r in found.rewards if r != total)
        verdict = "passes" if not found.faults else f"fails ({len(found.faults)})"
        shown = ["-" if v is None else f"{v:.2f}" for v in honest]
        rows.append([title, names, found.samples, *shown, *(excess(found, kind) for kind in ATTACKS), verdict])
    note = (
        "Right and wrong: what honest answers earn in the weighted sum. Attacks: how much more the best variant earns than it deserves, in "
        "the rewards alone or in their sum, as a share of right minus wrong (1 where that is 0); 0.05 is passed over; a point where the "
        "attack does not exist. The last six are rules found in public training scripts, written anew (`vrft_aug.rewards.known_bad`)."
    )
    head = ["data", "rewards", "rows", "right", "wrong", *ATTACKS, "audit"]
    publish("reward_audit", "Attacks on rewards", head, rows, seed=0, note=note)


if __name__ == "__main__":
    main()
