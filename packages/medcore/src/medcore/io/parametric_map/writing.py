"""Write images as a DICOM Parametric Map (PS3.3 A.75), through highdicom."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64

from medcore.__about__ import __version__
from medcore.atomic import atomic_file, check_writable
from medcore.errors import ConfigError, InputError, MissingExtraError
from medcore.io.dicom.parsing import pydicom_errors
from medcore.io.geometry import LPS_TO_RAS
from medcore.io.images import ImageSeries
from medcore.io.parametric_map.codes import Shown, one_each, quantity_concept, shown_unit
from medcore.io.parametric_map.context import Context, read_context
from medcore.units import m_to_mm

_SECONDS_LIMIT = 30.0
_SHEAR = 1e-4
_LUT_LABEL, _MAPPINGS = 0x00409210, 0x00409096
_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, kw_only=True)
class Planes:
    """Geometry in the words of DICOM: millimetres, LPS+.

    Attributes
    ----------
    spacing
        Between rows, between columns.
    distance
        From slice to slice.
    orientation
        Unit vectors along a row and along a column.
    positions
        Of the first pixel of every slice.
    """

    spacing: tuple[float, float]
    distance: float
    orientation: Float64[np.ndarray, "6"]
    positions: Float64[np.ndarray, "z 3"]


def write_parametric_map(
    path: str | Path,
    series: ImageSeries,
    *,
    quantity: str | Sequence[str],
    unit: str | Sequence[str],
    source: str | Path | Sequence[str | Path] | None = None,
    nan: Literal["refuse", "pad"] = "refuse",
    when: dt.datetime | None = None,
    force: bool = False,
) -> None:
    """Write `series` as one multi-frame DICOM Parametric Map of 32-bit floating-point pixels.

    Values are stored as they are. Those in seconds are shown in milliseconds, those in m2/s in mm2/s: the real-world value mapping holds
    unit and factor. :func:`read_parametric_map` gives the SI values back, bit for bit. Times of `series` are not kept: a map has none.

    Parameters
    ----------
    path
        Target.
    series
        Real images (contrast, z, y, x); every contrast is one quantity.
    quantity
        What each contrast shows: ``T1``, ``T2``, ``T2*``, ``R1``, ``R2``, ``R2*``, ``ADC``, ``FA``, ``PD``, ``M0``, ``MTR``, ``FF``,
        ``QSM``, ``chi2``, or a keyword of DICOM's CID 7180.
    unit
        UCUM code of the values of each contrast, for example ``s``, ``1/s``, ``m2/s``, ``1``.
    source
        The DICOM series that the map was made from, a folder or files of one patient: patient, examination and frame of reference come
        from there by a list of what may be taken, and the files are referenced. So the map names the patient. Without it the map
        belongs to nobody.
    nan
        ``"refuse"`` images with voxels that are no numbers, or ``"pad"`` them: they get a value that no other voxel has (0, or the lowest
        that float32 holds), which FloatPixelPaddingValue names, so that they come back as NaN.
    when
        Time of writing, by default now (UTC). The same input, source and time give the same bytes.
    force
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If values are complex or infinite, or NaN where that is refused; if the voxel axes are not orthogonal; if the values look like
        milliseconds where seconds were named; if `source` is not of one patient.
    ConfigError
        If a quantity or unit is unknown, or they do not belong together.
    MissingExtraError
        If highdicom is not installed.
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_file`.
    """
    names = one_each(quantity, series.n_contrasts, "quantity")
    units = one_each([unit] * series.n_contrasts if isinstance(unit, str) else unit, series.n_contrasts, "unit")
    if len({quantity_concept(name) for name in names}) < len(names):
        raise ConfigError("quantity", f"is the same for several contrasts ({', '.join(names)})", "write them to several files")
    shown = [shown_unit(u, q) for u, q in zip(units, names, strict=True)]
    if nan not in ("refuse", "pad"):
        raise ConfigError("nan", f"is {nan!r}", "use 'refuse' or 'pad'")
    check_writable(path, force=force)
    planes = _planes(series)
    values, padding = _stored(series, nan)
    _check_scale(values, padding, units, series)
    when = when or dt.datetime.now(tz=dt.UTC).replace(microsecond=0)
    seed = _fingerprint(values, series, names, units, when)
    context = read_context(source, seed)
    try:
        dataset = _build(values, padding, planes, names, shown, context, when)
    except ImportError as error:
        raise MissingExtraError("highdicom", "medcore[dicom]", "DICOM parametric maps") from error
    with atomic_file(path, force=force) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)


def _planes(series: ImageSeries) -> Planes:
    matrix = LPS_TO_RAS @ series.affine[:3, :3]  # the same matrix turns RAS+ into LPS+
    origin = LPS_TO_RAS @ series.affine[:3, 3]
    lengths = np.linalg.norm(matrix, axis=0)
    axes = matrix / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > _SHEAR:
        raise InputError(series.source, "has voxel axes that are not at right angles", "resample it to an orthogonal grid")
    positions = origin + np.arange(series.shape[0])[:, None] * matrix[:, 2]
    x, y, z = m_to_mm(lengths).tolist()
    return Planes(spacing=(y, x), distance=z, orientation=np.concatenate([axes[:, 0], axes[:, 1]]), positions=m_to_mm(positions))


def _stored(series: ImageSeries, nan: str) -> tuple[Float32[np.ndarray, "contrast z y x"], float | None]:
    """Pixels to store, and the value that stands for NaN."""
    values = series.data
    if values.dtype != np.float32:
        raise InputError(series.source, "has complex values, which a parametric map cannot hold", "write magnitude or phase")
    if np.isinf(values).any():
        raise InputError(series.source, f"has {int(np.isinf(values).sum())} infinite values", "set them to NaN")
    holes = np.isnan(values)
    if not holes.any():
        return values, None
    if nan == "refuse":
        raise InputError(series.source, f"has {int(holes.sum())} voxels that are no numbers", "mark them as padding with nan='pad'")
    padding = next((p for p in (0.0, _LOWEST) if not (values == np.float32(p)).any()), None)
    if padding is None:
        raise InputError(series.source, "has NaN, 0 and the lowest number of float32", "set its NaN voxels to another value")
    return np.where(holes, np.float32(padding), values), padding


def _check_scale(
    values: Float32[np.ndarray, "contrast z y x"], padding: float | None, units: list[str], series: ImageSeries
) -> None:
    """Refuse relaxation times in milliseconds that were called seconds."""
    for image, unit in zip(values, units, strict=True):
        positive = image[image > 0] if padding is None else image[(image > 0) & (image != padding)]
        if unit == "s" and positive.size and (median := float(np.median(positive))) > _SECONDS_LIMIT:
            raise InputError(series.source, f"has a median of {median:g} s, which looks like milliseconds", "name the unit ms")


def _fingerprint(values: Any, series: ImageSeries, names: list[str], units: list[str], when: dt.datetime) -> bytes:
    text = repr((values.shape, names, units, when.isoformat(), __version__)).encode()
    return hashlib.sha256(text + series.affine.tobytes() + np.ascontiguousarray(values).tobytes()).digest()


def _build(
    values: Float32[np.ndarray, "contrast z y x"],
    padding: float | None,
    planes: Planes,
    names: list[str],
    shown: list[Shown],
    context: Context,
    when: dt.datetime,
) -> Any:
    import highdicom
    from highdicom.pm import ParametricMap

    day, time = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    finite = values if padding is None else values[values != np.float32(padding)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    with pydicom_errors(context.what, "has elements about patient or examination that cannot be copied"):
        dataset = ParametricMap(
            [context.template],
            np.ascontiguousarray(np.moveaxis(values, 0, -1)),
            series_instance_uid=context.uid("series"),
            series_number=1,
            sop_instance_uid=context.uid("instance"),
            instance_number=1,
            manufacturer="medcore",
            manufacturer_model_name="medcore",
            software_versions=__version__,
            device_serial_number="none",
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[_mapping(c, padding, n, s) for c, n, s in zip(values, names, shown, strict=True)],
            voi_lut_transformations=[
                highdicom.VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, 1e-6))
            ],
            content_label="MAP",
            content_description=None,
            pixel_measures=highdicom.PixelMeasuresSequence(
                pixel_spacing=planes.spacing, slice_thickness=planes.distance, spacing_between_slices=planes.distance
            ),
            plane_orientation=highdicom.PlaneOrientationSequence("PATIENT", planes.orientation.tolist()),
            plane_positions=[highdicom.PlanePositionSequence("PATIENT", p.tolist()) for p in planes.positions],
            content_date=day,
            content_time=time,
            series_description=f"{', '.join(names)} map"[:64],
        )
    _finish(dataset, context, names, planes, day + time)
    if padding is not None:
        dataset.FloatPixelPaddingValue = padding
    return dataset


def _mapping(image: Float32[np.ndarray, "z y x"], padding: float | None, name: str, shown: Shown) -> list[Any]:
    """From stored pixels to the unit that is shown; the range is that of the pixels."""
    from highdicom.pm import RealWorldValueMapping
    from highdicom.sr import CodedConcept

    inside = image if padding is None else image[image != np.float32(padding)]
    low, high = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 0.0)
    concept = quantity_concept(name)
    return [
        RealWorldValueMapping(
            lut_label=name[:16],
            lut_explanation=f"{concept.meaning} in {shown.unit.value}"[:64],
            unit=CodedConcept(*shown.unit),
            value_range=(low, high),
            slope=shown.factor,
            intercept=0.0,
            quantity_definition=CodedConcept(*concept),
        )
    ]


def _finish(dataset: Any, context: Context, names: list[str], planes: Planes, when: str) -> None:
    """What highdicom leaves open: order of slices and quantities, references to the whole source, no random or current values."""
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = when[:8], when[8:]
    for equipment in dataset.get("ContributingEquipmentSequence", ()):
        equipment.ContributionDateTime = when
    del dataset.RecognizableVisualFeatures  # nobody has looked
    dataset.file_meta.ImplementationVersionName = f"medcore {__version__}"[:16]
    _number_frames(dataset, context.uid("dimensions"), [name[:16] for name in names], planes)
    for keyword in ("ReferencedSeriesSequence", "SourceImageSequence"):
        if keyword in dataset:
            del dataset[keyword]
    context.add_references(dataset)


def _number_frames(dataset: Any, organisation: str, labels: list[str], planes: Planes) -> None:
    """Number frames by quantity and slice; slices as they were given, so that their direction comes back too."""
    from pydicom.dataset import Dataset

    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = organisation
    dataset.DimensionIndexSequence[0].DimensionOrganizationUID = organisation
    if len(labels) > 1:
        index = Dataset()
        index.DimensionOrganizationUID = organisation
        index.DimensionIndexPointer, index.FunctionalGroupPointer = _LUT_LABEL, _MAPPINGS
        index.DimensionDescriptionLabel = "LUT Label"
        dataset.DimensionIndexSequence.insert(0, index)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        content = group.FrameContentSequence[0]
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
        place = int(np.argmin(np.linalg.norm(planes.positions - position, axis=1))) + 1
        content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = "1", place, place
        if len(labels) > 1:
            label = str(group.RealWorldValueMappingSequence[0].LUTLabel)
            content.DimensionIndexValues = [labels.index(label) + 1, place]
