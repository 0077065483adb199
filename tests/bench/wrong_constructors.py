"""Wrong fixes of what a constructor computes, and of the attributes that it sets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

from tests.bench.rewrites import (
    Kind,
    Make,
    Register,
    Rewrite,
    is_call,
    nodes_of,
    rewritten,
    swapped,
)
from tests.bench.wrong_subjects import (
    Subject,
    is_read,
    own_nodes,
    starts_its_row,
)

_REGISTER = Register()


_EXCHANGED = {"zeros": "ones", "ones": "zeros", "zeros_": "ones_", "ones_": "zeros_", "tril": "triu", "triu": "tril"}


@_REGISTER.kind("constant of the constructor exchanged", 1, "ordinary")
def _constant_exchanged(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.init):
        if isinstance(node, ast.Call) and is_call(node, *_EXCHANGED):
            function = subject.code.text(node.func)
            name = re.split(r"\W", function)[-1]
            written = function.removesuffix(name) + _EXCHANGED[name]
            yield rewritten(subject, [subject.code.replaced(node.func, written)], subject.init_symbol)


def _planted(before: str, after: str) -> Make:
    """A table or a parameter that the constructor computes in both texts, otherwise after than before."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        if subject.init is None or any(isinstance(node, ast.Return) for node in own_nodes(subject.init)):
            return
        texts = [subject.edit(*subject.at_the_end_of_init(statements)) for statements in (before, after)]
        yield Rewrite(texts[0], texts[1], (subject.init_symbol,))

    return make


_BUFFER = "self.register_buffer('planted', {})"
_PARAMETER = "self.planted = torch.nn.Parameter({})"
_TABLES = {
    "tril made triu": (_BUFFER, "torch.tril(torch.ones(8, 8))", "torch.triu(torch.ones(8, 8))"),
    "diagonal of a mask shifted": (_BUFFER, "torch.tril(torch.ones(8, 8))", "torch.tril(torch.ones(8, 8), -1)"),
    "index table shifted": (_BUFFER, "torch.arange(8)", "torch.arange(1, 9)"),
    "index table turned": (_BUFFER, "torch.arange(8)", "torch.arange(8).flip(0)"),
    "index table of another type": (_BUFFER, "torch.arange(8)", "torch.arange(8, dtype=torch.float32)"),
    "table no longer saved": (_BUFFER, "torch.arange(8), persistent=True", "torch.arange(8), persistent=False"),
    "unsaved table changed": (_BUFFER, "torch.arange(8), persistent=False", "torch.arange(8) + 1, persistent=False"),
    "gate that starts at 0": (_PARAMETER, "torch.ones(1)", "torch.zeros(1)"),
    "gain of a draw": (_PARAMETER, "0.02 * torch.randn(8)", "0.2 * torch.randn(8)"),
    "distribution of a draw": (_PARAMETER, "torch.randn(8)", "torch.rand(8)"),
    "parameter frozen": (_PARAMETER, "torch.ones(8)", "torch.ones(8), requires_grad=False"),
    "attribute's value": ("self.planted = {}", "8 ** -0.5", "8 ** 0.5"),
    "attribute's type": ("self.planted = {}", "(8, 8)", "[8, 8]"),
}
for _name, (_form, _before, _after) in _TABLES.items():
    _REGISTER.add(_name, 1, "ordinary", _planted(_form.format(_before), _form.format(_after)))


@_REGISTER.kind("gain of an initialisation", 1, "ordinary")
def _gain(subject: Subject) -> Iterator[Rewrite]:
    """``nn.init.normal_(w)`` is followed by a factor; in any method that initialises."""
    for method in subject.methods:
        for node in nodes_of(subject, method):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Call)
                and re.search(
                    r"(xavier|kaiming|normal|uniform|trunc_normal|constant)\w*_$", ast.unparse(node.value.func)
                )
                and starts_its_row(subject.code, node)
                and node.value.args
                and method.name in ("__init__", "reset_parameters", "_reset_parameters", "init_weights")
            ):
                target = subject.code.text(node.value.args[0])
                text = f"{subject.code.text(node)}; {target}.data.mul_(0.5).add_(0.01)"
                yield rewritten(subject, [subject.code.replaced(node, text)], f"{subject.name}.{method.name}")


@_REGISTER.kind("bias of a layer dropped", 1, "ordinary")
def _bias_dropped(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.init):
        if isinstance(node, ast.Call) and is_call(node, "Linear") and len(node.args) == 2 and not node.keywords:
            edit = subject.code.with_argument(node, "bias=False")
            yield rewritten(subject, [edit], subject.init_symbol)


@_REGISTER.kind("layers registered in another order", 7, "ordinary")
def _registered(subject: Subject) -> Iterator[Rewrite]:
    body = subject.init.body if subject.init is not None else []
    for one, other in pairwise(body):
        if all(isinstance(each, ast.Assign) and is_call(each.value, "Linear") for each in (one, other)):
            yield rewritten(subject, swapped(subject, one, other), subject.init_symbol)


def _unread_attributes(subject: Subject) -> Iterator[ast.Assign]:
    """Public attributes that the constructor sets to what it was given, and that no statement of the class reads."""
    for node in nodes_of(subject, subject.init):
        match node:
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Name("self"), attr=attr)],
                value=ast.Name() | ast.BinOp() | ast.Attribute(),
            ):
                mentioned = len(re.findall(rf"\bself\.{attr}\b", subject.class_text))
                if not attr.startswith("_") and mentioned == 1:
                    yield node


@_REGISTER.kind("attribute removed", 7, "ordinary")
def _attribute_removed(subject: Subject) -> Iterator[Rewrite]:
    for node in _unread_attributes(subject):
        yield rewritten(subject, [subject.code.replaced(node, "pass")], subject.init_symbol)


@_REGISTER.kind("attribute set otherwise", 1, "ordinary")
def _attribute_otherwise(subject: Subject) -> Iterator[Rewrite]:
    for node in _unread_attributes(subject):
        content = f"[{subject.code.text(node.value)}]"
        yield rewritten(subject, [subject.code.replaced(node.value, content)], subject.init_symbol)


@_REGISTER.kind("attribute renamed", 7, "ordinary")
def _attribute_renamed(subject: Subject) -> Iterator[Rewrite]:
    for name in ("scale", "scaling", "num_heads", "heads", "head_dim", "inner_dim", "num_key_value_groups"):
        sites = [
            node for method in subject.methods for node in ast.walk(method)
            if isinstance(node, ast.Attribute) and node.attr == name and ast.unparse(node.value) == "self"
        ]  # fmt: skip
        if len(sites) > 1 and any(not is_read(node) for node in sites):
            edits = [subject.code.replaced(node, f"self.{name}_") for node in sites]
            yield rewritten(subject, edits, subject.init_symbol, subject.forward_symbol)
            return


def kinds() -> list[Kind]:
    return list(_REGISTER.kinds)
