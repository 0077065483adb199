"""What the model knows of masks, held against what torch makes of the same code."""

from __future__ import annotations

import math
from typing import cast

import pytest

from mha_lint.model import keys
from mha_lint.model.attention import analyse
from mha_lint.model.called import is_called_mask
from mha_lint.model.keys import Key
from mha_lint.model.marks import Mask
from mha_lint.model.run import Run
from mha_lint.model.values import Tensor, Unknown
from mha_lint.syntax.module import Module

torch = pytest.importorskip("torch")

LENGTH = 5
EXACT = [
    "torch.tril(torch.ones(t, t))",
    "torch.triu(torch.ones(t, t), diagonal=1).bool()",
    "torch.ones(t, t, dtype=torch.bool).tril()",
    "torch.ones((t, t)).triu(1) == 0",
    "~torch.ones(t, t).tril(-1).bool()",
    "1 - torch.tril(torch.ones(t, t))",
    "(1.0 - torch.ones(t, t).tril()) * -1e4",
    "torch.full((t, t), float('-inf')).triu(1)",
    "torch.full(size=(t, t), fill_value=-1e9).tril(-1)",
    "torch.full((t, t), True).tril()",
    "(torch.triu(torch.ones(t, t)) == 1).transpose(0, 1)",
    "torch.ones(t, t).triu(1).t() == 1",
    "torch.zeros(t, t).masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float('-inf'))",
    "torch.where(torch.ones(t, t).tril() == 1, 0.0, -1e4)",
    "torch.where(torch.ones(t, t).tril().bool(), torch.zeros(t, t), torch.full((t, t), -1e4))",
    "torch.arange(t)[:, None] >= torch.arange(t)[None, :]",
    "torch.arange(t).unsqueeze(0) > torch.arange(t).view(-1, 1)",
    "torch.arange(t) <= torch.arange(t).unsqueeze(-1)",
    "torch.ones(9, 9).tril()[:t, :t]",
    "torch.ones(9, 9).tril().view(1, 1, 9, 9)[:, :, :t, :t]",
    "torch.ones(t, t).tril()[None, None].expand(2, 3, -1, -1)",
    "torch.ones(t, t).tril().to(torch.bool).logical_not().int()",
    "-torch.ones(t, t).tril()",
    "torch.ones(t, t).tril() * torch.ones(t, t).tril(0)",
    "torch.logical_or(torch.ones(t, t).tril().bool(), torch.ones(t, t).tril().bool())",
    "torch.ones(t, 9).tril(diagonal=9 - t)[:, 9 - t :]",
]
FORGOTTEN = [
    "torch.ones(t, t).tril()[1:]",
    "torch.ones(t, t).tril()[:, 1:]",
    "torch.ones(t, t).tril().flip(0)",
    "torch.ones(t, t).tril() * torch.ones(t, t).triu()",
    "torch.arange(1, t + 1)[:, None] > torch.arange(t)[None, :]",
    "torch.ones(t, t).tril().reshape(-1)",
]


def known(expression: str) -> Mask | None:
    """What the model knows of the value of an expression of ``t``."""
    code = f"import torch\n\n\ndef f(x, t):\n    mask = {expression}\n    return x.masked_fill(mask, 7.0).reshape(-1)\n"
    model = analyse(Module(code), every=True)
    (fill,) = (seen[-1] for seen in model.operations.values() if seen[-1].argument(2, "value") is not None
               and str(seen[-1].argument(2, "value")).find("7.0") >= 0)  # fmt: skip
    mask = fill.argument(1, "mask")
    return mask.mask if isinstance(mask, Tensor) and isinstance(mask.mask, Mask) else None


def real(expression: str) -> torch.Tensor:
    return eval(expression, {"torch": torch, "t": LENGTH})


@pytest.mark.parametrize("expression", EXACT[:-1])
def test_numbers_and_their_places_are_those_of_torch(expression: str) -> None:
    mask, value = known(expression), real(expression)
    assert mask is not None and mask.diagonal is not None and mask.inside is not None and mask.outside is not None
    matrix = value.reshape(-1, *value.shape[-2:])[0].double()
    lower = torch.ones_like(matrix).tril(mask.diagonal).bool()
    assert set(matrix[lower].tolist()) == {float(number) for number in mask.inside}
    assert set(matrix[~lower].tolist()) == {float(number) for number in mask.outside}
    assert mask.boolean is (value.dtype is torch.bool)


@pytest.mark.parametrize("expression", [*FORGOTTEN, EXACT[-1]])
def test_where_a_mask_was_moved_its_diagonal_is_not_known(expression: str) -> None:
    mask = known(expression)
    assert mask is None or mask.diagonal is None
    real(expression)  # torch takes it


def test_what_is_written_into_a_mask_makes_it_unknown() -> None:
    code = (
        "import torch\n\n\ndef f(x, t):\n    mask = torch.ones(t, t).tril()\n    mask[0] = 1\n"
        "    return x.masked_fill(mask, 7.0).reshape(-1)\n"
    )
    model = analyse(Module(code), every=True)
    masks = [seen[-1].argument(1, "mask") for seen in model.operations.values() if seen[-1].name == "masked_fill"]
    assert [mask.mask for mask in masks if isinstance(mask, Tensor)] == [None]


def test_not_a_number_is_not_known() -> None:
    mask = known("torch.zeros(t, t) * float('inf')")
    assert mask is not None and (mask.inside is None or not any(map(math.isnan, mask.inside)))


def test_a_value_that_no_code_of_this_file_made_has_no_name_of_a_mask() -> None:
    class Nowhere:
        def node(self, key: Key) -> None:
            return None

    assert not is_called_mask(Tensor(key=keys.result(5)), None, cast(Run, Nowhere()))
    assert is_called_mask(Unknown(keys.named("mask")), None, cast(Run, Nowhere()))
