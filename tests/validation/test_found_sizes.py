"""Sizes that a class insists on are found: what errors name, what shapes are unpacked into, what is small enough."""

from __future__ import annotations

import ast
import types
from typing import Any

import pytest

from mha_lint.validation import Job, Validator

from .conftest import Check

pytest.importorskip("torch")

from mha_lint.validation.search import learning
from mha_lint.validation.search.construct import divided, plans
from mha_lint.validation.search.inspection import read_forward
from mha_lint.validation.search.plan import Plan
from mha_lint.validation.search.specs import families
from mha_lint.validation.search.vocabulary import SIZINGS

SYMBOL = "Attention.forward"
MERGED = "y = (scores.softmax(-1) @ v)"
CHANGED = "y = torch.matmul(scores.softmax(-1), v)"
ATTENTION = """
import torch
from torch import nn
from einops import rearrange


class Attention(nn.Module):
    def __init__(self, INIT):
        super().__init__()
        self.heads = 4
        self.scale = (dim // 4) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        MADE

    def forward(self, x, lens=None):
        CUT
        q, k, v = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        scores = q @ k.mT * self.scale ADDED
        y = (scores.softmax(-1) @ v)
        y = y.transpose(1, 2).flatten(2)
        return y
"""


def attention(init: str = "dim", made: str = "pass", cut: str = "pass", added: str = "") -> str:
    return ATTENTION.replace("INIT", init).replace("MADE", made).replace("CUT", cut).replace("ADDED", added)


@pytest.mark.slow
def test_sizes_of_the_constructor_that_windows_do_not_divide_become_multiples_of_them(check: Check) -> None:
    pytest.importorskip("einops")
    cut = (
        "x = rearrange(x, 'b (h w) d -> b h w d', h=self.rows, w=self.columns)\n"
        "        x = rearrange(x, 'b (h p) (w q) d -> (b h w) (p q) d', p=5, q=5)"
    )
    source = attention("dim, rows, columns", "self.rows, self.columns = rows, columns", cut)
    verdict = check(source, MERGED, CHANGED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert "rows=5, columns=10" in verdict.reason, "no size hides behind another"


@pytest.mark.slow
def test_lengths_of_parts_make_up_the_whole(check: Check) -> None:
    cut = "assert lens is not None\n        first, second = x.split(lens, 1); x = torch.cat([second, first], 1)"
    verdict = check(attention(cut=cut), MERGED, CHANGED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert "lens=(1, t-1)" in verdict.reason


@pytest.mark.slow
def test_windows_of_the_size_that_a_bias_has_are_found_beside_free_lengths(validator: Validator, tmp_path: Any) -> None:
    source = attention(
        made="self.bias = nn.Parameter(torch.zeros(49, 49))",
        cut="sizes = x.shape\n        x = x.flatten(0, 2).flatten(1, 2)",
        added="+ self.bias",
    )
    after = source.replace(MERGED, CHANGED)
    path = tmp_path / "windows.py"
    path.write_text(source)
    hints = {"x": ("b", "t", "s", "H", "W", "self.qkv.in_features")}
    verdict = validator.validate(Job(str(path), source, after, (SYMBOL,), "equivalent", hints=hints))
    assert verdict.verdict == "validated", verdict.reason
    assert "x: (3, 5, 7, 7, 7, 32)" in {trial.shapes[0] for trial in verdict.trials}


def test_the_sides_that_a_message_names_are_tried_with_lengths_that_stay_free() -> None:
    error = RuntimeError("The size of tensor a (24) must match the size of tensor b (49) at non-singleton dimension 3")
    free = families(())[0]
    first, *_ = learning.other_sizes(error, free)
    assert [each.sizes for each in first] == [{**each.sizes, "H": 7, "W": 7} for each in free]


def test_of_a_message_of_einops_the_sizes_that_do_not_fit_are_read() -> None:
    error = RuntimeError(
        "Error while processing rearrange-reduction pattern.\n Input tensor shape: torch.Size([3, 5, 256]). "
        "Additional info: {'h': 4, 'w': 4}.\n Shape mismatch, 5 != 16"
    )
    lengths = {family[0].sizes["t"] for family in learning.other_sizes(error, families(())[0])}
    assert 16 in lengths
    assert 256 not in lengths
    chunks = RuntimeError(
        "Input tensor shape: [3, 4, 256].\n Shape mismatch, can't divide axis of length 4 in chunks of 7"
    )
    assert learning.divisors(chunks) == [7]
    assert learning.undivided(chunks, 7) == [4]


@pytest.mark.parametrize(
    ("statement", "rank", "names"),
    [
        ("b, t, c = x.shape", 3, ("b", "t", "c")),
        ("b, t, _, h = *x.shape, self.heads", 3, ("b", "t", "_")),
        ("h, b, t, s, c = self.heads, *x.shape", 4, ("b", "t", "s", "c")),
        ("b, c, *rest = x.shape", 0, ()),
        ("b, *rest, h = *x.shape, self.heads", 0, ()),
        ("b, t, c, d = *x.shape, *y.shape", 0, ()),
        ("b, t = self.batch, self.tokens", 0, ()),
        ("(b,) = *x.shape, self.heads, 3", 0, ()),
    ],
)
def test_the_dims_of_an_input_are_read_off_what_its_shape_is_unpacked_into(
    statement: str, rank: int, names: tuple[str, ...]
) -> None:
    function = ast.parse(f"def forward(self, x, y):\n    {statement}").body[0]
    assert isinstance(function, ast.FunctionDef)
    found = read_forward(function)
    assert (found["x"].ranks, found["x"].names) == ([rank] if rank else [], names)
    assert not found["y"].ranks


class Wide:
    def __init__(self, dim: int, heads: int = 8, dim_head: int = 64, dropout: float = 0.0) -> None: ...


class Narrow:
    def __init__(self, dim: int, heads: int = 4, dim_head: int = 32) -> None: ...


def test_heads_that_make_a_model_wide_by_default_are_few_at_first() -> None:
    module, tree = types.ModuleType("of_tests"), ast.parse("")
    first, second, *_ = [plan.arguments for plan in plans(Wide, module, tree)]
    assert first == {"dim": 32, "heads": 4, "dim_head": 8, "dropout": 0.1}
    assert second == {"dim": 512, "dropout": 0.1}, "then those of the class"
    assert next(plans(Narrow, module, tree)).arguments == {"dim": 128}


def test_arguments_that_are_the_size_an_error_names_get_other_multiples_of_its_divisor() -> None:
    class Grid:
        def __init__(self, rows: int, columns: int, depth: int = 3) -> None: ...

    plan = Plan(SIZINGS[0], {"rows": 4, "columns": 4})
    changed = divided(Grid, plan, [4], 7)
    assert changed is not None
    assert changed.arguments == {"rows": 7, "columns": 14}
    assert divided(Grid, plan, [5], 7) is None
