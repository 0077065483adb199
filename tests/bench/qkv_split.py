"""Times three ways to split a packed QKV projection: the figures behind MHA002.

    python tests/bench/qkv_split.py [--device cuda] [--dtype bfloat16] [--compile]

A whole attention module (projection, split, scaled_dot_product_attention, output projection), forward and forward +
backward. The ways are interleaved in each round; a figure is the median over rounds of the time against ``.unbind(0)``
in the same round.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

SHAPES = (
    (8, 197, 12, 64),
    (32, 197, 12, 64),
    (4, 1024, 16, 64),
    (1, 4096, 16, 128),
    (2, 50, 6, 64),
    (8, 2048, 12, 64),
)  # b, n, h, d
WAYS = ("unbind(0)", "index", "unbind first")


class Attention(nn.Module):
    """Self-attention over (b, n, h * d) with one of three ways to take q, k and v, (b, h, n, d) each, apart."""

    def __init__(self, heads: int, width: int, way: str) -> None:
        super().__init__()
        self.heads, self.way = heads, way
        self.qkv = nn.Linear(heads * width, 3 * heads * width)
        self.proj = nn.Linear(heads * width, heads * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).view(b, n, 3, self.heads, c // self.heads)
        if self.way == "unbind first":
            q, k, v = qkv.unbind(2)
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        else:
            qkv = qkv.permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind(0) if self.way == "unbind(0)" else (qkv[0], qkv[1], qkv[2])
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


def timed(run: Callable[[], object], device: str, repeats: int) -> float:
    """Seconds for ``repeats`` calls."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def ratios(
    shape: tuple[int, int, int, int], device: str, dtype: torch.dtype, rounds: int, backward: bool, compiled: bool
) -> list[float]:
    b, n, h, d = shape
    torch._dynamo.reset()  # one function is compiled eight times at most
    x = torch.randn(b, n, h * d, device=device, dtype=dtype, requires_grad=backward)
    calls: list[Callable[[], object]] = []
    for way in WAYS:
        plain = Attention(h, d, way).to(device, dtype)
        module = torch.compile(plain, dynamic=False) if compiled else plain

        def train(module: Callable[[torch.Tensor], torch.Tensor] = module) -> None:
            module(x).sum().backward()

        def infer(module: Callable[[torch.Tensor], torch.Tensor] = module) -> None:
            with torch.no_grad():
                module(x)

        calls.append(train if backward else infer)
    repeats = 20 if device == "cuda" else 1
    for call in calls:
        timed(call, device, 3)
    times = [[timed(call, device, repeats) for call in calls] for _ in range(rounds)]
    return [statistics.median(row[index] / row[0] for row in times) for index in range(len(WAYS))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype or ("bfloat16" if args.device == "cuda" else "float32"))
    name = torch.cuda.get_device_name() if args.device == "cuda" else platform.machine()
    mode = "compiled" if args.compile else "eager"
    print(f"{name}, torch {torch.__version__}, {str(dtype).removeprefix('torch.')}, {mode}; time against unbind(0)\n")
    print("| b, n, h, d | index, forward | unbind first, forward | index, training | unbind first, training |")
    print("|---|---:|---:|---:|---:|")
    for shape in SHAPES:
        forward = ratios(shape, args.device, dtype, args.rounds, backward=False, compiled=args.compile)
        training = ratios(shape, args.device, dtype, args.rounds, backward=True, compiled=args.compile)
        cells = [f"{forward[1]:.2f}", f"{forward[2]:.2f}", f"{training[1]:.2f}", f"{training[2]:.2f}"]
        print(f"| {', '.join(map(str, shape))} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
