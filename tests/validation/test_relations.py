"""Right rewrites are validated, wrong ones never are."""

from __future__ import annotations

import pytest

from .conftest import Check
from .modules import (
    AXIAL,
    AXIAL_ADDED_UP,
    BERT,
    CACHE,
    CROSS,
    GPT,
    PLAIN_HEADS,
    SPATIAL,
    UNUSED_PROJECTION,
    VIT,
    WINDOW,
)

pytest.importorskip("torch")

VIT_SPLIT = "q, k, v = qkv.unbind(0)"
INDEXED = "q, k, v = qkv[0], qkv[1], qkv[2]"


@pytest.mark.parametrize(
    ("source", "symbol"),
    [(VIT, "Attention.forward"), (WINDOW, "WindowAttention.forward"), (SPATIAL, "SpatialAttention.forward")],
    ids=["vit", "window", "spatial"],
)
def test_indexing_instead_of_unbinding_is_validated_to_the_last_bit(check: Check, source: str, symbol: str) -> None:
    verdict = check(source, VIT_SPLIT, INDEXED, symbol)
    assert verdict.verdict == "validated", verdict.reason
    assert verdict.harness == "module"
    assert verdict.bitwise
    agreeing = [trial for trial in verdict.trials if trial.outcome == "agree"]
    assert {trial.dtype for trial in agreeing} == {"float32", "float64"}
    assert {trial.mode for trial in agreeing} == {"train", "eval"}
    assert len({trial.shapes for trial in agreeing}) >= 4
    assert all(trial.max_abs_diff == 0.0 for trial in agreeing)


@pytest.mark.parametrize(
    ("source", "old", "symbol"),
    [
        (GPT, "y = y.transpose(1, 2).view(B, T, C)", "CausalAttention.forward"),
        (BERT, "context = context.view(context.size(0)", "SelfAttention.forward"),
        (CROSS, "out = out.transpose(1, 2).view(b, n, -1)", "CrossAttention.forward"),
        (CACHE, "context = context.view(b, t", "CachedAttention.forward"),
    ],
    ids=["gpt", "bert", "cross", "cache"],
)
def test_a_repaired_view_is_validated_because_before_was_seen_to_raise(
    check: Check, source: str, old: str, symbol: str
) -> None:
    verdict = check(source, old, old.replace(".view", ".contiguous().view"), symbol, "repaired")
    assert verdict.verdict == "validated", verdict.reason
    assert any("before raised at the flagged line" in trial.detail for trial in verdict.trials)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (VIT_SPLIT, "k, q, v = qkv.unbind(0)"),
        (VIT_SPLIT, "q, v, k = qkv.unbind(0)"),
        (VIT_SPLIT, "q, k, v = qkv[0], qkv[1], qkv[1]"),
        (VIT_SPLIT, "q, k, v = qkv[0], qkv[1], qkv[2].detach()"),
        (VIT_SPLIT, "q, k, v = qkv.unbind(0)[:3]; v = v.flip(0)"),
        (VIT_SPLIT, "q, k, v = qkv.unbind(0); q = q + 1e-6"),
        (VIT_SPLIT, "q, k, v = qkv.unbind(0); torch.rand(1)"),
        (VIT_SPLIT, "q, k, v = qkv.unbind(0); v = v * 2 if self.training else v"),
        (VIT_SPLIT, "q, k, v = qkv.unbind(0); v = v.half().to(v.dtype) if v.dtype == torch.float64 else v"),
        (VIT_SPLIT, "q, k, v = qkv.unbind(0); v = v if B > 1 else -v"),
        (VIT_SPLIT, "q, k, v = qkv.unbind(0); v = v if N > 1 else -v"),
        (VIT_SPLIT, "q, k, v = qkv.unbind(0); x.zero_()"),
        ("attn @ v).transpose(1, 2)", "attn @ v).transpose(1, 2).transpose(1, 2)"),
        ("attn @ v).transpose(1, 2)", "attn @ v)"),
        ("attn.softmax(dim=-1)", "attn.softmax(dim=-2)"),
        ("self.proj_drop(self.proj(x))", "self.proj(self.proj_drop(x))"),
        ("self.proj_drop(self.proj(x))", "self.proj_drop(self.proj(x)).float()"),
        ("self.proj = nn.Linear(dim, dim)", "self.proj = nn.Linear(dim, dim, bias=False)"),
        ("self.attn_drop(attn.softmax(dim=-1))", "attn.softmax(dim=-1)"),
        ("* self.scale", "* self.scale**2"),
        (VIT_SPLIT, "q, k, v = undefined.unbind(0)"),
    ],
)
def test_a_wrong_rewrite_is_refuted(check: Check, old: str, new: str) -> None:
    verdict = check(VIT, old, new, "Attention.forward")
    assert verdict.verdict == "refuted", verdict
    assert verdict.reason


@pytest.mark.parametrize(
    "new", ["y = y.contiguous().view(B, T, C)", "y = y.transpose(1, 2).contiguous().view(B, C, T)"]
)
def test_a_repair_that_means_something_else_is_refuted(check: Check, new: str) -> None:
    verdict = check(GPT, "y = y.transpose(1, 2).view(B, T, C)", new, "CausalAttention.forward", "repaired")
    assert verdict.verdict == "refuted"


def test_a_repair_of_a_line_that_never_raises_is_not_exercised(check: Check) -> None:
    line = "q = q.view(B, T, self.n_head, C // self.n_head)"
    repaired_gpt = GPT.replace(".transpose(1, 2).view(B", ".transpose(1, 2).reshape(B")
    verdict = check(
        repaired_gpt, line, line.replace(".view", ".contiguous().view"), "CausalAttention.forward", "repaired"
    )
    assert verdict.verdict == "not exercised"
    assert "never raised" in verdict.reason


@pytest.mark.parametrize("guard", ["if False:", "if x.shape[0] > 100:", "if torch.cuda.device_count() > 64:"])
def test_changed_lines_that_never_run_are_not_exercised_however_equal_the_outputs(check: Check, guard: str) -> None:
    source = VIT.replace("        attn = (q @", f"        {guard}\n            v = v * 1\n        attn = (q @")
    verdict = check(source, "v = v * 1", "v = v * 2", "Attention.forward")
    assert verdict.verdict == "not exercised"


@pytest.mark.parametrize("result", ["torch.zeros_like(x)", "self.proj(x * 0)", "x / 0"])
def test_outputs_that_do_not_depend_on_the_inputs_prove_nothing(check: Check, result: str) -> None:
    source = VIT.replace("return self.proj_drop(self.proj(x))", f"return {result}")
    assert check(source, VIT_SPLIT, INDEXED, "Attention.forward").verdict == "not exercised"


def test_a_module_that_is_not_reproducible_is_not_validated(check: Check) -> None:
    source = VIT.replace(
        "B, N, C = x.shape", "import os; B, N, C = x.shape; x = x + int.from_bytes(os.urandom(3), 'big') / 1e6"
    )
    verdict = check(source, VIT_SPLIT, INDEXED, "Attention.forward")
    assert verdict.verdict == "not exercised"
    assert "reproducible" in verdict.reason


PROJECTION = (
    "        # room for the projection",
    "        self.out_proj = nn.Linear(embed_dim, embed_dim)\n"
    "        nn.init.eye_(self.out_proj.weight)\n"
    "        nn.init.zeros_(self.out_proj.bias)",
)
ADDED = ("out_proj.weight", "out_proj.bias")


def test_a_projection_that_starts_as_the_identity_is_validated(check: Check) -> None:
    source = PLAIN_HEADS.replace("return out", "return (out)")
    with_parts = source.replace(*PROJECTION).replace("return (out)", "return self.out_proj(out)")
    verdict = check(source, source, with_parts, "Heads.forward", "extended", added=ADDED)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize(
    ("init", "result", "added"),
    [
        (PROJECTION[1], "return out", ADDED),  # built, never applied: no gradient reaches it
        (PROJECTION[1], "return self.out_proj(out)", ("out_proj.weight",)),
        (PROJECTION[1], "return self.out_proj(out)", ()),
        (PROJECTION[1], "return self.out_proj(out) + self.out_proj(x)", ADDED),
        (PROJECTION[1], "return self.out_proj(out.detach())", ADDED),
    ],
    ids=["not applied", "another name", "not announced", "applied twice", "detached"],
)
def test_a_wrong_projection_is_refuted(check: Check, init: str, result: str, added: tuple[str, ...]) -> None:
    after = PLAIN_HEADS.replace(PROJECTION[0], init).replace("return out", result)
    verdict = check(PLAIN_HEADS, PLAIN_HEADS, after, "Heads.forward", "extended", added=added)
    assert verdict.verdict == "refuted", verdict


@pytest.mark.parametrize("init", ["nn.init.ones_(self.out_proj.weight)", "pass"], ids=["ones", "default"])
def test_a_projection_that_starts_elsewhere_is_validated_at_the_identity_and_the_evidence_says_so(
    check: Check, init: str
) -> None:
    after = PLAIN_HEADS.replace(
        PROJECTION[0], f"        self.out_proj = nn.Linear(embed_dim, embed_dim)\n        {init}"
    )
    after = after.replace("return out", "return self.out_proj(out)")
    verdict = check(PLAIN_HEADS, PLAIN_HEADS, after, "Heads.forward", "extended", added=ADDED)
    assert verdict.verdict == "validated", verdict.reason
    assert "do not start at the identity" in verdict.reason


def test_a_bias_that_the_class_builds_its_layers_without_need_not_be_gained(check: Check) -> None:
    source = PLAIN_HEADS.replace("dropout: float = 0.0", "dropout: float = 0.0, bias: bool = False")
    layer = (
        "        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias)\n"
        "        nn.init.eye_(self.out_proj.weight)\n"
        "        if bias:\n            nn.init.zeros_(self.out_proj.bias)"
    )
    after = source.replace(PROJECTION[0], layer).replace("return out", "return self.out_proj(out)")
    verdict = check(source, source, after, "Heads.forward", "extended", added=ADDED)
    assert verdict.verdict == "validated", verdict.reason
    assert "do not start" not in verdict.reason


UNUSED = ("W_o.weight", "W_o.bias")


@pytest.mark.parametrize("source", [UNUSED_PROJECTION, UNUSED_PROJECTION.replace("= True", "= False")])
def test_applying_a_projection_that_was_built_is_validated_with_it_at_the_identity(check: Check, source: str) -> None:
    verdict = check(source, "return out", "return self.W_o(out)", "Heads.forward", "extended", identity=UNUSED)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize(
    ("old", "new", "identity"),
    [
        ("return out", "return self.W_o(out.flip(1))", UNUSED),
        ("return out", "return self.W_o(out)", ()),
        ("return out", "return self.W_o(out)", ("W_p.weight",)),
        ("return out", "return self.W_o(out)", ("W_o.weight", "qkv.weight")),
        ("return out", "return (out)", UNUSED),
        ("self.W_o = ", "self.W_p = self.W_o = ", UNUSED),
    ],
    ids=["other values", "not announced", "no such layer", "used before", "not applied", "new name"],
)
def test_applying_a_built_projection_wrongly_is_refuted(
    check: Check, old: str, new: str, identity: tuple[str, ...]
) -> None:
    verdict = check(UNUSED_PROJECTION, old, new, "Heads.forward", "extended", identity=identity)
    assert verdict.verdict == "refuted", verdict


VIEW = "cols = x.permute(0, 2, 1, 3).view(b * w, h, c)"
COPIED = VIEW.replace(".view", ".contiguous().view")


def test_where_strided_storage_only_rounds_otherwise_a_repair_is_validated_but_not_called_bitwise(check: Check) -> None:
    verdict = check(AXIAL_ADDED_UP, VIEW, COPIED, "AxialAttention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason
    assert not verdict.bitwise
    apart = [trial for trial in verdict.trials if "contiguous copies" in trial.detail]
    assert apart
    assert all(trial.outcome == "agree" and trial.max_abs_diff for trial in apart)
    others = [trial for trial in verdict.trials if trial.outcome == "agree" and trial not in apart]
    assert all(trial.max_abs_diff == 0.0 for trial in others)


@pytest.mark.parametrize("write", ["cols.mul_(2)", "x.mul_(2)"])
def test_a_repair_that_cuts_off_memory_somebody_writes_into_is_refuted(check: Check, write: str) -> None:
    source = AXIAL.replace("        mixed, _", f"        {write}\n        mixed, _")
    assert check(source, VIEW, COPIED, "AxialAttention.forward", "repaired").verdict == "refuted"


@pytest.mark.parametrize("new", [COPIED + " * (1 + 1e-7)", COPIED + "[:, torch.randperm(h)]", COPIED + ".flip(0)"])
def test_strided_storage_is_no_excuse_for_another_value(check: Check, new: str) -> None:
    assert check(AXIAL, VIEW, new, "AxialAttention.forward", "repaired").verdict == "refuted"


def test_a_function_is_called_with_tensors_of_its_own(check: Check) -> None:
    source = """
        import torch


        def split_heads(qkv, num_heads: int = 4):
            b, t, c = qkv.shape
            packed = qkv.view(b, t, num_heads, -1).transpose(1, 2)
            return packed.reshape(b, t, c)
        """
    verdict = check(source, ".reshape(b, t, c)", ".contiguous().view(b, t, c)", "split_heads")
    assert (verdict.verdict, verdict.harness) == ("validated", "function"), verdict.reason
    assert check(source, ".reshape(b, t, c)", ".reshape(b, t, c).flip(1)", "split_heads").verdict == "refuted"
