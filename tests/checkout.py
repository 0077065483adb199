"""A copy of this repository's files, for tests that build or install it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_LEFT_OUT = (".*cache*", ".git", ".venv", ".demo", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist", "tests")


def copy_to(folder: Path) -> Path:
    """Copy what an installation needs into ``folder`` and return it."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    return folder


def commit_all(folder: Path) -> None:
    """Make ``folder`` a git repository of one commit."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all", "--no-verify"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
