"""How many crashing views mha-lint finds: takes the ``.contiguous()`` out of real attention code, and asks.

    python tests/bench/recall.py PACKAGE_OR_PATH... [--missed] [--sample N] [--jobs N]

Every ``.contiguous().view(…)``, and every ``.reshape(…)`` after a transpose or permute, in code that has to do with
attention is made to crash: the ``.contiguous()`` is deleted, or ``.view`` is written. Whether torch really raises is
played out with torch itself, without the linter: the statements before the site say of which rank the transposed
tensor is and what moved it; tensors of that rank with sizes that all differ are transposed and viewed. Sites whose
tensor is not made in sight (an input, the result of another file) or comes from ``scaled_dot_product_attention``
(whose layout depends on the backend) are counted apart. Sites that raise are broken one at a time (those in different
classes of a file in one go), and linted. Last line: ``found N of M``.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
import subprocess
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import prod
from os import environ
from pathlib import Path

import torch

from mha_lint.files import SourceError, decode
from mha_lint.linter import lint
from mha_lint.settings import Settings

SIZES = (2, 3, 5, 7, 11, 13, 17)
ATTENTION = re.compile(r"attention|attn|softmax", re.IGNORECASE)
MOVES = {"transpose", "swapaxes", "swapdims", "permute", "movedim", "moveaxis", "t", "mT"}
KEEPS_RANK = {"to", "type_as", "float", "half", "clone", "detach", "contiguous", "softmax", "dropout", "type",
              "masked_fill", "relu", "sigmoid", "tanh", "mul", "add", "div", "bfloat16", "div_", "mul_",
              "layer_norm", "normalize", "log_softmax", "gelu"}  # fmt: skip
PRODUCTS = {"matmul", "bmm", "baddbmm"}
Node = ast.expr
Steps = tuple[ast.expr, ...]


@dataclass(frozen=True)
class Site:
    path: Path
    block: tuple[int, int]  # first and last row of the class or function of the module
    row: int  # of the view, once it is broken
    start: int  # what is replaced, in bytes
    end: int
    content: bytes
    verdict: str  # "raises", "runs", "in doubt", "sdpa", "not in sight"


def main() -> int:
    options = _options()
    files = [file for name in options.packages for file in sorted(_folder(name).rglob("*.py"))]
    sites = [site for file in files for site in _sites(file)]
    counts = Counter(site.verdict for site in sites)
    print(f"{len(sites)} sites in {len(files)} files: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    broken = [site for site in sites if site.verdict == "raises"]
    if options.sample and options.sample < len(broken):
        broken = random.Random(options.seed).sample(broken, options.sample)
    if not broken:
        print("found 0 of 0")
        return 0
    with ProcessPoolExecutor(options.jobs) as pool:
        found = [result for results in pool.map(_found, _rounds(broken)) for result in results]
    for site, hit in sorted(found, key=lambda pair: (str(pair[0].path), pair[0].row)):
        if not hit and options.missed:
            print(f"missed {site.path}:{site.row}")
    print(f"found {sum(hit for _, hit in found)} of {len(found)}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", nargs="+", metavar="PACKAGE_OR_PATH")
    parser.add_argument("--missed", action="store_true", help="list the sites that are not found")
    parser.add_argument("--sample", type=int, metavar="N", help="break only N sites, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def _folder(name: str) -> Path:
    """An unpacked package: a path, or what pip downloads, kept in ``$XDG_CACHE_HOME/mha-lint-bench``."""
    if Path(name).exists():
        return Path(name)
    kept = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mha-lint-bench" / "sources" / name
    if not kept.exists():
        wheels = kept.with_suffix(".download")
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, name], check=True
        )
        for archive in wheels.iterdir():
            if archive.suffix == ".whl":
                with zipfile.ZipFile(archive) as wheel:
                    wheel.extractall(kept)
            else:
                kept.mkdir(parents=True)
                subprocess.run(["tar", "-xf", archive, "-C", kept], check=True)
    return kept


# --- where ---------------------------------------------------------------------------------------------------------


def _sites(path: Path) -> Iterator[Site]:
    data = path.read_bytes()
    if (b".contiguous()" not in data and b".reshape(" not in data) or not ATTENTION.search(
        data.decode("utf-8", "replace")
    ):
        return
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for top in tree.body:
        if not isinstance(top, (ast.ClassDef, ast.FunctionDef)):
            continue
        text = ast.get_source_segment(data.decode("utf-8", "replace"), top) or ""
        if not ATTENTION.search(text):
            continue
        first = min([top.lineno, *(d.lineno for d in top.decorator_list)])
        for function in [node for node in ast.walk(top) if isinstance(node, ast.FunctionDef)]:
            scope = Scope(function)
            for call in scope.calls():
                site = _site(path, (first, top.end_lineno or first), call, scope, starts)
                if site is not None:
                    yield site


def _site(path: Path, block: tuple[int, int], call: ast.Call, scope: Scope, starts: Sequence[int]) -> Site | None:
    assert isinstance(call.func, ast.Attribute)
    receiver = call.func.value
    after = starts[(call.func.end_lineno or 1) - 1] + (call.func.end_col_offset or 0)
    if call.func.attr == "view" and _is_call(receiver, "contiguous") and not receiver.args and not receiver.keywords:
        assert isinstance(receiver.func, ast.Attribute)
        inner = receiver.func.value
        start = starts[(inner.end_lineno or 1) - 1] + (inner.end_col_offset or 0)
        end = starts[(receiver.end_lineno or 1) - 1] + (receiver.end_col_offset or 0)
        # What closes parentheses around the inner expression stays.
        between = path.read_bytes()[start:end]
        at = between.rfind(b".contiguous")
        if b"#" in between or at < 0 or b"\\" in between:
            return None
        verdict = _played(inner, call, scope)
        return Site(
            path, block, call.func.end_lineno or call.lineno, start + len(between[:at].rstrip()), end, b"", verdict
        )
    if call.func.attr == "reshape" and scope.moved(receiver, call):
        return Site(
            path,
            block,
            call.func.end_lineno or call.lineno,
            after - len("reshape"),
            after,
            b"view",
            _played(receiver, call, scope),
        )
    return None


def _is_call(node: Node, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name


# --- what the statements before say --------------------------------------------------------------------------------


class Scope:
    """One function: which expressions a name stands for at a place, as far as straight lines and branches tell."""

    def __init__(self, function: ast.FunctionDef) -> None:
        self.function = function
        self.assigned: dict[str, list[tuple[int, Node | None, tuple[ast.stmt, ...]]]] = defaultdict(list)
        self.ranks: dict[str, list[tuple[int, int]]] = defaultdict(list)  # from unpacked shapes
        self.path_of: dict[ast.stmt, tuple[ast.stmt, ...]] = {}
        self._read(function.body, ())

    def lays_out_ones(self) -> bool:
        """Whether some ``.view`` or ``.reshape`` of the function is given a literal 1 for a size."""
        shapes = (call.args for call in self.calls() if _is_call(call, "view") or _is_call(call, "reshape"))
        return any(isinstance(size, ast.Constant) and size.value == 1 for shape in shapes for size in shape)

    def _read(self, body: Sequence[ast.stmt], path: tuple[ast.stmt, ...]) -> None:
        for statement in body:
            self.path_of[statement] = path
            match statement:
                case ast.Assign(targets=[ast.Name(name)], value=value):
                    self.assigned[name].append((statement.lineno, value, path))
                case ast.Assign(targets=[ast.Tuple(elts=elements)], value=value):
                    for index, element in enumerate(elements):
                        if isinstance(element, ast.Name):
                            part = (
                                value.elts[index]
                                if isinstance(value, ast.Tuple) and len(value.elts) == len(elements)
                                else None
                            )
                            self.assigned[element.id].append((statement.lineno, part, path))
                    source = _shape_source(value)
                    if source is not None:
                        self.ranks[source].append((statement.lineno, len(elements)))
                case ast.AugAssign(target=ast.Name()):
                    pass
                case ast.FunctionDef() | ast.ClassDef():
                    continue
                case _:
                    for node in ast.walk(statement):
                        if (
                            isinstance(node, ast.Name)
                            and isinstance(node.ctx, ast.Store)
                            and not hasattr(statement, "body")
                        ):
                            self.assigned[node.id].append((statement.lineno, None, path))
            for field in ("body", "orelse", "finalbody"):
                inner = getattr(statement, field, None)
                if isinstance(inner, list) and inner and isinstance(inner[0], ast.stmt):
                    self._read(inner, (*path, statement))

    def calls(self) -> Iterator[ast.Call]:
        nested = {
            n
            for d in ast.walk(self.function)
            if isinstance(d, ast.FunctionDef) and d is not self.function
            for n in ast.walk(d)
        }
        for node in ast.walk(self.function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node not in nested:
                yield node

    def values(self, name: str, row: int) -> list[Node | None]:
        """What may have been assigned to the name before the row: the last straight assignment, and branches since."""
        before = [entry for entry in self.assigned[name] if entry[0] < row]
        found: list[Node | None] = []
        here = self.at(row)
        for _, value, path in reversed(before):
            found.append(value)
            if all(step in here for step in path):
                break
        return found

    def at(self, row: int) -> tuple[ast.stmt, ...]:
        """The compound statements around a row, as far as one branch of them holds it."""
        around = [s for s in self.path_of if hasattr(s, "body") and s.lineno <= row <= (s.end_lineno or 0)]
        return tuple(s for s in around if not isinstance(s, ast.If))

    def value(self, name: str, row: int) -> Node | None:
        """What was last assigned to the name before the row; None for a parameter or where it is unclear."""
        before = [(line, value) for line, value, _ in self.assigned[name] if line < row]
        return max(before, key=lambda pair: pair[0])[1] if before else None

    def moved(self, node: Node, at: ast.expr) -> bool:
        """Whether a transpose or permute is in sight before the node's value, with nothing between that is new."""
        match node:
            case ast.Call(func=ast.Attribute(value=inner, attr=name)):
                return name in MOVES or (name in ("contiguous", "to", "float", "type_as") and self.moved(inner, at))
            case ast.Attribute(value=inner, attr="mT" | "T"):
                return True
            case ast.Name(name):
                value = self.value(name, at.lineno)
                return value is not None and not isinstance(value, ast.Name) and self.moved(value, value)
            case _:
                return False

    def rank(self, node: Node | None, row: int, depth: int = 0) -> int | None:
        if node is None or depth > 12:
            return None
        again = lambda inner: self.rank(inner, getattr(inner, "lineno", row), depth + 1)  # noqa: E731
        match node:
            case ast.Name(name):
                value = self.value(name, row)
                told = [(line, rank) for line, rank in self.ranks[name] if line < row]
                assigned = max([line for line, _, _ in self.assigned[name] if line < row], default=0)
                if told and told[-1][0] >= assigned:
                    return told[-1][1]
                return again(value) if value is not None else None
            case ast.Call(func=ast.Attribute(value=inner, attr="view" | "reshape"), args=args):
                if len(args) == 1:
                    return _length(self, args[0], row)
                return None if any(isinstance(a, ast.Starred) for a in args) else len(args)
            case ast.Call(func=ast.Attribute(value=inner, attr="permute"), args=args):
                return len(args[0].elts) if len(args) == 1 and isinstance(args[0], ast.Tuple) else len(args)
            case ast.Call(func=ast.Attribute(attr="einsum"), args=[ast.Constant(str(text)), *_]) if "->" in text:
                return len(text.split("->")[1].replace(" ", "")) if "." not in text else None
            case ast.Call(func=ast.Attribute(value=ast.Name("torch" | "F"), attr=name), args=[first, *rest]):
                if name in PRODUCTS:
                    ranks = [again(first), again(rest[0]) if rest else None]
                    return max((r for r in ranks if r), default=None)
                return again(first) if name in KEEPS_RANK | MOVES else None
            case ast.Call(func=ast.Attribute(value=ast.Attribute(value=ast.Name("nn")), attr=name), args=[first, *_]):
                return again(first) if name in KEEPS_RANK else None
            case ast.Call(func=ast.Attribute(value=inner, attr=name), args=args):
                if name in ("matmul", "bmm"):
                    return again(inner) or (again(args[0]) if args else None)
                if name in KEEPS_RANK | MOVES:
                    return (
                        again(inner)
                        if not (isinstance(inner, ast.Name) and inner.id == "self")
                        else again(args[0])
                        if args
                        else None
                    )
                return None
            case ast.BinOp(left=left, right=right):
                return max((r for r in (again(left), again(right)) if r), default=None)
            case _:
                return None


def _shape_source(value: Node) -> str | None:
    match value:
        case (
            ast.Attribute(value=ast.Name(name), attr="shape")
            | ast.Call(func=ast.Attribute(value=ast.Name(name), attr="size"), args=[])
        ):
            return name
        case _:
            return None


def _length(scope: Scope, node: Node, row: int, depth: int = 0) -> int | None:
    """How many sizes a shape argument has."""
    match node:
        case ast.Tuple(elts=elements) if not any(isinstance(e, ast.Starred) for e in elements):
            return len(elements)
        case ast.Name(name) if depth < 4:
            value = scope.value(name, row)
            return None if value is None else _length(scope, value, row, depth + 1)
        case _:
            return None


# --- played out with torch ------------------------------------------------------------------------------------------


def _played(receiver: Node, call: ast.Call, scope: Scope) -> str:
    """What torch does on every plain reading of the code before; "raises" where one of the branches makes it raise."""
    outcomes = {_outcome(node, steps, call, scope) for node, steps in _origins(receiver, (), call.lineno, scope)}
    order = ("raises", "in doubt", "sdpa", "not in sight", "runs")
    return next((outcome for outcome in order if outcome in outcomes), "not in sight")


def _origins(node: Node, steps: Steps, row: int, scope: Scope, depth: int = 0) -> Iterator[tuple[Node, Steps]]:
    """What the value was made by, and the moves since then, last move first; one for each branch."""
    if depth > 20:
        return
    match node:
        case ast.Name(name):
            for value in scope.values(name, row):
                if value is not None:
                    yield from _origins(value, steps, value.lineno, scope, depth + 1)
        case ast.Attribute(value=inner, attr="mT"):
            yield from _origins(inner, (*steps, node), row, scope, depth + 1)
        case ast.Call(func=ast.Attribute(value=ast.Name("torch"), attr=name), args=[inner, *_]) if name in MOVES:
            yield from _origins(inner, (*steps, node), row, scope, depth + 1)
        case ast.Call(func=ast.Attribute(value=inner, attr=name)) if name in MOVES:
            yield from _origins(inner, (*steps, node), row, scope, depth + 1)
        case ast.Call(func=ast.Attribute(value=inner, attr="to" | "float" | "type_as" | "half" | "clone")):
            yield from _origins(inner, steps, row, scope, depth + 1)
        case _:
            yield node, steps


def _outcome(node: Node, steps: Steps, call: ast.Call, scope: Scope) -> str:
    made = _made(node, scope)
    if made != "fresh" or not steps:
        return made if steps else "not in sight"
    args = call.args
    if len(args) == 1 and not isinstance(args[0], (ast.Constant, ast.UnaryOp)):
        wanted = _length(scope, args[0], call.lineno)
    else:
        wanted = None if any(isinstance(argument, ast.Starred) for argument in args) else len(args)
    if wanted is None or scope.lays_out_ones():
        return "in doubt"  # a dimension of 1 may stand anywhere, as where one query pools
    rank = scope.rank(node, node.lineno)
    # Of an unknown rank it is only said that dimensions are merged: nobody views a tensor as what it is.
    outcomes = [_of_rank(rank, steps, wanted) for rank in ([rank] if rank else range(max(wanted + 1, 3), 7))]
    if not outcomes or None in outcomes or len(set(outcomes)) > 1:
        return "in doubt"
    return "raises" if outcomes[0] else "runs"


def _of_rank(rank: int, steps: Steps, wanted: int) -> bool | None:
    """Whether the view raises, whichever neighbours it merges; None where that matters, or nothing is merged."""
    tensor = torch.empty(SIZES[:rank])
    try:
        for step in reversed(steps):
            tensor = _moved(tensor, step)
    except (RuntimeError, IndexError, TypeError, ValueError):
        return None
    outcomes = {_raises(tensor, shape) for shape in _groupings(tuple(tensor.shape), wanted)} if wanted < rank else set()
    return outcomes.pop() if len(outcomes) == 1 else None


def _made(node: Node, scope: Scope) -> str:
    """Whether the tensor is newly allocated in plain order."""
    match node:
        case ast.BinOp(op=ast.MatMult()):
            return "fresh"
        case ast.Call(func=ast.Attribute(value=inner, attr=name)):
            if name == "scaled_dot_product_attention":
                return "sdpa"
            if name in PRODUCTS or name in ("softmax", "contiguous"):
                return "fresh"
            if name in ("view", "reshape"):
                for _ in range(5):
                    if isinstance(inner, ast.Name):
                        value = scope.value(inner.id, node.lineno)
                        if value is None:
                            return "not in sight"
                        inner = value
                return "fresh" if _linear(inner) or _made(inner, scope) == "fresh" else "not in sight"
    return "not in sight"


def _linear(node: Node) -> bool:
    """``self.q_proj(x)``: taken for a linear layer by its name."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name("self"), attr=name)):
            return bool(re.search(r"proj|query|key|value|qkv|linear|to_|^[qkv]$|^w_?[qkvo]|dense|fc", name))
        case _:
            return False


def _moved(tensor: torch.Tensor, step: ast.expr) -> torch.Tensor:
    if isinstance(step, ast.Attribute):
        return tensor.mT
    assert isinstance(step, ast.Call) and isinstance(step.func, ast.Attribute)
    torch_form = isinstance(step.func.value, ast.Name) and step.func.value.id == "torch"
    dims = [ast.literal_eval(argument) for argument in step.args[1 if torch_form else 0 :]]
    moved = getattr(tensor, step.func.attr)
    result = moved(*dims) if callable(moved) else moved
    assert isinstance(result, torch.Tensor)
    return result


def _groupings(shape: tuple[int, ...], count: int) -> Iterator[tuple[int, ...]]:
    """Every way of merging neighbours into ``count`` dimensions."""
    for cuts in combinations(range(1, len(shape)), count - 1):
        bounds = [0, *cuts, len(shape)]
        yield tuple(prod(shape[start:end]) for start, end in pairwise(bounds))


def _raises(tensor: torch.Tensor, shape: tuple[int, ...]) -> bool:
    try:
        tensor.view(shape)
    except RuntimeError:
        return True
    return False


# --- broken and linted ----------------------------------------------------------------------------------------------


def _rounds(sites: Sequence[Site]) -> list[list[Site]]:
    """Sites to break together: of one file, at most one in each class or function of the module."""
    rounds: dict[tuple[Path, int], list[Site]] = defaultdict(list)
    seen: Counter[tuple[Path, tuple[int, int]]] = Counter()
    for site in sites:
        key = (site.path, site.block)
        rounds[site.path, seen[key]].append(site)
        seen[key] += 1
    return list(rounds.values())


def _found(sites: list[Site]) -> list[tuple[Site, bool]]:
    path = sites[0].path
    data = path.read_bytes()
    for site in sorted(sites, key=lambda site: -site.start):
        data = data[: site.start] + site.content + data[site.end :]
    try:
        findings = lint(decode(path, data), Settings(select=("MHA001",))).findings
    except (SourceError, RecursionError):
        return [(site, False) for site in sites]
    blocks = {(f.location.row, f.end_location.row) for f in findings}
    shift = 0
    result = []
    for site in sorted(sites, key=lambda site: site.start):
        lost = path.read_bytes()[site.start : site.end].count(b"\n")
        first, last = site.block[0] - shift, site.block[1] - shift - lost
        shift += lost
        result.append((site, any(first <= row and end <= last for row, end in blocks)))
    return result


if __name__ == "__main__":
    sys.exit(main())
