"""``--verify``: every finding is executed, and nothing is written. Runs real torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkout import ROOT
from samples import BROKEN, CLEAN

from mha_lint.cli import main
from mha_lint.rules import all_rules

pytest.importorskip("torch")

LATE = CLEAN.replace(
    "        y = (weights @ v)",
    "        weights = weights * torch.ones(t, t, device=x.device).tril()\n        y = (weights @ v)",
)
# Rows of weights that are masked and no longer sum to one, but nothing is left to see: there is one token only.
ALONE = LATE.replace("b, t, c = x.shape", "b, t, c = x.shape\n        assert t == 1")

OVERLAPPING = """import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        weights = (q @ k.transpose(-2, -1) * c**-0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, c))
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_fixes_are_validated_what_has_none_is_shown_wrong_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("broken.py").write_text(BROKEN)
    Path("late.py").write_text(LATE)
    assert main(["--verify", "--device", "cpu", "--ignore", "MHA002"]) == 1
    out = capsys.readouterr().out
    assert Path("broken.py").read_text() == BROKEN
    assert Path("late.py").read_text() == LATE
    assert "MHA001 error: [*]" in out
    assert "= validated: module · cpu" in out
    assert "MHA107 error: the weights are masked" in out
    assert "= shown wrong: it violates constant value: " in out
    assert out.endswith(
        "Found 2 findings (2 errors): 1 with a validated fix, 1 shown wrong, without a fix (validated on cpu).\n"
    )


def test_fixes_that_overlap_are_each_validated(capsys: pytest.CaptureFixture[str]) -> None:
    """The rewrite to fused attention takes the line of the scale with it."""
    Path("scaled.py").write_text(OVERLAPPING)
    assert main(["--verify", "--device", "cpu", "--select", "MHA104,MHA201", "--output-format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)["findings"]
    verdicts = {finding["code"]: finding["validation"]["verdict"] for finding in told}
    assert verdicts == {"MHA104": "validated", "MHA201": "validated"}


def test_unsafe_fixes_are_validated_too(capsys: pytest.CaptureFixture[str]) -> None:
    scaled = CLEAN.replace("self.head_dim**-0.5", "c**-0.5")
    Path("scaled.py").write_text(scaled)
    assert main(["--verify", "--device", "cpu", "--output-format", "json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["code"] == "MHA104"
    assert finding["fix"]["applicability"] == "unsafe"
    assert finding["validation"]["verdict"] == "validated"
    assert finding["validation"]["counterexample"]
    assert Path("scaled.py").read_text() == scaled


@pytest.mark.parametrize("option", ["--fix", "--diff"])
@pytest.mark.parametrize("path", ["broken.py", "-"])
def test_it_is_not_combined_with_what_writes_or_shows_a_diff(
    option: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.py").write_text(BROKEN)
    assert main(["--verify", option, "--device", "cpu", path]) == 2
    assert "--verify writes nothing and shows no diff" in capsys.readouterr().err
    assert Path("broken.py").read_text() == BROKEN


def test_what_could_not_be_run_names_the_flagged_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Path("late.py").write_text(LATE.replace("super().__init__()", "super().__init__()\n        raise ValueError(x)"))
    assert main(["--verify", "--device", "cpu", "--select", "MHA107"]) == 1
    out = capsys.readouterr().out
    assert "MHA107 error: " in out
    assert "= not exercised: no way was found to run the flagged lines" in out


@pytest.mark.parametrize("option", ["--verify", "--fix", "--diff"])
def test_each_run_that_executes_shows_wrong_what_has_no_fix(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("late.py").write_text(LATE)
    status = main([option, "--device", "cpu", "--output-format", "json"])
    assert status == (0 if option == "--diff" else 1)
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["code"], finding["severity"]) == ("MHA107", "error")
    assert finding["validation"]["verdict"] == "shown wrong"
    assert finding["validation"]["counterexample"].startswith("it violates constant value")


def test_what_ran_and_could_not_be_shown_wrong_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    Path("alone.py").write_text(ALONE)
    assert main(["--verify", "--device", "cpu", "--select", "MHA107", "--output-format", "json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["code"], finding["severity"]) == ("MHA107", "warning")
    assert finding["validation"]["unshown"] is True


@pytest.mark.parametrize(
    ("example", "counterexample"),
    [
        ("causal_flag_with_cache", "it violates cached equals full: "),
        ("einsum_diagonal", "it violates every projection learns: of merge (32, 32) the diagonal alone "),
        ("mask_after_softmax", "it violates constant value: "),
        ("mask_and_causal_flag", "with attention's math kernel, it raises RuntimeError: "),
        ("prepared_and_lost", "it violates masked key: "),
        ("shapes_never_meet", "it raises RuntimeError: The size of tensor a "),
    ],
)
def test_examples_of_rules_without_a_fix_are_shown_wrong(
    example: str, counterexample: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "examples" / f"{example}.py").read_text()
    Path("example.py").write_text(text)
    code = next(rule.code for rule in all_rules() if rule.name == example.replace("_", "-"))
    assert main(["--verify", "--device", "cpu", "--select", code, "--output-format", "json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["validation"]["verdict"] == "shown wrong", finding["validation"]["reason"]
    assert finding["validation"]["counterexample"].startswith(counterexample)


def test_linting_alone_executes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("late.py").write_text(LATE)
    assert main(["--output-format", "json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["severity"] == "error"
    assert finding["validation"] is None


def test_what_was_shown_is_evidence_that_can_be_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("late.py").write_text(LATE)
    assert main(["--verify", "--device", "cpu", "--evidence", "evidence.json"]) == 1
    (record,) = json.loads(Path("evidence.json").read_text())["records"]
    assert record["job"]["relation"] == "wrong"
    assert record["verdict"]["verdict"] == "shown wrong"
    capsys.readouterr()
    assert main(["--replay", "evidence.json", "--device", "cpu"]) == 0
    assert "Attention.forward: wrong: shown wrong, as recorded (it violates constant value" in capsys.readouterr().out


def test_a_second_run_recalls_what_was_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Path("late.py").write_text(LATE)
    assert main(["--verify", "--device", "cpu"]) == 1
    first = capsys.readouterr().out
    assert main(["--verify", "--device", "cpu", "--evidence", "evidence.json"]) == 1
    assert capsys.readouterr().out == first
    (record,) = json.loads(Path("evidence.json").read_text())["records"]
    assert record["verdict"]["cached"] is True
