"""The GRPO trainer: contracts with trl, guarded rewards, KL references, restored weights."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from medcore.errors import ConfigError, InputError, NumericalError
from vrft_aug.advantages import without_favour
from vrft_aug.checkpoints import ResumeOrder, restore_weights
from vrft_aug.completions import read_table
from vrft_aug.data import load_rows
from vrft_aug.hooks import RefinementHook
from vrft_aug.models import known_deprecations, load_policy, save_policy
from vrft_aug.recipe import LoraSettings, ModelSettings
from vrft_aug.rescoring import advantages_of, logged_advantages, logged_rewards
from vrft_aug.trainer import AugmentedGRPOTrainer, build_trainer, grpo_arguments


@pytest.fixture
def build(one_stage, as_recipe, tmp_path, finished, warm_policy):
    """Builds a trainer from changes of the stage and the given rewards."""

    def make(rewards, *, hooks=(), model=None, base=None, start=None, **changes):
        stage_mapping = one_stage["stages"][0]
        stage_mapping["grpo"].update(changes.pop("grpo", {}))
        stage_mapping["rewards"] = [{"name": name} for name in ("accuracy", "format")[: len(rewards)]]
        stage_mapping.update(changes)
        stage = as_recipe(one_stage).stages[0]
        policy, processor = model or load_policy(ModelSettings(), warm_policy)
        with known_deprecations():
            return build_trainer(
                stage,
                policy,
                processor,
                load_rows(stage, part="train"),
                rewards,
                tmp_path,
                seed=0,
                base=base or finished.folder / "base",
                start=start or warm_policy,
                hooks=hooks,
            )

    return make


def constant(value):
    def reward(prompts, completions, **columns):
        return [value] * len(completions)

    return reward


def by_position(prompts, completions, **columns):
    return [float(i % 2) for i in range(len(completions))]


def test_the_overridden_methods_of_trl_have_the_known_signatures():
    assert list(inspect.signature(GRPOTrainer._calculate_rewards).parameters) == [
        "self",
        "inputs",
        "prompts",
        "completions",
        "completion_ids_list",
    ]
    assert list(inspect.signature(GRPOTrainer._generate_and_score_completions).parameters) == ["self", "inputs"]
    parameters = inspect.signature(GRPOTrainer._load_from_checkpoint).parameters
    assert list(parameters) == ["self", "resume_from_checkpoint", "model"]


def test_the_parts_of_trl_that_hooks_rely_on_are_there():
    rounds = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    assert "self.reward_weights" in rounds, "weights are read anew in each round"
    assert '"advantages": advantages' in rounds
    loss = inspect.getsource(GRPOTrainer._compute_loss)
    assert "if advantages.dim() == 1:" in loss, "advantages by token are taken as they are"


def test_the_sampler_of_trl_draws_each_pass_from_one_generator():
    first, again = (RepeatSampler(range(6), 2, batch_size=3, seed=5) for _ in range(2))
    passes = [list(first) for _ in range(3)]
    assert passes[0] != passes[1]
    assert not hasattr(first, "set_epoch"), "a sampler that knows the epoch needs no help on resume"
    loader = torch.utils.data.DataLoader(range(6), batch_sampler=torch.utils.data.BatchSampler(again, 6, drop_last=False))
    arguments, state = SimpleNamespace(gradient_accumulation_steps=1), SimpleNamespace(global_step=2 * len(loader) + 1)
    ResumeOrder().on_train_begin(arguments, state, None, train_dataloader=loader)
    assert list(again) == passes[2]


def test_only_these_methods_are_overridden():
    own = {name for name in vars(AugmentedGRPOTrainer) if not name.startswith("__")}
    assert own <= {"_calculate_rewards", "_generate_and_score_completions", "_abc_impl"}


def step(trainer):
    """One batch of completions, scored."""
    trainer.model.train()
    with known_deprecations():
        return trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))


def test_an_infinite_reward_counts_as_none_and_spares_its_group(build):
    def reward(prompts, completions, **columns):
        return [float("inf") if i == 0 else float(i % 2) for i in range(len(completions))]

    output = step(build([reward]))
    assert torch.isfinite(output["advantages"]).all()
    assert torch.count_nonzero(output["advantages"] == 0) == 1


def test_no_finite_reward_at_all_is_an_error(build):
    with pytest.raises(NumericalError, match="none of the 16 completions of step 0"):
        step(build([constant(float("nan"))]))


def test_rewards_that_do_not_apply_leave_the_others(build):
    partly = lambda prompts, completions, **columns: [None if i % 4 else 1.0 for i in range(len(completions))]  # noqa: E731
    partly.__name__ = "partly"
    output = step(build([partly, by_position]))
    assert torch.isfinite(output["advantages"]).all()
    assert output["advantages"].abs().sum() > 0


def test_a_missing_reward_neither_favours_nor_punishes():
    nan = float("nan")
    rewards = np.array([[1.0, 0.5], [nan, 0.5], [0.0, 0.5], [nan, nan], [2.0, nan], [3.0, nan], [nan, nan], [4.0, nan]])
    found = without_favour(rewards, 4)
    expected = [[1.0, 0.5], [0.5, 0.5], [0.0, 0.5], [nan, nan], [2.0, nan], [3.0, nan], [nan, nan], [4.0, nan]]
    np.testing.assert_allclose(found, expected)


class FailsOnce:
    """The position in its group as a reward; sample 1 gets the value told."""

    __name__ = "position"

    def __init__(self, how):
        self.how = how

    def __call__(self, prompts, completions, **columns):
        values = [float(i % 4) for i in range(len(completions))]
        values[1] = self.how
        return values


def test_a_failed_sample_is_an_average_one_to_the_trainer(build):
    # The sums of a group are 0, 1 + 1, 2, 3 + 1; of 0, -, 2, 3 the failed one counts as the mean of the others.
    sums = torch.tensor([[0.0, 2.0, 2.0, 4.0]] * 3 + [[0.0, 5 / 3 + 1, 2.0, 4.0]])
    expected = (sums - sums.mean(1, keepdim=True)) / (sums.std(1, keepdim=True) + 1e-4)
    for how in (float("nan"), float("inf"), None):
        found = step(build([FailsOnce(how), by_position]))["advantages"]  # trl has shuffled them
        torch.testing.assert_close(found.sort().values, expected.flatten().sort().values)


def test_completions_never_reach_the_log(build, caplog):
    nothing = lambda prompts, completions, **columns: [None if i == 0 else 1.0 for i in range(len(completions))]  # noqa: E731
    nothing.__name__ = "nothing"
    trainer = build([nothing])
    with caplog.at_level(logging.WARNING, logger="trl.trainer.grpo_trainer"):
        step(trainer)
    assert "at least one completion got no reward" in caplog.text
    assert "grade" not in caplog.text
    assert "chest-" not in caplog.text


def test_hooks_change_rewards_and_advantages(build):
    class Flip(RefinementHook):
        def transform_rewards(self, rewards, state):
            assert rewards.shape == (16, 1)
            return 1 - rewards

    plain, flipped = (step(build([by_position], hooks=hooks))["advantages"] for hooks in ((), (Flip(),)))
    assert torch.allclose(plain, -flipped)
    assert plain.abs().sum() > 0


def test_a_hook_that_changes_the_shape_is_refused(build):
    class Broken(RefinementHook):
        def transform_rewards(self, rewards, state):
            return rewards[:1]

    with pytest.raises(ConfigError, match=r"Broken.transform_rewards: returned shape \(1, 1\) for \(16, 1\)"):
        step(build([by_position], hooks=[Broken()]))


def test_two_rewards_of_one_name_are_refused(build):
    with pytest.raises(ConfigError, match="'reward' occurs twice"):
        build([constant(1.0), constant(0.0)])


def same(a, b):
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


@pytest.mark.parametrize("reference", ["base", "stage_start"])
def test_the_kl_reference_is_the_one_named(build, finished, warm_policy, reference):
    trainer = build([by_position], kl_reference=reference, grpo={"beta": 0.1})
    expected = {"base": finished.folder / "base", "stage_start": warm_policy}
    for name, path in expected.items():
        assert same(trainer.ref_model, load_policy(ModelSettings(), path)[0]) == (name == reference), name
    assert "ref_per_token_logps" in step(trainer)


def test_without_a_kl_reference_there_is_none(build):
    assert build([by_position]).ref_model is None


LORA = ModelSettings(lora=LoraSettings(rank=2, alpha=4, dropout=0.0))


@pytest.fixture
def adapted(warm_policy, tmp_path) -> Path:
    """A policy with a LoRA adapter that does something."""
    model, processor = load_policy(LORA, warm_policy)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    save_policy(model, processor, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("reference", ["base", "stage_start"])
def test_the_kl_reference_of_an_adapter(build, adapted, reference):
    trainer = build([by_position], kl_reference=reference, grpo={"beta": 0.1}, model=load_policy(LORA, adapted), start=adapted)
    output = step(trainer)
    with torch.no_grad(), known_deprecations():
        logits = {"prompt_ids", "completion_ids"}
        assert logits <= output.keys()
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        extra = {k: output[k] for k in ("pixel_values", "image_grid_thw", "mm_token_type_ids") if k in output}
        now, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, output["completion_ids"].shape[1], num_images=output.get("num_images"), **extra
        )
    distance = ((now - output["ref_per_token_logps"]) * output["completion_mask"]).abs().max()
    assert (distance < 1e-4) == (reference == "stage_start")


@pytest.mark.parametrize(
    ("grpo", "message"),
    [
        ({"bta": 0.1}, r"grpo\.bta: is unknown"),
        ({"trust_remote_code": True}, "is set by vrft-aug itself"),
        ({"push_to_hub": True}, "is set by vrft-aug itself"),
        ({"save_steps": 3, "steps_per_generation": 2}, "is 3, not a multiple of 2 steps"),
        ({"save_steps": 2.5}, "is 2.5, not a multiple of 1"),
        ({"save_steps": True}, "is True"),
    ],
)
def test_wrong_grpo_fields(one_stage, as_recipe, tmp_path, grpo, message):
    one_stage["stages"][0]["grpo"].update(grpo)
    stage = as_recipe(one_stage).stages[0]
    with known_deprecations(), pytest.raises(ConfigError, match=message):
        grpo_arguments(stage, tmp_path, seed=0)


@pytest.mark.parametrize(
    ("grpo", "expected"),
    [
        ({}, 10),
        ({"steps_per_generation": 4}, 8),
        ({"steps_per_generation": 4, "num_iterations": 3}, 12),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 4}, 10),
        ({"steps_per_generation": 2, "save_steps": 6}, 6),
    ],
)
def test_checkpoints_fall_on_generation_rounds(one_stage, as_recipe, tmp_path, grpo, expected):
    settings = one_stage["stages"][0]["grpo"]
    del settings["save_steps"]
    settings.update(grpo)
    with known_deprecations():
        arguments = grpo_arguments(as_recipe(one_stage).stages[0], tmp_path, seed=7)
    assert arguments.save_steps == expected
    rounds = arguments.steps_per_generation * arguments.num_iterations
    assert arguments.save_steps * arguments.gradient_accumulation_steps % rounds == 0
    assert arguments.seed == 7
    assert arguments.report_to == []


def test_restoring_gives_every_weight_back(finished, warm_policy):
    model, _ = load_policy(ModelSettings(), finished.folder / "base")
    restore_weights(model, warm_policy)
    assert same(model, load_policy(ModelSettings(), warm_policy)[0])


def test_restoring_refuses_a_file_that_lacks_a_weight(finished, warm_policy, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(warm_policy, broken)
    saved = load_file(broken / "model.safetensors")
    del saved["lm_head.weight"]
    save_file(saved, broken / "model.safetensors", metadata={"format": "pt"})
    model, _ = load_policy(ModelSettings(), warm_policy)
    with pytest.raises(InputError, match=r"does not fit the model \(1 missing keys, the first lm_head.weight"):
        restore_weights(model, broken)


def some(prompts, completions, **columns):
    return [None if i % 3 == 0 else i / 7 for i in range(len(completions))]


def rarely(prompts, completions, **columns):
    return [0.5 if i in (1, 7) else None for i in range(len(completions))]


@pytest.mark.parametrize(
    "grpo",
    [
        {},
        {"scale_rewards": "batch"},
        {"scale_rewards": "none"},
        {"scale_rewards": False},
        {"multi_objective_aggregation": "normalize_then_sum"},
    ],
    ids=str,
)
@pytest.mark.parametrize("hooked", [False, True])
def test_advantages_are_those_of_trl(build, grpo, hooked, tmp_path):
    class Flip(RefinementHook):
        def transform_advantages(self, advantages, state):
            return -advantages

    trainer = build([some, rarely], grpo=grpo, hooks=[Flip()] if hooked else ())
    step(trainer)
    stage = read_table(tmp_path / "completions", "x")
    values = logged_rewards(stage)
    assert np.array_equal(values[:, 0], np.float32([np.nan if i % 3 == 0 else i / 7 for i in range(16)]), equal_nan=True)
    again = np.nan_to_num(advantages_of(stage, values, np.array(stage.facts.weights)))
    assert np.abs(again).max() > 0.1
    assert np.abs(again - logged_advantages(stage)).max() < 1e-5
    assert stage.facts.hooks == (("Flip",) if hooked else ())


def test_a_stage_can_keep_no_completions(build, tmp_path):
    trainer = build([some], log_completions=False)
    assert trainer.completion_log is None
    step(trainer)
    assert not (tmp_path / "completions").exists()


def test_completions_are_kept_as_rewards_got_them(build, tmp_path):
    seen = {}

    def watch(prompts, completions, completion_ids, **columns):
        seen.update(completions=completions, ids=completion_ids, samples=columns["sample_id"])
        return [float(i) for i in range(len(completions))]

    step(build([watch]))
    stage = read_table(tmp_path / "completions", "x")
    assert [e["completion"] for e in stage.entries] == seen["completions"]
    assert [e["completion_ids"] for e in stage.entries] == [list(ids) for ids in seen["ids"]]
    assert [stage.rows[e["row"]]["sample_id"] for e in stage.entries] == seen["samples"]
