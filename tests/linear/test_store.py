"""Sweeps on disk: killed, resumed, refused."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import xarray
import zarr

from fastgen.linear import SpikedGaussian, sweep

SMALL = dict(latent_dims=range(1, 21), n_samples=8, n_trials=5, random_state=0)

# Long enough to be killed in the middle, whatever the machine.
LONG = dict(latent_dims=range(1, 121), n_samples=60, n_trials=300, random_state=3)
SCRIPT = """
import sys
from fastgen.linear import sweep
sweep(latent_dims=range(1, 121), n_samples=60, n_trials=300, random_state=3, n_jobs=2,
      store=sys.argv[1], progress=False)
"""


def finished(path):
    folder = path / "finished" / "c"
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def kill_after(path, n_trials):
    """Run the long sweep in a process of its own and kill it once n_trials more are on disk."""
    goal = finished(path) + n_trials
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)])
    deadline = time.monotonic() + 120
    while finished(path) < goal and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    return process.wait()


def test_killed_three_times_and_resumed_is_the_uninterrupted_run(tmp_path):
    path = tmp_path / "sweep.zarr"
    for n_trials in (1, 40, 17):
        assert kill_after(path, n_trials) == -signal.SIGKILL
        assert 0 < finished(path) < LONG["n_trials"]
    resumed = sweep(**LONG, store=path)
    whole = sweep(**LONG, store=tmp_path / "whole.zarr")
    plain = sweep(**LONG)
    xarray.testing.assert_equal(resumed, plain)
    xarray.testing.assert_equal(whole, plain)
    assert resumed.w2.values.tobytes() == plain.w2.values.tobytes()


def test_interrupted_sweep_keeps_its_trials(tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 3:
            raise Stop

    path = tmp_path / "sweep.zarr"
    with pytest.raises(Stop):
        sweep(**SMALL, store=path, progress=stop)
    seen = []
    resumed = sweep(**SMALL, store=path, progress=lambda done, total: seen.append(done))
    assert seen == [4, 5]  # the trial in whose report the stop came had not been written
    xarray.testing.assert_equal(resumed, sweep(**SMALL))


def test_a_trial_without_its_flag_is_computed_again(tmp_path):
    path = tmp_path / "sweep.zarr"
    sweep(**SMALL, store=path)
    group = zarr.open_group(path, mode="r+")
    group["finished"][2] = 0
    group["w2"][..., 2] = -1.0
    xarray.testing.assert_equal(sweep(**SMALL, store=path), sweep(**SMALL))


def test_a_finished_store_is_read_not_recomputed(tmp_path):
    path = tmp_path / "sweep.zarr"
    first = sweep(**SMALL, store=path)
    seen = []
    again = sweep(**SMALL, store=path, progress=lambda *counts: seen.append(counts))
    assert seen == []
    xarray.testing.assert_equal(again, first)


def test_a_random_seed_is_remembered_by_the_store(tmp_path):
    path = tmp_path / "sweep.zarr"
    arguments = {**SMALL, "random_state": None}
    first = sweep(**arguments, store=path)
    group = zarr.open_group(path, mode="r+")
    group["finished"][1:] = 0
    xarray.testing.assert_equal(sweep(**arguments, store=path), first)
    with pytest.raises(ValueError, match="was made with random_state="):
        sweep(**SMALL, store=path)


def test_a_seed_sequence_with_another_spawn_key_is_refused(tmp_path):
    path = tmp_path / "sweep.zarr"
    parent = np.random.SeedSequence(5)
    first, second = parent.spawn(2)
    sweep(**{**SMALL, "random_state": first}, store=path)
    with pytest.raises(ValueError, match="was made with random_state="):
        sweep(**{**SMALL, "random_state": second}, store=path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_samples", 9),
        ("n_supervised", 4),
        ("random_state", 1),
        ("problems", "unsupervised"),
        ("ridge", 0.2),
        ("rank", 2),
        ("weight", 3.0),
        ("tol", 1e-6),
        ("max_iter", 7),
        ("dtype", "float32"),
        ("data", SpikedGaussian(dim=32)),
        ("data", np.random.default_rng(0).standard_normal((40, 3))),
    ],
)
def test_other_arguments_are_refused_by_name(tmp_path, name, value):
    path = tmp_path / "sweep.zarr"
    sweep(**SMALL, store=path)
    before = zarr.open_group(path, mode="r")["w2"][:]
    with pytest.raises(ValueError, match=f"was made with {name}=") as caught:
        sweep(**{**SMALL, name: value}, store=path)
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(zarr.open_group(path, mode="r")["w2"][:], before)


def test_array_data_are_recognised_by_content(tmp_path):
    rows = np.random.default_rng(0).standard_normal((40, 3))
    path = tmp_path / "sweep.zarr"
    first = sweep(rows, **SMALL, store=path)
    xarray.testing.assert_equal(sweep(rows.copy(), **SMALL, store=path), first)
    rows[3, 1] += 1e-12
    with pytest.raises(ValueError, match="was made with data="):
        sweep(rows, **SMALL, store=path)


def test_a_store_of_another_version_is_resumed_with_a_warning(tmp_path):
    path = tmp_path / "sweep.zarr"
    sweep(**SMALL, store=path)
    group = zarr.open_group(path, mode="r+")
    group.attrs["fastgen_sweep"] = {**group.attrs["fastgen_sweep"], "version": "0.0.1"}
    with pytest.warns(UserWarning, match=r"was begun by fastgen 0\.0\.1"):
        sweep(**SMALL, store=path)


def test_other_things_are_never_overwritten(tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("years of work")
    foreign = tmp_path / "foreign.zarr"
    zarr.open_group(foreign, mode="w").create_array("x", shape=(3,), dtype="f8")
    file = tmp_path / "file"
    file.write_text("text")
    for path in (folder, foreign, file):
        with pytest.raises(ValueError, match="store must be a"):
            sweep(**SMALL, store=path)
    assert (folder / "chapter.txt").read_text() == "years of work"
    assert "x" in zarr.open_group(foreign, mode="r")


def test_an_empty_folder_is_a_new_path(tmp_path):
    xarray.testing.assert_equal(sweep(**SMALL, store=tmp_path), sweep(**SMALL))


def test_a_store_killed_while_being_made_is_made_again(tmp_path):
    path = tmp_path / "sweep.zarr"
    zarr.open_group(path, mode="w", attributes={"fastgen_sweep": "initialising"})
    xarray.testing.assert_equal(sweep(**SMALL, store=path), sweep(**SMALL))


def test_a_damaged_store_is_named(tmp_path):
    path = tmp_path / "sweep.zarr"
    sweep(**SMALL, store=path)
    (path / "w2" / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged: w2 cannot be read"):
        sweep(**SMALL, store=path)
    (path / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match="holds something else"):
        sweep(**SMALL, store=path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="cannot be written"):
        sweep(**SMALL, store=tmp_path / "sweep.zarr")


def test_a_path_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OSError, match="cannot be written"):
        sweep(**SMALL, store=tmp_path / "file" / "sweep.zarr")


def test_bad_arguments_leave_no_store(tmp_path):
    with pytest.raises(ValueError, match="n_supervised"):
        sweep(**{**SMALL, "n_supervised": 99}, store=tmp_path / "sweep.zarr")
    assert list(tmp_path.iterdir()) == []


def test_store_on_any_file_system():
    pytest.importorskip("fsspec")
    path = "memory://fastgen-test/sweep.zarr"
    first = sweep(**SMALL, store=path)
    seen = []
    again = sweep(**SMALL, store=path, progress=lambda *counts: seen.append(counts))
    assert seen == []
    xarray.testing.assert_equal(again, first)


def test_unfinished_trials_are_visible_to_xarray(tmp_path):
    path = tmp_path / "sweep.zarr"
    sweep(**SMALL, store=path)
    with xarray.open_zarr(path, consolidated=False) as opened:
        assert opened.w2.dims == ("problem", "n_supervised", "latent_dim", "trial")
        assert int(opened.finished.sum()) == 5


@pytest.mark.parametrize(
    "name", ["w2", "projection_error", "train_error", "gain", "converged", "n_iter"]
)
def test_a_trial_whose_chunk_was_lost_is_computed_again(tmp_path, name):
    path = tmp_path / "sweep.zarr"
    first = sweep(**SMALL, store=path)
    (chunk,) = (path / name / "c").glob("*/*/*/2")
    chunk.unlink()
    seen = []
    again = sweep(**SMALL, store=path, progress=lambda done, total: seen.append(done))
    assert seen == [5]
    xarray.testing.assert_equal(again, first)
    seen.clear()
    sweep(**SMALL, store=path, progress=lambda done, total: seen.append(done))
    assert seen == []


def test_a_damaged_chunk_is_named(tmp_path):
    path = tmp_path / "sweep.zarr"
    sweep(**SMALL, store=path)
    (chunk,) = (path / "w2" / "c").glob("*/*/*/2")
    chunk.write_bytes(b"no chunk")
    with pytest.raises(ValueError, match=r"sweep\.zarr is damaged: w2 cannot be read"):
        sweep(**SMALL, store=path)


def _attributes(path, change):
    text = json.loads((path / "zarr.json").read_text())
    change(text["attributes"])
    (path / "zarr.json").write_text(json.dumps(text))


@pytest.mark.parametrize("identity", ["x", [1], 7, True])
def test_a_store_without_arguments_is_damaged(tmp_path, identity):
    path = tmp_path / "sweep.zarr"
    sweep(**SMALL, store=path)
    _attributes(path, lambda a: a.update(fastgen_sweep=identity))
    with pytest.raises(ValueError, match=r"sweep\.zarr is damaged: its arguments cannot be read"):
        sweep(**SMALL, store=path)


@pytest.mark.parametrize("seed", [None, 3, "x", ["x", []], ["1"], ["1", ["y"]], [1, []]])
def test_a_store_without_its_seed_is_damaged(tmp_path, seed):
    path = tmp_path / "sweep.zarr"
    sweep(**SMALL, store=path)
    _attributes(path, lambda a: a["fastgen_sweep"].update(random_state=seed))
    with pytest.raises(ValueError, match=r"sweep\.zarr is damaged: its seed cannot be read"):
        sweep(**{**SMALL, "random_state": None}, store=path)


def test_a_store_that_lacks_an_argument_is_refused_by_name(tmp_path):
    path = tmp_path / "sweep.zarr"
    sweep(**SMALL, store=path)
    held = dict(zarr.open_group(path, mode="r").attrs["fastgen_sweep"])
    # a version that is not said is another one: a warning
    names = {key for key, value in held.items() if value is not None and key != "version"}
    assert {"n_trials", "latent_dims", "n_samples", "problems", "random_state"} <= names
    for name in names:
        rest = {key: value for key, value in held.items() if key != name}
        _attributes(path, lambda a, rest=rest: a.update(fastgen_sweep=rest))
        with pytest.raises(ValueError, match=r"sweep\.zarr (is damaged|was made with)"):
            sweep(**SMALL, store=path)


@pytest.mark.parametrize(("name", "shape"), [("finished", (3,)), ("w2", (1, 1, 20, 5))])
def test_a_store_with_arrays_of_other_shapes_is_damaged(tmp_path, name, shape):
    path = tmp_path / "sweep.zarr"
    sweep(**SMALL, store=path)
    zarr.open_array(path / name, mode="r+").resize(shape)
    with pytest.raises(ValueError, match=rf"is damaged: {name} has shape"):
        sweep(**SMALL, store=path)


def test_a_store_without_an_array_is_damaged(tmp_path):
    path = tmp_path / "sweep.zarr"
    sweep(**SMALL, store=path)
    shutil.rmtree(path / "gain")
    with pytest.raises(ValueError, match="is damaged: gain cannot be read"):
        sweep(**SMALL, store=path)
    zarr.open_group(path / "gain", mode="w")
    with pytest.raises(ValueError, match="is damaged: gain"):
        sweep(**SMALL, store=path)


def test_a_second_sweep_of_the_same_store_is_refused(tmp_path):
    path = tmp_path / "sweep.zarr"
    refused = []

    def intrude(done, total):
        for seed in (0, 9):
            with pytest.raises(ValueError, match=f"is in use by process {os.getpid()}; wait") as no:
                sweep(**{**SMALL, "random_state": seed}, store=path)
            refused.append(str(no.value))

    result = sweep(**SMALL, store=path, progress=intrude)
    assert len(refused) == 10
    xarray.testing.assert_equal(result, sweep(**SMALL, store=path))
    assert [p.name for p in tmp_path.iterdir()] == ["sweep.zarr"]


def test_two_processes_on_a_new_store(tmp_path):
    """One of them makes it; the other is refused by name, or comes late and reads it."""
    path = tmp_path / "sweep.zarr"
    code = SCRIPT_OF_TWO.format(path=str(path))
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [run.communicate(timeout=300)[1] for run in runs]
    codes = [run.returncode for run in runs]
    assert 0 in codes
    for code, text in zip(codes, told, strict=True):
        assert code == 0 or ("ValueError: store" in text and "is in use by process" in text), text
    expected = sweep(latent_dims=range(1, 30), n_samples=8, n_trials=50, random_state=0)
    found = sweep(latent_dims=range(1, 30), n_samples=8, n_trials=50, random_state=0, store=path)
    xarray.testing.assert_equal(found, expected)


SCRIPT_OF_TWO = """
from fastgen.linear import sweep
sweep(latent_dims=range(1, 30), n_samples=8, n_trials=50, random_state=0, progress=False,
      store={path!r})
"""


SLOW = """
import signal, sys, time
from fastgen.linear import sweep
signal.signal(signal.SIGINT, signal.default_int_handler)  # where it is ignored, that is inherited
def slow(x, z):
    sys.stdout.write("computing\\n")  # in one piece, from several threads
    sys.stdout.flush()
    time.sleep(60)
try:
    sweep(latent_dims=range(1, 300), n_samples=200, n_trials=2, problems=slow, progress=False,
          n_jobs=int(sys.argv[1]))
except KeyboardInterrupt:
    print("answered", flush=True)
    import os
    os._exit(0)
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_is_answered_while_a_trial_computes(jobs):
    command = [sys.executable, "-c", SLOW, jobs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "computing\n"
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().replace("computing\n", "") == "answered\n"
        assert time.monotonic() - started < 20
        assert process.wait() == 0


def test_stores_in_threads_leave_the_filters_of_warnings(tmp_path):
    sweep(**SMALL, store=tmp_path / "first")
    before = list(warnings.filters)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: sweep(**SMALL, store=tmp_path / f"{i}"), range(4)))
    assert warnings.filters == before
    for each in found:
        xarray.testing.assert_equal(each, found[0])
