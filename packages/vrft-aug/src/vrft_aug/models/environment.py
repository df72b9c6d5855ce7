"""What must be set before a heavy library is imported: no telemetry, sensible threads, no progress bars in logs."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator

TELEMETRY = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub.send_telemetry, which trl's trainers call when they are built
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_DISABLED": "true",
    "DISABLE_MLFLOW_INTEGRATION": "TRUE",
}
"""Environment variables that switch off what libraries would send, unless the user has set them."""

_QUIET = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def prepare(*, verbose: bool = False) -> None:
    """Switch telemetry off and libraries' chatter down; call it before importing torch, transformers or trl.

    Parameters
    ----------
    verbose
        Leave the libraries' informative messages on.
    """
    for name, value in {**TELEMETRY, **_QUIET}.items():
        os.environ.setdefault(name, value)
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:  # imported before us: the variable was read too early
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]
    if not verbose:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("ACCELERATE_LOG_LEVEL", "error")
        for name in ("transformers", "trl", "accelerate", "datasets", "httpx"):
            logging.getLogger(name).setLevel(logging.ERROR)
        logging.getLogger("DeepSpeed").addFilter(_no_gpu_is_no_news)


def _no_gpu_is_no_news(record: logging.LogRecord) -> bool:
    """Whether a message of deepspeed is worth reading; it warns on every start without a GPU."""
    return "Setting accelerator to CPU" not in record.getMessage()


def quiet_progress() -> None:
    """Switch off transformers' progress bars, which would fill logs with half lines; imports transformers."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


@contextlib.contextmanager
def known_deprecations() -> Iterator[None]:
    """Hide the deprecations that trl 1.16 raises against transformers 5.23 whatever its caller does."""
    with warnings.catch_warnings():
        for name in ("gradient_checkpointing", "is_gradient_checkpointing"):
            warnings.filterwarnings("ignore", message=f"`{name}` is deprecated", category=FutureWarning)
        yield


def telemetry_off() -> bool:
    """Whether huggingface_hub, if imported now, would send nothing."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_DISABLE_TELEMETRY or constants.HF_HUB_OFFLINE)


def limit_threads(parameters: int) -> int:
    """Use one thread for a model of less than ten million parameters, where more threads only wait for each other.

    Parameters
    ----------
    parameters
        Number of the model's parameters.

    Returns
    -------
    int
        Threads torch uses now.
    """
    import torch

    if parameters < 10_000_000 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    return int(torch.get_num_threads())


def torchvision_state() -> str:
    """``"absent"``, ``"works"`` or ``"broken: ..."``; a broken torchvision makes transformers' processors fail."""
    from importlib.util import find_spec

    if find_spec("torchvision") is None:
        return "absent"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchvision  # noqa: F401
    except Exception as error:  # noqa: BLE001 - whatever a broken binary raises
        return f"broken: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return "works"
