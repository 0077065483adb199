"""Wall-clock and processor time of whole runs beside ruff's, in a Markdown table.

    python tests/bench/peers.py FOLDER [--runs 3]

All commands take turns, so that a slow spell of the machine hits all alike. Each time is given as a multiple of
ruff's on the same files in the same round (``--select F401 --no-cache``); the median of the rounds is printed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds from start to exit, and processor seconds with those of children."""
    before, begun = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - begun, spent


def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("folder", type=Path)
    made.add_argument("--runs", type=int, default=3, help="rounds (default: 3)")
    options = made.parse_args()
    ruff = shutil.which("ruff", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if ruff is None:
        raise SystemExit("ruff is not installed")
    target = str(options.folder.resolve())
    lint = [sys.executable, "-m", "mha_lint", "--exit-zero", "-qq"]
    with tempfile.TemporaryDirectory(prefix="mha-lint-peers-") as name:
        folder = Path(name)
        copied = shutil.copytree(target, folder / "code")
        for file in copied.rglob("*.py"):
            os.utime(file, (1, 1))  # a file that has just changed is not cached
        (folder / "pyproject.toml").write_text("[tool.mha-lint]\n", encoding="utf-8")
        commands = {
            "ruff, no cache": [ruff, "check", "--isolated", "--select", "F401", "--no-cache", "-q", "code"],
            "mha-lint, no cache": [*lint, "--no-cache", "code"],
            "mha-lint, nothing changed": [*lint, "code"],
        }
        timed(commands["mha-lint, nothing changed"], folder)  # fills the cache
        rounds = [{label: timed(command, folder) for label, command in commands.items()} for _ in range(options.runs)]
    print(f"Median of {options.runs} rounds on {target}, {os.cpu_count()} cores.\n")
    print("| command | wall s | processor s | wall, times ruff's |\n|---|---:|---:|---:|")
    for label in commands:
        wall, spent = (statistics.median(each[label][kind] for each in rounds) for kind in (0, 1))
        ratio = statistics.median(each[label][0] / each["ruff, no cache"][0] for each in rounds)
        print(f"| {label} | {wall:.2f} | {spent:.2f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
