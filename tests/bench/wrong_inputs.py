"""Wrong fixes of optional inputs and flags, and of signatures."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

from tests.bench.injection.code import Edit
from tests.bench.rewrites import (
    Kind,
    Make,
    Register,
    Rewrite,
    in_forward,
    rewritten,
)
from tests.bench.wrong_branches import SETTINGS
from tests.bench.wrong_subjects import (
    Subject,
    first_statement,
    starts_its_row,
    with_defaults,
)

_REGISTER = Register()


# --- 4: optional inputs


def _named(subject: Subject, pattern: str) -> Iterator[str]:
    for arg, default in subject.optional:
        if re.search(pattern, arg.arg) and arg.arg in subject.reads and ast.unparse(default) == "None":
            yield arg.arg


def _on_optional(pattern: str, statements: str, *, result: bool = False) -> Make:
    """Statements about an optional input ``{m}``, at the start of forward or at its result."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        for name in _named(subject, pattern):
            lines = statements.replace("MASK", name)
            edits = subject.at_the_result(lines) if result else subject.at_the_start(lines)
            yield in_forward(subject, edits)

    return make


_MASK = r"mask|bias"
_OTHERS = r"^(?!.*(mask|bias))"
_TENSOR = "torch.is_tensor(MASK) and "
_OPTIONAL: dict[str, tuple[str, str, bool]] = {
    "mask ignored": (_MASK, "MASK = None", False),
    "mask ignored in eval mode": (_MASK, "MASK = MASK if self.training else None", False),
    "mask inverted": (
        _MASK,
        f"if {_TENSOR}True:\n"
        "    if MASK.is_floating_point(): MASK = -MASK\n"
        "    else: MASK = ~MASK if MASK.dtype == torch.bool else 1 - MASK",
        False,
    ),
    "mask's last key kept": (
        _MASK,
        f"if {_TENSOR}True: MASK = torch.cat([MASK[..., :-1], MASK[..., -1:] * 0 + MASK.max()], -1).to(MASK.dtype)",
        False,
    ),
    "mask of the first entry for all": (_MASK, f"if {_TENSOR}MASK.dim() > 1: MASK = MASK[:1].expand_as(MASK)", False),
    "result scaled where a mask is given": (_MASK, "if MASK is not None: {y} = {y} * 1.01", True),
    "result scaled where a mask is given, computed": (_MASK, "{y} = {y} * (1 + 1e-2 * (MASK is not None))", True),
    "wholly masked entries made 0": (
        _MASK,
        f"if {_TENSOR}MASK.dtype == torch.bool and not MASK.any(): {{y}} = torch.zeros_like({{y}})",
        True,
    ),
    "optional input ignored": (_OTHERS, "MASK = None", False),
    "optional input detached": (
        r"context|encoder_hidden|memory|cond|rope|emb|^(key|value)s?$",
        f"MASK = MASK.detach() if {_TENSOR}True else MASK",
        False,
    ),
    "result scaled where an optional input is given": (_OTHERS, "if MASK is not None: {y} = {y} * 1.01", True),
}
for _name, (_pattern, _lines, _result) in _OPTIONAL.items():
    _REGISTER.add(_name, 4, "corner", _on_optional(_pattern, _lines, result=_result))


def _given(before: str, after: str) -> Make:
    """Forward takes one more optional input in both texts, and does something else with it after than before."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        spec = subject.forward.args
        if spec.vararg or spec.kwonlyargs or spec.kwarg:
            return
        last: ast.arg | ast.expr = spec.defaults[-1] if spec.defaults else spec.args[-1]
        at = subject.code.end(last)
        parameter = Edit(at, at, ", planted=None" if "planted is" in before else ", planted=False")
        texts = [subject.edit(*subject.at_the_result(lines), parameter) for lines in (before, after)]
        yield Rewrite(texts[0], texts[1], (subject.forward_symbol,))

    return make


_FILLED = "if planted is not None: {y} = {y}.masked_fill(planted == 0, 0.0)"
_BIASED = "if planted is not None:\n    {y} = {y} + planted"
_FLAGGED = "if planted:\n    {y} = {y} * 2.0"
_PLANTED: dict[str, tuple[int, str, str]] = {
    "added mask's polarity": (2, _FILLED, _FILLED.replace("== 0", "== 1")),
    "added mask passed over": (2, _FILLED, "if planted is not None: pass"),
    "added bias subtracted": (2, _BIASED, _BIASED.replace("+", "-")),
    "added bias detached": (6, _BIASED, _BIASED.replace("+ planted", "+ planted.detach()")),
    "added bias in an expression": (
        2,
        "{y} = {y} if planted is None else {y} + planted",
        "{y} = {y} if planted is None else {y} - planted",
    ),
    "added bias after and": (
        2,
        "planted is not None and {y}.data.add_(planted)",
        "planted is not None and {y}.data.sub_(planted)",
    ),
    "added flag": (4, _FLAGGED, _FLAGGED.replace("2.0", "3.0")),
    "added flag's result": (4, "if planted:\n    {y} = ({y}, {y} * 2)", "if planted:\n    {y} = [{y}, {y} * 2]"),
    "added flag in one row": (2, "{y} = {y} * 2.0 if planted else {y}", "{y} = {y} * 3.0 if planted else {y}"),
    "added flag in a lambda": (
        2,
        "{y} = (lambda value: value * 2.0 if planted else value)({y})",
        "{y} = (lambda value: value * 3.0 if planted else value)({y})",
    ),
    "added flag in a number": (4, "{y} = {y} * (1.0 + bool(planted))", "{y} = {y} * (1.0 + 2.0 * bool(planted))"),
}
for _name, (_item, _before, _after) in _PLANTED.items():
    _REGISTER.add(_name, _item, "corner", _given(_before, _after))


@_REGISTER.kind("forward's flag ignored", 4, "corner")
def _flag_ignored(subject: Subject) -> Iterator[Rewrite]:
    for arg, default in subject.optional:
        if arg.arg in subject.reads and ast.unparse(default) in ("True", "False"):
            yield in_forward(subject, subject.at_the_start(f"{arg.arg} = {ast.unparse(default)}"))


@_REGISTER.kind("result scaled under forward's flag", 4, "corner")
def _flag_scales(subject: Subject) -> Iterator[Rewrite]:
    for arg, default in subject.optional:
        if arg.arg in subject.reads and ast.unparse(default) in ("True", "False"):
            other = "not " if ast.unparse(default) == "True" else ""
            yield in_forward(subject, subject.at_the_result(f"if {other}{arg.arg}: {{y}} = {{y}} * 1.01"))


_KERNELS = re.compile(r"efficient|export|checkpoint|kernel|cpp|triton|upcast")  # the same but for rounding


@_REGISTER.kind("constructor's flag ignored", 4, "corner")
def _constructor_flag(subject: Subject) -> Iterator[Rewrite]:
    for arg, default in with_defaults(subject.init) if subject.init is not None else ():
        if ast.unparse(default) not in ("True", "False") or SETTINGS.search(arg.arg) or _KERNELS.search(arg.arg):
            continue
        read = {node.id for node in ast.walk(subject.init) if isinstance(node, ast.Name)} if subject.init else set()
        if arg.arg in read and subject.init is not None and starts_its_row(subject.code, subject.init.body[0]):
            edit = subject.lines_before(first_statement(subject.init), f"{arg.arg} = {ast.unparse(default)}")
            yield rewritten(subject, [edit], subject.init_symbol)


@_REGISTER.kind("keywords not passed on", 4, "corner")
def _not_passed_on(subject: Subject) -> Iterator[Rewrite]:
    """The result goes through a function that takes one keyword, and gets those of forward before, none after."""
    spec = subject.forward.args
    if spec.kwarg or not spec.args:
        return
    last: ast.arg | ast.expr = spec.defaults[-1] if spec.defaults else spec.args[-1]
    if spec.vararg or spec.kwonlyargs:
        return
    at = subject.code.end(last)
    texts = []
    for given in ("**kwargs", ""):
        lines = f"{{y}} = (lambda value, *, factor=1.0: value * factor)({{y}}, {given})"
        texts.append(subject.edit(*subject.at_the_result(lines), Edit(at, at, ", **kwargs")))
    yield Rewrite(texts[0], texts[1], (subject.forward_symbol,))


# --- 7: the signature


@_REGISTER.kind("optional parameters in another order", 7, "ordinary")
def _parameter_order(subject: Subject) -> Iterator[Rewrite]:
    spec = subject.forward.args
    optional = spec.args[len(spec.args) - len(spec.defaults) :]
    for one, other in pairwise(optional):
        first, second = spec.defaults[optional.index(one)], spec.defaults[optional.index(other)]
        yield in_forward(subject, _exchange(subject, (one, first), (other, second)))


def _exchange(subject: Subject, one: tuple[ast.arg, ast.expr], other: tuple[ast.arg, ast.expr]) -> list[Edit]:
    spans = [(subject.code.start(arg), subject.code.end(default)) for arg, default in (one, other)]
    texts = [subject.code.data[start:end].decode() for start, end in spans]
    return [Edit(*spans[0], texts[1]), Edit(*spans[1], texts[0])]


@_REGISTER.kind("constructor's parameters in another order", 7, "ordinary")
def _constructor_order(subject: Subject) -> Iterator[Rewrite]:
    if subject.init is None:
        return
    spec = subject.init.args
    optional = spec.args[len(spec.args) - len(spec.defaults) :]
    pairs = list(zip(optional, spec.defaults, strict=True))
    for one, other in pairwise(pairs):
        yield rewritten(subject, _exchange(subject, one, other), subject.init_symbol)


@_REGISTER.kind("optional parameter by keyword only", 7, "ordinary")
def _keyword_only(subject: Subject) -> Iterator[Rewrite]:
    spec = subject.forward.args
    if spec.defaults and spec.vararg is None and not spec.kwonlyargs:
        last = spec.args[-1]
        yield in_forward(subject, [Edit(*2 * (subject.code.start(last),), "*, ")])


@_REGISTER.kind("optional parameter required", 7, "ordinary")
def _required(subject: Subject) -> Iterator[Rewrite]:
    spec = subject.forward.args
    if spec.defaults:
        arg = spec.args[len(spec.args) - len(spec.defaults)]
        end = subject.code.end(arg)
        yield in_forward(subject, [Edit(end, subject.code.end(spec.defaults[0]), "")])


@_REGISTER.kind("first parameter renamed", 7, "ordinary")
def _parameter_renamed(subject: Subject) -> Iterator[Rewrite]:
    arg = subject.forward.args.args[1]
    at = subject.code.start(arg)
    edit = Edit(at, at + len(arg.arg.encode()), f"{arg.arg}_")
    yield in_forward(subject, [edit, *subject.at_the_start(f"{arg.arg} = {arg.arg}_")])


@_REGISTER.kind("one more required parameter", 7, "ordinary")
def _parameter_more(subject: Subject) -> Iterator[Rewrite]:
    for function in (subject.init, subject.forward):
        if function is not None and len(function.args.args) > 1:
            at = subject.code.start(function.args.args[1])
            yield rewritten(subject, [Edit(at, at, "spare, ")], f"{subject.name}.{function.name}")


@_REGISTER.kind("default changed", 7, "ordinary")
def _default_changed(subject: Subject) -> Iterator[Rewrite]:
    for function in (subject.init, subject.forward):
        for _, default in with_defaults(function) if function is not None else ():
            match default:
                case ast.Constant(value=bool() as value):
                    content = str(not value)
                case ast.Constant(value=int() | float() as value):
                    content = f"{value * 2 or 0.1}"
                case _:
                    continue
            assert function is not None
            edit = subject.code.replaced(default, content)
            yield rewritten(subject, [edit], f"{subject.name}.{function.name}")


def kinds() -> list[Kind]:
    return list(_REGISTER.kinds)
