"""The table of operations: each row decides each column, and nothing is known of an operation anywhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT
from msgspec.structs import replace

from mha_lint.model import masking
from mha_lint.model.operations import (
    BY_SIGN,
    OPERATIONS,
    ROWS,
    TABLE,
    Op,
    as_masks,
    new_masks,
    scales,
    turn_layouts,
    turn_parts,
    turns,
)
from mha_lint.model.operations.devices import Device
from mha_lint.model.operations.table import by_name
from tests.model.linting import codes


def test_no_column_has_a_default() -> None:
    assert Op.__struct_defaults__ == ()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_decides_every_column(row: Op) -> None:
    assert row.names and all(name == name.strip() != "" for name in row.names)
    assert row.sign is None or issubclass(row.sign, (ast.operator, ast.unaryop, ast.cmpop))
    for column in (row.attribute, row.in_place, row.begins_mask, row.watched):
        assert isinstance(column, bool)
    for column in (row.shape, row.scale, row.mask, row.masked, row.single, row.turn):
        assert callable(column)
    assert isinstance(row.device, Device)


def test_columns_are_of_their_kind() -> None:
    """A rule that stands in the wrong column is one of another file: a mask rule where a scale is asked for."""
    for row in ROWS:
        assert row.scale.__module__ == scales.__name__, row.name
        assert row.mask.__module__ in (as_masks.__name__, new_masks.__name__), row.name
        assert row.masked.__module__ == row.single.__module__ == masking.__name__, row.name
        assert row.shape.__module__.startswith("mha_lint.model.operations."), row.name
        assert row.turn.__module__ in (turns.__name__, turn_layouts.__name__, turn_parts.__name__), row.name


def test_a_name_is_claimed_by_one_row() -> None:
    assert len(OPERATIONS) == len(TABLE) == sum(len(row.names) for row in ROWS)
    with pytest.raises(ValueError, match="two rows of the table of operations are named 'relu'"):
        by_name((*ROWS, replace(TABLE["gelu"], names=("relu6_", "relu"))))


def test_an_operator_is_claimed_by_one_row() -> None:
    assert len(BY_SIGN) == len([row for row in ROWS if row.sign is not None])


# --- nothing beside the table ----------------------------------------------------------------------------------------


def _operations_named_together(tree: ast.AST) -> Iterator[tuple[int, list[str]]]:
    """Where code names two or more operations in one place: a collection, words in a string, a pattern."""
    for node in ast.walk(tree):
        match node:
            case ast.Set(elts=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Dict(keys=parts):
                words = [part.value for part in parts if isinstance(part, ast.Constant)]
            case ast.MatchOr(patterns=patterns):
                words = [
                    part.value.value
                    for part in patterns
                    if isinstance(part, ast.MatchValue) and isinstance(part.value, ast.Constant)
                ]
            case ast.BoolOp(values=values):
                compared = [value.comparators[0] for value in values if isinstance(value, ast.Compare)]
                words = [each.value for each in compared if isinstance(each, ast.Constant)]
            case ast.Constant(value=str(text)):
                words = text.split()
                if not all(word in TABLE for word in words):
                    continue  # a sentence
            case _:
                continue
        known = [word for word in words if isinstance(word, str) and word in TABLE]
        if len(known) > 1:
            yield node.lineno if hasattr(node, "lineno") else 0, known


def _sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_no_set_of_operations_stands_beside_the_table() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{row}: {' '.join(words)}"
        for path in _sources("mha_lint/model")
        if path.name != "table.py"
        for row, words in _operations_named_together(ast.parse(path.read_text("utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ['A = {"add", "mul"}', 'A = frozenset("add sub mul".split())', 'A = {"add": 1, "eq": 2}', 'b = name in ("to", "t")',
     'b = name == "to" or name == "t"',
     'match name:\n    case "view" | "reshape":\n        pass'],
)  # fmt: skip
def test_a_set_of_operations_is_found(text: str) -> None:
    assert list(_operations_named_together(ast.parse(text)))


# --- what a row does -------------------------------------------------------------------------------------------------

ATTENTION = """import torch
import torch.nn.functional as F


def attend(q, k, v, keep):
    keep = keep == 1
    scores = torch.matmul(q, k.transpose(-2, -1))
    weights = torch.softmax(scores, dim=-1)
    weights = {}
    return torch.matmul(weights, v)
"""


@pytest.mark.parametrize("product", ["matmul", "mm"])
@pytest.mark.parametrize("zeroed", ["weights * keep", "torch.mul(weights, keep)", "weights.multiply(keep)"])
def test_all_names_of_an_operation_are_the_same_to_rules(product: str, zeroed: str) -> None:
    text = ATTENTION.format(zeroed).replace("matmul(weights", f"{product}(weights")
    assert codes(text) == ["MHA107"]


def test_a_comment_decides_nothing() -> None:
    """A mask of rows is meant after the softmax; this one is of keys, whatever its comment names."""
    mask = "(\n        keep  # in each row\n        == 0\n    )"
    assert codes(ATTENTION.format(f"weights.masked_fill({mask}, 0.0)")) == ["MHA107"]
