"""The widths of heads in a file, told by names and by what these names are given.

Known to be lost: a literal up to 256 that isn't the width of a head, a division by something called heads that is none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_WIDTH_OF_HEAD = re.compile(
    r"(?<!all_)head_?(?:dim|size|width|ch|feat)|dim_?(?:per_)?head|per_(?:attention_)?head|(?:^|_)d_?(?:k|head|h|qk)$|key_dim|^hd$",
    re.IGNORECASE,
)
_HEADS = re.compile(r"heads?$|^n?_?h$", re.IGNORECASE)
_QUERY_OR_KEY = re.compile(r"^_*[qk](?:$|_|\d|uer|ey|s$)", re.IGNORECASE)
_KEEPING = frozenset({"int", "float", "round", "tensor", "as_tensor", "Tensor"})
_WIDEST = 256  # a literal beyond it is hardly the width of a head
_MIN_SPLIT = 4  # dimensions of a tensor whose heads are split


class Widths:
    """What the file says of the widths of heads."""

    def __init__(self, tree: ast.Module) -> None:
        self._nodes = list(ast.walk(tree))
        self._parameters: dict[str, list[list[str]]] = {}  # of functions and classes of that name, without the object
        self._inputs: set[str] = set()  # what modules are called with
        classes = [node for node in self._nodes if isinstance(node, ast.ClassDef)]
        owners = {method: cls for cls in classes for method in cls.body if isinstance(method, ast.FunctionDef)}
        for node in self._nodes:
            if isinstance(node, ast.FunctionDef):
                self._add(node, owners.get(node))

    def _add(self, function: ast.FunctionDef, owner: ast.ClassDef | None) -> None:
        written = [*function.args.posonlyargs, *function.args.args]
        names = [each.arg for each in (written if owner is None else written[1:])]
        self._parameters.setdefault(function.name, []).append(names)
        if owner is not None and function.name == "__init__":
            self._parameters.setdefault(owner.name, []).append(names)
        if function.name == "forward":
            self._inputs.update(names)

    def may_be_others(self) -> bool:
        """Something that is called the width of a head is given another value, as far as can be seen."""
        return any(not self.is_one(value) for name, value in self.bindings() if _WIDTH_OF_HEAD.search(name))

    def bindings(self) -> Iterator[tuple[str, ast.expr | None]]:
        """Names of variables, attributes, parameters and properties, with what they are given; None for the unknown."""
        for node in self._nodes:
            match node:
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        yield from _bound(target, value)
                case (
                    ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value)
                ):
                    yield from _bound(target, value)
                case ast.AugAssign(target=target) | ast.For(target=target) | ast.comprehension(target=target):
                    yield from _bound(target, None)
                case ast.Call():
                    yield from self._given(node)
                case ast.FunctionDef(name=name):
                    yield from ((name, each.value) for each in ast.walk(node) if isinstance(each, ast.Return))

    def _given(self, call: ast.Call) -> Iterator[tuple[str, ast.expr | None]]:
        for keyword in call.keywords:
            if keyword.arg is not None:
                yield keyword.arg, keyword.value
        modules = self._parameters.get("forward", [])  # what is called by another name may be one
        for names in self._parameters.get(last_name(call.func), modules):
            for name, value in zip(names, call.args, strict=False):
                yield name, None if isinstance(value, ast.Starred) else value

    def is_one(self, node: ast.expr | None) -> bool:
        """The expression is plainly the width of a head: by its name, by a division, or as the last of a query."""
        match node:
            case ast.Constant(value=value):
                return value is None or (isinstance(value, int) and value <= _WIDEST)
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return _WIDTH_OF_HEAD.search(name) is not None
            case ast.BinOp(left=left, op=ast.FloorDiv() | ast.Div(), right=right):
                return _HEADS.search(last_name(right)) is not None and not self.is_one(left)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.is_one(left) and self.is_one(right)
            case ast.BoolOp(values=values):
                return all(map(self.is_one, values))
            case ast.IfExp(body=body, orelse=orelse):
                return self.is_one(body) and self.is_one(orelse)
            case ast.Subscript(value=ast.Attribute(value=tensor, attr="shape"), slice=index):
                return _is_last(index) and self._is_split(tensor)
            case ast.Call(func=ast.Attribute(value=tensor, attr="size"), args=[index]):
                return _is_last(index) and self._is_split(tensor)
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *default]):
                return _WIDTH_OF_HEAD.search(name) is not None and all(map(self.is_one, default))
            case ast.Call(func=function, args=[inner, *_]) if last_name(function) in _KEEPING:
                return self.is_one(inner)
            case _:
                return False

    def _is_split(self, tensor: ast.expr) -> bool:
        """It is called queries or keys, and is not what a module is called with."""
        name = last_name(tensor)
        return _QUERY_OR_KEY.search(name) is not None and name not in self._inputs


def last_name(node: ast.expr) -> str:
    """The name of a variable or an attribute; "" for anything else."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _bound(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    """The names that an assignment binds, and to what."""
    if not isinstance(target, (ast.Tuple, ast.List)):
        yield last_name(target), value
        return
    paired = isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
    for index, part in enumerate(target.elts):
        if isinstance(value, (ast.Tuple, ast.List)) and paired:
            yield from _bound(part, value.elts[index])
        elif index + 1 < max(len(target.elts), _MIN_SPLIT) or not _is_shape(value):
            yield from _bound(part, None)


def _is_shape(node: ast.expr | None) -> bool:
    """All sizes of a tensor: ``x.shape`` or ``x.size()``."""
    match node:
        case ast.Attribute(attr="shape") | ast.Call(func=ast.Attribute(attr="size"), args=[]):
            return True
        case _:
            return False


def _is_last(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and ast.unparse(node.operand) == "1"
