"""The linter's side: start-up, missing torch, missing devices, and the evidence that is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from mha_lint.validation import DeviceMissing, Job, TorchMissing, Validator
from mha_lint.validation.trials.arms import change_of

from .modules import VIT

SPLIT = "q, k, v = qkv.unbind(0)"
INDEXED = "q, k, v = qkv[0], qkv[1], qkv[2]"


def job(path: Path, new: str = INDEXED) -> Job:
    path.write_text(VIT)
    return Job(str(path), VIT, VIT.replace(SPLIT, new), ("Attention.forward",), "equivalent")


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, mha_lint.validation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What Windows does not have.
WINDOWS = """
import os, signal, sys
for name in ("fork", "forkpty", "killpg", "setsid"):
    delattr(os, name)
del signal.SIGKILL
for name in ("resource", "fcntl", "pwd", "grp", "termios"):
    sys.modules[name] = None
"""


def test_where_processes_cannot_be_forked_linting_works_and_validation_says_what_it_needs() -> None:
    code = WINDOWS + (
        "import mha_lint.cli, mha_lint.fixing\n"
        "from mha_lint.validation import TorchMissing, Validator\n"
        "from mha_lint.validation.child import isolation, landlock, server\n"
        "try:\n"
        "    with Validator() as validator:\n"
        "        validator.environment()\n"
        "except TorchMissing as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert "needs a POSIX system" in done.stdout


@pytest.mark.slow
def test_without_torch_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    (site,) = (tmp_path / "bare").glob("lib/python*/site-packages")
    (site / "msgspec").symlink_to(Path(msgspec.__file__).parent)  # mha-lint's own, which comes with it
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with Validator() as validator, pytest.raises(TorchMissing, match=r'^[^\n]*pip install "mha-lint\[torch\]"[^\n]*$'):
        validator.environment()


@pytest.mark.slow
def test_a_device_that_is_not_there_is_an_error_that_names_it() -> None:
    torch = pytest.importorskip("torch")
    with Validator(devices=("tpu",)) as validator, pytest.raises(DeviceMissing, match="tpu"):
        validator.environment()
    if torch.cuda.is_available():
        return
    for asking in (Validator(devices=("cuda",)), Validator(require=("cuda",))):
        with asking as validator, pytest.raises(DeviceMissing, match="cuda"):
            validator.environment()


def test_the_same_bytes_run_once_and_damaged_evidence_is_ignored(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    cache = tmp_path / "cache"
    with Validator(devices=("cpu",), cache_dir=cache) as validator:
        question = job(tmp_path / "a.py")
        first = validator.validate(question)
        assert (first.verdict, first.cached) == ("validated", False)
        assert validator.validate(question) == replace(first, cached=True)
        (stored,) = (cache / "evidence").iterdir()
        for damage in ("", "{", "[]", '{"trials": 3}', json.dumps({"verdict": "validated"})):
            stored.write_text(damage)
            assert not validator.validate(question).cached
        assert validator.validate(question).cached
        refuted = job(tmp_path / "a.py", "k, q, v = qkv.unbind(0)")
        assert validator.validate(refuted).verdict == "refuted"
        assert validator.validate(refuted).cached


@pytest.mark.slow
def test_what_was_not_exercised_is_asked_again(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with Validator(devices=("cpu",), cache_dir=tmp_path / "cache") as validator:
        question = replace(job(tmp_path / "a.py"), symbols=("Nothing.forward",), relation="extended")
        for _ in range(2):
            verdict = validator.validate(question)
            assert (verdict.verdict, verdict.cached) == ("not exercised", False)


@pytest.mark.slow
def test_a_validator_whose_server_died_starts_another(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with Validator(devices=("cpu",)) as validator:
        validator.environment()
        assert validator._server is not None
        validator._server.kill()
        assert validator.validate(job(tmp_path / "a.py")).verdict == "not exercised"
        assert validator.validate(job(tmp_path / "a.py")).verdict == "validated"


@pytest.mark.cuda
def test_cuda_runs_in_three_dtypes_and_a_difference_there_alone_refutes(cuda: None, tmp_path: Path) -> None:
    with Validator(require=("cuda",)) as validator:
        good = validator.validate(job(tmp_path / "a.py"))
        assert good.verdict == "validated", good.reason
        on_cuda = {item.dtype for item in good.trials if item.device == "cuda" and item.outcome == "agree"}
        assert on_cuda == {"float32", "bfloat16", "float16"}
        bad = validator.validate(job(tmp_path / "a.py", f"{SPLIT}; v = v * 2 if v.is_cuda else v"))
        assert bad.verdict == "refuted"


def test_comments_and_blank_lines_are_no_changed_statements() -> None:
    before = "def f(x):\n    # old\n    y = g(\n        x,\n        1,\n    )\n    return y\n"
    after = before.replace("# old", "# new\n").replace("        1,", "        2,  # two")
    change = change_of(before, after)
    assert {(item.first, item.last) for item in change.before} == {(3, 6)}
    assert {(item.first, item.last) for item in change.after} == {(4, 7)}


def test_a_server_that_cannot_be_started_is_one_line_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with Validator() as validator, pytest.raises(TorchMissing, match=r"^[^\n]*cannot be started[^\n]*$") as caught:
        validator.environment()
    assert "/no/such/python" in str(caught.value)
    assert "needs PyTorch" not in str(caught.value)


@pytest.mark.parametrize(
    ("ending", "said"), [("sys.exit('no luck today')", "no luck today"), ("os.kill(os.getpid(), 11)", "SIGSEGV")]
)
def test_a_server_that_dies_of_something_else_does_not_ask_for_torch_but_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, said: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport os, sys\nprint('earlier', file=sys.stderr)\n{ending}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with Validator() as validator, pytest.raises(TorchMissing, match=r"^[^\n]+$") as caught:
        validator.environment()
    assert said in str(caught.value)
    assert "needs PyTorch" not in str(caught.value)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a trial"])
@pytest.mark.slow
def test_a_linter_that_is_killed_leaves_no_folder_behind(tmp_path: Path, busy: bool) -> None:
    pytest.importorskip("torch")
    subject = tmp_path / "subject.py"
    subject.write_text(VIT.replace("B, N, C = x.shape", "import time; time.sleep(1000); B, N, C = x.shape"))
    code = (
        "import sys; from pathlib import Path; from mha_lint.validation import Job, Validator\n"
        "validator = Validator(devices=('cpu',)); validator.environment(); print('ready', flush=True)\n"
        f"text = Path({str(subject)!r}).read_text()\n"
        "job = Job(sys.argv[1], text, text.replace('.unbind(0)', '[:]'), ('Attention.forward',), 'equivalent')\n"
        + ("validator.validate(job)" if busy else "input()")
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(subject)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as linter:
        assert linter.stdout is not None
        assert linter.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 120
        while busy and not list(temporary.glob("mha-lint-*/**/trial-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(temporary.glob("mha-lint-*/**/trial-*" if busy else "mha-lint-*"))
        linter.kill()
    deadline = time.monotonic() + 120
    while list(temporary.glob("mha-lint-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(temporary.glob("mha-lint-*"))
