"""The same findings with the screen as without it, on whole packages; and how much of them it keeps from the model.

    python tests/bench/screened.py PACKAGE_FOLDER... [--mutants 200]

Every admitted file is linted twice, with all rules that run by default; with ``--mutants``, that many files, drawn at
random, and each in up to six versions, with mistakes written into it. Prints a row a package, and each difference.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from mha_lint.files import Source, SourceError, read_source
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.screen import admits
from mha_lint.screen.suspects import suspects
from mha_lint.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from mutants import changed


def linted(source: Source, *, screened: bool) -> tuple[list[Finding] | str, float]:
    """The findings or the error of one file, and the seconds that it took."""
    begun = time.perf_counter()
    try:
        found: list[Finding] | str = lint(source, Settings(), screened=screened)
    except SourceError as error:
        found = str(error)
    return found, time.perf_counter() - begun


def mutants(source: Source) -> list[Source]:
    """The file, and what the mistakes make of it."""
    texts = dict.fromkeys(changed(source.text))
    return [Source(source.path, text, "utf-8", False, text.encode(errors="surrogatepass")) for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", type=Path, nargs="+")
    parser.add_argument("--mutants", type=int, default=0, help="files a package to write mistakes into")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| package | files | looked at | with suspects | findings | seconds | without the screen |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    different = 0
    for package in options.packages:
        files = sorted(package.rglob("*.py"))
        admitted = [path for path in files if admits(path.read_bytes())]
        seconds, seconds_without, findings, suspected = 0.0, 0.0, 0, 0
        sources = [read_source(path) for path in admitted]
        if options.mutants:
            drawn = random.Random(options.seed).sample(sources, min(options.mutants, len(sources)))
            sources = [mutant for source in drawn for mutant in mutants(source)]
        for source in sources:
            with_screen, taken = linted(source, screened=True)
            without, taken_without = linted(source, screened=False)
            seconds, seconds_without = seconds + taken, seconds_without + taken_without
            findings += len(without) if isinstance(without, list) else 0
            found = suspects(source.text, Settings().enabled(source.path))
            suspected += found is None or bool(found.roots)
            if with_screen != without:
                different += 1
                print(f"{source.path}: {with_screen} with the screen, {without} without it")
        row = (package.name, len(files), len(sources), suspected, findings, f"{seconds:.1f}", f"{seconds_without:.1f}")
        print("| " + " | ".join(map(str, row)) + " |")
    raise SystemExit(1 if different else 0)


if __name__ == "__main__":
    main()
