"""The progress line: only in a terminal, only when a run takes long, and gone at the end."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from samples import BROKEN

RUN = """
import sys, mha_lint.progress
from mha_lint.cli import main
mha_lint.progress.PATIENCE = {patience}
sys.exit(main({arguments}))
"""


def stderr_in_terminal(folder: Path, patience: float, *arguments: str) -> str:
    """What a terminal on stderr receives while stdout is a file."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", RUN.format(patience=patience, arguments=list(arguments))]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    received = b""
    try:
        while chunk := os.read(ours, 4096):
            received += chunk
    except OSError:  # Linux says EIO when the other side has closed
        pass
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert b"linting" not in out
    assert process.returncode == 1
    return received.decode()


def test_a_long_run_shows_how_far_it_is_and_cleans_up(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"m{number}.py").write_text(BROKEN)
    shown = stderr_in_terminal(tmp_path, 0.0, "--no-cache", "-j1")
    assert "linting · " in shown
    assert "/30 files · m" in shown
    assert shown.rstrip().endswith("\x1b[2K"), "the line is erased at the end"


def test_the_name_of_a_file_cannot_send_commands_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "\x1b]0;owned\x07.py").write_text(BROKEN)
    shown = stderr_in_terminal(tmp_path, 0.0, "--no-cache", "-j1")
    assert "owned" in shown
    assert "\x1b]0;" not in shown


@pytest.mark.slow
def test_fixes_are_counted_while_they_are_validated(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(BROKEN)
    shown = stderr_in_terminal(tmp_path, 0.0, "--no-cache", "--diff", "--device", "cpu")
    assert "validating fixes · 1/2 · one.py" in shown
    assert "validating fixes · 2/2 · two.py" in shown


def test_a_short_run_and_a_quiet_run_show_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(BROKEN)
    assert stderr_in_terminal(tmp_path, 60.0) == ""
    assert stderr_in_terminal(tmp_path, 0.0, "-q") == ""
