"""Shows on a terminal how far a long run is: files linted, then the file whose fixes are being validated."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

PATIENCE = 1.0  # seconds; a run that is over by then shows nothing


class Progress:
    """A line on stderr that appears after a second, only in a terminal. A context manager."""

    def __init__(self, enabled: bool) -> None:
        self.total = 0
        self._done = 0
        self.fixes = 0  # to be validated
        self._validated = 0
        self._enabled = enabled
        self._begun = time.monotonic()
        self._status: Status | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def linted(self, path: Path) -> None:
        """Count one linted file."""
        self._done += 1
        self._show("linting", f"{self._done}/{self.total} files", path)

    def validating(self, path: Path, fixes: int) -> None:
        """Say whose fixes are being executed, how many of them, and how many were before."""
        first, self._validated = self._validated + 1, self._validated + fixes
        which = f"{first}" if fixes == 1 else f"{first}-{self._validated}"
        self._show("validating fixes", f"{which}/{self.fixes}", path)

    def _show(self, activity: str, count: str, path: Path) -> None:
        if not self._enabled or time.monotonic() - self._begun < PATIENCE:
            return
        from rich.text import Text

        from mha_lint.report.excerpt import printable

        text = Text(f"{activity} · {count} · {printable(str(path))}", overflow="ellipsis", no_wrap=True)
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True).status(text)
            self._status.start()
        self._status.update(text)


def in_terminal() -> bool:
    """Tell whether stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
