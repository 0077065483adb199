"""Attention functions of other packages: what they make of their shapes."""

from __future__ import annotations

import pytest

from .linting import codes

HEAD = """\
import torch
from torch import nn
from {module} import {function} as attend


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        qkv = self.qkv(x).view(b, t, 3, self.heads, c // self.heads)
"""
TOKENS_FIRST = [
    ("flash_attn", "flash_attn_func"),
    ("flash_attn.flash_attn_interface", "flash_attn_func"),
    ("xformers.ops", "memory_efficient_attention"),
]
SPLIT = "        q, k, v = qkv.unbind(2)\n"


def of(kernel: tuple[str, str], body: str) -> list[str]:
    module, function = kernel
    return codes(HEAD.format(module=module, function=function) + body)


@pytest.mark.parametrize("kernel", TOKENS_FIRST)
def test_kernels_that_take_tokens_first_give_a_context_whose_heads_lie_side_by_side(kernel: tuple[str, str]) -> None:
    assert of(kernel, f"{SPLIT}        return self.proj(attend(q, k, v).reshape(b, t, c))\n") == []
    assert of(kernel, f"{SPLIT}        return attend(q, k, v).reshape(b, t, c)\n") == ["MHA003"]
    turned = f"{SPLIT}        return self.proj(attend(q, k, v).transpose(1, 2).reshape(b, t, c))\n"
    assert of(kernel, turned) == ["MHA101"]


@pytest.mark.parametrize("kernel", TOKENS_FIRST)
def test_the_scale_that_a_kernel_is_given_is_told_of(kernel: tuple[str, str]) -> None:
    name = "scale" if kernel[0] == "xformers.ops" else "softmax_scale"
    for width, expected in (("c", ["MHA104"]), ("(c // self.heads)", [])):
        scaled = f"{SPLIT}        y = attend(q, k, v, {name}={width} ** -0.5)\n"
        body = f"{scaled}        return self.proj(y.reshape(b, t, c))\n"
        assert of(kernel, body) == expected


def test_packed_projections_are_attended_to_at_once() -> None:
    kernel = ("flash_attn", "flash_attn_qkvpacked_func")
    assert of(kernel, "        return attend(qkv).reshape(b, t, c)\n") == ["MHA003"]
    assert of(kernel, "        return self.proj(attend(qkv).reshape(b, t, c))\n") == []


def test_flex_attention_takes_heads_first() -> None:
    kernel = ("torch.nn.attention.flex_attention", "flex_attention")
    body = "        q, k, v = (each.transpose(1, 2) for each in qkv.unbind(2))\n"
    assert of(kernel, f"{body}        return self.proj(attend(q, k, v).reshape(b, t, c))\n") == ["MHA101"]
    assert of(kernel, f"{body}        return self.proj(attend(q, k, v).transpose(1, 2).reshape(b, t, c))\n") == []
