"""Conditions on a caller's locals hold in the helpers that it calls, and those of a helper after it returned."""

import pytest

from tests.model.linting import codes

HEAD = """import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads, dropout=0.1):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        return self.attend(x, self.dropout, training=self.training)

    def heads_of(self, x):
        b, t, c = x.shape
        return (y.reshape(b, t, self.heads, c // self.heads).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))

"""
WEIGH = """
    def weigh(self, q, k, v, dropout_p=0.0):
        weights = F.softmax(q @ k.transpose(-2, -1) * q.size(-1) ** -0.5, dim=-1)
        weights = F.dropout(weights, p=dropout_p)
        return weights @ v
"""
FUNCTION = """

def weigh(q, k, v, dropout_p=0.0):
    weights = F.softmax(q @ k.transpose(-2, -1) * q.size(-1) ** -0.5, dim=-1)
    weights = F.dropout(weights, p=dropout_p)
    return weights @ v
"""
ATTEND = """    def attend(self, x, dropout_p, training=True):
        q, k, v = self.heads_of(x)
"""
END = """        b, h, t, d = y.shape
        return self.out(y.transpose(1, 2).reshape(b, t, h * d))
"""


def attend(*lines: str, tail: str = WEIGH) -> str:
    """An attention whose method ``attend`` holds the lines, and calls what ``tail`` adds."""
    return HEAD + ATTEND + "".join(f"        {line}\n" for line in lines) + END + tail


GATED = {
    "zeroed in the caller": attend("if not training:", "    dropout_p = 0.0", "y = self.weigh(q, k, v, dropout_p)"),
    "chosen in the caller": attend("dropout_p = dropout_p if training else 0.0", "y = self.weigh(q, k, v, dropout_p)"),
    "chosen in the argument": attend("y = self.weigh(q, k, v, dropout_p if training else 0.0)"),
    "returned early": attend(
        "if not training:", "    return self.weigh(q, k, v)", "y = self.weigh(q, k, v, dropout_p)"
    ),
    "times float(training)": attend("dropout_p = dropout_p * float(training)", "y = self.weigh(q, k, v, dropout_p)"),
    "times training": attend("dropout_p = dropout_p * training", "y = self.weigh(q, k, v, dropout_p)"),
    "times int(training)": attend("dropout_p *= int(training)", "y = self.weigh(q, k, v, dropout_p)"),
    "and, or": attend("dropout_p = training and dropout_p or 0.0", "y = self.weigh(q, k, v, dropout_p)"),
    "passed by keyword": attend(
        "if not training:", "    dropout_p = 0.0", "y = self.weigh(q, k, v, dropout_p=dropout_p)"
    ),
    "passed in a dictionary": attend(
        "if not training:", "    dropout_p = 0.0", "y = self.weigh(q, k, v, **dict(dropout_p=dropout_p))"
    ),
    "two helpers": attend(
        "if not training:",
        "    dropout_p = 0.0",
        "y = self.between(q, k, v, rate=dropout_p)",
        tail="""
    def between(self, q, k, v, rate):
        return self.weigh(q, k, v, rate)
"""
        + WEIGH,
    ),
    "zeroed in the first helper": attend(
        "y = self.between(q, k, v, dropout_p, train=training)",
        tail="""
    def between(self, q, k, v, rate, train):
        if not train:
            rate = 0.0
        return self.weigh(q, k, v, rate)
"""
        + WEIGH,
    ),
    "a function": attend("if not training:", "    dropout_p = 0.0", "y = weigh(q, k, v, dropout_p)", tail=FUNCTION),
    "a lambda": attend(
        "if not training:",
        "    dropout_p = 0.0",
        "attend = lambda w: F.dropout(w, p=dropout_p)",
        "y = attend(torch.softmax(q @ k.transpose(-2, -1) * q.size(-1) ** -0.5, dim=-1)) @ v",
        tail="",
    ),
    "a lambda made before": attend(
        "attend = lambda w: F.dropout(w, p=dropout_p)",
        "if not training:",
        "    dropout_p = 0.0",
        "y = attend(torch.softmax(q @ k.transpose(-2, -1) * q.size(-1) ** -0.5, dim=-1)) @ v",
        tail="",
    ),
    "a nested function made before": attend(
        "def drop(w):",
        "    return F.dropout(w, p=dropout_p)",
        "if not training:",
        "    dropout_p = 0.0",
        "y = drop(torch.softmax(q @ k.transpose(-2, -1) * q.size(-1) ** -0.5, dim=-1)) @ v",
        tail="",
    ),
    "a helper gives the rate": attend(
        "y = self.weigh(q, k, v, self.rate(training))",
        tail="""
    def rate(self, training):
        if training:
            return self.dropout
        return 0.0
"""
        + WEIGH,
    ),
    "a helper chooses the rate": attend(
        "y = self.weigh(q, k, v, self.rate(dropout_p, training))",
        tail="""
    def rate(self, rate, training):
        return rate if training else 0.0
"""
        + WEIGH,
    ),
    "a method is chosen": attend(
        "drop = self.drop if training else self.keep",
        "y = drop(torch.softmax(q @ k.transpose(-2, -1) * q.size(-1) ** -0.5, dim=-1)) @ v",
        tail="""
    def drop(self, w):
        return F.dropout(w, self.dropout)

    def keep(self, w):
        return w
""",
    ),
    "a local copy": attend("rate = self.dropout", "if not training:", "    rate = 0", "y = self.weigh(q, k, v, rate)"),
    "a dictionary of the caller": attend(
        "kw = dict(dropout_p=dropout_p if training else 0.0)", "y = self.weigh(q, k, v, **kw)"
    ),
    "another module": attend(
        "if not training:", "    dropout_p = 0.0", "y = self.core(q, k, v, dropout_p)", tail=FUNCTION
    ).replace("self.out = nn", "self.core = Core()\n        self.out = nn")
    + """

class Core(nn.Module):
    def forward(self, q, k, v, rate):
        return weigh(q, k, v, rate)
""",
}
UNGATED = {
    "not zeroed": attend("y = self.weigh(q, k, v, dropout_p)"),
    "zeroed in training": attend("if training:", "    dropout_p = 0.0", "y = self.weigh(q, k, v, dropout_p)"),
    "asked about something else": attend("if len(x) > 1:", "    dropout_p = 0.0", "y = self.weigh(q, k, v, dropout_p)"),
    "asked before for something else": attend(
        "if training:", "    x = x + 1", "y = self.weigh(q, k, v, dropout_p) + x.mean()"
    ),
    "a lambda made before": attend(
        "attend = lambda w: F.dropout(w, p=dropout_p)",
        "y = attend(torch.softmax(q @ k.transpose(-2, -1) * q.size(-1) ** -0.5, dim=-1)) @ v",
        tail="",
    ),
}


@pytest.mark.parametrize("text", GATED.values(), ids=GATED)
def test_a_rate_that_the_caller_zeroes_in_eval_mode_is_no_fault_of_the_helper(text: str) -> None:
    assert codes(text) == []


@pytest.mark.parametrize("text", UNGATED.values(), ids=UNGATED)
def test_a_rate_that_nobody_zeroes_in_eval_mode_is_found_in_the_helper(text: str) -> None:
    assert codes(text) == ["MHA103"]


GUARDED = {
    "MHA106: the mask is inverted for one kind of attention": """import torch
import torch.nn.functional as F
from torch import nn


class A(nn.Module):
    def forward(self, q, k, v, boolean):
        t = q.shape[-2]
        mask = torch.ones(t, t, dtype=torch.bool, device=q.device).triu(1)
        if boolean:
            mask = ~mask
        return self.attend(q, k, v, mask, boolean)

    def attend(self, q, k, v, mask, keeps):
        if keeps:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        s = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        return s.masked_fill(mask, float("-inf")).softmax(-1) @ v
""",
    "MHA107: scores were masked by the caller": """import torch
from torch import nn


class A(nn.Module):
    def forward(self, q, k, v, mask, before):
        s = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        if before:
            s = s.masked_fill(mask == 0, float("-inf"))
        w = s.softmax(-1)
        return self.sums(w, v, mask, before)

    def sums(self, w, v, mask, masked):
        if not masked:
            return w @ v
        w = w.masked_fill(mask == 0, 0.0)
        return w @ v
""",
    "MHA108: a helper asks for the dtype": """import torch
from torch import nn


class A(nn.Module):
    def forward(self, q, k, v, mask):
        s = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        return s.masked_fill(mask, self.low(s.dtype)).softmax(-1) @ v

    def low(self, dtype):
        if dtype == torch.float16:
            return -1e4
        return -1e9
""",
    "MHA108: the caller asks for the dtype": """import torch
from torch import nn


class B(nn.Module):
    def forward(self, q, k, v, mask):
        if q.dtype == torch.float16:
            return self.attend(q, k, v, mask, -1e4)
        return self.attend(q, k, v, mask, -1e9)

    def attend(self, q, k, v, mask, low):
        s = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        return s.masked_fill(mask, low).softmax(-1) @ v
""",
    "MHA109: the caller compares the lengths": """import torch
import torch.nn.functional as F
from torch import nn


class A(nn.Module):
    def forward(self, q, k, v, cache):
        k, v = cache.update(k, v)
        if q.shape[2] == k.shape[2]:
            return self.attend(q, k, v, True)
        return self.attend(q, k, v, False)

    def attend(self, q, k, v, flag):
        return F.scaled_dot_product_attention(q, k, v, is_causal=flag)
""",
    "MHA109: a helper compares the lengths": """import torch
import torch.nn.functional as F
from torch import nn


class B(nn.Module):
    def forward(self, q, k, v, cache):
        k, v = cache.update(k, v)
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.flag(q, k))

    def flag(self, q, k):
        if q.shape[2] == k.shape[2]:
            return True
        return False
""",
    "MHA112: the caller drops the mask": """import torch.nn.functional as F
from torch import nn


class A(nn.Module):
    def forward(self, q, k, v, mask, causal):
        if causal:
            mask = None
        return self.weigh(q, k, v, mask, causal)

    def weigh(self, q, k, v, bias, flag):
        if flag:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=True)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
""",
    "MHA112: the caller asks for the mask": """import torch.nn.functional as F
from torch import nn


class B(nn.Module):
    def forward(self, q, k, v, mask, use_mask):
        if use_mask:
            return self.weigh(q, k, v, mask, False)
        return self.weigh(q, k, v, mask, True)

    def weigh(self, q, k, v, bias, flag):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=flag)
""",
    "MHA112: a helper asks whether there is a mask": """import torch.nn.functional as F
from torch import nn


class C(nn.Module):
    def forward(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.flag(mask))

    def flag(self, m):
        if m is None:
            return True
        return False
""",
    "MHA112: the caller asks whether there is a mask": """import torch.nn.functional as F
from torch import nn


class D(nn.Module):
    def forward(self, q, k, v, mask):
        if mask is None:
            return self.attend(q, k, v, mask, True)
        return self.attend(q, k, v, mask, False)

    def attend(self, q, k, v, m, flag):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=m, is_causal=flag)
""",
}
UNGUARDED = {
    "MHA106": GUARDED["MHA106: the mask is inverted for one kind of attention"].replace(
        "if boolean:", "if not boolean:"
    ),
    "MHA107": GUARDED["MHA107: scores were masked by the caller"].replace("if before:", "if not before:"),
    "MHA108": GUARDED["MHA108: the caller asks for the dtype"].replace("q.dtype == torch.float16", "q.is_cuda"),
    "MHA109": GUARDED["MHA109: the caller compares the lengths"].replace("q.shape[2] == k.shape[2]", "self.causal"),
    "MHA112": GUARDED["MHA112: the caller drops the mask"].replace("if causal:", "if not causal:"),
}


@pytest.mark.parametrize("text", GUARDED.values(), ids=GUARDED)
def test_a_guard_that_another_function_has_holds(text: str) -> None:
    assert codes(text) == []


@pytest.mark.parametrize("code", UNGUARDED)
def test_what_another_function_does_not_guard_is_found(code: str) -> None:
    assert code in codes(UNGUARDED[code])


NESTED = """def f(v):
    b, h, t, d = v.shape
    v = v.contiguous()
    y = {before}
{merge}
    y = {after}
    return merge()
"""


@pytest.mark.parametrize(
    "merge",
    ["    merge = lambda: y.view(b, t, h * d)\n", "    def merge():\n        return y.view(b, t, h * d)\n"],
    ids=["lambda", "nested function"],
)
def test_a_nested_function_reads_the_variables_as_they_are_when_it_is_called(merge: str) -> None:
    head = "import torch\n"
    assert codes(head + NESTED.format(before="v", merge=merge, after="y.transpose(1, 2)")) == ["MHA001"]
    assert codes(head + NESTED.format(before="v.transpose(1, 2)", merge=merge, after="y.contiguous()")) == []
