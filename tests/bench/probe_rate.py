"""What the probes say of the attention modules of released packages, which are taken to be right.

    python tests/bench/probe_rate.py PACKAGE_OR_PATH... [--json FILE] [--sample N] [--only REGEX] [--processes N]

The modules, and the ways to run them, are those of ``harness_rate.py``. For each property: in how many modules it
holds, is violated, is not applicable, and why not. Every violation is printed, to be read: in a released package it is
either a real bug, or done on purpose, or a mistake of the probe. Last line: ``probed N of M modules, V violations``.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import re
import sys
import threading
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import msgspec
from harness_rate import TIMEOUT, Found, _files, _modules_cached, _source

from mha_lint.validation import Probed, Probing, Validator
from mha_lint.validation.probes import PROBES


def main() -> int:
    options = _options()
    found: list[Found] = []
    for name in options.packages:
        files = _files(_source(name))
        with ProcessPoolExecutor(options.processes) as pool:
            for modules, _ in pool.map(_modules_cached, files, [name] * len(files)):
                found += modules
    found = [each for each in found if not options.only or re.search(options.only, f"{each.path}:{each.name}")]
    if options.sample and options.sample < len(found):
        found = sorted(random.Random(options.seed).sample(found, options.sample), key=lambda each: each.path)
    print(f"{len(found)} attention modules", flush=True)
    answers = _run(found, options.processes)
    violations = _report(found, answers)
    if options.json:
        rows = [{**asdict(each), "probed": msgspec.to_builtins(answers[index])} for index, each in enumerate(found)]
        Path(options.json).write_text(json.dumps(rows, indent=1))
    probed = sum(bool(each.observations) for each in answers.values())
    print(f"probed {probed} of {len(found)} modules, {violations} violations")
    return 0


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("packages", nargs="+", metavar="PACKAGE_OR_PATH")
    made.add_argument("--json", help="write every observation to this file")
    made.add_argument("--only", help="a regular expression for PATH:CLASS")
    made.add_argument("--sample", type=int, help="so many of them, drawn at random")
    made.add_argument("--seed", type=int, default=0, help="for --sample")
    made.add_argument("--processes", type=int, default=2)
    return made.parse_args()


def _run(found: list[Found], processes: int) -> dict[int, Probed]:
    """The answers by place in ``found``; each thread has a server of its own."""
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(found)):
        todo.put(index)
    answers: dict[int, Probed] = {}

    def work() -> None:
        with Validator(devices=("cpu",), timeout=2 * TIMEOUT) as validator:
            while True:
                try:
                    index = todo.get_nowait()
                except queue.Empty:
                    return
                each = found[index]
                text = Path(each.path).read_bytes().decode("utf-8", "replace")
                asked = Probing(each.path, text, each.name, each.methods, dict(each.hints))
                answers[index] = validator.probe(asked)

    threads = [threading.Thread(target=work) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _report(found: list[Found], answers: dict[int, Probed]) -> int:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    violations = 0
    for index, each in enumerate(found):
        for seen in answers[index].observations.get("cpu", ()):
            counts[seen.probe][seen.outcome] += 1
            if seen.outcome == "violated":
                violations += 1
                print(f"{each.path}:{each.name}: {seen.probe}: {seen.words}\n    {answers[index].how}")
            elif seen.outcome == "not applicable":
                reasons[seen.probe][re.sub(r"\d[\d.e+-]*", "N", seen.words)[:80]] += 1
    for probe in PROBES:
        told = ", ".join(f"{outcome} {number}" for outcome, number in counts[probe].most_common())
        print(f"\n{probe}: {told}")
        for reason, number in reasons[probe].most_common(12):
            print(f"    {number} × {reason}")
    print()
    return violations


if __name__ == "__main__":
    sys.exit(main())
