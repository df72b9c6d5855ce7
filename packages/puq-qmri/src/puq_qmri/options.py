"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from puq_qmri.choices import Backend as BackendName
from puq_qmri.choices import CoilGeometry, Density, Intervals, Noise, Robust, Sampling, Weighting
from puq_qmri.choices import Fitter as FitterName

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder to be written.")]
Scans = Annotated[
    list[Path],
    typer.Argument(
        metavar="SCAN...",
        help="K-space: ISMRMRD, fastMRI, BART cfl, Siemens twix, .npz, or a complex .npy array; several files of some contrasts each.",
    ),
]
Slice = Annotated[
    int | None, typer.Option("--slice", min=0, help="Only this slice, counted from 0, where the scan has several; by default all.")
]
Te = Annotated[str | None, typer.Option("--te", help="Echo times in seconds, separated by commas.")]
Ti = Annotated[str | None, typer.Option("--ti", help="Inversion times in seconds, separated by commas.")]
FlipAngle = Annotated[str | None, typer.Option("--flip-angle", help="Flip angles in degrees, separated by commas.")]
BValue = Annotated[str | None, typer.Option("--b-value", help="b-values in s/mm^2, separated by commas.")]
B1 = Annotated[
    Path | None,
    typer.Option("--b1", help="Image of B1, flip angle over nominal flip angle, for models that take one; by default 1."),
]
Tr = Annotated[float | None, typer.Option("--tr", help="Repetition time in seconds, of all contrasts.")]
ModelSetting = Annotated[
    list[str] | None,
    typer.Option(
        "--setting", metavar="NAME=VALUE", help="Setting of the signal model in SI units (see puq-qmri models); may be repeated."
    ),
]
Fitter = Annotated[
    FitterName,
    typer.Option(help="auto: variable projection, or Levenberg-Marquardt for models and known maps that the first cannot do."),
]
MlpFolder = Annotated[Path | None, typer.Option("--mlp", help="Folder of puq-qmri train-mlp: a network in place of the fit.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or another name that torch knows.")]
Method = Annotated[Literal["auto", "cg-sense", "subspace", "unrolled", "adjoint"], typer.Option(help="How images are made.")]
Uncertainty = Annotated[
    Literal["auto", "pseudo-replica", "learned", "mc-dropout", "ensemble", "none"],
    typer.Option(help="How the deviations of the images are found: their noise, or with trained weights all of their error."),
]
Passes = Annotated[int, typer.Option(min=2, help="Passes of mc-dropout.")]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        help="Folder of trained weights, or a name; several are an ensemble. By default those of the package for the method."
    ),
]
CalibrationFile = Annotated[
    str | None,
    typer.Option("--calibration", help="File of puq-qmri calibrate; none: deviations as predicted. By default the weights'."),
]
Replicas = Annotated[int, typer.Option(min=2, help="Repetitions of pseudo-replica.")]
Iterations = Annotated[
    int | None, typer.Option(min=1, help="Most iterations of cg-sense, by default as many as it needs up to a bound.")
]
Regularisation = Annotated[float | None, typer.Option(min=0, help="Tikhonov weight of cg-sense, by default a small one.")]
Components = Annotated[
    int | None, typer.Option(min=1, help="Temporal components of subspace, by default as many as the model's signals need.")
]
Discrepancy = Annotated[
    float | None,
    typer.Option(min=0, help="0 switches the wavelets of subspace off; other values matter with soft thresholds only."),
]
Coils = Annotated[int, typer.Option(min=0, help="Compress to so many virtual coils first; 0 keeps the coils.")]
KeepOversampling = Annotated[
    bool, typer.Option("--keep-oversampling", help="Keep the field of view that was measured, not only what the file asks for.")
]
Backend = Annotated[
    BackendName, typer.Option(help="Non-uniform Fourier transform; cufinufft needs --device cuda and the extra cuda.")
]
DensityKind = Annotated[
    Density,
    typer.Option(
        "--density", help="Weights of the samples of a trajectory; radial: the analytic ones of even spokes through the centre."
    ),
]
WeightingRule = Annotated[
    Weighting,
    typer.Option(
        "--weighting", help="Weights of the contrasts; auto: by the deviations where the residuals bear them out, otherwise equal."
    ),
]
RobustKind = Annotated[Robust, typer.Option("--robust", help="Whether contrasts far from what the others say count less.")]
IntervalsKind = Annotated[
    Intervals,
    typer.Option(
        "--intervals", help="95 % intervals: so many deviations to both sides, the profile of the misfit, or that where skewed."
    ),
]
NoiseKind = Annotated[
    Noise,
    typer.Option("--noise", help="Distribution of the noise; magnitudes of one coil are rician, sums of squares non-central-chi."),
]
NoiseCoils = Annotated[int, typer.Option(min=1, help="Coils of non-central-chi noise.")]
CorrelationFile = Annotated[
    Path | None, typer.Option("--correlation", help="File of puq-qmri calibrate whose correlation --weighting correlated takes.")
]
Labels = Annotated[Path | None, typer.Option(help="Label image of regions whose weights are judged apart; by default slices.")]
Trajectory = Annotated[Sampling, typer.Option(help="Sampling: random lines or random points of a grid, spokes, or spirals.")]
Geometry = Annotated[
    CoilGeometry,
    typer.Option(
        "--coil-geometry", help="A regular ring of coils, rings at random places, or random loops of wire around the object."
    ),
]
Accelerations = Annotated[str | None, typer.Option(help="One acceleration for each contrast, separated by commas; on a grid only.")]
