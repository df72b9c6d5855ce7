"""Three situations made with real models: nothing learned yet, ready, and a reward that pays for the wrong thing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml

from medcore.errors import ConfigError, InputError
from vrft_aug.evaluation import sample
from vrft_aug.ledger import Ledger
from vrft_aug.models import load_policy
from vrft_aug.preflight import PreflightSettings, judge_figures, preflight
from vrft_aug.recipe import ModelSettings
from vrft_aug.rewards import RewardSettings
from vrft_aug.stages import Run

QUICK = PreflightSettings(images=48)
BROKEN = '''
def contrary(prompts, completions, **columns):
    """Pays every answer but the right one."""
    from vrft_aug.rewards import Accuracy
    return [None if v is None else 1.0 - v for v in Accuracy()(prompts, completions, **columns)]

def constant(prompts, completions, **columns):
    return [0.5] * len(completions)

def by_length(prompts, completions, **columns):
    """Pays by the sum of the letters, which says nothing about the truth."""
    return [sum(map(ord, str(c))) % 7 / 7 for c in completions]

def silent(prompts, completions, **columns):
    return [None] * len(completions)
'''


@pytest.fixture(scope="module")
def recipe(as_recipe, small_values):
    """The grading stage with more films and a warm start that learns them about half."""
    stage = {**small_values["stages"][1]}
    stage["data"] = {**stage["data"], "train": 96}
    stage["rewards"] = [{"name": "accuracy"}, {"name": "format"}]
    warm = {"steps": 50, "batch_size": 16, "warmup_steps": 5, "learning_rate": 4e-3}
    return as_recipe({**small_values, "stages": [stage], "warm_start": warm})


@pytest.fixture(scope="module")
def ready(recipe, tmp_path_factory) -> Path:
    """A policy after its warm start."""
    folder = tmp_path_factory.mktemp("ready")
    run = Run(recipe, folder)
    run.build_base()
    return Path(run.warm_start(Ledger.open(folder, recipe, run.data)))


def paid_by(recipe, *names):
    stage = dataclasses.replace(recipe.stages[0], rewards=tuple(RewardSettings(name=n) for n in names))
    return dataclasses.replace(recipe, stages=(stage,))


@pytest.fixture
def broken(tmp_path, monkeypatch):
    (tmp_path / "broken_rewards.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.integration
def test_a_random_policy_needs_supervised_training_first(recipe):
    found = preflight(recipe, QUICK)[0]
    verdict = judge_figures(found)
    assert verdict.advice == "SFT first"
    assert "Pass@8 is 0.0%" in verdict.reason
    assert found.truncated > 0.5
    assert any("max_completion_length" in note for note in verdict.notes)


@pytest.mark.integration
def test_a_policy_after_its_warm_start_is_ready(recipe, ready):
    found = preflight(recipe, QUICK, policy=ready)[0]
    verdict = judge_figures(found)
    assert verdict.advice == "RL", verdict
    assert found.gain > 4 * found.gain_error
    assert found.separation > 0.9
    assert found.pass_at[1] < found.pass_at[8]
    assert found.format_rate > 0.5
    assert found.rewards[0].mean_right == 1.0


@pytest.mark.integration
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("broken_rewards:contrary",), "wrong answers earn more"),
        (("broken_rewards:constant",), "50 % is chance"),
        (("broken_rewards:by_length",), "50 % is chance"),
        (("accuracy", "broken_rewards:silent"), "broken_rewards:silent judged none"),
        (("format",), "is chance"),
    ],
)
def test_a_reward_that_cannot_tell_right_from_wrong(recipe, ready, broken, names, reason):
    verdict = judge_figures(preflight(paid_by(recipe, *names), QUICK, policy=ready)[0])
    assert verdict.advice == "fix the reward", verdict
    assert reason in verdict.reason


@pytest.mark.integration
def test_the_same_seed_gives_the_same_figures(recipe, ready):
    few = PreflightSettings(images=8, samples=4)
    first, second = (preflight(recipe, few, policy=ready)[0] for _ in range(2))
    assert first == second
    other = preflight(dataclasses.replace(recipe, seed=5), few, policy=ready)[0]
    assert other != first


def test_settings_that_measure_nothing():
    for wrong in ({"images": 1}, {"samples": 1}, {"batch_size": 0}, {"right_iou": 0.0}):
        with pytest.raises(ConfigError, match="preflight"):
            PreflightSettings(**wrong)


def test_a_policy_that_is_not_there(recipe, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        preflight(recipe, QUICK, policy=tmp_path / "none")


@pytest.fixture
def policy_and_rows(warm_policy, as_recipe, one_stage):
    from vrft_aug.data import load_rows

    model, processor = load_policy(ModelSettings(), warm_policy)
    return model, processor, load_rows(as_recipe(one_stage).stages[0], part="train").select(range(5))


def test_samples(policy_and_rows):
    model, processor, rows = policy_and_rows
    model.train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = sample(model, processor, rows, n=3, max_new_tokens=24, batch_size=7, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert [len(group) for group in found] == [3] * 5
    assert found == sample(model, processor, rows, n=3, max_new_tokens=24, batch_size=7, seed=1)
    assert found != sample(model, processor, rows, n=3, max_new_tokens=24, batch_size=7, seed=2)
    assert len({made.text for group in found for made in group}) > 1
    end = processor.tokenizer.eos_token_id
    for made in (made for group in found for made in group):
        assert made.truncated == (made.tokens[-1] != end)
        assert len(made.tokens) == 24 or not made.truncated
        assert processor.tokenizer.decode(made.tokens, skip_special_tokens=True) == made.text


def test_samples_that_are_cut_off(policy_and_rows):
    model, processor, rows = policy_and_rows
    found = sample(model, processor, rows, n=2, max_new_tokens=2, seed=0)
    assert all(made.truncated and len(made.tokens) == 2 for group in found for made in group)


def test_cold_samples_are_the_greedy_answers(policy_and_rows):
    from vrft_aug.evaluation import generate
    from vrft_aug.recipe import EvaluationSettings

    model, processor, rows = policy_and_rows
    cold = sample(model, processor, rows, n=2, max_new_tokens=24, options={"temperature": 1e-4})
    greedy = generate(model, processor, rows, EvaluationSettings(max_new_tokens=24))
    assert [[made.text for made in group] for group in cold] == [[text] * 2 for text in greedy]


def test_sampling_that_is_refused_is_a_config_error(recipe):
    stage = dataclasses.replace(recipe.stages[0], grpo={**recipe.stages[0].grpo, "temperature": 0.0})
    with pytest.raises(ConfigError, match=r"was refused in sampling .*temperature"):
        preflight(dataclasses.replace(recipe, stages=(stage,)), PreflightSettings(images=2, samples=2))


@pytest.mark.integration
def test_the_command(small, tmp_path, vrft):
    small["stages"] = small["stages"][1:]
    path, output = tmp_path / "recipe.yaml", tmp_path / "preflight.json"
    path.write_text(yaml.safe_dump(small))
    done = vrft("preflight", path, "-n", 4, "-k", 2, "-o", output, "--json")
    assert done.returncode == 8, done.stderr
    assert done.stderr.endswith("error: preflight: does not advise RL for reasoning (SFT first); see the reasons\n")
    facts = json.loads(done.stdout)
    assert json.loads(output.read_text()) == facts
    assert facts["stages"][0]["verdict"]["advice"] == "SFT first"
    assert facts["stages"][0]["images"] == 4
    again = vrft("preflight", path, "-o", output)
    assert again.returncode == 3
