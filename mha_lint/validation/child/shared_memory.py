"""Removes the names that a child left in shared memory, where the kernel cannot refuse them (it has no Landlock).

Shared memory outlives the process that made it, and no folder of a child's own holds it: its names lie in /dev/shm,
beside those of every other process. The kernel does not keep who made a name. So a name is taken to be the child's
where it appeared while the child ran, belongs to our user, and no living process has it open or mapped.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator

from mha_lint.validation.child import landlock

_FOLDER = "/dev/shm"


@contextlib.contextmanager
def cleaned() -> Iterator[None]:
    """Around the whole life of a child: what it left behind under a name is removed once it has ended."""
    if landlock.version() > 0 or not os.path.isdir(_FOLDER):
        yield  # nothing can have been left, or nobody can tell what there is
        return
    before = _ours()
    try:
        yield
    finally:
        _remove(_ours() - before)


def _ours() -> set[tuple[str, int]]:
    """The files of our user, by name and inode: a name may be given anew."""
    found: set[tuple[str, int]] = set()
    with contextlib.suppress(OSError), os.scandir(_FOLDER) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                about = entry.stat(follow_symlinks=False)
                if about.st_uid == os.geteuid():
                    found.add((entry.path, about.st_ino))
    return found


def _remove(left: set[tuple[str, int]]) -> None:
    if not left:
        return
    held = _held()
    for path, inode in left:
        if inode not in held:
            with contextlib.suppress(OSError):  # a folder stays: nobody's shared memory is one
                os.unlink(path)


def _held() -> set[int]:
    """The inodes in shared memory that a living process has open or mapped."""
    inodes: set[int] = set()
    with contextlib.suppress(OSError):
        device = os.stat(_FOLDER).st_dev
        for link in glob.iglob("/proc/[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                about = os.stat(link)
                if about.st_dev == device:
                    inodes.add(about.st_ino)
    for maps in glob.iglob("/proc/[0-9]*/maps"):
        with contextlib.suppress(OSError), open(maps, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                _, _, _, _, inode, *path = line.split(maxsplit=5)
                if path and path[0].startswith(_FOLDER + "/"):
                    inodes.add(int(inode))
    return inodes
