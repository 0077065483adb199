"""Where the module cannot be run: its method alone, then the changed statements alone."""

from __future__ import annotations

import textwrap

import pytest

from mha_lint.validation import Job

from .conftest import Check

pytest.importorskip("torch")
regions = pytest.importorskip("mha_lint.validation.trials.regions")

pytestmark = pytest.mark.slow

UNRUNNABLE = """
import torch
from torch import nn
import no_such_package


class Attention(nn.Module):
    def __init__(self, settings):
        super().__init__()
        self.store = no_such_package.open_store(settings)
        self.qkv, self.heads = self.store["qkv"], self.store["heads"]

    def forward(self, request):
        x = self.store.read(request)
        b, t, c = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = torch.softmax(q @ k.transpose(-2, -1), -1) @ v
        y = y.transpose(1, 2).view(b, t, c)
        mask = request.mask.repeat_interleave(self.heads, 1).unsqueeze(1).contiguous()
        return self.store.write(y.transpose(1, 2).contiguous().reshape(b, c * t), mask)
"""

BY_METHOD = """
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.qkv, self.num_heads = nn.Linear(dim, 3 * dim), num_heads

    def split(self, x):
        b, t, c = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        return q, k, v

    def forward(self, job):
        return job.queue.take(job.ticket)(self)
"""


def test_a_method_is_called_alone_where_forward_cannot_be(check: Check) -> None:
    verdict = check(BY_METHOD, "qkv.unbind(0)", "qkv[0], qkv[1], qkv[2]", "Attention.split", alone=True)
    assert verdict.verdict == "validated", verdict.reason
    assert verdict.harness == "method"
    assert "Attention(dim=32, num_heads=4).split(x=(b, t, 32))" in verdict.reason


def test_a_wrong_rewrite_of_a_method_is_refuted(check: Check) -> None:
    verdict = check(BY_METHOD, "qkv.unbind(0)", "qkv[0], qkv[2], qkv[1]", "Attention.split", alone=True)
    assert verdict.verdict == "refuted"


@pytest.mark.parametrize(
    ("old", "new", "relation"),
    [
        ("qkv.unbind(0)", "qkv[0], qkv[1], qkv[2]", "equivalent"),
        (".transpose(1, 2).view(b, t, c)", ".transpose(1, 2).contiguous().view(b, t, c)", "repaired"),
        (".unsqueeze(1).contiguous()", ".unsqueeze(1)", "equivalent"),
    ],
    ids=["unbind", "view", "contiguous"],
)
def test_changed_statements_run_alone_where_nothing_else_does(check: Check, old: str, new: str, relation: str) -> None:
    verdict = check(UNRUNNABLE, old, new, "Attention.forward", relation, alone=True)
    assert verdict.verdict == "validated", verdict.reason
    assert verdict.harness == "region"
    assert len({trial.shapes for trial in verdict.trials if trial.outcome == "agree"}) >= 4
    if relation == "repaired":
        assert any("before raised at the flagged line" in trial.detail for trial in verdict.trials)


@pytest.mark.parametrize(
    ("old", "new", "relation"),
    [
        ("qkv.unbind(0)", "qkv[0], qkv[2], qkv[1]", "equivalent"),
        ("qkv.unbind(0)", "qkv[0], qkv[1], qkv[2].detach()", "equivalent"),
        ("q @ k.transpose(-2, -1)", "k @ q.transpose(-2, -1)", "equivalent"),
        (".transpose(1, 2).view(b, t, c)", ".contiguous().view(b, t, c)", "repaired"),
        (".transpose(1, 2).view(b, t, c)", ".transpose(1, 2).contiguous().view(b, t, c) * 1.001", "repaired"),
        ("self.heads, 1)", "self.heads, 0)", "equivalent"),
    ],
)
def test_wrong_rewrites_are_not_validated_alone_either(check: Check, old: str, new: str, relation: str) -> None:
    assert check(UNRUNNABLE, old, new, "Attention.forward", relation, alone=True).verdict != "validated"


def test_alone_results_that_lie_otherwise_in_memory_are_not_the_same(check: Check) -> None:
    """Code after the statements could tell: a view of them may raise."""
    source = UNRUNNABLE.replace("request.mask.repeat_interleave(self.heads, 1).unsqueeze(1)", "request.mask.mT")
    verdict = check(source, ".mT.contiguous()", ".mT", "Attention.forward", alone=True)
    assert verdict.verdict == "not exercised"
    assert "has strides" in verdict.reason


def test_what_goes_into_unknown_code_counts_as_a_result(check: Check) -> None:
    source = UNRUNNABLE.replace("self.store.write(y.", "self.store.write(y.flip(0).")
    verdict = check(source, "y.flip(0)", "y.flip(1)", "Attention.forward", alone=True)
    assert verdict.verdict != "validated"


def _regions(before: str, old: str, new: str) -> str:
    text = textwrap.dedent(before)
    (job,) = regions.lifted(Job("a.py", text, text.replace(old, new), ("f",), "equivalent"), 0)
    return job.before


def test_a_region_reads_parameters_and_libraries_alone() -> None:
    text = _regions(
        """
        import torch.nn.functional as F
        from package import rotate

        def f(self, x, config):
            for layer in self.layers:
                x = F.relu(rotate(x, config.base)).view(x.shape[0], self.heads, -1).unbind(0)
            return x
        """,
        "unbind(0)",
        "unbind(1)",
    )
    assert text == (
        "import torch.nn.functional as F\n"
        "def region(x, base, rotate, heads: int):\n"
        "    _passed = []\n"
        "    x = F.relu((_passed.append((x, base)), rotate)[1]).view(x.shape[0], heads, -1).unbind(0)\n"
        "    return (x, _passed,)\n"
    )


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("def f(x):\n    self.kept = x.unbind(0)\n", "unbind(0)", "unbind(1)"),
        ("def f(x):\n    yield x.unbind(0)\n", "unbind(0)", "unbind(1)"),
        ("def f(x):\n    return eval('x').unbind(0)\n", "unbind(0)", "unbind(1)"),
        ("def f(x):\n    y = g(x)\n    return y.unbind(0)\n", "g(x)", "h(x)"),
        ("def f(x):\n    y = x.t()\n    return y\n", "y = x.t()", "y = z = x.t()"),
        ("def f(self, x):\n    return x.unbind(self.dim)\n", "self.dim", "0"),
        ("def f(self, x):\n    return F.dropout(x, 0.1, self.training).t()\n", ".t()", ".mT"),
        ("def f(x, a):\n    y = x if a else x.t()\n    return y\n", "x.t()", "x.mT"),
        ("def f(x, a):\n    return [y.t() for y in x if a]\n", "y.t()", "y.mT"),
        ("def f(x):\n    nonlocal y\n    y = x.t()\n", "x.t()", "x.mT"),
        ("a = 1\n\ndef f(x):\n    return x\n", "a = 1", "a = 2"),
    ],
    ids=[
        "attribute",
        "yield",
        "eval",
        "other call",
        "other names",
        "fewer names",
        "mode",
        "branch",
        "filter",
        "nonlocal",
        "no function",
    ],
)
def test_what_cannot_run_alone_has_no_region(source: str, old: str, new: str) -> None:
    after = source.replace(old, new)
    if "z = " in after:
        after, source = after.replace("return y", "return y, z"), source.replace("return y", "return y, z")
    with pytest.raises(regions.NoRegion):
        regions.lifted(Job("a.py", source, after, ("f",), "equivalent"), 0)


def test_what_the_file_names_itself_is_no_library() -> None:
    text = _regions(
        """
        try:
            from einops import rearrange
        except ImportError:
            from .own import rearrange

        def max(*sizes):
            return sizes[0]

        def f(x):
            return rearrange(x, "a b -> b a").view(max(1, 2)).unbind(0)
        """,
        "unbind(0)",
        "unbind(1)",
    )
    assert "einops" not in text
    assert text.startswith("def region(")


def test_what_a_loop_hands_to_its_next_turn_is_a_result() -> None:
    text = _regions("def f(x):\n    for _ in range(3):\n        x = x.unbind(0)[0]\n", "unbind(0)", "unbind(1)")
    assert "return (x, _passed,)" in text


# Attention whose class can't be built: what it is made of comes from a package that is not there.
UNBUILDABLE = """
import torch
from torch import nn
from no_such_package import plan


class Attention(nn.Module):
    def __init__(self, mesh):
        super().__init__()
        made = plan(mesh)
        self.num_heads, self.head_dim, self.all_head_size = made.heads, made.head_dim, made.size
        self.qkv, self.out_proj = made.linear(3), made.linear(1)

    def forward(self, job):
"""
PERMUTED = """        q, k, v = job.q(), job.k(), job.v()
        context = torch.matmul(torch.softmax(torch.matmul(q, k.transpose(-1, -2)), -1), v)
        context = context.permute(0, 2, 1, 3)
        new_shape = context.size()[:-2] + (self.all_head_size,)
        context = context.view(new_shape)
        return self.out_proj(context)
"""
PACKED = """        x = job.x()
        b, t, c = x.shape
        qkv = self.qkv(x).view(b, t, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.out_proj(y)
"""
PRODUCT = """        q, k, v = job.q(), job.k(), job.v()
        b, t, c = job.shape
        w = (q @ k.transpose(-2, -1)).softmax(-1)
        y = (w @ v).transpose(1, 2).view(b, t, c)
        return self.out_proj(y)
"""
SEQUENCE_FIRST = """        q, k, v = job.q(), job.k(), job.v()
        t, b, e = q.shape
        q = q.view(t, b * self.num_heads, self.head_dim).transpose(0, 1)
        k = k.view(-1, b * self.num_heads, self.head_dim).transpose(0, 1)
        v = v.view(-1, b * self.num_heads, self.head_dim).transpose(0, 1)
        y = torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)), -1), v)
        y = y.transpose(0, 1).view(t, b, e)
        return self.out_proj(y)
"""


@pytest.mark.parametrize(
    ("body", "old", "right", "wrong", "relation"),
    [
        (PERMUTED, "context.view(", "context.contiguous().view(", "context.mT.contiguous().view(", "repaired"),
        (PACKED, "qkv.unbind(0)", "qkv[0], qkv[1], qkv[2]", "qkv[0], qkv[2], qkv[1]", "equivalent"),
        (PRODUCT, "2).view(", "2).contiguous().view(", "2).flip(0).contiguous().view(", "repaired"),
        (SEQUENCE_FIRST, "y.transpose(0, 1)", "y.transpose(0, 1).contiguous()", "y.neg().mT", "repaired"),
    ],
    ids=["permuted", "packed", "product", "sequence first"],
)
def test_shapes_come_from_the_views_that_the_statements_make(
    check: Check, body: str, old: str, right: str, wrong: str, relation: str
) -> None:
    verdict = check(UNBUILDABLE + body, old, right, "Attention.forward", relation, alone=True)
    assert (verdict.verdict, verdict.harness) == ("validated", "region"), verdict.reason
    assert check(UNBUILDABLE + body, old, wrong, "Attention.forward", relation, alone=True).verdict == "not exercised"
