"""Convert images and k-space between file formats; what would be lost is said, and refused where it changes values.

A converter is chosen by what the source holds (images or k-space) and by the kind of the target, which its suffix names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medcore.atomic import check_writable
from medcore.errors import ConfigError, InputError
from medcore.io import ImageSeries, KSpace, write_cfl, write_fastmri
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
Check = Callable[[Any, _Losses], None]


class Target(NamedTuple):
    """A kind of target: the suffixes that name it, how it is written, what it loses."""

    suffixes: tuple[str, ...]
    summary: str
    write: Writer
    check: Check


def _write_nifti(path: Path, item: ImageSeries, options: Options) -> None:
    write_nifti(path, item.data, item.affine, sidecar=bids_sidecar(item), force=options.force)


def bids_sidecar(item: ImageSeries) -> dict[str, Any]:
    """Times and unit of a series in the words of BIDS: seconds and degrees, one value each."""
    names = {"te": "EchoTime", "ti": "InversionTime", "tr": "RepetitionTime"}
    found: dict[str, Any] = {names[k]: _plain(v) for k, v in item.times.items() if k in names}
    if "flip_angle" in item.times:
        found["FlipAngle"] = _plain(rad_to_deg(np.asarray(item.times["flip_angle"], dtype=np.float64)))
    kept = {
        "units": "Units",
        "vendor": "Manufacturer",
        "model": "ManufacturersModelName",
        "field_strength": "MagneticFieldStrength",
    }
    return found | {word: item.meta[key] for key, word in kept.items() if key in item.meta}


def _plain(values: NDArray[np.floating]) -> float | list[float]:
    listed = [float(f"{v:.12g}") for v in np.asarray(values)]
    return listed[0] if len(listed) == 1 else listed


def _nothing(_item: Any, _losses: _Losses) -> None:
    """Everything is kept."""


def _lose_npy(item: Any, losses: _Losses) -> None:
    losses.lost.append("position and orientation")
    if item.times:
        losses.lost.append(f"times ({', '.join(item.times)})")
    if isinstance(item, KSpace):
        if item.traj is not None:
            raise InputError(item.source, "lies along a trajectory, which an array has no place for", "convert it to .h5 or .cfl")
        _lose_extras(item, losses)


def _lose_extras(item: KSpace, losses: _Losses) -> None:
    for name, value in (("noise scan", item.noise), ("coil maps", item.csm)):
        if value is not None:
            losses.lost.append(name)


def _write_npy(path: Path, item: Any, options: Options) -> None:
    write_npy(path, item.data, force=options.force)


def _write_ismrmrd(path: Path, item: KSpace, options: Options) -> None:
    write_ismrmrd(path, item, force=options.force)


def _write_fastmri(path: Path, item: KSpace, options: Options) -> None:
    write_fastmri(path, [item], force=options.force)


def _write_cfl(path: Path, item: Any, options: Options) -> None:
    write_cfl(path, item, force=options.force)


def _lose_cfl(item: Any, losses: _Losses) -> None:
    losses.lost.append("field of view, position and orientation")
    if item.times:
        losses.lost.append(f"times ({', '.join(item.times)})")
    if isinstance(item, KSpace) and item.noise is not None:
        losses.lost.append("noise scan")


def _write_bids(path: Path, item: ImageSeries, options: Options) -> None:
    if options.quantity is None or options.subject is None:
        raise ConfigError("--to bids", "needs the suffix of the map and a subject", "add for example --quantity T2map --subject 01")
    one = ParameterMap(suffix=options.quantity, data=item.data[0], unit=options.unit, sidecar=bids_sidecar(item))
    write_derivative(path, [one], item.affine, subject=options.subject, sources=[item.source], force=options.force)


def _check_bids(item: ImageSeries, _losses: _Losses) -> None:
    if item.n_contrasts != 1:
        raise InputError(item.source, f"has {item.n_contrasts} images, a map is one", "convert one image, or write .nii.gz")


def _write_parametric_map(path: Path, item: ImageSeries, options: Options) -> None:
    unit = options.unit or item.meta.get("units")
    if options.quantity is None or unit is None:
        raise ConfigError("--to parametric-map", "needs quantity and unit of the values", "add for example --quantity T2 --unit s")
    quantities = options.quantity.split(",")
    units = unit.split(",") if isinstance(unit, str) else list(unit)
    if len(units) == 1:
        units *= len(quantities)
    write_parametric_map(path, item, quantity=quantities, unit=units, source=options.source_dicom, nan="pad", force=options.force)


def _lose_parametric_map(item: ImageSeries, losses: _Losses) -> None:
    if item.times:
        losses.lost.append(f"times ({', '.join(item.times)})")


IMAGE_TARGETS: dict[str, Target] = {
    "nifti": Target((".nii", ".nii.gz"), "NIfTI with a BIDS sidecar", _write_nifti, _nothing),
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
    if source.resolve() == target.resolve():
        raise ConfigError(str(target), "is the source itself", "name another target")
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
    targets[kind].check(item, losses)
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
