"""mha-lint beside ruff and flake8 on the same files, in turn: seconds, ratios and peak memory.

    python tests/bench/peers.py PACKAGE_FOLDER [--runs 3] [--torchfix EXECUTABLE]

``ruff check --select F401`` and ``mha-lint`` run with no cache, then mha-lint from its cache with nothing changed, then
flake8 without mha-lint's plugin, with it, and with it from its cache. Each is run ``--runs`` times in turn with the
others, mha-lint without a cache and TorchFix (another linter built on LibCST; it takes minutes) once; the median is
given. Peak memory is that of the largest process of a run. TorchFix is a flake8 plugin too, so it must be installed
elsewhere.
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

# flake8 runs what is installed, selected or not: without the plugin means that it can't be found.
_WITHOUT = """
import sys, importlib.metadata as metadata
real = metadata.distributions
metadata.distributions = lambda **at: (each for each in real(**at) if each.metadata["name"] != "mha-lint")
from flake8.main.cli import main
sys.exit(main())
"""


def run(command: list[str], folder: Path) -> tuple[float, int]:
    """Seconds from start to exit, and MB of the largest process. Raises RuntimeError where the run itself failed."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=complaints)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in (0, 1):
            complaints.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {complaints.read().decode(errors='replace')[-500:]}")
    return time.perf_counter() - begun, used.ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--torchfix", type=Path, help="the executable of TorchFix, in an environment of its own")
    options = parser.parse_args()
    package = options.package.resolve()
    lint = [sys.executable, "-m", "mha_lint", "--isolated", "-q"]
    flake8 = [sys.executable, "-m", "flake8", "--isolated"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        target = package.name
        commands = {
            "ruff check --select F401 --no-cache": ["ruff", "check", "--isolated", "--no-cache", "--select", "F401"],
            "mha-lint, nothing changed since": lint,
            "flake8 without the plugin": [sys.executable, "-c", _WITHOUT, "--isolated"],
            "flake8 with the plugin, no cache": [*flake8, "--extend-select", "MHA", "--mha-no-cache"],
            "flake8 with the plugin, nothing changed since": [*flake8, "--extend-select", "MHA"],
        }
        beside = Path(sys.executable).with_name("ruff")
        commands["ruff check --select F401 --no-cache"][0] = str(beside) if beside.exists() else "ruff"
        cold, memory = run([*lint, target], folder)  # it fills the cache for those that follow
        alone = {"mha-lint, no cache": (cold, memory)}
        if options.torchfix:
            alone["TorchFix"] = run([str(options.torchfix.absolute()), target], folder)
        taken: dict[str, list[tuple[float, int]]] = {label: [] for label in commands}
        for _ in range(options.runs):
            for label, command in commands.items():
                taken[label].append(run([*command, target], folder))
    rows = alone | {
        label: (statistics.median(seconds for seconds, _ in each), max(peak for _, peak in each))
        for label, each in taken.items()
    }
    print("| command | seconds | times ruff | peak MB |\n|---|---:|---:|---:|")
    ruff = rows["ruff check --select F401 --no-cache"][0]
    for label, (seconds, peak) in rows.items():
        print(f"| `{label}` | {seconds:.2f} | {seconds / ruff:.1f} | {peak} |")
    plain = rows["flake8 without the plugin"][0]
    for when in ("no cache", "nothing changed since"):
        both = rows[f"flake8 with the plugin, {when}"][0]
        print(f"flake8 with the plugin, {when}, takes {both / plain:.2f} times as long as without it")


if __name__ == "__main__":
    main()
