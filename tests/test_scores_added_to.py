"""MHA201: functions of the project that add to scores are followed, and called with scores of zeros for the mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mha_lint.edits import apply
from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.settings import Settings

torch = pytest.importorskip("torch")

TEXT = """import torch
import torch.nn.functional as F


def same(function):
    return function


def twice(function):
    return lambda *given: 2 * function(*given)


{decorator}
def add(scores, q, bias):
{added}


def attend(q, k, v, bias):
    b, h, t, d = q.shape
    b, h, s, d = k.shape
    scores = q @ k.transpose(-2, -1) * 0.3
    scores = add({arguments})
    weights = scores.softmax(dim=-1)
    return weights @ v
"""
ADDED = {
    "plainly": "return scores + bias",
    "from the left": "return bias + scores",
    "its negative": "return scores - bias",
    "twice": "scores = scores + bias\nreturn scores + q.mean()",
    "in place": "scores += bias\nreturn scores",
    "in a view": (
        "b, h, t, s = scores.shape\nwide = scores.view(b, h, t, s // 2, 2) + bias.view(t, s // 2, 2)\n"
        "return wide.view(b, h, t, s)"
    ),
    "to a part": "scores[:, :, 1:, 1:] = scores[:, :, 1:, 1:] + bias[1:, 1:]\nreturn scores",
    "to a part, in place": "scores[:, :, 1:, 1:] += bias[1:, 1:]\nreturn scores",
    "to a view of a part, in place": (
        "part = scores[:, :, 1:, 1:].reshape(-1, 4, 6)\npart += bias[1:, 1:]\n"
        "scores[:, :, 1:, 1:] = part.view(2, 3, 4, 6)\nreturn scores"
    ),
    "under a condition": (
        "if q.shape[-1] > 2:\n    scores = scores + bias\nelse:\n    scores = scores - bias\nreturn scores"
    ),
    "or returned at once": "if q.shape[-1] > 99:\n    return scores\nreturn scores + bias",
    "with its type": "return scores + bias.to(scores.dtype)",
}
NOT_ADDED = {
    "a multiple": "return scores * 2 + bias",
    "a product": "return scores + bias * scores",
    "both": "return scores + scores",
    "from something": "return bias - scores",
    "a function of them": "return torch.tanh(scores)",
    "a pair": "return scores + bias, bias",
    "a part alone": "return scores[:, :, :4]",
    "another part": "scores[:, :, 1:, 1:] = scores[:, :, :-1, :-1] + bias[1:, 1:]\nreturn scores",
    "a part is overwritten": "scores[:, :, 1:, 1:] = bias[1:, 1:]\nreturn scores",
    "in place, a product": "scores *= bias\nreturn scores",
    "something else": "scores = bias\nreturn scores",
    "nothing": "scores + bias",
    "one branch multiplies": "if q.shape[-1] > 2:\n    scores = scores * bias\nreturn scores",
    "one branch forgets": "if q.shape[-1] > 2:\n    scores = bias\nreturn scores",
    "in a loop": "for each in bias:\n    scores = scores + each\nreturn scores",
    "as a generator": "yield scores + bias",
    "the largest": "return scores + scores.amax(-1, keepdim=True)",
}


def text_of(added: str, *, decorator: str = "@same", arguments: str = "scores, q, bias") -> str:
    body = "\n".join(f"    {line}" for line in added.splitlines())
    return TEXT.format(decorator=decorator, added=body, arguments=arguments)


def findings(text: str) -> list[Finding]:
    return list(lint(decode(Path("attention.py"), text.encode()), Settings(select=("MHA201",))).findings)


def rewritten(text: str) -> str:
    (finding,) = findings(text)
    assert finding.fix is not None, finding.no_fix_reason
    return apply(text, finding.fix.edits)


def results(text: str) -> list[Any]:
    namespace: dict[str, Any] = {}
    exec(compile(text, "attention.py", "exec"), namespace)
    torch.manual_seed(0)
    shapes = [(2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 4), (5, 7)]
    if "// 2" in text:
        shapes = [(2, 3, 5, 4), (2, 3, 8, 4), (2, 3, 8, 4), (5, 8)]
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    out = namespace["attend"](*given)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), given)]


@pytest.mark.parametrize("name", ADDED)
def test_what_a_function_adds_becomes_the_mask(name: str) -> None:
    text = text_of(ADDED[name])
    after = rewritten(text)
    assert "scaled_dot_product_attention(q, k, v, attn_mask=" in after
    torch.testing.assert_close(results(after), results(text))


@pytest.mark.parametrize("arguments", ["scores=scores, q=q, bias=bias", "scores, bias=bias, q=q"])
def test_scores_may_be_named_among_the_arguments(arguments: str) -> None:
    text = text_of("return scores + bias", arguments=arguments)
    torch.testing.assert_close(results(rewritten(text)), results(text))


@pytest.mark.parametrize("name", NOT_ADDED)
def test_a_function_that_does_more_than_add_is_not_told(name: str) -> None:
    assert findings(text_of(NOT_ADDED[name])) == []


def test_scores_that_are_read_by_another_argument_are_not_told() -> None:
    assert findings(text_of("return scores + bias", arguments="scores, q, scores")) == []


@pytest.mark.parametrize("decorator", ["@twice", "@torch.no_grad()"])
def test_a_function_behind_a_decorator_that_may_change_it_is_not_told(decorator: str) -> None:
    assert findings(text_of("return scores + bias", decorator=decorator)) == []


LAYER = """import torch
import torch.nn.functional as F
from torch import nn


class Positions(nn.Module):
    def __init__(self, heads, tokens):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(heads, tokens, tokens))

    def forward(self, scores):
        return scores + self.bias


class Attention(nn.Module):
    def __init__(self, heads, tokens):
        super().__init__()
        self.positions = {layer}

    def forward(self, q, k, v):
        scores = self.positions(q @ k.transpose(-2, -1))
        return scores.softmax(dim=-1) @ v
"""


def test_a_layer_that_adds_is_followed() -> None:
    assert "attn_mask=attn_mask" in rewritten(LAYER.format(layer="Positions(heads, tokens)"))


@pytest.mark.parametrize("layer", ["nn.Sequential(Positions(heads, tokens), nn.Tanh())", "make(heads)", "nn.Tanh()"])
def test_a_layer_that_may_do_something_else_is_not_told(layer: str) -> None:
    assert findings(LAYER.format(layer=layer)) == []


def test_a_method_that_an_heir_overrides_is_not_told() -> None:
    text = LAYER.format(layer="None").replace("self.positions(q", "self.add(q")
    text += "\n    def add(self, scores):\n        return scores + 1\n"
    assert len(findings(text)) == 1
    heir = "\n\nclass Heir(Attention):\n    def add(self, scores):\n        return scores.tanh()\n"
    assert findings(text + heir) == []
