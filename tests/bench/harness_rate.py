"""How many attention modules of a package can be run unaided: built, run forward and backward, with no user input.

    python tests/bench/harness_rate.py PACKAGE_OR_PATH... [--json FILE] [--sample N] [--only REGEX] [--processes N]

PACKAGE_OR_PATH is a file, a folder of source, an unpacked package, or what pip is to download (``timm``,
``diffusers==0.35``); downloads are kept in ``$XDG_CACHE_HOME/mha-lint-bench``. An attention module is a
``torch.nn.Module`` whose own methods compute scores from queries and keys, as the linter's model sees it. Modules that
only hold such a one are counted apart. Each is searched, built and run in an isolated child of a worker that imported
torch, just as for a fix. It is reached when a statement that computes its scores ran, and a gradient came back.

Failures are listed by reason. Last line: ``reached N of M``.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import queue
import random
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from mha_lint import screen
from mha_lint.validation import Reached, Reaching, Validator

TIMEOUT = 40.0  # seconds for one module, imports included


@dataclass(frozen=True, slots=True)
class Found:
    """An attention module: ``methods`` are those that compute scores, ``hints`` what the model knows of its inputs."""

    package: str
    path: str
    name: str
    methods: tuple[str, ...]
    hints: tuple[tuple[str, tuple[str | int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    found: Found
    reached: Reached
    seconds: float


def main() -> int:
    options = _options()
    found, holders = [], 0
    for name in options.packages:
        files = _files(_source(name))
        if options.files and options.files < len(files):
            admitted = [path for path in files if screen.admits(path.read_bytes())]
            files = random.Random(options.seed).sample(admitted, min(options.files, len(admitted)))
        with ProcessPoolExecutor(options.processes) as pool:
            for modules, wrappers in pool.map(_modules_cached, files, [name] * len(files)):
                found += modules
                holders += wrappers
    found = [each for each in found if not options.only or re.search(options.only, f"{each.path}:{each.name}")]
    if options.sample and options.sample < len(found):
        found = sorted(random.Random(options.seed).sample(found, options.sample), key=lambda each: each.path)
    print(f"{len(found)} attention modules; {holders} modules that only hold one", flush=True)
    outcomes = list(_run(found, options.processes, options.quiet))
    _report(outcomes)
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(each) for each in outcomes], indent=1))
    reached = sum(bool(each.reached.level) for each in outcomes)
    print(f"reached {reached} of {len(outcomes)}")
    return 0


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("packages", nargs="+", metavar="PACKAGE_OR_PATH")
    made.add_argument("--json", help="write every outcome to this file")
    made.add_argument("--only", help="a regular expression for PATH:CLASS")
    made.add_argument("--sample", type=int, help="so many of them, drawn at random")
    made.add_argument("--files", type=int, help="look at so many of each package's files, drawn at random")
    made.add_argument("--seed", type=int, default=0, help="for --sample and --files")
    made.add_argument("--processes", type=int, default=2)
    made.add_argument("--quiet", action="store_true", help="no line for each failure as it happens")
    return made.parse_args()


def _source(name: str) -> Path:
    """The folder or file of ``name``, downloaded with pip when there is none, and kept."""
    path = Path(name)
    if path.exists():
        return path.resolve()
    home = _home() / re.sub(r"[^\w.=-]", "_", name)
    if not any(home.glob("*/__init__.py")):
        home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(home), name]
        subprocess.run(command, check=True)
        for archive in home.glob("*.whl"):
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(home)
        for archive in home.glob("*.tar.gz"):
            subprocess.run(["tar", "-xzf", str(archive), "-C", str(home)], check=True)
    return home


def _home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mha-lint-bench"


def _files(source: Path) -> list[Path]:
    return [source] if source.is_file() else sorted(source.rglob("*.py"))


# --- what an attention module is: the model's answer, kept by the bytes of the file and of the model ----------------


def _modules_cached(path: Path, package: str) -> tuple[list[Found], int]:
    data = path.read_bytes()
    if not screen.admits(data):
        return [], 0
    digest = hashlib.sha256(data + _model_digest() + str(path).encode()).hexdigest()
    kept = _home() / "modules" / f"{digest}.json"
    if kept.is_file():
        answer = json.loads(kept.read_text())
    else:
        modules, wrappers = _modules(path, data, package)
        answer = {"modules": [asdict(each) for each in modules], "wrappers": wrappers}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(answer))
    found = [
        Found(package, each["path"], each["name"], tuple(each["methods"]),
              tuple((name, tuple(shape)) for name, shape in each["hints"]))
        for each in answer["modules"]
    ]  # fmt: skip
    return found, int(answer["wrappers"])


def _model_digest() -> bytes:
    import mha_lint.model

    files = [*Path(mha_lint.model.__file__).parent.rglob("*.py")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).digest()


def _modules(path: Path, data: bytes, package: str) -> tuple[list[Found], int]:
    """The attention modules of a file, and how many other modules name one of them."""
    import libcst

    from mha_lint.model.attention import analyse, is_module
    from mha_lint.model.hints import input_hints

    try:
        model = analyse(libcst.parse_module(data))
    except (libcst.ParserSyntaxError, RecursionError, UnicodeDecodeError):
        return [], 0
    methods: dict[str, list[str]] = defaultdict(list)
    for symbol in sorted(model.scored):
        owner, _, method = symbol.rpartition(".")
        if owner and method != "__init__":
            methods[owner].append(symbol)
    modules = [
        Found(
            package,
            str(path),
            cls.name,
            tuple(methods[cls.name]),
            tuple(input_hints(model, f"{cls.name}.forward").items()),
        )
        for cls in model.names.every_class
        if cls.name in methods and is_module(cls)
    ]
    names = {each.name for each in modules} | {"MultiheadAttention"}
    others = [
        node for node in ast.parse(data).body
        if isinstance(node, ast.ClassDef) and node.name not in names
        and any(isinstance(inner, (ast.Name, ast.Attribute)) and ast.unparse(inner).rpartition(".")[2] in names
                for inner in ast.walk(node))
    ]  # fmt: skip
    return modules, len(others)


# --- running them ------------------------------------------------------------------------------------------------


def _run(found: list[Found], processes: int, quiet: bool) -> Iterator[Outcome]:
    """Outcomes in the order of ``found``; each thread has a server of its own."""
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(found)):
        todo.put(index)
    outcomes: dict[int, Outcome] = {}

    def work() -> None:
        with Validator(devices=("cpu",), timeout=TIMEOUT) as validator:
            while True:
                try:
                    index = todo.get_nowait()
                except queue.Empty:
                    return
                each = found[index]
                begun = time.monotonic()
                text = Path(each.path).read_bytes().decode("utf-8", "replace")
                reached = validator.reach(Reaching(each.path, text, each.methods, dict(each.hints)))
                outcomes[index] = Outcome(each, reached, round(time.monotonic() - begun, 2))
                if not quiet and not reached.level:
                    short = os.sep.join(Path(each.path).parts[-2:])
                    print(f"[{len(outcomes)}/{len(found)}] {short}:{each.name}: {reached.reason[:700]}", flush=True)

    threads = [threading.Thread(target=work) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield from (outcomes[index] for index in sorted(outcomes))


def _report(outcomes: list[Outcome]) -> None:
    failed: dict[str, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        if not each.reached.level:
            failed[_kind(each.reached.reason)].append(each)
    for kind, group in sorted(failed.items(), key=lambda item: -len(item[1])):
        print(f"\n{len(group)} × {kind}")
        for each in group:
            print(f"    {each.found.path}:{each.found.name}: {each.reached.reason[:300]}")
    print()
    packages = Counter(each.found.package for each in outcomes)
    for package, count in packages.items():
        here = [each for each in outcomes if each.found.package == package and each.reached.level]
        levels = Counter(each.reached.level for each in here)
        told = ", ".join(f"{level} {number}" for level, number in levels.most_common())
        print(f"{package}: reached {len(here)} of {count} ({100 * len(here) / count:.1f} %): {told}")
    seconds = sorted(each.seconds for each in outcomes)
    if seconds:
        print(f"seconds a module: median {seconds[len(seconds) // 2]}, longest {seconds[-1]}")


def _kind(reason: str) -> str:
    """A reason without the names and numbers in it."""
    raised = re.search(r"(building|calling|importing|running)\b.*?\braised (\w+)(?:: (.*))?", reason)
    if raised:
        detail = re.sub(r"\d+", "N", re.sub(r"'[^']*'", "'…'", raised[3] or ""))
        return f"{raised[1]} raised {raised[2]}: {detail[:70]}"
    return re.sub(r"\d+", "N", reason.partition(":")[0])[:90]


if __name__ == "__main__":
    sys.exit(main())
