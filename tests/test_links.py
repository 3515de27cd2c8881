"""Links of the documents outside docs/ lead somewhere; ci/docs looks at those inside."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("wheels/*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub and mkdocs both make them of plain ones."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(document: Path) -> list[str]:
    bad = []
    for link in LINK.findall(FENCE.sub("", document.read_text())):
        if link.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        page = document.parent / name if name else document
        if not page.exists() or (anchor and anchor not in anchors(page)):
            bad.append(link)
    return bad


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    assert not broken(document)


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`\n[a](none.md) [b](page.md#one-two) [c](#three) [d](page.md)\n")
    assert broken(page) == ["none.md", "#three"]


def test_the_readme_is_read_in_five_minutes() -> None:
    words = FENCE.sub("", (ROOT / "README.md").read_text()).replace("|", " ").split()
    assert len(words) <= 1000, "200 a minute; move what is more into docs/"
