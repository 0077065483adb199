"""MHA201: whatever way attention is written by hand, its rewrite computes the same, gradients included."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mha_lint.edits import apply
from mha_lint.files import decode
from mha_lint.linter import lint
from mha_lint.settings import Settings

torch = pytest.importorskip("torch")

HEAD = """import math
import torch
import torch.nn.functional as F


def attend(q, k, v, mask=None, bias=None, flag=True):
"""
PRODUCTS = {
    "bhtd": (
        "scores = q @ k.transpose(-2, -1)",
        "scores = torch.matmul(q, k.mT)",
        'scores = torch.einsum("bhid,bhjd->bhij", q, k)',
        "scores = torch.matmul(q, k.permute(0, 1, 3, 2))",
    ),
    "bthd": ('scores = torch.einsum("bihd,bjhd->bhij", q, k)', 'scores = torch.einsum("bjhd,bihd->bhij", k, q)'),
    "btd": ("scores = torch.bmm(q, k.transpose(1, 2))", 'scores = torch.einsum("bid,bjd->bij", q, k)'),
}
CONTEXTS = {
    "bhtd": (
        "out = weights @ v",
        'out = torch.einsum("bhij,bhjd->bihd", weights, v)',
        "return torch.matmul(weights, v)",
    ),
    "bthd": ('out = torch.einsum("bhij,bjhd->bihd", weights, v)', 'out = torch.einsum("bhij,bjhd->bhid", weights, v)'),
    "btd": ("out = torch.bmm(weights, v)", "out = (v.mT @ weights.mT).mT"),
}
SCALES = (
    "",
    "scores = scores * 0.3",
    "scores = scores / math.sqrt(q.size(-1))",
    "scores *= q.shape[-1] ** -0.5",
    "scores = 0.25 * scores",
    "scores = scores.div(7.0)",
)
MASKS = (
    "",
    'scores = scores.masked_fill(mask, float("-inf"))',
    "scores = scores.masked_fill(mask, -1e9)",
    "scores = torch.where(mask, -torch.inf, scores)",
    "scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)",
    "scores = scores.where(~mask, -1e9)",
)
BIASES = ("", "scores = scores + bias", "scores += bias * 2", "scores = bias + scores")
CONDITIONS = ("", "if flag:", "if mask is not None:")
SOFTMAXES = (
    "weights = scores.softmax(dim=-1)",
    "weights = F.softmax(scores, -1).to(v.dtype)",
    "scores = scores - scores.amax(dim=-1, keepdim=True)\nweights = torch.softmax(scores, dim=-1)",
)


@dataclass(frozen=True)
class Written:
    """One way to write attention; ``layout`` are the dims of queries, keys and values."""

    layout: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        body = "\n".join(filter(None, self.lines)).splitlines()
        return HEAD + "".join(f"    {line}\n" for line in body) + "    return out\n"


def under(condition: str, line: str) -> str:
    return f"{condition}\n    {line}" if condition and line else line


@st.composite
def attention(draw: Any) -> Written:
    layout = draw(st.sampled_from(sorted(PRODUCTS)))
    masks = [under(draw(st.sampled_from(CONDITIONS)), draw(st.sampled_from(options))) for options in (MASKS, BIASES)]
    if draw(st.booleans()):
        masks.reverse()
    return Written(
        layout,
        (
            draw(st.sampled_from(PRODUCTS[layout])),
            draw(st.sampled_from(SCALES)),
            *masks,
            draw(st.sampled_from(SOFTMAXES)),
            draw(st.sampled_from(CONTEXTS[layout])),
        ),
    )


def rewritten(text: str) -> str | None:
    """The text after the fix; None where there is none."""
    found = list(lint(decode(Path("attend.py"), text.encode()), Settings(select=("MHA201",))).findings)
    assert len(found) == 1, text
    return None if found[0].fix is None else apply(text, found[0].fix.edits)


def run(text: str, written: Written, *, flag: bool, hides: str) -> list[Any]:
    """The result and the gradients; in rows that hide all keys with minus infinity there is none."""
    namespace: dict[str, Any] = {}
    exec(compile(text, "attend.py", "exec"), namespace)
    torch.manual_seed(0)
    sizes = {"b": 2, "h": 3, "d": 4}
    shapes = [tuple(sizes.get(dim, length) for dim in written.layout) for length in (5, 7, 7)]
    q, k, v = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    rank = 4 if "h" in written.layout else 3
    mask = torch.rand(2, *[1] * (rank - 3), 5, 7) < 0.4
    mask[..., 0] = False
    if hides == "all":
        mask[0, ..., 2, :] = True
    bias = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    out = namespace["attend"](q, k, v, mask, bias, flag)
    gradients = torch.autograd.grad(out.square().sum(), (q, k, v, bias), allow_unused=True)
    return [out.detach(), *gradients]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(attention(), st.booleans())
def test_a_rewrite_computes_what_the_code_computed(written: Written, flag: bool) -> None:
    after = rewritten(written.text)
    if after is None:
        return
    ours = run(written.text, written, flag=flag, hides="some"), run(after, written, flag=flag, hides="some")
    torch.testing.assert_close(ours[0], ours[1], msg=lambda words: f"{words}\n{written.text}\n{after}")
    whole = run(written.text, written, flag=flag, hides="all"), run(after, written, flag=flag, hides="all")
    if all(value is None or bool(value.isfinite().all()) for value in whole[0]):
        torch.testing.assert_close(whole[0], whole[1], msg=lambda words: f"{words}\n{written.text}\n{after}")


def test_many_ways_have_a_rewrite() -> None:
    """The test above says nothing where there is no fix: two masks, one of them by a finite number, have none."""
    offered = []

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(attention())
    def count(written: Written) -> None:
        offered.append(rewritten(written.text) is not None)

    count()
    assert sum(offered) >= 0.3 * len(offered)
