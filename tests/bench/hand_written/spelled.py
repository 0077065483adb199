"""What one expression says by its text: names, numbers, letters and dims."""

from __future__ import annotations

import ast

from tests.bench.hand_written import words


def dotted(node: ast.AST) -> str:
    """``self.a.b`` of an attribute or a name; empty of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def last_name(node: ast.AST) -> str:
    """The last name of what is called: ``softmax`` of ``nn.functional.softmax`` and of ``scores.softmax``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def turns_last_two(node: ast.Call, name: str) -> bool:
    """True if a transpose or permute swaps the last two dims for certain."""
    texts = [ast.unparse(argument) for argument in node.args if dotted(argument) != "torch"]
    if name == "t":
        return True
    numbers = [text for text in texts if text.lstrip("-").isdigit()]
    return set(numbers) in ({"-1", "-2"}, {"2", "3"}) or numbers in (["0", "2", "1"], ["0", "1", "3", "2"])


def mixes_heads(letters: str | None, index: int) -> bool:
    """True if an einsum keeps the rank and the last letter of its operand: it gives scores for scores."""
    if letters is None:
        return False
    inputs, _, output = letters.replace(" ", "").partition("->")
    operands = inputs.split(",")
    return index < len(operands) and len(operands[index]) == len(output) and operands[index][-1:] == output[-1:]


def is_scores(node: ast.expr) -> bool:
    return words.SCORES.search(ast.unparse(node)) is not None


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_number(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=int() | float()):
            return True
        case ast.BinOp():
            return is_number(node.left) or is_number(node.right)
        case ast.UnaryOp():
            return is_number(node.operand)
    return False


def is_scale(node: ast.expr) -> bool:
    """True of a number, and of what is named like a scale."""
    return is_number(node) or words.SCALE.search(ast.unparse(node)) is not None


def scales(node: ast.expr) -> bool:
    """True if an expression multiplies or divides by a scale."""
    factors = [
        part for part in ast.walk(node) if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mult | ast.Div)
    ]
    return any(is_scale(part.left) or is_scale(part.right) for part in factors)


def is_parameter(node: ast.expr | None) -> bool:
    return node is not None and dotted(node).startswith("self.")


def mask_of(node: ast.Call, name: str) -> str:
    """The mask of a fill, as it is written."""
    texts = [ast.unparse(argument) for argument in (*node.args, *(keyword.value for keyword in node.keywords))]
    is_function = name == "where" or (
        isinstance(node.func, ast.Attribute) and dotted(node.func.value) in ("torch", "F")
    )
    position = 1 if is_function and name != "where" else 0
    return texts[position] if len(texts) > position else ""


def dim_of(node: ast.Call, position: int) -> str | None:
    """The dim of a softmax as it is written."""
    for keyword in node.keywords:
        if keyword.arg in ("dim", "axis"):
            return ast.unparse(keyword.value)
    return ast.unparse(node.args[position]) if len(node.args) > position else None
