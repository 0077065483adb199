"""Has the Linux kernel itself refuse what a trial must not do (Landlock), native code's too.

Writes outside a folder since Linux 5.13, TCP connections since 6.7, and since 6.12 signals to processes that are not
confined likewise, and their abstract sockets.

Where the kernel has no Landlock nothing happens, and the audit hook alone stands guard.
See ``linux/landlock.h`` and https://docs.kernel.org/userspace-api/landlock.html.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_WRITE_FILE = 1 << 1
# WRITE_FILE, then REMOVE_DIR to MAKE_SYM; REFER came with version 2, TRUNCATE with version 3.
_WRITES = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_OF_A_FILE = _WRITE_FILE | _TRUNCATE  # the others are about what lies in a folder
_BIND_AND_CONNECT = 0b11  # TCP, with version 4
_SOCKETS_AND_SIGNALS = 0b11  # abstract Unix sockets and signals, with version 6


class _Ruleset(ctypes.Structure):
    """List the kinds of access refused unless a rule allows them; an older kernel knows the first fields alone."""

    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def version() -> int:
    """The version of Landlock that this kernel offers; 0 where there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)))


def confine(folder: str, writable: Sequence[str]) -> bool:
    """Bind this process and its children for ever; whether the kernel agreed.

    Below ``folder`` all may be done. What exists of ``writable`` may be written to; where it is a folder that holds for
    the files below, and none may be made or removed there.
    """
    offered = version()
    if not offered:
        return False
    handled = _WRITES | (_REFER if offered >= 2 else 0) | (_TRUNCATE if offered >= 3 else 0)
    rules = _Ruleset(handled, _BIND_AND_CONNECT if offered >= 4 else 0, _SOCKETS_AND_SIGNALS if offered >= 6 else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    ruleset = int(libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(_known_size(offered)), 0))
    if ruleset < 0:
        return False
    try:
        allowed = [(folder, handled), *((path, handled & _OF_A_FILE) for path in writable)]
        if not all(_allow(libc, ruleset, path, rights) for path, rights in allowed):
            return False
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            return False
        return int(libc.syscall(_RESTRICT_SELF, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


def _known_size(offered: int) -> int:
    """The size of the rule set in bytes, as far as a kernel of this version knows it."""
    fields = 3 if offered >= 6 else 2 if offered >= 4 else 1
    return fields * ctypes.sizeof(ctypes.c_uint64)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> bool:
    """Add a rule for ``path``, or none where it does not exist."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        beneath = _PathBeneath(rights, descriptor)
        return int(libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(beneath), 0)) == 0
    finally:
        os.close(descriptor)
