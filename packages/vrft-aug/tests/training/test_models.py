"""Policies and processors: built, saved, loaded, refused."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from medcore.errors import InputError
from vrft_aug.models import build_tiny_model, load_policy, load_processor, save_policy, torchvision_state
from vrft_aug.models.freezing import PARTS, freeze
from vrft_aug.recipe import LoraSettings, ModelSettings

TEXTS = ["What is the grade? <think>it looks severe</think><answer>severe</answer>"] * 20


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"), TEXTS, seed=3)


def ask(processor, image):
    talk = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "What is the grade?"}]}]
    return processor.apply_chat_template(
        [talk], tokenize=True, add_generation_prompt=True, return_dict=True, processor_kwargs={"return_tensors": "pt"}
    )


def test_the_tiny_model_is_small_and_repeatable(tiny, tmp_path):
    again = build_tiny_model(tmp_path / "again", TEXTS, seed=3)
    other = build_tiny_model(tmp_path / "other", TEXTS, seed=4)
    assert (again / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()
    assert (other / "model.safetensors").read_bytes() != (tiny / "model.safetensors").read_bytes()
    model, _ = load_policy(ModelSettings(path=str(tiny)))
    assert 3e5 < model.num_parameters() < 5e5


def test_building_leaves_the_random_state_alone(tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build_tiny_model(tmp_path, TEXTS)
    assert torch.equal(torch.rand(3), expected)


def test_class_names_are_single_tokens_and_any_text_survives(tiny):
    tokenizer = load_processor(tiny, local=True).tokenizer
    assert len(tokenizer.encode("severe")) == 1
    for text in ("severe", "Grün, naïve; 数", "<answer>[1, 2]</answer>\n"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(28, 28), (56, 56), (640, 425)])
def test_images_of_any_size_and_mode_become_tokens(tiny, mode, size):
    processor = load_processor(tiny, local=True)
    inputs = ask(processor, Image.fromarray(np.zeros(size[::-1] if mode == "L" else (*size[::-1], 3), np.uint8)))
    patches = int(inputs["image_grid_thw"].prod())
    assert inputs["pixel_values"].shape[0] == patches
    tokens = int((inputs["input_ids"] == processor.image_token_id).sum())
    assert tokens == patches // 4
    assert 1 <= tokens <= 4


def test_the_pixel_limit_of_the_settings_reaches_the_processor(tiny):
    image = Image.new("RGB", (200, 200))
    _, small = load_policy(ModelSettings(path=str(tiny)))
    _, large = load_policy(ModelSettings(path=str(tiny), max_pixels=112 * 112))
    counts = [int(ask(p, image)["image_grid_thw"].prod()) for p in (small, large)]
    assert counts == [16, 64]


def test_saved_processors_name_the_standard_class(tiny):
    saved = json.loads((tiny / "processor_config.json").read_text())
    assert saved["processor_class"] == "Qwen2_5_VLProcessor"
    # With torchvision the standard class wants a video processor; transformers finds it here.
    from transformers.video_processing_utils import BaseVideoProcessor

    found, _ = BaseVideoProcessor.get_video_processor_dict(tiny)
    assert found["video_processor_type"] == "Qwen2VLVideoProcessor"


def test_the_real_processor_of_qwen_loads_without_torchvision(data_root):
    processor = load_processor(data_root / "qwen2.5-vl-processor", local=True)
    inputs = ask(processor, Image.new("RGB", (84, 56)))
    assert int((inputs["input_ids"] == processor.image_token_id).sum()) == 6
    text = processor.tokenizer.decode(inputs["input_ids"][0])
    assert text.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>")


def test_a_saved_policy_loads_and_answers_the_same(tiny, tmp_path):
    model, processor = load_policy(ModelSettings(path=str(tiny)))
    save_policy(model, processor, tmp_path)
    again, processor_again = load_policy(ModelSettings(), tmp_path)
    inputs = ask(processor, Image.new("RGB", (56, 56), "white"))
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, again(**ask(processor_again, Image.new("RGB", (56, 56), "white"))).logits)
    assert not list(tmp_path.glob("*.bin"))


def test_an_adapter_trains_language_layers_only_and_comes_back(tiny, tmp_path):
    settings = ModelSettings(path=str(tiny), lora=LoraSettings(rank=2, alpha=4, dropout=0.0))
    model, processor = load_policy(settings)
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in n and "visual" not in n for n in trained)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.25)
    save_policy(model, processor, tmp_path)
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        assert len(list(file.keys())) == len(trained)
    again, _ = load_policy(settings, tmp_path)
    inputs = ask(processor, Image.new("RGB", (56, 56), "white"))
    with torch.no_grad():
        assert torch.allclose(model.eval()(**inputs).logits, again.eval()(**inputs).logits)


def frozen_names(model):
    return {n for n, p in model.named_parameters() if not p.requires_grad}


def test_freezing_the_vision_tower(tiny):
    model, _ = load_policy(ModelSettings(path=str(tiny), freeze_vision=True))
    frozen = frozen_names(model)
    assert frozen
    assert all("visual" in n for n in frozen)
    other, _ = load_policy(ModelSettings(path=str(tiny), freeze=("vision",)))
    assert frozen_names(other) == frozen


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("projector",), lambda n: ".merger." in n),
        (("language",), lambda n: "language_model" in n or n.startswith("lm_head")),
        (("*language_model.layers.0.*",), lambda n: "language_model.layers.0." in n),
        (("vision", "*.layers.[1-9].*"), lambda n: "visual" in n or "layers.1." in n),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)
def test_freezing_parts_by_name(tiny, parts, expected):
    model, _ = load_policy(ModelSettings(path=str(tiny), freeze=parts))
    names = {n for n, _ in model.named_parameters()}
    assert frozen_names(model) == {n for n in names if expected(n)}
    assert 0 < len(frozen_names(model)) < len(names)


def test_a_frozen_layer_has_no_adapter_that_learns(tiny):
    lora = LoraSettings(rank=2, alpha=4)
    model, _ = load_policy(ModelSettings(path=str(tiny), lora=lora, freeze=("*layers.0.*",)))
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert learning
    assert all(("lora" in n and "layers.1." in n) or "lm_head" in n for n in learning)
    with pytest.raises(InputError, match="leaves nothing to train"):
        load_policy(ModelSettings(path=str(tiny), lora=lora, freeze=("*",)))


def test_freezing_what_is_not_there(tiny):
    for part in PARTS:
        with pytest.raises(InputError, match=f"finds no parameter of Linear for '{part}'"):
            freeze(torch.nn.Linear(2, 2), [part])
    with pytest.raises(InputError, match=r"finds no parameter of Qwen2_5_VLForConditionalGeneration for 'layers\.0'"):
        load_policy(ModelSettings(path=str(tiny), freeze=("layers.0",)))


def test_four_bits_need_adapters_a_library_and_a_gpu(tiny, monkeypatch):
    with pytest.raises(InputError, match="four-bit weights cannot be trained"):
        ModelSettings(quantize="nf4")
    settings = ModelSettings(path=str(tiny), quantize="nf4", lora=LoraSettings(rank=2, alpha=4))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs bitsandbytes, which is not installed; install vrft-aug\[qlora\]"):
        load_policy(settings)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="needs a GPU, and there is none"):
        load_policy(settings)


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/at/all"])
def test_a_missing_folder_is_never_taken_for_a_hub_name(path):
    with pytest.raises(InputError, match="is not a folder"):
        load_policy(ModelSettings(path=path))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "cannot be loaded"),
        ({"config.json": "{"}, "cannot be loaded"),
        ({"config.json": '{"model_type": "bert"}'}, "cannot be loaded"),
        ({"adapter_config.json": "{}"}, "does not name its base model"),
    ],
)
def test_folders_without_a_usable_model(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        load_policy(ModelSettings(path=str(tmp_path)))


def test_pickled_weights_are_refused(tiny, tmp_path):
    model, processor = load_policy(ModelSettings(path=str(tiny)))
    save_policy(model, processor, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="give a vision-language model with safetensors weights"):
        load_policy(ModelSettings(path=str(tmp_path)))


def test_a_tokenizer_alone_is_no_processor(tiny, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="processor"):
        load_processor(tmp_path, local=True)


def test_telemetry_is_off_even_if_the_hub_library_came_first():
    code = (
        "import huggingface_hub.constants as c; assert not c.HF_HUB_DISABLE_TELEMETRY\n"
        "from vrft_aug.models import environment as e; e.prepare(); assert e.telemetry_off()\n"
        "import os; assert os.environ['DO_NOT_TRACK'] == '1'"
    )
    names = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK")
    clean = {k: v for k, v in os.environ.items() if k not in names}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_torchvision_is_absent_broken_or_works(monkeypatch, tmp_path):
    assert torchvision_state() in {"absent", "works"}
    if torchvision_state() == "absent":
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
        monkeypatch.syspath_prepend(str(tmp_path))
        assert torchvision_state() == "broken: RuntimeError: operator torchvision::nms does not exist"
