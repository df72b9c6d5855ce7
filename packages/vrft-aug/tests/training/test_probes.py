"""Probes: what is shown, and that they tell a policy that looks at the picture from one that does not."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrft_aug import prompts
from vrft_aug.data import load_rows
from vrft_aug.evaluation import (
    Shown,
    class_answers,
    evaluate_policy,
    exchange,
    in_form,
    log_likelihoods,
    probabilities,
    shown,
    without_knowledge,
)
from vrft_aug.ledger import Ledger
from vrft_aug.models import load_policy
from vrft_aug.recipe import EvaluationSettings, ModelSettings
from vrft_aug.stages import Run


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30), st.integers(0, 1000))
def test_images_are_exchanged_across_truths(truths, seed):
    given_to = exchange(truths, seed)
    assert sorted(given_to) == list(range(len(truths)))
    assert all(i != j for i, j in enumerate(given_to))
    same = sum(truths[i] == truths[j] for i, j in enumerate(given_to))
    most = max(Counter(truths).values())
    assert same == max(0, 2 * most - len(truths))
    assert exchange(truths, seed) == given_to


def test_other_seeds_exchange_otherwise():
    truths = [i % 3 for i in range(30)]
    assert exchange(truths, 0) != exchange(truths, 1)


lines = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1).filter(str.strip)


@given(lines, lines, st.sampled_from(["before", "after", "system"]))
def test_knowledge_is_taken_out_again(question, knowledge, placement):
    plain = prompts.messages(question)
    if question == knowledge:
        return
    assert without_knowledge(prompts.messages(question, knowledge, placement), knowledge) == plain
    assert without_knowledge(plain, None) == plain


@pytest.mark.parametrize(
    ("form", "wanted", "unwanted"),
    [
        ("boxed", r"\boxed{answer}", "<answer>"),
        ("line", "Answer:", "<answer>"),
        ("thinking", "<thinking>", "<think>"),
        ("reasoning", "<reasoning>", "<think>"),
    ],
)
def test_prompts_ask_for_another_format(form, wanted, unwanted):
    for style in ("full", "short"):
        text = prompts.question("classification", prompts.PromptSettings(style=style), classes=("a", "b"))
        found = in_form(prompts.messages(text, "k", "system"), form)
        assert found[0] == {"role": "system", "content": "k"}
        assert wanted in found[1]["content"]
        assert unwanted not in found[1]["content"]
        assert "a or b" in found[1]["content"]


@pytest.fixture(scope="module")
def seeing(tmp_path_factory, as_recipe, small_values):
    """A policy that has learned to grade, and the held-out rows."""
    recipe = as_recipe(
        small_values
        | {
            "warm_start": {"steps": 130, "batch_size": 8, "warmup_steps": 5, "learning_rate": 4e-3},
            "stages": small_values["stages"][1:],
        }
    )
    run = Run(recipe, tmp_path_factory.mktemp("seeing"))
    run.build_base()
    policy = run.warm_start(Ledger.open(run.folder, recipe, run.data))
    model, processor = load_policy(ModelSettings(), policy)
    return model, processor, load_rows(recipe.stages[0], part="held_out")


def blinded(model):
    """The same policy, to which every image looks alike: what the image encoder hands on is nothing."""
    import torch

    blind = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in blind.model.visual.merger.mlp[-1].parameters():
            parameter.zero_()
    return blind


SETTINGS = EvaluationSettings(
    max_new_tokens=24, resamples=200, likelihood=True, samples=2, probes=("shuffled", "blank", "no-knowledge")
)


def test_a_policy_that_looks_loses_and_a_blind_one_does_not(seeing):
    model, processor, rows = seeing
    sees = evaluate_policy(model, processor, rows, SETTINGS)
    blind = evaluate_policy(blinded(model), processor, rows, SETTINGS)
    assert sees.main.value > 0.6
    found = sees.probes["shuffled"]
    assert found.reliance.low > 0.2
    assert found.reliance.value == pytest.approx(sees.main.value - found.result.main.value)
    assert found.p_value < 0.05
    assert found.unchanged.value < 0.5
    for name in ("shuffled", "blank"):
        probe = blind.probes[name]
        assert probe.reliance.value == 0
        assert probe.unchanged.value == 1
        assert probe.p_value == 1
    assert sees.probes["no-knowledge"].reason == "the prompts carry no knowledge"
    # The likelihood ranks as well as the answers do; a blind policy's scores are the same for all images.
    assert sees.metrics["auroc"].value > 0.8
    assert blind.metrics["auroc"].value == pytest.approx(0.5)
    assert {"pass@1", "pass@2", "brier", "ece"} <= set(sees.metrics)


def test_the_likelihood_is_that_of_the_whole_answer(seeing):
    """Against one plain forward pass for each image and answer, without batches and padding."""
    import torch

    model, processor, rows = seeing
    few = rows.select(range(3))
    answers = class_answers({k: v for k, v in few[0].items() if k != "image"})
    assert [a.rsplit("<answer>", 1)[1] for a in answers] == [f"{c}</answer>" for c in few[0]["classes"]]
    model.train()
    found = log_likelihoods(model, processor, few, answers, batch_size=2)
    assert model.training
    model.eval()
    for i, row in enumerate(few):
        for k, text in enumerate(answers):
            asked = [{"type": "image", "image": row["image"]}, {"type": "text", "text": row["prompt"][0]["content"]}]
            said = [{"type": "text", "text": text}]
            talk = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
            whole = processor.apply_chat_template(talk, tokenize=True, return_dict=True, processor_kwargs={"return_tensors": "pt"})
            ids = whole["input_ids"][0]
            length = len(processor.tokenizer(text)["input_ids"]) + 1
            # Behind the end of the answer the template writes a line break.
            last = int((ids == processor.tokenizer.eos_token_id).nonzero()[-1])
            with torch.inference_mode():
                steps = torch.log_softmax(model(**whole).logits[0], dim=-1)
            total = sum(float(steps[t - 1, ids[t]]) for t in range(last - length + 1, last + 1))
            assert found[i, k] == pytest.approx(total, abs=1e-3)
    assert np.allclose(probabilities(found).sum(axis=1), 1)
    assert np.array_equal(probabilities(found).argmax(axis=1), found.argmax(axis=1))


def test_probes_show_what_they_say(seeing):
    _, _, rows = seeing
    facts = [dict(row) for row in rows.remove_columns("image")]
    grey = shown(rows, facts, "blank", 0)[2:5]
    assert [image.size for image in grey["image"]] == [rows[i]["image"].size for i in (2, 3, 4)]
    assert all(len(image.getcolors()) == 1 for image in grey["image"])
    assert grey["prompt"] == rows[2:5]["prompt"]
    other = shown(rows, facts, "shuffled", 0)
    assert len(other) == len(rows)
    order = other.order
    assert other[2:5]["image"] == [rows[order[i]]["image"] for i in (2, 3, 4)]
    assert all(facts[i]["grade"] != facts[j]["grade"] for i, j in enumerate(order))
    alike = rows.select([i for i, f in enumerate(facts) if f["grade"] == 0])
    assert shown(alike, [f for f in facts if f["grade"] == 0], "shuffled", 0) == "all images have the same right answer"
    knowing = Shown(rows, reword=lambda p, k: [{"role": "user", "content": f"{k}"}])
    assert knowing[:1]["prompt"] == [[{"role": "user", "content": "None"}]]
