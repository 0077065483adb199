"""Linting one text: what is read, what is refused with one message, and the edits that are offered."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from mha_lint import edits as editing
from mha_lint.files import SourceError, decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.rules import all_rules
from mha_lint.settings import Settings

HEAD = "import torch\nfrom torch import nn\n\n\n"
BODY = "    b, h, t, d = v.shape\n    y = (q @ k.transpose(2, 3)).softmax(-1) @ v\n"


def findings(text: str, **settings: Any) -> list[Finding]:
    return lint(decode(Path("module.py"), text.encode()), Settings(**settings))


def merge(*lines: str) -> str:
    """A function that merges heads in the given lines, ``y`` being (b, h, t, d) and fresh."""
    return HEAD + "def f(q, k, v):\n" + BODY + "".join(f"    {line}\n" for line in lines)


def fixed(text: str, **settings: object) -> str:
    """The text with every offered edit made; it must still be Python."""
    edits = [edit for finding in findings(text, **settings) if finding.fix for edit in finding.fix.edits]
    after = editing.apply(text, edits)
    ast.parse(after)
    return after


@pytest.mark.parametrize(
    ("lines", "after"),
    [
        (["return y.transpose(1, 2).view(b, t, h * d)"], ["return y.transpose(1, 2).contiguous().view(b, t, h * d)"]),
        (["return (y.mT + 1).view(b, -1)"], ["return (y.mT + 1).contiguous().view(b, -1)"]),
        (
            ["return (y := y.transpose(1, 2)).view(b, t, h * d)"],
            ["return (y := y.transpose(1, 2)).contiguous().view(b, t, h * d)"],
        ),
        (
            ["return torch.Tensor.view(y.transpose(1, 2), b, t, h * d)"],
            ["return torch.Tensor.view(y.transpose(1, 2).contiguous(), b, t, h * d)"],
        ),
        (
            ["return (", "    y.transpose(1, 2)", "    .view(b, t, h * d)  # merged", ")"],
            ["return (", "    y.transpose(1, 2)", "    .contiguous()", "    .view(b, t, h * d)  # merged", ")"],
        ),
        (
            ["return (", "    y.transpose(1, 2)  # tokens first", "    .view(b, t, h * d)", ")"],
            ["return (", "    y.transpose(1, 2)  # tokens first", "    .contiguous().view(b, t, h * d)", ")"],
        ),
    ],
    ids=["chain", "sum", "walrus", "function", "a call a line", "comment between"],
)
def test_contiguous_is_inserted_just_before_the_view(lines: list[str], after: list[str]) -> None:
    assert fixed(merge(*lines)) == merge(*after)


def test_option_view_fix_writes_reshape() -> None:
    text = merge("return y.transpose(1, 2).view(b, t, h * d)")
    assert fixed(text, view_fix="reshape") == text.replace(".view(", ".reshape(")


SPLIT = HEAD + "class A(nn.Module):\n    def split(self, x):\n        b, n, c = x.shape\n"


@pytest.mark.parametrize(
    ("lines", "after"),
    [
        (
            ["q, k, v = (", "    x.view(b, n, 3, 4, -1)", "    .permute(2, 0, 3, 1, 4)", ")"],
            ["q, k, v = (", "    x.view(b, n, 3, 4, -1).unbind(2)", ")",
             "q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)"],
        ),
        (
            ["qkv = (x.view(b, n, 3, 4, -1)).permute(2, 0, 1, 3, 4)", "q, k, v = qkv.unbind(0)  # parts"],
            ["qkv = (x.view(b, n, 3, 4, -1))", "q, k, v = qkv.unbind(2)  # parts"],
        ),
        (
            ["qkv = x.view(b, n, 3, -1)", "qkv = qkv.permute(2, 0, 1, 3)", "q, k, v = torch.unbind(qkv)"],
            ["qkv = x.view(b, n, 3, -1)", "q, k, v = torch.unbind(qkv, dim=2)"],
        ),
        (
            ["q, k, v = x.view(b, n, 3, 4, -1).permute(2, 0, 3, 4, 1).unbind(dim=0)"],
            ["q, k, v = x.view(b, n, 3, 4, -1).unbind(dim=2)",
             "q, k, v = q.permute(0, 2, 3, 1), k.permute(0, 2, 3, 1), v.permute(0, 2, 3, 1)"],
        ),
    ],
    ids=["unpacked chain", "parentheses", "a statement that would only rename", "any order"],
)  # fmt: skip
def test_qkv_is_unbound_before_it_is_permuted(lines: list[str], after: list[str]) -> None:
    before, wanted = (
        SPLIT + "".join(f"        {line}\n" for line in [*body, "return q, k, v"]) for body in (lines, after)
    )
    assert fixed(before) == wanted


@pytest.mark.parametrize(
    "lines",
    [
        ["qkv = x.view(b, n, 3, -1).permute(2, 0, 1, 3)", "q, k, v = qkv.unbind(0)", "self.kept = qkv"],
        ["qkv = x.view(b, n, 3, -1).permute(2, 0, 1, 3).contiguous()", "q, k, v = qkv.unbind(0)"],
        ["qkv = x.view(3, b, n, -1)", "q, k, v = qkv.unbind(0)"],
    ],
    ids=["used elsewhere", "copied", "no permute"],
)
def test_qkv_line_is_kept_with_a_reason_where_the_permute_is_needed(lines: list[str]) -> None:
    (finding,) = findings(SPLIT + "".join(f"        {line}\n" for line in [*lines, "return q, k, v"]))
    assert finding.code == "MHA002"
    assert finding.fix is None
    assert 'qkv-split = "index"' in finding.no_fix_reason


def test_index_option_gives_an_inline_tensor_a_name_the_file_does_not_use() -> None:
    lines = ["qkv = 1", "q, k, v = x.view(b, n, 3, -1).permute(2, 0, 1, 3)", "return q, k, v"]
    after = fixed(SPLIT + "".join(f"        {line}\n" for line in lines), qkv_split="index")
    assert "        packed_qkv = x.view(b, n, 3, -1).permute(2, 0, 1, 3)\n" in after
    assert "        q, k, v = packed_qkv[0], packed_qkv[1], packed_qkv[2]\n" in after


@pytest.mark.parametrize(
    "lines",
    [
        ["try:", "    return y.transpose(1, 2).view(b, t, h * d)", "except RuntimeError:", "    return None"],
        ["y = y.transpose(1, 2)", "if t == 1:", "    return y.view(b, 1, h * d)", "return y.reshape(b, t, h * d)"],
        ["y = y.transpose(1, 2).contiguous() if t > 1 else y.transpose(1, 2)", "return y.view(b, t, h * d)"],
        ["y = y.transpose(1, 2)", "if is_tpu:", "    return y.view(b, t, h * d)", "return y.reshape(b, t, h * d)"],
    ],
    ids=["caught", "one token", "more than one token", "no strides on TPU"],
)
def test_view_is_silent_where_the_code_provides_for_it(lines: list[str]) -> None:
    assert findings(merge(*lines)) == []


def test_view_on_a_path_of_its_own_is_found() -> None:
    lines = [
        "y = y.transpose(1, 2)",
        "if output_attentions:",
        "    return y.view(b, t, h * d)",
        "return y.reshape(b, t, -1)",
    ]
    assert [finding.code for finding in findings(merge(*lines))] == ["MHA001"]


@pytest.mark.parametrize(
    "deep",
    ["(" * 5000 + ")" * 5000, "1 + " * 20_000 + "1", "x" + ".b()" * 3000, "-" * 50_000 + "1"],
    ids=["parentheses", "sum", "chain", "signs"],
)
def test_code_nested_beyond_reason_is_one_clear_error(deep: str) -> None:
    with pytest.raises(SourceError, match="nested too deeply"):
        findings(merge("return y.transpose(1, 2).view(b, t, h * d)") + f"z = {deep}\n")


@pytest.mark.parametrize("deep", ["1 + " * 600 + "1", "x" + ".b()" * 200], ids=["sum", "chain"])
def test_long_expressions_do_not_lose_the_file(deep: str) -> None:
    assert [f.code for f in findings(merge("return y.transpose(1, 2).view(b, t, h * d)") + f"z = {deep}\n")] == [
        "MHA001"
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n", "\n    ", "\n\t", "\n\x0c\n", "\n \x0c \n\n"])
def test_white_space_that_the_parser_drops_moves_nothing(end: str, newline: str) -> None:
    text = merge("return y.transpose(1, 2).view(b, t, h * d)") + end
    text = text.replace("def f", "\x0c\ndef f").replace("\n", newline)
    assert fixed(text) == text.replace(".view(", ".contiguous().view(")


def test_channels_that_attend_to_channels_merge_their_heads_too() -> None:
    text = """import torch
import torch.nn as nn


class CrossCovariance(nn.Module):
    def __init__(self, dim, num_heads=8):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, dim * 3)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 4, 1)
        weights = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        return (weights @ v).permute(0, 3, 1, 2).reshape(b, n, c)
"""
    assert "MHA003" in [finding.code for finding in findings(text)]


def many_ways(value: str) -> str:
    """Attention with more ways through it than can be followed, and a fill at its end."""
    switches = range(30)
    given = ", ".join(f"switch_{n}" for n in switches)
    kept = "".join(f"        self.switch_{n} = switch_{n}\n" for n in switches)
    turns = "".join(
        f"        if number > {n}:\n            q = q.view(q.shape) * {n + 2}\n        else:\n            k = k + {n}\n"
        for n in range(4)
    )
    ways = "".join(
        f"        if self.switch_{n}:\n            told = self.told(q, k, {n})\n        else:\n            q = q + 1\n"
        for n in switches
    )
    return f"""
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads, {given}):
        super().__init__()
        self.heads, self.qkv = heads, nn.Linear(dim, 3 * dim)
{kept}
    def told(self, q, k, number):
{turns}        return q @ k.transpose(-2, -1)

    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5
        told = None
{ways}
        scores = scores.masked_fill(mask == 0, {value})
        return (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, t, c), told
"""


@pytest.mark.parametrize(("value", "codes"), [("-1e-9", ["MHA111"]), ("-1e4", [])])
def test_the_end_of_long_code_is_reached_on_one_path(value: str, codes: list[str]) -> None:
    source = decode(Path("m.py"), many_ways(value).encode())
    assert [finding.code for finding in lint(source, Settings().with_selection(("MHA1",), (), ()))] == codes


PACKED = "def f(qkv, order, b, n, c):\n    q, k, v = {packed}.unbind(0)\n    return q, k, v\n"


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (
            "qkv.reshape(b, n, 3, 8, c // 24).permute(2, 0, 3, 1, 4).contiguous()",
            "`.contiguous()` stands between `permute`, which reorders the dimensions, and the unbinding",
        ),
        ("qkv.reshape(b, n, 3, 8, c // 24).permute(2, 0, *order)", "how `permute` reorders the dimensions is not told"),
        ("qkv", "the permute that brings the packed dimension to the front is not visible here"),
    ],
    ids=["behind another call", "by an order that is given", "nowhere"],
)
def test_a_permute_is_called_invisible_only_where_none_is_written(packed: str, reason: str) -> None:
    (found,) = findings(HEAD + PACKED.format(packed=packed), select=frozenset({"MHA002"}))
    assert found.fix is None
    assert reason in (found.no_fix_reason)


def test_no_message_recommends_to_index_which_is_slower() -> None:
    (found,) = findings(HEAD + PACKED.format(packed="qkv"), select=frozenset({"MHA002"}))
    assert (
        'indexing instead (`qkv-split = "index"`) is no faster forward, and slower in training' in found.no_fix_reason
    )


def test_a_contiguous_before_reshape_is_not_said_to_mend_nothing() -> None:
    (found,) = findings(merge("return y.transpose(1, 2).contiguous().reshape(b, t, h * d)"))
    assert found.code == "MHA004"
    assert "needs mending" not in found.why
    assert "`.reshape()` copies where no view is possible" in found.why


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("-1e-9", "-1e-9"),
        ("-1E-9", "-1E-9"),
        ("-0.000000001", "-0.000000001"),
        ("-1e9", "-1e9"),
        ("-1e+09", "-1e+09"),
        ("-1_000_000", "-1_000_000"),
        ("NEGATIVE", "-1e9"),
        ('float("-1e-09")', "-1e-9"),
        ("-1e10", "-1e10"),
    ],
)
def test_numbers_are_shown_as_they_are_written(value: str, shown: str) -> None:
    text = HEAD + "NEGATIVE = -1e9\n\n\ndef f(q, k, v, mask):\n    s = (q @ k.transpose(2, 3)).masked_fill(mask, {})\n"
    text = text.format(value) + "    return s.softmax(-1) @ v\n"
    (found,) = [finding for finding in findings(text) if finding.code in ("MHA108", "MHA111")]
    assert f" with {shown}, " in found.message


def test_a_new_projection_is_announced_as_unsafe() -> None:
    (rule,) = [rule for rule in all_rules() if rule.code == "MHA003"]
    assert rule.applicability == "unsafe"
    assert "fix: unsafe" in (rule.__doc__ or "")
