"""Attention functions of other packages: what they make of their shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.files import decode
from mha_lint.linter import lint
from mha_lint.settings import Settings

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


LOOKED_UP = [
    "attend[self.config.kind]",
    "attend.get_interface(self.config.kind, eager)",
    "attend.get(self.config.kind)",
]
TABLE = ("transformers.modeling_utils", "ALL_ATTENTION_FUNCTIONS")
EAGER = """


def eager(module, query, key, value, mask, dropout=0.0, scaling=None):
    w = (query @ key.transpose(2, 3) * scaling).softmax(-1)
    return (w @ value).transpose(1, 2), w
"""


@pytest.mark.parametrize("function", LOOKED_UP)
def test_functions_of_transformers_take_heads_first_and_give_them_side_by_side(function: str) -> None:
    turned = f"{SPLIT}        q, k, v = (x.transpose(1, 2) for x in (q, k, v))\n        run = {function}\n"
    called = f"{turned}        y, w = run(self, q, k, v, None, dropout=0.0, scaling={{scaling}})\n"
    right, wrong = "(c // self.heads) ** -0.5", "c ** -0.5"
    merged = called.format(scaling=right) + "        return self.proj(y.reshape(b, t, c))\n" + EAGER
    assert of(TABLE, merged) == []
    assert "MHA003" in of(TABLE, called.format(scaling=right) + "        return y.reshape(b, t, c)\n" + EAGER)
    again = "        return self.proj(y.transpose(1, 2).reshape(b, t, c))\n" + EAGER
    assert "MHA101" in of(TABLE, called.format(scaling=right) + again)
    scaled = called.format(scaling=wrong) + "        return self.proj(y.reshape(b, t, c))\n" + EAGER
    assert "MHA104" in of(TABLE, scaled)


def test_attention_of_diffusers_takes_what_torchs_own_takes() -> None:
    kernel = ("diffusers.models.attention_dispatch", "dispatch_attention_fn")
    end = "        return self.proj(y.reshape(b, t, c))\n"
    future = "        m = torch.ones(t, t, device=x.device).triu(1).bool()\n"
    assert of(kernel, f"{SPLIT}{future}        y = attend(q, k, v, attn_mask=~m)\n{end}") == []
    assert of(kernel, f"{SPLIT}{future}        y = attend(q, k, v, attn_mask=m)\n{end}") == ["MHA106"]
    assert of(kernel, f"{SPLIT}        y = attend(q, k, v, dropout_p=0.1)\n{end}") == ["MHA103"]
    assert of(kernel, f"{SPLIT}        y = attend(q, k, v)\n        return y.reshape(b, t, c)\n") == ["MHA003"]


TURNED = f"{SPLIT}        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)\n"
GIVEN = f"{HEAD}{TURNED}        return self.proj(attend(q, k, v).transpose(1, 2).reshape(b, t, c))\n"


@pytest.mark.parametrize("module", ["..attention_dispatch", "diffusers.models.attention_dispatch"])
def test_a_kernel_is_known_by_its_relative_name_too(module: str) -> None:
    assert codes(GIVEN.format(module=module, function="dispatch_attention_fn")) == ["MHA115"]
    assert codes(GIVEN.format(module=module, function="another")) == []


def test_a_kernel_is_known_in_the_project_that_defines_it(tmp_path: Path) -> None:
    package = tmp_path / "flash_attn"
    package.mkdir()
    (package / "__init__.py").write_text("from flash_attn.flash_attn_interface import flash_attn_func\n")
    (package / "flash_attn_interface.py").write_text(
        "def flash_attn_func(q, k, v):\n    return Kernel.apply(q, k, v)\n"
    )
    path = package / "layer.py"
    path.write_text(GIVEN.format(module="flash_attn", function="flash_attn_func"))
    found = lint(decode(path, path.read_bytes()), Settings(select=("MHA115",))).findings
    assert [finding.code for finding in found] == ["MHA115"]
