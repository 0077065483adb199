"""How long validation takes for a fix, and whether its memory stays flat over many.

    python tests/bench/validation_speed.py PATH... [--fixes 300] [--device cpu]

Lints the paths, validates the fix of every finding alone, file by file and each three times, again and again until as
many fixes ran as asked for, with no cache. Prints the seconds of the first fix of a file and of further ones, how many
were validated, the memory of the server and its children after a tenth of the fixes and at the end, and how many
processes are left at the end.
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

_TURNS = 3  # of the fixes of one file, before another file's


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
            findings = list(lint(source, settings).findings)
        except SourceError:
            continue
        for finding in findings:
            fix_source(source, [finding], settings, collecting)
    return collecting.jobs


def started_by(pid: int | str) -> list[str]:
    """The processes that this one started, and that they did."""
    found: list[str] = []
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [child, *started_by(child)]
    return found


def memory_of(pids: list[str]) -> int:
    """MB of these processes, where a page that several share counts once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    return total // 1024


def processor_of(pids: list[str]) -> float:
    """Seconds of the processor that these processes, and those of theirs that have ended, have used."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))  # utime, stime, and those of children that were waited for
    return total / os.sysconf("SC_CLK_TCK")


def told(what: str, walls: list[float], processor: list[float]) -> str:
    """One row of the result. Of a process that was killed, nobody learns what it used."""
    ordered = sorted(walls)
    most = ordered[len(ordered) * 9 // 10]
    used = f", {statistics.median(processor):.3f} s of the processor" if processor else ""
    return (
        f"{what}: {len(walls)}; median {statistics.median(walls):.3f} s{used}; nine of ten within {most:.2f} s, "
        f"longest {ordered[-1]:.2f} s"
    )


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
    files = [list(each) for _, each in itertools.groupby(jobs, key=lambda job: job.path)]
    in_turn = itertools.chain.from_iterable(each * _TURNS for each in itertools.cycle(files))
    spent: dict[str, tuple[list[float], list[float]]] = {"first fixes of a file": ([], []), "further fixes": ([], [])}
    verdicts: Counter[str] = Counter()
    memory: list[int] = []
    path = ""
    with Validator(devices=tuple(options.device.split(","))) as validator:
        print("devices:", validator.environment().devices, "torch", validator.environment().torch_version)
        for count, job in enumerate(itertools.islice(in_turn, options.fixes), 1):
            start, used = time.perf_counter(), processor_of(started_by(os.getpid()))
            verdict = validator.validate(job)
            walls, processor = spent["further fixes" if job.path == path else "first fixes of a file"]
            walls.append(time.perf_counter() - start)
            running = started_by(os.getpid())
            processor.append(processor_of(running) - used)
            path = job.path
            verdicts[verdict.verdict] += 1
            if count in (options.fixes // 10, options.fixes):
                memory.append(memory_of(running))
    print(f"{len(jobs)} different fixes, {options.fixes} validations: {dict(verdicts)}")
    for what, (walls, processor) in spent.items():
        if walls:
            print(told(what, walls, processor if what == "further fixes" else []))
    time.sleep(1.0)
    left = [pid for pid in running if Path(f"/proc/{pid}").exists()]
    print(f"memory of the server and its children: {memory[0]} MB after a tenth, {memory[-1]} MB at the end")
    print(f"processes left over: {len(left)}")


if __name__ == "__main__":
    main()
