"""Targets dealt to two processes: the result of one process, in its order."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

if not torch.distributed.is_available():
    pytest.skip("torch was built without torch.distributed", allow_module_level=True)

from fastgen.goof import NearestResult, nearest
from fastgen.goof.distributed import _with_all_conditions, nearest_distributed
from fastgen.goof.results import mean_history

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

# A file of its own: the processes import what they run.
SCRIPT = '''
import dataclasses, json, sys
import numpy as np, torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import nn
from fastgen.goof import Ball
from fastgen.goof.distributed import nearest_distributed
from fastgen.goof.results import NearestResult

QUICK = {"pool_size": 300, "n_starts": 4, "max_iter": 30}


def network(seed, k=3):
    torch.manual_seed(seed)
    layers = nn.Linear(k, 10), nn.Tanh(), nn.Linear(10, 6)
    return nn.Sequential(*layers).double()


class Conditional(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network(2, 7)

    def forward(self, z, label):
        code = nn.functional.one_hot(label, 4).to(z.dtype)
        return self.body(torch.cat([z, 3 * code], 1))


def targets(n):
    return np.random.default_rng(1).standard_normal((n, 6))


def conditions(n):
    # the last label is that of one row only
    return torch.tensor([0, 1, 1, 0, 1, 2, 1, 0, 3][:n])


def arguments(case):
    """Positional and named arguments of each case; random_state is given by the caller."""
    if case == "uneven":
        return (network(0), targets(7)), QUICK
    if case == "one row":
        return (network(0), targets(1)), QUICK
    if case == "mixture":
        return ([network(0), network(1)], torch.from_numpy(targets(5))), QUICK
    if case == "conditions":
        options = {"cond": conditions(9), "latent_dim": 3, **QUICK}
        return (Conditional(), targets(9)), options
    if case == "starts":
        init = np.random.default_rng(3).standard_normal((5, 3))
        options = {"init": init, "n_starts": 0, "domain": Ball(1.5)}
        return (network(0), targets(5)), options
    raise AssertionError(case)


CASES = ["uneven", "one row", "mixture", "conditions", "starts"]


def failing(z):
    # finite in the checks, broken in the search, in one process only
    if dist.get_rank() == 1 and len(z) > 5:
        raise ValueError("out of order")
    return z.repeat(1, 2)


def refusal(call):
    try:
        call()
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    seen = []
    for case in CASES:
        positional, options = arguments(case)
        # only the seed of the first process counts
        found = nearest_distributed(*positional, random_state=5 if rank == 0 else None, **options)
        found.save(f"{folder}/{case}-{rank}.npz")
    part = NearestResult.load(f"{folder}/part.npz")
    positional, options = arguments("uneven")
    options = {**options, "progress": lambda done, total: seen.append((done, total))}
    found = nearest_distributed(*positional, resume=part, random_state=5, **options)
    found.save(f"{folder}/resumed-{rank}.npz")
    told = {
        "seen": seen,
        "failed": refusal(lambda: nearest_distributed(failing, targets(4), latent_dim=3, **QUICK)),
        "shape": refusal(lambda: nearest_distributed(network(0), targets(4 + rank))),
        "nothing": refusal(lambda: nearest_distributed(network(0), targets(4)[:0])),
        "complete": nearest_distributed(*positional, resume=found) is found,
    }
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(told, file)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    multiprocessing.spawn(work, args=(sys.argv[1],), nprocs=2)
'''


@pytest.fixture(scope="module")
def script():
    """The script's names, without running it."""
    names = {"__name__": "script"}
    exec(compile(SCRIPT, "script", "exec"), names)
    return names


@pytest.fixture(scope="module")
def alone(script):
    """Results of one process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    for case in script["CASES"]:
        positional, options = script["arguments"](case)
        found[case] = nearest(*positional, random_state=5, **options)
    torch.set_num_threads(before)
    return found


@pytest.fixture(scope="module")
def folder(script, alone, tmp_path_factory):
    """What two processes wrote."""
    folder = tmp_path_factory.mktemp("two")
    part = alone["uneven"]
    status = part.status.copy()
    status[[1, 2, 6]] = "interrupted"
    distance = np.where(status == "interrupted", np.inf, part.squared_distance)
    dataclasses.replace(part, status=status, squared_distance=distance).save(folder / "part.npz")
    (folder / "two.py").write_text(SCRIPT)
    command = [sys.executable, str(folder / "two.py"), str(folder)]
    ran = subprocess.run(command, timeout=300, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return folder


def assert_same(found, expected):
    for name in ("squared_distance", "reconstruction", "lower_bound"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-6, atol=1e-9, err_msg=name
        )
    np.testing.assert_allclose(found.z, expected.z, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found.component, expected.component)
    np.testing.assert_array_equal(found.status, expected.status)
    assert found.reconstruction.shape == expected.reconstruction.shape
    assert found.z.dtype == expected.z.dtype
    assert found.n_dropped == expected.n_dropped


@pytest.mark.parametrize("case", ["uneven", "one row", "mixture", "conditions", "starts"])
def test_two_processes_agree_with_one(folder, alone, case):
    for rank in (0, 1):
        found = NearestResult.load(folder / f"{case}-{rank}.npz")
        assert_same(found, alone[case])
        if case in ("uneven", "starts", "mixture"):  # no row is searched twice
            passes, distance = alone[case].history[-1]
            # where a search ends at the limit of rounding, batch mates decide about its last steps
            np.testing.assert_allclose(found.history[-1, 0], passes, rtol=0.02)
            np.testing.assert_allclose(found.history[-1, 1], distance, rtol=1e-6, atol=1e-9)


def test_another_seed_would_give_another_result(script, alone):
    positional, options = script["arguments"]("uneven")
    other = nearest(*positional, random_state=6, **options)
    assert not np.allclose(other.z, alone["uneven"].z, rtol=1e-3, atol=1e-4)


def test_interrupted_rows_are_dealt_to_both(folder, alone):
    for rank in (0, 1):
        assert_same(NearestResult.load(folder / f"resumed-{rank}.npz"), alone["uneven"])
        told = json.loads((folder / f"{rank}.json").read_text())
        # the first process reports its two of the three rows, the second keeps quiet
        assert told["seen"] == ([[2, 2]] if rank == 0 else [])
        assert told["complete"]


def test_no_process_waits_for_one_that_failed(folder):
    told = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert told[0]["failed"].startswith("RuntimeError: the search failed in process 1: ValueError")
    assert "out of order" in told[0]["failed"]
    assert told[1]["failed"] == "ValueError: out of order"
    for one in told:
        assert one["shape"] == (
            "ValueError: X must be the same in all processes, got the shapes [(4, 6), (5, 6)]"
        )
        assert one["nothing"].endswith("with at least one row, got (0, 6)")


def test_a_process_group_is_needed():
    with pytest.raises(RuntimeError, match="start the script with torchrun"):
        nearest_distributed(nn.Linear(2, 3), np.ones((4, 3)))


def test_every_process_has_a_row_of_every_condition():
    cond = np.array([[0, 1], [2, 2], [0, 1], [5, 0]])
    todo = np.arange(4)
    assert _with_all_conditions(todo[0::2], todo, cond).tolist() == [0, 2, 1, 3]
    assert _with_all_conditions(todo[1::2], todo, cond).tolist() == [1, 3, 0]
    # of the rows still to be searched only
    assert _with_all_conditions(np.array([2]), np.array([2, 3]), cond[:, 0]).tolist() == [2, 3]
    assert _with_all_conditions(np.array([], int), np.array([3]), None).tolist() == [3]


def test_histories_are_averaged_by_targets():
    long, short = np.array([[1.0, 8.0], [3.0, 4.0]]), np.array([[2.0, 2.0]])
    np.testing.assert_allclose(mean_history([(3, long), (1, short)]), [[1.25, 6.5], [2.75, 3.5]])
    assert mean_history([]).shape == (0, 2)
