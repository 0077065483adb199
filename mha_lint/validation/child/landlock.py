"""Has the Linux kernel itself refuse writes outside a folder (Landlock, Linux 5.13), native code's too.

Where the kernel has no Landlock nothing happens, and the audit hook alone stands guard.
See ``linux/landlock.h`` and https://docs.kernel.org/userspace-api/landlock.html.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
# WRITE_FILE, then REMOVE_DIR to MAKE_SYM; REFER came with version 2, TRUNCATE with version 3.
_WRITES = (1 << 1) | sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14


class _Ruleset(ctypes.Structure):
    _fields_ = [("handled_access_fs", ctypes.c_uint64)]


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


def allow_writing_only(*folders: str) -> bool:
    """Bind this process and its children for ever; whether the kernel agreed."""
    offered = version()
    if not offered:
        return False
    handled = _WRITES | (_REFER if offered >= 2 else 0) | (_TRUNCATE if offered >= 3 else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    rules = _Ruleset(handled)
    ruleset = int(libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(ctypes.sizeof(rules)), 0))
    if ruleset < 0:
        return False
    try:
        for folder in folders:
            with contextlib.suppress(OSError):
                descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
                try:
                    beneath = _PathBeneath(handled, descriptor)
                    if libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(beneath), 0):
                        return False
                finally:
                    os.close(descriptor)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            return False
        return int(libc.syscall(_RESTRICT_SELF, ruleset, 0)) == 0
    finally:
        os.close(ruleset)
