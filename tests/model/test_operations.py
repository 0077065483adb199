"""The table of operations: each row decides each column, and nothing is known of an operation anywhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest
from checkout import ROOT

from mha_lint.model import masking, masks
from mha_lint.model.operations import BY_SIGN, OPERATIONS, ROWS, TABLE, Op, scales
from mha_lint.model.operations.devices import Device
from mha_lint.model.operations.table import by_name

MODEL = ROOT / "mha_lint/model"


def test_no_column_has_a_default() -> None:
    assert [each.name for each in fields(Op) if (each.default, each.default_factory) != (MISSING, MISSING)] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_decides_every_column(row: Op) -> None:
    assert row.names and all(name == name.strip() != "" for name in row.names)
    assert row.sign is None or issubclass(row.sign, (ast.operator, ast.unaryop, ast.cmpop))
    for column in (row.attribute, row.in_place, row.begins_mask, row.watched):
        assert isinstance(column, bool)
    for column in (row.shape, row.scale, row.mask, row.masked, row.single):
        assert callable(column)
    assert isinstance(row.device, Device)


def test_columns_are_of_their_kind() -> None:
    """A rule that stands in the wrong column is one of another file: a mask rule where a scale is asked for."""
    for row in ROWS:
        assert row.scale.__module__ == scales.__name__, row.name
        assert row.mask.__module__ == masks.__name__, row.name
        assert row.masked.__module__ == row.single.__module__ == masking.__name__, row.name
        assert row.shape.__module__.startswith("mha_lint.model.operations."), row.name


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
     'match name:\n    case "view" | "reshape":\n        pass'],
)  # fmt: skip
def test_a_set_of_operations_is_found(text: str) -> None:
    assert list(_operations_named_together(ast.parse(text)))
