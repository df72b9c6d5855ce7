"""Convert images and k-space between file formats; what would be lost is said, and refused where it changes values.

A converter is chosen by what the source holds (images or k-space) and by the kind of the target, which its suffix names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medcore.atomic import check_writable
from medcore.errors import ConfigError, InputError
from medcore.io import ImageSeries, KSpace, write_cfl, write_fastmri
from medcore.io.bart import base_of, is_cfl
from medcore.io.bids import ParameterMap, write_derivative
from medcore.io.ismrmrd import write_ismrmrd
from medcore.io.nifti import write_nifti
from medcore.io.npy import write_npy
from medcore.io.parametric_map import write_parametric_map
from medcore.opening import open as open_any
from medcore.plugins import unknown_name
from medcore.units import rad_to_deg


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What a conversion did, or would do.

    Attributes
    ----------
    source, target
        Files or folders.
    kind
        Kind of the target.
    content
        ``images`` or ``k-space``.
    shape
        Of what is converted.
    lost
        One sentence for each fact that the target cannot hold.
    changed
        One sentence for each way in which values change; only with ``lossy``.
    repairs
        What the reader mended.
    """

    source: str
    target: str
    kind: str
    content: str
    shape: tuple[int, ...]
    lost: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the targets that need some.

    Attributes
    ----------
    quantity, unit
        For DICOM parametric maps: what the values are and their unit, with commas for several images; for BIDS: the suffix (``T2map``)
        and the unit it does not fix.
    source_dicom
        For DICOM parametric maps: the series whose patient and study they belong to.
    subject
        For BIDS: label of the subject that the map belongs to.
    lossy
        Whether values may change (a complex image written as magnitude).
    force
        Whether an existing target may be replaced.
    """

    quantity: str | None = None
    unit: str | None = None
    source_dicom: Path | None = None
    subject: str | None = None
    lossy: bool = False
    force: bool = False


@dataclass
class _Losses:
    """Collected while a target is prepared."""

    lost: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


Writer = Callable[[Path, Any, Options], None]
Check = Callable[[Any, Options, _Losses], None]


class Target(NamedTuple):
    """A kind of target: the suffixes that name it, how it is written, what it loses."""

    suffixes: tuple[str, ...]
    summary: str
    write: Writer
    check: Check


_KEPT = {
    "units": "Units",
    "vendor": "Manufacturer",
    "model": "ManufacturersModelName",
    "field_strength": "MagneticFieldStrength",
    "sequence": "PulseSequenceType",
}
"""Facts that a sidecar has a key for."""


def _write_nifti(path: Path, item: ImageSeries, options: Options) -> None:
    write_nifti(path, item.data, item.affine, sidecar=bids_sidecar(item), force=options.force)


def bids_sidecar(item: ImageSeries) -> dict[str, Any]:
    """Times and unit of a series in the words of BIDS: seconds and degrees, one value each."""
    names = {"te": "EchoTime", "ti": "InversionTime", "tr": "RepetitionTime"}
    found: dict[str, Any] = {names[k]: _plain(v) for k, v in item.times.items() if k in names}
    if "flip_angle" in item.times:
        found["FlipAngle"] = _plain(rad_to_deg(np.asarray(item.times["flip_angle"], dtype=np.float64)))
    return found | {word: item.meta[key] for key, word in _KEPT.items() if key in item.meta}


def _plain(values: NDArray[np.floating]) -> float | list[float]:
    listed = [float(f"{v:.12g}") for v in np.asarray(values)]
    return listed[0] if len(listed) == 1 else listed


def _nothing(_item: Any, _options: Options, _losses: _Losses) -> None:
    """Everything is kept."""


def _lose_nifti(item: ImageSeries, _options: Options, losses: _Losses) -> None:
    if left := sorted(set(item.meta) - set(_KEPT)):
        losses.lost.append(f"facts of the header ({', '.join(left)})")


def _lose_npy(item: Any, _options: Options, losses: _Losses) -> None:
    losses.lost.append("position and orientation")
    _lose_times(item, losses)
    if isinstance(item, KSpace):
        if item.traj is not None:
            raise InputError(item.source, "lies along a trajectory, which an array has no place for", "convert it to .h5 or .cfl")
        _lose_extras(item, losses, "noise", "csm", "field_strength")
    elif np.iscomplexobj(item.data):
        losses.lost.append("that these are images: complex arrays are read as k-space")


def _lose_times(item: Any, losses: _Losses) -> None:
    if item.times:
        losses.lost.append(f"times ({', '.join(item.times)})")


def _lose_extras(item: KSpace, losses: _Losses, *names: str) -> None:
    words = {"noise": "noise scan", "csm": "coil maps", "field_strength": "field strength"}
    losses.lost.extend(words[name] for name in names if getattr(item, name) is not None)


def _lose_phase(item: ImageSeries, losses: _Losses) -> None:
    if np.any(item.data.imag):
        losses.changed.append("complex values become magnitudes")


def _write_npy(path: Path, item: Any, options: Options) -> None:
    write_npy(path, item.data, force=options.force)


def _write_ismrmrd(path: Path, item: KSpace, options: Options) -> None:
    write_ismrmrd(path, item, force=options.force)


def _write_fastmri(path: Path, item: KSpace, options: Options) -> None:
    write_fastmri(path, [item], force=options.force)


def _write_cfl(path: Path, item: Any, options: Options) -> None:
    write_cfl(path, item, force=options.force)


def _lose_cfl(item: Any, _options: Options, losses: _Losses) -> None:
    losses.lost.append("field of view, position and orientation")
    _lose_times(item, losses)
    if isinstance(item, KSpace):
        _lose_extras(item, losses, "noise", "field_strength")


def _write_bids(path: Path, item: ImageSeries, options: Options) -> None:
    one = ParameterMap(suffix=str(options.quantity), data=_real(item)[0], unit=options.unit, sidecar=bids_sidecar(item))
    write_derivative(path, [one], item.affine, subject=str(options.subject), sources=[item.source], force=options.force)


def _real(item: ImageSeries) -> NDArray[Any]:
    """Real values: as they are where complex ones have no imaginary part (a BART pair is always complex), else magnitudes."""
    return np.abs(item.data) if np.any(item.data.imag) else np.ascontiguousarray(item.data.real)


def _check_bids(item: ImageSeries, options: Options, losses: _Losses) -> None:
    if options.quantity is None or options.subject is None:
        raise ConfigError("--to bids", "needs the suffix of the map and a subject", "add for example --quantity T2map --subject 01")
    if item.n_contrasts != 1:
        raise InputError(item.source, f"has {item.n_contrasts} images, a map is one", "convert one image, or write .nii.gz")
    _lose_phase(item, losses)
    _lose_nifti(item, options, losses)


def _write_parametric_map(path: Path, item: ImageSeries, options: Options) -> None:
    quantities, units = _quantities(item, options)
    real = dataclasses.replace(item, data=_real(item))
    write_parametric_map(path, real, quantity=quantities, unit=units, source=options.source_dicom, nan="pad", force=options.force)


def _quantities(item: ImageSeries, options: Options) -> tuple[list[str], list[str]]:
    unit = options.unit or item.meta.get("units")
    if options.quantity is None or unit is None:
        raise ConfigError("--to parametric-map", "needs quantity and unit of the values", "add for example --quantity T2 --unit s")
    quantities = options.quantity.split(",")
    units = unit.split(",") if isinstance(unit, str) else list(unit)
    return quantities, units * len(quantities) if len(units) == 1 else units


def _lose_parametric_map(item: ImageSeries, options: Options, losses: _Losses) -> None:
    _quantities(item, options)
    _lose_times(item, losses)
    _lose_phase(item, losses)


IMAGE_TARGETS: dict[str, Target] = {
    "nifti": Target((".nii", ".nii.gz"), "NIfTI with a BIDS sidecar", _write_nifti, _lose_nifti),
    "npy": Target((".npy",), "plain array (contrast, z, y, x)", _write_npy, _lose_npy),
    "cfl": Target((".cfl", ".hdr"), "BART pair", _write_cfl, _lose_cfl),
    "parametric-map": Target((".dcm",), "DICOM Parametric Map", _write_parametric_map, _lose_parametric_map),
    "bids": Target((), "a map in a BIDS data set of derivatives, which may exist", _write_bids, _check_bids),
}
KSPACE_TARGETS: dict[str, Target] = {
    "ismrmrd": Target((".h5", ".mrd"), "ISMRMRD", _write_ismrmrd, _nothing),
    "fastmri": Target((), "fastMRI: one contrast, one plane, on a grid", _write_fastmri, _nothing),
    "cfl": Target((".cfl", ".hdr"), "BART pairs of samples, trajectory and coil maps", _write_cfl, _lose_cfl),
    "npy": Target((".npy",), "plain array (contrast, coil, z, y, x)", _write_npy, _lose_npy),
}


def target_kind(target: Path, wanted: str | None, targets: dict[str, Target], content: str) -> str:
    """The kind asked for, or that of the suffix.

    Raises
    ------
    ConfigError
        If there is none of that name or suffix for this content.
    """
    if wanted is not None:
        if wanted not in targets:
            raise unknown_name(f"target for {content}", wanted, list(targets))
        return wanted
    name = target.name.lower()
    found = next((kind for kind, t in targets.items() if t.suffixes and name.endswith(t.suffixes)), None)
    if found is None:
        known = ", ".join(f"{'/'.join(t.suffixes) or 'no suffix'} ({kind})" for kind, t in targets.items())
        raise ConfigError(
            str(target), f"has no suffix that names a format for {content}", f"use one of {known}, or name it with --to"
        )
    return found


def _refuse_source(source: Path, target: Path, to: str | None) -> None:
    """The input is never changed: nothing is written over it or into its folder; derivatives may go into the folder they come from."""
    read, written = source.resolve(), target.resolve()
    if read == written or (is_cfl(source) and base_of(read) == base_of(written)):
        raise ConfigError(str(target), "is the source itself", "name another target")
    if source.is_dir() and written.is_relative_to(read) and to != "bids":
        raise ConfigError(str(target), "lies in the source folder", "name a target elsewhere")


def convert(
    source: str | Path,
    target: str | Path,
    *,
    to: str | None = None,
    options: Options | None = None,
    dry_run: bool = False,
    **reading: Any,
) -> Conversion:
    """Read `source` and write it to `target`.

    Parameters
    ----------
    source
        What :func:`medcore.open` reads as images or k-space.
    target
        File or folder to write.
    to
        Kind of target, one of :data:`IMAGE_TARGETS` or :data:`KSPACE_TARGETS`; by default what the suffix says.
    options
        See :class:`Options`.
    dry_run
        Read and check only.
    reading
        Passed to the reader.

    Raises
    ------
    InputError
        If the source cannot be read, or is a data set; or if values would change and ``lossy`` is not set.
    ConfigError
        If the target is of no kind that holds such content.
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_file`.
    """
    source, target, options = Path(source), Path(target), options or Options()
    _refuse_source(source, target, to)
    item = open_any(source, **reading)
    if isinstance(item, ImageSeries):
        content, targets = "images", IMAGE_TARGETS
    elif isinstance(item, KSpace):
        content, targets = "k-space", KSPACE_TARGETS
    else:
        raise InputError(source, "is a data set of labelled images", "convert images or k-space")
    kind = target_kind(target, to, targets, content)
    check_writable(target, force=options.force or kind == "bids")
    losses = _Losses()
    targets[kind].check(item, options, losses)
    if losses.changed and not options.lossy:
        raise InputError(source, f"would change in {kind}: {'; '.join(losses.changed)}", "add --lossy if that is wanted")
    if not dry_run:
        targets[kind].write(target, item, options)
    return Conversion(
        source=str(source),
        target=str(target),
        kind=kind,
        content=content,
        shape=tuple(int(n) for n in item.data.shape),
        lost=tuple(losses.lost),
        changed=tuple(losses.changed),
        repairs=tuple(item.repairs),
    )
