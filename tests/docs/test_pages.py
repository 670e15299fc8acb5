"""The Python of every page runs as written, from top to bottom; every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROOT = DOCS.parent
PAGES = [
    *sorted(
        path for path in DOCS.rglob("*.md") if not {"_build", "gallery", "api"} & set(path.parts)
    ),
    ROOT / "README.md",
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+?)(?:#[^)]*)?\)")


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page) and page.name != "first_steps.md"],  # test_first_steps
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), names)
    assert len(names) > 2  # what the blocks made is there


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page):
    for link in LINK.findall(page.read_text()):
        if not link.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / link).exists(), link


def test_pages_are_found():
    names = {page.name for page in PAGES}
    assert {"architecture.md", "start.md", "theory.md"} <= names
