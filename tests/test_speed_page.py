"""docs/speed.md says what the files of measurements say, and each rule that was measured has its plot."""

from __future__ import annotations

import json
import runpy
from typing import Any

import pytest
from checkout import ROOT

MEASURED = ROOT / "docs/speed"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs/write_speed.py"))


@pytest.fixture(scope="module")
def files() -> dict[str, list[dict[str, Any]]]:
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted(MEASURED.glob("*.json"))}


def test_the_page_is_what_make_speed_writes(script: dict[str, Any], files: dict[str, list[dict[str, Any]]]) -> None:
    assert script["page"](files) == (ROOT / "docs/speed.md").read_text("utf-8"), "make speed"


def test_each_rule_that_was_measured_has_a_plot_of_its_own_numbers(files: dict[str, list[dict[str, Any]]]) -> None:
    measured = {finding["rule"] for findings in files.values() for finding in findings if finding["rows"]}
    assert measured == {path.stem for path in MEASURED.glob("*.svg")}


def test_the_outcome_of_a_row_is_told_as_it_was_measured(script: dict[str, Any]) -> None:
    def row(way: str, difference: str, before: float, after: float) -> dict[str, Any]:
        kept = {"dtype": "float32", "preset": "2x8x16", "way": way, "compiled": False, "difference": difference}
        times = {"before": [before] * 3, "after": [after] * 3}
        return {**kept, **times, "memory_before": 4.0, "memory_after": 2.0}

    finding = {
        "rule": "MHA201", "example": "a.py", "symbol": "A.forward", "verdict": "validated", "torch": "2.1",
        "device": "NVIDIA H100 80GB HBM3", "processor": "P", "python": "3.11", "commit": "abc", "date": "2026-01-01",
        "rows": [row("forward", "faster", 3.0, 1.5), row("training", "slower", 1.0, 4.0)],
    }  # fmt: skip
    page = script["page"]({"gpu.json": [{**finding, "left": []}]})
    assert "- H100, float32, eager: forward 2.00 times faster in 1 of 1; training 4.00 times slower in 1 of 1." in page
    finding["device"] = "x86"
    page = script["page"]({"cpu.json": [{**finding, "left": []}]})
    assert "| A (a.py) | CPU, float32, eager | 2 × 8 × 16 | 3 → 1.5 (2.00×) | 1 → 4 (0.25×) | 4 → 2 |" in page
