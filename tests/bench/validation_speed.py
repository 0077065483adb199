"""How long validation takes for a fix, and whether its memory stays flat over many.

    python tests/bench/validation_speed.py PATH... [--fixes 300] [--device cpu]

Lints the paths, validates the fix of every finding alone, again and again until as many fixes ran as asked for, with no
cache. Prints the seconds a fix (the median is what counts; the first of a package pays for its imports), how many were
validated, and the memory of the validation server and its package process (resident, MB) after a tenth of the fixes and
at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import statistics
import time
from collections import Counter
from pathlib import Path

from mha_lint.configuration import Configuration
from mha_lint.discovery import discover
from mha_lint.files import SourceError, read_source
from mha_lint.findings import Verdict
from mha_lint.fixing import fix_source
from mha_lint.linter import lint
from mha_lint.settings import Settings
from mha_lint.validation import Job, Validator


class _Collecting(Validator):
    """Takes the jobs that fixing makes, and executes none."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []

    def validate(self, job: Job) -> Verdict:
        self.jobs.append(job)
        return Verdict("not exercised")


def jobs_of(paths: list[Path]) -> list[Job]:
    settings, collecting = Settings(), _Collecting()
    for path in paths:
        try:
            source = read_source(path)
            findings = lint(source, settings)
        except SourceError:
            continue
        for finding in findings:
            fix_source(source, [finding], settings, collecting)
    return collecting.jobs


def started_by(pid: int | str) -> int:
    """Resident MB of all processes that this one started, and that they did."""
    total = 0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
            total += pages * os.sysconf("SC_PAGE_SIZE") // 2**20 + started_by(child)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--fixes", type=int, default=300)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    found = discover(options.paths, Configuration(Settings(exclude=())))
    jobs = jobs_of([file for file in found if isinstance(file, Path)])
    if not jobs:
        parser.error("nothing in these paths has a safe fix")
    seconds: list[float] = []
    verdicts: Counter[str] = Counter()
    memory: list[int] = []
    with Validator(devices=tuple(options.device.split(","))) as validator:
        print("devices:", validator.environment().devices, "torch", validator.environment().torch_version)
        for count, job in enumerate(itertools.islice(itertools.cycle(jobs), options.fixes), 1):
            start = time.perf_counter()
            verdict = validator.validate(job)
            seconds.append(time.perf_counter() - start)
            verdicts[verdict.verdict] += 1
            if count in (options.fixes // 10, options.fixes):
                memory.append(started_by(os.getpid()))
    ordered = sorted(seconds)
    print(f"{len(jobs)} different fixes, {len(seconds)} validations: {dict(verdicts)}")
    median, most = statistics.median(seconds), ordered[len(ordered) * 9 // 10]
    print(f"seconds a fix: median {median:.3f}, nine of ten within {most:.2f}, longest {ordered[-1]:.2f}")
    print(f"memory of the server: {memory[0]} MB after a tenth, {memory[-1]} MB at the end")


if __name__ == "__main__":
    main()
