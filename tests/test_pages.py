"""What the pages for people name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    page
    for folder in (".", "docs", "benchmarks", "pretrained_models")
    for page in sorted((ROOT / folder).glob("*.md"))
]
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


def anchors_of(page: Path) -> set[str]:
    """What a link may name in a page, as GitHub has it: its headings in small letters."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if not link.startswith(("http://", "https://")):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors_of(target), link
