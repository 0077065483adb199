"""The question whether a mask is the causal one and nothing else, held against the masks that torch makes."""

from __future__ import annotations

import pytest

from mha_lint.model.attention import FileModel, analyse
from mha_lint.model.events import OperationSeen
from mha_lint.rules.mask_uses import always_masks_just_the_future, masks_just_the_future
from mha_lint.syntax.module import Module

torch = pytest.importorskip("torch")

TEXT = """\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=32, heads=4, size=64):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.register_buffer("plain", torch.tril(torch.ones(size, size)))
        self.register_buffer("low", torch.tril(torch.ones(size, size)).view(1, 1, size, size).bool())
        self.register_buffer("added", torch.full((size, size), float("-inf")).triu(1), persistent=False)
        self.changed = torch.tril(torch.ones(size, size)).bool()
        self.changed[0] = True

    def forward(self, x, past=None, start=0, given=None):
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        i = torch.arange(t)
        {before}
        return {result}
"""
FUSED = "F.scaled_dot_product_attention(q, k, v, attn_mask={mask})"

JUST_CAUSAL = [
    "torch.ones(t, t, dtype=torch.bool).tril()",
    "torch.tril(torch.ones(t, t)).bool()",
    "torch.tril(torch.ones(t, t)) == 1",
    "~torch.ones(t, t, dtype=torch.bool).triu(1)",
    "torch.ones(t, t).triu(diagonal=1) == 0",
    "torch.full((t, t), float('-inf')).triu(1)",
    "torch.triu(torch.full((t, t), -1e9), diagonal=1)",
    "torch.zeros(t, t).masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float('-inf'))",
    "torch.where(torch.ones(t, t).tril().bool(), 0.0, float('-inf'))",
    "nn.Transformer.generate_square_subsequent_mask(t)",
    "i[:, None] >= i[None, :]",
    "i[:, None] >= i",
    "i.view(-1, 1) >= i.view(1, -1)",
    "i.unsqueeze(0) <= i.unsqueeze(1)",
    "(i[None, :] <= i[:, None])[None, None]",
    "torch.ones(t, t, dtype=torch.bool).tril()[None, None]",
    "torch.ones(t, t, dtype=torch.bool).tril().view(1, 1, t, t)",
    "torch.ones(t, t, dtype=torch.bool).tril().unsqueeze(0).unsqueeze(1)",
    "torch.ones(t, t, dtype=torch.bool).tril().expand(b, self.heads, t, t)",
    "torch.ones(t, t, dtype=torch.bool).tril().repeat(b, 1, 1, 1)",
    "self.plain[:t, :t].bool()",
    "self.plain[None, None, :t, :t] != 0",
    "self.low[:, :, :t, :t]",
    "self.low[..., :t, :t]",
    "self.low[0, 0, 0:t, 0:t]",
    "self.added[:t, :t]",
    "self.low[:, :, : q.shape[-2], : k.shape[-2]]",
    "self.low[:, :, k.shape[-2] - q.shape[-2] : k.shape[-2], : k.shape[-2]]",
]
ANOTHER = [
    "given",
    "torch.ones(t, t, dtype=torch.bool).tril() & given",
    "torch.ones(t, t, dtype=torch.bool).tril() & torch.ones(t, t, dtype=torch.bool).triu(-3)",
    "torch.ones(t, t, dtype=torch.bool).tril() | (i < 2)",
    "torch.ones(t, t, dtype=torch.bool).tril(1)",
    "torch.ones(t, t, dtype=torch.bool).tril(-1)",
    "torch.ones(t, t, dtype=torch.bool).tril(start)",
    "torch.ones(t, t, dtype=torch.bool).triu(1)",
    "torch.ones(t, t, dtype=torch.bool)",
    "torch.tril(torch.ones(t, t))",
    "torch.full((t, t), -1.0).triu(1)",
    "torch.full((t, t), float('-inf')).triu()",
    "torch.ones(t, t, dtype=torch.bool).tril().t()",
    "torch.ones(t, t, dtype=torch.bool).tril()[:, None, :]",
    "torch.ones(t, t, dtype=torch.bool).tril().unsqueeze(1)",
    "torch.ones(t, t, dtype=torch.bool).tril().repeat(2, 2)[:t, :t]",
    "torch.ones(2, 1, 1, t, t, dtype=torch.bool).tril()",
    "torch.ones(t + 1, t, dtype=torch.bool).tril(1)[1:]",
    "i[:, None] > i",
    "i[:, None] >= torch.arange(start, start + t)",
    "torch.arange(start, start + t)[:, None] >= i",
    "i[start:, None] >= i",
    "(i + start)[:, None] >= i",
    "self.plain[start : start + t, :t].bool()",
    "self.low[:, :, start : start + t, : start + t]",
    "self.low[:, :, -t:, -t:]",
    "self.low[:, :, :1, :1]",
    "self.changed[:t, :t]",
    "given.tril()",
]


def seen(text: str, name: str) -> tuple[FileModel, list[OperationSeen]]:
    model = analyse(Module(text), every=True)
    found = [each for operations in model.operations.values() for each in operations if each.name == name]
    assert found, text
    return model, found


def answers(
    mask: str, before: str = "pass", result: str = FUSED, name: str = "scaled_dot_product_attention"
) -> set[bool]:
    """What is said of the mask on each path on which it is used."""
    model, found = seen(TEXT.format(before=before, result=result.format(mask=mask)), name)
    return {masks_just_the_future(each, model.names) for each in found}


def real(mask: str) -> torch.Tensor:
    """The numbers of a mask for five tokens, of which -1e9 is as good as minus infinity."""
    t, b, size = 5, 2, 64
    low = torch.ones(size, size).tril()
    q = k = torch.zeros(b, 4, t, 8)
    added = torch.full((size, size), float("-inf")).triu(1)
    owner = type("Owner", (), {"plain": low, "low": low.view(1, 1, size, size).bool(), "added": added, "heads": 4})
    names = {"torch": torch, "nn": torch.nn, "t": t, "b": b, "q": q, "k": k, "i": torch.arange(t), "self": owner}
    return eval(mask, names)


@pytest.mark.parametrize("mask", JUST_CAUSAL)
def test_the_causal_mask_is_known_in_whatever_way_it_is_made(mask: str) -> None:
    assert answers(mask) == {True}
    scores = torch.zeros(2, 4, 5, 5)
    value = real(mask)
    masked = scores.masked_fill(~value, -1e9) if value.dtype == torch.bool else scores + value
    assert masked.shape == scores.shape
    assert torch.equal(masked > -1e8, torch.ones(5, 5).tril().bool().expand_as(scores))


@pytest.mark.parametrize("mask", ANOTHER)
def test_another_mask_is_not_taken_for_it(mask: str) -> None:
    assert answers(mask) == {False}


@pytest.mark.parametrize(
    "before",
    [
        "k = torch.cat([past, k], dim=2)",
        "k = self.qkv(given).reshape(b, -1, self.heads, c).transpose(1, 2)",
        "q = q[:, :, -1:]",
    ],
)
def test_there_must_be_as_many_keys_as_queries(before: str) -> None:
    mask = "torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()"
    assert answers(mask) == {True}
    assert answers(mask, before) == {False}
    assert answers("self.low[:, :, :t, :t]", before) == {False}  # it is broadcast where t is 1


@pytest.mark.parametrize(
    "before",
    [
        "mask = self.low[:, :, :t, :t] if given is None else given",
        "mask = self.low[:, :, :t, :t]\n        if given is not None:\n            mask = mask & given",
        "mask = self.low[:, :, :t, :t] if past is None else self.low[:, :, start : start + t, :t]",
    ],
)
def test_each_path_is_told_for_itself(before: str) -> None:
    assert answers("mask", before) == {True, False}


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("masked_fill", "scores.masked_fill(self.low[:, :, :t, :t] == 0, float('-inf'))"),
        ("masked_fill", "scores.masked_fill(~self.low[:, :, :t, :t], torch.finfo(x.dtype).min)"),
        ("masked_fill", "scores.masked_fill(torch.triu(torch.ones(t, t), 1).bool(), -1e9)"),
        ("where", "torch.where(self.low[:, :, :t, :t], scores, float('-inf'))"),
        ("where", "torch.where(self.plain[:t, :t] == 0, -1e9, scores)"),
        ("add", "scores + self.added[:t, :t]"),
        ("add", "torch.full((t, t), -1e9).triu(1) + scores"),
    ],
)
def test_scores_masked_by_hand_are_told_too(name: str, masked: str) -> None:
    assert answers("", "scores = q @ k.transpose(-2, -1)", f"({masked}).softmax(-1) @ v", name) == {True}
    cached = "k = torch.cat([past, k], dim=2); scores = q @ k.transpose(-2, -1)"
    assert answers("", cached, f"({masked}).softmax(-1) @ v", name) == {False}


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("masked_fill", "scores.masked_fill(self.low[:, :, :t, :t], float('-inf'))"),
        ("masked_fill", "scores.masked_fill(~self.low[:, :, start : start + t, :t], float('-inf'))"),
        ("masked_fill", "scores.masked_fill(~self.low[:, :, :t, :t] | given, float('-inf'))"),
        ("where", "torch.where(self.low[:, :, :t, :t], float('-inf'), scores)"),
        ("add", "scores + self.added[:t, :t] + given"),
        ("add", "scores + self.plain[:t, :t]"),
    ],
)
def test_scores_masked_in_another_way_are_not(name: str, masked: str) -> None:
    answer = answers("", "scores = q @ k.transpose(-2, -1)", f"({masked}).softmax(-1) @ v", name)
    assert False in answer


def test_a_subclass_may_have_a_buffer_of_its_own() -> None:
    another = (
        "\n\nclass Everything(Attention):\n    def __init__(self):\n        super().__init__()\n"
        '        self.register_buffer("low", torch.ones(1, 1, 64, 64, dtype=torch.bool))\n'
    )
    text = TEXT.format(before="pass", result=FUSED.format(mask="self.low[:, :, :t, :t]"))
    for whole, answer in ((text, {True}), (text + another, {True, False})):
        model, found = seen(whole, "scaled_dot_product_attention")
        assert {masks_just_the_future(each, model.names) for each in found} == answer


def test_what_holds_for_the_function_itself_holds_for_each_of_its_callers() -> None:
    text = TEXT.format(before="pass", result=FUSED.format(mask="self.low[:, :, :t, :t]"))
    caller = (
        "\n\nclass Block(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.attend = Attention()\n\n    def forward(self, x):\n"
        "        return self.attend(x.view(2, -1, 32))\n"
    )
    helper = "\n\ndef block(q, k, v, mask):\n    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)\n"
    use = "block(q, k, v, self.low[:, :, :t, :t])"
    handed = TEXT.format(before="pass", result=use) + helper
    for whole, answer in ((text + caller, True), (handed, False)):
        model, found = seen(whole, "scaled_dot_product_attention")
        assert any(each.caller is not None for each in found)
        assert always_masks_just_the_future(found, model) is answer
