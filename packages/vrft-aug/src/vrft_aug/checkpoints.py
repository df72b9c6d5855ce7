"""Checkpoints that are complete or absent, and a resume that restores every weight.

transformers writes a checkpoint file by file and, for several vision-language families (Qwen2.5-VL, LLaVA, Gemma 3), restores none of
the weights on resume because the names in the file differ from those in memory. Here a checkpoint appears under its name only when all of
it is on the disk, with the hash of every file; damaged ones are passed over; and weights come back through ``from_pretrained`` and a
strict ``load_state_dict``, so that a resumed run equals an uninterrupted one bit for bit.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from medcore.atomic import atomic_directory, sweep, verify_directory
from medcore.errors import InputError
from vrft_aug.hooks import RefinementHook

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"^step-(\d{8})$")
STATE = "trainer_state.json"
_PICKLED = "training_args.bin"  # nothing reads it, and loading it would run code


def publish(staged: Path, folder: Path, step: int, *, keep: int = 2) -> Path:
    """Turn what a trainer saved into a checkpoint.

    Parameters
    ----------
    staged
        The folder the trainer wrote; its files are moved.
    folder
        Folder of the checkpoints.
    step
        Optimizer steps done.
    keep
        How many of the newest checkpoints stay.

    Returns
    -------
    Path
        The checkpoint, with a manifest.
    """
    target = folder / f"step-{step:08d}"
    with atomic_directory(target, force=True) as temporary:
        for entry in staged.iterdir():
            if entry.name != _PICKLED:
                os.rename(entry, temporary / entry.name)
    shutil.rmtree(staged, ignore_errors=True)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first, complete as far as their names tell."""
    found = [p for p in folder.iterdir() if _NAME.match(p.name)] if folder.is_dir() else []
    return sorted(found)


def latest(folder: Path) -> Path | None:
    """The newest checkpoint whose files all match its manifest; damaged ones are left where they are and named in the log."""
    if folder.is_dir():
        sweep(folder)
    for path in reversed(checkpoints(folder)):
        try:
            verify_directory(path)
        except InputError as error:
            _LOG.warning("checkpoint passed over: %s", error)
            continue
        if (path / STATE).is_file():
            return path
        _LOG.warning("checkpoint passed over: %s has no %s", path, STATE)
    return None


class PublishCheckpoints(TrainerCallback):
    """Publishes every checkpoint a trainer has just saved.

    Parameters
    ----------
    folder
        Where checkpoints go.
    keep
        How many stay.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - the library's signature
        """Called when the trainer's own files are written, on every process."""
        _wait_for_all()
        if state.is_world_process_zero:
            publish(Path(args.output_dir, f"checkpoint-{state.global_step}"), self.folder, state.global_step, keep=self.keep)
        _wait_for_all()


class HookStates(TrainerCallback, ExportableState):
    """Keeps the states of refinement hooks in the trainer's state, so that they are saved and restored with every checkpoint.

    Parameters
    ----------
    hooks
        The trainer's hooks.
    """

    def __init__(self, hooks: Sequence[RefinementHook] = ()) -> None:
        self.hooks = tuple(hooks)

    def state(self) -> dict[str, Any]:
        """What the trainer writes into its state file."""
        saved = [[type(hook).__name__, content] for hook in self.hooks if (content := hook.state_dict())]
        return {"args": {}, "attributes": {"saved": saved}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - the library's signature
        """Hands each hook its state, that of the checkpoint where training resumes.

        Raises
        ------
        InputError
            If the checkpoint was made with other hooks that have a state.
        """
        saved = state.stateful_callbacks.setdefault(type(self).__name__, self.state())["attributes"]["saved"]
        hooks = [hook for hook in self.hooks if hook.state_dict()]
        names, own = [name for name, _ in saved], [type(hook).__name__ for hook in hooks]
        if names != own:
            problem = f"holds the states of the hooks {', '.join(names) or 'none'}, not of {', '.join(own) or 'none'}"
            raise InputError("the checkpoint", problem, "resume with the hooks that the run began with")
        for hook, (_name, content) in zip(hooks, saved, strict=True):
            hook.load_state_dict(content)


class ResumeOrder(TrainerCallback):
    """Gives a resumed run the order of images that the uninterrupted one has.

    trl's sampler draws the order of each pass over the data from one generator, which starts anew when a run is resumed, so that a run
    resumed in its third pass would see the order of the first. Here the passes that are done are drawn again and thrown away.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Called before the first batch is drawn."""
        sampler: Any = getattr(train_dataloader, "batch_sampler", None)
        while sampler is not None and not hasattr(sampler, "num_samples"):
            sampler = getattr(sampler, "batch_sampler", None) or getattr(sampler, "sampler", None)
        generator = getattr(sampler, "generator", None)
        if generator is None or hasattr(sampler, "set_epoch"):
            return
        import torch

        steps = max(1, -(-len(train_dataloader) // args.gradient_accumulation_steps))
        for _done in range(state.global_step // steps):
            torch.randperm(sampler.num_samples, generator=generator)


def _wait_for_all() -> None:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()


class ExactResume:
    """Mixin for a transformers trainer: weights are restored strictly, whatever their names in the file."""

    model: Any

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        from peft import PeftModel

        target = self.model if model is None else model
        sharded = getattr(self, "is_deepspeed_enabled", False) or getattr(self, "is_fsdp_enabled", False)
        if isinstance(target, PeftModel) or sharded:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            if isinstance(target, PeftModel) and not sharded:
                check_adapter(target, Path(resume_from_checkpoint))
            return
        restore_weights(target, Path(resume_from_checkpoint))


def restore_weights(model: Any, folder: Path) -> None:
    """Give `model` the weights saved in `folder`.

    Raises
    ------
    InputError
        If any weight is missing, left over or of another shape; the model may then be partly changed.
    """
    fresh, found = type(model).from_pretrained(folder, dtype=model.dtype, use_safetensors=True, output_loading_info=True)
    problems = {
        kind: sorted(map(str, found[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if found.get(kind)
    }
    if problems:
        shown = "; ".join(f"{len(names)} {kind.replace('_', ' ')}, the first {names[0]}" for kind, names in problems.items())
        raise InputError(folder, f"does not fit the model ({shown})", "resume with the model that was trained")
    model.load_state_dict(fresh.state_dict(), strict=True)


def check_adapter(model: Any, folder: Path) -> None:
    """Compare the active adapter with the file it should have been restored from.

    Raises
    ------
    InputError
        If a weight is missing or differs.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    saved = load_file(folder / "adapter_model.safetensors")
    live = get_peft_model_state_dict(model, adapter_name="default")
    wrong = sorted(set(saved) ^ set(live)) or [k for k, v in saved.items() if not torch.equal(v, live[k].to(v.device, v.dtype))]
    if wrong:
        raise InputError(
            folder, f"did not restore {len(wrong)} adapter weights, the first {wrong[0]}", "resume with the model that was trained"
        )
