"""The site of the pages: it builds, every link and anchor of it leads somewhere, and it has all pages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

pytest.importorskip("material", reason="the site is made by mkdocs-material")

pytestmark = pytest.mark.slow


def build(folder: Path) -> tuple[int, str]:
    """The exit status and the output of the build of a checkout; its site is in ``site``."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(folder / "mkdocs.yml")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The pages in a folder of their own; what they link to besides is where it was."""
    for path in ROOT.iterdir():
        if path.name in ("docs", "mkdocs.yml", "README.md", "CHANGELOG.md"):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
        elif not path.name.startswith("."):
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_the_site_builds_and_has_every_page_as_it_is_written(checkout: Path) -> None:
    status, output = build(checkout)
    assert status == 0, output
    site = checkout / "site"
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md") if path.name != "README.md"]
    written = {path.relative_to(site).parent.as_posix() for path in site.rglob("index.html")}
    assert {page.with_suffix("").as_posix() for page in pages} <= written
    assert {".", "rules", "tour", "changelog", "contributing"} <= written
    for name in written:
        text = re.sub(r"<(pre|code)\b.*?</\1>", "", (site / name / "index.html").read_text("utf-8"), flags=re.DOTALL)
        assert not re.search(r"^\s*\|.*\|\s*$|^```|</p>\s*- |^- ", text, re.MULTILINE), f"{name}: Markdown is left"


@pytest.mark.parametrize(
    ("page", "link", "told"),
    [
        ("docs/faq.md", "[x](settings.md#no-such-heading)", "no-such-heading"),
        ("docs/faq.md", "[x](no-such-page.md)", "no-such-page.md"),
        ("docs/rules/unbind-qkv.md", "[x](../../mha_lint/no_such_module.py)", "no_such_module.py"),
        ("README.md", "[x](docs/settings.md#no-such-heading)", "no-such-heading"),
    ],
)
def test_a_broken_link_fails_the_build(checkout: Path, page: str, link: str, told: str) -> None:
    with (checkout / page).open("a", encoding="utf-8") as file:
        file.write(f"\nA link that is broken: {link}.\n")
    status, output = build(checkout)
    assert status == 1
    assert told in output


def test_links_out_of_the_pages_lead_to_the_repository(checkout: Path) -> None:
    with (checkout / "docs/faq.md").open("a", encoding="utf-8") as file:
        file.write(
            "\n[a file](../mha_lint/findings.py), [a folder](../tests/corpus), [a page](../CONTRIBUTING.md#style).\n"
        )
        file.write("`[code](../stays)`\n\n```text\n[so](does/this)\n```\n")
    status, output = build(checkout)
    assert status == 0, output
    text = (checkout / "site/faq/index.html").read_text("utf-8")
    assert 'href="https://github.com/mha-lint/mha-lint/blob/main/mha_lint/findings.py"' in text
    assert 'href="https://github.com/mha-lint/mha-lint/tree/main/tests/corpus"' in text
    assert 'href="../contributing/#style"' in text
    assert "[code](../stays)" in text and "[so](does/this)" in text


def test_a_page_that_the_navigation_does_not_name_is_in_it(checkout: Path) -> None:
    (checkout / "docs/another.md").write_text("# Another page\n\nWords.\n", encoding="utf-8")
    status, output = build(checkout)
    assert status == 0, output
    assert re.search(r'href="another/"', (checkout / "site/index.html").read_text("utf-8"))
