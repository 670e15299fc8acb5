"""The torchmetrics class GOoF: equal to the functions, in any batches, in two processes."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchmetrics")
nn = torch.nn

from fastgen.goof import Ball, nearest, planted
from fastgen.goof.torchmetrics import AGGREGATES, GOoF
from fastgen.linear import LinearGAN

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]
OPTIONS = {"pool_size": 300, "n_starts": 4, "max_iter": 30, "random_state": 3}
X = np.random.default_rng(1).standard_normal((11, 1, 2, 3))


def network(seed=0):
    torch.manual_seed(seed)
    layers = nn.Linear(3, 10), nn.Tanh(), nn.Linear(10, 6), nn.Unflatten(1, (1, 2, 3))
    return nn.Sequential(*layers).double()


def fed(metric, *cuts):
    for part in np.split(X, cuts):
        metric.update(torch.from_numpy(part))
    return metric


def aggregated(squared, aggregate):
    return {
        "mse": squared.mean() / 6,
        "median": np.median(squared) / 6,
        "rms": squared.mean() ** 0.5,
        "mean": (squared**0.5).mean(),
    }[aggregate]


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_batches_give_what_the_function_gives(aggregate):
    squared = nearest(network(), X, **OPTIONS).squared_distance
    floor = planted(network(), 8, **OPTIONS).nearest.squared_distance
    for cuts in ((), (1, 4)):
        metric = fed(GOoF(network(), aggregate, n_planted=8, options=OPTIONS), *cuts)
        assert metric.floor_ is None
        found = metric.compute()
        assert found.dtype == torch.float64
        assert float(found) == pytest.approx(aggregated(squared, aggregate), rel=1e-6)
        assert metric.floor_ == pytest.approx(aggregated(floor, aggregate), rel=1e-9, abs=1e-20)
        assert metric.floor_ < float(found) / 10


def test_linear_models_and_mixtures():
    flat = X.reshape(11, 6)
    gans = [LinearGAN(k, "unsupervised").fit(flat) for k in (1, 2)]
    best = nearest(gans, flat).squared_distance
    metric = GOoF(gans, n_planted=4)
    metric.update(flat[:4])
    metric.update(flat[4:])
    assert float(metric.compute()) == pytest.approx(best.mean() / 6, rel=1e-12)
    bounded = GOoF(gans[0], n_planted=4, options={"domain": Ball(0.1)})
    bounded.update(flat)
    assert float(bounded.compute()) > best.mean() / 6


def test_reset_forgets_images_and_floor():
    metric = fed(GOoF(network(), n_planted=2, options=OPTIONS))
    before = float(metric.compute())
    metric.reset()
    assert metric.planted_ is None
    with (
        pytest.warns(UserWarning, match="before the ``update``"),
        pytest.raises(ValueError, match="no images; call update first"),
    ):
        metric.compute()
    assert float(fed(metric).compute()) == pytest.approx(before, rel=1e-9)


def test_calling_the_metric_updates_it():
    metric = GOoF(network(), n_planted=2, options=OPTIONS)
    assert metric(torch.from_numpy(X)) is None
    assert metric.planted_ is None
    whole = fed(GOoF(network(), n_planted=2, options=OPTIONS))
    assert float(metric.compute()) == float(whole.compute())


def test_the_generator_is_no_part_of_the_metric():
    net = network().train()
    metric = fed(GOoF(net, n_planted=2, options=OPTIONS))
    metric.compute()
    assert metric.generator is net
    assert net.training
    assert not list(metric.parameters())
    assert not metric.state_dict()
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    for copy in (pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert float(copy.compute()) == float(metric.compute())
    metric.float()  # touches neither the states nor the generator
    assert metric.squared_distance[0].dtype == torch.float64
    assert net[0].weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("batch", "match"),
    [
        (torch.zeros(6, dtype=torch.float64), "at least one row|shape"),
        (torch.zeros(0, 1, 2, 3), "at least one row|shape"),
        (torch.zeros(4, 7), "rows of shape"),
        (torch.full((4, 1, 2, 3), torch.nan), "X must be finite"),
    ],
)
def test_bad_batches_change_nothing(batch, match):
    metric = fed(GOoF(network(), n_planted=2, options=OPTIONS))
    with pytest.raises(ValueError, match=match):
        metric.update(batch)
    assert len(metric.squared_distance) == 1
    assert len(metric.squared_distance[0]) == 11


def test_an_interrupted_batch_is_not_counted():
    def interrupted(z):
        if len(z) > 5:
            raise KeyboardInterrupt
        return z.repeat(1, 2)

    metric = GOoF(interrupted, options={"latent_dim": 3, "pool_size": 4, "n_starts": 4})
    with pytest.raises(KeyboardInterrupt):
        metric.update(X.reshape(11, 6))
    assert not metric.squared_distance


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"aggregate": "mean_squared"}, ValueError, "aggregate must be one of 'mse'"),
        ({"n_planted": 0}, ValueError, "n_planted must be at least 1"),
        ({"options": {"random_state": None}}, TypeError, "random_state must be an integer"),
        ({"options": {"cond": [0]}}, ValueError, "options must hold for every batch, got cond"),
        ({"options": {"init": X}}, ValueError, "init must be an encoder or None"),
    ],
)
def test_options_are_checked(arguments, error, match):
    with pytest.raises(error, match=match):
        GOoF(network(), **arguments)


def test_without_torchmetrics():
    code = (
        "import sys; sys.modules['torchmetrics'] = None\n"
        "try:\n    import fastgen.goof.torchmetrics\n"
        "except ImportError as error:\n    print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "fastgen-core[torchmetrics]"' in told.stdout


# A file of its own: the processes import what they run.
SCRIPT = """
import json, sys
import numpy as np, torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import nn
from fastgen.goof.torchmetrics import GOoF

def work(rank, folder, options):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    X = np.load(f"{folder}/X.npy")
    layers = nn.Linear(3, 10), nn.Tanh(), nn.Linear(10, 6), nn.Unflatten(1, (1, 2, 3))
    net = nn.Sequential(*layers).double()
    net.load_state_dict(torch.load(f"{folder}/net.pt", weights_only=True))
    told = {}
    # the second process has 4 of 11 images, then none
    for name, shares in (("uneven", (X[:7], X[7:])), ("none", (X, X[:0]))):
        metric = GOoF(net, "median", n_planted=8, options=options)
        for part in np.array_split(shares[rank], 2) if len(shares[rank]) else ():
            metric.update(part)
        if name == "none" and rank == 1:
            metric._update_count = 1  # silences the warning about compute before update
        value = float(metric.compute())
        kept = sum(len(part) for part in metric.squared_distance)
        told[name] = [value, metric.floor_, kept]
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(told, file)
    dist.barrier()
    dist.destroy_process_group()

if __name__ == "__main__":
    multiprocessing.spawn(work, args=(sys.argv[1], json.loads(sys.argv[2])), nprocs=2)
"""


def test_two_processes_agree_with_one(tmp_path):
    if not torch.distributed.is_available():
        pytest.skip("torch was built without torch.distributed")
    np.save(tmp_path / "X.npy", X)
    torch.save(network().state_dict(), tmp_path / "net.pt")
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path), json.dumps(OPTIONS)]
    ran = subprocess.run(command, timeout=300, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    alone = fed(GOoF(network(), "median", n_planted=8, options=OPTIONS))
    value = float(alone.compute())
    for rank, counts in enumerate(({"uneven": 7, "none": 11}, {"uneven": 4, "none": 0})):
        told = json.loads((tmp_path / f"{rank}.json").read_text())
        for name, count in counts.items():
            assert told[name][0] == pytest.approx(value, rel=1e-6)
            assert told[name][1] == pytest.approx(alone.floor_, rel=1e-6, abs=1e-20)
            assert told[name][2] == count  # after compute: this process' own again
