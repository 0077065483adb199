"""``--executor slurm``: jobs go through submitit, here to processes of this machine (``cluster=local``)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from msgspec.structs import replace
from samples import BROKEN, FIXED

from mha_lint.cli import main
from mha_lint.cluster import node
from mha_lint.cluster.executor import _is_here
from mha_lint.cluster.messages import Answer, Request, tool
from mha_lint.cluster.options import parse
from mha_lint.validation import ClusterMissing, Job
from mha_lint.validation.evidence import typed_json
from mha_lint.validation.evidence.dependencies import ABSENT, Dependency, digest

pytest.importorskip("torch")
pytest.importorskip("submitit")

SLURM = ("--executor", "slurm")
LOCAL = (*SLURM, "--executor-option", "cluster=local")
SIBLING = "HEADS = 4\n"
IMPORTING = BROKEN.replace("from torch import nn\n", "from torch import nn\n\nfrom .sizes import HEADS\n", 1).replace(
    "heads: int = 4", "heads: int = HEADS"
)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(BROKEN)


def python_that(does: str) -> tuple[str, str]:
    """The option by which nodes start Python through a script of ours."""
    script = Path("python.sh").absolute()
    script.write_text(f'#!/bin/sh\n{does}\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return "--executor-option", f"python={script}"


def left_over() -> list[Path]:
    return sorted(Path().glob(".mha_lint_jobs-*"))


# --- what is asked of the scheduler


def test_a_job_gets_a_gpu_and_the_time_of_an_import_and_a_fix() -> None:
    options = parse({}, devices=("auto",), timeout=90.0)
    assert options.cluster == "slurm"
    assert options.parameters == {"name": "mha-lint", "timeout_min": 8, "gpus_per_node": 1}


def test_options_go_to_the_scheduler_under_the_names_that_submitit_has() -> None:
    given = {"partition": "gpu", "timeout_min": "3", "mem_gb": "1.5", "exclusive": "true", "account": "007"}
    options = parse({**given, "slurm_qos": "low", "folder": "jobs", "python": "py"}, devices=("cpu",), timeout=60.0)
    assert options.parameters == {
        "name": "mha-lint", "timeout_min": 3, "mem_gb": 1.5,
        "slurm_partition": "gpu", "slurm_exclusive": True, "slurm_account": "007", "slurm_qos": "low",
    }  # fmt: skip
    assert (options.folder, options.python) == (Path("jobs"), "py")


@pytest.mark.parametrize("key", ["gpus_per_node", "gpus_per_task", "gres", "slurm_gres"])
def test_no_gpu_is_added_to_those_that_are_asked_for(key: str) -> None:
    parameters = parse({key: "2"}, devices=("auto",), timeout=60.0).parameters
    assert [value for name, value in parameters.items() if "g" in name and name != "mha-lint"] == [2]


def test_a_cluster_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ClusterMissing, match="cluster=moon: expected one of slurm, local"):
        parse({"cluster": "moon"}, devices=("auto",), timeout=60.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (SLURM, 'error: --executor slurm: Could not detect "srun", are you indeed on a slurm cluster?\n'),
        ((*LOCAL, "--executor-option", "nope=1"), "error: --executor-option: Unknown argument 'nope'"),
        ((*LOCAL, "--executor-option", "nodes=two"), 'error: --executor-option: Parameter "nodes" expected type'),
        (("--executor-option", "partition=gpu"), "error: --executor-option needs --executor slurm\n"),
    ],
)
def test_what_cannot_be_asked_for_is_an_error_before_anything_runs(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin-without-slurm")
    assert main(["--fix", "--no-cache", *arguments, "broken.py"]) == 2
    assert capsys.readouterr().err.startswith(message)
    assert Path("broken.py").read_text() == BROKEN
    assert left_over() == []


def test_a_cluster_that_does_not_tell_how_jobs_end_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, does in (("srun", "exit 0"), ("sacct", "echo 'accounting storage is disabled' >&2; exit 1")):
        command = Path("bin") / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/sh\n{does}\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path('bin').absolute()}:{os.environ['PATH']}")
    assert main(["--fix", "--no-cache", *SLURM, "broken.py"]) == 2
    assert "sacct does not say how a job ended (accounting storage is disabled)" in capsys.readouterr().err


def test_a_probe_is_not_sent_to_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--probe", "broken.py:Attention", "--executor", "slurm"]) == 2
    assert "--probe executes on this machine" in capsys.readouterr().err


def test_without_submitit_the_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(["--fix", "--no-cache", *LOCAL, "broken.py"]) == 2
    assert capsys.readouterr().err == 'error: --executor slurm needs submitit: pip install "mha-lint[cluster]"\n'


@pytest.mark.parametrize("option", ["partition", "=gpu", "a b=1"])
def test_an_option_that_is_no_pair_is_wrong_usage(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([*SLURM, "--executor-option", option])
    assert leaving.value.code == 2
    assert f"expected KEY=VALUE, not {option!r}" in capsys.readouterr().err


# --- what a node refuses


def asked(**changed: Any) -> Answer:
    path = str(Path("broken.py").absolute())
    job = Job(path, BROKEN, FIXED, ("Attention.forward",), "repaired", (17,))
    request = Request("question", tool(), ("cpu",), (), 60.0, job, digest(path))
    return typed_json.loaded(node.answer(typed_json.dumped(replace(request, **changed))), Answer)


def test_a_node_executes_nothing_for_another_version() -> None:
    answer = asked(tool="mha-lint 0.0.1 (abc)")
    assert answer.verdict is None
    assert f"runs {tool()}, and this machine mha-lint 0.0.1 (abc): install the same one on both" in answer.failure


def test_a_node_executes_nothing_where_the_file_has_other_bytes() -> None:
    answer = asked(digest=digest(__file__))
    assert answer.verdict is None
    assert answer.failure.endswith("broken.py: the project must lie on a file system that both share")


def test_a_node_tells_that_a_device_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    answer = asked(job=None, require=("cuda",))
    assert "says: device cuda was asked for, but" in answer.failure


def test_a_file_that_a_node_read_or_missed_is_compared_with_the_one_here() -> None:
    size = len(BROKEN)
    assert _is_here(Dependency("broken.py", size, 0, digest("broken.py")))
    assert not _is_here(Dependency("broken.py", size, 0, digest(__file__)))
    assert not _is_here(Dependency("absent.py", size, 0, digest(__file__)))
    assert _is_here(Dependency("absent.py", ABSENT))
    assert not _is_here(Dependency("broken.py", ABSENT))
    assert _is_here(Dependency("/opt/site-packages/other.py", 1, 2))  # installed there


# --- the whole way


@pytest.mark.slow
def test_a_fix_is_validated_by_a_job_and_its_files_are_gone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pkg").mkdir()
    Path("broken.py").rename("pkg/broken.py")
    Path("pkg/__init__.py").touch()
    Path("pkg/sizes.py").write_text(SIBLING)
    Path("pkg/broken.py").write_text(IMPORTING)
    assert main(["--diff", *LOCAL, "--evidence", "evidence.json", "pkg"]) == 1
    (record,) = json.loads(Path("evidence.json").read_text())["records"]
    assert record["verdict"]["verdict"] == "validated"
    assert record["verdict"]["harness"] == "module"
    assert record["verdict"]["device_names"][0][0] == "cpu"
    assert left_over() == []
    capsys.readouterr()
    assert main(["--fix", *LOCAL, "pkg"]) == 0
    assert " · from cache" in capsys.readouterr().out
    assert ".transpose(1, 2).contiguous().view(" in Path("pkg/broken.py").read_text()


@pytest.mark.slow
def test_evidence_is_replayed_by_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--diff", "--device", "cpu", "--evidence", "evidence.json", "broken.py"]) == 1
    capsys.readouterr()
    assert main(["--replay", "evidence.json", "--device", "cpu", *LOCAL]) == 0
    assert "repaired: validated, as recorded" in capsys.readouterr().out


@pytest.mark.slow
def test_a_job_that_ends_without_a_verdict_leaves_the_file_alone(capsys: pytest.CaptureFixture[str]) -> None:
    dying = python_that("if [ -e asked ]; then echo 'slurmstepd: node failure' >&2; exit 3; fi; touch asked")
    assert main(["--fix", "--no-cache", *LOCAL, *dying, "broken.py"]) == 1
    told = capsys.readouterr().out
    assert "unavailable: job " in told
    assert " of the cluster ended without a verdict (finished): slurmstepd: node failure" in told
    assert Path("broken.py").read_text() == BROKEN
    assert left_over() == []


@pytest.mark.slow
def test_an_answer_to_another_question_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """A kept folder may hold the answer of a job of another run that had the same number."""
    copied = "cp jobs/*_0_result.pkl jobs/${SUBMITIT_LOCAL_JOB_ID}_0_result.pkl"
    stale = python_that(f"if [ -e asked ]; then {copied}; exit; fi; touch asked")
    assert main(["--fix", "--no-cache", *LOCAL, "--executor-option", "folder=jobs", *stale, "broken.py"]) == 1
    assert "left no answer but that to another question" in capsys.readouterr().out
    assert Path("broken.py").read_text() == BROKEN


@pytest.mark.slow
def test_a_node_that_runs_another_version_is_an_error_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "mha_lint", tmp_path / "other/mha_lint", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "other/mha_lint/validation/engine.py").open("a") as stream:
        stream.write("# changed\n")
    other = python_that(f"export PYTHONPATH={tmp_path}/other")
    assert main(["--fix", "--no-cache", *LOCAL, *other, "broken.py"]) == 2
    assert ": install the same one on both\n" in capsys.readouterr().err
    assert Path("broken.py").read_text() == BROKEN


@pytest.mark.slow
def test_ctrl_c_cancels_the_jobs() -> None:
    waiting = python_that("touch asked; exec sleep 600")
    command = [sys.executable, "-m", "mha_lint", "--fix", "--no-cache", *LOCAL, *waiting, "broken.py"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        for _ in range(600):
            if Path("asked").exists():
                break
            time.sleep(0.1)
        assert Path("asked").exists()
        running.send_signal(signal.SIGINT)  # to the command alone: its jobs must be told by it
        assert running.wait(timeout=60) == 130
        assert left_over() == []
        for _ in range(100):
            if not _session(running.pid):
                break
            time.sleep(0.1)
        assert _session(running.pid) == []
    finally:
        for process in _session(running.pid):
            os.kill(process, signal.SIGKILL)
        running.communicate()


def _session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue
        state, _, _, session = text.rpartition(")")[2].split()[:4]
        if int(session) == leader and state != "Z":
            found.append(int(status.parent.name))
    return found
