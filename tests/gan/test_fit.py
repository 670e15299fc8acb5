"""The training loop: it learns, it resumes bit for bit, it refuses what cannot work."""

from __future__ import annotations

import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from fastgen import networks
from fastgen.gan import (
    Balanced,
    Ensemble,
    NotFiniteError,
    PairwiseDistance,
    PseudoSupervision,
    fit,
)
from fastgen.gan.objectives import NonSaturating
from fastgen.networks import read_weights

pytestmark = pytest.mark.usefixtures("one_torch_thread")

QUICK = {"batch_size": 12, "progress": False, "log_every": 5, "checkpoint_every": 5}


def plane(n=60):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0))


def digits(n=30):
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images[:n].reshape(-1, 1, 8, 8).astype(np.float32) / 8 - 1, labels[:n]


def pair(seed=0, **options):
    torch.manual_seed(seed)
    generator = networks.MLPGenerator(3, 2, widths=(8,), **options)
    return generator, networks.MLPDiscriminator(2, widths=(8,), **options)


def rich(seed=0):
    """Everything that has a state: ensemble, balance, pairs, schedules, average."""
    torch.manual_seed(seed)

    def factory():
        layers = nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 2)
        net = nn.Sequential(*layers)
        net.latent_dim = 3
        return net

    generator = Ensemble(factory, 3, 2, weights="learned", seeds=[1, 2, 3])
    options = {
        "objective": NonSaturating(r1=0.1, every=4),
        "terms": (Balanced(0.5, decay=0.99), PairwiseDistance(1.0)),
        "pairs": PseudoSupervision(0.3, weight=1.0, schedule=600),
        "weights": np.linspace(1, 2, 60),
        "lr_schedule": 900,
        "ema": 100.0,
        "discriminator_steps": 2,
        **QUICK,
    }
    return generator, networks.MLPDiscriminator(2, widths=(8,), n_outputs=4), options


def assert_same(first, second):
    for name in ("generator", "discriminator", "ema"):
        one, two = getattr(first, name), getattr(second, name)
        if one is not None:
            torch.testing.assert_close(one.state_dict(), two.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("objective", ["non_saturating", "wgan_gp", "hinge", "relativistic"])
def test_objectives_learn(objective):
    torch.manual_seed(0)
    data = 0.2 * plane(256) + torch.tensor([2.0, -1.0])
    generator = networks.MLPGenerator(2, 2, widths=(16,))
    discriminator = networks.MLPDiscriminator(2, widths=(16,))
    options = {"objective": objective, "steps": 250, "lr": 5e-3, "progress": False}
    options["discriminator_steps"] = 3 if objective == "wgan_gp" else 1
    gaps = []

    def callback(row, nets):
        with torch.no_grad():
            made = nets.generator(torch.randn(500, 2))
        gaps.append((made.mean(0) - data.mean(0)).norm().item())

    options |= {"betas": (0.0, 0.9), "log_every": 25, "callback": callback}
    found = fit(generator, discriminator, data, **options)
    # all come from 2 to within half a unit; the Wasserstein critic circles around the target
    assert min(gaps) < 0.5
    if objective != "wgan_gp":
        assert gaps[-1] < 0.7
    assert found.images == 250 * 64
    assert found.history[-1]["step"] == 250


def test_half_the_steps_then_the_other_half(tmp_path):
    whole = fit(*rich()[:2], plane(), steps=20, **rich()[2])
    first = fit(*rich()[:2], plane(), steps=10, out=tmp_path, **rich()[2])
    generator, discriminator, options = rich(seed=5)  # other weights: the checkpoint's count
    second = fit(generator, discriminator, plane(), steps=20, out=tmp_path, resume=True, **options)
    assert_same(whole, second)
    assert whole.history == second.history
    assert first.history == second.history[:2]
    assert not torch.equal(second.ema.logits, second.generator.logits)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows == whole.history
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["0000000015", "0000000020"]
    again = fit(*rich()[:2], plane(), steps=20, out=tmp_path, resume=True, **rich()[2])
    assert_same(whole, again)


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    generator, discriminator, options = rich()
    torch.manual_seed(3)
    fit(generator, discriminator, plane(), steps=2, **options)
    torch.testing.assert_close(torch.rand(2), expected)


SCRIPT = """
import sys
sys.path[:0] = [{folder!r}, {tests!r}]
import torch
torch.set_num_threads(1)
from gan_test_fit import plane, rich
from fastgen.gan import fit
generator, discriminator, options = rich()
fit(generator, discriminator, plane(), steps=10**6, out=sys.argv[1], **options)
"""


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    out = tmp_path / "run"
    (tmp_path / "gan_test_fit.py").write_text(pathlib.Path(__file__).read_text())
    code = SCRIPT.format(folder=str(tmp_path), tests=str(pathlib.Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if len(list((out / "checkpoints").glob("[0-9]*"))) >= 2:
            break
        time.sleep(0.05)
    assert process.poll() is None, process.stderr.read().decode()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    saved = max(int(p.name) for p in (out / "checkpoints").glob("[0-9]*"))
    found = fit(*rich(7)[:2], plane(), steps=saved + 7, out=out, resume=True, **rich()[2])
    whole = fit(*rich()[:2], plane(), steps=saved + 7, **rich()[2])
    assert_same(whole, found)
    assert whole.history == found.history


def test_files_are_for_other_commands(tmp_path):
    images, labels = digits()
    torch.manual_seed(0)
    generator = networks.BigGANGenerator(4, (1, 8, 8), n_classes=10, width=8)
    discriminator = networks.BigGANDiscriminator((1, 8, 8), n_classes=10, width=8)
    seen = []
    found = fit(
        generator, discriminator, images, labels=labels, steps=3, ema=50, objective="hinge",
        out=tmp_path / "run", batch_size=6, log_every=1, progress=False,
        callback=lambda row, nets: seen.append((row["step"], type(nets.ema))),
    )  # fmt: skip
    assert seen == [(i, networks.BigGANGenerator) for i in (1, 2, 3)]
    state = read_weights(tmp_path / "run" / "generator.safetensors")
    torch.testing.assert_close(state, dict(found.ema.state_dict()), rtol=0, atol=0)
    assert found.best is found.ema
    assert (tmp_path / "run" / "pictures" / "0000000003.png").stat().st_size > 1000
    identity = json.loads((tmp_path / "run" / "run.json").read_text())
    assert identity["objective"] == "Hinge(r1=0.0, r2=0.0, every=1)"
    assert found.to_dict()["step"] == 3
    assert len(found.plot().axes) == 1


def test_members_are_written_one_by_one(tmp_path):
    generator, discriminator, options = rich()
    found = fit(generator, discriminator, plane(), steps=2, out=tmp_path, **options)
    for k in range(3):
        state = read_weights(tmp_path / f"member-{k}.safetensors")
        torch.testing.assert_close(state, dict(found.ema.member(k).state_dict()), rtol=0, atol=0)


def test_moving_average_by_hand():
    generator, discriminator = pair()
    seen = []

    def callback(row, nets):
        seen.append([p.detach().clone() for p in nets.generator.parameters()])

    options = {**QUICK, "log_every": 1, "ema": 100.0, "ema_warmup": 0.5, "callback": callback}
    found = fit(generator, discriminator, plane(), steps=6, **options)
    average = [p.detach().clone() for p in pair()[0].parameters()]
    for step, now in enumerate(seen):
        decay = 0.5 ** (12 / min(100.0, 0.5 * 12 * (step + 1)))
        average = [decay * a + (1 - decay) * p for a, p in zip(average, now, strict=True)]
    for mine, theirs in zip(average, found.ema.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)
    assert not found.ema.training


def test_every_row_is_seen_once_an_epoch_or_by_weight():
    from fastgen.gan.draws import Order, source

    order = Order(10, 3)
    rows = torch.cat([order.rows(start, 4) for start in range(0, 40, 4)])
    for epoch in rows.split(10):
        assert sorted(epoch.tolist()) == list(range(10))
    assert rows[:10].tolist() != rows[10:20].tolist()
    torch.testing.assert_close(Order(10, 3).rows(17, 9), rows[17:26])
    weights = np.array([0, 1, 3, 0])
    rows = Order(4, 0, weights).rows(0, 40_000, source(0, 1))
    shares = torch.bincount(rows, minlength=4) / 40_000
    torch.testing.assert_close(shares, torch.tensor([0, 0.25, 0.75, 0]), atol=0.01, rtol=0)


def test_pairs_are_learned_and_nested():
    generator, discriminator = pair()
    options = {**QUICK, "steps": 300, "lr": 1e-2, "objective": "hinge"}
    pairs = PseudoSupervision(0.1, weight=50.0)
    fit(generator, discriminator, plane(), pairs=pairs, **options)
    from fastgen.gan.rows import Rows
    from fastgen.gan.run import Run

    def run(fraction):
        return Run(
            *pair(), Rows(plane(), None, None), objective=NonSaturating(), terms=(),
            pairs=PseudoSupervision(fraction), batch_size=12, discriminator_steps=1,
            prior="normal", precision="float32", seed=0,
        )  # fmt: skip

    few, many = run(0.1), run(0.5)
    assert len(few.paired[0]) == 6
    assert set(few.paired[0].tolist()) <= set(many.paired[0].tolist())
    torch.testing.assert_close(few.pair_latents, many.pair_latents)
    rows = few.paired[0]
    error = (generator(few.pair_latents[rows]) - plane()[rows]).square().mean()
    assert error < 0.05 * plane()[rows].square().mean()
    # a schedule that has ended leaves the adversarial loss
    batch = few.batch(100, 0)
    batch.fake = batch.generate(batch.z)
    assert PseudoSupervision(0.1, schedule=1000)(batch).item() == 0


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(tmp_path):
    class Bad:
        def __call__(self, batch):
            return batch.fake.mean() * (math.nan if batch.step >= 12 else 0.0)

        def __repr__(self):
            return "Bad()"

    generator, discriminator = pair()
    with pytest.raises(NotFiniteError, match="loss of the generator is nan at step 12"):
        fit(generator, discriminator, plane(), steps=20, terms=[Bad()], out=tmp_path, **QUICK)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["0000000005", "0000000010"]
    for state in (tmp_path / "checkpoints").rglob("*.safetensors"):
        assert all(torch.isfinite(t).all() for t in read_weights(state).values())


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    class Bad:
        def __call__(self, batch):  # zero, with a gradient that is not a number
            return (batch.fake.square().sum() * 0).sqrt() if batch.step == 9 else 0.0

        def __repr__(self):
            return "Bad()"

    with pytest.raises(NotFiniteError, match="generator has weights that are not finite after ste"):
        fit(*pair(), plane(), steps=20, terms=[Bad()], out=tmp_path, **QUICK)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["0000000005"]


def test_bf16_and_bytes():
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    torch.manual_seed(0)
    generator = networks.DCGANGenerator(3, (1, 8, 8), width=4)
    discriminator = networks.DCGANDiscriminator((1, 8, 8), width=4, normalize=False)
    from fastgen.gan.rows import Rows

    taken = Rows(images, None, None).take(torch.tensor([4]), torch.float32, torch.device("cpu"))
    np.testing.assert_allclose(taken.numpy(), images[4:5] / 127.5 - 1, atol=1e-6)
    found = fit(
        generator, discriminator, images, steps=3, objective="relativistic", precision="bf16",
        batch_size=4, progress=False,
    )  # fmt: skip
    assert next(generator.parameters()).dtype == torch.float32
    assert math.isfinite(found.history[-1]["generator"])


@pytest.mark.parametrize("prior", ["uniform", "whitened", "callable", "mixture"])
def test_priors(prior):
    from fastgen.gan.draws import latent_prior, source

    class Mixture:
        def sample(self, n, random_state=None):
            return random_state.standard_normal((n, 3)) + 5

    given = {"callable": lambda n, g: torch.zeros(n, 3), "mixture": Mixture()}.get(prior, prior)
    draw = latent_prior(given, 3, torch.float64)
    z = draw(50, source(0, 9))
    assert z.shape == (50, 3)
    torch.testing.assert_close(z, draw(50, source(0, 9)), rtol=0, atol=0)
    if prior == "whitened":
        torch.testing.assert_close(z.T @ z / 50, torch.eye(3).double(), rtol=0, atol=1e-12)
    if prior == "uniform":
        assert -1 <= z.min() < z.max() <= 1
    with pytest.raises(ValueError, match="prior must return latents"):
        latent_prior(lambda n, g: torch.zeros(n, 2), 3, torch.float64)(4, source(0, 9))


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": torch.zeros(5, 3)}, r"samples of shape \(2,\), as the generator, got \(3,\)"),
        ({"data": torch.zeros(0, 2)}, r"at least one, got shape \(0, 2\)"),
        ({"data": np.zeros(4)}, r"data must be samples \(n, ...\)"),
        ({"labels": np.zeros(60, int)}, "no network has n_classes; leave them out"),
        ({"weights": -np.ones(60)}, "weights must be 60 finite numbers from 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"objective": "hing"}, "did you mean 'hinge'"),
        ({"prior": "norm"}, "did you mean 'normal'"),
        ({"resume": True}, "resume needs out"),
        ({"precision": "fp16"}, "precision must be one of"),
        ({"objective": "quadratic"}, "discriminator must be None for Quadratic"),
        ({"optimizers": [torch.optim.SGD]}, "optimizers must be two callables"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"data": plane(), "steps": 2, **QUICK, **change}
    with pytest.raises(ValueError, match=message):
        fit(*pair(), **arguments)


def test_conditional_networks_want_labels():
    with pytest.raises(ValueError, match="labels must be given, one of 4 classes for each row"):
        fit(*pair(n_classes=4), plane(), steps=1, **QUICK)
    with pytest.raises(ValueError, match="labels must be below 4, the number of classes, got 4"):
        fit(*pair(n_classes=4), plane(), labels=np.arange(60) % 5, steps=1, **QUICK)
    with pytest.raises(ValueError, match="labels must be 60 integers from 0"):
        fit(*pair(n_classes=4), plane(), labels=np.arange(5), steps=1, **QUICK)
    both = pair()[0], pair(n_classes=4)[1]
    with pytest.raises(ValueError, match="generator must be conditional, as the discriminator is"):
        fit(*both, plane(), labels=np.arange(60) % 4, steps=1, **QUICK)
    fit(*pair(n_classes=4), plane(), labels=np.arange(60) % 4, steps=2, **QUICK)


def test_members_and_rows():
    generator = Ensemble(lambda: pair()[0], 4)
    discriminator = pair()[1]
    with pytest.raises(ValueError, match="4 members, more than the 3 rows of data"):
        fit(generator, discriminator, plane(3), steps=1, **QUICK)
    with pytest.raises(ValueError, match=r"multiple of 4, members times processes, got 10; pass 8"):
        fit(generator, discriminator, plane(), steps=1, **{**QUICK, "batch_size": 10})
    with pytest.raises(ValueError, match="pairs must be at least 4, one for each member, got 1"):
        fit(generator, discriminator, plane(), steps=1, pairs=PseudoSupervision(0.01), **QUICK)
    with pytest.raises(ValueError, match="generator must have an attribute latent_dim"):
        fit(nn.Linear(2, 2), discriminator, plane(), steps=1, **QUICK)


def test_other_runs_are_left_alone(tmp_path):
    fit(*pair(), plane(), steps=5, out=tmp_path / "run", **QUICK)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    call = {"steps": 10, "out": tmp_path / "run", **QUICK}
    with pytest.raises(ValueError, match="holds a run; pass resume=True to go on"):
        fit(*pair(), plane(), **call)
    call["resume"] = True
    for change, name in (
        ({"objective": "hinge"}, "objective='NonSaturating"),
        ({"lr": 1e-3}, "lr="),
        ({"batch_size": 6}, "batch_size=12, this call has batch_size=6"),
        ({"random_state": 4}, "random_state=0"),
        ({"terms": [PairwiseDistance(1.0)]}, "terms="),
        ({"ema": 10.0}, "ema=None"),
    ):
        with pytest.raises(ValueError, match=f"holds a run with {name}"):
            fit(*pair(), plane(), **{**call, **change})
    with pytest.raises(ValueError, match="holds a run with data="):
        fit(*pair(), plane() + 1, **call)
    other = networks.MLPGenerator(3, 2, widths=(9,))
    with pytest.raises(ValueError, match="holds a run with networks="):
        fit(other, pair()[1], plane(), **call)
    after = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert before == after
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else; choose another"):
        fit(*pair(), plane(), steps=5, out=tmp_path / "other", **QUICK)
    with pytest.raises(ValueError, match="out must be a folder, but"):
        fit(*pair(), plane(), steps=5, out=tmp_path / "other" / "thesis.txt", **QUICK)
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.txt"]
