"""``--evidence`` records what was executed, and ``--replay`` executes it again."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from msgspec.structs import replace
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


# --- recorded on one machine, executed on another

SIBLING = "HEADS = 4\n"
IMPORTING = BROKEN.replace(
    "from torch import nn\n", "from torch import nn\n\nfrom pkg.sizes import HEADS\n", 1
).replace("heads: int = 4", "heads: int = HEADS")


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A checkout with a fixed package and its evidence, in another folder than where the evidence was written."""
    laptop, runner = tmp_path / "laptop", tmp_path / "runner"
    (laptop / "pkg").mkdir(parents=True)
    (laptop / "pkg/__init__.py").touch()
    (laptop / "pkg/sizes.py").write_text(SIBLING)
    (laptop / "pkg/attention.py").write_text(IMPORTING)
    monkeypatch.chdir(laptop)
    assert main(["--fix", "--no-cache", "--device", "cpu", "--evidence", "evidence.json", "pkg"]) == 0
    laptop.rename(runner)
    monkeypatch.chdir(runner)
    capsys.readouterr()
    return runner


def replayed() -> int:
    return main(["--replay", "evidence.json", "--device", "cpu"])


@pytest.mark.slow
def test_a_project_that_lies_elsewhere_is_executed_where_it_lies(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replayed() == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{recorded}/pkg/attention.py: Attention.forward: repaired: validated, as recorded (module ")
    assert told.endswith("1 of 1 verdicts are as recorded.\n")


@pytest.mark.slow
def test_evidence_for_other_bytes_than_those_that_are_there_is_told_and_not_executed(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recorded / "pkg/attention.py"
    file.write_text(file.read_text() + "\n# edited\n")
    assert replayed() == 1
    told = capsys.readouterr().out
    assert "repaired: not executed, recorded as validated: the file is not what that run left\n" in told
    assert told.endswith("0 of 1 verdicts are as recorded.\n")
    file.unlink()
    assert replayed() == 1
    assert "not executed, recorded as validated: there is no such file here\n" in capsys.readouterr().out


@pytest.mark.slow
def test_what_the_file_imports_is_taken_as_it_is_there(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed() == 0
    assert "validated, as recorded (module " in capsys.readouterr().out
    (recorded / "pkg/sizes.py").write_text("raise ImportError('not on this machine')\n")
    assert replayed() == 0
    assert "validated, as recorded (region " in capsys.readouterr().out  # the module cannot be imported any more


@pytest.mark.slow
def test_another_torch_is_told_and_the_verdict_decides(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(Path("evidence.json").read_text())
    document["records"][0]["environment"]["torch_version"] = "2.1.0+cpu"
    Path("evidence.json").write_text(json.dumps(document))
    assert replayed() == 0
    told = capsys.readouterr().out
    assert told.startswith("recorded by mha-lint ")
    assert "torch 2.1.0+cpu on cpu: " in told.partition("; executed here by ")[0]
    assert told.endswith("1 of 1 verdicts are as recorded.\n")


@pytest.mark.slow
def test_evidence_that_is_cut_off_anywhere_is_a_clear_error(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Path("evidence.json").read_bytes()
    for length in (0, 1, 40, len(whole) // 2, len(whole) - 200, len(whole) - 2):
        Path("evidence.json").write_bytes(whole[:length])
        assert replayed() == 2
        told = capsys.readouterr()
        assert told.err == "error: evidence.json: is no evidence that mha-lint wrote, or not all of it\n"
        assert told.out == ""


def test_a_device_that_is_missing_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    Path("evidence.json").write_text('{"records": []}')
    assert main(["--replay", "evidence.json", "--require-device", "cuda"]) == 2
    assert "error: device cuda was asked for, but" in capsys.readouterr().err
