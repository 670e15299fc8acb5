"""A whole page: what is on it, what is refused, and what a browser makes of it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fastgen.linear import LinearGAN
from fastgen.metrics.features import PCAFeatures
from fastgen.report import report

METRICS = ["fid", "fid_infinity", "wam", "precision", "recall", "authenticity"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def digits():
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.data))
    return found.data[order] / 16, found.target[order]


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """The page of everything, and its file."""
    rows, labels = digits
    real, held = rows[:300], rows[300:600]
    generator = LinearGAN(8, "unsupervised").fit(real)
    made = np.clip(generator.sample(300, random_state=1), 0, 1)
    path = tmp_path_factory.mktemp("page") / "page <b>.html"
    page = report(
        *(part.reshape(-1, 8, 8) for part in (real, made, held)),
        out=path,
        names=["<script>alert(1)</script>", "made", "held"],
        features=PCAFeatures(6),
        metrics=METRICS,
        labels=labels[:300],
        generator=generator,
        n_targets=16,
        random_state=0,
        progress=False,
    )
    return page, path


def test_every_part_is_there(whole):
    page, path = whole
    assert [section.title for section in page.sections] == [
        "All figures",
        "Samples",
        "Nearest neighbors",
        "Where the distance comes from",
        "FID against the number of samples",
        "Modes",
        "What the generator can produce (GOoF)",
    ]
    assert all(section.reading and section.limits for section in page.sections)
    assert path.stat().st_size < 5e6
    (table,) = page.sections[0].tables
    assert [row[0] for row in table.rows] == [
        "FID", "FID of infinitely many samples", "WaM, squared", "Precision", "Recall", "AuthPct",
    ]  # fmt: skip


def test_the_closest_pairs_are_the_closest(digits):
    rows, _ = digits
    real, other = rows[:50], rows[50:90]
    made = np.concatenate([other, real[7:8]])  # the last is a copy
    page = report(
        real.reshape(-1, 8, 8), made.reshape(-1, 8, 8), metrics=["precision"], progress=False
    )
    (section,) = [one for one in page.sections if one.title == "Nearest neighbors"]
    pictures, caption = section.strips[0].groups[0]
    assert caption == "distance 0"
    assert pictures[0].source == pictures[1].source


def test_rows_without_images_make_a_page_without_images(digits, tmp_path):
    rows, _ = digits
    page = report(rows[:40], rows[40:80], metrics=["fid"], progress=False)
    assert [section.title for section in page.sections] == ["All figures"]


def test_the_same_seed_makes_the_same_page(digits):
    rows, _ = digits
    sets = rows[:60].reshape(-1, 8, 8), rows[60:120].reshape(-1, 8, 8)
    first, second = (report(*sets, metrics=["wam"], progress=False).html() for _ in range(2))
    ids = re.compile(r"[mp][0-9a-f]{10}")
    assert ids.sub("", first) == ids.sub("", second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "page.pdf"}, r"path must end in \.html"),
        ({"labels": [0, 1]}, r"labels must be one for each of 40 real samples, got \(2,\)"),
        ({"n_targets": 1}, "n_targets must be at least 2"),
        ({"metrics": ["fidd"]}, "metrics must be one of"),
    ],
)
def test_what_is_refused(digits, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows, _ = digits
    with pytest.raises(ValueError, match=message):
        report(rows[:40], rows[40:80], progress=False, **options)
    assert not list(tmp_path.iterdir())


# Runs in the page, which lies in a frame of the width asked for: windows of headless Chromium are
# wider than phones.
PROBE = """<script>
addEventListener("load", () => {
  const images = [...document.images];
  parent.postMessage(JSON.stringify({
    images: images.length,
    broken: images.filter(image => !image.complete || !image.naturalWidth).length,
    lost: [...document.querySelectorAll('a[href^="#"]')].filter(
      link => !document.getElementById(link.getAttribute("href").slice(1))).length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    width: innerWidth,
    smallest: Math.min(...[...document.querySelectorAll("p, td, dd, figcaption, a")].map(
      part => parseFloat(getComputedStyle(part).fontSize))),
  }), "*");
});
</script></body>"""
FRAME = """<body style="margin:0"><script>
addEventListener("message", event => document.body.setAttribute("data-probe", event.data));
</script><iframe src="probed.html" style="border:0" width="{width}" height="6000"></iframe>"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_all_of_it(whole, width, tmp_path):
    text = whole[1].read_text()
    (tmp_path / "probed.html").write_text(text.replace("</body>", PROBE))
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,6000",
            "--virtual-time-budget=8000", f"--screenshot={tmp_path / 'page.png'}", "--dump-dom",
            (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert (tmp_path / "page.png").stat().st_size > 10_000
    (told,) = re.findall(r'data-probe="([^"]*)"', done.stdout)
    seen = json.loads(html.unescape(told))
    assert seen["width"] == width
    assert seen["images"] == text.count("<img ") > 50
    assert (seen["broken"], seen["lost"]) == (0, 0)
    assert seen["overflow"] <= 0
    assert seen["smallest"] >= 12
