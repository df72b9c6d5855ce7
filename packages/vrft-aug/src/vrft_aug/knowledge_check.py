"""The whole check of a knowledge file: its text, and, with a recipe, the prompts that are made with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from medcore.errors import ConfigError
from vrft_aug.data import load_parts
from vrft_aug.knowledge import Knowledge, load_knowledge
from vrft_aug.knowledge_lint import Finding, lint_knowledge
from vrft_aug.leak import LeakTest, leak_check, measure_leaks
from vrft_aug.recipe import Recipe, StageSettings


@dataclass(kw_only=True)
class KnowledgeCheck:
    """What was found."""

    findings: list[Finding] = field(default_factory=list)
    """Faults and warnings."""
    tests: list[tuple[str, LeakTest]] = field(default_factory=list)
    """Stage and part of the data, and how well its labels are guessed without the image."""

    @property
    def faults(self) -> list[Finding]:
        """The findings that fail the check."""
        return [finding for finding in self.findings if finding.severity == "fault"]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "faults": len(self.faults),
            "warnings": len(self.findings) - len(self.faults),
            "tests": [{"where": where, **asdict(test)} for where, test in self.tests],
        }


def check_knowledge(file: str | Path, recipe: Recipe | None = None) -> KnowledgeCheck:
    """Lint a knowledge file, and look for leaks in the prompts of the stages that inject it.

    Parameters
    ----------
    file
        Knowledge file.
    recipe
        Recipe whose data are prompted with it; without one, the text alone is looked at.

    Raises
    ------
    ConfigError
        If the file cannot be read, or no stage of the recipe injects it.
    InputError
        If the data of the recipe cannot be read.
    """
    knowledge, found = load_knowledge(file), KnowledgeCheck()
    if recipe is None:
        found.findings = lint_knowledge(knowledge)
        return found
    wanted = Path(file).resolve()
    stages = [s for s in recipe.stages if s.knowledge is not None and Path(s.knowledge.file).resolve() == wanted]
    if not stages:
        raise ConfigError("recipe", f"has no stage that injects {file}", "name the file as knowledge of a stage")
    for stage in stages:
        _check_stage(found, stage, knowledge)
    return found


def _check_stage(found: KnowledgeCheck, stage: StageSettings, knowledge: Knowledge) -> None:
    # Without the knowledge: texts that do not fit the classes are findings here, not errors.
    plain: Any = SimpleNamespace(data=stage.data, task=stage.task, knowledge=None, prompts=stage.prompts)
    parts = load_parts(plain)
    classes = parts.train[0]["classes"] or []
    linted = lint_knowledge(knowledge, classes)
    found.findings += [f for f in linted if f not in found.findings]
    if any(f.code in ("missing-class", "unknown-class", "too-long") for f in linted):
        return  # such a text is not injected at all
    parts = load_parts(stage)
    for part, rows in (("training", parts.train), ("held out", parts.held_out)):
        where = f"{stage.name}, {part}"
        facts = list(rows.remove_columns("image"))
        tests = measure_leaks(facts)
        found.tests += [(where, test) for test in tests]
        found.findings += leak_check(facts, where=where, tests=tests)
