"""The command as it is installed, in a folder of its own; and a register of what a test shows of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

COMMAND = Path(sys.executable).with_name("mha-lint")
Test = TypeVar("Test", bound=Callable[..., None])
_OURS = (
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR_FORCE",
    "MHA_LINT_OUTPUT_FORMAT",
    "MHA_LINT_CACHE_DIR",
    "MHA_LINT_NO_CACHE",
)


class Project:
    """A folder in which the installed command runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command here. A variable of the environment counts only if it is given."""
        kept = {name: value for name, value in os.environ.items() if name not in _OURS}
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=self.folder,
            env={**kept, **environment},
            input=stdin,
            capture_output=True,
            text=True,
        )

    def codes(self, *arguments: str, **environment: str) -> list[str]:
        """The codes that the command finds, in order. It must not fail."""
        done = self.run("--output-format", "concise", *arguments, **environment)
        assert done.returncode in (0, 1), done.stderr
        return re.findall(r"^\S+?:\d+:\d+: (MHA\d+)", done.stdout, re.MULTILINE)

    def refusal(self, *arguments: str) -> str:
        """The one line in which the command says why it ends with 2."""
        done = self.run(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
        return done.stderr


class Register:
    """The names that tests show, each by a test that says so."""

    def __init__(self) -> None:
        self.shown: set[str] = set()

    def __call__(self, *names: str) -> Callable[[Test], Test]:
        """Mark a test that shows the effect of these."""

        def registered(test: Test) -> Test:
            self.shown.update(names)
            return test

        return registered
