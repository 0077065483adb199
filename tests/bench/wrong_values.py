"""Wrong fixes of results that share memory, of checks, of scores and weights."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import is_product
from tests.bench.rewrites import (
    HAVE_PARAMETERS,
    Harm,
    Kind,
    Make,
    Register,
    Rewrite,
    in_forward,
    is_call,
    nodes_of,
    rewritten,
    swapped,
)
from tests.bench.wrong_subjects import (
    Subject,
)

_REGISTER = Register()


# --- 8: results that share memory, and containers


def _alias(value: str, copied: str, item: int = 8) -> Make:
    """Before returns a copy beside its result, after the thing itself."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        if "self.parameters" in value and not HAVE_PARAMETERS.search(subject.init_text):
            return
        if any(isinstance(each.value, ast.Tuple) for each in subject.returns):
            return
        before = subject.edit(*subject.at_the_result("other = {x}", value=f"outcome, {copied}"))
        after = subject.edit(*subject.at_the_result("other = {x}", value=f"outcome, {value}"))
        yield Rewrite(before, after, (subject.forward_symbol,))

    return make


_FIRST_PARAMETER = "next(self.parameters())"
_ALIASES = {
    "clone made an alias of the input": ("other", "other.clone()"),
    "clone made a view of the input": ("other[:1]", "other[:1].clone()"),
    "clone made an alias of a parameter": (f"{_FIRST_PARAMETER}.detach()", f"{_FIRST_PARAMETER}.detach().clone()"),
    "clone made an alias of the result": ("outcome.detach()", "outcome.detach().clone()"),
    "tuple made a list": ("[other]", "(other,)"),
    "named key renamed": ("{'second': other}", "{'first': other}"),
    "None left out": ("outcome", "None"),
    "a number made a tensor": ("torch.tensor(1.0)", "1.0"),
}
for _name, (_value, _copied) in _ALIASES.items():
    _REGISTER.add(_name, 8, "ordinary", _alias(_value, _copied))


@_REGISTER.kind("returned tuple made a list", 8, "ordinary")
def _list_returned(subject: Subject) -> Iterator[Rewrite]:
    edits = [
        subject.code.replaced(each.value, "[" + ", ".join(subject.code.text(e) for e in each.value.elts) + "]")
        for each in subject.returns
        if isinstance(each.value, ast.Tuple)
    ]
    if edits:
        yield in_forward(subject, edits)


@_REGISTER.kind("second of the results left out", 8, "ordinary")
def _second_left_out(subject: Subject) -> Iterator[Rewrite]:
    edits = [
        subject.code.replaced(each.value.elts[1], "None")
        for each in subject.returns
        if isinstance(each.value, ast.Tuple) and len(each.value.elts) > 1
        and not isinstance(each.value.elts[1], ast.Constant)
    ]  # fmt: skip
    if edits:
        yield in_forward(subject, edits)


# --- 11: checks


@_REGISTER.kind("check removed", 11, "corner")
def _check_removed(subject: Subject) -> Iterator[Rewrite]:
    for function in (subject.forward, subject.init):
        for node in nodes_of(subject, function):
            alone = isinstance(node, ast.If) and len(node.body) == 1 and isinstance(node.body[0], ast.Raise)
            if (alone and not node.orelse) or isinstance(node, ast.Assert):
                assert isinstance(node, ast.stmt) and function is not None
                edit = subject.code.replaced(node, "pass")
                yield rewritten(subject, [edit], f"{subject.name}.{function.name}")


@_REGISTER.kind("check raises another type", 11, "corner")
def _other_error(subject: Subject) -> Iterator[Rewrite]:
    for function in (subject.forward, subject.init):
        for node in nodes_of(subject, function):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name() as name)):
                    assert function is not None
                    other = "RuntimeError" if name.id != "RuntimeError" else "ValueError"
                    yield rewritten(subject, [subject.code.replaced(name, other)], f"{subject.name}.{function.name}")


# --- 13: floats, and plain mistakes in the scores


def _softmaxes(subject: Subject) -> Iterator[ast.Call]:
    for node in nodes_of(subject, subject.forward):
        if isinstance(node, ast.Call) and is_call(node, "softmax", "attend"):
            yield node


def _weights(content: str, *, rank: int = 0) -> Make:
    """Each softmax of forward, ``{s}``, becomes ``content``."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        if rank and subject.rank != rank:
            return
        for node in _softmaxes(subject):
            text = subject.code.text(node)
            yield in_forward(subject, [subject.code.replaced(node, f"({content.format(s=text)})")])

    return make


_WEIGHTS: dict[str, tuple[Harm, str]] = {
    "weights of 0 made 1e-8": ("corner", "{s}.clamp_min(1e-8)"),
    "1e-8 added to the weights": ("ordinary", "{s} + 1e-8"),
    "weights off by a millionth": ("ordinary", "{s} * (1 - 1e-6)"),
    "eps in the denominator": ("ordinary", "{s} / ({s}.sum(-1, keepdim=True) + 1e-6)"),
    "small weights dropped": ("corner", "(lambda weights: weights * (weights > 1e-6))({s})"),
    "weights rounded to float16": ("ordinary", "{s}.half().to({s}.dtype)"),
    "nan in the weights made 0": ("inherent", "{s}.nan_to_num()"),  # a row that is masked as a whole gives NaN before
    "weights detached": ("ordinary", "{s}.detach()"),
    "weights turned": ("ordinary", "{s}.flip(-1)"),
    "weights of the batch's first": ("ordinary", "{s}[:1].expand_as({s})"),
}
for _name, (_harm, _content) in _WEIGHTS.items():
    _REGISTER.add(_name, 13, _harm, _weights(_content))


@_REGISTER.kind("softmax over another dim", 10, "ordinary")
def _other_dim(subject: Subject) -> Iterator[Rewrite]:
    for node in _softmaxes(subject):
        for given in [*node.args, *(each.value for each in node.keywords)]:
            if ast.unparse(given) == "-1":
                yield in_forward(subject, [subject.code.replaced(given, "-2")])


@_REGISTER.kind("masked with a finite value", 13, "corner")
def _finite(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        if isinstance(node, ast.Call) and is_call(node, "masked_fill", "masked_fill_") and len(node.args) == 2:
            yield in_forward(subject, [subject.code.replaced(node.args[1], "-30.0")])


@_REGISTER.kind("scale off by a millionth", 13, "ordinary")
def _scale_off(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        match node:
            case ast.Attribute(value=ast.Name("self"), attr="scale" | "scaling", ctx=ast.Load()):
                yield in_forward(subject, [subject.code.replaced(node, f"({subject.code.text(node)} * (1 + 1e-6))")])


@_REGISTER.kind("scale dropped", 10, "ordinary")
def _scale_dropped(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        match node:
            case ast.BinOp(
                left=left, op=ast.Mult(), right=ast.Attribute(value=ast.Name("self"), attr="scale" | "scaling")
            ):
                yield in_forward(subject, [subject.code.replaced(node, f"({subject.code.text(left)})")])


def _are_inputs(*names: ast.Name) -> bool:
    """They are queries, keys or values by their names."""
    return all(re.match(r"[qkv]($|_|\d)|quer|key|value", name.id) for name in names)


@_REGISTER.kind("queries and keys swapped", 10, "ordinary")
def _exchanged(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=[ast.Name() as one, ast.Name() as other, ast.Name()])]) if (
                _are_inputs(one, other)
            ):
                yield in_forward(subject, swapped(subject, one, other))


@_REGISTER.kind("keys and values swapped", 10, "ordinary")
def _values_swapped(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(), ast.Name() as one, ast.Name() as other])]) if (
                _are_inputs(one, other)
            ):
                yield in_forward(subject, swapped(subject, one, other))


@_REGISTER.kind("heads not transposed back", 10, "ordinary")
def _not_transposed(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Call(func=ast.Attribute(value=inner, attr="transpose")) as moved, attr="reshape"
                )
            ):
                yield in_forward(subject, [subject.code.replaced(moved, f"({subject.code.text(inner)})")])


@_REGISTER.kind("product rounded to bfloat16", 13, "ordinary")
def _product_rounded(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        if is_product(node) and isinstance(node, (ast.BinOp, ast.Call)):
            text = subject.code.text(node)
            yield in_forward(subject, [subject.code.replaced(node, f"({text}).bfloat16().to({subject.first}.dtype)")])


# --- 7: layers, and the classes around


def _layers(subject: Subject, function: str) -> Iterator[ast.Call]:
    """Calls in forward of a layer that the constructor makes by ``function``."""
    for node in nodes_of(subject, subject.forward):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("self"), attr=attr), args=[_], keywords=[]):
                if re.search(rf"self\.{attr} = (torch\.)?nn\.{function}\(", subject.init_text):
                    yield node


@_REGISTER.kind("layer called past its hooks", 7, "ordinary")
def _past_hooks(subject: Subject) -> Iterator[Rewrite]:
    for node in _layers(subject, "Linear"):
        text = f"{subject.code.text(node.func)}.forward"
        yield in_forward(subject, [subject.code.replaced(node.func, text)])


@_REGISTER.kind("layer's parameters used without it", 7, "ordinary")
def _without_it(subject: Subject) -> Iterator[Rewrite]:
    for node in _layers(subject, "Linear"):
        layer, given = subject.code.text(node.func), subject.code.text(node.args[0])
        text = f"torch.nn.functional.linear({given}, {layer}.weight, {layer}.bias)"
        yield in_forward(subject, [subject.code.replaced(node, text)])


def _around(before: str, after: str) -> Make:
    """Lines that both texts have before the class, in two versions."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        header = f"class {subject.name}("
        if subject.text.count(header) != 1 or subject.cls.decorator_list:
            return
        texts = [subject.text.replace(header, f"{lines}\n\n\n{header}") for lines in (before, after)]
        yield Rewrite(texts[0], texts[1], (subject.forward_symbol,))

    return make


for _name, (_first, _second) in {
    "constant of the file": ("SPARE_LIMIT = 5", "SPARE_LIMIT = 6"),
    "constant in a table of the file": ("SPARE = {'limit': (5,)}", "SPARE = {'limit': (6,)}"),
    "attribute of another class": ("class Spare:\n    limit = 5", "class Spare:\n    limit = 6"),
    "base of another class": (
        "class SpareBase:\n    pass\n\n\nclass Spare(SpareBase):\n    pass",
        "class SpareBase:\n    pass\n\n\nclass Spare:\n    pass",
    ),
}.items():
    _REGISTER.add(_name, 7, "ordinary", _around(_first, _second))


def kinds() -> list[Kind]:
    return list(_REGISTER.kinds)
