"""Corrections from the command line: applied with a counterexample, or told as a warning where none was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from validation.corrected_modules import DROPPING_TWICE, GATED, UNGATED

from mha_lint.cli import main
from mha_lint.files import read_source
from mha_lint.findings import Edit, Finding, Fix, Position
from mha_lint.fixing import Fixed, fix_source
from mha_lint.settings import Settings
from mha_lint.validation import Validator

pytest.importorskip("torch")

TWICE_WRONG = """\
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int = 4):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q = self.query(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        k = self.key(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        v = self.value(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
        y = torch.softmax(scores, dim=1) @ v
        y = y.reshape(b, t, c)
        return self.proj(y)
"""
# With positions, and every token seen: neither property of the probes is one that it means to have.
PLACED = TWICE_WRONG.replace("dim=1)", "dim=-1)")
PLACED = PLACED.replace(
    "        self.proj =", "        self.register_buffer('position', torch.randn(1, 64, dim))\n        self.proj ="
)
PLACED = PLACED.replace("        q = self.query", "        x = x + self.position[:, :t]\n        q = self.query")
WRONG = ["--unsafe-fixes", "--device", "cpu"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that does not ask about speed: modules that attend by hand are put right, and stay by hand."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mha-lint.toml").write_text('ignore = ["MHA2"]\n')
    return tmp_path


@pytest.mark.slow
def test_each_correction_of_a_class_is_applied_with_a_counterexample_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("wrong.py").write_text(TWICE_WRONG)
    assert main(["--fix", *WRONG, "--evidence", "evidence.json", "wrong.py"]) == 0
    told = capsys.readouterr().out
    right = TWICE_WRONG.replace("dim=1)", "dim=-1)").replace("y.reshape(b", "y.transpose(1, 2).reshape(b")
    assert Path("wrong.py").read_text() == right
    shown = [line for line in told.splitlines() if "= shown wrong: " in line]
    assert len(shown) == 2
    assert "the weights that query" in shown[0] and "float32 on cpu, eval mode, seed 1000)" in shown[0]
    assert "permuting the 5 tokens" in shown[1]
    records = json.loads(Path("evidence.json").read_text())["records"]
    assert all(record["verdict"]["counterexample"] for record in records)
    assert {tuple(record["job"]["probes"]) for record in records} >= {("constant value",)}
    assert main(["--replay", "evidence.json", "--device", "cpu"]) == 0
    replayed = capsys.readouterr().out
    assert replayed.count("corrected: validated, as recorded") == len(records)
    assert replayed.count("  shown wrong: ") == len(records)


@pytest.mark.slow
def test_a_counterexample_that_is_not_found_again_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.py").write_text(TWICE_WRONG.replace("dim=1)", "dim=-1)"))
    main(["--diff", *WRONG, "--evidence", "evidence.json", "wrong.py"])
    evidence = json.loads(Path("evidence.json").read_text())
    (record,) = evidence["records"]
    record["job"]["probes"] = ["eval determinism"]
    Path("evidence.json").write_text(json.dumps(evidence))
    capsys.readouterr()
    assert main(["--replay", "evidence.json", "--device", "cpu"]) == 1
    assert "not exercised, recorded as validated, shown wrong" in capsys.readouterr().out


@pytest.mark.slow
def test_evidence_from_the_cache_keeps_the_counterexample(capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.py").write_text(TWICE_WRONG.replace("dim=1)", "dim=-1)"))
    reports = []
    for _ in range(2):
        assert main(["--diff", *WRONG, "--output-format", "json", "--output-file", "report.json", "wrong.py"]) == 1
        reports.append(json.loads(Path("report.json").read_text())["findings"])
    (first,), (second,) = reports
    assert first["severity"] == second["severity"] == "error"
    assert first["validation"]["counterexample"] == second["validation"]["counterexample"] != ""
    assert not second["validation"]["unshown"]
    assert list(Path(".mha_lint_cache/evidence").glob("*.json"))


@pytest.mark.slow
def test_what_could_not_be_shown_wrong_is_a_warning_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Path("placed.py").write_text(PLACED)
    assert main(["placed.py", "--output-format", "github"]) == 1
    assert capsys.readouterr().out.startswith("::error title=mha-lint (MHA101)")
    assert main(["--fix", *WRONG, "--output-format", "full", "placed.py"]) == 1
    full = capsys.readouterr().out
    assert "MHA101 warning: " in full
    assert "= not exercised: validation ran it and could not show it wrong: " in full
    assert main(["--fix", *WRONG, "--output-format", "github", "placed.py"]) == 1
    command = capsys.readouterr().out
    assert command.startswith("::warning title=mha-lint (MHA101)")
    assert "%0Avalidation ran it and could not show it wrong: " in command
    assert Path("placed.py").read_text() == PLACED


@pytest.mark.parametrize(("option", "status"), [("--fix", 1), ("--diff", 0)])
@pytest.mark.slow
def test_programs_are_told_that_nothing_was_shown_wrong(option: str, status: int) -> None:
    Path("placed.py").write_text(PLACED)
    assert main([option, *WRONG, "--output-format", "json", "--output-file", "report.json", "placed.py"]) == status
    (entry,) = json.loads(Path("report.json").read_text())["findings"]
    assert (entry["severity"], entry["validation"]["unshown"]) == ("warning", True)
    assert entry["validation"]["counterexample"] == ""


def by_hand(text: str, old: str, new: str, code: str = "MHA103") -> Finding:
    """The finding of a rule, made by hand, that replaces ``old``."""
    row = next(at for at, line in enumerate(text.splitlines(), 1) if old in line)
    column = text.splitlines()[row - 1].index(old) + 1
    start, end = Position(row, column), Position(row, column + len(old))
    fix = Fix(
        "unsafe", "corrected", "Gate it", (Edit(start, end, new),), flagged=(row,),
        probes=("eval determinism",), agree="train",
    )  # fmt: skip
    return Finding(code, "dropout", "error", f"{old} at work", "why", "a.py", start, end, "Attention.forward", row, fix)


def fixed(text: str, findings: list[Finding]) -> Fixed:
    Path("a.py").write_text(text)
    with Validator(devices=("cpu",), timeout=60.0) as validator:
        return fix_source(
            read_source(Path("a.py").absolute()), findings, Settings(select=("MHA199",), unsafe_fixes=True), validator
        )


AFTERWARDS = "F.dropout(y, self.dropout)"
AFTERWARDS_GATED = "F.dropout(y, self.dropout, self.training)"


def test_two_dropouts_are_put_right_together_since_neither_is_without_the_other() -> None:
    done = fixed(
        DROPPING_TWICE, [by_hand(DROPPING_TWICE, UNGATED, GATED), by_hand(DROPPING_TWICE, AFTERWARDS, AFTERWARDS_GATED)]
    )
    assert done.text == DROPPING_TWICE.replace(UNGATED, GATED).replace(AFTERWARDS, AFTERWARDS_GATED)
    assert all(each.verdict and each.verdict.counterexample for each in done.fixed)


@pytest.mark.slow
def test_a_correction_nothing_called_for_does_not_pass_in_the_company_of_one_that_was() -> None:
    once = DROPPING_TWICE.replace(AFTERWARDS, AFTERWARDS_GATED)
    needless = by_hand(once, AFTERWARDS_GATED, "F.dropout(y, self.dropout, bool(self.training))")
    done = fixed(once, [by_hand(once, UNGATED, GATED), needless])
    assert done.text == once.replace(UNGATED, GATED)
    assert [each.message for each in done.fixed] == [f"{UNGATED} at work"]


@pytest.mark.slow
def test_two_dropouts_are_put_right_beside_a_wrong_correction_of_another_rule() -> None:
    wrong = by_hand(DROPPING_TWICE, "transpose(1, 2).reshape", "reshape", "MHA199")
    pair = [by_hand(DROPPING_TWICE, UNGATED, GATED), by_hand(DROPPING_TWICE, AFTERWARDS, AFTERWARDS_GATED)]
    done = fixed(DROPPING_TWICE, [*pair, wrong])
    assert done.text == DROPPING_TWICE.replace(UNGATED, GATED).replace(AFTERWARDS, AFTERWARDS_GATED)


def test_what_refutes_a_group_is_held_against_no_fix_but_the_wrong_one() -> None:
    first, second = "self.proj(y", "self.qkv(x)"
    right = by_hand(DROPPING_TWICE, second, "self.qkv(x * 1)", "MHA198")
    wrong = by_hand(DROPPING_TWICE, first, "self.proj(2 * y", "MHA199")
    pair = [
        replace(each, fix=replace(each.fix, relation="equivalent", flagged=())) for each in (right, wrong) if each.fix
    ]
    done = fixed(DROPPING_TWICE, pair)
    assert done.text == DROPPING_TWICE.replace(second, "self.qkv(x * 1)")
    assert [(each.code, each.verdict and each.verdict.verdict) for each in done.fixed] == [("MHA198", "validated")]
    alone = fixed(DROPPING_TWICE, pair[1:])
    assert [(each.code, each.verdict and each.verdict.verdict) for each in alone.remaining] == [("MHA199", "refuted")]
