"""Right rewrites of layouts, products, scales and weights."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Edit, keyword, last
from tests.bench.rewrites import Kind, Register, Rewrite
from tests.bench.right_places import arguments, calls, in_forward, in_init, unconditional
from tests.bench.wrong_subjects import Subject, own_nodes

_REGISTER = Register()


# --- layouts


def _method(name: str, content: str, *names: str, least: int = 0) -> None:
    """Each call ``{v}.name({a})`` becomes ``content``."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        for node, value in calls(subject, *names):
            if len(node.args) >= least and not any(isinstance(each, ast.Starred) for each in node.args):
                written = content.format(v=subject.code.text(value), a=arguments(subject, node))
                yield in_forward(subject, subject.code.replaced(node, written))

    _REGISTER.add(name, 0, "ordinary", make)


_method("view made reshape", "{v}.reshape({a})", "view", least=2)
_method("reshape made contiguous and view", "{v}.contiguous().view({a})", "reshape", least=2)
_method("contiguous before reshape", "{v}.contiguous().reshape({a})", "reshape", least=2)
_method("reshape of a tuple", "{v}.reshape(({a}))", "reshape", "view", least=2)
_method("reshape as a function", "torch.reshape({v}, ({a}))", "reshape", least=2)
_method("transpose made swapaxes", "{v}.swapaxes({a})", "transpose", least=2)
_method("transpose as a function", "torch.transpose({v}, {a})", "transpose", least=2)
_method("permute of a tuple", "{v}.permute(({a}))", "permute", least=2)
_method("permute as a function", "torch.permute({v}, ({a}))", "permute", least=2)
_method("unbind as a function", "torch.unbind({v}, {a})", "unbind", least=1)
_method("chunk as a function", "torch.chunk({v}, {a})", "chunk", least=1)
_method("chunk made tensor_split", "{v}.tensor_split({a})", "chunk", least=1)
_method("contiguous twice", "{v}.contiguous().contiguous()", "contiguous")
_method("softmax as a function", "torch.softmax({v}, {a})", "softmax")
_method("flatten as a function", "torch.flatten({v}, {a})", "flatten", least=1)
_method("value in brackets", "(({v}).transpose({a}))", "transpose", least=2)


@_REGISTER.kind("transpose with its dims exchanged")
def _exchanged_dims(subject: Subject) -> Iterator[Rewrite]:
    for node, _ in calls(subject, "transpose"):
        if len(node.args) == 2:
            one, other = node.args
            code = subject.code
            yield in_forward(subject, code.replaced(one, code.text(other)), code.replaced(other, code.text(one)))


@_REGISTER.kind("transpose of the last two made mT")
def _last_two(subject: Subject) -> Iterator[Rewrite]:
    for node, value in calls(subject, "transpose"):
        if sorted(map(ast.unparse, node.args)) == ["-1", "-2"]:
            yield in_forward(subject, subject.code.replaced(node, f"{subject.code.text(value)}.mT"))


@_REGISTER.kind("unbind made indexing")
def _unbind(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=names)],
                value=ast.Call(
                    func=ast.Attribute(value=ast.Name(id=name), attr="unbind"), args=[ast.Constant(value=0)]
                ) as call,
            ):
                content = ", ".join(f"{name}[{index}]" for index in range(len(names)))
                yield in_forward(subject, subject.code.replaced(call, content))


@_REGISTER.kind("shape made size()")
def _shape(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        match node:
            case ast.Assign(targets=[ast.Tuple()], value=ast.Attribute(value=value, attr="shape") as shape):
                yield in_forward(subject, subject.code.replaced(shape, f"{subject.code.text(value)}.size()"))


@_REGISTER.kind("shape taken apart by index")
def _by_index(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=names)], value=ast.Attribute(value=ast.Name(id=name), attr="shape") as shape
            ) if not any(isinstance(each, ast.Starred) for each in names):
                content = ", ".join(f"{name}.shape[{index}]" for index in range(len(names)))
                yield in_forward(subject, subject.code.replaced(shape, content))


@_REGISTER.kind("shape[i] made size(i)")
def _size(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        match node:
            case ast.Subscript(
                value=ast.Attribute(value=value, attr="shape"), slice=ast.Constant() | ast.UnaryOp() as at
            ):
                content = f"{subject.code.text(value)}.size({subject.code.text(at)})"
                yield in_forward(subject, subject.code.replaced(node, content))


@_REGISTER.kind("size(i) made shape[i]")
def _indexed(subject: Subject) -> Iterator[Rewrite]:
    for node, value in calls(subject, "size"):
        if len(node.args) == 1:
            content = f"{subject.code.text(value)}.shape[{arguments(subject, node)}]"
            yield in_forward(subject, subject.code.replaced(node, content))


@_REGISTER.kind("list for a tuple in cat")
def _cat(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        if isinstance(node, ast.Call) and last(node) in ("cat", "stack") and node.args:
            given = node.args[0]
            if isinstance(given, (ast.List, ast.Tuple)) and len(given.elts) > 1:
                inner = ", ".join(map(subject.code.text, given.elts))
                content = f"({inner})" if isinstance(given, ast.List) else f"[{inner}]"
                yield in_forward(subject, subject.code.replaced(given, content))


@_REGISTER.kind("pattern of rearrange spaced out")
def _pattern(subject: Subject) -> Iterator[Rewrite]:
    for node in own_nodes(subject.forward):
        if isinstance(node, ast.Call) and last(node) == "rearrange":
            for given in node.args:
                if isinstance(given, ast.Constant) and isinstance(given.value, str):
                    content = repr(given.value.replace("->", "  ->  "))
                    yield in_forward(subject, subject.code.replaced(given, content))


@_REGISTER.kind("unsqueeze made None")
def _unsqueeze(subject: Subject) -> Iterator[Rewrite]:
    places = {"0": "[None]", "1": "[:, None]", "-1": "[..., None]"}
    for node, value in calls(subject, "unsqueeze"):
        place = places.get(arguments(subject, node))
        if place:
            yield in_forward(subject, subject.code.replaced(node, f"({subject.code.text(value)}){place}"))


# --- products, scales and weights


@_REGISTER.kind("@ made matmul")
def _matmul(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            content = f"torch.matmul({subject.code.text(node.left)}, {subject.code.text(node.right)})"
            yield in_forward(subject, subject.code.replaced(node, content))


@_REGISTER.kind("matmul made @")
def _operator(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.matmul" and len(node.args) == 2:
            one, other = map(subject.code.text, node.args)
            yield in_forward(subject, subject.code.replaced(node, f"(({one}) @ ({other}))"))


@_REGISTER.kind("matmul made einsum")
def _einsum(subject: Subject) -> Iterator[Rewrite]:
    for node in own_nodes(subject.forward):
        match node:
            case ast.BinOp(left=left, op=ast.MatMult(), right=right):
                one, other = subject.code.text(left), subject.code.text(right)
            case ast.Call(func=ast.Attribute(value=ast.Name("torch"), attr="matmul"), args=[left, right]):
                one, other = subject.code.text(left), subject.code.text(right)
            case _:
                continue
        content = f"torch.einsum('...ij,...jk->...ik', {one}, {other})"
        yield in_forward(subject, subject.code.replaced(node, content))


def _is_scale(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("scale", "scaling")


@_REGISTER.kind("factors exchanged")
def _factors(subject: Subject) -> Iterator[Rewrite]:
    for node in own_nodes(subject.forward):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and _is_scale(node.right):
            content = f"{subject.code.text(node.right)} * ({subject.code.text(node.left)})"
            yield in_forward(subject, subject.code.replaced(node, f"({content})"))


def _root(name: str, content: str, needs: str = "") -> None:
    def make(subject: Subject) -> Iterator[Rewrite]:
        if needs and not re.search(rf"^{needs}$", subject.text, re.MULTILINE):
            return
        for node in unconditional(subject.init):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and ast.unparse(node.right) == "-0.5":
                written = content.format(d=subject.code.text(node.left))
                yield in_init(subject, subject.code.replaced(node, written))

    _REGISTER.add(name, 0, "ordinary", make)


_root("inverse root as a quotient", "(1.0 / {d} ** 0.5)")
_root("inverse root by pow", "pow({d}, -0.5)")
_root("inverse root by sqrt", "(1 / math.sqrt({d}))", "import math")


@_REGISTER.kind("softmax as a method")
def _softmax_method(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "F.softmax":
            others = ", ".join(
                subject.code.data[subject.code.start(e) : subject.code.end(e)].decode()
                for e in [*node.args[1:], *node.keywords]
            )
            yield in_forward(
                subject, subject.code.replaced(node, f"({subject.code.text(node.args[0])}).softmax({others})")
            )


@_REGISTER.kind("softmax's dim by position")
def _dim(subject: Subject) -> Iterator[Rewrite]:
    for node in own_nodes(subject.forward):
        if isinstance(node, ast.Call) and last(node) == "softmax" and len(node.keywords) == 1:
            value = keyword(node, "dim")
            if value is not None:
                start, end = subject.code.start(node.keywords[0]), subject.code.end(node.keywords[0])
                yield in_forward(subject, Edit(start, end, subject.code.text(value)))


@_REGISTER.kind("minus infinity otherwise")
def _infinity(subject: Subject) -> Iterator[Rewrite]:
    for node in own_nodes(subject.forward):
        if isinstance(node, ast.Call) and ast.unparse(node) == "float('-inf')":
            yield in_forward(subject, subject.code.replaced(node, "-float('inf')"))


def kinds() -> list[Kind]:
    return list(_REGISTER.kinds)
