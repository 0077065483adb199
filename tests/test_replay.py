"""``--evidence`` records what was executed, and ``--replay`` executes it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from samples import BROKEN, FIXED

from mha_lint.cli import main

pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(BROKEN)


def test_recorded_trials_are_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--fix", "--device", "cpu", "--evidence", "evidence.json", "broken.py"]) == 0
    (record,) = json.loads(Path("evidence.json").read_text())["records"]
    assert record["verdict"]["verdict"] == "validated"
    assert len({trial["seed"] for trial in record["verdict"]["trials"]}) >= 4
    assert record["job"]["before"] == BROKEN
    assert record["job"]["after"] == Path("broken.py").read_text()
    capsys.readouterr()
    assert main(["--replay", "evidence.json", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "repaired: validated, as recorded (module · cpu" in told
    assert told.endswith("1 of 1 verdicts are as recorded.\n")


@pytest.mark.slow
def test_a_record_that_does_not_hold_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--diff", "--device", "cpu", "--evidence", "evidence.json", "broken.py"]) == 1
    evidence = json.loads(Path("evidence.json").read_text())
    job = evidence["records"][0]["job"]
    job["after"] = job["after"].replace(".transpose(1, 2).contiguous()", ".contiguous()")
    Path("evidence.json").write_text(json.dumps(evidence))
    capsys.readouterr()
    assert main(["--replay", "evidence.json", "--device", "cpu"]) == 1
    assert "refuted, recorded as validated" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_costs_the_evidence_and_no_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--fix", "--device", "cpu", "--evidence", "/dev/full", "broken.py"]) == 2
    assert "error: /dev/full: cannot be written: no space left on device\n" in capsys.readouterr().err
    assert Path("broken.py").read_text() == FIXED


@pytest.mark.parametrize("text", ["", "[]", '{"records": [', '{"records": [{"job": {}}]}'])
def test_what_is_no_evidence_is_a_clear_error(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.json").write_text(text)
    assert main(["--replay", "other.json"]) == 2
    assert capsys.readouterr().err == "error: other.json: is no evidence that mha-lint wrote, or not all of it\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replay", "absent.json"], "absent.json: cannot be read: no such file or directory"),
        (["--evidence", "evidence.json"], "--evidence needs --fix or --diff: linting alone executes nothing"),
        (["--fix", "--evidence", "no/evidence.json"], "no/evidence.json: cannot be written: no such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_before_anything_runs(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert Path("broken.py").read_text() == BROKEN
