"""torchmetrics classes: equal to the functions, in any batches, in two processes."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchmetrics")

from fastgen.metrics import torchmetrics as module
from fastgen.metrics.fid_wam import fid, wam
from fastgen.metrics.kernel_distances import cmmd, kid
from fastgen.metrics.torchmetrics import CMMD, FID, KID, WaM

OPTIONS = {"n_components": 2, "random_state": 0}


def sets(n=200, d=3):
    rng = np.random.default_rng(0)
    modes = np.repeat([[-9.0], [9.0]], n // 2, axis=0)
    return [modes + width * rng.standard_normal((n, d)) for width in (1.0, 2.0)]


def fed(metric, X, Y, *cuts):
    for rows, real in ((X, True), (Y, False)):
        for part in np.split(rows, cuts):
            metric.update(torch.from_numpy(part), real=real)
    return metric


def test_fid_is_the_function():
    X, Y = sets()
    whole, parts = fed(FID(3), X, Y), fed(FID(3), X, Y, 1, 30, 31)
    assert float(whole.compute()) == pytest.approx(fid(X, Y), rel=1e-10)
    assert float(parts.compute()) == pytest.approx(fid(X, Y), rel=1e-10)
    assert parts.compute().dtype == torch.float64
    far = fed(FID(3), X + 2.0**20, Y + 2.0**20, 50)
    assert float(far.compute()) == pytest.approx(fid(X, Y), rel=1e-7)


def test_wam_is_the_function():
    X, Y = sets()
    metric = fed(WaM(options=OPTIONS), X, Y, 7, 100)
    expected = wam(X, Y, **OPTIONS)
    assert float(metric.compute()) == expected.wam2
    assert metric.result_.floor == expected.floor


@pytest.mark.parametrize(
    ("make", "function"),
    [
        (lambda: KID(), kid),
        (lambda: CMMD(options={"sigma": 3.0}), lambda X, Y: cmmd(X, Y, sigma=3.0)),
    ],
)
def test_kernel_distances_are_the_functions(make, function):
    X, Y = sets()
    metric = fed(make(), X, Y, 7, 100)
    assert float(metric.compute()) == pytest.approx(function(X, Y).value, rel=1e-12)
    assert metric.result_.standard_error == function(X, Y).standard_error


def test_processes_agree_on_what_is_drawn():
    assert WaM().options == KID().options == {"random_state": 0}
    assert WaM(options={"random_state": 3}).options == {"random_state": 3}
    assert CMMD().options == {}


@pytest.mark.parametrize("name", ["Recall", "AuthPct", "MIND", "FLD"])
def test_what_does_not_merge_is_refused(name):
    with pytest.raises(AttributeError, match=f"no torchmetrics class {name}.*fastgen.metrics.eval"):
        getattr(module, name)
    with pytest.raises(AttributeError, match="has no attribute 'Other'"):
        module.Other  # noqa: B018


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: FID(3, **k),
        lambda **k: WaM(options=OPTIONS, **k),
        lambda **k: KID(**k),
        lambda **k: CMMD(**k),
    ],
)
def test_reset(make):
    X, Y = sets()
    metric = fed(make(), X, Y)
    before = float(metric.compute())
    metric.reset()
    with (
        pytest.warns(UserWarning, match="before the ``update``"),
        pytest.raises(ValueError, match="sample"),
    ):
        metric.compute()
    assert float(fed(metric, X, Y).compute()) == pytest.approx(before, rel=1e-12)
    kept = fed(make(reset_real_features=False), X, X)
    kept.reset()
    kept.update(torch.from_numpy(Y), real=False)
    assert float(kept.compute()) == pytest.approx(before, rel=1e-12)


def test_calling_a_metric_updates_it():
    X, Y = sets()
    metric = FID(3, reset_real_features=False)
    assert metric(torch.from_numpy(X), real=True) is None
    metric(torch.from_numpy(Y), real=False)
    assert float(metric.compute()) == pytest.approx(fid(X, Y), rel=1e-10)


def test_features_are_extracted_and_metrics_are_pickled_and_cloned():
    X, Y = sets()
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5))
    metric = fed(FID(3, feature=net), X[:, :, None], Y[:, :, None])
    assert net.training
    assert float(metric.compute()) == pytest.approx(fid(X, Y), rel=1e-5)  # float32, no dropout
    other = fed(FID(3, feature=lambda batch: batch[:, :, 0]), X[:, :, None], Y[:, :, None])
    assert float(other.compute()) == pytest.approx(fid(X, Y), rel=1e-10)
    for copy in (pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert float(copy.compute()) == float(metric.compute())
    metric.float()  # does not touch the states
    assert metric.real_moments.dtype == torch.float64


def test_states_merge_with_empty_ones():
    X, Y = sets()
    metric = fed(FID(3), X, Y)
    merged = module._merged(torch.stack((metric.real_moments, torch.zeros(13).double())))
    torch.testing.assert_close(merged, metric.real_moments)
    empty = module._merged(torch.zeros(2, 13).double())
    assert not empty.any()


@pytest.mark.parametrize(
    ("batch", "match"),
    [
        (torch.zeros(3), r"features must have shape \(n, d\).*got \(3,\)"),
        (torch.zeros(0, 3), "n at least 1"),
        (torch.zeros(4, 2), "features must have n_features=3 columns, got 2"),
        (torch.full((4, 3), torch.nan), "features must be finite"),
        (torch.zeros(4, 3, 2, 2), "pass feature="),
    ],
)
def test_bad_batches_change_nothing(batch, match):
    X, Y = sets()
    metric = fed(FID(3), X, Y)
    before = metric.compute()
    with pytest.raises(ValueError, match=match):
        metric.update(batch, real=True)
    assert metric.compute() == before
    if "columns" not in match:
        with pytest.raises(ValueError, match=match):
            WaM().update(batch, real=True)


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="n_features must be at least 1"):
        FID(0)
    metric = FID(3)
    metric.update(torch.zeros(1, 3), real=True)
    metric.update(torch.zeros(2, 3), real=False)
    with pytest.raises(ValueError, match="a covariance needs at least 2 samples, got 1"):
        metric.compute()
    metric = WaM()
    metric.update(torch.zeros(4, 3), real=True)
    with pytest.raises(ValueError, match="no generated samples"):
        metric.compute()


def test_without_torchmetrics():
    code = (
        "import sys; sys.modules['torchmetrics'] = None\n"
        "try:\n    import fastgen.metrics.torchmetrics\n"
        "except ImportError as error:\n    print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "fastgen-core[torchmetrics]"' in told.stdout


# A file of its own: the processes import what they run.
class Network(torch.nn.Module):
    def forward(self, images):
        return images.flatten(1)


def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (30, 1, 2, 3), dtype=torch.uint8, generator=generator)


def test_what_the_wrappers_of_torchmetrics_ask_for():
    from torchmetrics.wrappers import FeatureShare

    calls = []
    network = Network()
    network.register_forward_hook(lambda *args: calls.append(1))
    shared = FeatureShare({"a": FID(6, feature=network), "b": FID(6, feature=network)})
    real, fake = images(), images().flip(0) // 2
    shared.update(imgs=real, real=True)
    assert len(calls) == 1
    shared.update(imgs=fake, real=False)
    expected = fid(*(x.flatten(1).double().numpy() / 255 for x in (real, fake)))
    for value in shared.compute().values():
        assert float(value) == pytest.approx(expected, rel=1e-6)


def test_plot_and_forward_while_synced():
    import matplotlib

    matplotlib.use("Agg")
    metric = fed(FID(3), *sets())
    figure, axes = metric.plot()
    assert axes.figure is figure
    metric.sync(dist_sync_fn=lambda x, group=None: [x, x], distributed_available=lambda: True)
    with pytest.raises(Exception, match="must not be synced"):
        metric(torch.zeros(4, 3), real=True)


SCRIPT = """
import json, sys
import torch.multiprocessing as multiprocessing

def work(rank, folder, options):
    import numpy as np, torch
    import torch.distributed as dist
    from fastgen.metrics.torchmetrics import FID, KID, WaM
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    X, Y = (np.load(f"{folder}/{name}.npy") for name in "XY")
    metrics = {"fid": FID(X.shape[1]), "wam": WaM(options=options), "kid": KID()}
    # uneven shares: the second process has 70 of 200 real and 150 of 200 generated samples
    shares = (X[:130], Y[:50]) if rank == 0 else (X[130:], Y[50:])
    for metric in metrics.values():
        for rows, real in zip(shares, (True, False)):
            for part in np.array_split(rows, 3):
                metric.update(torch.from_numpy(part), real=real)
    told = {name: float(metric.compute()) for name, metric in metrics.items()}
    told["n"] = float(metrics["fid"].real_moments[0])  # after compute: this process' own again
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(told, file)
    dist.barrier()
    dist.destroy_process_group()

if __name__ == "__main__":
    multiprocessing.spawn(work, args=(sys.argv[1], json.loads(sys.argv[2])), nprocs=2)
"""


@pytest.mark.sizes  # the processes choose as users' do
def test_two_processes_agree_with_one(tmp_path):
    if not torch.distributed.is_available():
        pytest.skip("torch was built without torch.distributed")
    X, Y = sets()
    for name, rows in (("X", X), ("Y", Y)):
        np.save(tmp_path / f"{name}.npy", rows)
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path), json.dumps(OPTIONS)]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for one, n in zip(told, (130, 70), strict=True):
        assert one["fid"] == pytest.approx(fid(X, Y), rel=1e-10)
        assert one["wam"] == wam(X, Y, **OPTIONS).wam2  # rows in the order of the processes
        assert one["kid"] == kid(X, Y).value
        assert one["n"] == n
