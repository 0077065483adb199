"""Differences between the findings and fixes of two versions of this tool on the same files.

    python tests/bench/same_findings.py PACKAGE_OR_PATH... --against COMMIT [--jobs N]
    python tests/bench/same_findings.py timm --against 8a178a5 --without-screen
    python tests/bench/same_findings.py timm --against main --mistakes 50

PACKAGE_OR_PATH is a file, a folder of source, an unpacked package, or what pip is to download. COMMIT is a commit of
this repository, or a folder with a checkout; it is compared with the files of this checkout as they are. Each version
runs in processes of its own, all rules on, comments that silence ignored. ``--without-screen`` makes COMMIT look at all
of each file, if it is so old that it looks at a part. ``--mistakes N`` adds, for N files of each package drawn by
``--seed``, texts with the mistakes that the rules look for written in; ``--alone`` compares nothing but these.

A difference is printed as ``path:row:column: CODE KIND: WHAT``: "lost" is a finding that the other version alone has,
"new" one that this checkout alone has, and every other kind is a field whose value changed (other → this). The exit
status is 1 where there is one. ``--sample N`` takes N files of each package, drawn by ``--seed``.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mutants import changed, injected

from tests.bench.comparison.differences import Report, differences
from tests.bench.comparison.trees import ROOT, laid_out
from tests.bench.injection.sites import folder as unpacked

_LINTING = Path(__file__).with_name("comparison") / "linting.py"


@dataclass(frozen=True, slots=True)
class Text:
    """One text to lint, and its name in what is printed: its file, and which mistake was written into it."""

    path: Path
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Compared:
    """One text, as both versions see it."""

    text: Text
    this: Report
    other: Report


class Version:
    """A process that lints with one version. It takes one text at a time."""

    def __init__(self, folder: Path, *, screened: bool) -> None:
        command = [sys.executable, str(_LINTING), str(folder), *([] if screened else ["--without-screen"])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Version:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def lint(self, text: Text) -> Report:
        """What this version says of the text. Raises RuntimeError where the process ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"path": str(text.path), "data": base64.b64encode(text.data).decode()}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{text.name}: the process that lints ended with status {self._process.wait()}")
        told = json.loads(answer)
        return Report(tuple(told["findings"]), told["error"], told["seconds"])


def compare(
    texts: Sequence[Text], this: Path, other: Path, *, jobs: int = 1, without_screen: bool = False
) -> Iterator[Compared]:
    """What two versions, laid out in folders, say of each text, in the order of the texts.

    ``without_screen`` makes the other look at all of each file. Both take each text in turn, so
    that a slow spell of the machine hits both alike.
    """
    free: SimpleQueue[tuple[Version, Version]] = SimpleQueue()

    def both(text: Text) -> Compared:
        ours, theirs = free.get()
        try:
            return Compared(text, ours.lint(text), theirs.lint(text))
        finally:
            free.put((ours, theirs))

    with ExitStack() as processes:
        for _ in range(jobs):
            ours = processes.enter_context(Version(this, screened=True))
            theirs = processes.enter_context(Version(other, screened=not without_screen))
            free.put((ours, theirs))
        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(both, texts)


def texts_of(name: str, *, sample: int | None, mistakes: int, seed: int, alone: bool = False) -> Iterator[Text]:
    """The files of a package, then versions of some of them with mistakes written in; ``alone`` gives only those."""
    source = unpacked(name)
    files = [source] if source.is_file() else sorted(source.rglob("*.py"))
    draw = random.Random(seed)
    if sample is not None:
        files = sorted(draw.sample(files, min(sample, len(files))))
    if not alone:
        yield from (Text(path, str(path), path.read_bytes()) for path in files)
    if not mistakes:
        return
    about_attention = [path for path in files if _may_attend(path)]
    for path in sorted(draw.sample(about_attention, min(mistakes, len(about_attention)))):
        yield from _with_mistakes(path, seed)


def _may_attend(path: Path) -> bool:
    data = path.read_bytes()
    return b"torch" in data and (b"softmax" in data or b"scaled_dot_product_attention" in data)


def _with_mistakes(path: Path, seed: int) -> Iterator[Text]:
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return
    seen = {text}
    named = [(f"change {number}", mutant) for number, mutant in enumerate(changed(text))]
    for name, mutant in [*named, *injected(text, seed)]:
        if mutant not in seen:
            seen.add(mutant)
            yield Text(path, f"{path}[{name}]", mutant.encode("utf-8", "surrogatepass"))


def main() -> int:
    options = _options()
    drawn = {name: getattr(options, name) for name in ("sample", "mistakes", "seed", "alone")}
    texts = [text for name in options.packages for text in texts_of(name, **drawn)]
    findings = count = 0
    seconds = [0.0, 0.0]
    with tempfile.TemporaryDirectory(prefix="mha-lint-same-") as name:
        this = laid_out(str(ROOT), Path(name) / "this")
        other = laid_out(options.against, Path(name) / "other", options.repository)
        for each in compare(texts, this, other, jobs=options.jobs, without_screen=options.without_screen):
            findings += len(each.this.findings)
            seconds = [seconds[0] + each.this.seconds, seconds[1] + each.other.seconds]
            for difference in differences(each.this, each.other, fixes=not options.no_fixes):
                count += 1
                print(f"{each.text.name}:{difference}", flush=True)
    print(f"CPU seconds: {seconds[0]:.1f} here, {seconds[1]:.1f} of {options.against}")
    print(f"{len(texts)} files, {findings} findings, {count} differences")
    return 1 if count else 0


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("packages", nargs="+", metavar="PACKAGE_OR_PATH")
    made.add_argument("--against", required=True, metavar="COMMIT", help="a commit, or a folder with a checkout")
    made.add_argument("--repository", type=Path, default=ROOT, help="where COMMIT is one (default: this repository)")
    made.add_argument("--without-screen", action="store_true", help="COMMIT looks at all of each file")
    made.add_argument("--no-fixes", action="store_true", help="leave the fixes aside")
    made.add_argument("--mistakes", type=int, default=0, metavar="N", help="files a package to write mistakes into")
    made.add_argument("--alone", action="store_true", help="only the files with mistakes, not the package as it is")
    made.add_argument("--sample", type=int, metavar="N", help="files a package, drawn at random (default: all)")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    return made.parse_args()


if __name__ == "__main__":
    sys.exit(main())
