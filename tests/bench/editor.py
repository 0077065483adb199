"""How long an editor waits for the language server: a real client types, hovers, and measures.

    python tests/bench/editor.py [--between SECONDS] [FILE …]

Keystrokes are those of a line that is typed, letter by letter, behind a random statement of a random function, and
deleted again. The clock runs from the notification of the change to the diagnostics of that version. Nothing is
hurried: the next key is pressed some time after the diagnostics are there. Some of such texts are no Python; those are
told apart.
Beside the time on the clock stands the time that the server had the processor for, which tells on a machine with other
work what a quiet one would take.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from lsprotocol import types

from tests.lsp.client import Client, connected

KEYS = 60
HOVERS = 40
TYPED = ("k = k.transpose(1, 2)", "x = self.norm(x) * 0.5  # half", "if mask is not None: scores = scores + mask")

CLASS = '''

class Attention{n}(nn.Module):
    """Multi-head attention over (b, t, c)."""

    def __init__(self, width: int, heads: int, dropout: float = 0.1):
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask=None):
        b, t, c = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q.view(b, t, self.heads, self.head_width).transpose(1, 2)
        k = k.view(b, t, self.heads, self.head_width).transpose(1, 2)
        v = v.view(b, t, self.heads, self.head_width).transpose(1, 2)
        {attend}
        y = y.transpose(1, 2){copy}.{merge}(b, t, c)
        return self.dropout(self.out_proj(y))
'''
FEW = ("y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)", ".contiguous()", "view")
MANY = ("y = torch.softmax(q @ k.transpose(-2, -1), dim=-1) @ v", "", "view")


def written(kind: tuple[str, str, str], lines: int = 1000) -> str:
    """A file of attention; of the few findings that it has the first class has all."""
    text, n = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n", 0
    while text.count("\n") < lines:
        attend, copy, merge = MANY if n == 0 else kind
        text += CLASS.format(n=n, attend=attend, copy=copy, merge=merge)
        n += 1
    return text


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _places(text: str) -> list[tuple[int, str]]:
    """The rows behind simple statements of functions, with the indentation there."""
    found = []
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef):
            for statement in function.body[:-1]:
                if isinstance(statement, (ast.Assign, ast.Expr)):
                    found.append((statement.end_lineno or 0, " " * statement.col_offset))
    return found


def _on_processor(client: Client) -> float:
    """Milliseconds that the threads of the server have run for; 0 where the system does not tell."""
    process = client._server
    assert process is not None
    total = 0
    for file in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(file.read_text().split()[0])
    return total / 1e6


class Typist:
    def __init__(self, client: Client, uri: str, text: str, between: float) -> None:
        self.client, self.uri, self.text, self.between = client, uri, text, between
        self.waited: dict[bool, list[float]] = {True: [], False: []}  # in milliseconds, by whether it is Python
        self.ran: dict[bool, list[float]] = {True: [], False: []}

    async def type(self, keys: int, randomly: random.Random) -> None:
        places = _places(self.text)
        rows = self.text.splitlines(keepends=True)
        while keys > 0:
            row, indent = randomly.choice(places)
            line = f"{indent}{randomly.choice(TYPED)}\n"
            await self._change(row, 0, row, 0, "\n", rows, [*rows[:row], "\n", *rows[row:]])
            for end in range(len(indent), len(line) - 1):
                new = [*rows[:row], line[: end + 1] + "\n", *rows[row:]]
                start = 0 if end == len(indent) else end
                is_python = await self._change(row, start, row, start, line[start : end + 1], rows, new)
                keys -= is_python is not None
            await self._change(row, 0, row + 1, 0, "", rows, rows)

    async def _change(
        self, row: int, column: int, to_row: int, to: int, content: str, old: Sequence[str], new: Sequence[str]
    ) -> bool:
        span = types.Range(types.Position(row, column), types.Position(to_row, to))
        is_python = _is_python("".join(new))
        ran, begun = _on_processor(self.client), time.perf_counter()
        version = self.client.change(self.uri, types.TextDocumentContentChangePartial(span, content))
        await self.client.pushed(self.uri, version)
        self.waited[is_python].append(1000 * (time.perf_counter() - begun))
        self.ran[is_python].append(_on_processor(self.client) - ran)
        await asyncio.sleep(self.between)
        return is_python


async def measure(name: str, path: Path, text: str, folder: Path, between: float) -> None:
    randomly = random.Random(0)
    async with connected(folder) as client:
        uri = client.open(path, text)
        findings = await client.pushed(uri)
        typist = Typist(client, uri, text, between)
        await typist.type(20, randomly)  # warm
        typist.waited, typist.ran = {True: [], False: []}, {True: [], False: []}
        await typist.type(KEYS, randomly)
        rows = text.splitlines()
        await client.hovered(uri, 0, 0)  # the shapes of this version are there now
        hovers = []
        for _ in range(HOVERS):
            row = randomly.randrange(len(rows))
            begun = time.perf_counter()
            await client.hovered(uri, row, min(len(rows[row]), 12))
            hovers.append(1000 * (time.perf_counter() - begun))
        print(f"{name}: {len(rows)} lines, {len(findings)} findings; load {os.getloadavg()[0]:.1f}")
        for label, times in (
            ("  key → diagnostics, Python", typist.waited[True]),
            ("  key → diagnostics, no Python", typist.waited[False]),
            ("  key → diagnostics, all", typist.waited[True] + typist.waited[False]),
            ("  processor, Python", typist.ran[True]),
            ("  processor, no Python", typist.ran[False]),
            ("  hover", hovers),
        ):
            _show(label, times)


def _show(label: str, times: list[float]) -> None:
    cuts = statistics.quantiles(times, n=20)
    print(
        f"{label:32} n {len(times):4}  median {statistics.median(times):6.1f} ms  "
        f"p75 {cuts[14]:6.1f}  p95 {cuts[18]:6.1f}  max {max(times):6.1f}"
    )


async def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("files", nargs="*", metavar="FILE", help="measured besides two files that are made")
    made.add_argument("--between", type=float, default=0.05, help="seconds before the next key (default: 0.05)")
    options = made.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, kind in (("few findings", FEW), ("many findings", MANY)):
            await measure(name, folder / "attention.py", written(kind), folder, options.between)
        for file in options.files:
            path = Path(file).absolute()
            await measure(path.name, path, path.read_text(), path.parent, options.between)


if __name__ == "__main__":
    asyncio.run(main())
