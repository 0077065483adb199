"""Wall-clock times from start to exit, in a Markdown table.

    python tests/bench/startup.py [--runs 7]

Each command is run once to warm the disk cache, then ``--runs`` times in turn with all the others, so that a slow spell
of the machine hits all alike. The median is given, with the fastest and the slowest. A Python without any import and
one with argparse stand beside for scale, and ruff where it is installed. ``--fix`` runs on a fresh copy each time, with
no cache: it includes importing torch and executing the module.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
CLEAN = CORPUS / "clean" / "bert_two_classes.py"
MARKED = CORPUS / "view" / "nanogpt.py"


@dataclass(frozen=True)
class Command:
    """What is timed, its arguments, its expected exit status, and what must be done before each run."""

    label: str
    arguments: list[str]
    status: int = 0
    before: Callable[[], object] = lambda: None


def commands(folder: Path) -> list[Command]:
    """All commands that this machine can run; files are copied into ``folder``."""
    lint = [sys.executable, "-m", "mha_lint"]
    options = ["--isolated", "--no-cache", "-q"]
    clean, marked, fixed = folder / "clean.py", folder / "marked.py", folder / "fixed.py"
    plain = [folder / f"plain{count}.py" for count in range(8)]
    for file in plain:
        shutil.copy(Path(argparse.__file__), file)
    shutil.copy(CLEAN, clean)
    shutil.copy(MARKED, marked)
    made = [
        Command("`python -c pass`", [sys.executable, "-c", "pass"]),
        Command('`python -c "import argparse"`', [sys.executable, "-c", "import argparse"]),
        Command("`mha-lint --version`", [*lint, "--version"]),
        Command("`mha-lint`, one file without attention", [*lint, *options, str(plain[0])]),
        Command("`mha-lint`, ten files, two with attention", [*lint, *options, *map(str, [*plain, clean, marked])], 1),
        Command("`mha-lint`, one clean file of attention", [*lint, *options, str(clean)]),
        Command("`mha-lint`, one file with an MHA001 and an MHA201", [*lint, *options, str(marked)], status=1),
        Command(
            "`mha-lint --fix --select MHA001 --device cpu`, the same",
            [*lint, *options, "--fix", "--select", "MHA001", "--device", "cpu", str(fixed)],
            before=lambda: shutil.copy(MARKED, fixed),
        ),
    ]
    beside = Path(sys.executable).with_name("ruff")
    ruff = str(beside) if beside.exists() else shutil.which("ruff")
    if ruff:
        check = [ruff, "check", "--isolated", "--no-cache", "-q", str(clean)]
        made += [
            Command("`ruff --version`", [ruff, "--version"]),
            Command(
                "`ruff check`, the clean file", check, status=subprocess.run(check, capture_output=True).returncode
            ),
        ]
    return made


def timed(command: Command) -> float:
    """Seconds from start to exit. Raises RuntimeError when the command did not do what it is timed for."""
    command.before()
    begun = time.perf_counter()
    done = subprocess.run(command.arguments, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode != command.status:
        told = f"exit status {done.returncode}, expected {command.status}\n{done.stdout}{done.stderr}"
        raise RuntimeError(f"{' '.join(command.arguments)}: {told}")
    return seconds


def versions() -> str:
    """One line: what was measured, and where."""
    told = [f"mha-lint {importlib.metadata.version('mha-lint')}", f"Python {platform.python_version()}"]
    for package in ("libcst", "torch", "ruff"):
        try:
            told.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join([*told, f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"])


def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--runs", type=int, default=7, help="timed runs of each command (default: 7)")
    runs = made.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="mha-lint-startup-") as folder:
        all_commands = commands(Path(folder))
        for command in all_commands:
            timed(command)
        seconds = [[timed(command) for command in all_commands] for _ in range(runs)]
    print(f"Median of {runs} runs, milliseconds. {versions()}.\n")
    print("| command | median | fastest | slowest |\n|---|---:|---:|---:|")
    for command, taken in zip(all_commands, zip(*seconds, strict=True), strict=True):
        numbers = " | ".join(f"{1000 * value:.0f}" for value in (statistics.median(taken), min(taken), max(taken)))
        print(f"| {command.label} | {numbers} |")


if __name__ == "__main__":
    main()
