"""Which local variables may still be read after a statement, and that dead ones decide nothing."""

from __future__ import annotations

import ast
import textwrap

import pytest

from mha_lint.validation.trials.liveness import live_after

from .conftest import Check


def live(source: str) -> set[str]:
    """The names that are live after the statement that assigns ``here``."""
    function = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(function, ast.FunctionDef)
    for node in ast.walk(function):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            for place, statement in enumerate(block if isinstance(block, list) else (), 1):
                if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "here":
                    return set(live_after(function, block, place)) & {"a", "b", "c", "here"}
    raise AssertionError("nothing assigns `here`")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(a):\n    b = a\n    c = b + a\n    here = 1\n    return c", {"c"}),
        ("def f(a):\n    here = a\n    here = 2\n    return here", set()),
        ("def f(a):\n    here = a\n    if a:\n        here = 2\n    return here", {"a", "here"}),
        ("def f(a):\n    here = a\n    if a:\n        here = 2\n    else:\n        here = 3\n    return here", {"a"}),
        ("def f(a):\n    here = a\n    return 1\n    print(here)", set()),
        ("def f(a):\n    for _ in a:\n        print(here)\n        here = 1", {"here"}),
        ("def f(a):\n    for b in a:\n        print(b)\n        here = 1", set()),
        ("def f():\n    while a:\n        if b:\n            here = 1\n            continue\n        b()", {"a", "b"}),
        ("def f(a):\n    while a:\n        here = 1\n        break\n    else:\n        print(b)\n    return c", {"c"}),
        ("def f(a):\n    for a in b:\n        here = 1\n    else:\n        print(c)", {"c"}),
        ("def f(a):\n    try:\n        here = 1\n        a = 2\n    except E:\n        print(a)", {"a"}),
        ("def f(a):\n    try:\n        here = 1\n        return\n    finally:\n        print(a)", {"a"}),
        ("def f(a):\n    try:\n        b()\n    except E:\n        here = 1\n        raise\n    finally: a()", {"a"}),
        ("def f(a):\n    with a:\n        here = 1\n        b = 2\n    return b", {"b"}),
        ("def f(a):\n    g = lambda: here\n    here = 1\n    return g", {"here"}),
        ("def f(a):\n    def g():\n        return here\n    here = 1\n    return g()", {"here"}),
        ("def f(a):\n    g = (here for _ in a)\n    here = 1\n    return list(g)", {"here", "a"}),
        ("def f(a):\n    here = 1\n    return locals()", {"a", "here"}),
        ("def f(a):\n    here = a\n    return eval('here')", {"a", "here"}),
        ("def f(a):\n    here = a\n    exec('print(a)')", {"a", "here"}),
        ("def f(a):\n    here = 1\n    del here", {"here"}),
        ("def f(a):\n    here = 1\n    here += a", {"here", "a"}),
        ("def f(a):\n    here = 1\n    b[a] = 2", {"a", "b"}),
        ("def f(a):\n    global here\n    here = 1", {"here"}),
        ("def f(a):\n    here = 1\n    (b, *c), a = a\n    return b, c, a", {"a"}),
        ("def f(a):\n    here = 1\n    match a:\n        case [b] if c:\n            return b", {"a", "b", "c"}),
        ("def f(a):\n    here = 1\n    return f'{b}' + [c for _ in a][0]", {"a", "b", "c"}),
    ],
)  # fmt: skip
def test_a_name_is_live_where_some_path_reads_it_before_it_is_bound_anew(source: str, expected: set[str]) -> None:
    assert live(source) == expected


# Attention that can only be run statement by statement, with a local that nothing reads after the change.
STORED = """
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
        parts = self.qkv(x).reshape(b, t, 3, self.heads, -1)
        qkv = parts.permute(2, 0, 3, 1, 4)
        parts = qkv.unbind(0); q, k, v = parts
        y = torch.softmax(q @ k.transpose(-2, -1), -1) @ v
        return self.store.write(y)
"""
SPLIT = "parts = qkv.unbind(0); q, k, v = parts"
REWRITTEN = "parts = 3; q, k, v = qkv.unbind(0)"


@pytest.mark.parametrize("new", [REWRITTEN, "q, k, v = qkv.unbind(0)"], ids=["other", "none"])
def test_a_dead_local_that_a_rewrite_changes_does_not_refute_it(check: Check, new: str) -> None:
    pytest.importorskip("torch")
    verdict = check(STORED, SPLIT, new, "Attention.forward", alone=True)
    assert (verdict.verdict, verdict.harness) == ("validated", "region"), verdict.reason


@pytest.mark.parametrize(
    "reader",
    [
        "print(parts)",
        "self.store.read(lambda: parts)",
        "self.store.read(locals())",
        "del parts",
    ],
)
def test_a_live_local_that_a_rewrite_changes_still_speaks_against_it(check: Check, reader: str) -> None:
    pytest.importorskip("torch")
    source = STORED.replace("        return self.store.write", f"        {reader}\n        return self.store.write")
    verdict = check(source, SPLIT, REWRITTEN, "Attention.forward", alone=True)
    assert verdict.verdict == "not exercised", verdict
