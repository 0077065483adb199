"""Every rule: its examples, its page, and that it is found where installed."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT

from mha_lint.files import decode
from mha_lint.findings import UNUSED_NOQA
from mha_lint.fixers import fixer_of
from mha_lint.linter import lint
from mha_lint.rules import Rule, all_rules
from mha_lint.settings import Settings

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
    select = ("ALL",) if rule.code == UNUSED_NOQA else (rule.code,)  # the one rule that is about what others find
    codes = {finding.code for finding in lint(source, Settings(select=select)).findings}
    assert codes == ({rule.code} if found else set())


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_rule_has_examples_on_both_sides_and_a_whole_page(rule: type[Rule]) -> None:
    assert rule.valid
    assert rule.invalid
    page = rule.__doc__ or ""
    places = [page.find(heading) for heading in HEADINGS]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_a_rule_says_what_it_finds_why_it_matters_and_what_its_fix_claims_or_why_there_is_none(
    rule: type[Rule],
) -> None:
    assert rule.finds and not rule.finds.endswith(".")
    assert rule.why.endswith(".")
    fixed = fixer_of(rule.code) is not None or rule.code == UNUSED_NOQA  # its fix needs no node of the tree
    assert fixed == (rule.applicability is not None) == (rule.relation is not None) == (not rule.no_fix)


def written() -> dict[str, Any]:
    """The script that writes what the pages say of each rule."""
    return runpy.run_path(str(ROOT / "docs/write_rules.py"))


def test_what_the_pages_say_of_the_rules_is_what_their_classes_say() -> None:
    stale = written()["stale"]()
    assert not stale, f"run `make docs`: {', '.join(stale)}"


def test_each_file_that_differs_from_what_the_classes_say_is_named_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "docs/rules", tmp_path / "docs/rules")
    shutil.copy(ROOT / "README.md", tmp_path)
    script = written()
    script["stale"].__globals__["ROOT"] = tmp_path
    assert script["stale"]() == []
    folder, readme = tmp_path / "docs/rules", tmp_path / "README.md"
    (folder / "unbind-qkv.md").unlink()
    (folder / "gone.md").write_text("# MHA999 gone\n")
    (folder / "README.md").write_text(
        (folder / "README.md").read_text("utf-8").replace("| info |", "| error |"), "utf-8"
    )
    page = readme.read_text("utf-8")
    readme.write_text(page.replace("safe, *repaired*", "unsafe, *repaired*") + "A line behind the table.\n", "utf-8")
    names = ["README.md", "docs/rules/README.md", "docs/rules/gone.md", "docs/rules/unbind-qkv.md"]
    assert script["stale"]() == names
    script["main"]()
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "wrote README.md",
        "wrote docs/rules/README.md",
        "deleted docs/rules/gone.md: its rule is gone",
        "wrote docs/rules/unbind-qkv.md",
    ]
    assert script["stale"]() == []
    assert readme.read_text("utf-8") == page + "A line behind the table.\n"
