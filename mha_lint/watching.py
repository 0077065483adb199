"""``--watch``: runs the check again whenever a Python file, a notebook or a settings file changes."""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mha_lint.discovery import SUFFIXES
from mha_lint.files import DEFAULT_EXCLUDE
from mha_lint.output import complain
from mha_lint.settings import SettingsError
from mha_lint.settings_file import FILES

if TYPE_CHECKING:
    from watchfiles import Change

INTERRUPTED = 130
_TOGETHER = 300  # milliseconds: what an editor or a checkout writes within them is one change
_CLEARED = "\x1b[2J\x1b[3J\x1b[H"
_UNWATCHED = frozenset(DEFAULT_EXCLUDE)


def watch(options: argparse.Namespace, check: Callable[[argparse.Namespace], int]) -> int:
    """Check, and check again after each change, until Ctrl-C. The cache tells what has not changed since.

    Raises:
        SettingsError: watchfiles is not installed, or the options ask for something that can't be watched.
    """
    try:
        import watchfiles
    except ModuleNotFoundError as error:
        raise SettingsError("--watch needs watchfiles: pip install watchfiles") from error
    paths: list[Path] = options.paths or [Path()]
    if Path("-") in paths:
        raise SettingsError("--watch cannot be combined with - (stdin)")
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise SettingsError(f"{missing[0]}: cannot be watched: no such file or directory")
    named = {os.path.abspath(path) for path in paths if not path.is_dir()}
    folders = {path if path.is_dir() else path.absolute().parent for path in paths}

    def is_of_interest(_: Change, path: str) -> bool:
        return _is_watched(path, named, paths)

    try:
        _again(options, check, "Starting linter in watch mode...")
        for _ in watchfiles.watch(
            *folders,
            watch_filter=is_of_interest,
            debounce=_TOGETHER,
            recursive=len(named) < len(paths),
            raise_interrupt=True,
        ):
            _again(options, check, "File change detected...")
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _is_watched(path: str, named: Iterable[str], paths: Iterable[Path]) -> bool:
    """Tell whether a change of a path may change what is found."""
    name = os.path.basename(path)
    if name in FILES or path in named:
        return True
    if not name.endswith(SUFFIXES):
        return False
    for folder in (each for each in paths if each.is_dir()):
        try:
            parts = Path(path).relative_to(folder.absolute()).parts
        except ValueError:
            continue
        if not _UNWATCHED.intersection(parts):
            return True
    return False


def _again(options: argparse.Namespace, check: Callable[[argparse.Namespace], int], event: str) -> None:
    """One run under a clear screen. What is wrong with it is told, and the next change tries again."""
    if sys.stdout.isatty():
        print(_CLEARED, end="", flush=True)
    print(f"[{time.strftime('%H:%M:%S')}] {event}\n", flush=True)
    try:
        check(copy.copy(options))
    except SettingsError as error:
        complain(str(error))
    print("Watching for file changes.", flush=True)
