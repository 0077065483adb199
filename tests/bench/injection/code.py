"""One file of attention code, and exact edits of it.

It is read with :mod:`ast` alone, and with nothing of the linter, so that the bench doesn't share the linter's blind
spots. Places are byte offsets in the file.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PRODUCTS = frozenset("matmul bmm baddbmm einsum".split())
SDPA = "scaled_dot_product_attention"
ATTENTION = re.compile(rb"softmax|scaled_dot_product_attention|MultiheadAttention|attention_interface", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the bytes [``start``, ``end``) by ``content``."""

    start: int
    end: int
    content: str


def edited(data: bytes, edits: tuple[Edit, ...]) -> bytes:
    """The text with the edits made. Raises ValueError where two overlap."""
    limit = len(data)
    for edit in sorted(edits, key=lambda each: (each.start, each.end), reverse=True):
        if edit.end > limit or edit.start < 0:
            raise ValueError("edits overlap, or lie outside")
        data, limit = data[: edit.start] + edit.content.encode() + data[edit.end :], edit.start
    return data


@dataclass(frozen=True, slots=True)
class Injection:
    """One mistake at one place. ``base`` makes the right text of the original, where the original lacks the mask.

    ``unit`` is the class or function of the module, ``function`` the one that changes ("Class.method"). ``where`` are
    the functions in which the mistake shows: that one, what calls it, what reads the attribute that it sets.
    ``silent`` is the reason, in the words of the rule's page, for which the rule says nothing; "" where it must speak.
    """

    rule: str
    form: str
    unit: str
    function: str
    row: int
    where: frozenset[str]
    edits: tuple[Edit, ...]
    base: tuple[Edit, ...] = ()
    silent: str = ""

    @property
    def planted(self) -> bool:
        """Whether the original has no such mask or cache, so that a right one is planted for the comparison."""
        return bool(self.base)


@dataclass(frozen=True)
class Code:
    """The text of a file; ``data`` is its UTF-8."""

    path: Path
    data: bytes
    tree: ast.Module

    @cached_property
    def starts(self) -> list[int]:
        """The offset of each row's first byte."""
        starts = [0]
        for line in self.data.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        return starts

    def start(self, node: ast.expr | ast.stmt) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        return self.data[self.start(node) : self.end(node)].decode()

    def replaced(self, node: ast.expr | ast.stmt, content: str) -> Edit:
        return Edit(self.start(node), self.end(node), content)

    def link(self, call: ast.Call) -> Edit:
        """Deletes the last link of a chain: ``.transpose(1, 2)`` of ``x.transpose(1, 2)``."""
        assert isinstance(call.func, ast.Attribute)
        dot = self.data.rindex(b".", 0, self.end(call.func) - len(call.func.attr.encode()))
        return Edit(dot, self.end(call), "")

    def without_argument(self, call: ast.Call, argument: ast.expr | ast.keyword) -> Edit:
        """Deletes an argument that isn't the first, with the comma before it."""
        everything: list[ast.expr | ast.keyword] = sorted([*call.args, *call.keywords], key=self.end)
        before = everything[everything.index(argument) - 1]
        return Edit(self.end(before), self.end(argument), "")

    def with_argument(self, call: ast.Call, argument: str) -> Edit:
        """Adds an argument after the last."""
        last = max(self.end(each) for each in [*call.args, *call.keywords])
        return Edit(last, last, f", {argument}")

    def line_deleted(self, statement: ast.stmt) -> Edit:
        return Edit(self.starts[statement.lineno - 1], self.starts[statement.end_lineno or 0], "")

    def lines_before(self, statement: ast.stmt, *lines: str) -> Edit:
        at = self.starts[statement.lineno - 1]
        indent = self.data[at : self.start(statement)].decode()
        return Edit(at, at, "".join(f"{indent}{line}\n" for line in lines))

    def lines_after(self, statement: ast.stmt, *lines: str) -> Edit:
        at = self.starts[statement.end_lineno or 0]
        first = self.starts[statement.lineno - 1]
        indent = self.data[first : self.start(statement)].decode()
        return Edit(at, at, "".join(f"{indent}{line}\n" for line in lines))

    @cached_property
    def has_torch_sdpa(self) -> bool:
        """A bare ``scaled_dot_product_attention`` is torch's own."""
        return _of_torch(self.tree, SDPA)

    @cached_property
    def module_names(self) -> frozenset[str]:
        """What the module's imports bind."""
        imports = [node for node in ast.walk(self.tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
        return frozenset((alias.asname or alias.name) for each in imports for alias in each.names)


def _of_torch(tree: ast.Module, name: str) -> bool:
    """The module imports the name from torch, or it says nothing of where the name comes from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any((each.asname or each.name) == name for each in node.names):
            return (node.module or "").split(".")[0] == "torch"
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return False
    return True


def parsed(path: Path, data: bytes, about: re.Pattern[bytes] = ATTENTION) -> Code | None:
    """The file, unless it has nothing to do with the subject, is no UTF-8, or is no Python of this version."""
    if b"torch" not in data or not about.search(data) or data.startswith(b"\xef\xbb\xbf") or b"\r" in data:
        return None
    try:
        data.decode()
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return None
    return Code(path, data, tree)


# --- small questions to a node


def name_of(node: ast.AST) -> str:
    """``name``, or ``self.name``; "" for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name("self"), attr=attr):
            return f"self.{attr}"
    return ""


def last(call: ast.Call) -> str:
    """The last name of what is called."""
    match call.func:
        case ast.Attribute(attr=attr):
            return attr
        case ast.Name(id=name):
            return name
    return ""


def is_library(node: ast.AST) -> bool:
    """``torch``, ``F``, ``nn.functional`` and the like."""
    return ast.unparse(node) in {"torch", "F", "nn.functional", "torch.nn.functional", "functional", "nnf", "fn", "np"}


def is_product(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return last(node) in PRODUCTS
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)


def operands(node: ast.AST) -> list[ast.expr]:
    """The factors of a product, in order."""
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    assert isinstance(node, ast.Call)
    given = [each for each in node.args if not isinstance(each, ast.Constant)]
    if isinstance(node.func, ast.Attribute) and not is_library(node.func.value):
        given = [node.func.value, *given]
    return given[1:] if last(node) == "baddbmm" else given


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    found = named(call, name)
    return None if found is None else found.value


def named(call: ast.Call, name: str) -> ast.keyword | None:
    return next((each for each in call.keywords if each.arg == name), None)


def integer(node: ast.AST | None) -> int | None:
    try:
        value = None if node is None else ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
