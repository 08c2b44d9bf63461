"""What the pages for people name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
NAMED = re.compile(
    r"`((?:tests|nunif|scene|inpaint|benchmarks|scripts|examples)/[\w/.-]+|test_\w+\.py)`"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    names = set(NAMED.findall(page.read_text(encoding="utf-8")))
    missing = [
        name
        for name in sorted(names)
        if not (ROOT / name).exists() and not list((ROOT / "tests").rglob(name))
    ]
    assert missing == []
