"""Right rewrites of names, statements, branches and constructors."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator

from tests.bench.injection.code import Edit
from tests.bench.rewrites import Kind, Make, Register, Rewrite
from tests.bench.right_places import in_forward, in_init, unconditional
from tests.bench.wrong_subjects import Subject, first_statement, is_read, starts_its_row

_REGISTER = Register()


# --- names and statements


@_REGISTER.kind("local renamed")
def _renamed(subject: Subject) -> Iterator[Rewrite]:
    nested = [n for n in ast.walk(subject.forward) if isinstance(n, (ast.FunctionDef, ast.Lambda, ast.comprehension))]
    if len(nested) > 1:
        return
    given = {each.arg for each in ast.walk(subject.forward) if isinstance(each, ast.arg)}
    names = [node for node in ast.walk(subject.forward) if isinstance(node, ast.Name)]
    stored = dict.fromkeys(node.id for node in names if not is_read(node) and node.id not in given)
    for name in stored:
        edits = [subject.code.replaced(node, f"{name}_renamed") for node in names if node.id == name]
        yield in_forward(subject, *edits)


@_REGISTER.kind("attribute read into a local")
def _attribute(subject: Subject) -> Iterator[Rewrite]:
    for name in ("num_heads", "heads", "scale", "head_dim", "scaling"):
        found = [
            n
            for n in unconditional(subject.forward)
            if isinstance(n, ast.Attribute) and ast.unparse(n) == f"self.{name}"
        ]
        if found and all(map(is_read, found)):
            edits = [subject.code.replaced(node, f"kept_{name}") for node in found]
            yield in_forward(subject, *edits, *subject.at_the_start(f"kept_{name} = self.{name}"))


@_REGISTER.kind("chain split in two statements")
def _split(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Attribute(value=ast.Call() as inner)) as call,
            ) if starts_its_row(subject.code, node):
                rest = subject.code.data[subject.code.end(inner) : subject.code.end(call)].decode()
                if not re.search(rf"\b{name}\b", rest):
                    first = subject.lines_before(node, f"part = {subject.code.text(inner)}")
                    yield in_forward(subject, first, subject.code.replaced(call, f"part{rest}"))


@_REGISTER.kind("argument given a name")
def _argument(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        match node:
            case ast.Assign(
                value=ast.Call(
                    func=ast.Attribute(value=ast.Name("self")), args=[ast.Call() | ast.BinOp() as given], keywords=[]
                )
            ) if starts_its_row(subject.code, node):
                first = subject.lines_before(node, f"argument = ({subject.code.text(given)})")
                yield in_forward(subject, first, subject.code.replaced(given, "argument"))


@_REGISTER.kind("local annotated")
def _annotated(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        match node:
            case ast.Assign(targets=[ast.Name() as target], value=ast.Call()):
                at = subject.code.end(target)
                yield in_forward(subject, Edit(at, at, ": torch.Tensor"))


@_REGISTER.kind("full name of a function")
def _full_name(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "F":
            content = f"torch.nn.functional.{node.attr}"
            yield in_forward(subject, subject.code.replaced(node, content))


@_REGISTER.kind("tuple assigned one by one")
def _one_by_one(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.forward):
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=[ast.Name() as a, ast.Name() as b])], value=ast.Tuple(elts=[one, other])
            ):
                if starts_its_row(subject.code, node) and not re.search(rf"\b{a.id}\b", subject.code.text(other)):
                    text = subject.code.text
                    yield in_forward(
                        subject,
                        subject.lines_before(node, f"{a.id} = {text(one)}"),
                        subject.code.replaced(node, f"{b.id} = {text(other)}"),
                    )


# --- the constructor


@_REGISTER.kind("arguments of a layer by keyword")
def _by_keyword(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.init):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "nn.Linear" and len(node.args) >= 2:
            one, other = node.args[:2]
            if len(node.args) == 2 and not any(isinstance(each, ast.Starred) for each in node.args):
                edits = [
                    subject.code.replaced(one, f"in_features={subject.code.text(one)}"),
                    subject.code.replaced(other, f"out_features={subject.code.text(other)}"),
                ]
                yield in_init(subject, *edits)


@_REGISTER.kind("rate of a dropout by keyword")
def _rate(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.init):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "nn.Dropout" and len(node.args) == 1:
            content = f"p={subject.code.text(node.args[0])}"
            yield in_init(subject, subject.code.replaced(node.args[0], content))


@_REGISTER.kind("super with its arguments")
def _super(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.init):
        if isinstance(node, ast.Call) and ast.unparse(node) == "super()":
            yield in_init(subject, subject.code.replaced(node, f"super({subject.name}, self)"))


@_REGISTER.kind("quotient by divmod")
def _quotient(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.init):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
            content = f"divmod({subject.code.text(node.left)}, {subject.code.text(node.right)})[0]"
            yield in_init(subject, subject.code.replaced(node, content))


@_REGISTER.kind("factors exchanged in the constructor")
def _factors_in_init(subject: Subject) -> Iterator[Rewrite]:
    for node in unconditional(subject.init):
        match node:
            case ast.BinOp(
                left=ast.Name() | ast.Attribute() as one, op=ast.Mult(), right=ast.Name() | ast.Attribute() as other
            ):
                code = subject.code
                yield in_init(subject, code.replaced(one, code.text(other)), code.replaced(other, code.text(one)))


@_REGISTER.kind("layer named before it is set")
def _layer_named(subject: Subject) -> Iterator[Rewrite]:
    for node in subject.init.body if subject.init is not None else []:
        match node:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name("self"))], value=ast.Call() as value):
                if starts_its_row(subject.code, node):
                    first = subject.lines_before(node, f"layer = {subject.code.text(value)}")
                    yield in_init(subject, first, subject.code.replaced(value, "layer"))


# --- what is put into any class


def _at_the_start(name: str, lines: str) -> None:
    def make(subject: Subject) -> Iterator[Rewrite]:
        yield in_forward(subject, *subject.at_the_start(lines))

    _REGISTER.add(name, 0, "ordinary", make)


_at_the_start("local that nobody reads", "unread = None")
_at_the_start("comment and a name", "# The input comes first.\nsource = {x}")
_at_the_start("f-string", "told = f'{{type(self).__name__}} {{self.training}}'")
_at_the_start("input under another name", "source = {x}\n{x} = source")


@_REGISTER.kind("result given a name")
def _result_named(subject: Subject) -> Iterator[Rewrite]:
    yield in_forward(subject, *subject.at_the_result("pass"))


@_REGISTER.kind("docstring and a statement")
def _docstring(subject: Subject) -> Iterator[Rewrite]:
    first = first_statement(subject.forward)
    if first is subject.forward.body[0]:
        yield in_forward(subject, subject.lines_before(first, '"""Attend."""\nsource = None'))


@_REGISTER.kind("method extracted")
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


def _pair(before: str, after: str) -> Make:
    def make(subject: Subject) -> Iterator[Rewrite]:
        texts = [subject.edit(*subject.at_the_result(lines)) for lines in (before, after)]
        yield Rewrite(texts[0], texts[1], (subject.forward_symbol,))

    return make


for _name, (_before, _after) in _PAIRS.items():
    _REGISTER.add(_name, 0, "ordinary", _pair(_before, _after))


@_REGISTER.kind("return in a branch made else")
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


def kinds() -> list[Kind]:
    return list(_REGISTER.kinds)
