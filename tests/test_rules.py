"""Every rule: its examples, its page, and that it is found where installed."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from mha_lint.files import decode
from mha_lint.linter import lint
from mha_lint.rules import Rule, all_rules
from mha_lint.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
HEADINGS = (
    "## What it does",
    "## Why it matters",
    "## Example",
    "## Fix",
    "## When it stays silent",
    "## References",
)
EXAMPLES = [
    pytest.param(rule, text, found, id=f"{rule.code}-{'invalid' if found else 'valid'}-{index}")
    for rule in all_rules()
    for found, texts in ((True, rule.invalid), (False, rule.valid))
    for index, text in enumerate(texts)
]


@pytest.mark.parametrize(("rule", "text", "found"), EXAMPLES)
def test_rule_fires_on_its_invalid_examples_and_on_no_valid_one(rule: type[Rule], text: str, found: bool) -> None:
    source = decode(Path("example.py"), f"import torch\n{text}".encode())
    codes = {finding.code for finding in lint(source, Settings(select=(rule.code,)))}
    assert codes == ({rule.code} if found else set())


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_rule_has_examples_on_both_sides_and_a_whole_page(rule: type[Rule]) -> None:
    assert rule.valid
    assert rule.invalid
    page = rule.__doc__ or ""
    places = [page.find(heading) for heading in HEADINGS]
    assert -1 not in places
    assert places == sorted(places)


def test_pages_in_docs_are_the_docstrings() -> None:
    pages = runpy.run_path(str(DOCS / "write_rules.py"))["pages"]()
    written = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "rules").glob("*.md")}
    assert written == pages, "run: python docs/write_rules.py"
