"""Non-uniform Fourier transforms of other libraries behind one call each, as their users would call them."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from puq_qmri.operators import Nufft

Pair = tuple[Callable[[], object], Callable[[], object]]


@dataclass
class Case:
    """Images (contrast, coil, *grid), samples (contrast, coil, point), and a trajectory (contrast, spoke, sample, dim) in radians."""

    title: str
    traj: np.ndarray
    grid: tuple[int, ...]
    images: np.ndarray
    samples: np.ndarray
    threads: int

    @property
    def points(self) -> np.ndarray:
        """(contrast, point, dim)."""
        return self.traj.reshape(len(self.traj), -1, len(self.grid))


def ours(case: Case) -> Pair:
    """The operator of puq-qmri."""
    matrix = (1,) * (3 - len(case.grid)) + case.grid
    operator = Nufft(torch.from_numpy(case.traj), matrix, case.images.shape[1])
    x = torch.from_numpy(case.images).reshape(operator.domain)
    y = torch.from_numpy(case.samples).reshape(operator.codomain)
    return lambda: operator(x), lambda: operator.adjoint(y)


def bare_finufft(case: Case) -> Pair:
    """The calls of finufft alone: plans made once by measurement, results written into the same arrays again and again, not scaled."""
    import finufft

    plans = []
    for points in case.points:
        for direction, sign in ((2, -1), (1, 1)):
            plan = finufft.Plan(
                direction,
                case.grid,
                n_trans=case.images.shape[1],
                eps=1e-6,
                isign=sign,
                dtype="complex64",
                nthreads=case.threads,
                upsampfac=2.0,
                fftw=0,
            )
            plan.setpts(*(np.ascontiguousarray(points[:, d]) for d in range(len(case.grid))))
            plans.append(plan)
    there, back = np.empty_like(case.samples), np.empty_like(case.images)

    def forward() -> np.ndarray:
        for plan, given, out in zip(plans[::2], case.images, there, strict=True):
            plan.execute(given, out=out)
        return there

    def adjoint() -> np.ndarray:
        for plan, given, out in zip(plans[1::2], case.samples, back, strict=True):
            plan.execute(given, out=out)
        return back

    return forward, adjoint


def torchkbnufft_table(case: Case) -> Pair:
    """The library torchkbnufft as it comes, all contrasts in one call."""
    library = import_quietly("torchkbnufft")
    omega = torch.from_numpy(case.points).transpose(1, 2).contiguous()
    x, y = torch.from_numpy(case.images), torch.from_numpy(case.samples)
    there, back = library.KbNufft(im_size=case.grid), library.KbNufftAdjoint(im_size=case.grid)
    return lambda: there(x, omega, norm="ortho"), lambda: back(y, omega, norm="ortho")


def torchkbnufft_sparse(case: Case) -> Pair:
    """The library torchkbnufft with sparse matrices, which it takes for one trajectory at a time."""
    library = import_quietly("torchkbnufft")
    omegas = torch.from_numpy(case.points).transpose(1, 2).contiguous()
    x, y = torch.from_numpy(case.images), torch.from_numpy(case.samples)
    there, back = library.KbNufft(im_size=case.grid), library.KbNufftAdjoint(im_size=case.grid)
    matrices = [library.calc_tensor_spmatrix(omega, im_size=case.grid) for omega in omegas]

    def each(transform: torch.nn.Module, values: torch.Tensor) -> torch.Tensor:
        triples = zip(values, omegas, matrices, strict=True)
        return torch.cat([transform(v[None], o, interp_mats=m, norm="ortho") for v, o, m in triples])

    return lambda: each(there, x), lambda: each(back, y)


def sigpy(case: Case) -> Pair:
    """The library sigpy on the CPU, its own accuracy."""
    library = import_quietly("sigpy")
    coordinates = (case.points * np.array(case.grid) / (2 * np.pi)).astype(np.float32)

    def forward() -> np.ndarray:
        return np.stack([library.nufft(x, k) for x, k in zip(case.images, coordinates, strict=True)])

    def adjoint() -> np.ndarray:
        shape = case.images.shape[1:]
        return np.stack([library.nufft_adjoint(y, k, shape) for y, k in zip(case.samples, coordinates, strict=True)])

    return forward, adjoint


def mri_nufft(case: Case) -> Pair:
    """The library mri-nufft with its finufft back end at eps 1e-6."""
    library = import_quietly("mrinufft")
    make = library.get_operator("finufft")
    operators = [make(p, shape=case.grid, n_coils=case.images.shape[1], eps=1e-6, squeeze_dims=True) for p in case.points]

    def forward() -> np.ndarray:
        return np.stack([o.op(x) for o, x in zip(operators, case.images, strict=True)])

    def adjoint() -> np.ndarray:
        return np.stack([o.adj_op(y) for o, y in zip(operators, case.samples, strict=True)])

    return forward, adjoint


def mrpro(case: Case) -> Pair:
    """The operator of mrpro, its own accuracy."""
    import_quietly("mrpro")
    from mrpro.data import KTrajectory, SpatialDimension
    from mrpro.operators import NonUniformFastFourierOp

    dim = len(case.grid)
    matrix = (1,) * (3 - dim) + case.grid
    scaled = torch.from_numpy((case.traj * np.array(case.grid) / (2 * np.pi)).astype(np.float32))[:, None, None]
    zero = torch.zeros(1, 1, 1, 1, 1)
    axes = [*[zero] * (3 - dim), *(scaled[..., d] for d in range(dim))]
    size = SpatialDimension(*matrix)
    operator = NonUniformFastFourierOp(("z", "y", "x")[-dim:], size, size, KTrajectory(*axes))
    x = torch.from_numpy(case.images).reshape(*case.images.shape[:2], *matrix)
    y = torch.from_numpy(case.samples).reshape(*case.samples.shape[:2], 1, *case.traj.shape[1:3])
    return lambda: operator(x)[0], lambda: operator.adjoint(y)[0]


WAYS: dict[str, Callable[[Case], Pair]] = {
    "puq-qmri": ours,
    "bare finufft, measured plans": bare_finufft,
    "torchkbnufft, table": torchkbnufft_table,
    "torchkbnufft, sparse": torchkbnufft_sparse,
    "sigpy": sigpy,
    "mri-nufft": mri_nufft,
    "mrpro": mrpro,
}


def import_quietly(name: str) -> object:
    """A library, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "mrpro":
            _declare_torchvision()
        return importlib.import_module(name)


def _declare_torchvision() -> None:
    """The wheels of torchvision for CUDA fail to import beside torch for CPUs unless these operators are declared."""
    if hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declare_torchvision.library = library  # type: ignore[attr-defined]
