"""Where the knowledge in a run's prompts comes from."""

from __future__ import annotations

from typing import Any

from medcore.atomic import sha256_file
from medcore.config import to_mapping
from vrft_aug.knowledge import load_knowledge
from vrft_aug.recipe import Recipe


def knowledge_origins(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """For each stage with knowledge its provenance, the prompts that carry it and the SHA-256 of its file, for ``run.json``.

    Raises
    ------
    ConfigError
        If a knowledge file cannot be read.
    """
    return {
        stage.name: {
            **to_mapping(load_knowledge(stage.knowledge.file).provenance),
            "apply_at": stage.knowledge.apply_at,
            "sha256": sha256_file(stage.knowledge.file),
        }
        for stage in recipe.stages
        if stage.knowledge is not None
    }
