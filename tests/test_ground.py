"""The ground floor: arrays, seeds, progress, files, warnings and the face of results."""

from __future__ import annotations

import io
import json
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from fastgen import _arrays, _files, _progress, _random, _results, _warnings
from fastgen._dispatch import threads
from fastgen.metrics import CovarianceFactor
from fastgen.mixture import NonparametricMixture, select_components

# --- arrays --------------------------------------------------------------------------------------


class LikeCuPy:
    """What a CuPy array shows of itself."""

    __cuda_array_interface__ = None

    def get(self):
        return np.ones(2)


def test_library_of_host_arrays():
    assert _arrays.library() == "numpy"
    assert _arrays.library(1.0, [1, 2], np.ones(2), None, CovarianceFactor(np.eye(2))) == "numpy"
    assert _arrays.library(np.ones(2), [CovarianceFactor(LikeCuPy())]) == "cupy"
    assert _arrays.on_device(LikeCuPy())
    assert not _arrays.on_device(np.ones(2))
    np.testing.assert_array_equal(_arrays.to_host(LikeCuPy()), [1, 1])
    assert _arrays.to_host("text") == "text"


def test_library_of_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.ones(2, requires_grad=True)
    assert _arrays.library(np.ones(2), [tensor]) == "torch"
    assert not _arrays.on_device(tensor)
    assert not _arrays.detached(tensor).requires_grad
    np.testing.assert_array_equal(_arrays.to_numpy(tensor), [1, 1])
    half = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    np.testing.assert_array_equal(_arrays.to_host(half), np.array([1.5, -2.0], np.float32))
    with pytest.raises(TypeError, match="must all be torch tensors or all CuPy arrays"):
        _arrays.library(tensor, LikeCuPy())


def test_a_missing_device_is_named():
    if "cupy" in sys.modules:
        pytest.skip("CuPy is installed")
    with pytest.raises((ImportError, RuntimeError), match="fit on the device needs"):
        _arrays.require_device("fit on the device")


def test_what_an_array_is():
    class Shown:
        __cuda_array_interface__ = ()

    class Read:
        def __array__(self, dtype=None, copy=None):
            return np.zeros(2)

    assert all(map(_arrays.is_array, (np.zeros(2), np.float64(1), Shown(), Read())))
    assert not any(map(_arrays.is_array, ([1.0], 2, "text", None, object())))


# --- seeds ---------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_numbers():
    for seed in (0, 7, np.int64(3)):
        first, second = (_random.generator(seed).random(3) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, np.random.default_rng(int(seed)).random(3))
    for kind in (np.random.default_rng, np.random.RandomState):
        first, second = (_random.seed_sequence(kind(5)).entropy for _ in range(2))
        assert first == second
    generator = np.random.default_rng(0)
    assert _random.generator(generator) is generator
    assert _random.seed_sequence(None).entropy != _random.seed_sequence(None).entropy


def test_a_seed_sequence_gives_the_same_answer_every_time():
    X = np.random.default_rng(0).standard_normal((60, 2))
    seed = np.random.SeedSequence(9, spawn_key=(2,))
    fits = [
        NonparametricMixture(3, random_state=given, max_iter=3, tol=9.0).fit(X)
        for given in (seed, seed, np.random.SeedSequence(9, spawn_key=(2,)))
    ]
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.posteriors_, fits[0].posteriors_)
    scores = [select_components(X, [1, 2], random_state=seed).score for _ in range(2)]
    np.testing.assert_array_equal(*scores)
    assert seed.n_children_spawned == 0
    seed.spawn(4)
    draws = [_random.generator(seed).spawn(2)[1].random() for _ in range(2)]
    assert draws[0] == draws[1]


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (1.5, TypeError), ("1", TypeError)])
def test_wrong_seeds_are_named(seed, error):
    for function in (_random.generator, _random.seed_sequence):
        with pytest.raises(error, match="random_state"):
            function(seed)


@given(st.integers(0, 2**128) | st.lists(st.integers(0, 2**64), min_size=2, max_size=8))
def test_entropy_survives_text(entropy):
    assert _random.from_text(_random.to_text(entropy)) == entropy


# --- progress ------------------------------------------------------------------------------------


def test_a_callable_counts_from_what_was_done():
    seen = []
    with _progress.reporter(lambda *a: seen.append(a), unit="trial", total=5, done=2) as report:
        report()
        report(2)
    assert seen == [(3, 5), (5, 5)]
    with _progress.reporter(seen.append, unit="iteration") as report:
        report()
    assert seen[-1] == 1


def test_a_callable_counts_right_from_threads():
    seen = []
    with _progress.reporter(lambda done: seen.append(done), unit="trial") as report:
        threads = [threading.Thread(target=lambda: [report() for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == list(range(1, 201))


def test_bars_appear_where_they_are_wanted(monkeypatch):
    for progress, options, drawn in (
        (True, {}, True),
        (False, {}, False),
        (None, {}, False),  # no terminal
        (None, {"silent": True}, False),
        (True, {"silent": True}, True),
    ):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        with _progress.reporter(progress, unit="image", total=2, title="real", **options) as report:
            report(2)
        assert ("real" in stream.getvalue()) == drawn, (progress, options)


def test_notes_stand_behind_the_bar_and_are_free_where_there_is_none(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    for progress in (True, False, lambda *amounts: None):
        with _progress.reporter(progress, unit="step", total=2) as report:
            report.note("loss=0.5")
            report(2)
    assert stream.getvalue().count("\n") == 1
    assert "loss=0.5" in stream.getvalue()


# --- files ---------------------------------------------------------------------------------------


def damaged_copies(whole: bytes, count: int = 60):
    rng = np.random.default_rng(0)
    for _ in range(count):
        copy = bytearray(whole)
        for at in rng.integers(8, len(copy), size=4):
            copy[at] = rng.integers(256)
        yield bytes(copy)
        yield whole[: rng.integers(8, len(whole))]


@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
def test_damage_is_refused_by_name(tmp_path, kind):
    whole = io.BytesIO()
    array = np.arange(24.0).reshape(4, 6)
    if kind == "npy":
        np.save(whole, array)
    else:
        save = np.savez if kind == "npz" else np.savez_compressed
        save(whole, a=array, b=np.arange(3))
    read = _files.read_npy if kind == "npy" else _files.read_npz
    path = tmp_path / f"file.{kind[:3]}"
    refused = []
    for content in damaged_copies(whole.getvalue()):
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of NumPy, about headers
                read(path)
        except (ValueError, OSError) as error:
            refused.append(str(error))
    assert len(refused) > 30
    assert all(str(path) in message for message in refused)


def test_what_is_no_array_is_refused(tmp_path):
    import zipfile

    pickled = np.array([{}], dtype=object)
    np.save(tmp_path / "a.npy", pickled)
    np.savez(tmp_path / "a.npz", a=pickled)
    for read, name in ((_files.read_npy, "a.npy"), (_files.read_npz, "a.npz")):
        with pytest.raises(ValueError, match="pickled Python objects"):
            read(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="must hold arrays only, got 'readme"):
        _files.read_npz(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npy.npz", a=np.ones(2))
    (tmp_path / "c.npy.npz").rename(tmp_path / "c.npy")
    with pytest.raises(ValueError, match=r"not a \.npy file"):
        _files.read_npy(tmp_path / "c.npy")
    with pytest.raises(FileNotFoundError):
        _files.read_npz(tmp_path / "missing.npz")


def test_shapes_beyond_the_platform_are_refused(tmp_path):
    for shape in [(10**30,), (2**62, 2**62), (2**63,)]:
        with open(tmp_path / "a.npy", "wb") as file:
            header = {"descr": "<f8", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
        with pytest.raises(ValueError, match=r"a\.npy is damaged"):
            _files.read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("method", ["ZIP_STORED", "ZIP_LZMA"])
@pytest.mark.parametrize(
    ("name", "content"), [("a/", b""), ("a.npy", b""), ("a.npy", b"garbage"), ("a", b"x" * 99)]
)
def test_members_that_are_no_arrays_are_refused(tmp_path, method, name, content):
    import zipfile

    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", getattr(zipfile, method)) as archive:
        archive.writestr(name, content)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"a\.npz (is damaged|must hold arrays only)"):
            _files.read_npz(path)
        whole = bytearray(path.read_bytes())
        whole[8:10] = b"c\x00"  # a way of compression that there is not
        path.write_bytes(whole)


def test_members_are_read_one_by_one(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.arange(3), b=np.eye(2))
    with _files.open_npz(tmp_path / "two.npz") as archive:
        assert archive.names == ["a", "b"]
        np.testing.assert_array_equal(archive.read("b"), np.eye(2))


# --- threads of BLAS ------------------------------------------------------------------------------


def test_calls_that_overlap_leave_the_threads_of_blas():
    pools = threads.thread_pools()

    def number():
        return [each["num_threads"] for each in pools.info() if each["user_api"] == "blas"]

    with pools.limit(limits=2, user_api="blas"):
        before = number()
        assert before
        first, second = threads.single_blas_thread(), threads.single_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(number()) == {1}
        second.__exit__(None, None, None)
        assert number() == before


# --- warnings ------------------------------------------------------------------------------------


def test_filters_are_as_they_were_after_threads():
    X = np.random.default_rng(0).standard_normal((40, 2))
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        for found in [
            pool.submit(select_components, X, [1, 2], n_jobs=2, n_splits=2, max_iter=1)
            for _ in range(8)
        ]:
            assert not found.result().converged.all()
    assert warnings.filters == before
    with pytest.warns(ConvergenceWarning):
        NonparametricMixture(2, max_iter=1, random_state=0).fit(X)


def test_only_some_warnings_are_silenced():
    with _warnings.silenced(RuntimeWarning):
        _warnings.warn("not heard", RuntimeWarning)
        with pytest.warns(UserWarning, match="heard"):
            _warnings.warn("heard")
        with _warnings.silenced(UserWarning):
            _warnings.warn("not heard")
            _warnings.warn("not heard", RuntimeWarning)
        with pytest.warns(UserWarning, match="heard"):
            _warnings.warn("heard")


def test_a_warning_points_here():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _warnings.warn("look", RuntimeWarning)
    assert [w.filename for w in caught] == [__file__]
    assert caught[0].category is RuntimeWarning


# --- results -------------------------------------------------------------------------------------


class Found(_results.Result):
    def to_dict(self):
        return _results.plain(
            {"distance": np.float64(1.5), "n": np.int64(3), "bad": np.nan, "<x>": np.ones((9, 2))}
        )


def test_results_are_json_and_html():
    found = Found()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["bad"] is None
    assert repr(found).startswith("Found(")
    assert "array(" not in repr(found)
    shown = found._repr_html_()
    assert "1.5" in shown
    assert "&lt;x&gt;" in shown
    assert "9 values" in shown
    assert "<x>" not in shown
