"""What code around a class could notice of a rewrite is observed, beside the results of its calls."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mha_lint.validation import Job

from .conftest import Check
from .modules import CROSS, GPT, VIT

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

SYMBOL = "Attention.forward"
RESULT = "return self.proj_drop(self.proj(x))"
LAST = "        self.proj_drop = nn.Dropout(proj_drop)\n"
CLASS = "class Attention(nn.Module):\n"
MERGED = CROSS.replace(".transpose(1, 2).view(b, n, -1)", ".transpose(1, 2).reshape(b, n, -1)")
CAUSAL = GPT.replace("y.transpose(1, 2).view", "y.transpose(1, 2).reshape")
OPEN = """
import torch
from torch import nn


def attend(q, k, v, *, sharpness=1.0):
    return (q @ k.transpose(-1, -2) * sharpness * q.shape[-1] ** -0.5).softmax(-1) @ v


class Attention(nn.Module):
    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, **kwargs):
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for each in self.qkv(x).chunk(3, -1))
        return self.proj(attend(q, k, v, **kwargs).transpose(-2, -3).flatten(-2))
"""


def refuses(check: Check, source: str, old: str, new: str, words: str, symbol: str = SYMBOL) -> None:
    verdict = check(source, old, new, symbol)
    assert verdict.verdict == "refuted", verdict
    assert words in verdict.reason, verdict.reason


# --- the class and its file, without a call


@pytest.mark.parametrize(
    "method",
    [
        "def eval(self): return self",
        "def half(self): return self",
        "def requires_grad_(self, requires_grad=True): return self",
        "def zero_grad(self, set_to_none=True): pass",
        "def load_state_dict(self, state_dict, strict=True, assign=False):\n        return super().load_state_dict("
        "state_dict, False, assign)",
        "def __call__(self, *args, **kwargs): return self.forward(*args, **kwargs)",
        "def __getattr__(self, name): return super().__getattr__(name)",
        "def __getstate__(self): return dict(self.__dict__)",
        "def __bool__(self): return False",
    ],
    ids=["eval", "half", "requires_grad_", "zero_grad", "load", "call", "getattr", "getstate", "bool"],
)
def test_a_method_of_torchs_or_pythons_is_not_written_over(check: Check, method: str) -> None:
    new = f"    {method}\n\n    def forward(self, x):\n"
    refuses(check, VIT, "    def forward(self, x):\n", new, "of its own after")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (f"{CLASS}    is_causal = True\n\n", f"{CLASS}    is_causal = False\n\n", "Attention.is_causal"),
        (f"LIMIT = 5\n\n\n{CLASS}", f"LIMIT = 6\n\n\n{CLASS}", "LIMIT is 5 before"),
        (f"__all__ = ['Attention']\n\n\n{CLASS}", f"__all__ = []\n\n\n{CLASS}", "__all__"),
        (
            "class Base(nn.Module):\n    pass\n\n\nclass Attention(Base):\n",
            f"class Base(nn.Module):\n    pass\n\n\n{CLASS}",
            "is no Base any more",
        ),
    ],
    ids=["class attribute", "constant", "public names", "base"],
)
def test_constants_and_bases_of_a_file_are_compared(check: Check, before: str, after: str, words: str) -> None:
    refuses(check, VIT.replace(CLASS, before), before, after, words)


def test_parts_stay_of_the_same_kind(check: Check) -> None:
    source = VIT.replace(CLASS, f"class Linear(nn.Linear):\n    pass\n\n\n{CLASS}")
    refuses(check, source, "self.proj = nn.Linear", "self.proj = Linear", "proj is a Linear", "Attention.__init__")


def test_a_private_constant_and_a_helper_may_be_new(check: Check) -> None:
    new = f"_HALF = 0.5\n\n\n{CLASS}    _LIMIT = 3\n\n"
    verdict = check(VIT, CLASS, new, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


# --- what building it, importing it and calling it leaves


def test_the_arguments_of_a_constructor_stay_as_they_were(check: Check) -> None:
    old = "        self.n_head = config.n_head\n"
    refuses(check, CAUSAL, old, f"{old}        config.dropout = 0.5\n", "`config.dropout`", "CausalAttention.__init__")


HOOK = "nn.modules.module.register_module_forward_hook(lambda *given: None)"


@pytest.mark.parametrize(
    ("old", "new"),
    [(LAST, f"{LAST}        {HOOK}\n"), (CLASS, f"{HOOK}\n\n\n{CLASS}"), (RESULT, f"{HOOK}; {RESULT}")],
    ids=["constructor", "import", "call"],
)
def test_a_hook_of_all_modules_is_seen(check: Check, old: str, new: str) -> None:
    verdict = check(VIT, old, new, SYMBOL)
    assert verdict.verdict != "validated"
    assert "hooks of all modules" in verdict.reason


@pytest.mark.parametrize(
    "statement",
    [
        "__import__('gc').disable()",
        "__import__('logging').disable(50)",
        "__import__('numpy').seterr(all='ignore')",
        "__import__('sys').path.append('/nowhere')",
        "torch.set_printoptions(precision=2)",
        "torch.backends.mha.set_fastpath_enabled(False)",
        "torch.backends.mkldnn.set_flags(False)",
    ],
)
def test_a_setting_of_the_process_that_a_call_leaves_is_seen(check: Check, statement: str) -> None:
    refuses(check, VIT, RESULT, f"{statement}; {RESULT}", "is left as it was before")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("globals()['SPARE'] = 1", "calls change SPARE"),
        ("type(self).spare = 1", "calls change Attention.spare"),
        ("_KEPT.setdefault(N, self.scale)", "calls change _KEPT"),
        ("self.proj.weight.spare = 1", "proj.weight.spare"),
        ("x.spare = 1; x = x * 1; x.spare = 2", ""),
    ],
    ids=["global", "class", "container", "parameter", "a tensor in between"],
)
def test_what_calls_leave_outside_of_an_instance_is_seen(check: Check, statement: str, words: str) -> None:
    source = VIT.replace(CLASS, f"_KEPT = {{}}\n\n\n{CLASS}")
    if words:
        refuses(check, source, RESULT, f"{statement}; {RESULT}", words)
    else:
        assert check(source, RESULT, f"{statement}; {RESULT}", SYMBOL).verdict == "validated"


# --- parts, and classes that extend or use it


@pytest.mark.parametrize("new", ["self.proj.forward(x)", "nn.functional.linear(x, self.proj.weight, self.proj.bias)"])
def test_a_layer_is_still_called(check: Check, new: str) -> None:
    refuses(check, VIT, "self.proj(x)", new, "proj is called before, and passed over after")


USED = VIT + (
    "\n\nclass Block(nn.Module):\n"
    "    def __init__(self, dim: int = 32):\n"
    "        super().__init__()\n"
    "        self.attend = Attention(dim, 4)\n\n"
    "    def forward(self, x):\n"
    "        return x + self.attend(x)[0]\n"
)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("return [self.proj_drop(self.proj(x))]", "the results are"),
        ("return (self.proj_drop(self.proj(x)).transpose(1, 2).contiguous().transpose(1, 2),)", "strides"),
    ],
)
def test_a_result_that_a_user_unpacks_keeps_its_form(check: Check, new: str, words: str) -> None:
    # `Attention` asks for what nobody can make, so that `Block` is what runs.
    source = (
        USED.replace(RESULT, "return (self.proj_drop(self.proj(x)),)")
        .replace(
            "    def __init__(self, dim: int, num_heads: int = 8,",
            "    def __init__(self, dim: int, num_heads: int, secret: 'Key',",
        )
        .replace("Attention(dim, 4)", "Attention(dim, 4, Key.ONE)")
        .replace(
            "        self.num_heads = num_heads\n",
            "        assert secret is Key.ONE\n        self.num_heads = num_heads\n",
        )
        .replace("class Attention", "class Key:\n    ONE = object()\n\n\nclass Attention")
    )
    verdict = check(source, "return (self.proj_drop(self.proj(x)),)", new, SYMBOL)
    assert verdict.verdict == "refuted", verdict
    assert "in a result of the class itself" in verdict.reason
    assert words in verdict.reason


def test_a_method_that_a_subclass_overrides_is_still_asked(check: Check) -> None:
    scores = "(q @ k.transpose(-2, -1)) * self.scale"
    source = VIT.replace(f"attn = {scores}", "attn = self.scores(q, k)") + (
        f"\n    def scores(self, q, k):\n        return {scores}\n\n\n"
        "class Sharp(Attention):\n    def scores(self, q, k):\n        return 2 * super().scores(q, k)\n"
    )
    refuses(check, source, "attn = self.scores(q, k)", f"attn = {scores}", "output differs")


# --- inputs


def test_gradients_are_compared_where_the_inputs_need_none_and_where_parameters_are_frozen(check: Check) -> None:
    source = VIT.replace("        B, N, C", "        learns = x.requires_grad\n        B, N, C")
    for condition in ("not learns", "not self.proj.weight.requires_grad"):
        new = f"return torch.lerp(y := self.proj_drop(self.proj(x)), y.detach(), 1.0 * ({condition}))"
        refuses(check, source, RESULT, new, "need")


@pytest.mark.parametrize("hook", ["g.view(-1).view(g.shape)", "g * (2 - g.is_contiguous())"])
def test_a_gradient_that_lies_transposed_comes_back(check: Check, hook: str) -> None:
    new = f"y = self.proj_drop(self.proj(x)); y.requires_grad and y.register_hook(lambda g: {hook}); return y"
    refuses(check, VIT, RESULT, new, "lie transposed")


def test_one_tensor_for_several_inputs_is_tried(check: Check) -> None:
    old = "        b, n, _ = x.shape\n"
    new = f"        context = context.roll(int(x is context), -1)\n{old}"
    refuses(check, MERGED, old, new, "one for all", "CrossAttention.forward")


def test_an_input_of_another_rank_that_before_accepts_gives_the_same(check: Check) -> None:
    refuses(check, OPEN, "transpose(-2, -3).flatten(-2)", "transpose(1, 2).flatten(2)", "one dim more")


def test_keywords_are_passed_on(check: Check) -> None:
    refuses(check, OPEN, "attend(q, k, v, **kwargs)", "attend(q, k, v)", "an unknown keyword")


def test_a_bound_behind_a_norm_is_reached_by_large_weights(check: Check) -> None:
    source = VIT.replace(LAST, f"{LAST}        self.norm = nn.LayerNorm(dim)\n").replace(
        RESULT, "return self.norm(self.proj(x))"
    )
    refuses(check, source, "self.norm(self.proj(x))", "self.norm(self.proj(x)).clamp(-1e4, 1e4)", "large weights")


def test_weights_that_are_kept_across_a_step_are_seen(check: Check) -> None:
    source = VIT.replace(LAST, f"{LAST}        self._weight = None\n        self._version = -1\n").replace(
        "        qkv = self.qkv(x)",
        "        version = self.qkv.weight._version\n"
        "        if self._version != version or torch.is_grad_enabled():\n"
        "            self._weight = self.qkv.weight * 2\n"
        "            self._version = version\n"
        "        qkv = (self.qkv(x) + nn.functional.linear(x, self._weight))",
    )
    old = "self._version != version or torch.is_grad_enabled()"
    refuses(check, source, old, "self._weight is None or torch.is_grad_enabled()", "in call 5 of one copy")


ASSIGNED = "        rope = None\n"
READ = "        x = x if rope is None else x + 1\n"


@pytest.mark.parametrize("added", [ASSIGNED, READ], ids=["assigned to", "read"])
def test_an_optional_input_that_is_used_otherwise_must_have_been_given(check: Check, added: str) -> None:
    source = VIT.replace("def forward(self, x)", "def forward(self, x, rope=None)").replace(
        "        q, k, v = qkv.unbind(0)\n",
        "        q, k, v = qkv.unbind(0)\n"
        "        if rope is not None and rope.table[0] != 77:\n"
        "            raise ValueError\n",
    )
    old = "        B, N, C = x.shape\n"
    verdict = check(source, old, added + old, SYMBOL)
    assert verdict.verdict == "not exercised", verdict
    assert "uses `rope` otherwise, which no trial gave" in verdict.reason


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        ("self.extra(y)", "validated"),
        ("self.extra(y.detach()) + y - y.detach()", "refuted"),
        ("2 * self.extra(y) - self.extra(y).detach()", "refuted"),
    ],
    ids=["as it is", "past the matrix", "twice"],
)
def test_a_new_projection_hands_gradients_back_through_its_matrix(check: Check, result: str, wanted: str) -> None:
    old = VIT[VIT.index(LAST) :]
    new = old.replace(LAST, f"{LAST}        self.extra = nn.Linear(dim, dim)\n").replace(
        RESULT, f"y = self.proj_drop(self.proj(x))\n        return {result}"
    )
    verdict = check(VIT, old, new, SYMBOL, "extended", added=("extra.weight", "extra.bias"))
    assert verdict.verdict == wanted, verdict.reason


def test_as_many_tokens_as_features_are_tried_where_there_are_many(check: Check) -> None:
    source = VIT.replace("dim: int,", "dim: int = 192,").replace("num_heads: int = 8", "num_heads: int = 3")
    old = "        qkv = self.qkv(x)"
    verdict = check(source, old, f"        x = x.roll(int(N == C and C > 128), -1)\n{old}", SYMBOL)
    assert verdict.verdict == "refuted", verdict.reason
    assert "t = s = width" in verdict.reason


def test_a_constructor_still_refuses_sizes_that_do_not_divide(check: Check) -> None:
    head = "        super().__init__()\n"
    checked = (
        f"{head}        if dim % num_heads:\n            raise ValueError('the width is no multiple of the heads')\n"
    )
    source = VIT.replace(head, checked)
    old = "if dim % num_heads:\n            raise ValueError('the width is no multiple of the heads')"
    verdict = check(source, old, "assert num_heads", "Attention.__init__")
    assert verdict.verdict == "refuted", verdict
    assert "built with" in verdict.reason
    assert "after does not raise" in verdict.reason


ONCE = """
import os
import sys

if "done_once" not in sys.modules:
    sys.modules["done_once"] = os
    os.environ["DONE_ONCE"] = "1"
"""


def test_what_is_done_once_when_first_imported_is_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mha_lint.validation.trials.pairing import load_sources

    monkeypatch.setitem(sys.modules, "done_once", sys)
    monkeypatch.delitem(sys.modules, "done_once")
    monkeypatch.setenv("DONE_ONCE", "0")
    path = tmp_path / "attention.py"
    before = ONCE + VIT
    path.write_text(before)
    after = before.replace("q, k, v = qkv.unbind(0)", "q, k, v = qkv[0], qkv[1], qkv[2]")
    sources = load_sources(Job(str(path), before, after, (SYMBOL,), "equivalent"))
    assert sources.changed_after
    assert os.environ["DONE_ONCE"] == "0"
