"""Code that asks for compilation runs eagerly in trials, and no compiler runs there."""

from __future__ import annotations

import pytest

from .conftest import Check

pytest.importorskip("torch")

COMPILED = """
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x):
        b, t, c = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        y = torch.softmax(q @ k.transpose(-2, -1), -1) @ v
        return y.transpose(1, 2).reshape(b, t, c)
"""
SPLIT = "qkv[0], qkv[1], qkv[2]"
FUNCTION = """
import torch
from torch import compile as compiled


@DECORATOR
def attend(qkv):
    q, k, v = qkv[0], qkv[1], qkv[2]
    return torch.softmax(q @ k.transpose(-2, -1), -1) @ v


class Attention(torch.nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = torch.nn.Linear(width, 3 * width)

    def forward(self, x):
        b, t, c = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return attend(qkv).transpose(1, 2).reshape(b, t, c)
"""
IN_CONSTRUCTOR = COMPILED.replace("def forward(", "def attend(").replace(
    "        self.qkv = nn.Linear",
    "        self.attend = torch.compile(self.attend, mode='max-autotune')\n        self.qkv = nn.Linear",
) + ("\n    def forward(self, x):\n        return self.attend(x)\n")
AS_CHILD = """

class Model(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = COMPILER(Attention(width, heads))

    def forward(self, x):
        return self.attention(x)
"""
FORBIDDEN = """
import torch._dynamo.convert_frame


def _refused(*arguments, **options):
    raise AssertionError("a compiler runs")


torch._dynamo.convert_frame.compile_frame = _refused
torch._dynamo.convert_frame._compile = _refused
assert not isinstance(attend, torch.jit.ScriptFunction)


class Attention("""


def decorated(decorator: str) -> str:
    return COMPILED.replace("    def forward(", f"    {decorator}\n    def forward(")


@pytest.mark.parametrize(
    "decorator",
    [
        "@torch.compile",
        "@torch.compile(dynamic=True, mode='max-autotune')",
        "@torch.compiler.compile",
        "@torch._dynamo.optimize('inductor')",
        "@torch._dynamo.disable",
        "@torch.compiler.disable(recursive=False)",
        "@torch.compiler.allow_in_graph",
        "@torch.jit.export",
        "@torch.jit.ignore",
        "@torch.jit.unused",
        "@torch.jit.script_method",
    ],
)
def test_a_method_under_a_decorator_of_compilation_is_run_eagerly(check: Check, decorator: str) -> None:
    verdict = check(decorated(decorator), SPLIT, "qkv.unbind(0)", "Attention.forward")
    assert (verdict.verdict, verdict.harness) == ("validated", "module"), verdict.reason


def test_a_wrong_rewrite_of_a_compiled_method_is_refuted(check: Check) -> None:
    verdict = check(decorated("@torch.compile"), SPLIT, "qkv[0], qkv[2], qkv[1]", "Attention.forward")
    assert verdict.verdict == "refuted", verdict


@pytest.mark.parametrize(
    "decorator",
    ["torch.compile", "compiled(fullgraph=True)", "torch.jit.script", "torch.jit.script_if_tracing"],
)
def test_a_function_under_a_decorator_of_compilation_is_run_eagerly(check: Check, decorator: str) -> None:
    source = FUNCTION.replace("DECORATOR", decorator)
    right = check(source, SPLIT, "qkv.unbind(0)", "attend")
    assert (right.verdict, right.harness) == ("validated", "module"), right.reason
    assert check(source, SPLIT, "qkv[0], qkv[2], qkv[1]", "attend").verdict == "refuted"


def test_a_function_that_is_compiled_below_its_definition_is_run_eagerly(check: Check) -> None:
    source = FUNCTION.replace("@DECORATOR\n", "").replace("\nclass", "attend = torch.compile(attend)\n\nclass", 1)
    verdict = check(source, SPLIT, "qkv.unbind(0)", "attend")
    assert verdict.verdict == "validated", verdict.reason


def test_a_method_that_a_constructor_compiles_is_run_eagerly(check: Check) -> None:
    right = check(IN_CONSTRUCTOR, SPLIT, "qkv.unbind(0)", "Attention.attend")
    assert (right.verdict, right.harness) == ("validated", "module"), right.reason
    assert check(IN_CONSTRUCTOR, SPLIT, "qkv[0], qkv[2], qkv[1]", "Attention.attend").verdict == "refuted"


@pytest.mark.parametrize("compiler", ["torch.compile", "torch.jit.script", "torch.compiler.disable"])
def test_a_module_that_another_one_compiles_is_run_eagerly(check: Check, compiler: str) -> None:
    # Alone it cannot be built: it is reached through the class that compiles it.
    source = COMPILED.replace("class Attention", "@torch.compile\nclass Attention")
    verdict = check(source + AS_CHILD.replace("COMPILER", compiler), SPLIT, "qkv.unbind(0)", "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason


def test_a_module_that_compiles_itself_is_run_eagerly(check: Check) -> None:
    source = COMPILED.replace("    def forward(", "        self.compile()\n\n    def forward(")
    verdict = check(source, SPLIT, "qkv.unbind(0)", "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason


def test_a_script_module_is_run_eagerly(check: Check) -> None:
    source = decorated("@torch.jit.script_method").replace("(nn.Module)", "(torch.jit.ScriptModule)")
    verdict = check(source, SPLIT, "qkv.unbind(0)", "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize(
    "line",
    [
        "from torch.nn.attention.flex_attention import flex_attention\nflex_attention = torch.compile(flex_attention)",
        "from torch.nn.attention import flex_attention as flex\nmasked = torch.compile(flex.create_block_mask)\n"
        "MASK = masked(lambda b, h, q, k: q >= k, None, None, 128, 128, device='cpu')",
        "torch.compile = lambda model, **options: model",
        "twice = torch.jit.trace(lambda x: x * 2, torch.ones(2))",
        "import torch._dynamo\ntorch._dynamo.config.suppress_errors = True",
    ],
    ids=["flex_attention", "block mask", "replaced by the file", "trace", "settings"],
)
def test_compilation_elsewhere_in_the_file_does_not_stand_in_the_way(check: Check, line: str) -> None:
    source = COMPILED.replace("\n\nclass Attention", f"\n{line}\n\n\nclass Attention")
    verdict = check(source, SPLIT, "qkv.unbind(0)", "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason


def test_no_compiler_runs_in_a_trial(check: Check) -> None:
    source = FUNCTION.replace("DECORATOR", "torch.jit.script").replace("\nclass Attention(", FORBIDDEN, 1)
    source = source.replace("    def forward(", "    @torch.compile(fullgraph=True)\n    def forward(")
    verdict = check(source, SPLIT, "qkv.unbind(0)", "attend")
    assert verdict.verdict == "validated", verdict.reason


def test_what_torch_wraps_of_its_own_when_it_compiles_is_no_tampering(check: Check) -> None:
    """torch's compiler, used past every switch, wraps the constructor of modules; the user's code did not."""
    used = "import torch._dynamo.mutation_guard\ntorch._dynamo.mutation_guard.install_generation_tagging_init()"
    source = COMPILED.replace("\n\nclass Attention", f"\n{used}\n\n\nclass Attention")
    verdict = check(source, SPLIT, "qkv.unbind(0)", "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason


def test_a_constructor_of_modules_that_the_file_replaces_is_tampering(check: Check) -> None:
    used = "_own = nn.Module.__init__\nnn.Module.__init__ = lambda self, *a, **k: _own(self, *a, **k)"
    source = COMPILED.replace("\n\nclass Attention", f"\n{used}\n\n\nclass Attention")
    verdict = check(source, SPLIT, "qkv.unbind(0)", "Attention.forward")
    assert verdict.verdict == "not exercised"
    assert "replaces torch.nn.Module.__init__" in verdict.reason
