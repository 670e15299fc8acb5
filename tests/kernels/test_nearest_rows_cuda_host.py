"""Nearest rows on CUDA: the kernels by the shim, the array code with NumPy in CuPy's place."""

from __future__ import annotations

import re
from unittest import mock

import numpy as np
import pytest
from oracles import nearest_rows as naive_rows
from shim import compiler, host, strict

from fastgen import _arrays
from fastgen import neighbors as door
from fastgen.kernels.cuda import _load, nearest_rows

BARRIER = "__syncthreads();"
FREE = np.float32(1e30)
SCALAR = {np.float32: "float", np.float64: "double"}
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


class OnDevice:
    """What CuPy arrays and CUDA tensors look like from outside."""

    def __init__(self, array):
        self.array = np.asarray(array)
        self.shape = self.array.shape
        self.__cuda_array_interface__ = {}

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        return OnDevice(self.array[index])


class Tensor:
    """A tensor that requires gradients, which has to be detached before anything reads it."""

    requires_grad = is_cuda = True

    def __init__(self, array):
        self.array = array
        self.shape = array.shape

    @property
    def __cuda_array_interface__(self):
        raise RuntimeError("a tensor that requires grad")

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        return Tensor(self.array[index])

    def detach(self):
        return OnDevice(self.array)


class Library(strict.StrictModule):
    """The functions of CuPy that nearest rows need, on arrays that meet only their kind."""

    def __init__(self):
        super().__init__()
        for name in "argsort argwhere flatnonzero matmul sort square".split():
            setattr(self, name, strict.strict(getattr(np, name)))
        self.empty = strict.strict(
            lambda shape, dtype: np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 7, dtype)
        )


@pytest.fixture(autouse=True)
def on_host(request):
    if "gpu" in request.keywords:
        yield
        return
    with (
        host.numpy_as_cupy(),
        mock.patch.object(_load, "require_device", return_value=Library()),
        mock.patch.object(_arrays, "require_device", return_value=Library()),
    ):
        yield


@pytest.fixture(params=["tiles", "products"])
def route(request, monkeypatch):
    columns = 1_000_000 if request.param == "tiles" else 0
    monkeypatch.setattr(nearest_rows, "DIRECT_COLUMNS", columns)
    return getattr(nearest_rows, f"_screen_{request.param}")


@pytest.fixture
def redone(monkeypatch):
    """Numbers of queries that were done again in float64."""
    counts = []
    real = nearest_rows._renew_all
    monkeypatch.setattr(
        nearest_rows, "_renew_all", lambda xp, x, *rest: counts.append(len(x)) or real(xp, x, *rest)
    )
    return counts


def find(x, pool, n_neighbors=1):
    found = door.nearest_rows(OnDevice(x), pool, n_neighbors)
    assert all(isinstance(a, strict.DeviceArray) for a in found)
    assert found[0].dtype == np.float64
    assert found[1].dtype == np.int64
    return tuple(map(strict.to_host, found))


def check(x, pool, n_neighbors=1, rtol=1e-12):
    found = find(x, pool, n_neighbors)
    for distances, indices in (
        naive_rows.nearest_rows(x, pool, n_neighbors),
        door.nearest_rows(x, pool, n_neighbors),
    ):
        np.testing.assert_array_equal(found[1], indices)
        np.testing.assert_allclose(found[0], distances, rtol=rtol, atol=0)


def normal(n, m, d, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((m, d)).astype(dtype)


@dtypes
@pytest.mark.parametrize(
    ("n", "m", "d", "n_neighbors"),
    [(1, 1, 1, 1), (33, 31, 1, 3), (31, 33, 100, 1), (2, 150, 33, 3), (3, 33, 5, 25)],
)
def test_random_rows(route, redone, n, m, d, n_neighbors, dtype):
    check(*normal(n, m, d, dtype), n_neighbors)
    assert redone == ([n] if m <= n_neighbors + nearest_rows._MARGIN else [])


@pytest.mark.parametrize("m", [6, 40])
def test_all_rows_of_the_pool_are_wanted(route, redone, m):
    check(*normal(3, m, 4, np.float32), m)
    assert redone == [3]


@dtypes
def test_ties_and_duplicates(route, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (20, 5)).astype(dtype)
    pool = np.vstack([x, rng.integers(0, 2, (40, 5)), x[::-1]]).astype(dtype)
    check(x, pool, 3, rtol=0)


def test_ties_that_the_screen_puts_in_another_order(route, redone):
    rng = np.random.default_rng(0)
    near = rng.permuted(np.tile(rng.integers(0, 4096, 20), (8, 1)), axis=1)
    x, pool = np.zeros((1, 20), np.float32), np.vstack([near, np.full((30, 20), 10_000)])
    check(x, pool.astype(np.float32), 3, rtol=0)
    assert redone == []


def test_a_constant_pool_and_a_far_row(route):
    pool = np.ones((70, 30))
    pool[7] = 1e8
    check(np.vstack([np.zeros(30), np.full(30, 1e8)]), pool, 3)


def near_tie(m=300, d=20):
    """A query whose distances to all rows differ by less than float32 resolves, the last nearest.

    The rows are permutations of one row but for a small last coordinate.
    """
    rng = np.random.default_rng(0)
    pool = np.empty((m, d + 1), np.float32)
    pool[:, :d] = rng.permuted(np.tile(rng.standard_normal(d) / np.sqrt(d), (m, 1)), axis=1)
    pool[:, d] = np.arange(m, 0, -1) * 1e-6
    return np.zeros((1, d + 1), np.float32), pool


def test_a_near_tie_beyond_float32_is_resolved(route, redone, monkeypatch):
    x, pool = near_tie()
    distances, indices = naive_rows.nearest_rows(x, pool, len(pool))
    assert np.ptp(distances) < np.finfo(np.float32).eps * distances[0, 0]
    np.testing.assert_array_equal(indices[0], np.arange(len(pool))[::-1])
    check(x, pool, 3)
    assert redone == [1]
    monkeypatch.setattr(nearest_rows, "_certified", lambda left_out, *rest: left_out > -1)
    assert (find(x, pool, 3)[1] != indices[:, :3]).any()


def test_only_uncertain_queries_are_done_again(route, redone):
    x, pool = near_tie()
    x = np.vstack([x, 3 * np.eye(21, dtype=np.float32)[2:5], x])
    pool = np.vstack([pool, x[1:4]])
    check(x, pool)
    assert redone == [2]


@dtypes
@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e140])
def test_any_scale(route, redone, scale, dtype):
    scale = dtype(min(max(scale, 1e-40), 1e37)) if dtype is np.float32 else scale
    x, pool = normal(5, 70, 12, dtype)
    check(x * scale, pool * scale, 2)
    assert redone == []


@dtypes
@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize(("d", "n_different"), [(1, 9), (35, 9), (35, 1)])
def test_the_bound_on_what_is_left_out(route, d, n_different, offset, dtype):
    x, pool = (np.asarray(a + offset, dtype) for a in normal(30, n_different, d, dtype, seed=d))
    pool, scale = np.repeat(pool, 10, axis=0), 2.0**-15
    columns, bound = map(
        strict.to_host, route(Library(), *map(strict.to_device, (x, pool)), scale, 8)
    )
    wide = x.astype(np.longdouble), pool.astype(np.longdouble)
    exact = ((wide[0][:, None] - wide[1]) ** 2).sum(2) * scale**2
    left_out = np.array([np.delete(a, c) for a, c in zip(exact, columns, strict=True)])
    # the row of a listed copy is left out too: half of the bounds would fail but for their margin
    assert (bound <= left_out.min(1)).all()
    if not offset and d > 1:
        assert (columns // 10 == exact.argmin(1)[:, None] // 10).all()
        assert (bound >= (1 - 1e-4) * exact.min(1)).all()


def test_the_bound_on_products_knows_the_longest_row_of_all_pieces(monkeypatch):
    a, b = np.random.default_rng(0).standard_normal((2, 5))
    x = a + 0.01 * np.random.default_rng(1).standard_normal((30, 5))
    pool = np.vstack([np.tile(a, (10, 1)), np.tile(b, (290, 1))])
    monkeypatch.setattr(nearest_rows, "_CHUNK", 10 * 5)
    given = map(strict.to_device, (x, pool))
    bound = nearest_rows._screen_products(Library(), *given, 2.0**-5, 8)[1]
    assert (strict.to_host(bound) <= ((x - a) ** 2).sum(1) * 2.0**-10).all()


def test_the_certificate_allows_for_float64():
    last = np.array([1.0, 1.0, 0.0, 0.0])
    bound = np.array([1 + 1e-15, 1 + 1e-14, 10 * 2.0**-1074, 1e-300])
    found = nearest_rows._certified(bound, last, 1.0, 10)
    np.testing.assert_array_equal(found, [False, True, False, True])
    # the squares of such differences underflow: 2^-1074 is what float64 makes of them
    assert not nearest_rows._certified(1e-24, 0.0, 2.0**500, 10)


def test_chunks_and_pieces_change_no_bit(route, monkeypatch):
    x, pool = normal(40, 300, 10, np.float32)
    expected = find(x, pool, 3)
    monkeypatch.setattr(nearest_rows, "_BLOCKS", 1)
    monkeypatch.setattr(nearest_rows, "_CHUNK", 700)
    monkeypatch.setattr(nearest_rows, "_PRODUCTS", 2000)
    for a, b in zip(find(x, pool, 3), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    with mock.patch.object(nearest_rows, "_MARGIN", 30):
        for a, b in zip(find(x[:9], pool, 3), expected, strict=True):
            np.testing.assert_array_equal(a, b[:9])


def test_blocks_of_the_pool_are_numbered_through(route, monkeypatch):
    x, pool = normal(4, 90, 6, np.float64)
    expected = find(x, OnDevice(pool), 4)
    for a, b in zip(
        find(x, iter([pool[:2], OnDevice(pool[2:70]), pool[70:]]), 4), expected, strict=True
    ):
        np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(door, "_POOL_ROWS", 25)
    for a, b in zip(find(x, OnDevice(pool), 4), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_dtypes_meet_as_on_the_cpu():
    x, pool = normal(3, 40, 5, np.float64)
    check(x.astype(np.float16), pool)
    check((x * 5).astype(np.int8), (pool * 5).astype(np.int64), 2, rtol=0)


def test_a_tensor_that_requires_gradients():
    x, pool = normal(3, 40, 5, np.float32)
    found = door.nearest_rows(Tensor(x), Tensor(pool))
    np.testing.assert_array_equal(strict.to_host(found[1]), naive_rows.nearest_rows(x, pool)[1])


def test_a_pool_on_a_device_is_brought_to_rows_of_the_host():
    x, pool = normal(3, 40, 5, np.float32)
    with mock.patch.object(OnDevice, "get", lambda self: self.array, create=True):
        found = door.nearest_rows(x, OnDevice(pool))
    assert all(type(a) is np.ndarray for a in found)
    np.testing.assert_array_equal(found[1], naive_rows.nearest_rows(x, pool)[1])


def test_the_route_is_chosen_by_columns_and_precision(monkeypatch):
    taken = []
    for name in ("tiles", "products"):
        real = getattr(nearest_rows, f"_screen_{name}")
        monkeypatch.setattr(
            nearest_rows, f"_screen_{name}", lambda *a, n=name, f=real: taken.append(n) or f(*a)
        )
    limit = nearest_rows.DIRECT_COLUMNS
    monkeypatch.delenv("CUPY_TF32", raising=False)
    find(np.ones((1, limit)), np.ones((20, limit)))
    find(np.ones((1, limit + 1)), np.ones((20, limit + 1)))
    monkeypatch.setenv("CUPY_TF32", "1")
    find(np.ones((1, limit + 1)), np.ones((20, limit + 1)))
    assert taken == ["tiles", "products", "tiles"]


GOOD = np.ones((3, 2))


@pytest.mark.parametrize(
    ("x", "pool", "count", "error", "message"),
    [
        (np.array([[1.0, np.nan]]), GOOD, 1, ValueError, "X must be finite, got nan at row 0, col"),
        (GOOD, np.array([[np.inf, 1.0]]), 1, ValueError, "pool must be finite, got inf"),
        (np.ones(3), GOOD, 1, ValueError, r"X must be two-dimensional .* got shape \(3,\)"),
        (np.ones((0, 2)), GOOD, 1, ValueError, "X must have rows and columns"),
        (GOOD, np.ones((3, 4)), 1, ValueError, "same number of columns, got 2 and 4"),
        (GOOD, GOOD, 4, ValueError, "n_neighbors must be at most the 3 rows of pool, got 4"),
        (GOOD.astype(complex), GOOD, 1, TypeError, "X must hold real numbers, got dtype complex"),
        (GOOD * 1e200, GOOD, 1, ValueError, "shorter than 1e"),
    ],
)
def test_bad_input(x, pool, count, error, message):
    with pytest.raises(error, match=message):
        door.nearest_rows(OnDevice(x), OnDevice(pool), count)


def test_without_a_device_the_door_says_so():
    with (
        mock.patch.object(_arrays, "require_device", side_effect=RuntimeError("no CUDA device")),
        pytest.raises(RuntimeError, match="no CUDA device"),
    ):
        door.nearest_rows(OnDevice(GOOD), GOOD)


def tiles(x, pool, keep, n_chunks, scale=0.5):
    sizes = np.int64(len(x)), np.int64(len(pool)), np.int32(x.shape[1]), x.dtype.type(scale)
    values = np.full((len(x), n_chunks, keep), np.nan, x.dtype)
    columns = np.full(values.shape, 7, np.int32)
    return [x, pool, *sizes, np.int32(keep), np.int32(n_chunks), values, columns]


def products(n, m, keep, first):
    rng = np.random.default_rng(0)
    values = np.full((n, keep), np.float64(FREE))
    columns = np.full((n, keep), -1, np.int32)
    scores, halves = rng.standard_normal((n, m)).astype(np.float32), rng.standard_normal(m)
    sizes = np.int64(n), np.int32(m), np.int32(first), np.int32(keep)
    return [scores, halves, *sizes, values, columns]


@dtypes
@pytest.mark.parametrize("grid", [1, 3])
def test_tiles_and_their_merge(grid, dtype):
    x, pool = normal(35, 140, 18, dtype)
    given = tiles(x, pool, 5, 2)
    host.launch("nearest_rows", f"screen_tiles<{SCALAR[dtype]}>", grid, 128, given)
    for chunk, part in enumerate((pool[:128], pool[128:])):
        distances, indices = naive_rows.nearest_rows(x, part, 5)
        np.testing.assert_allclose(given[-2][:, chunk], distances / 4, rtol=1e-5)
        np.testing.assert_array_equal(given[-1][:, chunk], indices + 128 * chunk)
    merged = np.full((35, 5), np.nan, dtype), np.full((35, 5), 7, np.int32)
    sizes = np.int64(35), np.int32(2), np.int32(5)
    arguments = (*given[-2:], *sizes, *merged)
    host.launch("nearest_rows", f"merge_lists<{SCALAR[dtype]}>", grid, 128, arguments)
    distances, indices = naive_rows.nearest_rows(x, pool, 5)
    np.testing.assert_allclose(merged[0], distances / 4, rtol=1e-5)
    np.testing.assert_array_equal(merged[1], indices)


def test_tiles_leave_free_places():
    given = tiles(np.zeros((2, 3)), np.ones((2, 3)), 4, 3)
    host.launch("nearest_rows", "screen_tiles<double>", 2, 128, given)
    np.testing.assert_array_equal(given[-1][:, 0], [[0, 1, -1, -1]] * 2)
    assert (given[-1][:, 1:] == -1).all()
    np.testing.assert_array_equal(given[-2][:, 0], [[0.75, 0.75, FREE, FREE]] * 2)


def test_selection_of_products_renews_lists():
    given = products(3, 600, 4, 100)
    given[-2][:, 0], given[-1][:, 0] = -3.0, 5
    host.launch("nearest_rows", "select_products<float>", 2, 128, given)
    wanted = np.hstack([np.full((3, 1), -3.0), given[1] - given[0].astype(float)])
    order = np.argsort(wanted, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(given[-2], np.take_along_axis(wanted, order, 1))
    np.testing.assert_array_equal(given[-1], np.where(order == 0, 5, order + 99))


@dtypes
def test_distances_of_listed_pairs(dtype):
    x, pool = normal(3, 9, 7, dtype)
    wanted = ((x[:, None].astype(float) - pool) ** 2).sum(2)
    listed = np.array([[8, 0, 2], [4, 4, 4], [6, 1, 2]], np.int32)
    for columns, stride in ((listed, 3), (listed[0], 0)):
        out = np.full((3, 3), np.nan)
        sizes = np.int64(3), np.int32(3), np.int32(stride), np.int32(7)
        expression = f"squared_distances<{SCALAR[dtype]}>"
        host.launch("nearest_rows", expression, 1, 128, (x, pool, columns, *sizes, out))
        which = np.broadcast_to(columns, (3, 3)).astype(int)
        expected = np.take_along_axis(wanted, which, 1)
        np.testing.assert_allclose(out, expected, rtol=1e-14)


def test_the_launchers_know_the_constants_of_the_header():
    header = _load.headers()["include/nearest_rows.cuh"]
    found = dict(re.findall(r"constexpr \w+ ([A-Z]+) = (\w+);", header))
    names = "CAPACITY", "QUERIES", "ROWS", "DEPTH"
    here = nearest_rows.CAPACITY, nearest_rows._QUERIES, nearest_rows._ROWS, nearest_rows._DEPTH
    assert [int(found[name]) for name in names] == list(here)


@pytest.mark.parametrize("arch", compiler.ARCHITECTURES)
def test_compiles_without_warnings_or_spills(arch):
    expressions = _load.instantiations("nearest_rows")
    options = ["--ptxas-options=-v"]
    source = _load.sources()["nearest_rows"]
    result = compiler.compile_cuda(source, expressions, arch, options)
    assert result.status == 0
    assert "warning" not in result.log
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", result.log)
    assert len(spills) == len(expressions) == 7
    assert set(spills) == {("0", "0")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expression", "first", "given"),
    [
        ("screen_tiles<float>", 0, tiles(*normal(33, 130, 18, np.float32), 3, 1)),
        ("select_products<float>", 3, products(2, 600, 3, 0)),
    ],
)
def test_missing_barriers_are_races(expression, first, given):
    pieces = _load.sources()["nearest_rows"].split(BARRIER)
    assert len(pieces) == 7
    arguments = "nearest_rows", expression, 1, 128, given
    assert host.thread_sanitizer(*arguments) == ""
    for which in range(first, first + 3):
        mutant = BARRIER.join(pieces[: which + 1]) + ";" + BARRIER.join(pieces[which + 1 :])
        assert "data race" in host.thread_sanitizer(*arguments, text=mutant), which


@pytest.mark.gpu
@dtypes
@pytest.mark.parametrize(("n", "m", "d", "n_neighbors"), [(1, 1, 1, 1), (3000, 70_000, 20, 3)])
def test_on_the_device(route, n, m, d, n_neighbors, dtype):
    cupy = host.require_device()
    x, pool = normal(n, m, d, dtype)
    pool[m // 2 :] = pool[: m - m // 2]
    expected = door.nearest_rows(x, pool, n_neighbors)
    for given in (pool, cupy.asarray(pool)):
        found = door.nearest_rows(cupy.asarray(x), given, n_neighbors)
        np.testing.assert_array_equal(cupy.asnumpy(found[1]), expected[1])
        np.testing.assert_allclose(cupy.asnumpy(found[0]), expected[0], rtol=1e-12)
    x, pool = near_tie()
    found = door.nearest_rows(cupy.asarray(x), cupy.asarray(pool), 3)
    np.testing.assert_array_equal(cupy.asnumpy(found[1]), door.nearest_rows(x, pool, 3)[1])


@pytest.mark.gpu
def test_tensors_on_the_device():
    cupy = host.require_device()
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    x, pool = normal(30, 500, 100, np.float32)
    tensors = torch.from_numpy(x).cuda().requires_grad_(), torch.from_numpy(pool).cuda()
    found = door.nearest_rows(*tensors, 2)
    assert all(isinstance(a, cupy.ndarray) for a in found)
    np.testing.assert_array_equal(cupy.asnumpy(found[1]), door.nearest_rows(x, pool, 2)[1])
