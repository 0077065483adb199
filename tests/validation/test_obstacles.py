"""Obstacles that the search for a way to run a module gets round: flags, parents, layers, and sizes that divide."""

from __future__ import annotations

import pytest

from .conftest import Check
from .test_reach import ATTENTION, INDEXED, SCORES, SPLIT, SYMBOL

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

# The statement that a fix changes stands in the arm of a flag that is off.
MANUAL = "y = scores.softmax(-1) @ v"
GUARDED = ATTENTION.replace(
    "        y = scores.softmax(-1) @ v\n",
    "        if TEST:\n            y = nn.functional.scaled_dot_product_attention(q, k, v)\n"
    "        else:\n            y = torch.softmax(scores, -1) @ v\n",
)
OLD, NEW, WRONG = "torch.softmax(scores, -1)", "scores.softmax(-1)", "scores.softmax(-2)"


def guarded(test: str, before_class: str = "", in_init: str = "") -> str:
    source = GUARDED.replace("if TEST:", f"if {test}:").replace("\n\nclass", f"\n{before_class}\n\n\nclass", 1)
    return source.replace("super().__init__()\n", f"super().__init__()\n        {in_init or 'pass'}\n")


BEHIND_FLAGS = {
    "a global": (guarded("FUSED", "FUSED = hasattr(nn.functional, 'scaled_dot_product_attention')"), "FUSED set to"),
    "a function": (guarded("is_fused()", "def is_fused():\n    return True"), "is_fused() set to False"),
    "an attribute": (guarded("self.fused", in_init="self.fused = torch.__version__ > '1'"), "self.fused set to False"),
    "an attribute by a function": (
        guarded("self.fused", "def fused_by_default():\n    return True", "self.fused = fused_by_default()"),
        "self.fused set to False",
    ),
}


@pytest.mark.parametrize("kind", BEHIND_FLAGS)
def test_a_branch_behind_a_flag_that_no_argument_sets_is_run_and_the_flag_told(check: Check, kind: str) -> None:
    source, told = BEHIND_FLAGS[kind]
    verdict = check(source, OLD, NEW, SYMBOL)
    assert (verdict.verdict, verdict.harness) == ("validated", "module"), verdict.reason
    assert told in verdict.reason
    wrong = check(source, OLD, WRONG, SYMBOL)
    assert wrong.verdict == "refuted", wrong.reason


def test_a_flag_is_put_back_after_each_call() -> None:
    import types

    import torch

    from mha_lint.validation.search.flags import Flag, put_on  # it needs torch

    module = types.ModuleType("subject")
    vars(module)["FUSED"] = True
    seen: list[bool] = []

    class Subject(torch.nn.Module):
        def forward(self, fails: bool) -> None:
            seen.append(vars(module)["FUSED"])
            if fails:
                raise ValueError("asked for")

    subject = Subject()
    put_on(subject, [Flag("global", "FUSED", False)], module)
    subject(False)
    with pytest.raises(ValueError, match="asked for"):
        subject(True)
    assert (seen, vars(module)["FUSED"]) == ([False, False], True)


def test_flags_that_exclude_each_other_are_tried_the_other_way(check: Check) -> None:
    source = ATTENTION.replace("heads=4", "heads=4, causal=True, bidirectional=True, rotates=True")
    test = "if causal and bidirectional:\n            raise ValueError('these exclude each other')"
    source = source.replace("super().__init__()", f"super().__init__()\n        {test}")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert "causal=False" in verdict.reason and "rotates" not in verdict.reason


def test_a_size_that_is_absent_by_default_and_needed_is_given(check: Check) -> None:
    source = ATTENTION.replace("heads=4", "heads=4, feat_size=None")
    source = source.replace("super().__init__()", "super().__init__()\n        assert feat_size is not None")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_what_a_constructor_passes_on_and_its_base_requires_is_given(check: Check) -> None:
    source = ATTENTION.replace("(self, dim, heads=4)", "(self, *, dim, n_heads)").replace("= heads,", "= n_heads,")
    source += (
        "\n\nclass Causal(Attention):\n"
        "    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n\n"
        "    def forward(self, x):\n        y = super().forward(x)\n        return torch.neg(y)\n"
    )
    verdict = check(source, "torch.neg(y)", "-y", "Causal.forward")
    assert verdict.verdict == "validated", verdict.reason


def test_projections_that_are_handed_in_are_layers_all_at_once(check: Check) -> None:
    source = ATTENTION.replace("(self, dim, heads=4)", "(self, dim, heads, *, to_q, to_k, to_v, to_out)")
    source = source.replace(
        "self.qkv = nn.Linear(dim, 3 * dim)", "self.to_q, self.to_k = to_q, to_k\n        self.to_v = to_v"
    )
    source = source.replace(
        "to_q, to_k, to_v, to_out)", "to_q: nn.Module, to_k: nn.Module, to_v: nn.Module, to_out: nn.Module)"
    )
    source = source.replace("nn.Linear(dim, dim)", "to_out")
    source = source.replace(
        "qkv = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)",
        "qkv = [part(x).view(b, t, self.heads, -1).transpose(1, 2) for part in (self.to_q, self.to_k, self.to_v)]",
    ).replace("qkv.unbind(0)", "qkv")
    verdict = check(source, "scores.softmax(-1)", "torch.softmax(scores, -1)", SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert "to_q=Linear(" in verdict.reason


def test_a_batch_that_a_count_must_divide_is_a_multiple_of_it(check: Check) -> None:
    source = ATTENTION.replace("heads=4", "heads=4, rows=6")
    source = source.replace("self.heads, self.dim = heads, dim", "self.heads, self.dim, self.rows = heads, dim, rows")
    tied = "scores = scores.view(b // self.rows, self.rows, self.heads, t, t).mean(1).repeat_interleave(self.rows, 0)"
    source = source.replace(SCORES, f"{SCORES}        {tied}\n")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert (verdict.verdict, verdict.harness) == ("validated", "module"), verdict.reason


def test_a_width_that_a_number_must_divide_is_rounded_up(check: Check) -> None:
    test = "if c // self.heads % 6:\n            raise ValueError(f'head width is not divisible by components ({6})')"
    source = ATTENTION.replace("b, t, c = x.shape", f"b, t, c = x.shape\n        {test}")
    source = source.replace("heads=4", "heads=4, dim_head=8")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


PROCESSED = """
import torch
from torch import nn


class Processor:
    def __call__(self, attn: "Attention", x):
        b, t, c = x.shape
        q, k, v = (layer(x).view(b, t, attn.heads, -1).transpose(1, 2) for layer in (attn.to_q, attn.to_k, attn.to_v))
        return attn.to_out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c))


class ManualProcessor:
    def __call__(self, attn: "Attention", x):
        b, t, c = x.shape
        q, k, v = (layer(x).view(b, t, attn.heads, -1).transpose(1, 2) for layer in (attn.to_q, attn.to_k, attn.to_v))
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        return attn.to_out((torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, t, c))


class Attention(nn.Module):
    def __init__(self, dim, heads=4, processor=None):
        super().__init__()
        self.heads, self.processor = heads, processor or Processor()
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):
        return self.processor(self, x)
"""


def test_a_class_that_is_no_module_runs_in_the_module_that_it_is_handed_to(check: Check) -> None:
    verdict = check(PROCESSED, OLD, NEW, "ManualProcessor.__call__")
    assert (verdict.verdict, verdict.harness) == ("validated", "module"), verdict.reason
    assert "Attention(dim=32, processor=ManualProcessor())" in verdict.reason
    assert check(PROCESSED, OLD, WRONG, "ManualProcessor.__call__").verdict == "refuted"


def test_a_package_without_which_a_file_gives_up_in_all_but_special_cases_is_stood_in_for(check: Check) -> None:
    guarded = (
        "import sys\n\ntry:\n    import absent_package\nexcept ImportError as error:\n"
        "    if sys.platform == 'nowhere':\n        absent_package = None\n"
        "    else:\n        raise RuntimeError('install it') from error\n"
    )
    verdict = check(guarded + ATTENTION, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_patterns_that_the_file_hands_over_as_texts_are_arguments(check: Check) -> None:
    source = ATTENTION.replace("import torch\n", "import torch\nfrom einops import rearrange\n", 1)
    source = source.replace("(self, x)", "(self, x, pattern_from, pattern_to, **axes)")
    regrouped = "x = rearrange(x, f'{pattern_from} -> {pattern_to}', **axes)"
    source = source.replace("b, t, c = x.shape", f"{regrouped}\n        b, t, c = x.shape")
    call = "attend(x, pattern_from='b (f n) d', pattern_to='(b n) f d', n=frames)"
    source += f"\n\ndef over_time(attend, x, frames):\n    return {call}\n"
    pytest.importorskip("einops")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert (verdict.verdict, verdict.harness) == ("validated", "module"), verdict.reason
    assert "pattern_from='b (f n) d'" in verdict.reason


def test_heads_over_the_places_of_an_image_may_follow_a_class_token(check: Check) -> None:
    source = """
        import torch
        from torch import nn


        class Factorised(nn.Module):
            def __init__(self, num_heads: int, head_dim: int):
                super().__init__()
                self.scale = head_dim**-0.5
                self.conv = nn.Conv2d(num_heads * head_dim, num_heads * head_dim, 3, padding=1)

            def forward(self, q, v, size):
                B, num_heads, N, C = q.shape
                H, W = size
                assert N == 1 + H * W
                places = v[:, :, 1:].transpose(-1, -2).reshape(B, num_heads * C, H, W)
                there = self.conv(places).view(B, num_heads, C, H * W).transpose(-1, -2)
                return torch.softmax(q, -1)[:, :, 1:] * self.scale * there
        """
    verdict = check(source, "torch.softmax(q, -1)", "q.softmax(-1)", "Factorised.forward")
    assert (verdict.verdict, verdict.harness) == ("validated", "module"), verdict.reason
    assert "q=(b, h, H*W+1, d)" in verdict.reason


def test_a_module_that_is_called_with_its_parent_runs_in_it(check: Check) -> None:
    source = PROCESSED.replace("class ManualProcessor:\n", "class ManualProcessor(nn.Module):\n")
    source = source.replace("    def __call__(self, attn", "    def forward(self, attn").replace(
        "class Processor:\n    def forward", "class Processor:\n    def __call__"
    )
    verdict = check(source, OLD, NEW, "ManualProcessor.forward")
    assert (verdict.verdict, verdict.harness) == ("validated", "module"), verdict.reason
    assert "processor=ManualProcessor()" in verdict.reason


def test_a_method_that_sets_a_missing_attribute_is_called_first(check: Check) -> None:
    fuse = "    def fuse(self):\n        self.qkv = nn.Linear(self.dim, 3 * self.dim)\n\n    def forward"
    source = ATTENTION.replace("        self.qkv = nn.Linear(dim, 3 * dim)\n", "").replace("    def forward", fuse)
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert (verdict.verdict, verdict.harness) == ("validated", "module"), verdict.reason
    assert "fuse() called first" in verdict.reason
