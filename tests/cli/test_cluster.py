"""``fastgen cluster``: what it reads, prints and writes, and what it refuses in one line."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from fastgen.cli import tables
from fastgen.cli.app import app
from fastgen.mixture import NonparametricMixture, select_components, stability

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 80)
ROWS = np.round(RNG.gamma(2.0, size=(80, 4)) + 6 * LABELS[:, None], 3)
OPTIONS = ["--n-components", "2", "--blocks", "a,a,b,b", "--seed", "0", "--no-progress"]


def call(*arguments):
    return CliRunner().invoke(app, ["cluster", *(str(argument) for argument in arguments)])


@pytest.fixture
def table(tmp_path):
    """A table with header and names."""
    path = tmp_path / "table.csv"
    lines = ["gene,k1,k2,l1,l2"]
    lines += [f'"g{i}",' + ",".join(map(str, row)) for i, row in enumerate(ROWS)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_end_to_end(table, tmp_path):
    out, plot = tmp_path / "clusters.csv", tmp_path / "clusters.png"
    result = call(table, *OPTIONS, "--out", out, "--plot", plot)
    assert result.exit_code == 0, result.output
    fit = NonparametricMixture(2, blocks=[0, 0, 1, 1], random_state=0).fit(ROWS)
    with open(out, newline="") as file:
        head, *body = csv.reader(file)
    assert head == ["row", "cluster", "probability_0", "probability_1"]
    assert [row[0] for row in body] == [f"g{i}" for i in range(80)]
    assert [int(row[1]) for row in body] == fit.labels_.tolist()
    found = np.array([row[2:] for row in body], dtype=float)
    np.testing.assert_allclose(found, fit.posteriors_, rtol=1e-8, atol=1e-300)
    assert plot.read_bytes().startswith(b"\x89PNG")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["cluster", "rows", "weight"]
    assert sum(int(line.split()[1]) for line in lines[1:3]) == 80
    assert f"converged after {fit.n_iter_} iterations" in lines[3]
    assert lines[4:] == [f"wrote {out}", f"wrote {plot}"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "clusters.csv",
        "clusters.png",
        "table.csv",
    ]


def test_json_and_options(table):
    result = call(
        *(table, *OPTIONS, "--json", "--method", "npem", "--bandwidth", "0.7,0.9"),
        *("--max-iter", "3", "--log2", "--starts", "2", "--jobs", "1"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    fit = NonparametricMixture(
        2,
        method="npem",
        blocks=[0, 0, 1, 1],
        bandwidth=[0.7, 0.9],
        n_init=2,
        max_iter=3,
        random_state=0,
    )
    with pytest.warns(UserWarning, match="max_iter=3"):
        fit.fit(np.log2(ROWS + 1))
    assert found["weights"] == pytest.approx(fit.weights_.tolist())
    assert found["objective"] == pytest.approx(fit.objective_[-1])
    assert not found["converged"]
    assert "raise max_iter" in found["warnings"][0]
    assert "warning: NonparametricMixture stopped" in result.stderr


def test_progress_is_on_standard_error(table):
    result = call(table, "--n-components", 2, "--json", "--seed", 0)
    assert json.loads(result.stdout)["n_rows"] == 80
    assert "iteration" in result.stderr


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [None, ["a", "b"]])
@pytest.mark.parametrize("names", [None, ["x", "7"]])
def test_every_layout(tmp_path, delimiter, header, names):
    path = tmp_path / "table"
    lines = [["1", "2.5"], ["-3e2", " 4"]]
    if names:
        lines = [[name, *line] for name, line in zip(names, lines, strict=True)]
    for corner in (["id"], []) if header and names else ([],):
        whole = [[*corner, *header], *lines] if header else lines
        path.write_text("\r\n".join(delimiter.join(line) for line in whole) + "\r\n\r\n")
        found = tables.read(str(path))
        np.testing.assert_array_equal(found.rows, [[1, 2.5], [-300, 4]])
        assert found.names == (names or ["0", "1"])
        assert found.columns == (header or ["0", "1"])


def test_missing_values(table, tmp_path):
    lines = table.read_text().splitlines()
    lines[3] = "g2,1.0,NA,2.0,3.0"
    table.write_text("\n".join(lines))
    refused = call(table, *OPTIONS)
    assert refused.exit_code == 2
    assert "1 rows with missing or infinite values, the first 'g2' in column 'k2'" in refused.stderr
    assert "--drop-missing" in refused.stderr
    out = tmp_path / "out.csv"
    assert call(table, *OPTIONS, "--drop-missing", "--out", out).exit_code == 0
    names = [line.split(",")[0] for line in out.read_text().splitlines()[1:]]
    assert names == [f"g{i}" for i in range(80) if i != 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a,b\n", "has a header but no rows"),
        ("x\ny\n", "no column of numbers"),
        ("a,b\n1,2\n3\n4,5\n", "lines of one length, got 1 entries in line 3"),
        ("a,b\n1,2\n3,x\n", "got 'x' in line 3, column 2"),
        ("\0PK", "is not text"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    out = tmp_path / "out.csv"
    result = call(path, *OPTIONS, "--out", out)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not out.exists()


def test_not_utf8_and_absent(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b\n1,\xff\n")
    assert "not UTF-8 text at byte 6" in call(path, *OPTIONS).stderr
    result = call(tmp_path / "absent.csv", *OPTIONS)
    assert result.exit_code == 2
    assert "cannot be read: No such file" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--blocks", "1,1"], "a label for each of the 4 columns k1, k2, l1, l2, got 2"),
        (["--n-components", "81"], "at least n_components=81 rows, got 80"),
        (["--n-components", "0"], "n_components must be at least 1"),
        (["--bandwidth", "wide"], "bandwidth must be one of"),
        (["--bandwidth", "1,2,3"], "each of the 2 blocks"),
        (["--method", "em"], "method must be one of"),
        (["--jobs", "0"], "--jobs must be"),
        (["--out", "clusters.txt"], "--out must end in .csv"),
        (["--out", "nowhere/clusters.csv"], "does not exist"),
        (["--plot", "clusters.gif"], "--plot must end in"),
        (["--plot-profiles", "p.gif"], "--plot-profiles must end in"),
        (["--plot-selection", "s.png"], "--plot-selection needs several --n-components"),
        (["--plot", "s.png", "--plot-profiles", "./s.png"], "must name different files"),
        (["--n-components", "2:x"], "--n-components must be integers and ranges"),
        (["--n-components", "1:2", "--criterion", "ari"], "--criterion must be one of"),
        (["--stability", "-1"], "--stability must be at least 0"),
        (["--columns", "k1,none"], "'none'"),
    ],
)
def test_bad_options(table, options, message):
    result = call(table, *OPTIONS, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_table_is_not_overwritten_and_log2_needs_counts(table):
    before = table.read_text()
    assert "--out must differ" in call(table, *OPTIONS, "--out", table).stderr
    table.write_text(before.replace("gene,", "gene,", 1) + "low,-1,2,3,4\n")
    assert "--log2 needs values of at least 0, got -1" in call(table, *OPTIONS, "--log2").stderr


def test_the_number_of_clusters_is_chosen(table, tmp_path):
    drawn = [tmp_path / f"{name}.png" for name in ("d", "p", "s")]
    options = ["--blocks", "1,1,2,2", "--seed", "0", "--no-progress", "--n-components", "1:3"]
    files = ["--plot", drawn[0], "--plot-profiles", drawn[1], "--plot-selection", drawn[2]]
    result = call(table, *options, *files, "--stability", 3, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    expected = select_components(ROWS, [1, 2, 3], blocks=[0, 0, 1, 1], random_state=0)
    means = expected.score.mean("fold").values
    np.testing.assert_allclose(list(found["selection"]["scores"].values()), means)
    assert found["selection"]["best"] == expected.attrs["best"] == len(found["weights"]) == 2
    fit = NonparametricMixture(2, blocks=[0, 0, 1, 1], random_state=0).fit(ROWS)
    np.testing.assert_allclose(found["means"], fit.means_)
    assert found["columns"] == ["k1", "k2", "l1", "l2"]
    np.testing.assert_allclose(
        found["stability"], stability(fit, ROWS, n_resamples=3, random_state=0)
    )
    assert found["files"] == [str(path) for path in drawn]
    for path in drawn:
        assert path.read_bytes().startswith(b"\x89PNG")
    result = call(table, *options, "--stability", 2)
    assert "       2  " in result.stdout
    assert "  best\n" in result.stdout
    assert "stability: adjusted Rand index " in result.stdout
    result = call(table, *options[:-1], "1:2", "--max-iter", 1)
    assert "is the largest of those compared; compare larger ones" in result.stderr
    assert "10 of the 10 fits that were compared did not converge" in result.stderr


def test_columns_are_chosen(table):
    whole = NonparametricMixture(2, random_state=0).fit(ROWS[:, [3, 0]])
    for options in (["--columns", "l2,k1"], ["--ignore", "k2,l1"]):
        result = call(table, "--n-components", 2, "--seed", 0, "--json", "--no-progress", *options)
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert sorted(found["columns"]) == ["k1", "l2"]
        assert found["objective"] == pytest.approx(whole.objective_[-1], rel=1e-6)


def test_a_drawn_seed_repeats_the_fit_and_counts_are_told_of_logarithms(table):
    options = ("--n-components", 2, "--no-progress", "--json")
    first = call(table, *options)
    seed = json.loads(first.stdout)["seed"]
    assert f"fastgen: seed {seed}; --seed {seed} repeats this fit" in first.stderr
    again = call(table, *options, "--seed", seed)
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert "repeats" not in again.stderr
    line = call(table, *options, "--bandwidth", 0.001).stderr
    assert "take logarithms of counts with --log2, or pass a larger --bandwidth" in line
    assert "n_grid" not in line
