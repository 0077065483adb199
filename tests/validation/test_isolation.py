"""Whatever the user's code does while it is executed, the tool goes on and its answer is a verdict."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mha_lint.validation import Validator
from mha_lint.validation.child import landlock

from .conftest import Check
from .modules import VIT

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

SPLIT = "q, k, v = qkv.unbind(0)"
INDEXED = "q, k, v = qkv[0], qkv[1], qkv[2]"
SYMBOL = "Attention.forward"
SEGFAULT = "import ctypes; ctypes.string_at(0)"


def hostile(statement: str) -> str:
    return VIT.replace("        B, N, C = x.shape", f"        {statement}\n        B, N, C = x.shape")


@pytest.mark.parametrize(
    "statement",
    [SEGFAULT, "import os; os._exit(0)", "raise SystemExit(3)", "import os; os.abort()", "raise KeyboardInterrupt"],
)
def test_code_that_kills_its_process_is_not_exercised_and_the_next_job_runs(check: Check, statement: str) -> None:
    verdict = check(hostile(statement), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert verdict.reason
    assert check(VIT, SPLIT, INDEXED, SYMBOL).verdict == "validated"


@pytest.mark.parametrize("statement", [SEGFAULT, "import os; os._exit(0)", "raise SystemExit(3)"])
def test_a_rewrite_that_kills_the_process_where_before_ran_is_refuted(check: Check, statement: str) -> None:
    verdict = check(
        VIT, SPLIT, f"{SPLIT}; {statement}" if "raise" not in statement else f"{SPLIT}\n        {statement}", SYMBOL
    )
    assert verdict.verdict == "refuted", verdict


@pytest.mark.parametrize("statement", ["while True: pass", "import time; time.sleep(1000)"])
def test_an_endless_loop_ends_with_the_timeout(check: Check, statement: str) -> None:
    with Validator(devices=("cpu",), timeout=3.0) as impatient:
        impatient.environment()
        verdict = check(hostile(statement), SPLIT, INDEXED, SYMBOL, using=impatient)
        assert verdict.verdict == "not exercised"
        assert "3 s" in verdict.reason
        impatient._timeout = 60.0  # on a busy machine, code that ends may need more than 3 s
        assert check(VIT, SPLIT, INDEXED, SYMBOL, using=impatient).verdict == "validated"


def test_endless_output_neither_blocks_nor_reaches_our_streams(check: Check, capfd: pytest.CaptureFixture[str]) -> None:
    noisy = (
        "import os, sys; print('noise' * 100_000); sys.stderr.write('noise' * 100_000); os.write(1, b'noise' * 9999)"
    )
    assert check(hostile(noisy), SPLIT, INDEXED, SYMBOL).verdict == "validated"
    captured = capfd.readouterr()
    assert "noise" not in captured.out + captured.err


def test_a_memory_bomb_is_a_verdict(check: Check) -> None:
    bomb = "hoard = [bytes(1 << 30) for _ in range(4096)]"  # asked for, and never written to
    assert check(hostile(bomb), SPLIT, INDEXED, SYMBOL).verdict == "not exercised"


@pytest.mark.parametrize(
    "statement",
    [
        "open({path!r}, 'w').write('x')",
        "import os; os.close(os.open({path!r}, os.O_CREAT | os.O_WRONLY))",
        "import pathlib; pathlib.Path({path!r}).touch()",
        "import os; os.mkdir({path!r})",
        "import os; os.symlink('/', {path!r})",
        "import subprocess; subprocess.run(['touch', {path!r}])",
        "import os; os.system('touch ' + {path!r})",
        "import os; (os.fork() == 0) and open({path!r}, 'w')",
        pytest.param(
            "import torch; torch.save({{}}, {path!r})",  # opened by native code, which only the kernel can refuse
            marks=pytest.mark.skipif(landlock.version() == 0, reason="this kernel has no Landlock"),
        ),
    ],
)
def test_nothing_outside_the_temporary_folder_is_written(check: Check, tmp_path: Path, statement: str) -> None:
    target = tmp_path / "written"
    verdict = check(hostile(statement.format(path=str(target))), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert not os.path.lexists(target)


def test_no_file_is_removed_or_renamed(check: Check, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    for statement in ("os.remove({path!r})", "os.rename({path!r}, {path!r} + '2')", "os.truncate({path!r}, 0)"):
        victim.write_text("precious")
        verdict = check(hostile("import os; " + statement.format(path=str(victim))), SPLIT, INDEXED, SYMBOL)
        assert verdict.verdict == "not exercised"
        assert victim.read_text() == "precious"


def test_writing_into_the_temporary_folder_is_allowed_and_leaves_nothing(check: Check) -> None:
    statement = (
        "import tempfile, pathlib; pathlib.Path(tempfile.mkdtemp(), 'a').write_text('x'); open('b', 'w').close()"
    )
    assert check(hostile(statement), SPLIT, INDEXED, SYMBOL).verdict == "validated"


def test_the_network_is_out_of_reach(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        statement = f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=1)"
        assert check(hostile(statement), SPLIT, INDEXED, SYMBOL).verdict == "not exercised"
        with pytest.raises(TimeoutError):
            server.accept()


def test_secrets_in_the_environment_are_not_inherited(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hush")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    statement = (
        "import os; assert not {'SOME_TOKEN', 'HTTPS_PROXY'} & set(os.environ) and os.environ['HOME'] == os.getcwd()"
    )
    with Validator(devices=("cpu",)) as fresh:
        assert check(hostile(statement), SPLIT, INDEXED, SYMBOL, using=fresh).verdict == "validated"


def test_exit_handlers_and_threads_of_the_code_do_not_outlive_it(check: Check, tmp_path: Path) -> None:
    statement = (
        f"import atexit, threading, time, os; atexit.register(lambda: os.mkdir({str(tmp_path / 'late')!r})); "
        "threading.Thread(target=time.sleep, args=(1000,)).start()"
    )
    assert check(hostile(statement), SPLIT, INDEXED, SYMBOL).verdict == "validated"  # within the validator's timeout
    assert not (tmp_path / "late").exists()


def test_a_rewrite_cannot_swallow_the_refusal_of_a_stand_in(check: Check) -> None:
    touching = (
        "        try:\n            not_installed_anywhere.kernel(q)\n        except Exception:\n            pass\n"
    )
    source = VIT.replace("import torch\n", "import torch\nimport not_installed_anywhere\n", 1)
    source = source.replace("        attn = (q @", f"{touching}        attn = (q @")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert "not_installed_anywhere" in verdict.reason


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="only Linux shows processes as files")
@pytest.mark.parametrize(
    "statement",
    [
        "open('/proc/{pid}/environ', 'rb').read()",
        "open('/proc/self/../{pid}/environ', 'rb').read()",
        "import os; os.open('/proc/{pid}/mem', os.O_RDONLY)",
        "import os; os.open('environ', os.O_RDONLY, dir_fd=os.open('/proc/{pid}', os.O_RDONLY))",
        "import os; os.symlink('/proc/{pid}/environ', 'e'); open('e', 'rb').read()",
        "import os; os.chdir('/proc/{pid}'); open('environ', 'rb').read()",
    ],
)
def test_what_other_processes_hold_cannot_be_read(check: Check, statement: str) -> None:
    source = VIT.replace("import torch\n", f"import torch\n{statement.format(pid=os.getpid())}\n", 1)
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert "Permission" in verdict.reason or "may not" in verdict.reason
