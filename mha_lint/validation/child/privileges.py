"""Takes away what root may do beyond an ordinary user (Linux capabilities), for good and for all children.

The user id stays: the user's files, and the packages that they import, may be readable by root alone. A process of root
without capabilities may not look into one that has them: the kernel asks that the reader's be a superset of the other's
(``__ptrace_may_access`` and ``cap_ptrace_access_check``; see capabilities(7) and ptrace(2)).
"""

from __future__ import annotations

import ctypes
import sys

_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 23, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_VERSION_3 = 0x20080522  # of the structures below: two words of 32 capabilities each
_MOST = 64
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Word(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def give_up(*, writes_are_bounded: bool) -> bool:
    """Drop every capability but one that lets root read the files of others; whether the kernel agreed.

    In a container, the project often belongs to another user than root, who runs the linter. So the right to read any
    file is kept. Where root has it only together with the right to write any file, as in many containers, it is kept
    where ``writes_are_bounded`` by something else.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    header = _Header(_VERSION_3, 0)
    words = (_Word * 2)()
    if libc.capget(ctypes.byref(header), ctypes.byref(words)):
        return False
    kept = _kept(words[0].permitted, writes_are_bounded)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # a program with more rights, such as sudo, gives none
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(_MOST):
        if libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # root alone may, and for others the set means nothing
    words[0] = _Word(kept, kept, 0)
    words[1] = _Word(0, 0, 0)
    return int(libc.capset(ctypes.byref(header), ctypes.byref(words))) == 0


def _kept(permitted: int, writes_are_bounded: bool) -> int:
    """The capability to keep, as a set of bits; 0 where there is none."""
    if permitted & 1 << _DAC_READ_SEARCH:
        return 1 << _DAC_READ_SEARCH
    if permitted & 1 << _DAC_OVERRIDE and writes_are_bounded:
        return 1 << _DAC_OVERRIDE
    return 0
