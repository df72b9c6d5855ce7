"""Shared images: decoded and preprocessed once, and nothing else changes."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251 - what data loaders and isolated rewards do
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.image_utils import load_image

from vrft_aug.data import load_rows
from vrft_aug.models import known_deprecations, load_policy, load_processor
from vrft_aug.models.processor import save_processor
from vrft_aug.recipe import ModelSettings
from vrft_aug.sharing import Kept, SharedImage, SharedRows, share_preprocessing
from vrft_aug.trainer import build_trainer


def image(rng, mode="L", size=(61, 47)):
    shape = size[::-1] if mode == "L" else (*size[::-1], 3)
    return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_shared_image_is_itself_however_it_is_copied(rng, mode):
    plain = image(rng, mode)
    shared = SharedImage.of(plain, "a")
    for same in (shared.copy(), copy.copy(shared), copy.deepcopy([shared])[0], shared.convert(), shared.convert(mode)):
        assert same is shared
    seen = load_image(shared)  # what chat templates do with it
    assert seen is load_image(shared)
    assert (seen.mode, seen.tobytes()) == ("RGB", plain.convert("RGB").tobytes())
    assert shared.convert("F", matrix=None).tobytes() == plain.convert("F").tobytes()


def test_a_pickled_one_is_an_ordinary_image(rng):
    plain = image(rng, "RGB")
    back = pickle.loads(pickle.dumps(SharedImage.of(plain, 1)))  # noqa: S301
    assert type(back) is Image.Image
    assert (back.mode, back.size, back.tobytes()) == (plain.mode, plain.size, plain.tobytes())


def test_rows_decode_an_image_once(one_stage, as_recipe):
    rows = load_rows(as_recipe(one_stage).stages[0], part="train")
    shared = SharedRows(rows)
    assert len(shared) == len(rows)
    assert shared[3]["image"] is shared[3]["image"]
    assert shared[3]["image"] is not shared[4]["image"]
    for mine, theirs in zip(shared, rows, strict=True):
        assert {k: v for k, v in mine.items() if k != "image"} == {k: v for k, v in theirs.items() if k != "image"}
        assert mine["image"].tobytes() == theirs["image"].tobytes()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 60)), max_size=60))
def test_only_so_many_bytes_are_kept(wanted):
    kept, sizes = Kept(100), {}
    for key, size in wanted:
        sizes.setdefault(key, size)
        assert kept.get(key, lambda k=key: (f"value {k}", sizes[k])) == f"value {key}"
        assert kept._bytes == sum(size for _, size in kept._values.values()) <= 100


def test_preprocessing_is_the_same_and_done_once(finished, rng):
    plain, sharing = (load_processor(finished.folder / "base", local=True).image_processor for _ in range(2))
    share_preprocessing(SimpleNamespace(image_processor=sharing))
    share_preprocessing(SimpleNamespace(image_processor=sharing))  # again changes nothing
    images = [image(rng, mode, size) for mode in ("L", "RGB") for size in ((61, 47), (300, 20))]
    shared = [SharedImage.of(i, n) for n, i in enumerate(images)]
    order = [0, 0, 3, 1, 2, 3]
    for options in ({}, {"return_tensors": "pt"}, {"return_tensors": "np"}, {"return_tensors": "pt", "do_normalize": False}):
        expected = plain([[images[i]] for i in order], **options)
        for found in (sharing([[shared[i]] for i in order], **options), sharing([images[i] for i in order], **options)):
            assert set(found) == set(expected)
            for name in expected:
                assert type(found[name]) is type(expected[name])
                assert np.array_equal(np.asarray(found[name]), np.asarray(expected[name]))
    calls = []
    type(sharing).__mro__[1].preprocess, before = (lambda *a, **k: calls.append(1)), type(sharing).__mro__[1].preprocess
    try:
        sharing([[shared[i]] for i in order], return_tensors="pt")
    finally:
        type(sharing).__mro__[1].preprocess = before
    assert not calls


def test_other_limits_of_size_are_another_result(finished, rng):
    processor = load_processor(finished.folder / "base", local=True)
    share_preprocessing(processor)
    one = SharedImage.of(image(rng, "RGB", (300, 300)), 0)
    small = processor.image_processor([one])["image_grid_thw"]
    processor.image_processor.size = type(processor.image_processor.size)(shortest_edge=56 * 56, longest_edge=10**6)
    assert not np.array_equal(processor.image_processor([one])["image_grid_thw"], small)


def test_a_sharing_processor_is_saved_as_what_it_was(finished, tmp_path):
    processor = load_processor(finished.folder / "base", local=True)
    share_preprocessing(processor)
    save_processor(processor, tmp_path)
    plain = load_processor(tmp_path, model_type="qwen2_5_vl", local=True).image_processor
    assert type(plain) is type(load_processor(finished.folder / "base", local=True).image_processor)


def test_a_step_has_the_same_loss_and_gradients(one_stage, as_recipe, tmp_path, finished, warm_policy):
    one_stage["stages"][0]["rewards"] = [{"name": "accuracy"}, {"name": "format"}]
    stage = as_recipe(one_stage).stages[0]
    found = []
    for share in (False, True):
        policy, processor = load_policy(ModelSettings(), warm_policy)
        rewards = [by_length, by_position]
        places = {"base": finished.folder / "base", "start": warm_policy}
        with known_deprecations():
            rows = load_rows(stage, part="train")
            trainer = build_trainer(stage, policy, processor, rows, rewards, tmp_path, seed=0, share=share, **places)
            trainer.current_gradient_accumulation_steps = 1
            torch.manual_seed(0)
            trainer.model.train()
            inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
            loss = trainer.compute_loss(trainer.model, inputs)
            loss.backward()
        found.append([loss.detach(), inputs["pixel_values"], *(p.grad for p in policy.parameters() if p.grad is not None)])
    assert len(found[0]) > 50
    for plain, shared in zip(*found, strict=True):
        assert torch.equal(plain, shared)


def by_length(prompts, completions, **columns):
    return [len(str(c)) % 7 / 7 for c in completions]


def by_position(prompts, completions, **columns):
    return [float(i % 4) for i in range(len(completions))]
