"""The same findings with the screen as without it, on whole packages; and how much of them it keeps from the model.

    python tests/bench/screened.py PACKAGE_FOLDER...

Every admitted file is linted twice, with all rules that run by default. Prints a row a package, and each difference.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from mha_lint.files import SourceError, read_source
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.screen import admits
from mha_lint.screen.suspects import suspects
from mha_lint.settings import Settings


def linted(path: Path, *, screened: bool) -> tuple[list[Finding] | str, float]:
    """The findings or the error of one file, and the seconds that it took."""
    begun = time.perf_counter()
    try:
        found: list[Finding] | str = lint(read_source(path), Settings(), screened=screened)
    except SourceError as error:
        found = str(error)
    return found, time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", type=Path, nargs="+")
    print("| package | files | admitted by their bytes | with suspects | findings | seconds | without the screen |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    different = 0
    for package in parser.parse_args().packages:
        files = sorted(package.rglob("*.py"))
        admitted = [path for path in files if admits(path.read_bytes())]
        seconds, seconds_without, findings, suspected = 0.0, 0.0, 0, 0
        for path in admitted:
            with_screen, taken = linted(path, screened=True)
            without, taken_without = linted(path, screened=False)
            seconds, seconds_without = seconds + taken, seconds_without + taken_without
            findings += len(without) if isinstance(without, list) else 0
            source = read_source(path)
            found = suspects(source.text, Settings().enabled(path))
            suspected += found is None or bool(found.roots)
            if with_screen != without:
                different += 1
                print(f"{path}: {with_screen} with the screen, {without} without it")
        row = (package.name, len(files), len(admitted), suspected, findings, f"{seconds:.1f}", f"{seconds_without:.1f}")
        print("| " + " | ".join(map(str, row)) + " |")
    raise SystemExit(1 if different else 0)


if __name__ == "__main__":
    main()
