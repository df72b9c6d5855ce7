"""A plan in words."""

from __future__ import annotations

from typing import Any

_PARTS = ("weights", "gradients", "optimizer", "reference", "activations", "logits", "cache", "gathered")


def cost_lines(stage: dict[str, Any]) -> list[str]:
    """Batch, hooks, tokens and memory of one stage of :func:`vrft_aug.planning.plan`."""
    batch = "{per_device} completions x {gradient_accumulation} accumulated x {processes} processes = {completions_per_step} a step"
    lines = ["  batch      " + batch.format(**stage["batch"]) + f"; the data is gone through {stage['batch']['passes']:g} times"]
    if stage["hooks"]:
        lines.append("  hooks      " + ", ".join(hook["name"] for hook in stage["hooks"]))
    tokens = stage["tokens"]
    prompt = "a prompt of unknown length" if tokens["prompt"] is None else f"prompt {tokens['prompt']}, its image {tokens['image']}"
    lines.append(f"  tokens     {prompt} ({tokens['prompt_source']})")
    lines.append(f"             completion at most {tokens['completion_at_most']}, in all {tokens['completions_in_all_at_most']}")
    memory = stage["memory"]
    if memory["known"] == "nothing":
        return [*lines, f"  memory     not known: {memory['why']}"]
    parts = memory["bytes"]
    shown = ", ".join(f"{name} {gigabytes(parts[name])}" for name in _PARTS if parts.get(name))
    total = (
        f"about {gigabytes(parts['peak'])} at the peak" if memory["known"] == "all" else f"{gigabytes(parts['permanent'])} and more"
    )
    ways = f"{memory['precision']}, ZeRO {memory['zero']}, {memory['processes']} processes"
    lines.append(f"  memory     {total} on each GPU ({ways}): {shown}")
    return lines if memory["why"] is None else [*lines, f"             {memory['why']}"]


def overall_lines(facts: dict[str, Any]) -> list[str]:
    """Size of the model, and what passes over the network."""
    size, network = facts["size"], facts["network"]
    count = "of unknown size" if size["parameters"] is None else f"{size['parameters']:_} weights".replace("_", " ")
    trained = "" if size["trained"] is None else f", {size['trained']:_} trained".replace("_", " ")
    return [
        f"model        {facts['model']['path']}, {count}{trained} ({size['source']})",
        f"network      sent: {network['sent']}; telemetry off; fetched: {network['fetched']}",
    ]


def dry_run_lines(facts: dict[str, Any]) -> list[str]:
    """What :func:`vrft_aug.dry_run.dry_run` found, in words."""
    lines = []
    for stage in facts["stages"]:
        rewards = ", ".join(f"{name} {'-' if value is None else format(value, '.3g')}" for name, value in stage["rewards"].items())
        done = f"{stage['steps']} steps, {stage['completions']} completions in {stage['seconds']:.1f} s"
        lines.append(f"{stage['name']}: {stage['state']}, {done}" + (f"; mean rewards {rewards}" if rewards else ""))
    lines += [f"{found['name']}: {found['images']} held-out images judged" for found in facts["evaluation"]]
    return [*lines, *(f"fault: {fault}" for fault in facts["faults"])] if facts["faults"] else [*lines, "no faults"]


def gigabytes(count: float) -> str:
    """Bytes in units of 2**30, or of 2**20 for small numbers."""
    return f"{count / 2**30:.3g} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.3g} MiB"
