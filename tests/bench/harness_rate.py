"""How many attention modules of a package can be run unaided: built, run forward and backward, with no user input.

    python tests/bench/harness_rate.py PACKAGE_OR_PATH... [--json FILE] [--sample N] [--only REGEX] [--processes N]

PACKAGE_OR_PATH is a file, a folder of source, an unpacked package, or what pip is to download (``timm``,
``diffusers==0.35``); downloads are kept in ``$XDG_CACHE_HOME/mha-lint-bench``. Every class counts in whose methods
scores are computed: those that the linter's model sees, and those whose text says so, whatever their bases are and
wherever they are defined (see ``written_scores``). No class is left out because its file cannot be imported, or the
model cannot follow it. Modules that only hold such a one are counted apart. Each is searched, built and run in an
isolated child of a worker that imported torch, just as for a fix. It is reached when a statement that computes its
scores ran, and a gradient came back.

Failures are listed by reason. Last line: ``reached N of M``.
"""

from __future__ import annotations

import argparse
import ast
import functools
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
from collections.abc import Callable, Iterator
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
    print(f"{len(found)} classes in which scores are computed; {holders} that only hold one", flush=True)
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


# --- which classes count: kept by the bytes of the file and of what decides it -------------------------------------


def _modules_cached(path: Path, package: str) -> tuple[list[Found], int]:
    data = path.read_bytes()
    if not (screen.admits(data) or any(word in data for word in (b"softmax", b"scaled_dot_product_attention"))):
        return [], 0
    digest = hashlib.sha256(data + _digest() + str(path).encode()).hexdigest()
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


@functools.cache
def _digest() -> bytes:
    """The digest of what decides which classes count: the model, and this file."""
    import mha_lint.model

    files = [*Path(mha_lint.model.__file__).parent.rglob("*.py"), Path(__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).digest()


def _modules(path: Path, data: bytes, package: str) -> tuple[list[Found], int]:
    """The classes of a file in which scores are computed, and how many other classes name one of them."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return [], 0
    methods = written_scores(tree)
    seen, hints = _seen_by_the_model(data)
    for name, symbols in seen.items():
        methods[name] = sorted({*methods.get(name, []), *symbols})
    modules = [Found(package, str(path), name, tuple(methods[name]), hints.get(name, ())) for name in methods]
    names = {each.name for each in modules} | {"MultiheadAttention"}
    others = [
        node for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name not in names
        and any(isinstance(inner, (ast.Name, ast.Attribute)) and ast.unparse(inner).rpartition(".")[2] in names
                for inner in ast.walk(node))
    ]  # fmt: skip
    return modules, len(others)


Hints = tuple[tuple[str, tuple[str | int, ...]], ...]


def _seen_by_the_model(data: bytes) -> tuple[dict[str, list[str]], dict[str, Hints]]:
    """By class, the methods in which the model sees scores computed, and what it knows of the inputs of forward."""

    from mha_lint.model.attention import analyse
    from mha_lint.model.hints import input_hints
    from mha_lint.syntax.module import Module

    try:
        model = analyse(Module(data.decode()))
    except (SyntaxError, ValueError, RecursionError):
        return {}, {}
    methods: dict[str, list[str]] = defaultdict(list)
    for symbol in sorted(model.scored):
        owner, _, method = symbol.rpartition(".")
        if owner and method != "__init__":
            methods[owner].append(symbol)
    names = {cls.name for cls in model.names.every_class}
    hints = {name: tuple(input_hints(model, f"{name}.forward").items()) for name in names}
    return {name: symbols for name, symbols in methods.items() if name in names}, hints


_PRODUCTS = frozenset("matmul bmm baddbmm einsum".split())


def written_scores(tree: ast.Module) -> dict[str, list[str]]:
    """By class, the methods that compute scores, as far as the text tells.

    A class computes scores where its methods call ``scaled_dot_product_attention``, or hold a softmax and at least two
    products of tensors (scores, and the values that they weigh).
    """
    found: dict[str, list[str]] = {}
    for name, node in _classes(tree, ""):
        methods = [item for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))]
        methods = [item for item in methods if item.name != "__init__"]
        weighing = [item.name for item in methods if _count(item, _is_softmax)]
        fused = [item.name for item in methods if _count(item, _is_fused)]
        if weighing and sum(_count(item, _is_product) for item in methods) < 2:
            weighing = []
        if symbols := sorted({*weighing, *fused}):
            found[name] = [f"{name}.{symbol}" for symbol in symbols]
    return found


def _classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for child in ast.iter_child_nodes(node):
        inner = prefix
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = f"{prefix}{child.name}."
        if isinstance(child, ast.ClassDef):
            yield f"{prefix}{child.name}", child
        if isinstance(child, ast.stmt):
            yield from _classes(child, inner)


def _count(method: ast.AST, is_one: Callable[[ast.AST], bool]) -> int:
    return sum(is_one(node) for node in ast.walk(method))


def _called(node: ast.AST) -> str:
    match node:
        case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name)):
            return name
    return ""


def _is_softmax(node: ast.AST) -> bool:
    return "softmax" in _called(node).lower() and "log" not in _called(node).lower()


def _is_fused(node: ast.AST) -> bool:
    return _called(node) == "scaled_dot_product_attention"


def _is_product(node: ast.AST) -> bool:
    return _called(node) in _PRODUCTS or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult))


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
