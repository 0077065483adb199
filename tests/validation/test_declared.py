"""A harness that the user declares serves where none is found unaided, and where it fails it says so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from mha_lint import declared
from mha_lint.declared import Declared

from .conftest import Check

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytest.importorskip("torch")

# Nothing in the file tells what `options` must hold, or that `graph` is a table of booleans.
GRAPH_ATTENTION = """
import torch
from torch import nn


class Options:
    def __init__(self, secret, width):
        self.secret, self.width = secret, width


class GraphAttention(nn.Module):
    def __init__(self, options, num_heads=4):
        super().__init__()
        if options.secret != "sesame":
            raise ValueError("the secret is wrong")
        self.heads = num_heads
        self.qkv = nn.Linear(options.width, 3 * options.width)
        self.out = nn.Linear(options.width, options.width)

    def forward(self, nodes, graph):
        if graph.dtype is not torch.bool:
            raise TypeError("the graph must be boolean")
        n, t, c = nodes.shape
        q, k, v = self.qkv(nodes).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        w = (q @ k.mT).masked_fill(~graph, -1e9).softmax(-1)
        return self.out((w @ v).transpose(1, 2).view(n, t, c))
"""
MERGE = ".transpose(1, 2).view(n, t, c)"
MERGED = ".transpose(1, 2).reshape(n, t, c)"
INIT = 'Options(secret="sesame", width=32), num_heads=4'
INPUTS = {"nodes": ["b", "t", 32], "graph": "torch.eye(t, dtype=torch.bool)"}


def harness(target: str = "GraphAttention", **given: Any) -> tuple[Declared, ...]:
    return (declared.parse(f"attention:{target}", given),)


def test_declared_arguments_serve(check: Check) -> None:
    arguments = (GRAPH_ATTENTION, MERGE, MERGED, "GraphAttention.forward", "repaired")
    assert check(*arguments).verdict == "not exercised"
    verdict = check(*arguments, declared=harness(init=INIT, inputs=INPUTS))
    assert (verdict.verdict, verdict.harness) == ("validated", "declared"), verdict.reason
    assert "graph=torch.eye(t, dtype=torch.bool)" in verdict.reason
    assert {trial.dtype for trial in verdict.trials} == {"float32", "float64"}


def test_a_wrong_fix_is_refuted_on_the_declared_inputs(check: Check) -> None:
    wrong = ".reshape(n, t, c)"
    verdict = check(
        GRAPH_ATTENTION, MERGE, wrong, "GraphAttention.forward", "repaired", declared=harness(init=INIT, inputs=INPUTS)
    )
    assert verdict.verdict == "refuted"


def test_what_is_not_declared_is_searched_for(check: Check) -> None:
    plain = GRAPH_ATTENTION.replace("options.secret", '"sesame"').replace("options", "config")
    verdict = check(
        plain, MERGE, MERGED, "GraphAttention.forward", "repaired", declared=harness(inputs={"graph": INPUTS["graph"]})
    )
    assert (verdict.verdict, verdict.harness) == ("validated", "declared"), verdict.reason


@pytest.mark.parametrize(
    ("target", "init", "reason"),
    [
        ("GraphAttention", 'Options("open", 32)', "as declared for GraphAttention, building GraphAttention(Options("),
        ("GraphAttention", {"width": 32}, "unexpected keyword argument 'width'"),
        ("Attention", INIT, "as declared for Attention, the file has no such class or function"),
    ],
)
def test_a_declaration_that_fails_says_so_and_nothing_else_is_tried(
    check: Check, target: str, init: object, reason: str
) -> None:
    verdict = check(
        GRAPH_ATTENTION,
        MERGE,
        MERGED,
        "GraphAttention.forward",
        "repaired",
        declared=harness(target, init=init, inputs=INPUTS),
    )
    assert verdict.verdict == "not exercised"
    assert reason in verdict.reason


def test_the_stub_is_a_declaration_of_the_attempt_that_got_furthest(check: Check) -> None:
    plain = GRAPH_ATTENTION.replace("options.secret", '"sesame"')
    verdict = check(plain, MERGE, MERGED, "GraphAttention.forward", "repaired")
    assert verdict.verdict == "not exercised"
    ((name, table),) = tomllib.loads(verdict.stub)["tool"]["mha-lint"]["harness"].items()
    again = declared.parse(name, table)
    assert (again.module, again.target) == ("attention", "GraphAttention")
    assert again.inputs is not None
    assert set(again.inputs) == {"nodes", "graph"}


FACTORIES = """
import torch
import attention


def make(cls, b, t):
    options = attention.Options("sesame", 32)
    return cls(options), {"nodes": torch.randn(b, t, 32), "graph": torch.eye(t, dtype=torch.bool)}


def build(cls):
    return cls(attention.Options("sesame", 32))


def fail(cls):
    raise ValueError("no such luck")
"""


@pytest.mark.parametrize(
    "given",
    [{"factory": "factories:make"}, {"factory": "factories:build", "inputs": INPUTS}],
    ids=["with arguments", "instance alone"],
)
def test_a_factory_serves(check: Check, tmp_path: Path, given: dict[str, Any]) -> None:
    (tmp_path / "factories.py").write_text(FACTORIES)
    verdict = check(GRAPH_ATTENTION, MERGE, MERGED, "GraphAttention.forward", "repaired", declared=harness(**given))
    assert verdict.verdict == "validated", verdict.reason
    assert verdict.harness == "declared"
    assert f"made by {given['factory']}" in verdict.reason
    assert len({trial.shapes for trial in verdict.trials if trial.outcome == "agree"}) >= 4


def test_a_factory_that_fails_is_named(check: Check, tmp_path: Path) -> None:
    (tmp_path / "factories.py").write_text(FACTORIES)
    given = harness(factory="factories:fail")
    verdict = check(GRAPH_ATTENTION, "@ k.mT", "@ v.mT", "GraphAttention.forward", "corrected", declared=given)
    assert verdict.verdict == "not exercised"
    assert "calling factories:fail raised ValueError: no such luck" in verdict.reason


@pytest.mark.parametrize("given", [{"factory": "no function"}, {"factory": "a:b", "init": {}}, {"factory": 3}])
def test_a_factory_that_makes_no_sense_is_an_error(given: dict[str, Any]) -> None:
    with pytest.raises(declared.DeclarationError, match="factory"):
        declared.parse("attention:GraphAttention", given)
