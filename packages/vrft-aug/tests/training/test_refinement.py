"""Built-in hooks in real training: called with what they were promised, and going on exactly after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medcore.errors import ConfigError, InputError
from vrft_aug.completions import read_table
from vrft_aug.data import load_rows
from vrft_aug.hooks import HookSettings, RefinementHook, build_hook
from vrft_aug.models import known_deprecations, load_policy
from vrft_aug.recipe import ModelSettings
from vrft_aug.refinement import Asymmetric, Reasoning, Replay, Schedule
from vrft_aug.stages import run_recipe
from vrft_aug.trainer import build_trainer

BUILT_IN = [
    {"name": "vrft_aug.refinement:Schedule", "options": {"reward": "format", "shape": "cosine", "stop": 0.2}},
    {"name": "vrft_aug.refinement:Clip", "options": {"reward": "multi_grade_fuzzy", "low": 0.0, "high": 0.5}},
    {"name": "vrft_aug.refinement:Replay", "options": {"share": 0.9}},
    {"name": "vrft_aug.refinement:Asymmetric", "options": {"negative": 0.5}},
    {"name": "vrft_aug.refinement:Difficulty", "options": {"reward": "accuracy"}},
    {"name": "vrft_aug.refinement:Reasoning", "options": {}},
]


class Watch(RefinementHook):
    """Keeps what comes out of the hooks before it, and may end the run like a crash."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.weights, self.advantages, self.samples = stop_at, [], [], []

    def select_samples(self, samples, state):
        self.samples.append(list(samples))
        return samples

    def schedule_weights(self, weights, state):
        if state.global_step == self.stop_at:
            raise KeyboardInterrupt
        self.weights.append(weights.tolist())
        return weights

    def transform_advantages(self, advantages, state):
        self.advantages.append(advantages)
        return advantages


@pytest.fixture
def trainer(one_stage, as_recipe, tmp_path, finished, warm_policy):
    """Builds a trainer of the grading stage with hooks."""

    def make(*hooks: RefinementHook, **grpo: Any):
        one_stage["stages"][0]["grpo"].update(grpo)
        one_stage["stages"][0]["rewards"] = [{"name": "accuracy"}, {"name": "format", "weight": 0.5}]
        stage = as_recipe(one_stage).stages[0]
        policy, processor = load_policy(ModelSettings(), warm_policy)
        rows = load_rows(stage, part="train")
        with known_deprecations():
            return build_trainer(
                stage,
                policy,
                processor,
                rows,
                [odd, even],
                tmp_path,
                seed=0,
                base=finished.folder / "base",
                start=warm_policy,
                hooks=hooks,
            )

    return make


def odd(prompts, completions, **columns):
    return [float(i % 2) for i in range(len(completions))]


def even(prompts, completions, **columns):
    return [float(i % 4 == 0) for i in range(len(completions))]


def step(trainer):
    trainer.model.train()
    with known_deprecations():
        return trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))


def loss(trainer, output):
    trainer.current_gradient_accumulation_steps = 1  # set by transformers' training loop
    with known_deprecations():
        return trainer.compute_loss(trainer.model, output)


def test_advantages_by_token_reach_the_loss_and_padding_gets_none(trainer):
    made = trainer(Reasoning(rest=0.0, keep_sum=False))
    output = step(made)
    assert output["advantages"].shape == output["completion_ids"].shape
    assert torch.all(output["advantages"][output["completion_mask"] == 0] == 0)
    tokenizer = made.processing_class.tokenizer
    with_thought = 0
    for ids, mask, values in zip(output["completion_ids"], output["completion_mask"], output["advantages"], strict=True):
        text = tokenizer.decode(ids[mask.bool()])
        kept = tokenizer.decode(ids[(values != 0) & mask.bool()])
        if "<think>" in text and "</think>" in text and kept:
            with_thought += 1
            assert kept.startswith("<think>")
            behind = kept.partition("</think>")[2]
            assert "</think>" in kept
            assert len(behind) <= 1, "a token that ends a tag may begin the next one"
    assert with_thought > 3
    assert torch.isfinite(loss(made, output))


def test_even_weights_by_token_leave_the_loss_as_it_is(trainer):
    losses = []
    for hooks in ((), (Reasoning(thought=1.0, rest=1.0),)):
        torch.manual_seed(0)
        made = trainer(*hooks)
        losses.append(float(loss(made, step(made)).detach()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_scheduled_weights_change_sums_but_not_what_is_logged_of_the_rewards(trainer):
    made = trainer(Schedule(reward="even", start=0.0, stop=0.0))
    step(made)
    metrics = made._metrics["train"]
    assert metrics["rewards/odd/mean"] == [0.5]
    assert metrics["rewards/even/mean"] == [0.25]
    assert metrics["reward"] == [0.5]
    assert metrics["weight/even"] == [0.0]
    assert made.args.reward_weights == [1.0, 0.5]


def test_what_a_hook_does_to_rewards_is_logged_beside_their_plain_values(trainer):
    class Halve(RefinementHook):
        def transform_rewards(self, rewards, state):
            return rewards * torch.tensor([0.5, 1.0])

    made = trainer(Halve())
    step(made)
    metrics = made._metrics["train"]
    assert metrics["raw_rewards/odd/mean"] == [0.5]
    assert metrics["rewards/odd/mean"] == [0.25]
    assert "raw_rewards/even/mean" not in metrics


def test_selected_samples_are_what_is_generated_from(trainer, tmp_path):
    class Last(RefinementHook):
        def bind(self, stage):
            self.last = stage.samples[-1]

        def select_samples(self, samples, state):
            return [samples[0], *[self.last] * (len(samples) - 1)]

    made = trainer(last := Last())
    step(made)
    stage = read_table(tmp_path / "completions", "x")
    rows = [stage.rows[entry["row"]] for entry in stage.entries]
    names = [row["sample_id"] for row in rows]
    assert set(names[4:]) == {last.last}
    assert len(names) == 16
    truth = {row["sample_id"]: row["label"] for row in made.train_dataset}
    assert all(row["label"] == truth[row["sample_id"]] for row in rows)


@pytest.mark.parametrize(
    ("chosen", "message"), [(lambda s: s[:1], "returned 1 samples for 4"), (lambda s: ["nobody", *s[1:]], "no training sample's")]
)
def test_a_selection_without_sense_is_refused(trainer, chosen, message):
    class Wrong(RefinementHook):
        def select_samples(self, samples, state):
            return chosen(samples)

    with pytest.raises(ConfigError, match=message):
        step(trainer(Wrong()))


def test_weights_and_advantages_must_be_finite(trainer):
    class Weights(RefinementHook):
        def schedule_weights(self, weights, state):
            return weights / 0

    class Advantages(RefinementHook):
        def transform_advantages(self, advantages, state):
            return advantages * float("nan")

    with pytest.raises(ConfigError, match="returned a weight that is not finite"):
        step(trainer(Weights()))
    with pytest.raises(InputError, match="made an advantage of step 0 that is not finite"):
        step(trainer(Advantages()))


def test_an_axis_of_tokens_must_be_that_of_the_longest_completion(trainer):
    class Wide(RefinementHook):
        def transform_advantages(self, advantages, state):
            return advantages[:, None].repeat(1, 99)

    with pytest.raises(ConfigError, match=r"Wide.transform_advantages: returned shape \(16, 99\)"):
        step(trainer(Wide()))


def test_hooks_compose(trainer):
    both, plain = step(trainer(Asymmetric(negative=0.0), Reasoning(rest=1.0)))["advantages"], step(trainer())["advantages"]
    assert torch.allclose(both.max(dim=1).values, plain.clamp(min=0))


def logged(folder: Path) -> list[dict[str, float]]:
    entries = json.loads((folder / "stages/1-reasoning/log.json").read_text())
    return [
        {k: v for k, v in entry.items() if "time" not in k and "runtime" not in k and "per_second" not in k} for entry in entries
    ]


def test_an_interrupted_run_with_every_hook_ends_the_same(tmp_path, small, warm_policy, as_recipe):
    stage = small["stages"][1] | {"hooks": BUILT_IN}
    stage["data"] |= {"train": 8, "held_out": 4}
    stage["grpo"] |= {"max_steps": 6, "save_steps": 1}
    recipe = as_recipe({**small, "model": {"path": str(warm_policy)}, "warm_start": None, "stages": [stage]})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    watch = Watch()
    run_recipe(recipe, whole, hooks=[watch])
    weights = [w[2] for w in watch.weights]
    assert weights[0] == 1.0
    assert weights[-1] == pytest.approx(0.2)
    assert weights == sorted(weights, reverse=True)
    assert all(a.dim() == 2 for a in watch.advantages)
    first = logged(whole)
    assert max(entry.get("rewards/multi_grade_fuzzy/mean", 0) for entry in first) <= 0.5
    assert {"groups/constant", "groups/replayed", "tokens/thought", "difficulty/weight"} <= first[0].keys()
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, broken, hooks=[Watch(stop_at=4)])
    rest = Watch()
    run_recipe(recipe, broken, resume=True, hooks=[rest])
    assert rest.samples == watch.samples[4:]
    assert logged(broken)[:-1] == first[:-1]
    weights_of = [load_file(folder / "final" / "model.safetensors") for folder in (whole, broken)]
    assert all(torch.equal(value, weights_of[1][name]) for name, value in weights_of[0].items())


def test_a_recipe_with_a_wrong_hook_fails_before_anything_is_written(tmp_path, one_stage, as_recipe):
    one_stage["stages"][0]["hooks"] = [{"name": "vrft_aug.refinement:Clip", "options": {"hgh": 1}}]
    with pytest.raises(ConfigError, match="did you mean 'high'"):
        run_recipe(as_recipe(one_stage), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_replay_remembers_by_sample(trainer):
    hook = build_hook(HookSettings(name="vrft_aug.refinement:Replay"))
    step(trainer(hook))
    assert isinstance(hook, Replay)
    assert len(hook.state_dict()["last"]) == 4
