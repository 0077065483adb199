"""``--evidence`` records what was executed, and ``--replay`` executes it again."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from samples import BROKEN, FIXED

from mha_lint.cli import main
from mha_lint.declared import Declared
from mha_lint.findings import Axes, Trial, Verdict
from mha_lint.validation import Environment, Job
from mha_lint.validation.evidence import store
from mha_lint.validation.evidence.journal import Journal, read

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
    recorded = json.loads(Path("evidence.json").read_text())
    job = recorded["records"][0]["job"]
    job["after"] = job["after"].replace(".transpose(1, 2).contiguous()", ".contiguous()")
    Path("evidence.json").write_text(json.dumps(recorded))
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
        (["--evidence", "evidence.json"], "--evidence needs --fix, --diff or --verify: linting alone executes nothing"),
        (["--fix", "--evidence", "no/evidence.json"], "no/evidence.json: cannot be written: no such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_before_anything_runs(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert Path("broken.py").read_text() == BROKEN


def test_evidence_that_lacks_newer_fields_is_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--diff", "--device", "cpu", "--evidence", "evidence.json", "broken.py"]) == 1
    document = json.loads(Path("evidence.json").read_text())
    (record,) = document["records"]
    for name in ("probes", "axes", "agree", "expected", "also", "declared", "identity"):
        del record["job"][name]
    for name in ("counterexample", "unshown", "caveat", "stub"):
        del record["verdict"][name]
    del document["tool"], record["environment"]
    record["job"]["unheard of"] = record["verdict"]["unheard of"] = [1]
    Path("evidence.json").write_text(json.dumps(document))
    capsys.readouterr()
    assert main(["--replay", "evidence.json", "--device", "cpu"]) == 0
    assert "1 of 1 verdicts are as recorded.\n" in capsys.readouterr().out


JOB = {"path": "a.py", "before": "", "after": "", "symbols": ["f"], "relation": "equivalent"}


@pytest.mark.parametrize(
    ("job", "verdict"),
    [
        ({**JOB, "symbols": "f"}, {"verdict": "validated"}),
        ({**JOB, "relation": "alike"}, {"verdict": "validated"}),
        ({**JOB, "flagged": ["one"]}, {"verdict": "validated"}),
        (JOB, {"verdict": "valid"}),
        (JOB, {"verdict": "validated", "trials": [{"device": "cpu"}]}),
        (JOB, {"verdict": "validated", "device_names": [["cpu"]]}),
    ],
)
def test_evidence_whose_values_have_other_types_is_a_clear_error(
    job: dict[str, object], verdict: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.json").write_text(json.dumps({"records": [{"job": job, "verdict": verdict}]}))
    assert main(["--replay", "other.json"]) == 2
    assert capsys.readouterr().err == "error: other.json: is no evidence that mha-lint wrote, or not all of it\n"


def test_whatever_a_record_holds_is_read_as_it_was_written() -> None:
    declared = Declared("pkg.mod", "Class", {"heads": 4, "rate": 0.5}, {"x": ["b", 5], "mask": None, "scale": 1.5})
    job = Job(
        "caf\udce9/a.py", "before\n", "after\n", ("A.f", "g"), "corrected", (3, 5), ("out.weight",), (),
        {"x": ("b", None, 7)}, (declared,), ("compile",), ("causality",), (Axes("x", 0, None),), "train", "device",
    )  # fmt: skip
    trial = Trial("cpu", "float32", "eval", ("x: (1, 2)",), float("inf"), "differ", 17, "\ud800 “words”")
    verdict = Verdict(
        "refuted", "module", "why", True, (trial, replace(trial, max_abs_diff=None)), (("cpu", "an x86"),), "2.7",
        False, "stub", "shown", True, "but",
    )  # fmt: skip
    written = io.StringIO()
    journal = Journal(written)
    journal.add(job, Environment("3.11", "2.7", {"cpu": "an x86"}), verdict)
    Path("evidence.json").write_text(written.getvalue() + "]}")
    assert [(each.job, each.verdict) for each in read(Path("evidence.json")).records] == [(job, verdict)]


def test_the_verdict_on_a_job_is_found_again_and_that_on_no_other_one() -> None:
    environment = Environment("3.11", "2.7", {"cpu": "an x86", "cuda": "a card"})
    job = Job("a.py", "before\n", "after\n", ("f",), "equivalent", hints={"x": ("b", "t"), "y": ("b",)})
    same = replace(job, hints={"y": ("b",), "x": ("b", "t")})
    verdict = Verdict("validated", "module", trials=(Trial("cpu", "float32", "eval", (), 0.0, "agree"),))
    store.record(Path("cache"), job, environment, verdict, ())
    assert store.recall(Path("cache"), same, environment) == replace(verdict, cached=True)
    for other in (replace(job, after="other\n"), replace(job, flagged=(1,)), replace(job, hints={"x": ("b", "s")})):
        assert store.recall(Path("cache"), other, environment) is None
    (file,) = Path("cache/evidence").iterdir()
    for damaged in ("", "[]", '{"verdict": "perhaps"}', '{"verdict": "validated", "trials": [{}]}'):
        file.write_text(damaged)
        assert store.recall(Path("cache"), job, environment) is None
