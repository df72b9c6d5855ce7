"""The output folders: images, maps with their confidence, truth; written whole or not at all, and read again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num

from medcore.atomic import atomic_directory
from medcore.errors import InputError
from medcore.io import ImageSeries, KSpace, read_nifti, write_nifti
from medcore.io.geometry import same_place
from medcore.provenance import RunRecord
from medcore.report import Report
from medcore.units import rad_to_deg
from puq_qmri.__about__ import __version__
from puq_qmri.fitting import STATUS_TEXT, FitResult
from puq_qmri.inputs import DEVIATION, MAGNITUDE, PHASE
from puq_qmri.sampling import Sampling
from puq_qmri.signal_models import Parameter, SignalModel
from puq_qmri.simulation import Truth

IMAGES = "images"
"""Folder of the reconstructed images inside the output of ``run``."""
PURE = "desc-pure_mask.nii.gz"
TRUE_IMAGES, TRUE_PHASE = "desc-noisefree_images.nii.gz", "desc-noisefree_part-phase_images.nii.gz"
REPORT = "report.html"
_UNITS = {"s": "s", "1": "1", "a.u.": "arbitrary"}
_BIDS_TIMES = {
    "te": "EchoTime",
    "ti": "InversionTime",
    "tr": "RepetitionTimeExcitation",
    "flip_angle": "FlipAngle",
    "b_value": "BValue",
}
_BIDS_SCALES = {"flip_angle": rad_to_deg(1.0), "b_value": 1e-6}
_FITTERS = {
    "variable-projection": "variable projection",
    "levenberg-marquardt": "Levenberg-Marquardt steps",
    "mlp": "a multilayer perceptron, amplitude by least squares",
}
_DESCRIPTIONS = {
    "std": "standard deviation of {name} under the noise of the images",
    "low95": "lower limit of the 95 % interval of {name}; NaN beside an upper limit: the data do not end the interval",
    "high95": "upper limit of the 95 % interval of {name}; NaN beside a lower limit: the data do not end the interval",
}
_MAP_FILE = re.compile(r"^(?:[a-zA-Z0-9-]+_)*?(?:desc-(?P<desc>[a-zA-Z0-9]+)_)?(?P<name>[a-zA-Z0-9]+map)\.nii(?:\.gz)?$")


@dataclass(frozen=True, kw_only=True)
class ReconstructedImages:
    """Images of all contrasts and what is known of their noise.

    Attributes
    ----------
    series
        Complex images with times and place.
    deviation
        float32 (contrast, z, y, x): standard deviation of the real or imaginary part; None where it was not estimated.
    iterations, residuals
        Steps of the reconstruction and relative residual reached, by contrast.
    noise_level, noise_source
        Noise of one component of a sample after whitening, and where it was measured.
    sampling
        Where k-space was measured; of several slices, in the first one with signal.
    facts
        JSON-ready: weights and calibration that were used.
    """

    series: ImageSeries
    deviation: Float[np.ndarray, "contrast z y x"] | None
    iterations: list[int]
    residuals: list[float]
    noise_level: float | None = None
    noise_source: str | None = None
    sampling: Sampling | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """JSON-ready facts of the reconstruction."""
        return {
            "iterations": self.iterations,
            "residuals": [float(f"{r:.4g}") for r in self.residuals],
            "noise_level": self.noise_level,
            "noise_source": self.noise_source,
            "sampled": None if self.sampling is None else [float(f"{f:.4g}") for f in self.sampling.fractions],
            **self.facts,
        }


def write_result(
    output: str | Path,
    record: RunRecord,
    *,
    page: Callable[[dict[str, Any]], Report],
    series: ImageSeries | None = None,
    maps: FitResult | None = None,
    images: ReconstructedImages | None = None,
    force: bool = False,
) -> None:
    """Write a result folder in one step: maps, images, ``report.html``, ``run.json``, manifest.

    Parameters
    ----------
    output
        The folder.
    record
        What made it.
    page
        Makes the report from the content of ``run.json``.
    series
        The images that were fitted: place, times and facts of the sidecars.
    maps
        Result of a fit.
    images
        Reconstructed images; they go into a folder of their own where there are maps as well.
    force
        Whether an earlier result may be replaced.

    Raises
    ------
    OutputExistsError, OutputError, DiskFullError
        See :func:`medcore.atomic.atomic_directory`.
    """
    with atomic_directory(output, force=force) as folder:
        if images is not None:
            target = folder / IMAGES if maps is not None else folder
            target.mkdir(exist_ok=True)
            write_images(target, images)
        if maps is not None and series is not None:
            write_maps(folder, maps, series)
        content = record.write(folder)
        page(content).write(folder / REPORT)


def write_images(folder: Path, images: ReconstructedImages) -> None:
    """Magnitude, phase (radians) and, if known, deviation of every contrast as 4-D NIfTI with sidecars.

    ``puq-qmri fit`` takes such a folder as it is and fits the complex images with their deviations.
    """
    series = images.series
    facts = {**_times(series.times), **_scanner(series)}
    data = series.data
    write_nifti(
        folder / MAGNITUDE, np.abs(data), series.affine, sidecar={**facts, "Units": "arbitrary", "Description": "magnitude"}
    )
    write_nifti(
        folder / PHASE, np.angle(data).astype(np.float32), series.affine, sidecar={**facts, "Units": "rad", "Description": "phase"}
    )
    if images.deviation is not None:
        text = "standard deviation of the real or imaginary part under the noise of the measurement"
        sidecar = {**facts, "Units": "arbitrary", "Description": f"{text}; NaN where no coil sees the voxel"}
        known = np.where(np.isfinite(images.deviation), images.deviation, np.float32(np.nan))
        write_nifti(folder / DEVIATION, known, series.affine, sidecar=sidecar)


def write_maps(
    folder: Path, result: FitResult, series: ImageSeries, *, prefix: str = "", extra: Mapping[str, Any] | None = None
) -> None:
    """Every map with deviation, interval and status, and the misfit; float32 in SI units with BIDS sidecars.

    `prefix` comes before all names (``sub-01_``), `extra` into all sidecars.
    """
    model = result.signal_model
    common = {**_sidecar(result, model, series), **(extra or {})}
    for parameter in model.parameters:
        name, unit = parameter.map_name, _UNITS.get(parameter.unit, parameter.unit)
        stated = {**common, "Units": unit}
        _write(
            folder,
            f"{prefix}{name}",
            result.maps[parameter.name],
            series,
            {"Description": f"{_title(parameter)}, estimated", **stated},
        )
        for kind, values in (("std", result.std), ("low95", result.low95), ("high95", result.high95)):
            limits = {} if kind == "std" else {"ConfidenceLevel": 0.95, "Interval": _interval(result)}
            text = {"Description": _DESCRIPTIONS[kind].format(name=_title(parameter))}
            finite = np.where(np.isinf(values[parameter.name]), np.float32(np.nan), values[parameter.name])
            _write(folder, f"{prefix}desc-{kind}_{name}", finite, series, {**text, **stated, **limits})
        levels = {str(int(code)): text for code, text in STATUS_TEXT.items()}
        words = "how the fit of each voxel ended; maps are NaN wherever this is not 0"
        _write(folder, f"{prefix}desc-status_{name}", result.status, series, {"Description": words, "Levels": levels, **common})
    freedom = {"DegreesOfFreedom": result.degrees_of_freedom}
    scale = "in units of the noise variance" if result.sigma_known else "in the squared unit of the images"
    text = {"Description": f"weighted sum of squared residuals, {scale}", "Units": "1" if result.sigma_known else "arbitrary"}
    _write(folder, f"{prefix}desc-chi2_fit", result.chi2, series, {**text, **common, **freedom})
    words = "how many contrasts of equal weight are as evenly weighted, (sum w)^2 / sum w^2"
    _write(
        folder,
        f"{prefix}desc-effectivecontrasts_fit",
        result.effective_contrasts,
        series,
        {"Description": words, "Units": "1", **common},
    )
    if result.p_value is not None:
        words = "probability of a misfit at least as large by noise alone, were model and deviations right"
        _write(
            folder, f"{prefix}desc-pvalue_fit", result.p_value, series, {"Description": words, "Units": "1", **common, **freedom}
        )


def truth_folder(scan: Path) -> Path:
    """Where ``puq-qmri simulate`` puts the truth of a scan."""
    return scan.with_name(f"{scan.name.split('.')[0]}_truth")


def write_truth(output: str | Path, truth: Truth, kspace: KSpace, record: RunRecord, *, force: bool = False) -> None:
    """The true maps of a simulation, its noise-free images, and the mask of voxels of one tissue."""
    with atomic_directory(output, force=force) as folder:
        key = next(iter(kspace.times))
        for name, values in truth.maps.items():
            unit = "arbitrary" if name == "m0" else "s"
            sidecar = {"Units": unit, "Description": f"true {name.upper()}; mixed voxels hold the mean over their tissues"}
            write_nifti(folder / f"{name.upper()}map.nii.gz", values, kspace.affine, sidecar=sidecar)
        text = {"Description": "voxels of one tissue, where a single exponential is the truth"}
        write_nifti(folder / PURE, truth.pure, kspace.affine, sidecar=text)
        magnitude = np.abs(truth.images).astype(np.float32)
        facts = {_BIDS_TIMES[key]: kspace.times[key].tolist(), "Units": "arbitrary", "Description": "noise-free magnitude"}
        write_nifti(folder / TRUE_IMAGES, magnitude, kspace.affine, sidecar=facts)
        angles = {**facts, "Units": "rad", "Description": "noise-free phase"}
        write_nifti(folder / TRUE_PHASE, np.angle(truth.images).astype(np.float32), kspace.affine, sidecar=angles)
        record.write(folder)


@dataclass(frozen=True, kw_only=True, eq=False)
class MapFolder:
    """Maps read from a folder, float32 (z, y, x) by name (``T2map``).

    Attributes
    ----------
    maps, std, low95, high95
        Values; the others only where the folder has them.
    affine
        Of all of them.
    pure
        Mask of voxels of one tissue, where the folder has one.
    units
        As the sidecars state them.
    source
        The folder.
    """

    maps: dict[str, Float[np.ndarray, "z y x"]]
    std: dict[str, Float[np.ndarray, "z y x"]] = field(default_factory=dict)
    low95: dict[str, Float[np.ndarray, "z y x"]] = field(default_factory=dict)
    high95: dict[str, Float[np.ndarray, "z y x"]] = field(default_factory=dict)
    affine: Float[np.ndarray, "4 4"]
    pure: Bool[np.ndarray, "z y x"] | None = None
    units: dict[str, str] = field(default_factory=dict)
    source: str = "memory"


def read_maps(folder: str | Path) -> MapFolder:
    """Maps of a folder: ``<name>map.nii.gz`` and their ``desc-std_``, ``desc-low95_`` and ``desc-high95_`` companions.

    Raises
    ------
    InputError
        If there are none, one is there twice, or they differ in shape or place.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "is not a folder", "give a folder of maps such as fit, run and simulate write")
    found: dict[str, dict[str, Any]] = {"maps": {}, "std": {}, "low95": {}, "high95": {}}
    units, first = {}, None
    for path in sorted(folder.iterdir()):
        match = _MAP_FILE.match(path.name)
        kind = "" if match is None else match["desc"] or "maps"
        if match is None or kind not in found:
            continue
        image = read_nifti(path, times={})
        if match["name"] in found[kind]:
            raise InputError(folder, f"holds several files of {match['name']}", "give a folder with the maps of one subject")
        if image.n_contrasts != 1 or (
            first and (image.shape != first.shape or not same_place(image.affine, first.affine, first.shape))
        ):
            raise InputError(
                path, f"has the shape {image.data.shape} or another place than the other maps", "give maps of one volume"
            )
        first = first or image
        found[kind][match["name"]] = image.data[0]
        if kind == "maps" and "units" in image.meta:
            units[match["name"]] = str(image.meta["units"])
    if first is None or not found["maps"]:
        raise InputError(folder, "holds no maps", "give a folder with files such as T2map.nii.gz")
    pure = read_nifti(folder / PURE, times={}).data[0] != 0 if (folder / PURE).is_file() else None
    return MapFolder(**found, affine=first.affine, pure=pure, units=units, source=str(folder))


def as_series(folder: MapFolder) -> ImageSeries:
    """The first map as an image series, for whatever needs its shape and place."""
    return ImageSeries(data=next(iter(folder.maps.values()))[None], affine=folder.affine, source=folder.source)


def summary(result: FitResult, inside: Bool[np.ndarray, "z y x"]) -> dict[str, Any]:
    """Unit, median, quartiles and median deviation of each map over the fitted voxels of `inside`, in SI units."""
    facts: dict[str, Any] = {}
    units = {p.name: p.unit for p in result.signal_model.parameters}
    for name, values in result.maps.items():
        chosen = inside & np.isfinite(values)
        if not chosen.any():
            facts[name] = {"voxels": 0, "unit": units[name]}
            continue
        low, median, high = (float(v) for v in np.percentile(values[chosen], (25, 50, 75)))
        spread = result.std[name][chosen]
        facts[name] = {"voxels": int(chosen.sum()), "unit": units[name], "median": median, "quartiles": [low, high]}
        if np.isfinite(spread).any():
            facts[name]["median_std"] = float(np.nanmedian(spread))
    return facts


def fitted_part(
    result: FitResult, series: ImageSeries, sigma: Float[np.ndarray, "contrast z y x"] | float | None
) -> tuple[ImageSeries, Float[np.ndarray, "used z y x"] | float | None]:
    """The contrasts that a fit used, and their deviations: all but those that ``facts["left_out"]`` names."""
    used = [i for i in range(series.n_contrasts) if i not in result.facts.get("left_out", ())]
    if len(used) == series.n_contrasts:
        return series, sigma
    return series.select(used), sigma[used] if isinstance(sigma, np.ndarray) else sigma


def foreground(
    images: Num[np.ndarray, "contrast z y x"], deviation: Float[np.ndarray, "contrast z y x"] | float | None = None
) -> Bool[np.ndarray, "z y x"]:
    """Voxels with signal, for summaries and displays; the fit does not use it.

    The root mean square over the contrasts must exceed 15 % of its 98th percentile over all voxels; where deviations are known,
    also what noise alone reaches in one of 10,000 voxels.
    """
    power = np.nan_to_num(np.abs(images).astype(np.float64)) ** 2
    strength = np.sqrt(power.mean(axis=0))
    inside = (strength > 0.15 * np.percentile(strength, 98)) & (strength > 0)
    if deviation is None:
        return np.asarray(inside)
    from scipy.stats import chi2

    parts = 2 if np.iscomplexobj(images) else 1
    variance = np.broadcast_to(np.asarray(deviation, np.float64), images.shape) ** 2
    known = np.isfinite(variance) & (variance > 0)
    ratio = np.divide(power, variance, out=np.zeros_like(power), where=known).sum(axis=0)
    limits = np.array([np.inf, *chi2.isf(1e-4, parts * np.arange(1, len(images) + 1))])
    return np.asarray(inside & (ratio > limits[known.sum(axis=0)]))


def _write(folder: Path, name: str, values: np.ndarray, series: ImageSeries, sidecar: Mapping[str, Any]) -> None:
    write_nifti(folder / f"{name}.nii.gz", values, series.affine, sidecar=sidecar)


def _sidecar(result: FitResult, model: SignalModel, series: ImageSeries) -> dict[str, Any]:
    """What all sidecars of a fit state (BIDS derivatives of quantitative MRI, with keys of our own)."""
    fitter = result.facts.get("fitter", "variable-projection")
    weights = weights_in_words(result)
    return {
        "EstimationReference": model.source,
        "EstimationAlgorithm": f"{_estimate_in_words(result)} by {_FITTERS[fitter]}, puq-qmri {__version__}",
        "SignalModel": result.model,
        "SignalFormula": model.summary,
        **({"SignalModelSettings": stated} if (stated := model.settings()) else {}),
        "SignalType": result.facts.get("signal", "unknown"),
        "Weights": weights,
        **({"KnownMaps": result.facts["known"]} if result.facts.get("known") else {}),
        **_times({model.times_key: result.times}),
        **_scanner(series),
    }


def weights_in_words(result: FitResult) -> str:
    """What weighed the contrasts of a fit."""
    taken = (result.facts.get("weighting") or {}).get("taken", "given")
    if result.facts.get("fitter") == "mlp":
        return (
            "what a network learnt to make of the deviations"
            if result.facts["guided"]
            else "what a network learnt, without deviations"
        )
    if not result.sigma_known:
        return "equal weights, variance from the residuals"
    return {
        "none": "equal weights; known deviations of the images give the intervals",
        "misfit-aware": "deviations of the images, their ratios averaged over regions, with a floor for misfit",
        "correlated": "deviations of the images and their correlation between contrasts",
        "by region": "deviations of the images in regions whose residuals bear them out, equal weights in others",
    }.get(taken, "known deviations of the images")


def _estimate_in_words(result: FitResult) -> str:
    noise, robust = result.facts.get("noise", "gaussian"), result.facts.get("robust", "none")
    if result.facts.get("fitter") == "mlp":
        return "estimate from the signals of each voxel"
    if noise != "gaussian":
        return f"maximum likelihood for {noise} noise"
    return "weighted least squares" if robust == "none" else f"robust ({robust}) weighted least squares"


def _times(times: Mapping[str, Any]) -> dict[str, Any]:
    """Times under their BIDS names: seconds, degrees for flip angles, s/mm^2 for b-values."""
    return {_BIDS_TIMES[k]: (_BIDS_SCALES.get(k, 1.0) * v).tolist() for k, v in times.items()}


def _scanner(series: ImageSeries) -> dict[str, Any]:
    strength = series.meta.get("field_strength")
    return {} if strength is None else {"MagneticFieldStrength": float(strength)}


def _interval(result: FitResult) -> str:
    return "normal" if result.sigma_known else f"Student's t with {result.degrees_of_freedom} degrees of freedom"


def _title(parameter: Parameter) -> str:
    return {"m0": "M0", "s0": "S0", "adc": "ADC", "t1": "T1", "t2": "T2", "t2star": "T2*"}.get(parameter.name, parameter.name)
