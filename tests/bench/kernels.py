"""Tests under each kind of kernel that this processor can run: none may pass or fail by the kernel that it gets.

    python tests/bench/kernels.py [PYTEST_ARGUMENT...]

The arguments are those of one run of pytest (``tests/validation tests/test_corpus.py`` without any). It is repeated
with ATen's and MKL's kernels restricted to older instructions, and with one and two threads. The environment of the
processes that run trials is scrubbed, so that the restriction is set by a ``sitecustomize`` on PYTHONPATH, which every
Python reads when it starts. Prints a row a restriction and the tests that failed; exit status 1 where there are any.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESTRICTIONS: list[dict[str, str]] = [
    {},
    {"OMP_NUM_THREADS": "2"},
    {"ATEN_CPU_CAPABILITY": "default"},
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"ATEN_CPU_CAPABILITY": "avx512"},
    {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},  # Intel's processors alone heed it
    {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {"MKL_ENABLE_INSTRUCTIONS": "AVX512"},
    {"MKL_CBWR": "COMPATIBLE"},  # others heed this one
    {"MKL_CBWR": "AVX2,STRICT"},
    {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
]


def main() -> int:
    arguments = sys.argv[1:] or ["tests/validation", "tests/test_corpus.py"]
    instructions = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    print("| restriction | result |\n|---|---|")
    failed = 0
    for restriction in RESTRICTIONS:
        told = " ".join(f"{name}={value}" for name, value in restriction.items()) or "none"
        needed = restriction.get("ATEN_CPU_CAPABILITY", "default")
        if needed != "default" and needed not in instructions:  # ATen would run them all the same, and die
            print(f"| {told} | not run: this processor has no {needed} |")
            continue
        result, names = run(restriction, arguments)
        failed += len(names)
        print(f"| {told} | {result} |", *names, sep="\n", flush=True)
    return 1 if failed else 0


def run(restriction: dict[str, str], arguments: list[str]) -> tuple[str, list[str]]:
    """The last line of pytest, and the tests that failed."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(f"import os\nos.environ.update({restriction!r})\n")
        path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()]
    return lines[-1], [line for line in lines if re.match(r"(FAILED|ERROR) ", line)]


if __name__ == "__main__":
    sys.exit(main())
