"""A project of a user's, in a git repository, and the installed command that is run there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, commit_all

from mha_lint.cache import SETTLED

PROGRAMS = Path(sys.executable).parent
FILES = ("tiny_gpt.py", "vit.py", "unbind_qkv.py", "view_of_transposed.py")

# All that the command may say on stderr while nothing is wrong with it.
_OURS = re.compile(
    r"Found \d+ findings?|All checks passed\.|No findings, but|\d+ may be fixed with|\d+ more with|settings: |files: |"
    r"warning: |error: (?!mha-lint)"
)


@dataclass
class Day:
    """One project and what its user does with it; ``environment`` may put another version of the tool in front."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str | Path, status: Sequence[int] = (0, 1)) -> subprocess.CompletedProcess[str]:
        """Run a command in the project. It must not crash, nor end otherwise than with one of ``status``."""
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **self.environment}
        run = subprocess.run(
            list(map(str, command)), cwd=self.folder, env=environment, capture_output=True, text=True, timeout=600
        )
        assert "Traceback" not in run.stdout + run.stderr, run.stderr
        assert run.returncode in status, run.stdout + run.stderr
        return run

    def lint(self, *arguments: str, status: Sequence[int] = (0, 1)) -> subprocess.CompletedProcess[str]:
        """Run the command; every line on stderr must be a message of ours."""
        run = self.run(sys.executable, "-m", "mha_lint", *arguments, status=status)
        strange = [line for line in run.stderr.splitlines() if not _OURS.match(line)]
        assert not strange, run.stderr
        return run

    def installed(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command by the name under which it is installed."""
        return self.run(PROGRAMS / "mha-lint", *arguments)

    def findings(self, *arguments: str) -> list[dict[str, Any]]:
        """The findings that a run with a cache reports, which are those of a run without one."""
        cached = self.lint("--output-format", "json", *arguments)
        fresh = self.lint("--output-format", "json", "--no-cache", *arguments)
        assert _said(cached) == _said(fresh)
        assert cached.returncode == fresh.returncode
        found: list[dict[str, Any]] = json.loads(cached.stdout)["findings"]
        assert cached.returncode == bool(found)
        return found

    def same_again(self, *arguments: str) -> list[dict[str, Any]]:
        """As :meth:`findings`, twice: the second time out of what the first kept."""
        first = self.findings(*arguments)
        assert self.findings(*arguments) == first
        return first

    def settle(self) -> None:
        """Wait until no file's last change is so young that it counts as not yet finished."""
        time.sleep(SETTLED / 1e9 + 0.1)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace the text ``old`` of a file, which must be there."""
        file = self.folder / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def git(self, *arguments: str, status: Sequence[int] = (0,)) -> subprocess.CompletedProcess[str]:
        """Run git as somebody."""
        return self.run("git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments, status=status)


def _said(run: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """What a report says of the code: all but what earlier runs have shown of the fixes."""
    return [{**record, "fix": None, "validation": None} for record in json.loads(run.stdout)["findings"]]


@pytest.fixture
def day(tmp_path: Path) -> Day:
    """A git repository with four files, all of whose changes are settled."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in FILES:
        shutil.copy(ROOT / "examples" / name, folder / name)
    (folder / "plain.py").write_text("print(1)\n")
    commit_all(folder)
    made = Day(folder)
    made.settle()
    return made
