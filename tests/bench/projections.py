"""How many missing output projections are found: deletes ``x = self.proj(x)`` from attention classes, and asks.

    python tests/bench/projections.py PACKAGE_OR_PATH... [--missed]

In every class whose ``forward`` attends, as the layout model sees it, the last ``x = self.proj(x)`` or
``return self.proj(x)`` of ``forward``, where that is an ``nn.Linear`` called a projection, is deleted, one class at a
time, and the file is linted. Last line: ``found N of M``.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from recall import _folder

from mha_lint.files import SourceError, decode
from mha_lint.linter import lint
from mha_lint.model.attention import analyse
from mha_lint.settings import Settings
from mha_lint.syntax.module import Module

_NAME = r"(?P<layer>(?!\w*drop)\w*proj\w*|to_out|dense|wo)(?:\[0\])?"
_APPLIED = re.compile(
    rf"^\s+(?P<x>\w+) = self\.{_NAME}\((?P=x)\)\n|(?<=return )self\.{_NAME.replace('layer', 'last')}\((?P<y>\w+)\)",
    re.MULTILINE,
)
_ATTENTION = re.compile(r"softmax|scaled_dot_product_attention")

Job = tuple[Path, str, str]  # the file, the class, and the text without its projection


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", nargs="+", metavar="PACKAGE_OR_PATH")
    parser.add_argument("--missed", action="store_true", help="list the classes that are not found")
    options = parser.parse_args()
    files = [file for name in options.packages for file in sorted(_folder(name).rglob("*.py"))]
    jobs = [job for file in files for job in _broken(file)]
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(_found, jobs))
    for (path, name, _), hit in zip(jobs, found, strict=True):
        if options.missed and not hit:
            print(f"missed {path}: {name}")
    print(f"found {sum(found)} of {len(found)}")
    return 0


def _broken(path: Path) -> Iterator[Job]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if not _ATTENTION.search(text):
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    lines = text.splitlines(keepends=True)
    attending: set[str] | None = None
    for cls in [node for node in tree.body if isinstance(node, ast.ClassDef)]:
        forward = next((n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "forward"), None)
        if forward is None or forward.end_lineno is None:
            continue
        body = "".join(lines[forward.lineno - 1 : forward.end_lineno])
        applied = list(_APPLIED.finditer(body))
        own = "".join(lines[cls.lineno - 1 : cls.end_lineno])
        if not _ATTENTION.search(body) or not applied:
            continue
        last = applied[-1]
        if not re.search(rf"self\.{last['layer'] or last['last']} = nn\.(?:Linear|ModuleList)\(", own):
            continue
        if attending is None:
            attending = analyse(Module(text)).scored
        if f"{cls.name}.forward" not in attending:
            continue
        without = body[: last.start()] + (last["y"] or "") + body[last.end() :]
        yield path, cls.name, "".join([*lines[: forward.lineno - 1], without, *lines[forward.end_lineno :]])


def _found(job: Job) -> bool:
    path, name, text = job
    try:
        findings = lint(decode(path, text.encode()), Settings(select=("MHA003",))).findings
    except SourceError:
        return False
    return any(finding.symbol == name for finding in findings)


if __name__ == "__main__":
    sys.exit(main())
