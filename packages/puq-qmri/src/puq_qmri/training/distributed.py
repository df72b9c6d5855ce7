"""Several processes started by torchrun: one batch between them, the mean of their gradients in each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medcore.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Group:
    """The processes of a run.

    Attributes
    ----------
    rank, size
        Number of this process, and of all.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, indices: list[int]) -> list[int]:
        """The part of a batch that this process does."""
        return indices[self.rank :: self.size]

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over the processes."""
        if self.size == 1:
            return
        chosen = [p for p in parameters if p.requires_grad]
        for p in chosen:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([p.grad.ravel() for p in chosen if p.grad is not None])
        dist.all_reduce(flat)
        flat /= self.size
        for p, part in zip(chosen, torch.split(flat, [p.numel() for p in chosen]), strict=True):
            p.grad = part.view_as(p)

    def mean(self, value: Tensor) -> float:
        """Mean of a number over the processes."""
        if self.size == 1:
            return float(value.detach())
        total = value.detach().clone()
        dist.all_reduce(total)
        return float(total) / self.size

    def largest(self, value: int, device: str | torch.device) -> int:
        """The largest of a whole number over the processes."""
        if self.size == 1:
            return value
        found = torch.tensor(value, device=device)
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return int(found)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def group(device: str, batches: dict[str, int]) -> Iterator[tuple[Group, str]]:
    """Join the processes of torchrun, if it started this one.

    Parameters
    ----------
    device
        Where to compute; several processes on ``cuda`` get a GPU each.
    batches
        Size of the batches of each stage.

    Yields
    ------
    tuple[Group, str]
        The processes, and the device of this one.

    Raises
    ------
    ConfigError
        If a batch cannot be shared equally.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group(), device
        return
    for stage, batch in batches.items():
        if batch % size:
            raise ConfigError(f"{stage}.batch", f"is {batch} for {size} processes", f"give a multiple of {size}")
    on_gpu = device.startswith("cuda")
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if on_gpu else device
    if on_gpu:
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Group(rank=dist.get_rank(), size=size), own
    finally:
        dist.destroy_process_group()
