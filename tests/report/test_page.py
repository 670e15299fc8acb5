"""The page holds what it is given, escaped, and is written whole or not at all."""

from __future__ import annotations

import base64
import html.parser
import io

import numpy as np
import pytest
from PIL import Image

from fastgen.plotting.style import figure
from fastgen.report import Page, Section
from fastgen.report.page import picture

RNG = np.random.default_rng(0)


class Names(html.parser.HTMLParser):
    """Collects the tags, the anchors, and where links and images lead."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.described = 0

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.anchors.update(filter(None, [found.get("id")]))
        if "href" in found:
            self.links.append(found["href"])
        if "src" in found:
            self.sources.append(found["src"])
            self.described += bool(found.get("alt"))


def made() -> Page:
    page = Page("Two <sets> & more", [("real", '<script>alert("x")</script>')])
    first = Section("The first part", "How to read it.", "What it does not show.")
    drawn = figure(4.0, 3.0)
    drawn.subplots().plot([0, 1])
    first.add_figure(drawn, "A line")
    first.add_strip("Pairs", RNG.random((3, 1, 8, 8)), ["<i>one</i>", "two", "three"],
                    beside=RNG.random((3, 1, 8, 8)))  # fmt: skip
    second = Section("Another part")
    second.lines.append("</section><script>")
    page.add(first)
    page.add(second)
    return page


def parsed(page: Page) -> Names:
    names = Names()
    names.feed(page.html())
    return names


def test_names_are_escaped():
    names = parsed(made())
    assert "script" not in names.tags
    assert "i" not in names.tags
    assert names.tags.count("section") == 2


def test_nothing_is_fetched_and_every_link_resolves():
    names = parsed(made())
    assert len(names.sources) == 1 + 6
    assert names.described == len(names.sources)
    assert all(source.startswith("data:image/") for source in names.sources)
    inner = [link[1:] for link in names.links if link.startswith("#")]
    assert inner == ["the-first-part", "another-part"]
    assert set(inner) <= names.anchors
    assert [link for link in names.links if not link.startswith("#")] == ["data:,"]


def test_small_images_are_kept_to_the_last_bit():
    values = RNG.integers(0, 256, (3, 8, 8))
    content = base64.b64decode(picture(values / 255, "an image").source.partition(",")[2])
    read = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(read, values.transpose(1, 2, 0))


def test_large_images_shrink():
    shown = picture(RNG.random((3, 300, 200)), "an image")
    assert (shown.width, shown.height) == (64, 96)
    assert len(shown.source) < 20_000


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    page, path = made(), tmp_path / "page.html"
    path.write_text("before")
    monkeypatch.setattr(Page, "html", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        page.save(path)
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.html, got .*page\.pdf"):
        made().save(tmp_path / "page.pdf")


def test_paths_of_this_machine_stay_out():
    assert "site-packages" not in made().html()


def test_notebooks_show_the_page_in_a_frame():
    shown = made()._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "<section" not in shown
