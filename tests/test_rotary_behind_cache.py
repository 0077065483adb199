"""MHA119 and caches of keys: what is told, what is left alone since it is meant so, and what is mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.settings import Settings

HEAD = """import torch
import torch.nn.functional as F
from torch import nn


def half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


def turned(x, cos, sin):
    return x * cos + half(x) * sin


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.mem_k = nn.Parameter(torch.zeros(1, heads, 4, self.d))
        angles = torch.outer(torch.arange(512).float(), 10000 ** (-torch.arange(0, self.d, 2) / self.d))
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.k_cache = torch.zeros(8, heads, 512, self.d)

    def split(self, x):
        b, t, _ = x.shape
        return x.view(b, t, self.heads, self.d).transpose(1, 2)

"""
MADE = (
    "        b, t, _ = x.shape\n        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))\n"
)
JOINED = (
    "        if past is not None:\n            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)\n"
)
FROM_ZERO = "        q, k = turned(q, self.cos[:t], self.sin[:t]), turned(k, self.cos[:t], self.sin[:t])\n"
WHOLE = (
    "        n = k.shape[2]\n"
    "        q = turned(q, self.cos[n - t : n], self.sin[n - t : n])\n"
    "        k = turned(k, self.cos[:n], self.sin[:n])\n"
)
END = (
    "        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, -1)\n        return self.o(y), "
)


def found(*lines: str, signature: str = "x, past=None") -> list[Finding]:
    """The findings in a class whose forward has these lines."""
    text = HEAD + f"    def forward(self, {signature}):\n" + MADE + "".join(lines)
    settings = Settings(select=("MHA119",))
    return list(lint(decode(Path("attention.py"), text.encode()), settings).findings)


def test_positions_from_zero_behind_a_cache_are_told() -> None:
    (finding,) = found(FROM_ZERO, JOINED, END + "(k, v)\n")
    assert "new keys begin at 0" in finding.message


def test_cached_keys_that_are_rotated_again_are_told() -> None:
    (finding,) = found(JOINED, WHOLE, END + "(k, v)\n")
    assert "once more" in finding.message


def test_tables_that_are_handed_in_rotate_the_cached_keys_again_all_the_same() -> None:
    (finding,) = found(
        JOINED, "        q, k = q, turned(k, cos, sin)\n", END + "(k, v)\n", signature="x, cos, sin, past=None"
    )
    assert "once more" in finding.message


def test_keys_that_are_kept_bare_and_rotated_whole_are_right() -> None:
    assert found(JOINED, "        present = k, v\n", WHOLE, END + "present\n") == []


def test_rotated_keys_that_are_handed_back_beside_the_bare_ones_are_left_alone() -> None:
    assert found(JOINED, "        present = k, v\n", WHOLE, END + "present, k\n") == []


def test_queries_from_zero_are_told_where_the_bare_keys_are_kept_and_counted_whole() -> None:
    whole = WHOLE.replace("self.cos[n - t : n], self.sin[n - t : n]", "self.cos[:t], self.sin[:t]")
    (finding,) = found(JOINED, "        present = k, v\n", whole, END + "present\n")
    assert "positions of the queries begin at 0" in finding.message


@pytest.mark.parametrize(
    "positions",
    [
        "self.cos[start : start + t], self.sin[start : start + t]",  # handed in from outside
        "self.cos[ids], self.sin[ids]",
        "self.cos[-t:], self.sin[-t:]",  # counted from the end
    ],
)
def test_positions_that_are_not_known_to_begin_at_zero_are_left_alone(positions: str) -> None:
    new = FROM_ZERO.replace("self.cos[:t], self.sin[:t]", positions)
    assert found(new, JOINED, END + "(k, v)\n", signature="x, start=0, ids=None, past=None") == []


def test_a_cache_that_nobody_keeps_is_left_alone() -> None:
    """Nothing that the class returns, or keeps under such a name, holds the keys."""
    assert found(FROM_ZERO, JOINED, END + "None\n") == []


def test_learned_keys_before_those_of_the_tokens_are_no_cache() -> None:
    learned = "        k = torch.cat((self.mem_k.expand(b, -1, -1, -1), k), dim=2)\n"
    assert found(FROM_ZERO, learned, END + "(k, v)\n") == []


def test_what_is_not_named_as_a_cache_is_left_alone() -> None:
    """The keys of another layer, or of a context, have positions of their own."""
    joined = JOINED.replace("past", "others")
    assert found(FROM_ZERO, joined, END + "(k, v)\n", signature="x, others=None") == []


def test_keys_of_which_a_part_is_taken_after_they_were_rotated_are_left_alone() -> None:
    """The whole sequence is rotated at its positions, and the newest token is put behind the cache."""
    assert (
        found(FROM_ZERO, "        q, k, v = q[:, :, -1:], k[:, :, -1:], v[:, :, -1:]\n", JOINED, END + "(k, v)\n") == []
    )


def test_a_cache_of_an_unknown_class_is_left_alone() -> None:
    assert found(FROM_ZERO, "        k, v = past.update(k, v, 0)\n", END + "(k, v)\n") == []


def test_a_path_on_which_the_positions_fit_silences_the_join() -> None:
    """The flag that shifts the tables may be set wherever there is a cache."""
    tables = (
        "        cos, sin = self.cos[:t], self.sin[:t]\n"
        "        if shifted:\n"
        "            cos, sin = self.cos[start:], self.sin[start:]\n"
    )
    new = FROM_ZERO.replace("self.cos[:t], self.sin[:t]", "cos, sin")
    assert found(tables, new, JOINED, END + "(k, v)\n", signature="x, shifted, start, past=None") == []


def test_keys_that_are_written_behind_others_are_told() -> None:
    written = "        self.k_cache[:b, :, start : start + t] = k\n        k = self.k_cache[:b, :, : start + t]\n"
    (finding,) = found(FROM_ZERO, written, END + "None\n", signature="x, start")
    assert "new keys begin at 0" in finding.message
    assert finding.fix is not None
    assert any("offset = start" in edit.content for edit in finding.fix.edits)


def test_keys_that_are_written_from_the_first_row_on_are_left_alone() -> None:
    assert found(FROM_ZERO, "        self.k_cache[:b, :, :t] = k\n", END + "None\n", signature="x") == []


def test_a_fix_says_what_it_lacks() -> None:
    """The cache is given a new value before it is joined, so its length is not known where the tables are cut."""
    (finding,) = found(FROM_ZERO, "        past = self.trimmed(past)\n", JOINED, END + "(k, v)\n")
    assert finding.fix is None
    assert "how many tokens the cache holds" in (finding.no_fix_reason or "")


def test_an_offset_takes_a_name_that_is_free() -> None:
    (finding,) = found("        offset = 1\n", FROM_ZERO, JOINED, END + "(k, v)\n")
    assert finding.fix is not None
    assert any("past_length = past[0].shape[2]" in edit.content for edit in finding.fix.edits)
