"""Whatever the user's code does while it is executed, the tool goes on and its answer is a verdict."""

from __future__ import annotations

import faulthandler
import fcntl
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Pipe
from pathlib import Path

import pytest

from mha_lint.validation import Validator
from mha_lint.validation.child import isolation, landlock, shared_memory
from mha_lint.validation.child.children import Child, Tell
from mha_lint.validation.child.messages import Answered, Ended, Look, Work
from mha_lint.validation.evidence import typed_json

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


# --- native code, and what outlives a process --------------------------------------------------------------------

_READ_BY_NATIVE_CODE = """
import ctypes
libc = ctypes.CDLL(None)
held = libc.open({path!r}.encode(), 0)
room = ctypes.create_string_buffer(1 << 16)
got = libc.read(held, room, 1 << 16) if held >= 0 else -1
answer = bytes(room[:max(got, 0)]).decode('latin-1')
"""
_TOUCH_BY_NATIVE_CODE = (
    "import ctypes; ctypes.CDLL(None).close(ctypes.CDLL(None).open({path!r}.encode(), 0o102, 0o600))"
)
_NAME_SHARED_MEMORY = (
    "from multiprocessing import shared_memory, resource_tracker; "
    "resource_tracker.register = lambda *_: None; "
    "shared_memory.SharedMemory({name!r}, create=True, size=64).close()"
)
_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has it")
_LANDLOCK = pytest.mark.skipif(landlock.version() == 0, reason="this kernel has no Landlock")


@pytest.fixture
def no_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without Landlock, as far as can be: neither this process nor its children find it."""
    monkeypatch.setattr(landlock, "version", lambda: 0)


@pytest.fixture
def confined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Ended]:
    """Runs statements in a confined child of this very process; the text ``answer`` is its answer."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)

    def run(statements: str) -> Ended:
        def work(_: Work, tell: Tell) -> Answered:
            faulthandler.disable()
            isolation.confine(os.getcwd())
            names = {"answer": "ran"}
            exec(statements, names)
            return Answered(typed_json.dumped(names["answer"]))

        ours, theirs = Pipe()
        with ours, theirs:
            return Child(work).ask(Look(60.0), theirs)

    return run


def _is_root_over_all() -> bool:
    """This process has the right to look into any other."""
    if not sys.platform.startswith("linux"):
        return False
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    return os.geteuid() == 0 and bool(effective & 1 << 19)  # CAP_SYS_PTRACE


_ROOT = pytest.mark.skipif(not _is_root_over_all(), reason="needs root")


@_ROOT
def test_as_root_native_code_reads_no_other_process_where_the_kernel_has_no_landlock(
    confined: Callable[[str], Ended], no_landlock: None
) -> None:
    with subprocess.Popen(["sleep", "60"], env={"SOME_TOKEN": "hush"}) as other:
        try:
            path = f"/proc/{other.pid}/environ"
            while b"hush" not in Path(path).read_bytes():  # it is not yet the program that it will be
                time.sleep(0.01)
            assert json.loads(confined(_READ_BY_NATIVE_CODE.format(path=path)).answer or "") == ""
        finally:
            other.kill()


@_LANDLOCK
def test_native_code_reads_no_other_process(check: Check) -> None:
    statement = _READ_BY_NATIVE_CODE.format(path=f"/proc/{os.getpid()}/environ")
    assert Path(f"/proc/{os.getpid()}/environ").read_bytes()
    body = "\n".join(f"        {line}" for line in f"{statement}assert not answer".strip().splitlines())
    source = VIT.replace("        B, N, C = x.shape", f"{body}\n        B, N, C = x.shape")
    assert check(source, SPLIT, INDEXED, SYMBOL).verdict == "validated"


@_ROOT
def test_as_root_a_trial_has_no_capability_but_to_read_files(confined: Callable[[str], Ended]) -> None:
    status = confined("answer = open('/proc/self/status').read()").answer or ""
    held = {name: int(status.split(f"{name}:")[1].split("\\")[1][1:], 16) for name in ("CapPrm", "CapBnd", "CapAmb")}
    assert held == {"CapPrm": 1 << 2, "CapBnd": 0, "CapAmb": 0}


@_ROOT
@pytest.mark.parametrize("owner", [0, 12345])
def test_as_root_a_file_that_its_owner_alone_may_read_is_still_imported(
    check: Check, tmp_path: Path, owner: int
) -> None:
    (tmp_path / "sibling.py").write_text("SCALE = 1.0\n")
    (tmp_path / "sibling.py").chmod(0o600)
    os.chown(tmp_path / "sibling.py", owner, owner)
    os.chown(tmp_path, owner, owner)
    tmp_path.chmod(0o700)
    source = VIT.replace("import torch\n", "import torch\nimport sibling\nsibling.SCALE\n", 1)
    assert check(source, SPLIT, INDEXED, SYMBOL).verdict == "validated"


@pytest.fixture
def shared_memory_to_itself() -> Iterator[None]:
    """No other test that names shared memory runs meanwhile, in any process: the machine has one /dev/shm."""
    folder = os.open("/dev/shm", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@_LINUX
@pytest.mark.usefixtures("shared_memory_to_itself")
@_LANDLOCK
@pytest.mark.parametrize(
    "statement",
    [
        _NAME_SHARED_MEMORY.format(name="mha-lint-test-named"),
        "import torch; torch.ones(3).share_memory_()",
        "import multiprocessing; multiprocessing.get_context('spawn').Lock()",
    ],
)
def test_naming_shared_memory_is_not_exercised_with_its_reason_and_leaves_nothing(check: Check, statement: str) -> None:
    before = set(os.listdir("/dev/shm"))
    verdict = check(hostile(statement), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert "ermission denied" in verdict.reason
    assert not {name for name in set(os.listdir("/dev/shm")) - before if name.startswith(("mha-lint", "torch", "sem"))}


@_LINUX
@pytest.mark.usefixtures("shared_memory_to_itself")
@_LANDLOCK
def test_native_code_names_no_shared_memory(check: Check) -> None:
    path = "/dev/shm/mha-lint-test-native"
    check(hostile(_TOUCH_BY_NATIVE_CODE.format(path=path)), SPLIT, INDEXED, SYMBOL)
    assert not os.path.lexists(path)


@_LINUX
@pytest.mark.usefixtures("shared_memory_to_itself")
@pytest.mark.parametrize(
    "statement",
    [
        _NAME_SHARED_MEMORY.format(name="mha-lint-test-left"),
        _TOUCH_BY_NATIVE_CODE.format(path="/dev/shm/mha-lint-test-left"),
        _TOUCH_BY_NATIVE_CODE.format(path="/dev/shm/mha-lint-test-left") + "; ctypes.string_at(0)",
    ],
)
def test_without_landlock_what_a_child_left_in_shared_memory_is_removed(
    confined: Callable[[str], Ended], no_landlock: None, statement: str
) -> None:
    seen = "; import os; answer = str(os.path.exists('/dev/shm/mha-lint-test-left'))"
    ended = confined(statement + seen)
    assert ended.answer in ('"True"', None)
    assert ended.answer or "SIGSEGV" in ended.reason
    assert not os.path.lexists("/dev/shm/mha-lint-test-left")


@_LINUX
@pytest.mark.usefixtures("shared_memory_to_itself")
def test_without_landlock_shared_memory_of_others_stays(no_landlock: None) -> None:
    def named(name: str) -> Path:
        return Path("/dev/shm") / f"mha-lint-test-{os.getpid()}-{name}"

    paths = [named(name) for name in ("earlier", "open", "mapped")]
    try:
        paths[0].write_bytes(b"x")
        with shared_memory.cleaned():
            held = paths[1].open("wb")
            paths[2].write_bytes(b"x" * 64)
            with paths[2].open("rb") as mapping:
                mapped = mmap.mmap(mapping.fileno(), 64, prot=mmap.PROT_READ)
        assert [path.name for path in paths if path.exists()] == [path.name for path in paths]
        held.close()
        mapped.close()
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


@_LINUX
@pytest.mark.skipif(landlock.version() < 4, reason="this kernel's Landlock knows no network")
def test_native_code_reaches_no_network(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = bytes([2, 0]) + server.getsockname()[1].to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
        statement = f"import ctypes; libc = ctypes.CDLL(None); libc.connect(libc.socket(2, 1, 0), {address!r}, 16)"
        check(hostile(statement), SPLIT, INDEXED, SYMBOL)
        with pytest.raises(TimeoutError):
            server.accept()


@_LINUX
@pytest.mark.skipif(landlock.version() < 6, reason="this kernel's Landlock knows no signals")
def test_native_code_ends_no_other_process(check: Check) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        statement = f"import ctypes; ctypes.CDLL(None).kill({other.pid}, 9)"
        check(hostile(statement), SPLIT, INDEXED, SYMBOL)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.2)
        other.kill()


@_LINUX
@_LANDLOCK
def test_native_code_writes_to_no_terminal(check: Check) -> None:
    ours, theirs = os.openpty()
    try:
        path = os.ttyname(theirs)
        statement = (
            f"import ctypes; libc = ctypes.CDLL(None); libc.write(libc.open({path!r}.encode(), 0o401), b'noise', 5)"
        )
        check(hostile(statement), SPLIT, INDEXED, SYMBOL)
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 5)
    finally:
        os.close(ours)
        os.close(theirs)
