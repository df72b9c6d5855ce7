r"""What a stage needs of a GPU's memory, estimated from the shape of the model.

With :math:`P` parameters, :math:`P_t` of them trained, :math:`N` processes and ZeRO stage :math:`z` (0 without DeepSpeed), all in bytes:

==================  =======================================================================  ============================
part                bytes                                                                    divided by :math:`N` if
==================  =======================================================================  ============================
weights             :math:`w P` (+ :math:`4.127/8` a four-bit weight, + 4 an adapter's)      :math:`z = 3`
gradients           :math:`g P_t`                                                            :math:`z \ge 2`
optimizer           :math:`o P_t`                                                            :math:`z \ge 1`
reference           :math:`w P` if all weights are trained and a KL reference is kept        :math:`z = 3`
activations         :math:`a b s h (L + 17)` with checkpointing, else :math:`17 a b s h L`   never
logits              :math:`b\, t\, V (2 a + 4)`                                              never
cache               :math:`2 a L k B s`                                                      never
gathered            :math:`w P` during generation (``ds3_gather_for_generation``)            only there if :math:`z = 3`
==================  =======================================================================  ============================

:math:`w = a` is 2 in bfloat16 and 4 in float32. For AdamW :math:`o = 2w` (two moments in the precision of the weights) or, with
DeepSpeed, 12 (moments and a copy of the weights in float32; Rajbhandari et al., arXiv 1910.02054, section 3), :math:`g = w`; adapters
(arXiv 2106.09685) are float32 without DeepSpeed. Four-bit weights with double quantisation take 4.127 bits (Dettmers et al., arXiv
2305.14314). A layer of width :math:`h` keeps :math:`34 b s h` bytes for :math:`b` sequences of :math:`s` tokens in 16 bits (Korthikanti et
al., arXiv 2205.05198, equation 2 without the attention matrix, which fused kernels do not keep); with checkpointing each of :math:`L`
layers keeps its input, and one is recomputed. The image encoder counts in the same way where it is trained, with one layer's share where
it is not. trl computes logits of :math:`t` completion tokens over :math:`V` words: those, their gradient, and a float32 copy. The cache
holds keys and values of width :math:`k` for all :math:`B` completions that a process makes at once. The peak is the permanent part plus
the larger of training (activations, logits) and generation (cache, gathered). Not in it: the CUDA context, fragmentation, vLLM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vrft_aug.models.sizes import ModelSize

FOUR_BIT = 4.127 / 8
"""Bytes of a four-bit weight with its doubly quantised scales."""
ADAM_DEEPSPEED = 12
"""Bytes of DeepSpeed's AdamW for each trained parameter."""
LAYER = 17
"""Activations of a layer, in units of its input."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What one process computes.

    Attributes
    ----------
    batch, completions
        Sequences of one backward pass; completions that are generated at once.
    prompt, image, completion
        Tokens of the prompt with its image, of the image in it, and of the longest completion.
    processes, zero
        Processes, and DeepSpeed's ZeRO stage.
    bytes_per_value
        2 for bfloat16, 4 for float32.
    checkpointing, reference, gather
        Whether activations are recomputed, a reference model is kept, and ZeRO-3 gathers the weights for generation.
    """

    batch: int
    completions: int
    prompt: int
    image: int
    completion: int
    processes: int = 1
    zero: int = 0
    bytes_per_value: int = 2
    checkpointing: bool = True
    reference: bool = False
    gather: bool = True


def estimate(size: ModelSize, work: Workload) -> dict[str, float]:
    """Bytes of each part on one GPU, and ``permanent``, ``training``, ``generation`` and ``peak`` (see this module)."""
    found = permanent(
        size.parameters,
        size.trained,
        bytes_per_value=work.bytes_per_value,
        processes=work.processes,
        zero=work.zero,
        adapters=size.adapters,
        quantised=size.quantised,
        reference=work.reference,
    )
    value, length = work.bytes_per_value, work.prompt + work.completion
    unit = value * work.batch * length * size.hidden
    layers = size.layers + LAYER if work.checkpointing else size.layers * LAYER
    patches = value * work.batch * work.image * size.merge**2 * size.vision_hidden
    seen = (size.vision_layers + LAYER if work.checkpointing else size.vision_layers * LAYER) if size.vision_trained else LAYER
    found["activations"] = float(unit * layers + patches * seen)
    found["logits"] = float(work.batch * work.completion * size.vocabulary * (2 * value + 4))
    found["cache"] = float(2 * value * size.layers * size.kv_width * work.completions * length)
    found["gathered"] = float(value * size.parameters) if work.zero == 3 and work.gather else 0.0
    return {**found, **peak(found)}


def permanent(
    parameters: int,
    trained: int,
    *,
    bytes_per_value: int = 2,
    processes: int = 1,
    zero: int = 0,
    adapters: int = 0,
    quantised: int = 0,
    reference: bool = False,
) -> dict[str, float]:
    """Bytes of weights, gradients, optimizer and reference on one GPU; these need no shape of the model, only its parameters.

    Parameters
    ----------
    parameters, trained, adapters, quantised
        See :class:`~vrft_aug.models.sizes.ModelSize`.
    bytes_per_value, processes, zero, reference
        See :class:`Workload`.
    """
    shared = [processes if zero >= stage else 1 for stage in (1, 2, 3)]
    own = 4 if adapters and not zero else bytes_per_value  # of a trained weight
    weights = bytes_per_value * (parameters - quantised) + FOUR_BIT * quantised + own * adapters
    kept = bytes_per_value * parameters if reference and not adapters else own * adapters * reference
    return {
        "weights": weights / shared[2],
        "gradients": own * trained / shared[1],
        "optimizer": (ADAM_DEEPSPEED if zero else 2 * own) * trained / shared[0],
        "reference": kept / shared[2],
    }


def peak(parts: dict[str, float]) -> dict[str, float]:
    """The permanent part, the two phases and the peak."""
    fixed = sum(parts[name] for name in ("weights", "gradients", "optimizer", "reference"))
    training, generation = parts["activations"] + parts["logits"], parts["cache"] + parts["gathered"]
    return {"permanent": fixed, "training": training, "generation": generation, "peak": fixed + max(training, generation)}


def zero_stage(settings: Any) -> int | None:
    """The ZeRO stage of trl's ``deepspeed`` field: 0 without one, None for a file that cannot be read or states none."""
    import json
    from pathlib import Path

    if settings is None:
        return 0
    if isinstance(settings, str):
        try:
            settings = json.loads(Path(settings).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
    stage = (settings.get("zero_optimization") or {}).get("stage") if isinstance(settings, dict) else None
    return stage if isinstance(stage, int) and 0 <= stage <= 3 else None
