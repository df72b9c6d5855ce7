"""The heads of all readouts, read by field name, and which readouts are image data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from medcore.errors import InputError
from medcore.io.hdf5_table import Table
from medcore.io.ismrmrd.layout import AUXILIARY, CALIBRATION, CALIBRATION_AND_IMAGING, NOISE

COUNTER_NAMES = (
    "kspace_encode_step_1",
    "kspace_encode_step_2",
    "average",
    "slice",
    "contrast",
    "phase",
    "repetition",
    "set",
)
_NUMBERS = {
    "flags": "flags",
    "samples": "number_of_samples",
    "channels": "active_channels",
    "discard_pre": "discard_pre",
    "discard_post": "discard_post",
    "center": "center_sample",
    "encoding": "encoding_space_ref",
    "dimensions": "trajectory_dimensions",
}
_REQUIRED = {"samples", "channels"}
_BLOCK = 8192
_HINT = "give an ISMRMRD file, or get another copy of it"


@dataclass(frozen=True, kw_only=True)
class Heads:
    """One entry per readout; fields that a writer left out are zero.

    Attributes
    ----------
    index
        Row in the file.
    directions
        Unit vectors (readout, axis x y z, component), LPS+.
    position
        Centre of the field of view in millimetres, LPS+.
    """

    index: Int[np.ndarray, "readout"]
    flags: Int[np.ndarray, "readout"]
    samples: Int[np.ndarray, "readout"]
    channels: Int[np.ndarray, "readout"]
    discard_pre: Int[np.ndarray, "readout"]
    discard_post: Int[np.ndarray, "readout"]
    center: Int[np.ndarray, "readout"]
    encoding: Int[np.ndarray, "readout"]
    dimensions: Int[np.ndarray, "readout"]
    counters: dict[str, Int[np.ndarray, "readout"]]
    directions: Float[np.ndarray, "readout 3 3"]
    position: Float[np.ndarray, "readout 3"]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, chosen: Bool[np.ndarray, "readout"]) -> Heads:
        """The readouts where `chosen` is true."""
        changes: dict[str, Any] = {f.name: getattr(self, f.name)[chosen] for f in dataclasses.fields(self) if f.name != "counters"}
        return Heads(**changes, counters={k: v[chosen] for k, v in self.counters.items()})

    def uniform(self, name: str, path: Path) -> int:
        """The value of a column that must be the same for all readouts.

        Raises
        ------
        InputError
            If it differs; the values and how many readouts have each are listed.
        """
        values, counts = np.unique(getattr(self, name), return_counts=True)
        if len(values) > 1:
            found = ", ".join(f"{v} ({c} readouts)" for v, c in zip(values[:5], counts[:5], strict=True))
            raise InputError(path, f"mixes readouts with different {_NUMBERS[name]}: {found}", "split the file")
        return int(values[0])


def read_heads(table: Table) -> Heads:
    """The heads of all readouts of a table.

    Raises
    ------
    InputError
        If the table is not one of readouts.
    """
    path = table.path
    if not {"head", "data"} <= set(table.names) or len(table) == 0:
        raise InputError(path, "has no table of readouts", _HINT)
    heads = table.column("head")
    blocks = [_block(heads[start : start + _BLOCK], path) for start in range(0, len(table), _BLOCK)]
    columns: dict[str, Any] = {key: np.concatenate([b[key] for b in blocks]) for key in blocks[0] if key != "counters"}
    counters = {name: np.concatenate([b["counters"][name] for b in blocks]) for name in COUNTER_NAMES}
    return Heads(index=np.arange(len(table)), counters=counters, **columns)


def _block(head: NDArray[Any], path: Path) -> dict[str, Any]:
    """The columns that are used, of some heads."""
    names = set(head.dtype.names or ())
    if absent := {_NUMBERS[k] for k in _REQUIRED} - names:
        raise InputError(path, f"has readout heads without {', '.join(sorted(absent))}", _HINT)
    zeros = np.zeros(len(head), dtype=np.int64)
    idx = head["idx"] if "idx" in names else None
    counters = {c: idx[c].astype(np.int64) if idx is not None and c in (idx.dtype.names or ()) else zeros for c in COUNTER_NAMES}
    return {
        "counters": counters,
        "directions": np.stack([_vectors(head, f"{name}_dir") for name in ("read", "phase", "slice")], axis=1),
        "position": _vectors(head, "position"),
        **{key: head[name].astype(np.int64) if name in names else zeros for key, name in _NUMBERS.items()},
    }


def _vectors(head: NDArray[Any], name: str) -> Float[np.ndarray, "readout 3"]:
    if name not in (head.dtype.names or ()) or head[name].shape != (len(head), 3):
        return np.zeros((len(head), 3))
    return np.asarray(head[name], dtype=np.float64)


def noise_rows(heads: Heads) -> Bool[np.ndarray, "readout"]:
    """Which readouts measure noise."""
    return np.asarray(heads.flags & NOISE != 0)


def image_rows(heads: Heads) -> tuple[Bool[np.ndarray, "readout"], list[str]]:
    """Which readouts are image data, and one sentence for each kind that is left out (noise apart)."""
    image, repairs = ~noise_rows(heads), []
    kinds = {name: heads.flags & flag != 0 for name, flag in AUXILIARY.items()}
    kinds["calibration-only"] = (heads.flags & CALIBRATION != 0) & (heads.flags & CALIBRATION_AND_IMAGING == 0)
    kinds["second-encoding"] = heads.encoding != 0
    for name, rows in kinds.items():
        if count := int((rows & image).sum()):
            repairs.append(f"left out {count} {name} readouts")
            image &= ~rows
    return image, repairs
