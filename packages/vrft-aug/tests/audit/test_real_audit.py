"""Audits on real data: every built-in reward passes, every broken one fails."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from real_stages import known_bad, stages

from medcore.config import from_mapping
from vrft_aug.audit import AuditSettings, audit_recipe
from vrft_aug.recipe import Recipe
from vrft_aug.rewards import REGISTRY

pytestmark = pytest.mark.integration


def test_built_in_rewards_pass_on_every_data_set(data_root: Path, tmp_path: Path) -> None:
    used = set()
    for title, mapping in stages(data_root, tmp_path / "knowledge.yaml").items():
        recipe = from_mapping(Recipe, mapping, title)
        (found,) = audit_recipe(recipe, AuditSettings(samples=8))
        assert found.faults == (), title
        used |= {reward.name for reward in recipe.stages[0].rewards}
    assert used == {name for name, entry in REGISTRY.entries().items() if entry.value.startswith("vrft_aug.")}


def test_broken_rewards_fail(data_root: Path, tmp_path: Path) -> None:
    for title, mapping in known_bad(data_root, tmp_path / "knowledge.yaml").items():
        (found,) = audit_recipe(from_mapping(Recipe, mapping, title), AuditSettings(samples=8))
        assert found.faults, title


def test_the_command_ends_with_exit_code_8(
    data_root: Path, tmp_path: Path, run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    bad = known_bad(data_root, tmp_path / "knowledge.yaml")["substring (PneumoniaMNIST)"]
    (tmp_path / "bad.yaml").write_text(json.dumps(bad))
    (tmp_path / "good.yaml").write_text(json.dumps(stages(data_root, tmp_path / "knowledge.yaml")["PneumoniaMNIST"]))
    done = run_cli("rewards", "audit", tmp_path / "bad.yaml", "--samples", "8", "--json")
    assert done.returncode == 8
    assert done.stderr.startswith("error: rewards of ")
    facts = json.loads(done.stdout)
    assert facts["faults"] == len(facts["stages"][0]["faults"]) > 0
    assert facts["stages"][0]["excess"]["empty"]["vrft_aug.rewards.known_bad:substring"] == 1.0
    done = run_cli("rewards", "audit", tmp_path / "good.yaml", "--samples", "8")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no attack out-earns what it deserves" in done.stdout
    assert "copied-knowledge" in done.stdout
