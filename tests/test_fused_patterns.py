"""MHA201 finds and fixes what torch.compile fuses, and the page that says so is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fused_patterns import PATTERNS, Pattern

from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.settings import Settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "fused-attention-patterns.md"


def findings(text: str) -> list[Finding]:
    return list(lint(decode(Path("attention.py"), text.encode()), Settings(select=("MHA201",))).findings)


def said(pattern: Pattern) -> str:
    """The last cell of the row of a pattern."""
    rows = [[cell.strip() for cell in line.split("|")] for line in PAGE.read_text(encoding="utf-8").splitlines()]
    (cells,) = [row for row in rows if row[1:2] == [str(pattern.number)]]
    return cells[-2]


def test_there_is_one_module_for_each_pattern() -> None:
    assert [pattern.number for pattern in PATTERNS] == [*range(1, 31)]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: str(pattern.number))
def test_the_page_says_of_each_pattern_what_the_rule_does(pattern: Pattern) -> None:
    outcomes = [
        "found" if each.fix is None else "fixed, unsafe" if each.fix.applicability == "unsafe" else "fixed"
        for each in findings(pattern.text)
    ]
    assert (outcomes or ["silent"]) == [said(pattern)]


@pytest.mark.slow
def test_each_fix_is_validated(tmp_path: Path) -> None:
    """All of them in one run, in which torch is imported once."""
    for pattern in PATTERNS:
        (tmp_path / f"pattern_{pattern.number}.py").write_text(pattern.text, encoding="utf-8")
    options = ["--isolated", "--no-cache", "--select", "MHA201", "--fix", "--unsafe-fixes", "--device", "cpu"]
    command = [sys.executable, "-m", "mha_lint", *options, "--output-format", "json", "."]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    verdicts = {
        Path(entry["filename"]).stem: (entry["validation"] or {}).get("verdict")
        for entry in json.loads(run.stdout)["findings"]
    }
    expected = {f"pattern_{each.number}": "validated" if said(each).startswith("fixed") else None for each in PATTERNS}
    assert verdicts == expected, run.stderr
