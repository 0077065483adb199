"""The processes behind validation: one child serves a file while all goes well; several files run side by side."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from mha_lint.cli import main
from mha_lint.files import read_source
from mha_lint.findings import Verdict
from mha_lint.fixing import fix_source
from mha_lint.linter import lint
from mha_lint.settings import Settings
from mha_lint.validation import Job, Validator

from .modules import VIT

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs the list of processes in /proc")

SPLIT = "q, k, v = qkv.unbind(0)"
INDEXED = "q, k, v = qkv[0], qkv[1], qkv[2]"
SIBLING = VIT.replace("import torch\n", "import torch\nimport sibling\n", 1).replace(
    SPLIT, f"{SPLIT}\n        v = v * sibling.FACTOR"
)


def started_by(pid: int | str) -> list[str]:
    """The processes that this one started, and that they did."""
    try:
        own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in own for each in (child, *started_by(child))]


def is_running(pid: str) -> bool:
    """Tell a process that runs from one that is gone, or that nobody has waited for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def judged(validator: Validator, path: Path, before: str, old: str, new: str) -> Verdict:
    return validator.validate(Job(str(path), before, before.replace(old, new), ("Attention.forward",), "equivalent"))


def test_one_child_serves_the_fixes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "attention.py"
    path.write_text(VIT)
    with Validator(devices=("cpu",)) as validator:
        assert judged(validator, path, VIT, SPLIT, INDEXED).verdict == "validated"
        first = set(started_by(os.getpid()))
        assert (
            judged(validator, path, VIT, "attn = attn.softmax(dim=-1)", "attn = attn.softmax(-1)").verdict
            == "validated"
        )
        assert set(started_by(os.getpid())) == first


def test_after_a_refusal_the_next_fix_gets_a_fresh_child(tmp_path: Path) -> None:
    path = tmp_path / "attention.py"
    path.write_text(VIT)
    with Validator(devices=("cpu",)) as validator:
        assert judged(validator, path, VIT, SPLIT, INDEXED).verdict == "validated"
        first = set(started_by(os.getpid()))
        assert judged(validator, path, VIT, SPLIT, "q, v, k = qkv.unbind(0)").verdict == "refuted"
        assert judged(validator, path, VIT, SPLIT, INDEXED).verdict == "validated"
        assert not set(started_by(os.getpid())) >= first


def test_a_child_whose_imports_have_changed_is_not_used_again(tmp_path: Path) -> None:
    path, sibling = tmp_path / "attention.py", tmp_path / "sibling.py"
    path.write_text(SIBLING)
    sibling.write_text("FACTOR = 2.0\n")
    twice = "v = v * 2.0"
    with Validator(devices=("cpu",)) as validator:
        assert judged(validator, path, SIBLING, "v = v * sibling.FACTOR", twice).verdict == "validated"
        sibling.write_text("FACTOR = 3.0  # another file\n")
        assert judged(validator, path, SIBLING, "v = v * sibling.FACTOR", twice).verdict == "refuted"


def test_two_files_are_tried_side_by_side_and_nothing_is_left_over(tmp_path: Path) -> None:
    paths = [tmp_path / f"attention{number}.py" for number in range(2)]
    slow = VIT.replace(SPLIT, f"__import__('time').sleep(0.05)\n        {SPLIT}")
    verdicts: dict[Path, Verdict] = {}
    others = started_by(os.getpid())  # of other tests' validators
    with Validator(devices=("cpu",), lanes=2) as validator:
        validator.environment()

        def work(path: Path) -> None:
            path.write_text(slow)
            verdicts[path] = judged(validator, path, slow, SPLIT, INDEXED)

        threads = [threading.Thread(target=work, args=(path,)) for path in paths]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        together = time.monotonic() - start
        running = [pid for pid in started_by(os.getpid()) if pid not in others]
        start = time.monotonic()
        judged(validator, paths[0], slow, SPLIT, INDEXED)
        alone = time.monotonic() - start
    assert [verdicts[path].verdict for path in paths] == ["validated"] * 2
    assert together < 2 * alone + 5.0  # they sleep at the same time
    until = time.monotonic() + 5.0
    while any(map(is_running, running)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in running if is_running(pid)]


def test_files_fixed_side_by_side_are_told_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    for jobs in ("1", "3"):
        for name in ("c.py", "a.py", "b.py"):
            (tmp_path / name).write_text(VIT)
        main(["--fix", "--no-cache", "--isolated", "--device", "cpu", "--select", "MHA002", "--jobs", jobs, "."])
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert told[0].count("validated") >= 3


class _Waiting(Validator):
    """Executes nothing, and lets all pass; each question waits until two are asked at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.together = threading.Barrier(2, timeout=30.0)

    def validate(self, job: Job) -> Verdict:
        self.together.wait()
        return Verdict("validated")


def test_files_fixed_side_by_side_leave_the_settings_of_python_alone(tmp_path: Path) -> None:
    settings = Settings()
    (tmp_path / "attention.py").write_text(VIT)
    source = read_source(tmp_path / "attention.py")
    findings = list(lint(source, settings).findings)
    assert any(finding.code == "MHA002" for finding in findings)
    before = (list(warnings.filters), sys.getrecursionlimit(), threading.stack_size())
    validator = _Waiting()

    def work() -> None:
        for _ in range(25):
            fix_source(source, list(findings), settings, validator)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # seconds: threads meet anywhere
    try:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert (list(warnings.filters), sys.getrecursionlimit(), threading.stack_size()) == before
    assert not validator.together.broken
