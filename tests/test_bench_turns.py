"""``--bench``: numbers that limit the tokens grow with them, and presets take turns. Runs real torch."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LIMITED = """import math

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, width=32, heads=4, longest=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.register_buffer("past", torch.tril(torch.ones(longest, longest, dtype=torch.bool)))

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in (q, k, v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(~self.past[:t, :t], float("-inf"))
        context = scores.softmax(dim=-1) @ v
        return self.out(context.transpose(1, 2).reshape(b, t, c))
"""
TABLE = LIMITED.replace(
    "        self.register_buffer",
    "        self.places = nn.Parameter(torch.zeros(longest, width))\n        self.register_buffer",
).replace("self.qkv(x)", "self.qkv(x + self.places[:t])")
REQUIRED = LIMITED.replace("self, width=32, heads=4, longest=4", "self, longest, width=32, heads=4")
SMALL_FOR_GOOD = LIMITED.replace("        b, t, c = x.shape\n", "        b, t, c = x.shape\n        assert t <= 4\n")


def bench_of(folder: Path, text: str, *options: str) -> dict[str, Any]:
    (folder / "attention.py").write_text(text, encoding="utf-8")
    always = ("--isolated", "--no-cache", "--device", "cpu", "--diff", "--bench", "--select", "MHA201")
    command = [sys.executable, "-m", "mha_lint", *always, *options, "--output-format", "json", "attention.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    (finding,) = json.loads(done.stdout)["findings"]
    bench: dict[str, Any] = finding["bench"]
    return bench


@pytest.mark.parametrize("text", [LIMITED, TABLE, REQUIRED], ids=["mask", "table", "without a default"])
def test_a_number_that_limits_the_tokens_grows_with_them(text: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    bench = bench_of(tmp_path, text, "--bench-shapes", "2x48")
    assert {shape for each in bench["timed"] for shape in each["shapes"]} == {"x: (2, 48, 32)"}
    assert "longest=48" in bench["called"]


def test_a_number_is_not_raised_where_that_does_not_help(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    bench = bench_of(tmp_path, SMALL_FOR_GOOD, "--bench-shapes", "2x48")
    assert all(", 4, 32)" in shape for each in bench["timed"] for shape in each["shapes"])
    assert "longest=48" not in bench["called"]


class _Turns:
    """What is measured, in order, with a clock that ends after so many turns; half of it is too close to tell."""

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.order: list[tuple[str, str, str, int]] = []  # dtype, way, preset, and how often it was measured

    def is_over(self) -> bool:
        return len(self.order) >= self.turns


def measured(turns: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[tuple[str, str, str, int]], Any]:
    from mha_lint.bench import measuring, memory, timing
    from mha_lint.bench.wanted import presets

    clock = _Turns(turns)
    asked: list[tuple[str, str, str]] = []

    def close(calls: Any, device: str, is_over: Any, *, again: bool = False) -> list[list[float]]:
        return [[1.2] * 5, [1.0] * 5]

    def ready(self: Any, at: Any, fitted: Any, modules: Any, way: str) -> list[Any]:
        asked.append((at.dtype_name, way, at.preset.name))
        clock.order.append((*asked[-1], asked.count(asked[-1])))
        return [type("Call", (), {"shapes": (), "__call__": lambda self: None})() for _ in range(2)]

    class Built:
        def describe(self) -> str:
            return "Attention()"

    built: Any = Built()
    monkeypatch.setattr(measuring._Measuring, "_ready", ready)
    monkeypatch.setattr(measuring._Measuring, "_sized", lambda self, at: measuring._Sized(built, {}))
    monkeypatch.setattr(measuring._Measuring, "_fitted", lambda self, at, built: built)
    monkeypatch.setattr(measuring._Measuring, "_put_away", lambda self, at, built: None)
    monkeypatch.setattr(memory, "peak", lambda call, device: 0)
    monkeypatch.setattr(timing, "in_turns", close)
    found = measuring._Measured()
    nothing: Any = None
    measuring._Measuring(nothing, nothing, nothing, print, found, presets("cuda", ())).measure(
        "cuda", clock.is_over, compiled=False
    )
    return clock.order, found


def test_each_size_is_measured_in_a_way_before_any_is_in_the_next_and_all_before_one_is_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    order, found = measured(100, monkeypatch)
    once = [*itertools.product(("bfloat16", "float32"), ("forward", "training"), ("small", "medium", "large"))]
    assert [turn[:3] for turn in order] == once * 2
    assert [turn[3] for turn in order] == [1] * 12 + [2] * 12
    assert found.left == []
    assert {each.before.measurements for each in found.timed} == {10}
    assert [each.preset for each in found.timed] == ["small"] * 4 + ["medium"] * 4 + ["large"] * 4


def test_where_time_is_short_each_size_has_its_first_turn_and_what_is_left_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    order, found = measured(4, monkeypatch)
    assert [turn[2] for turn in order] == ["small", "medium", "large", "small"]
    late = [(each.dtype, each.way, each.preset) for each in found.left if each.why == "no time was left"]
    assert len(late) == 8
    assert ("bfloat16", "training", "large") in late
    again = [each.preset for each in found.left if each.why == "no time was left to measure it once more"]
    assert again == ["small", "medium", "large", "small"]
