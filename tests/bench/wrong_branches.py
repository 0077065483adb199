"""Wrong fixes of branches and arms, and of widths that most constructions do not tell apart."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Edit
from tests.bench.rewrites import (
    Kind,
    Register,
    Rewrite,
    in_forward,
    is_call,
    nodes_of,
    rewritten,
)
from tests.bench.wrong_subjects import (
    HEAD_WIDTHS,
    Subject,
    starts_its_row,
)

_REGISTER = Register()


# --- 2: branches


def _tests_a_parameter(subject: Subject, test: ast.expr) -> str:
    """The optional parameter of forward that a test holds against None; "" for any other test."""
    names = {arg.arg for arg, _ in subject.optional}
    match test:
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Is() | ast.IsNot()], comparators=[ast.Constant(value=None)]):
            return name if name in names else ""
    return ""


def _guarded(subject: Subject) -> Iterator[ast.If]:
    """Branches of forward that run where an optional input is given."""
    for node in nodes_of(subject, subject.forward):
        if isinstance(node, ast.If) and _tests_a_parameter(subject, node.test):
            assert isinstance(node.test, ast.Compare)
            raises = any(isinstance(each, ast.Raise) for each in node.body)
            if isinstance(node.test.ops[0], ast.IsNot) and not raises and starts_its_row(subject.code, node.body[0]):
                yield node


@_REGISTER.kind("guarded arm emptied", 2, "corner")
def _arm_emptied(subject: Subject) -> Iterator[Rewrite]:
    for node in _guarded(subject):
        start, end = subject.code.start(node.body[0]), subject.code.end(node.body[-1])
        yield in_forward(subject, [Edit(start, end, "pass")])


@_REGISTER.kind("guarded arm scaled", 2, "corner")
def _arm_scaled(subject: Subject) -> Iterator[Rewrite]:
    for node in _guarded(subject):
        for each in node.body:
            match each:
                case ast.Assign(value=ast.BinOp(op=ast.Add() | ast.Sub()) as value):
                    yield in_forward(subject, [subject.code.replaced(value, f"1.01 * ({subject.code.text(value)})")])


@_REGISTER.kind("mask used otherwise", 2, "corner")
def _mask_otherwise(subject: Subject) -> Iterator[Rewrite]:
    """Added masks are subtracted, fills fill what they kept, and ``mask == 0`` becomes ``mask == 1``."""
    code = subject.code
    for node in nodes_of(subject, subject.forward):
        match node:
            case ast.BinOp(left=left, op=ast.Add(), right=ast.Name(id=name) as right) if "mask" in name:
                yield in_forward(subject, [code.replaced(node, f"{code.text(left)} - {code.text(right)}")])
            case ast.Call(args=[condition, _]) if is_call(node, "masked_fill", "masked_fill_"):
                yield in_forward(subject, [code.replaced(condition, f"~({code.text(condition)})")])
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[ast.Constant(value=0)]):
                if "mask" in ast.unparse(left):
                    yield in_forward(subject, [code.replaced(node, f"{code.text(left)} == 1")])


SETTINGS = re.compile(
    r"jit|tracing|compil|onnx|fused|flash|sdp|xformers|npu|hasattr|isinstance|debug|training|config\."
)


@_REGISTER.kind("first arm of an expression alone", 2, "corner")
def _first_arm(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        if isinstance(node, ast.IfExp) and not SETTINGS.search(ast.unparse(node.test)):
            yield in_forward(subject, [subject.code.replaced(node, f"({subject.code.text(node.body)})")])


@_REGISTER.kind("second arm of an expression alone", 2, "corner")
def _second_arm(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        if isinstance(node, ast.IfExp) and not SETTINGS.search(ast.unparse(node.test)):
            yield in_forward(subject, [subject.code.replaced(node, f"({subject.code.text(node.orelse)})")])


@_REGISTER.kind("no dropout in train mode", 2, "corner")
def _no_dropout(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        if isinstance(node, ast.IfExp) and "training" in ast.unparse(node.test):
            yield in_forward(subject, [subject.code.replaced(node, "0.0")])


@_REGISTER.kind("dropout in eval mode", 2, "corner")
def _dropout_in_eval(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        if isinstance(node, ast.IfExp) and "training" in ast.unparse(node.test):
            kept = node.orelse if ast.unparse(node.test).startswith("not ") else node.body
            if not isinstance(kept, ast.Constant):
                yield in_forward(subject, [subject.code.replaced(node, f"({subject.code.text(kept)})")])


@_REGISTER.kind("dropout left out", 2, "corner")
def _dropout_left_out(subject: Subject) -> Iterator[Rewrite]:
    names = {each.arg for each in subject.init.args.args} if subject.init is not None else set()
    if not any("drop" in name or name == "config" for name in names):
        return
    for node in nodes_of(subject, subject.forward):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("self"), attr=attr), args=[given]) if "drop" in attr:
                yield in_forward(subject, [subject.code.replaced(node, f"({subject.code.text(given)})")])


def _of_plain_tests(node: ast.BoolOp) -> bool:
    """Both operands are names, attributes, their negations, or comparisons with None."""
    plain = r"(not )?[\w.]+( is (not )?None)?"
    told = [ast.unparse(each) for each in node.values]
    return len(told) == 2 and all(re.fullmatch(plain, each) and not SETTINGS.search(each) for each in told)


@_REGISTER.kind("operand of and or or dropped", 2, "corner")
def _operand_dropped(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        if isinstance(node, ast.BoolOp) and _of_plain_tests(node):
            for kept in node.values:
                yield in_forward(subject, [subject.code.replaced(node, f"({subject.code.text(kept)})")])


@_REGISTER.kind("and made or", 2, "corner")
def _and_or(subject: Subject) -> Iterator[Rewrite]:
    for node in nodes_of(subject, subject.forward):
        if isinstance(node, ast.BoolOp) and _of_plain_tests(node):
            word = " or " if isinstance(node.op, ast.And) else " and "
            content = f"({word.join(f'({subject.code.text(each)})' for each in node.values)})"
            yield in_forward(subject, [subject.code.replaced(node, content)])


# --- 3: the width


def _has_three_widths(subject: Subject) -> bool:
    """Whether the constructor takes the width of a head beside the model's width."""
    names = {each.arg for each in subject.init.args.args} if subject.init is not None else set()
    return bool(names & set(HEAD_WIDTHS)) and bool(re.search(r"Linear\(|Conv[12]d\(", subject.init_text))


@_REGISTER.kind("merged to the input's shape", 3, "corner")
def _merged(subject: Subject) -> Iterator[Rewrite]:
    if not _has_three_widths(subject) or subject.rank != 3:
        return
    found = [
        node for node in nodes_of(subject, subject.forward)
        if isinstance(node, ast.Call)
        and (
            (is_call(node, "reshape", "view") and len(node.args) == 3)
            or (is_call(node, "rearrange") and re.search(r"-> ?b n \(h d\)", ast.unparse(node)))
        )
    ]  # fmt: skip
    for node in found[-1:]:
        value = node.args[0] if is_call(node, "rearrange") else node.func.value
        moved = f"({subject.code.text(value)})" + ".transpose(1, 2)" * is_call(node, "rearrange")
        edits = [*subject.at_the_start("given = {x}"), subject.code.replaced(node, f"{moved}.reshape(given.shape)")]
        yield in_forward(subject, edits)


@_REGISTER.kind("head width from the input's width", 3, "corner")
def _width_over_heads(subject: Subject) -> Iterator[Rewrite]:
    if not _has_three_widths(subject) or not subject.heads or subject.rank != 3:
        return
    for node in nodes_of(subject, subject.forward):
        match node:
            case ast.Attribute(
                value=ast.Name("self"), attr="head_dim" | "dim_head" | "attention_head_size" | "attn_head_dim"
            ):
                start = subject.at_the_start("given = {x}")
                content = f"(given.shape[-1] // {subject.heads})"
                yield in_forward(subject, [*start, subject.code.replaced(node, content)])
            case ast.Attribute(value=ast.Name("self"), attr="attn_dim" | "inner_dim" | "all_head_size"):
                start = subject.at_the_start("given = {x}")
                yield in_forward(subject, [*start, subject.code.replaced(node, "given.shape[-1]")])


@_REGISTER.kind("inner width is the model's", 3, "corner")
def _inner_width(subject: Subject) -> Iterator[Rewrite]:
    if not _has_three_widths(subject):
        return
    for node in nodes_of(subject, subject.init):
        match node:
            case ast.Assign(
                targets=[ast.Name("inner_dim") | ast.Attribute(attr="inner_dim" | "attn_dim")],
                value=ast.BinOp(op=ast.Mult()) as value,
            ):
                names = {each.arg for each in subject.init.args.args} if subject.init else set()
                for name in ("dim", "query_dim", "embed_dim"):
                    if name in names:
                        yield rewritten(subject, [subject.code.replaced(value, name)], subject.init_symbol)
                        return


@_REGISTER.kind("head width in the constructor", 3, "corner")
def _head_width(subject: Subject) -> Iterator[Rewrite]:
    names = {each.arg for each in subject.init.args.args} if subject.init is not None else set()
    for node in nodes_of(subject, subject.init):
        match node:
            case ast.BinOp(left=ast.Name("dim_head" | "head_dim") as width, op=ast.Pow()) if (
                names & {"heads", "num_heads"} and "dim" in names
            ):
                heads = "heads" if "heads" in names else "num_heads"
                yield rewritten(subject, [subject.code.replaced(width, f"(dim // {heads})")], subject.init_symbol)


def kinds() -> list[Kind]:
    return list(_REGISTER.kinds)
