"""Limit what a child may do while it runs the user's code. The limits guard against accidents, not adversaries."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from mha_lint.validation.child import landlock, privileges

_GIB = 1 << 30
_FORBIDDEN = frozenset({
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
    "os.kill", "os.killpg", "signal.pthread_kill",
    "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
    "socket.gethostbyaddr", "ftplib.connect", "smtplib.connect", "urllib.Request", "webbrowser.open",
})  # fmt: skip
# Events whose arguments, as far as they are paths, must lie in the child's folder.
_WRITING = frozenset({
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate",
    "os.utime", "os.setxattr", "os.removexattr", "os.chflags", "shutil.rmtree", "shutil.move", "shutil.copyfile",
    "shutil.chown", "shutil.make_archive", "shutil.unpack_archive", "sqlite3.connect", "os.mkfifo", "os.mknod",
})  # fmt: skip
# Where the kernel has Landlock, it denies these itself: a confined process may not look into one that is not.
_PROCESS = re.compile(r"/proc/(\d+)(?:/task(?:/\d+)?)?(?:/(?:environ|mem))?")
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


# Where native code may write besides the child's folder. No /dev/shm: its names outlive the child. No terminal.
_WRITABLE = (
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom",
    "/dev/nvidia*", "/dev/nvhost*", "/dev/nvmap", "/dev/dxg", "/dev/kfd", "/dev/dri",  # CUDA's devices and ROCm's
    "/proc",  # CUDA names its threads there
)  # fmt: skip


class Refused(PermissionError):
    """The user's code tried something that a trial must not do."""


_permitted = False


@contextlib.contextmanager
def permitted() -> Iterator[None]:
    """Let this package itself fork and end children in a confined process; the children are as confined as ever."""
    global _permitted
    _permitted = True
    try:
        yield
    finally:
        _permitted = False


def confine(folder: str, memory: int = 0) -> None:
    """Bound memory and files of this process, and refuse writes outside ``folder``, network and new processes.

    ``memory`` is in bytes; 0 stands for half of what there is. See :func:`bound_time` for the processor's time.
    """
    global _permitted
    _permitted = False
    import resource  # POSIX alone has it, and the linter must be importable elsewhere

    root = os.path.realpath(folder) + os.sep
    bounded = landlock.confine(root, _writable())
    privileges.give_up(writes_are_bounded=bounded)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 256 << 20)
    # Data, not address space: CUDA reserves far more addresses than it uses. See `release_memory`.
    _limit(resource.RLIMIT_DATA, min(12 * _GIB, memory or physical // 2), soft_only=True)

    def inside(path: Any) -> bool:
        if isinstance(path, int):
            return True  # an open file: opening it was checked
        try:
            text = os.fsdecode(path)
        except TypeError:
            return True
        return text == os.devnull or (os.path.realpath(text) + os.sep).startswith(root)

    def is_foreign(path: Any) -> bool:
        """Tell if a path leads to what another process holds: its environment may have the secrets that ours lacks."""
        try:
            found = _PROCESS.fullmatch(os.path.realpath(os.fsdecode(path)))
        except (TypeError, ValueError):
            return False
        return found is not None and int(found[1]) != os.getpid()

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if _permitted:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool(flags & _WRITE_FLAGS)
            if writes and path is not None and not inside(path):
                raise Refused(f"a trial may not write {path!r}")
            if is_foreign(path):
                raise Refused(f"a trial may not read {path!r}")
        elif event in _FORBIDDEN:
            raise Refused(f"a trial may not do {event}")
        elif event in _WRITING and not all(inside(path) for path in arguments if isinstance(path, (str, bytes))):
            raise Refused(f"a trial may not do {event} on {arguments[0]!r}")

    sys.addaudithook(audit)


def bound_time(seconds: float) -> None:
    """Let this process compute for so many seconds more, and few beyond."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 5, soft_only=True)


def _writable() -> list[str]:
    return [path for pattern in _WRITABLE for path in glob.glob(pattern)]


def release_memory() -> None:
    """Lift the memory bound before CUDA starts: its driver maps what it needs as it likes."""
    import resource

    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _limit(kind: int, value: int, *, soft_only: bool = False) -> None:
    import resource

    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(kind)
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bounded, hard if soft_only else bounded))
