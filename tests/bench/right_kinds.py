"""Right rewrites of attention classes, of many kinds: a reviewer would take each of them for the same code.

They are made where the class runs unconditionally. A few kinds need what most classes lack, such as a branch on the
mode; these write it into both texts, in two ways.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Iterator

from tests.bench.injection.code import Edit, is_library, keyword, last
from tests.bench.wrong_kinds import Kind, Rewrite
from tests.bench.wrong_subjects import Subject, first_statement, is_read, own_nodes, starts_its_row

_Make = Callable[[Subject], Iterator[Rewrite]]
_KINDS: list[Kind] = []
_CONDITIONAL = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try, ast.With, ast.FunctionDef, ast.Lambda, ast.ClassDef)


def _kind(name: str) -> Callable[[_Make], _Make]:
    def register(make: _Make) -> _Make:
        _KINDS.append(Kind(name, 0, "ordinary", make))
        return make

    return register


def kinds() -> list[Kind]:
    return list(_KINDS)


# --- where ----------------------------------------------------------------------------------------------------------


def _unconditional(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _CONDITIONAL):
            yield child
            yield from _unconditional(child)


def _nodes(function: ast.FunctionDef | None) -> list[ast.AST]:
    return list(_unconditional(function)) if function is not None else []


def _forward(subject: Subject, *edits: Edit) -> Rewrite:
    return Rewrite(subject.text, subject.edit(*edits), (subject.forward_symbol,))


def _init(subject: Subject, *edits: Edit) -> Rewrite:
    return Rewrite(subject.text, subject.edit(*edits), (subject.init_symbol,))


def _calls(subject: Subject, *names: str) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Calls of a tensor's method in forward, and the tensor."""
    for node in _nodes(subject.forward):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in names:
            continue
        if not is_library(node.func.value) and ast.unparse(node.func.value) != "self":
            yield node, node.func.value


def _arguments(subject: Subject, node: ast.Call) -> str:
    """The text of a call's arguments, without brackets."""
    given = sorted([*node.args, *node.keywords], key=lambda each: (each.lineno, each.col_offset))
    return ", ".join(subject.code.data[subject.code.start(e) : subject.code.end(e)].decode() for e in given)


# --- layouts


def _method(name: str, content: str, *names: str, least: int = 0) -> None:
    """Each call ``{v}.name({a})`` becomes ``content``."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        for node, value in _calls(subject, *names):
            if len(node.args) >= least and not any(isinstance(each, ast.Starred) for each in node.args):
                written = content.format(v=subject.code.text(value), a=_arguments(subject, node))
                yield _forward(subject, subject.code.replaced(node, written))

    _KINDS.append(Kind(name, 0, "ordinary", make))


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


@_kind("transpose with its dims exchanged")
def _exchanged_dims(subject: Subject) -> Iterator[Rewrite]:
    for node, _ in _calls(subject, "transpose"):
        if len(node.args) == 2:
            one, other = node.args
            code = subject.code
            yield _forward(subject, code.replaced(one, code.text(other)), code.replaced(other, code.text(one)))


@_kind("transpose of the last two made mT")
def _last_two(subject: Subject) -> Iterator[Rewrite]:
    for node, value in _calls(subject, "transpose"):
        if sorted(map(ast.unparse, node.args)) == ["-1", "-2"]:
            yield _forward(subject, subject.code.replaced(node, f"{subject.code.text(value)}.mT"))


@_kind("unbind made indexing")
def _unbind(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=names)],
                value=ast.Call(
                    func=ast.Attribute(value=ast.Name(id=name), attr="unbind"), args=[ast.Constant(value=0)]
                ) as call,
            ):
                content = ", ".join(f"{name}[{index}]" for index in range(len(names)))
                yield _forward(subject, subject.code.replaced(call, content))


@_kind("shape made size()")
def _shape(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        match node:
            case ast.Assign(targets=[ast.Tuple()], value=ast.Attribute(value=value, attr="shape") as shape):
                yield _forward(subject, subject.code.replaced(shape, f"{subject.code.text(value)}.size()"))


@_kind("shape taken apart by index")
def _by_index(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=names)], value=ast.Attribute(value=ast.Name(id=name), attr="shape") as shape
            ) if not any(isinstance(each, ast.Starred) for each in names):
                content = ", ".join(f"{name}.shape[{index}]" for index in range(len(names)))
                yield _forward(subject, subject.code.replaced(shape, content))


@_kind("shape[i] made size(i)")
def _size(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        match node:
            case ast.Subscript(
                value=ast.Attribute(value=value, attr="shape"), slice=ast.Constant() | ast.UnaryOp() as at
            ):
                content = f"{subject.code.text(value)}.size({subject.code.text(at)})"
                yield _forward(subject, subject.code.replaced(node, content))


@_kind("size(i) made shape[i]")
def _indexed(subject: Subject) -> Iterator[Rewrite]:
    for node, value in _calls(subject, "size"):
        if len(node.args) == 1:
            content = f"{subject.code.text(value)}.shape[{_arguments(subject, node)}]"
            yield _forward(subject, subject.code.replaced(node, content))


@_kind("list for a tuple in cat")
def _cat(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        if isinstance(node, ast.Call) and last(node) in ("cat", "stack") and node.args:
            given = node.args[0]
            if isinstance(given, (ast.List, ast.Tuple)) and len(given.elts) > 1:
                inner = ", ".join(map(subject.code.text, given.elts))
                content = f"({inner})" if isinstance(given, ast.List) else f"[{inner}]"
                yield _forward(subject, subject.code.replaced(given, content))


@_kind("pattern of rearrange spaced out")
def _pattern(subject: Subject) -> Iterator[Rewrite]:
    for node in own_nodes(subject.forward):
        if isinstance(node, ast.Call) and last(node) == "rearrange":
            for given in node.args:
                if isinstance(given, ast.Constant) and isinstance(given.value, str):
                    content = repr(given.value.replace("->", "  ->  "))
                    yield _forward(subject, subject.code.replaced(given, content))


@_kind("unsqueeze made None")
def _unsqueeze(subject: Subject) -> Iterator[Rewrite]:
    places = {"0": "[None]", "1": "[:, None]", "-1": "[..., None]"}
    for node, value in _calls(subject, "unsqueeze"):
        place = places.get(_arguments(subject, node))
        if place:
            yield _forward(subject, subject.code.replaced(node, f"({subject.code.text(value)}){place}"))


# --- products, scales and weights


@_kind("@ made matmul")
def _matmul(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            content = f"torch.matmul({subject.code.text(node.left)}, {subject.code.text(node.right)})"
            yield _forward(subject, subject.code.replaced(node, content))


@_kind("matmul made @")
def _operator(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.matmul" and len(node.args) == 2:
            one, other = map(subject.code.text, node.args)
            yield _forward(subject, subject.code.replaced(node, f"(({one}) @ ({other}))"))


@_kind("matmul made einsum")
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
        yield _forward(subject, subject.code.replaced(node, content))


def _is_scale(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("scale", "scaling")


@_kind("factors exchanged")
def _factors(subject: Subject) -> Iterator[Rewrite]:
    for node in own_nodes(subject.forward):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and _is_scale(node.right):
            content = f"{subject.code.text(node.right)} * ({subject.code.text(node.left)})"
            yield _forward(subject, subject.code.replaced(node, f"({content})"))


def _root(name: str, content: str, needs: str = "") -> None:
    def make(subject: Subject) -> Iterator[Rewrite]:
        if needs and not re.search(rf"^{needs}$", subject.text, re.MULTILINE):
            return
        for node in _nodes(subject.init):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and ast.unparse(node.right) == "-0.5":
                written = content.format(d=subject.code.text(node.left))
                yield _init(subject, subject.code.replaced(node, written))

    _KINDS.append(Kind(name, 0, "ordinary", make))


_root("inverse root as a quotient", "(1.0 / {d} ** 0.5)")
_root("inverse root by pow", "pow({d}, -0.5)")
_root("inverse root by sqrt", "(1 / math.sqrt({d}))", "import math")


@_kind("softmax as a method")
def _softmax_method(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "F.softmax":
            others = ", ".join(
                subject.code.data[subject.code.start(e) : subject.code.end(e)].decode()
                for e in [*node.args[1:], *node.keywords]
            )
            yield _forward(
                subject, subject.code.replaced(node, f"({subject.code.text(node.args[0])}).softmax({others})")
            )


@_kind("softmax's dim by position")
def _dim(subject: Subject) -> Iterator[Rewrite]:
    for node in own_nodes(subject.forward):
        if isinstance(node, ast.Call) and last(node) == "softmax" and len(node.keywords) == 1:
            value = keyword(node, "dim")
            if value is not None:
                start, end = subject.code.start(node.keywords[0]), subject.code.end(node.keywords[0])
                yield _forward(subject, Edit(start, end, subject.code.text(value)))


@_kind("minus infinity otherwise")
def _infinity(subject: Subject) -> Iterator[Rewrite]:
    for node in own_nodes(subject.forward):
        if isinstance(node, ast.Call) and ast.unparse(node) == "float('-inf')":
            yield _forward(subject, subject.code.replaced(node, "-float('inf')"))


# --- names and statements


@_kind("local renamed")
def _renamed(subject: Subject) -> Iterator[Rewrite]:
    nested = [n for n in ast.walk(subject.forward) if isinstance(n, (ast.FunctionDef, ast.Lambda, ast.comprehension))]
    if len(nested) > 1:
        return
    given = {each.arg for each in ast.walk(subject.forward) if isinstance(each, ast.arg)}
    names = [node for node in ast.walk(subject.forward) if isinstance(node, ast.Name)]
    stored = dict.fromkeys(node.id for node in names if not is_read(node) and node.id not in given)
    for name in stored:
        edits = [subject.code.replaced(node, f"{name}_renamed") for node in names if node.id == name]
        yield _forward(subject, *edits)


@_kind("attribute read into a local")
def _attribute(subject: Subject) -> Iterator[Rewrite]:
    for name in ("num_heads", "heads", "scale", "head_dim", "scaling"):
        found = [
            n for n in _nodes(subject.forward) if isinstance(n, ast.Attribute) and ast.unparse(n) == f"self.{name}"
        ]
        if found and all(map(is_read, found)):
            edits = [subject.code.replaced(node, f"kept_{name}") for node in found]
            yield _forward(subject, *edits, *subject.at_the_start(f"kept_{name} = self.{name}"))


@_kind("chain split in two statements")
def _split(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Attribute(value=ast.Call() as inner)) as call,
            ) if starts_its_row(subject.code, node):
                rest = subject.code.data[subject.code.end(inner) : subject.code.end(call)].decode()
                if not re.search(rf"\b{name}\b", rest):
                    first = subject.lines_before(node, f"part = {subject.code.text(inner)}")
                    yield _forward(subject, first, subject.code.replaced(call, f"part{rest}"))


@_kind("argument given a name")
def _argument(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        match node:
            case ast.Assign(
                value=ast.Call(
                    func=ast.Attribute(value=ast.Name("self")), args=[ast.Call() | ast.BinOp() as given], keywords=[]
                )
            ) if starts_its_row(subject.code, node):
                first = subject.lines_before(node, f"argument = ({subject.code.text(given)})")
                yield _forward(subject, first, subject.code.replaced(given, "argument"))


@_kind("local annotated")
def _annotated(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        match node:
            case ast.Assign(targets=[ast.Name() as target], value=ast.Call()):
                at = subject.code.end(target)
                yield _forward(subject, Edit(at, at, ": torch.Tensor"))


@_kind("full name of a function")
def _full_name(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "F":
            content = f"torch.nn.functional.{node.attr}"
            yield _forward(subject, subject.code.replaced(node, content))


@_kind("tuple assigned one by one")
def _one_by_one(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.forward):
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=[ast.Name() as a, ast.Name() as b])], value=ast.Tuple(elts=[one, other])
            ):
                if starts_its_row(subject.code, node) and not re.search(rf"\b{a.id}\b", subject.code.text(other)):
                    text = subject.code.text
                    yield _forward(
                        subject,
                        subject.lines_before(node, f"{a.id} = {text(one)}"),
                        subject.code.replaced(node, f"{b.id} = {text(other)}"),
                    )


# --- the constructor


@_kind("arguments of a layer by keyword")
def _by_keyword(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.init):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "nn.Linear" and len(node.args) >= 2:
            one, other = node.args[:2]
            if len(node.args) == 2 and not any(isinstance(each, ast.Starred) for each in node.args):
                edits = [
                    subject.code.replaced(one, f"in_features={subject.code.text(one)}"),
                    subject.code.replaced(other, f"out_features={subject.code.text(other)}"),
                ]
                yield _init(subject, *edits)


@_kind("rate of a dropout by keyword")
def _rate(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.init):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "nn.Dropout" and len(node.args) == 1:
            content = f"p={subject.code.text(node.args[0])}"
            yield _init(subject, subject.code.replaced(node.args[0], content))


@_kind("super with its arguments")
def _super(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.init):
        if isinstance(node, ast.Call) and ast.unparse(node) == "super()":
            yield _init(subject, subject.code.replaced(node, f"super({subject.name}, self)"))


@_kind("quotient by divmod")
def _quotient(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.init):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
            content = f"divmod({subject.code.text(node.left)}, {subject.code.text(node.right)})[0]"
            yield _init(subject, subject.code.replaced(node, content))


@_kind("factors exchanged in the constructor")
def _factors_in_init(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject.init):
        match node:
            case ast.BinOp(
                left=ast.Name() | ast.Attribute() as one, op=ast.Mult(), right=ast.Name() | ast.Attribute() as other
            ):
                code = subject.code
                yield _init(subject, code.replaced(one, code.text(other)), code.replaced(other, code.text(one)))


@_kind("layer named before it is set")
def _layer_named(subject: Subject) -> Iterator[Rewrite]:
    for node in subject.init.body if subject.init is not None else []:
        match node:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name("self"))], value=ast.Call() as value):
                if starts_its_row(subject.code, node):
                    first = subject.lines_before(node, f"layer = {subject.code.text(value)}")
                    yield _init(subject, first, subject.code.replaced(value, "layer"))


# --- what is put into any class


def _at_the_start(name: str, lines: str) -> None:
    def make(subject: Subject) -> Iterator[Rewrite]:
        yield _forward(subject, *subject.at_the_start(lines))

    _KINDS.append(Kind(name, 0, "ordinary", make))


_at_the_start("local that nobody reads", "unread = None")
_at_the_start("comment and a name", "# The input comes first.\nsource = {x}")
_at_the_start("f-string", "told = f'{{type(self).__name__}} {{self.training}}'")
_at_the_start("input under another name", "source = {x}\n{x} = source")


@_kind("result given a name")
def _result_named(subject: Subject) -> Iterator[Rewrite]:
    yield _forward(subject, *subject.at_the_result("pass"))


@_kind("docstring and a statement")
def _docstring(subject: Subject) -> Iterator[Rewrite]:
    first = first_statement(subject.forward)
    if first is subject.forward.body[0]:
        yield _forward(subject, subject.lines_before(first, '"""Attend."""\nsource = None'))


@_kind("method extracted")
def _extracted(subject: Subject) -> Iterator[Rewrite]:
    edits = subject.at_the_result("{y} = self._finished({y})")
    method = subject.lines_after(subject.cls.body[-1], "\ndef _finished(self, outcome):\n    return outcome", "    ")
    yield Rewrite(subject.text, subject.edit(*edits, method), (subject.forward_symbol, f"{subject.name}._finished"))


_PAIRS: dict[str, tuple[str, str]] = {
    "arms exchanged": (
        "if self.training:\n    {y} = {y} * 2.0\nelse:\n    {y} = {y} * 3.0",
        "if not self.training:\n    {y} = {y} * 3.0\nelse:\n    {y} = {y} * 2.0",
    ),
    "arms of an expression exchanged": (
        "{y} = {y} * 2.0 if self.training else {y} * 3.0",
        "{y} = {y} * 3.0 if not self.training else {y} * 2.0",
    ),
    "branch made an expression": (
        "if self.training:\n    factor = 2.0\nelse:\n    factor = 3.0\n{y} = {y} * factor",
        "factor = 2.0 if self.training else 3.0\n{y} = {y} * factor",
    ),
    "is None exchanged": (
        "old = {y} if self.training else None\nif old is not None:\n    {y} = old * 2.0\nelse:\n    {y} = {y} * 3.0",
        "old = {y} if self.training else None\nif old is None:\n    {y} = {y} * 3.0\nelse:\n    {y} = old * 2.0",
    ),
    "default before a branch": (
        "if self.training:\n    factor = 2.0\nelse:\n    factor = 1.0\n{y} = {y} * factor",
        "factor = 1.0\nif self.training:\n    factor = 2.0\n{y} = {y} * factor",
    ),
    "comprehension made a loop": (
        "{y} = torch.stack([each * 2.0 for each in {y}])",
        "parts = []\nfor each in {y}:\n    parts.append(each * 2.0)\n{y} = torch.stack(parts)",
    ),
    "loop made a comprehension": (
        "total = 0.0\nfor factor in (1.0, 2.0):\n    total = total + factor\n{y} = {y} * total",
        "total = sum([factor for factor in (1.0, 2.0)])\n{y} = {y} * total",
    ),
    "message of an assertion": (
        "assert {y}.dim() > 0, 'no dims'\n{y} = {y} * 2.0",
        "assert {y}.dim() > 0, 'a result has dims'\n{y} = {y} * 2.0",
    ),
    "sum in place of a fresh local": (
        "total = {y} * 2.0\ntotal += {y}\n{y} = total",
        "total = {y} * 2.0\ntotal = total + {y}\n{y} = total",
    ),
    "temporary taken out": ("twice = {y} * 2.0\n{y} = twice + {y}", "{y} = {y} * 2.0 + {y}"),
    "independent statements exchanged": (
        "one = {y} * 2.0\nother = {y} * 3.0\n{y} = one + other",
        "other = {y} * 3.0\none = {y} * 2.0\n{y} = one + other",
    ),
    "summands exchanged": ("{y} = {y} * 2.0 + {y} * 3.0", "{y} = {y} * 3.0 + {y} * 2.0"),
    "operator as a function": ("{y} = {y} * 2.0", "{y} = torch.mul({y}, 2.0)"),
    "lambda made a function": (
        "double = lambda value: value * 2.0\n{y} = double({y})",
        "def double(value):\n    return value * 2.0\n{y} = double({y})",
    ),
    "named by a walrus": ("twice = {y} * 2.0\n{y} = twice + twice", "{y} = (twice := {y} * 2.0) + twice"),
    "zeros made otherwise": ("{y} = {y} + torch.zeros_like({y})", "{y} = {y} + {y}.new_zeros({y}.shape)"),
}


def _pair(before: str, after: str) -> _Make:
    def make(subject: Subject) -> Iterator[Rewrite]:
        texts = [subject.edit(*subject.at_the_result(lines)) for lines in (before, after)]
        yield Rewrite(texts[0], texts[1], (subject.forward_symbol,))

    return make


for _name, (_before, _after) in _PAIRS.items():
    _KINDS.append(Kind(_name, 0, "ordinary", _pair(_before, _after)))


@_kind("return in a branch made else")
def _else(subject: Subject) -> Iterator[Rewrite]:
    """``if training: return y * 2``, then ``return y * 3``; in a method of its own, in both texts."""
    edits = subject.at_the_result("{y} = self._finished({y})")
    early = "if self.training:\n    return outcome * 2.0\nreturn outcome * 3.0"
    late = "if self.training:\n    found = outcome * 2.0\nelse:\n    found = outcome * 3.0\nreturn found"
    texts = []
    for body in (early, late):
        written = textwrap.indent(body, "    ")
        method = subject.lines_after(subject.cls.body[-1], f"\ndef _finished(self, outcome):\n{written}", "    ")
        texts.append(subject.edit(*edits, method))
    yield Rewrite(texts[0], texts[1], (f"{subject.name}._finished",))
