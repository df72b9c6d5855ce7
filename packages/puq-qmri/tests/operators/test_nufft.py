from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medcore.errors import InputError, MissingExtraError
from puq_qmri.operators import Fft, Nufft, choice
from puq_qmri.operators.choice import choose_backend, has_cufinufft
from puq_qmri.testing import check_linear_operator

SQUARE, ODD, OBLONG, CUBE = (1, 12, 12), (1, 11, 13), (1, 16, 10), (6, 7, 8)
CASES = [
    # contrasts, coils, matrix; equal numbers of contrasts and coils tempt a back end to mix the two axes up
    (1, 1, SQUARE),
    (3, 1, ODD),
    (1, 3, OBLONG),
    (3, 3, SQUARE),
    (2, 4, ODD),
    (1, 2, CUBE),
    (2, 2, CUBE),
]


def points(rng, contrasts, matrix, spokes=5, samples=7):
    dim = 2 if matrix[0] == 1 else 3
    return torch.as_tensor(rng.uniform(-np.pi, np.pi, (contrasts, spokes, samples, dim)))


def exact(traj, matrix):
    """The matrices (contrast, point, voxel) of the definition, in double precision."""
    grid = matrix[-traj.shape[-1] :]
    positions = np.stack(np.meshgrid(*[np.arange(n) - n // 2 for n in grid], indexing="ij"), -1).reshape(-1, len(grid))
    phase = np.einsum("pjd,rd->pjr", np.asarray(traj).reshape(len(traj), -1, len(grid)), positions)
    return np.exp(-1j * phase) / np.sqrt(np.prod(matrix))


def relative(value, expected):
    return np.linalg.norm(np.asarray(value) - expected) / np.linalg.norm(expected)


def gaussian(rng, shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize(("contrasts", "coils", "matrix"), CASES, ids=str)
@pytest.mark.parametrize(
    ("backend", "eps", "dtype", "error"),
    [
        ("finufft", 1e-6, torch.complex128, 2e-6),
        ("finufft", 1e-12, torch.complex128, 2e-12),
        ("finufft", 1e-6, torch.complex64, 5e-6),
        ("finufft", 1e-4, torch.complex64, 2e-4),
        ("torchkbnufft", 1e-6, torch.complex64, 3e-3),
        ("torchkbnufft", 1e-6, torch.complex128, 3e-3),
    ],
)
def test_equals_the_exact_transform(rng, contrasts, coils, matrix, backend, eps, dtype, error):
    traj = points(rng, contrasts, matrix)
    operator = Nufft(traj, matrix, coils, eps=eps, backend=backend)
    matrices = exact(traj, matrix)
    x, y = gaussian(rng, operator.domain), gaussian(rng, operator.codomain)
    there = np.einsum("pjr,pcr->pcj", matrices, x.reshape(contrasts, coils, -1)).reshape(operator.codomain)
    back = np.einsum("pjr,pcj->pcr", matrices.conj(), y.reshape(contrasts, coils, -1)).reshape(operator.domain)
    assert relative(operator(torch.as_tensor(x, dtype=dtype)), there) < error
    assert relative(operator.adjoint(torch.as_tensor(y, dtype=dtype)), back) < error
    assert operator(torch.as_tensor(x, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize(("contrasts", "coils", "matrix"), CASES, ids=str)
@pytest.mark.parametrize("backend", ["finufft", "torchkbnufft"])
def test_keeps_its_promises(rng, contrasts, coils, matrix, backend):
    exactly = backend == "finufft"
    operator = Nufft(points(rng, contrasts, matrix), matrix, coils, backend=backend, eps=1e-12)
    # The normal operator is exact with both; torchkbnufft's own transforms are good to 1e-3.
    check_linear_operator(operator, tolerance=1e-9 if exactly else 1e-6, gram_tolerance=1e-9 if exactly else 3e-3)
    check_linear_operator(operator, tolerance=1e-4, gram_tolerance=1e-4 if exactly else 3e-3, dtype=torch.complex64)


@pytest.mark.parametrize("matrix", [SQUARE, ODD, OBLONG, CUBE], ids=str)
def test_on_the_grid_it_is_the_orthonormal_fft(rng, matrix):
    axes = [(np.arange(n) - n // 2) * 2 * np.pi / n for n in matrix]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    traj = grid[..., 1:] if matrix[0] == 1 else grid.reshape(1, -1, matrix[-1], 3)
    operator = Nufft(torch.as_tensor(traj), matrix, 2, eps=1e-12)
    x = torch.as_tensor(gaussian(rng, operator.domain))
    expected = Fft(operator.domain)(x)
    np.testing.assert_allclose(operator(x).reshape(expected.shape), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(operator.adjoint(operator(x)), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("matrix", [(1, 4, 5), (2, 3, 4)], ids=str)
def test_gradients_are_exact(rng, matrix):
    traj = (0.9 * points(rng, 2, matrix, spokes=1, samples=3)).requires_grad_()
    x = torch.as_tensor(gaussian(rng, (2, 2, *matrix))).requires_grad_()
    y = torch.as_tensor(gaussian(rng, (2, 2, 1, 3))).requires_grad_()

    def there(image, trajectory):
        return Nufft(trajectory, matrix, 2, eps=1e-12)(image)

    def back(samples, trajectory):
        return Nufft(trajectory, matrix, 2, eps=1e-12).adjoint(samples)

    assert torch.autograd.gradcheck(there, (x, traj), atol=1e-6, rtol=1e-6)
    assert torch.autograd.gradcheck(back, (y, traj), atol=1e-6, rtol=1e-6)
    # A second derivative that lacked a term would let a Newton or meta-learning step go wrong in silence.
    assert torch.autograd.gradgradcheck(there, (x, traj), atol=1e-5, rtol=1e-5, fast_mode=True)
    assert torch.autograd.gradgradcheck(back, (y, traj), atol=1e-5, rtol=1e-5, fast_mode=True)


def test_torchkbnufft_gives_gradients_of_images_and_refuses_those_of_the_trajectory(rng):
    traj = points(rng, 1, SQUARE)
    with pytest.raises(InputError, match="torchkbnufft: gives no gradient of the trajectory; use backend='finufft'"):
        Nufft(traj.clone().requires_grad_(), SQUARE, 1, backend="torchkbnufft")
    operator = Nufft(traj, SQUARE, 1, backend="torchkbnufft")
    traj.requires_grad_()
    with pytest.raises(InputError, match="gives no gradient of the trajectory"):
        operator(torch.zeros(operator.domain, dtype=torch.complex64))


def test_a_trajectory_can_be_learned_in_place(rng):
    """An optimiser changes the trajectory in place; plans made before that must not be used again."""
    truth = points(rng, 1, SQUARE) * 0.9
    learned = (truth + 0.05 * torch.as_tensor(rng.standard_normal(truth.shape))).requires_grad_()
    operator = Nufft(learned, SQUARE, 2)
    # An image in the middle: its transform is smooth enough for gradient descent to find the points.
    x = torch.zeros(operator.domain, dtype=torch.complex128)
    x[..., 4:8, 4:8] = torch.as_tensor(gaussian(rng, (2, 1, 4, 4)))
    target = Nufft(truth, SQUARE, 2)(x)
    optimiser = torch.optim.Adam([learned], lr=0.01)
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss = (operator(x) - target).abs().square().sum()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]
    expected = exact(learned.detach(), SQUARE)
    there = np.einsum("pjr,pcr->pcj", expected, x.numpy().reshape(1, 2, -1)).reshape(operator.codomain)
    assert relative(operator(x).detach(), there) < 2e-6


def test_lazily_conjugated_and_strided_tensors_are_taken(rng):
    operator = Nufft(points(rng, 2, SQUARE), SQUARE, 2)
    y = torch.as_tensor(gaussian(rng, operator.codomain))
    plain = y.conj().resolve_conj()
    assert torch.equal(operator.adjoint(y.conj()), operator.adjoint(plain))
    strided = torch.as_tensor(gaussian(rng, (*operator.codomain[:2], *operator.codomain[:1:-1]))).mT
    assert torch.equal(operator.adjoint(strided), operator.adjoint(strided.clone()))


def test_tensors_of_inference_mode_are_taken(rng):
    with torch.inference_mode():
        traj = points(rng, 1, SQUARE).clone()
        operator = Nufft(traj, SQUARE, 1)
        x = torch.as_tensor(gaussian(rng, operator.domain)).clone()
        there = np.einsum("pjr,pcr->pcj", exact(traj, SQUARE), x.reshape(1, 1, -1)).reshape(operator.codomain)
        assert relative(operator(x), there) < 2e-6


def test_contrasts_of_zeros_give_zeros_and_leave_the_others_alone(rng):
    operator = Nufft(points(rng, 3, SQUARE), SQUARE, 2)
    x, y = (torch.as_tensor(gaussian(rng, s)) for s in (operator.domain, operator.codomain))
    for function, value in ((operator, x), (operator.adjoint, y)):
        expected = function(value)
        emptied = value.clone()
        emptied[1] = 0
        result = function(emptied)
        assert not result[1].any()
        assert torch.equal(result[[0, 2]], expected[[0, 2]])


@given(
    seed=st.integers(0, 2**32 - 1),
    contrasts=st.integers(1, 3),
    coils=st.integers(1, 3),
    matrix=st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9)),
)
def test_is_exact_and_adjoint_for_any_size(seed, contrasts, coils, matrix):
    rng = np.random.default_rng(seed)
    traj = points(rng, contrasts, matrix, spokes=2, samples=4)
    operator = Nufft(traj, matrix, coils, eps=1e-9)
    x, y = (torch.as_tensor(gaussian(rng, s)) for s in (operator.domain, operator.codomain))
    there, back = operator(x), operator.adjoint(y)
    expected = np.einsum("pjr,pcr->pcj", exact(traj, matrix), x.numpy().reshape(contrasts, coils, -1))
    assert np.linalg.norm(there.numpy().reshape(expected.shape) - expected) < 1e-8 * np.linalg.norm(x.numpy())
    assert (there.shape, back.shape) == (y.shape, x.shape)
    assert abs(torch.vdot(y.ravel(), there.ravel()) - torch.vdot(back.ravel(), x.ravel())) < 1e-10 * y.norm() * x.norm()


def with_value(value):
    traj = torch.zeros(1, 2, 4, 2)
    traj[0, 1, 2, 1] = value
    return traj


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"traj": torch.zeros(1, 4, 2)}, r"trajectory: has shape \(1, 4, 2\)"),
        ({"traj": torch.zeros(1, 2, 4, 1)}, r"trajectory: has shape \(1, 2, 4, 1\)"),
        ({"traj": torch.zeros(1, 0, 4, 2)}, r"trajectory: has shape \(1, 0, 4, 2\)"),
        ({"traj": torch.full((1, 2, 4, 2), 3.2)}, r"trajectory: has the value 3.2 at \(0, 0, 0, 0\); give radians per sample"),
        ({"traj": with_value(-4.0)}, r"trajectory: has the value -4 at \(0, 1, 2, 1\); give radians per sample in \[-pi, pi\)"),
        ({"traj": with_value(torch.nan)}, r"trajectory: has the value nan at \(0, 1, 2, 1\)"),
        ({"traj": with_value(-torch.inf)}, r"trajectory: has the value -inf at \(0, 1, 2, 1\)"),
        (
            {"traj": torch.zeros(1, 2, 4, 2, dtype=torch.int64)},
            "trajectory: has values of type torch.int64; give float32 or float64",
        ),
        ({"traj": torch.zeros(1, 2, 4, 2, dtype=torch.float16)}, "trajectory: has values of type torch.float16"),
        ({"matrix": (8, 8)}, r"NUFFT: has matrix \(8, 8\) and 1 coils"),
        ({"matrix": (1, 0, 8)}, r"NUFFT: has matrix \(1, 0, 8\)"),
        ({"n_coils": 0}, "and 0 coils"),
        ({"matrix": (2, 8, 8)}, "trajectory: is 2-D and the matrix has 2 planes"),
        ({"backend": "gpu"}, "NUFFT back end: is 'gpu'; choose one of auto, finufft, cufinufft, torchkbnufft"),
        (
            {"backend": "torchkbnufft", "matrix": (1, 2, 8)},
            "NUFFT back end torchkbnufft: cannot interpolate a grid of 2x8; give 3 voxels or more an axis, or use finufft",
        ),
        ({"eps": 0.0}, "NUFFT accuracy: is 0"),
        ({"eps": float("nan")}, "NUFFT accuracy: is nan"),
    ],
)
def test_bad_input(changes, message):
    arguments = {"traj": torch.zeros(1, 2, 4, 2), "matrix": (1, 8, 8), "n_coils": 1, **changes}
    with pytest.raises(InputError, match=message):
        Nufft(**arguments)


def test_pi_rounded_to_single_precision_is_accepted():
    traj = torch.full((1, 1, 2, 2), -np.pi, dtype=torch.float32)
    assert float(traj.abs().max()) > np.pi
    Nufft(traj, (1, 8, 8), 1)


@pytest.mark.parametrize("backend", ["finufft", "torchkbnufft"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2, 1, 1, 6, 6), r"got a tensor of shape \(2, 1, 1, 6, 6\); give its domain \(1, 2, 1, 6, 6\)"),
        (torch.zeros(1, 2, 1, 6, 6), "got values of type torch.float32; give complex64 or complex128"),
        (
            torch.zeros(1, 2, 1, 6, 6, dtype=torch.complex64, device="meta"),
            "lies on cpu and got a tensor on meta; move one of them",
        ),
    ],
)
def test_operands_must_fit(backend, value, message):
    operator = Nufft(torch.zeros(1, 3, 5, 2), (1, 6, 6), 2, backend=backend)
    for normal in (operator, operator.gram):
        with pytest.raises(InputError, match=message):
            normal(value)


def test_weights_must_fit():
    operator = Nufft(torch.zeros(2, 3, 5, 2), (1, 6, 6), 2)
    for function in (operator.weighted_gram, lambda w: operator.subspace_gram(torch.ones(2, 1), w)):
        with pytest.raises(InputError, match=r"mask: has shape \(2, 1, 3, 4\); give one that broadcasts to \(2, 2, 3, 5\)"):
            function(torch.ones(2, 1, 3, 4))


@pytest.mark.property
@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    contrasts=st.integers(1, 3),
    coils=st.integers(1, 4),
    matrix=st.tuples(st.integers(1, 12), st.integers(2, 40), st.integers(2, 40)),
    layout=st.sampled_from(["even", "centre", "spokes", "one point"]),
    spokes=st.integers(1, 6),
    samples=st.integers(1, 40),
)
def test_single_precision_is_as_accurate_as_asked_and_back_ends_agree(seed, contrasts, coils, matrix, layout, spokes, samples):
    """Issue bar: below 2e-5 in float32 at eps 1e-6, against the exact sums, for any shape and trajectory."""
    rng = np.random.default_rng(seed)
    dim = 2 if matrix[0] == 1 else 3
    traj = arranged(rng, layout, (contrasts, spokes, samples, dim))
    operator = Nufft(traj, matrix, coils, eps=1e-6)
    matrices = exact(traj, matrix)
    x, y = gaussian(rng, operator.domain), gaussian(rng, operator.codomain)
    there = np.einsum("pjr,pcr->pcj", matrices, x.reshape(contrasts, coils, -1)).reshape(operator.codomain)
    back = np.einsum("pjr,pcj->pcr", matrices.conj(), y.reshape(contrasts, coils, -1)).reshape(operator.domain)
    single_x, single_y = torch.as_tensor(x, dtype=torch.complex64), torch.as_tensor(y, dtype=torch.complex64)
    for function, value, expected, source in ((operator, single_x, there, x), (operator.adjoint, single_y, back, y)):
        # Relative to what a transform of this input amounts to; a few samples may cancel to nearly nothing.
        size = np.linalg.norm(source) * math.sqrt(math.prod(operator.codomain[2:]) / math.prod(matrix))
        assert np.linalg.norm(function(value).numpy() - expected) < 2e-5 * max(size, float(np.linalg.norm(expected)))
    # The table of torchkbnufft is good to 1e-3 of the whole.
    if min(matrix[-dim:]) >= 3:
        other = Nufft(traj, matrix, coils, backend="torchkbnufft")
        size = np.linalg.norm(x) * math.sqrt(math.prod(operator.codomain[2:]) / math.prod(matrix))
        assert (operator(single_x) - other(single_x)).norm() < 5e-3 * size


def arranged(rng, layout, shape):
    if layout == "spokes":
        radius = np.linspace(-np.pi, np.pi, shape[2], endpoint=False)
        direction = rng.standard_normal((*shape[:2], 1, shape[3]))
        points = radius[:, None] * direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    elif layout == "one point":
        points = np.broadcast_to(rng.uniform(-np.pi, np.pi, (shape[0], 1, 1, shape[3])), shape)
    else:
        points = rng.uniform(-np.pi, np.pi, shape) * (1 if layout == "even" else 0.05)
    return torch.as_tensor(np.array(points), dtype=torch.float32)


def test_the_back_end_follows_the_device_and_what_is_installed(monkeypatch):
    cuda, other = torch.device("cuda", 0), torch.device("meta")
    assert choose_backend("auto", torch.device("cpu")) == "finufft"
    assert choose_backend("auto", other) == "torchkbnufft"
    for installed, expected in ((True, "cufinufft"), (False, "torchkbnufft")):
        monkeypatch.setattr(choice, "has_cufinufft", lambda installed=installed: installed)
        assert choose_backend("auto", cuda) == expected
        assert choose_backend("finufft", cuda) == "finufft"
    with pytest.raises(MissingExtraError, match=r"cufinufft.*is not installed; run: pip install 'puq-qmri\[cuda\]'"):
        choose_backend("cufinufft", cuda)


def test_cufinufft_needs_a_cuda_device():
    with pytest.raises(
        InputError, match=r"NUFFT back end cufinufft: got a trajectory on cpu; use a CUDA device \(--device cuda\), or .* finufft"
    ):
        Nufft(torch.zeros(1, 2, 4, 2), (1, 8, 8), 1, backend="cufinufft")


def test_cufinufft_is_there_only_where_it_can_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "cufinufft", None)
    has_cufinufft.cache_clear()
    assert not has_cufinufft()
    has_cufinufft.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize(("contrasts", "coils", "matrix"), CASES, ids=str)
@pytest.mark.parametrize(("dtype", "error"), [(torch.complex64, 2e-5), (torch.complex128, 2e-6)])
def test_cufinufft_agrees_with_finufft(rng, contrasts, coils, matrix, dtype, error):
    pytest.importorskip("cufinufft")
    traj = points(rng, contrasts, matrix)
    here, there = Nufft(traj, matrix, coils), Nufft(traj.to("cuda"), matrix, coils)
    assert there.backend == "cufinufft"
    x, y = (torch.as_tensor(gaussian(rng, s), dtype=dtype) for s in (here.domain, here.codomain))
    weights = torch.as_tensor(rng.random((contrasts, 1, *here.codomain[2:])))
    basis = torch.as_tensor(rng.standard_normal((contrasts, 2)))
    pairs = [
        (here, there, x),
        (here.adjoint, there.adjoint, y),
        (here.weighted_gram(weights), there.weighted_gram(weights.to("cuda")), x),
        (
            here.subspace_gram(basis),
            there.subspace_gram(basis.to("cuda")),
            torch.as_tensor(gaussian(rng, (2, *x.shape[1:])), dtype=dtype),
        ),
    ]
    for ours, theirs, value in pairs:
        result = theirs(value.to("cuda"))
        assert (result.device.type, result.dtype) == ("cuda", dtype)
        assert relative(result.cpu(), ours(value).numpy()) < error
    check_linear_operator(there, tolerance=10 * error, dtype=dtype, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("matrix", [(1, 4, 5), (2, 3, 4)], ids=str)
def test_gradients_of_cufinufft_are_exact(rng, matrix):
    pytest.importorskip("cufinufft")
    traj = (0.9 * points(rng, 2, matrix, spokes=1, samples=3)).to("cuda").requires_grad_()
    x = torch.as_tensor(gaussian(rng, (2, 2, *matrix)), device="cuda").requires_grad_()
    y = torch.as_tensor(gaussian(rng, (2, 2, 1, 3)), device="cuda").requires_grad_()
    # Sums on a GPU have no fixed order.
    close = {"atol": 1e-6, "rtol": 1e-6, "nondet_tol": 1e-9}
    assert torch.autograd.gradcheck(lambda i, t: Nufft(t, matrix, 2, eps=1e-12)(i), (x, traj), **close)
    assert torch.autograd.gradcheck(lambda s, t: Nufft(t, matrix, 2, eps=1e-12).adjoint(s), (y, traj), **close)


@pytest.mark.gpu
def test_cufinufft_keeps_to_the_current_stream(rng):
    pytest.importorskip("cufinufft")
    operator = Nufft(points(rng, 2, SQUARE).to("cuda"), SQUARE, 2)
    x = torch.as_tensor(gaussian(rng, operator.domain), device="cuda")
    expected = operator(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        late = operator(x * 2)
    stream.synchronize()
    np.testing.assert_allclose(late.cpu(), 2 * expected.cpu(), rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
def test_stays_on_the_gpu_and_is_exact(rng):
    traj = points(rng, 2, ODD).to("cuda")
    for backend, error in (("torchkbnufft", 3e-3), ("finufft", 5e-6)):
        operator = Nufft(traj, ODD, 2, backend=backend)
        x = torch.as_tensor(gaussian(rng, operator.domain), dtype=torch.complex64, device="cuda")
        there = np.einsum("pjr,pcr->pcj", exact(traj.cpu(), ODD), x.cpu().reshape(2, 2, -1)).reshape(operator.codomain)
        result = operator(x)
        assert result.device.type == "cuda"
        assert relative(result.cpu(), there) < error
        check_linear_operator(operator, tolerance=1e-4, gram_tolerance=error, dtype=torch.complex64, device="cuda")
