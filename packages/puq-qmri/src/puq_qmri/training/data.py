"""Examples to train and to validate with: a prepared scan and its true images."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Complex64
from torch import Tensor

from medcore.datasets.phantoms import Phantom
from medcore.io.kspace import KSpace
from puq_qmri.csm import espirit
from puq_qmri.networks import NetworkSettings, Problem, build_problem
from puq_qmri.simulation import SimulationSettings, coil_maps, draw_object, measure
from puq_qmri.training.ranges import HELD_OUT_SEED, SimulatedData, vary

PARTS = ("train", "variance", "validation")
"""Sets of examples that share no object."""
_MODELS = {"t2": ("t2",), "t1": ("ir2", "ir")}
"""Models a user may name for what was measured; their components differ."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """A measurement with the images it should lead to.

    Attributes
    ----------
    kspace
        The measurement.
    csm
        Coil maps complex64 (coil, z, y, x).
    truth
        complex64 (contrast, z, y, x), combined with these maps.
    mask
        bool (z, y, x): voxels with signal.
    model
        Signal model of its times.
    """

    kspace: KSpace
    csm: Complex64[np.ndarray, "coil z y x"]
    truth: Complex64[np.ndarray, "contrast z y x"]
    mask: Bool[np.ndarray, "z y x"]
    model: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """A scan made ready for a network, and its true images.

    Attributes
    ----------
    problem
        What the network is given.
    truth
        complex64 (contrast, z, y, x).
    mask
        bool (z, y, x): voxels with signal.
    """

    problem: Problem
    truth: Complex64[Tensor, "contrast z y x"]
    mask: Bool[Tensor, "z y x"]

    @classmethod
    def of(cls, scan: Scan, network: NetworkSettings, device: str | torch.device = "cpu") -> Example:
        """Make a scan ready.

        Raises
        ------
        InputError, NumericalError
            See :func:`puq_qmri.networks.build_problem`.
        """
        return cls(
            problem=build_problem(scan.kspace, scan.csm, network, model=scan.model, device=device),
            truth=torch.as_tensor(scan.truth, device=device),
            mask=torch.as_tensor(scan.mask, device=device),
        )


@runtime_checkable
class Examples(Protocol):
    """A map-style set of examples; example `i` is the same whenever it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def size(self, index: int) -> tuple[int, int]:
        """Edges (y, x) of the images of an example, without making it."""
        ...


class SimulatedExamples:
    """Simulated scans; example `i` depends on the seed, the part and `i` alone.

    Parameters
    ----------
    settings
        Ranges to draw from.
    network
        For whom the scans are made ready.
    count
        Number of examples.
    seed
        Of everything.
    part
        One of :data:`PARTS`; they share no object.
    device
        Where the examples lie.
    """

    def __init__(
        self,
        settings: SimulatedData,
        network: NetworkSettings,
        *,
        count: int,
        seed: int = 0,
        part: str = "train",
        device: str | torch.device = "cpu",
    ) -> None:
        self.settings, self.network, self.count, self.device = settings, network, count, device
        self.key = (seed, PARTS.index(part))

    def __len__(self) -> int:
        return self.count

    def size(self, index: int) -> tuple[int, int]:
        """Edges of the images: sizes alternate."""
        edge = self.settings.sizes[index % len(self.settings.sizes)]
        return edge, edge

    def scan(self, index: int) -> Scan:
        """The measurement of example `index`, with its truth."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([*self.key, index])
        # Parts have stretches of seeds of their own.
        stretch = HELD_OUT_SEED // len(PARTS)
        number = self.key[1] * stretch + (int(rng.integers(self.settings.objects)) + self.key[0] * self.settings.objects) % stretch
        drawn = self.settings.draw(rng, size=self.size(index)[0], object_seed=number)
        phantom = vary(_object(drawn.anatomy, drawn.size, drawn.seed), rng)
        seed = int(rng.integers(HELD_OUT_SEED))
        maps = coil_maps(drawn.coils, drawn.n_coils, drawn.size, seed=seed)
        kspace, truth = measure(phantom, maps, drawn, seed=seed)
        model = str(rng.choice(_MODELS[drawn.model]))
        scan = Scan(kspace=kspace, csm=maps, truth=truth.images, mask=phantom.foreground, model=model)
        return with_estimated_maps(scan) if rng.random() < self.settings.estimated_maps else scan

    def __getitem__(self, index: int) -> Example:
        return Example.of(self.scan(index), self.network, self.device)


@lru_cache(maxsize=256)
def _object(anatomy: str, size: int, seed: int) -> Phantom:
    """Drawing an object takes longer than measuring it."""
    return draw_object(dataclasses.replace(SimulationSettings(), anatomy=anatomy, size=size, seed=seed))


def with_estimated_maps(scan: Scan) -> Scan:
    """The same measurement with coil maps by ESPIRiT, and the truth as these maps see it."""
    maps = espirit(scan.kspace)
    seen = (maps.conj()[None] * scan.csm[None] * scan.truth[:, None]).sum(axis=1)
    covered = (maps != 0).any(axis=0)
    return dataclasses.replace(scan, csm=maps, truth=seen.astype(np.complex64), mask=scan.mask & covered)


class Kept:
    """Prepared examples, which stay in memory up to a number of them.

    Parameters
    ----------
    examples
        Where they come from.
    limit
        How many stay; those that were made first go first.
    prepare
        What is made of each.
    """

    def __init__(self, examples: Examples, limit: int, prepare: Callable[[Example], Any]) -> None:
        self.examples, self.limit, self.prepare = examples, limit, prepare
        self._found: OrderedDict[int, Any] = OrderedDict()

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self.examples)))

    def __getitem__(self, index: int) -> Any:
        found = self._found.get(index)
        if found is None:
            found = self.prepare(self.examples[index])
            self._found[index] = found
            while len(self._found) > self.limit:
                self._found.popitem(last=False)
        return found

    def ahead(self, order: Iterable[list[int]], workers: int) -> Iterator[list[Any]]:
        """Prepared examples of batches in their order; with `workers`, threads make those of the next batches meanwhile."""
        if not workers:
            yield from ([self[i] for i in indices] for indices in order)
            return
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[list[Future[Any]]] = deque()
            for indices in order:
                waiting.append([pool.submit(self.__getitem__, i) for i in indices])
                if len(waiting) > workers:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]


def batches(examples: Examples, batch: int, *, seed: Sequence[int], start: int = 0) -> Iterator[list[int]]:
    """Indices of the batches, for ever, from batch number `start` on; every epoch is a new order of all examples.

    A batch holds images of one size. What an epoch leaves over of a size that fills no batch is left out, unless there is no full
    one at all.

    Parameters
    ----------
    examples
        The set.
    batch
        Examples in a batch.
    seed
        Of the order.
    start
        Number of the first batch: an interrupted run goes on where it was.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index in range(len(examples)):
        groups.setdefault(examples.size(index), []).append(index)
    length = sum(max(len(g) // batch, 1) for g in groups.values())
    epoch, skipped = divmod(start, length)
    while True:
        rng = np.random.default_rng([*seed, epoch])
        found = []
        for group in groups.values():
            order = rng.permutation(group).tolist()
            found += [order[i * batch : (i + 1) * batch] for i in range(max(len(order) // batch, 1))]
        for place in rng.permutation(len(found)).tolist()[skipped:]:
            yield found[place]
        epoch, skipped = epoch + 1, 0
