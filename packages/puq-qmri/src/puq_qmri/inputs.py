"""What the commands are given: scans, image series, deviations and masks, told apart by content."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from medcore.errors import ConfigError, InputError
from medcore.io import ImageSeries, KSpace, read_dicom, read_nifti, read_nifti_series, read_npy, recognise
from medcore.io.bids import read_bids
from medcore.io.bids.reading import Part
from medcore.io.geometry import same_place
from medcore.io.images import check_seconds, checked_times
from medcore.io.npy import load_array
from medcore.io.opener import nifti_files
from puq_qmri.scans import merge_contrasts, read_scan
from puq_qmri.signal_models import SignalModel, find_model
from puq_qmri.signal_models.sequence import model_for

MAGNITUDE, PHASE, DEVIATION = "part-mag_images.nii.gz", "part-phase_images.nii.gz", "desc-std_images.nii.gz"
"""Files of a folder of reconstructed images."""
MODEL_FOR = {"te": "t2", "ti": "ir"}
"""Model taken where only one kind of time varies and none was asked for."""
_MODEL_WITHOUT_TIMES = {"flip_angle": "vfa", "b_value": "adc"}
"""That where no time varies, but this."""
MODEL_OF_COLLECTION = {"MESE": "t2", "MEGRE": "t2star", "IRT1": "ir", "VFA": "vfa", "MP2RAGE": "mp2rage"}
"""Model taken for a BIDS collection."""
_OPTION = {
    "te": "--te in seconds",
    "ti": "--ti in seconds",
    "flip_angle": "--flip-angle in degrees",
    "b_value": "--b-value in s/mm^2",
}
_WORDS = {"te": "echo time", "ti": "inversion time", "flip_angle": "flip angle", "b_value": "b-value"}
_Source = TypeVar("_Source", ImageSeries, KSpace)


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How to read images.

    Attributes
    ----------
    times
        Times in seconds, instead of those of the files.
    series
        UIDs or numbers of DICOM series.
    incomplete
        ``refuse`` a DICOM series with missing images, or ``drop`` what is concerned.
    frame_type
        Which DICOM frames, where several types are mixed.
    contrast_axis
        Which axis of an array holds the contrasts.
    subject, suffix, part
        Which collection of a BIDS data set, and which part of its images: ``auto``, ``mag``, ``complex``, ``real``, ...
    """

    times: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    series: tuple[str, ...] = ()
    incomplete: Literal["refuse", "drop"] = "refuse"
    frame_type: str | None = None
    contrast_axis: int | None = None
    subject: str | None = None
    suffix: str | None = None
    part: Part = "auto"


def parse_times(text: str | None, option: str) -> tuple[float, ...]:
    """Times in seconds, see :func:`parse_numbers`.

    Raises
    ------
    ConfigError
        If there is none, or something is not a number.
    """
    return parse_numbers(text, option, "seconds, for example 0.01,0.02,0.04")


def parse_numbers(text: str | None, option: str, wanted: str) -> tuple[float, ...]:
    """Numbers separated by commas or spaces, `wanted` in words; none for None.

    Raises
    ------
    ConfigError
        If there is none, or something is not a number.
    """
    if text is None:
        return ()
    words = text.replace(",", " ").split()
    try:
        values = tuple(float(word) for word in words)
    except ValueError as error:
        raise ConfigError(option, f"is {text!r}, which are not numbers", f"give {wanted}") from error
    if not values:
        raise ConfigError(option, "is empty", f"give {wanted}")
    return values


def check_times(values: tuple[float, ...], key: str, *, unused: str | None = None) -> tuple[float, ...]:
    """Times given for a simulation, refused if they are no seconds, or if times of the other kind were given (`unused`).

    Raises
    ------
    ConfigError, InputError
        See above.
    """
    if unused is not None:
        raise ConfigError(f"--{'ti' if key == 'te' else 'te'}", "was given for a measurement of the other kind", f"give --{key}")
    check_seconds({key: values}, f"--{key}")
    if values:
        checked_times({key: values}, len(values), f"--{key}")
    return values


def open_scan(
    path: str | Path | Sequence[str | Path], times: Mapping[str, Sequence[float]] | None = None, *, slice_index: int | None = None
) -> KSpace:
    """K-space of one file, or of several with some of the contrasts each, see :func:`puq_qmri.scans.read_scan`.

    Parameters
    ----------
    path
        The file or files; contrasts come in the order of the files.
    times
        Times in seconds of all contrasts, instead of those of the files.
    slice_index
        Which slice, where there are several.

    Raises
    ------
    InputError
        If a file cannot be read or holds images, files are not of one protocol, or times do not fit.
    """
    files = [path] if isinstance(path, (str, Path)) else list(path)
    found = []
    for file in files:
        scan = read_scan(file, slice_index=slice_index)
        if not isinstance(scan, KSpace):
            raise InputError(file, "holds images, not k-space", "fit a model to images with puq-qmri fit")
        found.append(scan)
    merged = merge_contrasts(found)
    if times:
        check_seconds(times, merged.source)
        merged = dataclasses.replace(merged, times={**merged.times, **times})
    return merged


def open_images(
    paths: Sequence[str | Path], options: ImageOptions | None = None
) -> tuple[ImageSeries, Float[np.ndarray, "contrast z y x"] | None]:
    """An image series, and its deviations where the input is a folder written by ``puq-qmri recon``.

    Parameters
    ----------
    paths
        One file or folder, or several 3-D NIfTI or DICOM files of one volume.
    options
        See :class:`ImageOptions`.

    Raises
    ------
    InputError
        If the input is k-space or of no known kind, or times are missing or do not fit.
    """
    options = options or ImageOptions()
    files = [Path(p) for p in paths]
    if len(files) == 1 and (files[0] / MAGNITUDE).is_file():
        return _reconstructed(files[0], options)
    if len(files) == 1 and recognise(files[0]) == "nifti-folder":
        files = nifti_files(files[0])
    kinds = sorted({str(recognise(f)) for f in files})
    if len(kinds) > 1:
        raise InputError(files[0].parent, f"mixes files of the kinds {', '.join(kinds)}", "give files of one kind")
    return _read(files, kinds[0], options), None


def _read(files: list[Path], kind: str, options: ImageOptions) -> ImageSeries:
    times = dict(options.times) or None
    if kind == "nifti":
        return read_nifti(files[0], times=times) if len(files) == 1 else read_nifti_series(files, times=times)
    if kind in {"dicom", "dicom-folder"}:
        found = read_dicom(
            files if len(files) > 1 else files[0],
            series=list(options.series) or None,
            incomplete=options.incomplete,
            frame_type=options.frame_type,
        )
        check_seconds(options.times, files[0])
        return dataclasses.replace(found, times={**found.times, **options.times})
    if kind == "bids-folder":
        found = read_bids(files[0], subject=options.subject, suffix=options.suffix, part=options.part)
        check_seconds(options.times, files[0])
        return dataclasses.replace(found, times={**found.times, **options.times})
    if len(files) == 1 and kind in {"npy", "npz"}:
        return read_npy(files[0], contrast_axis=options.contrast_axis, times=times)
    if kind == "ismrmrd":
        raise InputError(files[0], "holds k-space, not images", "use puq-qmri run, or puq-qmri recon first")
    raise InputError(
        files[0], f"is of a kind that holds no images here ({kind})", "give NIfTI, DICOM, a BIDS data set, or one .npy array"
    )


def _reconstructed(folder: Path, options: ImageOptions) -> tuple[ImageSeries, Float[np.ndarray, "contrast z y x"] | None]:
    """Complex images and deviations of a folder written by ``recon``."""
    images = read_nifti(folder / MAGNITUDE, times=dict(options.times) or None)
    if (folder / PHASE).is_file():
        phase = read_nifti(folder / PHASE, times={})
        images = dataclasses.replace(images, data=(images.data * np.exp(1j * phase.data)).astype(np.complex64))
    deviation = read_nifti(folder / DEVIATION, times={}).data if (folder / DEVIATION).is_file() else None
    return dataclasses.replace(images, source=str(folder)), deviation


def open_deviation(text: str, series: ImageSeries, n_coils: int = 1) -> float | Float[np.ndarray, "contrast z y x"]:
    """Deviations from a number, a NIfTI file or an array: one for all, or (z, y, x), or (contrast, z, y, x).

    ``background`` measures one number where magnitude images hold noise alone; `n_coils` is the number of coils of which they are the
    root sum of squares.

    Raises
    ------
    InputError
        If it is neither a number nor a readable file, or the shape is not that of the images.
    """
    if text == "background":
        from puq_qmri.fitting.likelihood import background_deviation

        return background_deviation(series.data, n_coils)
    try:
        return float(text)
    except ValueError:
        values = _volume(Path(text), series)
    if len(values) not in {1, series.n_contrasts}:
        raise InputError(text, f"holds {len(values)} images for {series.n_contrasts} contrasts", "give one, or one for each")
    return np.broadcast_to(values, series.data.shape)


def open_mask(path: str | Path, series: ImageSeries) -> Bool[np.ndarray, "z y x"]:
    """Where a mask image is not zero.

    Raises
    ------
    InputError
        If it does not have the shape of one image of the series.
    """
    values = _volume(Path(path), series)
    if len(values) != 1 or np.isnan(values).any():
        raise InputError(path, f"holds {len(values)} images with {np.isnan(values).sum()} NaN", "give one image of zeros and ones")
    return np.asarray(values[0] != 0)


def open_labels(path: str | Path, series: ImageSeries) -> Int[np.ndarray, "z y x"]:
    """Regions of a label image.

    Raises
    ------
    InputError
        If it does not have the shape of one image of the series, or values that are not integers.
    """
    values = _volume(Path(path), series)
    if len(values) != 1 or not np.isfinite(values).all() or (values != np.rint(values)).any():
        raise InputError(path, f"holds {len(values)} images, or values that are not integers", "give one image of integer labels")
    return np.asarray(values[0], np.int64)


def _volume(path: Path, series: ImageSeries) -> Float[np.ndarray, "contrast z y x"]:
    """Real values (contrast, z, y, x) of a NIfTI file or array in the space of `series`."""
    if recognise(path) in {"npy", "npz"}:
        values = load_array(path)
        if values.dtype.kind == "c" or values.ndim not in {2, 3, 4}:
            raise InputError(
                path, f"holds {values.dtype} of shape {values.shape}", "give real values (y, x), (z, y, x) or (contrast, z, y, x)"
            )
        values = values.astype(np.float32).reshape((1,) * (4 - values.ndim) + values.shape)
    else:
        image = read_nifti(path, times={})
        values = np.abs(image.data)
        if image.shape == series.shape and not same_place(image.affine, series.affine, series.shape):
            raise InputError(path, "lies elsewhere in space than the images", "resample it to the images")
    if values.shape[1:] != series.shape:
        raise InputError(path, f"has the shape {values.shape[1:]}, the images {series.shape}", "give the images' shape")
    return values


def choose_model(times: Mapping[str, Any], source: str) -> str:
    """The model for times that vary: ``t2`` for echo times, ``ir`` for inversion times; without those ``vfa`` or ``adc``.

    Raises
    ------
    InputError
        If nothing varies, or two things do.
    """
    for models in (MODEL_FOR, _MODEL_WITHOUT_TIMES):
        varying = [key for key in models if key in times and len(np.unique(times[key])) > 1]
        if len(varying) == 1:
            return models[varying[0]]
        if varying:
            raise InputError(source, f"varies in {' and '.join(_WORDS[key] for key in varying)}", "name a model with --model")
    problem = "states no echo or inversion times that differ"
    raise InputError(source, problem, "give --te or --ti in seconds, or --flip-angle or --b-value")


def resolve_model(
    model: str | SignalModel | None, source: ImageSeries | KSpace, settings: Mapping[str, Any] | None = None
) -> SignalModel:
    """The model asked for, or that of the times, with its settings; its own times are there and are enough.

    Parameters
    ----------
    model
        A name, an instance, or None.
    source
        Images or k-space with times, and settings as far as the file states them.
    settings
        Other settings, in SI units.

    Raises
    ------
    ConfigError
        If the model is unknown, or a setting is missing or impossible.
    InputError
        If times are missing, or those of contrasts with signal are fewer than the model's parameters.
    """
    collection = MODEL_OF_COLLECTION.get(str(source.meta.get("collection")))
    chosen = model or collection or choose_model(source.times, source.source)
    found = find_model(chosen)
    live = contrasts_with_signal(source)
    times = times_for(source, found.times_key, str(chosen))
    different = len(np.unique(times[live] if live.any() else times))
    if different < len(found.parameters):
        part = f" in its {live.sum()} contrasts with signal of {len(live)}" if 0 < live.sum() < len(live) else ""
        raise InputError(
            source.source,
            f"has {different} different {found.times_key}{part}, and model {chosen} estimates {len(found.parameters)} parameters",
            "measure more contrasts or choose a simpler model",
        )
    return model_for(chosen, source, settings)


def with_repetition_time(source: _Source, tr: float | None) -> _Source:
    """The images or the scan with this repetition time in seconds for all contrasts; None leaves what it states.

    Raises
    ------
    InputError
        If it is not positive, or looks like milliseconds.
    """
    if tr is None:
        return source
    if not tr > 0:
        raise InputError("--tr", f"is {tr:g}", "give seconds above 0")
    check_seconds({"tr": [tr]}, "--tr")
    return dataclasses.replace(source, times={**source.times, "tr": np.full(source.n_contrasts, tr)})


def open_b1(path: str | Path, series: ImageSeries) -> Float[np.ndarray, "z y x"]:
    """A map of B1, the flip angle over the nominal one.

    Raises
    ------
    InputError
        If it does not have the shape of one image of the series, or is in percent or degrees.
    """
    values = _volume(Path(path), series)
    if len(values) != 1:
        raise InputError(path, f"holds {len(values)} images", "give one map of B1")
    middle = float(np.median(values[np.isfinite(values) & (values > 0)])) if np.any(values > 0) else 0.0
    if not 0.1 < middle < 3:
        raise InputError(
            path, f"has a median of {middle:.4g}, which is no flip angle over the nominal one", "divide it by its nominal value"
        )
    return np.asarray(values[0])


def contrasts_with_signal(source: ImageSeries | KSpace) -> Bool[np.ndarray, " contrast"]:
    """Which contrasts have a sample or a voxel other than zero; of the others nothing is known."""
    return np.array([bool(np.any(contrast)) for contrast in source.data])


def times_for(series: ImageSeries | KSpace, key: str, model: str) -> Float[np.ndarray, " contrast"]:
    """The times that a model needs.

    Raises
    ------
    InputError
        If they are not stated.
    """
    if key not in series.times:
        hint = f"give {_OPTION[key]}, or a sidecar" if key in _OPTION else "give a sidecar that states them"
        raise InputError(series.source, f"states no {key}, which model {model} needs", hint)
    check_seconds({key: series.times[key]}, series.source)
    values: Float[np.ndarray, " contrast"] = np.asarray(series.times[key], np.float64)
    return values
