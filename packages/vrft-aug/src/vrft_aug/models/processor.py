"""Processors that turn prompts and images into tensors, also where torchvision is not installed.

The processors of the Qwen-VL family have a slot for video, which needs torchvision. Without it they cannot be built at all, so
an image-only subclass of the same name takes their place: what it saves names the standard class and loads everywhere.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from medcore.atomic import write_json
from medcore.errors import InputError
from vrft_aug.models.environment import torchvision_state

_VIDEO_SLOT = {
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "qwen3_vl": "Qwen3VLProcessor",
}


@functools.cache
def image_only(model_type: str) -> Any:
    """The processor class of `model_type` without its video slot."""
    import transformers

    processor_name = _VIDEO_SLOT[model_type]
    base = getattr(transformers, processor_name)

    def __init__(  # noqa: N807 - the signature tells transformers which parts there are
        self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **kwargs: Any
    ) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        for name in ("vision_start_token", "vision_end_token"):  # Qwen3-VL looks these up
            token = f"<|{name.removesuffix('_token')}|>"
            setattr(self, name, token)
            setattr(self, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
        transformers.ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template, **kwargs)

    return type(processor_name, (base,), {"__init__": __init__, "__module__": __name__, "__doc__": base.__doc__})


def build_processor(model_type: str, image_processor: Any, tokenizer: Any, chat_template: str) -> Any:
    """A processor from its parts; with torchvision the standard class, without it the image-only one."""
    import transformers

    if torchvision_state() == "works":
        standard = getattr(transformers, _VIDEO_SLOT[model_type])
        return standard(image_processor, tokenizer, transformers.Qwen2VLVideoProcessor(), chat_template=chat_template)
    return image_only(model_type)(image_processor, tokenizer, chat_template=chat_template)


def load_processor(
    path: str | Path,
    *,
    model_type: str | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    local: bool = False,
) -> Any:
    """The processor saved in a folder or on the hub, padding on the left as generation needs it.

    Parameters
    ----------
    path
        Local folder or hub name.
    model_type
        Family of the model, by default read from the folder's configuration.
    min_pixels, max_pixels
        Limits between which images are scaled; None keeps the saved ones.
    local
        Never ask the hub.

    Raises
    ------
    InputError
        If there is no usable processor.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer, ProcessorMixin

    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
    try:
        model_type = model_type or AutoConfig.from_pretrained(path, **options).model_type
        if model_type in _VIDEO_SLOT and torchvision_state() != "works":
            tokenizer = AutoTokenizer.from_pretrained(path, **options)
            images = AutoImageProcessor.from_pretrained(path, backend="pil", **options)
            found = image_only(model_type)(images, tokenizer, chat_template=_chat_template(path, tokenizer, local=local))
        else:
            found = AutoProcessor.from_pretrained(path, **options)
    except (OSError, ValueError, ImportError, AttributeError) as error:
        raise InputError(path, f"has no usable processor ({_short(error)})", "see vrft-aug doctor") from error
    if not isinstance(found, ProcessorMixin):
        raise InputError(path, "has a tokenizer but no image processor", "give a vision-language model, see vrft-aug doctor")
    found.tokenizer.padding_side = "left"
    _limit_pixels(found.image_processor, min_pixels, max_pixels)
    return found


def save_processor(processor: Any, folder: str | Path) -> None:
    """Save a processor so that it also loads where torchvision is installed, where the standard class wants a video processor."""
    folder = Path(folder)
    processor.save_pretrained(folder)
    file = folder / "processor_config.json"
    saved = json.loads(file.read_text(encoding="utf-8"))
    if type(processor).__name__ in _VIDEO_SLOT.values() and "video_processor" not in saved:
        images = saved["image_processor"]
        kept = {key: images[key] for key in ("patch_size", "merge_size", "temporal_patch_size", "size") if key in images}
        saved["video_processor"] = {"video_processor_type": "Qwen2VLVideoProcessor", **kept}
        write_json(file, saved)


def _chat_template(path: str | Path, tokenizer: Any, *, local: bool) -> str | None:
    """The template beside the processor, which has the image tokens, before the tokenizer's own."""
    from transformers.utils import cached_file

    for name in ("chat_template.jinja", "chat_template.json"):
        file = cached_file(path, name, local_files_only=local, _raise_exceptions_for_missing_entries=False)
        if file is not None:
            text = Path(file).read_text(encoding="utf-8")
            return str(json.loads(text)["chat_template"]) if name.endswith("json") else text
    template: str | None = tokenizer.chat_template
    return template


def _limit_pixels(images: Any, low: int | None, high: int | None) -> None:
    if low is None and high is None:
        return
    limits = dict(getattr(images, "size", None) or {})
    if limits.get("shortest_edge") is None or limits.get("longest_edge") is None:
        raise InputError("model.min_pixels", f"has no meaning for {type(images).__name__}", "leave min_pixels and max_pixels out")
    # In this family the two "edges" are areas in pixels.
    images.size = type(images.size)(shortest_edge=low or limits["shortest_edge"], longest_edge=high or limits["longest_edge"])


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
