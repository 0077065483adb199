"""The installed command, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def lint(*arguments: str, status: int = 0, stdin: str | None = None) -> str:
    """What the command prints, on stdout and then on stderr; it must end with this status."""
    command = [str(Path(sys.executable).parent / "mha-lint"), *arguments]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, env=environment, timeout=300)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr
