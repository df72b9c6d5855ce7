"""A training step beside plain trl: same model, images, seed and losses; each image decoded and preprocessed once or many times."""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import publish
from _tiny_stage import RECIPE
from PIL import Image

from medcore.config import from_mapping
from vrft_aug.data import load_rows
from vrft_aug.models import build_tiny_model, known_deprecations, load_policy, prepare
from vrft_aug.recipe import ModelSettings, Recipe
from vrft_aug.trainer import build_trainer

SEED, SIZES = 0, (56, 512, 1024)
EPOCH = 6
"""Steps in which each image occurs once."""


def by_length(prompts: Any, completions: Any, **columns: Any) -> list[float]:
    """A reward that differs within groups, so that there is a gradient."""
    del prompts, columns
    return [len(str(c)) % 7 / 7 for c in completions]


def constant(prompts: Any, completions: Any, **columns: Any) -> list[float]:
    """A reward that does not."""
    del prompts, columns
    return [0.5] * len(completions)


def enlarged(rows: Any, size: int) -> Any:
    """The rows with images of another size and some noise, as PNG."""

    def change(row: dict[str, Any], index: int) -> dict[str, Any]:
        image = np.asarray(row["image"].resize((size, size))).astype(int)
        noisy = image + np.random.default_rng([SEED, index]).integers(-20, 20, image.shape)
        buffer = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype("uint8")).save(buffer, "PNG", compress_level=1)
        return {"image": {"bytes": buffer.getvalue(), "path": None}}

    return rows.map(change, with_indices=True, features=rows.features)


def batches(trainer: Any) -> Iterator[Any]:
    """The trainer's batches, each image once an epoch."""
    while True:
        yield from trainer.get_train_dataloader()


def step(trainer: Any, source: Iterator[Any]) -> tuple[float, float, float]:
    """CPU seconds, loss and squared norm of the gradients of one step: rows fetched, completions generated and scored, loss, gradients."""
    torch.manual_seed(SEED)
    trainer._buffered_inputs, trainer._step = None, 0  # noqa: SLF001
    trainer.current_gradient_accumulation_steps = 1  # what its training loop sets
    trainer.model.train()
    trainer.model.zero_grad()
    with known_deprecations():
        start = time.process_time()
        inputs = trainer._prepare_inputs(next(source))  # noqa: SLF001
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
        took = time.process_time() - start
    return took, float(loss.detach()), float(sum((p.grad**2).sum() for p in trainer.model.parameters() if p.grad is not None))


def main() -> None:
    """Take turns, and compare medians."""
    prepare()
    torch.set_num_threads(1)
    stage = from_mapping(Recipe, RECIPE, "recipe").stages[0]
    small = load_rows(stage, part="train")
    table: list[list[object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_tiny_model(folder / "tiny", [str(m["content"]) for p in small["prompt"] for m in p], seed=SEED)
        for size in SIZES:
            rows = enlarged(small, size)
            trainers = {}
            for share in (False, True):
                policy, processor = load_policy(ModelSettings(), folder / "tiny")
                places = {"base": folder / "tiny", "start": folder / "tiny", "share": share}
                with known_deprecations():
                    trainers[share] = build_trainer(
                        stage, policy, processor, rows, [by_length, constant], folder / f"{size}-{share}", seed=SEED, **places
                    )
            sources = {share: batches(trainer) for share, trainer in trainers.items()}
            found: dict[bool, list[tuple[float, float, float]]] = {share: [] for share in trainers}
            for _ in range(2 * EPOCH):
                for share, trainer in trainers.items():
                    found[share].append(step(trainer, sources[share]))
            if [each[1:] for each in found[False]] != [each[1:] for each in found[True]]:
                raise SystemExit(f"losses or gradients differ: {found}")
            cells: list[object] = []
            for part in (slice(1, EPOCH), slice(EPOCH, None)):
                plain, shared = (statistics.median(each[0] for each in found[share][part]) for share in (False, True))
                cells += [f"{plain:.2f}", f"{shared:.2f}", f"{plain / shared:.1f}"]
            table.append([f"{size} x {size}", *cells])
    note = (
        "64 completions in groups of 8 of the tiny model (386 k parameters), one thread, CPU seconds: rows fetched, completions generated "
        f"and scored, loss, gradients, without the optimiser. Medians of the steps 2 to {EPOCH}, whose images are new, and of the next "
        f"{EPOCH}, whose images were seen before and are kept (up to 1 GiB of them); both take turns. Loss and gradients of every step are "
        "the same to the last bit, or this script ends with an error."
    )
    new, old = ([f"{who}, {what} [s]" for who in ("plain trl", "vrft-aug")] for what in ("new", "seen"))
    columns = ["images", *new, "times faster", *old, "times faster"]
    publish("step_time", "Time of a training step", columns, table, seed=SEED, note=note)


if __name__ == "__main__":
    main()
