"""Each image is decoded and preprocessed once, however many completions share it.

A group of completions has one image. trl fetches its row once for each completion, which decodes the image as often, and preprocesses
it twice for each: for generation and for the loss. Here rows hand out one object for one image, and the image processor keeps what it
made of it. What the model sees is the same to the last bit.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

MOST_BYTES = 1 << 30
"""Most memory for decoded images, and for preprocessed ones."""
_FIELDS = {"pixel_values", "image_grid_thw"}
"""What the image processors return whose results for several images are those for each, put together: the Qwen-VL family's."""


class SharedImage(Image.Image):
    """A decoded image that many samples share: copying it in any way, or converting it to its own mode, gives the object itself.

    It must not be drawn on. Pickled, it becomes an ordinary image.
    """

    share_key: Hashable
    _converted: dict[str, SharedImage]

    @classmethod
    def of(cls, image: Image.Image, key: Hashable) -> SharedImage:
        """Share `image` under `key`, which no other image may have."""
        shared = cls()
        shared.__dict__.update(image.copy().__dict__)
        shared.share_key, shared._converted = key, {}
        return shared

    def copy(self) -> SharedImage:
        """The object itself."""
        return self

    def convert(self, mode: str | None = None, *args: Any, **kwargs: Any) -> Image.Image:
        """The image in another mode, made once."""
        if mode is None or args or kwargs:
            return super().convert(mode, *args, **kwargs)
        if mode == self.mode:
            return self
        if mode not in self._converted:
            self._converted[mode] = SharedImage.of(super().convert(mode), (self.share_key, mode))
        return self._converted[mode]

    def __copy__(self) -> SharedImage:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedImage:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _plain, (self.mode, self.size, self.tobytes())


def _plain(mode: str, size: tuple[int, int], content: bytes) -> Image.Image:
    return Image.frombytes(mode, size, content)


class Kept:
    """The most recent of many values, up to a number of bytes."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most, self._bytes = most, 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], tuple[Any, int]]) -> Any:
        """The value of `key`, made, with its size in bytes, if it is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
        value, size = make()
        with self._lock:
            if key not in self._values:
                self._values[key] = value, size
                self._bytes += size
            while self._bytes > self.most and len(self._values) > 1:
                self._bytes -= self._values.popitem(last=False)[1][1]
        return value


class SharedRows(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows of :mod:`vrft_aug.data` that decode an image once.

    Parameters
    ----------
    rows
        A ``datasets.Dataset`` with the column ``image``.
    """

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        self._facts = rows.remove_columns("image")
        self._images = rows.select_columns("image")
        self._kept = Kept()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        def fetch() -> tuple[dict[str, Any], int]:
            image = SharedImage.of(self._images[index]["image"], (id(self), index))
            return {**self._facts[index], "image": image}, 4 * image.width * image.height

        return dict(self._kept.get(index, fetch))


def share_preprocessing(processor: Any) -> None:
    """Let the image processor of `processor` keep what it made of a :class:`SharedImage`, if it is of a kind for which that is exact."""
    images = getattr(processor, "image_processor", None)
    if images is None or isinstance(getattr(type(images), "shared", None), Kept):
        return
    kind = type(images)
    kept = Kept()

    def __call__(self: Any, images: Any, *args: Any, return_tensors: Any = None, **kwargs: Any) -> Any:  # noqa: N807 - a method
        plain = functools.partial(kind.__call__, self)
        flat = list(_flat(images))
        if not args and flat and all(isinstance(image, SharedImage) for image in flat):
            options = repr(sorted(kwargs.items(), key=lambda item: item[0])), repr(getattr(self, "size", None))
            parts = [kept.get((i.share_key, i.mode, options), functools.partial(_once, plain, i, kwargs)) for i in flat]
            if all(part is not None for part in parts):
                found = {name: _together([part[name] for part in parts]) for name in parts[0]}
                return type(parts[0])(found, tensor_type=return_tensors)
        return plain(images, *args, return_tensors=return_tensors, **kwargs)

    # A saved processor names its class, so the new one has the old one's name.
    shared = type(
        kind.__name__, (kind,), {"__call__": __call__, "__module__": kind.__module__, "__doc__": kind.__doc__, "shared": kept}
    )
    images.__class__ = shared


def _flat(images: Any) -> Iterator[Any]:
    if isinstance(images, (list, tuple)):
        for image in images:
            yield from _flat(image)
    else:
        yield images


def _once(plain: Callable[..., Any], image: SharedImage, kwargs: dict[str, Any]) -> tuple[Any, int]:
    """What the processor makes of one image and its size; None where results of several images are more than their parts."""
    found = plain([image], **kwargs)
    if set(found) != _FIELDS:
        return None, 0
    return found, sum(int(np.asarray(value).nbytes) for value in found.values())


def _together(values: Sequence[Any]) -> Any:
    if isinstance(values[0], torch.Tensor):
        return torch.cat(list(values))
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    return [item for value in values for item in value]
