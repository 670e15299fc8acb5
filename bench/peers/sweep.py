"""The linear sweep beside the same work in NumPy and in the usual script, in one process.

Agreement comes first: nothing is timed that is wrong. Then the contestants take turns, and medians
and their ratios go into a Markdown table. Run from anywhere:

    python bench/peers/sweep.py [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import linear_peers
import numpy as np
import threadpoolctl
from linear_peers import METRICS, PROBLEMS, Expert, PeerRun, UsualScript
from report import blas_lines, cores, environment_lines, median, results_file, span, verdict, write
from sklearn.datasets import load_digits

from fastgen.linear import SpikedGaussian, sweep

SEED = 0
RESULTS = results_file("sweep.md")
EXPERT_TOLERANCE = 1e-9  # relative, with a floor of EXPERT_FLOOR times the trace
EXPERT_FLOOR = 1e-12
QUIET_LOAD = 0.1  # cores that other processes may use in a round on all cores
MOST_ROUNDS = 5  # times the number of quiet rounds wanted
THREADS_TARGET = 1.7  # two cores over one
USUAL_TOLERANCE = 1e-5  # of the total variance, true plus generated: sqrtm of a singular product


@dataclasses.dataclass(frozen=True)
class Case:
    """A sweep over k = 1..k_max, and how much of it the peers are timed on."""

    name: str
    dim: int
    n_samples: int
    k_max: int
    n_trials: int
    expert_trials: int
    usual_trials: int
    usual_stride: int
    rounds: int
    target_expert: float | None = None
    target_usual: float | None = None

    @property
    def latent_dims(self) -> list[int]:
        return list(range(1, self.k_max + 1))

    @property
    def usual_dims(self) -> list[int]:
        """Every ``usual_stride``-th k, both ends included."""
        return sorted({1, self.k_max, *range(self.usual_stride, self.k_max, self.usual_stride)})

    @property
    def title(self) -> str:
        return (
            f"{self.name}: d {self.dim}, n {self.n_samples}, k 1..{self.k_max}, "
            f"{self.n_trials} trials"
        )


FULL = (
    Case("Case 1", 64, 40, 120, 50, 10, 10, 1, 7, 10, 100),
    Case("Case 2", 512, 200, 600, 5, 1, 1, 25, 3, 40, 300),
)
QUICK = (
    Case("Case 1, shortened", 64, 40, 120, 10, 2, 1, 4, 3),
    Case("Case 2, shortened", 256, 100, 240, 2, 1, 1, 40, 3),
)


@dataclasses.dataclass
class Timings:
    """Seconds per repetition of everything timed in a case (peers: per trial)."""

    one_thread: list[float] = dataclasses.field(default_factory=list)
    all_cores: list[float] = dataclasses.field(default_factory=list)
    expert: list[float] = dataclasses.field(default_factory=list)
    expert_stopped: list[float] = dataclasses.field(default_factory=list)
    usual: list[float] = dataclasses.field(default_factory=list)
    cpu_share: list[float] = dataclasses.field(default_factory=list)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def ours(case: Case, n_trials: int, n_jobs: int):
    return sweep(
        SpikedGaussian(dim=case.dim),
        latent_dims=case.latent_dims,
        n_samples=case.n_samples,
        problems=PROBLEMS,
        n_trials=n_trials,
        random_state=SEED,
        n_jobs=n_jobs,
        progress=False,
    )


def peer_runs(peer: type[Expert], case: Case, dims: list[int], trials: int) -> list[PeerRun]:
    return [
        linear_peers.run(
            peer,
            SpikedGaussian(dim=case.dim),
            latent_dims=dims,
            n_samples=case.n_samples,
            k_max=case.k_max,
            random_state=SEED,
            index=index,
        )
        for index in range(trials)
    ]


# --- agreement -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Largest differences over all cells, and the largest share of the tolerance that one used."""

    peer: str
    cells: int
    relative: dict[str, float]
    natural: dict[str, float]
    used: float


def compare(peer: str, case: Case, result, dims: list[int], runs: list[PeerRun]) -> Agreement:
    """Compare our result with a peer's trials."""
    relative, natural, used = {}, {}, 0.0
    traces = np.array([_trace(case, index) for index in range(len(runs))])[:, None, None]
    chosen = result.isel(n_supervised=0, trial=slice(len(runs))).sel(latent_dim=dims)
    generated = np.stack([run.values[METRICS.index("gain")] for run in runs])
    for i, name in enumerate(METRICS):
        got = chosen[name].transpose("trial", "problem", "latent_dim").to_numpy()
        want = np.stack([run.values[i] for run in runs])
        unit = np.ones_like(traces) if name == "gain" else traces
        difference = np.abs(got - want)
        floor = EXPERT_FLOOR * unit
        relative[name] = float((difference / np.maximum(np.abs(want), 1e-3 * unit)).max())
        natural[name] = float((difference / (unit * (1 + generated))).max())
        if peer == "expert":
            share = difference / np.maximum(EXPERT_TOLERANCE * np.abs(want), floor)
        else:
            share = difference / (USUAL_TOLERANCE * unit * (1 + generated))
        used = max(used, float(np.nan_to_num(share, nan=np.inf).max()))
    return Agreement(peer, got.size * len(METRICS), relative, natural, used)


def _trace(case: Case, index: int) -> float:
    model = SpikedGaussian(dim=case.dim)
    drawn = linear_peers.draw_trial(model, case.n_samples, case.k_max, SEED, index)
    return float(np.trace(drawn.covariance))


def check_agreement(case: Case) -> list[Agreement]:
    """Warm everything up on the whole case and stop the program if an answer differs."""
    result = ours(case, case.n_trials, 1)
    parallel = ours(case, case.n_trials, -1)
    if any(not result[name].equals(parallel[name]) for name in METRICS):
        raise SystemExit(f"{case.name}: one thread and all cores disagree; nothing was timed")
    expert = peer_runs(Expert, case, case.latent_dims, case.expert_trials)
    usual = peer_runs(UsualScript, case, case.usual_dims, case.usual_trials)
    found = [
        compare("expert", case, result, case.latent_dims, expert),
        compare("usual script", case, result, case.usual_dims, usual),
    ]
    for item in found:
        note(f"{case.name}: {item}")
        if item.used > 1:
            raise SystemExit(
                f"{case.name}: fastgen and the {item.peer} differ by {item.used:.3g} times the "
                f"tolerance (relative {item.relative}, in natural units {item.natural}); nothing "
                "was timed"
            )
    return found


# --- timing --------------------------------------------------------------------------------------


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds and processor seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def time_case(case: Case) -> Timings:
    """All contestants in turn, ``case.rounds`` times; ours before each of the peers."""
    found = Timings()

    def one_thread() -> None:
        wall, cpu = seconds(lambda: ours(case, case.n_trials, 1))
        found.one_thread.append(wall)
        found.cpu_share.append(cpu / wall)

    dims, usual_dims, rank = case.latent_dims, case.usual_dims, min(case.dim, case.n_samples)
    for turn in range(case.rounds):
        one_thread()
        runs = peer_runs(Expert, case, dims, case.expert_trials)
        found.expert.append(statistics.mean(run.total_seconds(dims, dims) for run in runs))
        spared = statistics.mean(float(run.seconds[0, rank:].sum()) for run in runs)
        found.expert_stopped.append(found.expert[-1] - spared)
        one_thread()
        runs = peer_runs(UsualScript, case, usual_dims, case.usual_trials)
        found.usual.append(statistics.mean(run.total_seconds(usual_dims, dims) for run in runs))
        found.all_cores.append(seconds(lambda: ours(case, case.n_trials, -1))[0])
        note(f"{case.name}: round {turn + 1} of {case.rounds}")
    return found


@dataclasses.dataclass
class Threads:
    """Seconds per round on one thread and on all cores, in rounds that had the machine to itself.

    If there were too few such rounds, of all ``tried``.
    """

    one: list[float]
    every: list[float]
    quiet: int
    tried: int


def machine_cpu() -> float:
    """Processor seconds all processes used since the start; NaN where the system does not say."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except FileNotFoundError:  # not Linux
        return float("nan")
    ticks = [int(field) for field in fields]
    idle, waiting = ticks[3:5]
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def time_threads(case: Case, n_trials: int, rounds: int) -> Threads:
    """One thread and all cores in turn, until ``rounds`` rounds were quiet."""
    one, every, quiet = [], [], []
    ours(case, n_trials, -1)
    while sum(quiet) < rounds and len(quiet) < MOST_ROUNDS * rounds:
        if quiet and not quiet[-1]:
            time.sleep(0.5)
        before, start = machine_cpu(), time.perf_counter()
        walls, cpus = zip(
            *(seconds(lambda jobs=jobs: ours(case, n_trials, jobs)) for jobs in (1, -1)),
            strict=True,
        )
        others = machine_cpu() - before - sum(cpus)
        one.append(walls[0])
        every.append(walls[1])
        quiet.append(others <= QUIET_LOAD * (time.perf_counter() - start))
    kept = [i for i, calm in enumerate(quiet) if calm or sum(quiet) < rounds]
    return Threads([one[i] for i in kept], [every[i] for i in kept], sum(quiet), len(quiet))


def time_digits(n_samples: int, k_max: int, n_trials: int, rounds: int) -> dict[int, list[float]]:
    """Seconds of the sweep of scikit-learn's digits, by number of jobs."""
    rows = load_digits().data
    found: dict[int, list[float]] = {1: [], -1: []}
    for turn in range(rounds + 1):
        for n_jobs, times in found.items():
            wall, _ = seconds(
                lambda n_jobs=n_jobs: sweep(
                    rows,
                    latent_dims=range(1, k_max + 1),
                    n_samples=n_samples,
                    n_trials=n_trials,
                    random_state=SEED,
                    n_jobs=n_jobs,
                    progress=False,
                )
            )
            if turn:  # the first one warms up
                times.append(wall)
    return found


def memory(case: Case, n_trials: int, n_jobs: int) -> dict[str, int]:
    """Bytes of the result and growth of the peak in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("sweep_memory.py"))]
    for name, value in (
        ("dim", case.dim),
        ("n-samples", case.n_samples),
        ("k-max", case.k_max),
        ("trials", n_trials),
        ("jobs", n_jobs),
    ):
        command += [f"--{name}", str(value)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


# --- the report ----------------------------------------------------------------------------------


def case_lines(case: Case, agreements: list[Agreement], found: Timings) -> list[str]:
    """Section of one case."""
    per_trial = 1 / case.n_trials
    base = median(found.one_thread) * per_trial
    dims, stopped = len(case.usual_dims), median(found.expert_stopped)
    usual = f"{case.usual_trials} of the trials"
    if case.usual_stride > 1:
        usual += (
            f", {dims} of the {case.k_max} k (every {case.usual_stride}th and both ends; "
            "cost per k linear between)"
        )
    rows = [
        f"| fastgen, one thread | all {case.n_trials} trials | "
        f"{span(found.one_thread, per_trial)} | 1x | |",
        f"| fastgen, {cores()} cores | all {case.n_trials} trials | "
        f"{span(found.all_cores, per_trial)} | "
        + verdict(median(found.all_cores) * per_trial / base, None),
        f"| expert NumPy | {case.expert_trials} of the trials, every k | {span(found.expert)} | "
        + verdict(median(found.expert) / base, case.target_expert),
        f"| the same, P0 not repeated past its rank | from the same timings | "
        f"{span(found.expert_stopped)} | " + verdict(stopped / base, None),
        f"| usual script | {usual} | {span(found.usual)} | "
        + verdict(median(found.usual) / base, case.target_usual),
    ]
    return [
        f"## {case.title}",
        "",
        "| contestant | timed on | ms per trial, median (min..max) | time over fastgen's on one "
        "thread | target |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"{case.rounds} rounds, contestants in turn (fastgen on one thread twice per round). "
        f"Processor over wall time of fastgen on one thread: at least "
        f"{min(found.cpu_share):.2f} (well below 1 means that something else held the core).",
        "",
        *(line for item in agreements for line in agreement_lines(item)),
    ]


def agreement_lines(item: Agreement) -> list[str]:
    used = f"{item.used:.2g} of the tolerance"
    if item.peer == "expert":
        worst = ", ".join(f"{name} {value:.1e}" for name, value in item.relative.items())
        scale = f"relative (to at least 1e-3 of the trace): {worst}"
    else:
        worst = ", ".join(f"{name} {value:.1e}" for name, value in item.natural.items())
        scale = f"over true plus generated variance: {worst}"
    return [
        f"Agreement with the {item.peer} on {item.cells} values, largest difference {scale}; "
        f"{used}.",
        "",
    ]


def thread_lines(threads: dict[int, Threads], case: Case, target: float | None) -> list[str]:
    lines = [
        f"## Threads (d {case.dim}, n {case.n_samples}, k 1..{case.k_max})",
        "",
        f"| trials | one thread, ms | {cores()} cores, ms | speed-up | target | rounds |",
        "|---|---|---|---|---|---|",
    ]
    for n_trials, found in threads.items():
        ratio = verdict(median(found.one) / median(found.every), target)
        lines.append(
            f"| {n_trials} | {span(found.one)} | {span(found.every)} | {ratio} "
            f"{len(found.one)} of {found.tried}, {found.quiet} quiet |"
        )
    lines += [
        "",
        "A round is quiet if other processes used at most a tenth of a core during it. Only quiet "
        "rounds count, or all if there were too few.",
    ]
    return [*lines, ""]


def memory_lines(found: dict[tuple[int, int], dict[str, int]]) -> list[str]:
    lines = [
        "## Peak memory beyond the result",
        "",
        "Growth of the peak resident set over that after a sweep of two trials, less the result.",
        "",
        "| trials | jobs | result, MiB | growth less result, MiB |",
        "|---|---|---|---|",
    ]
    for (n_trials, n_jobs), item in found.items():
        result, growth = item["result"] / 2**20, item["growth"] / 2**20
        lines.append(
            f"| {n_trials} | {cores() if n_jobs < 0 else n_jobs} | {result:.2f} | "
            f"{max(growth - result, 0):.2f} |"
        )
    return [*lines, ""]


def digits_lines(found: dict[int, list[float]], size: tuple[int, int, int]) -> list[str]:
    n_samples, k_max, n_trials = size
    return [
        f"## Real data: scikit-learn's digits, n {n_samples}, k 1..{k_max}, {n_trials} trials",
        "",
        "| | ms, median (min..max) |",
        "|---|---|",
        f"| one thread | {span(found[1])} |",
        f"| {cores()} cores | {span(found[-1])} |",
        "",
    ]


INTRODUCTION = """\
One process, one run. P0 (unsupervised) and P1 (pseudo-supervised), four metrics each, on the same
data. *Expert NumPy*: the truth's symmetric root and PCA once per trial, `X @ pinv(Z[:k])` per k,
squared W2 by a nuclear norm, SVD basis of the range. *Usual script*: the same but for W2, which is
`scipy.linalg.sqrtm(C1 @ C2)` with covariances formed per k. The peers are linear in the trials and
timed on fewer of them; fastgen always does the whole case.
"""


def measure(quick: bool) -> list[str]:
    """Run everything and return the lines of the report."""
    cases = QUICK if quick else FULL
    lines = []
    for case in cases:
        agreements = check_agreement(case)
        lines += case_lines(case, agreements, time_case(case))
    first = cases[0]
    few, many, rounds = (10, 40, 3) if quick else (50, 400, 9)
    threads = {n: time_threads(first, n, rounds) for n in (few, many)}
    note("threads: done")
    target = THREADS_TARGET if cores() == 2 and not quick else None
    lines += thread_lines(threads, first, target)
    sizes = [(n, jobs) for jobs in (1, -1) for n in (few, many)]
    lines += memory_lines({size: memory(first, *size) for size in sizes})
    digits = (50, 100, 5) if quick else (100, 300, 50)
    lines += digits_lines(time_digits(*digits, rounds=3), digits)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument(
        "--out", type=Path, help="Markdown file (default: bench/results/sweep.md; none if --quick)"
    )
    options = parser.parse_args()
    out = options.out or (None if options.quick else RESULTS)
    started = time.perf_counter()
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        held = blas_lines()
        if not held or any(not line.endswith(" 1 thread") for line in held):
            raise SystemExit(f"BLAS could not be held at one thread: {held}")
        body = measure(options.quick)
        command = "python bench/peers/sweep.py" + (" --quick" if options.quick else "")
        head = ["# The linear sweep beside its peers", ""]
        if options.quick:
            head += ["**Shortened by --quick: shows that it runs, not for quoting.**", ""]
        head += [INTRODUCTION, f"- Command: `{command}`.", *environment_lines()]
    head += [f"- Took {time.perf_counter() - started:.0f} s.", ""]
    text = "\n".join([*head, *body]).rstrip() + "\n"
    print(text)
    if out is not None:
        write(out, text)


if __name__ == "__main__":
    main()
