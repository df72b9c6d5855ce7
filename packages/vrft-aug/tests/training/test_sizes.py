"""Sizes read from a configuration, against models that are really there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from medcore.errors import InputError
from vrft_aug.costs import memory_facts, model_size
from vrft_aug.data import load_rows
from vrft_aug.models import build_tiny_model, load_policy, load_processor
from vrft_aug.models.shrink import shrink_model
from vrft_aug.models.sizes import local_config, read_size
from vrft_aug.planning import plan
from vrft_aug.recipe import LoraSettings, ModelSettings
from vrft_aug.tokens import PromptTokens, count_prompt

TEXTS = ["normal or pneumonia? <think>it looks normal</think><answer>normal</answer>"] * 20


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny"), TEXTS, seed=1)


def trained(model) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"freeze_vision": True},
        {"freeze": ("projector", "*layers.0.*")},
        {"lora": LoraSettings(rank=3, alpha=6)},
        {"lora": LoraSettings(rank=2, alpha=2, target_modules=r".*language_model.*\.(q|v)_proj")},
        {"lora": LoraSettings(rank=2, alpha=2), "freeze": ("*layers.1.*",)},
        {"lora": LoraSettings(rank=2, alpha=2), "freeze_vision": True},
    ],
    ids=str,
)
def test_counts_are_those_of_the_loaded_model(tiny, settings):
    wanted = ModelSettings(path=str(tiny), **settings)
    size = read_size(tiny / "config.json", wanted)
    model, _ = load_policy(wanted)
    assert size.trained == trained(model)
    assert size.parameters + size.adapters == model.num_parameters()
    assert size.vision_trained == any(p.requires_grad and "visual" in n for n, p in model.named_parameters())


def test_the_shape_is_that_of_the_configuration(tiny):
    size = read_size(tiny / "config.json", ModelSettings(path=str(tiny), quantize="nf4", lora=LoraSettings()))
    text = json.loads((tiny / "config.json").read_text())["text_config"]
    assert (size.layers, size.hidden, size.kv_width, size.vocabulary) == (2, 64, 32, text["vocab_size"])
    assert (size.vision_layers, size.vision_hidden, size.merge) == (2, 64, 2)
    # Of each of two layers: q and o 64 x 64, k and v 64 x 32, gate, up and down 64 x 192.
    assert size.quantised == 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 192)


def test_where_configurations_are_looked_for(tiny, tmp_path):
    assert local_config(str(tiny)) == tiny / "config.json"
    for path in ("tiny", str(tmp_path), "./nowhere", "Qwen/Qwen2.5-VL-3B-Instruct", "not a name!"):
        assert local_config(path) is None


def test_a_configuration_of_no_such_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="describes no usable model"):
        read_size(tmp_path / "config.json", ModelSettings(path=str(tmp_path)))
    size, shown = model_size(ModelSettings(path=str(tmp_path)))
    assert size is None
    assert shown["source"].startswith("not known")


def test_a_plan_with_a_local_model_knows_all(tiny, one_stage, as_recipe):
    facts = plan(as_recipe({**one_stage, "model": {"path": str(tiny)}}))
    stage = facts["stages"][0]
    assert stage["memory"]["known"] == "all"
    assert stage["memory"]["bytes"]["weights"] == 2 * facts["size"]["parameters"]
    assert stage["tokens"]["prompt_source"].startswith("counted")
    assert facts["network"] == {"sent": "nothing", "telemetry": "off", "fetched": "nothing", "hub_access": False}
    stated = as_recipe({**one_stage, "model": {"path": "org/Model-1B"}})
    facts = plan(stated)
    assert facts["size"]["parameters"] == 10**9
    assert facts["stages"][0]["memory"]["known"] == "permanent part"
    assert facts["stages"][0]["tokens"]["prompt"] is None
    assert "from the Hugging Face hub" in facts["network"]["fetched"]


def test_nothing_is_made_up(one_stage, as_recipe):
    for model, why in (({"path": "org/Model"}, "states no size"), ({"path": "org/M-1B", "lora": {"rank": 2}}, "size of the model")):
        memory = plan(as_recipe({**one_stage, "model": model}))["stages"][0]["memory"]
        assert memory["known"] == "nothing"
        assert why in memory["why"]
        assert "bytes" not in memory
    one_stage["stages"][0]["grpo"]["deepspeed"] = "nowhere.json"
    stage = as_recipe(one_stage).stages[0]
    tokens = PromptTokens(prompt=9, image=4, source="")
    assert memory_facts(stage, as_recipe(one_stage), tokens, None, {})["why"].startswith("the ZeRO stage")


def test_logs_that_are_sent_are_named(one_stage, as_recipe):
    one_stage["stages"][0]["grpo"]["report_to"] = "wandb"
    assert plan(as_recipe(one_stage))["network"]["sent"].startswith("logs, to wandb")


def test_prompts_are_counted_as_the_processor_makes_them(tiny, one_stage, as_recipe):
    stage = as_recipe(one_stage).stages[0]
    rows = load_rows(stage, part="train")
    found = count_prompt(rows, ModelSettings(path=str(tiny)))
    processor = load_processor(tiny)
    talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": rows[0]["prompt"][-1]["content"]}]}]
    text = processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    made = processor(text=[text], images=[rows[0]["image"]], return_tensors="pt")
    assert found.prompt == made["input_ids"].shape[1]
    assert found.image == 4 + 2  # and the marks around them
    estimated = count_prompt(rows, ModelSettings())
    assert estimated.source.startswith("estimated")
    assert estimated.image == 4


@pytest.mark.integration
def test_a_published_model_has_the_published_size(data_root, tmp_path):
    source = data_root / "qwen2.5-vl-processor"
    assert read_size(source / "config.json", ModelSettings(path=str(source))).parameters == 8_292_166_656  # its model card: 8.29 B
    assert shrink_model(source, tmp_path / "small") < 25_000_000
    model, processor = load_policy(ModelSettings(path=str(tmp_path / "small")))
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    talk = [{"role": "user", "content": [{"type": "image", "image": Image.new("RGB", (56, 56))}, {"type": "text", "text": "x"}]}]
    batch = processor.apply_chat_template(
        [talk], tokenize=True, add_generation_prompt=True, return_dict=True, processor_kwargs={"return_tensors": "pt"}
    )
    assert model.generate(**batch, max_new_tokens=2, do_sample=False).shape[1] <= batch["input_ids"].shape[1] + 2


def test_shrinking_keeps_the_tokenizer(tiny, tmp_path):
    folder = tmp_path / "source"
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    assert shrink_model(folder, tmp_path / "small") > 0
    assert load_processor(tmp_path / "small").tokenizer.get_vocab() == load_processor(tiny).tokenizer.get_vocab()
