"""A way to run a module is found unaided: its sizes by their names, its inputs, and the modules it is given."""

from __future__ import annotations

import pytest

from mha_lint.validation.search.vocabulary import role_of

from .conftest import Check

pytest.importorskip("torch")

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("role", "names"),
    [
        (
            "width",
            "hidden embedding_dim embedding_dimension hiddenSize dModel attention_width img_channels n_embd "
            "hsize nhid ninp d_hid",
        ),
        (
            "heads",
            "n_heads head_num number_of_heads numHeads num_of_attention_heads heads_count nhead n_q_heads "
            "index_n_heads memory_attention_num_attention_heads",
        ),
        ("kv_heads", "num_kv_heads kv_head_count num_key_value_heads"),
        ("head_dim", "head_dimension headDim dim_head qk_dim_per_head"),
        ("rate", "emb_drop attention_dropout resid_pdrop"),
        ("index", "layer_num layer_idx"),
        ("rank", "q_lora_rank rank"),
        ("count", "index_topk top_k o_groups norm_num_groups num_experts_per_tok hc_mult"),
        ("experts", "num_experts n_routed_experts num_local_experts"),
        ("layers", "memory_attention_num_layers n_layer"),
        ("ratio", "memory_attention_downsample_rate sr_ratio compression_factor"),
        ("", "model_type channels_last embed_layer num_heads_type group_norm_type"),
    ],
)
def test_a_name_tells_by_its_parts_what_it_holds(role: str, names: str) -> None:
    assert {name: role_of(name) for name in names.split()} == dict.fromkeys(names.split(), role)


PACKED = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, WIDTH, HEADS):
        super().__init__()
        self.heads = HEADS
        self.head_width = WIDTH // HEADS
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        y = (q @ k.mT / self.head_width**0.5).softmax(-1) @ v
        return self.out(y.transpose(1, 2).view(n, t, c))
"""
MERGE = ".transpose(1, 2).view(n, t, c)"
MERGED = ".transpose(1, 2).reshape(n, t, c)"


@pytest.mark.parametrize(
    "names", [("hidden", "n_heads"), ("embedding_dim", "head_num"), ("embeddingDimension", "numberOfHeads")]
)
def test_width_and_head_count_are_told_apart_and_no_size_is_a_pair(check: Check, names: tuple[str, str]) -> None:
    source = PACKED.replace("WIDTH", names[0]).replace("HEADS", names[1])
    verdict = check(source, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason
    assert f"Attention({names[0]}=32, {names[1]}=4)" in verdict.reason


def test_sizes_at_which_the_error_is_never_raised_are_not_the_last_ones_tried(check: Check) -> None:
    source = PACKED.replace("WIDTH", "one").replace("HEADS", "other")  # both become 4: heads of width 1 can be viewed
    verdict = check(source, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason


def test_a_forward_without_inputs_is_run_with_parameters_of_several_shapes(check: Check) -> None:
    source = """
        import torch
        from torch import nn


        class Table(nn.Module):
            def __init__(self, heads: int, length: int):
                super().__init__()
                self.heads, self.length = heads, length
                self.table = nn.Parameter(torch.zeros(length, heads))

            def forward(self):
                return self.table.T.view(self.heads * self.length)
        """
    view = "self.table.T.view(self.heads * self.length)"
    verdict = check(source, view, view.replace("view", "reshape"), "Table.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason
    assert len({trial.shapes for trial in verdict.trials if trial.outcome == "agree"}) >= 4
    wrong = view.replace("T.view", "reshape")
    assert check(source, view, wrong, "Table.forward", "repaired").verdict == "refuted"


def test_a_module_that_takes_another_one_of_its_file_is_given_it(check: Check) -> None:
    source = """
        import torch
        from torch import nn


        class LocalPosEnc(nn.Module):
            def __init__(self, head_chs, num_heads, window):
                super().__init__()
                width = num_heads * head_chs
                self.conv = nn.Conv2d(width, width, window, padding=window // 2, groups=width)

            def forward(self, v, size):
                b, h, n, c = v.shape
                return self.conv(v.transpose(-1, -2).reshape(b, h * c, *size)).reshape(b, h, c, n).transpose(-1, -2)


        class Attention(nn.Module):
            def __init__(self, dim: int, num_heads: int = 8, shared_lpe=None):
                super().__init__()
                self.num_heads = num_heads
                self.qkv = nn.Linear(dim, dim * 3)
                self.proj = nn.Linear(dim, dim)
                self.lpe = shared_lpe

            def forward(self, x, size):
                B, N, C = x.shape
                qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
                q, k, v = qkv.unbind(0)
                x = q @ (k.softmax(dim=2).transpose(-1, -2) @ v) + self.lpe(v, size=size)
                return self.proj(x.transpose(1, 2).reshape(B, N, C))
        """
    split = "q, k, v = qkv.unbind(0)"
    verdict = check(source, split, "q, k, v = qkv[0], qkv[1], qkv[2]", "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason
    assert "LocalPosEnc(" in verdict.reason
    assert check(source, split, "k, q, v = qkv[0], qkv[1], qkv[2]", "Attention.forward").verdict == "refuted"


# One thing each that the inputs of unknown code may ask for.
@pytest.mark.parametrize(
    ("init", "forward", "use"),
    [
        ("self, width, heads", "self, x, lengths", "pad = torch.arange(x.shape[1])[None] >= lengths[:, None]"),
        ("self, width, heads", "self, x, alibi", "x = x + alibi.view(x.shape[0], heads, -1).mean(1)[..., None]"),
        ("self, width, heads", "self, x, cache: Cache", "x = x + cache.update(x)"),
        ("self, width, heads", "self, x, lens=None", "assert lens is None or lens.dtype == torch.int64"),
        ("self, width, heads, wide: bool = False", "self, h, mask=None", "x = h; n, t, c = h.shape"),
        ("self, width, heads, rotary_pct", "self, x, temb", "x = x + temb[:, None]"),
    ],
    ids=["lengths", "alibi", "cache", "optional lengths", "a tensor called h", "a vector"],
)
def test_inputs_that_are_no_plain_sequence_are_found(check: Check, init: str, forward: str, use: str) -> None:
    cache = """class Cache:
    def __init__(self):
        self.seen = None

    def update(self, x):
        self.seen = x if self.seen is None else torch.cat([self.seen, x])
        return self.seen.mean()


class Attention"""
    source = PACKED.replace("self, WIDTH, HEADS", init).replace("WIDTH", "width").replace("HEADS", "heads")
    source = source.replace("(self, x)", f"({forward})").replace("class Attention", cache)
    source = source.replace(
        "        n, t, c = x.shape", f"        heads = self.heads\n        {use}\n        n, t, c = x.shape"
    )
    verdict = check(source, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason


def test_what_a_module_leaves_in_an_object_it_was_given_is_compared(check: Check) -> None:
    source = """
        import torch
        from torch import nn


        class Cache:
            def __init__(self):
                self.key = None


        class Attention(nn.Module):
            def __init__(self, dim, num_heads):
                super().__init__()
                self.num_heads = num_heads
                self.qkv = nn.Linear(dim, 3 * dim)

            def forward(self, x, cache: Cache):
                b, t, c = x.shape
                qkv = self.qkv(x).view(b, t, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
                q, k, v = qkv.unbind(0)
                cache.key = k
                return (q @ k.mT).softmax(-1) @ v
        """
    split = "q, k, v = qkv.unbind(0)"
    assert check(source, split, "q, k, v = qkv[0], qkv[1], qkv[2]", "Attention.forward").verdict == "validated"
    assert check(source, "cache.key = k", "cache.key = k + 1", "Attention.forward").verdict == "refuted"


def test_lazy_layers_take_their_sizes_from_a_first_call(check: Check) -> None:
    source = PACKED.replace("nn.Linear(WIDTH, ", "nn.LazyLinear(").replace("WIDTH", "width").replace("HEADS", "heads")
    verdict = check(source, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason
    assert not any(", 0)" in shape for trial in verdict.trials for shape in trial.shapes)


def test_lengths_before_batches_are_told_by_the_names_of_the_dims(check: Check) -> None:
    source = (
        PACKED.replace("WIDTH", "width").replace("HEADS", "heads").replace("(self, x)", "(self, x, attention_mask)")
    )
    source = source.replace("n, t, c = x.shape", "s, b, c = x.shape; x = x.transpose(0, 1); n, t = b, s")
    source = source.replace("self.head_width**0.5)", "self.head_width**0.5 + attention_mask)")
    verdict = check(source, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason
    assert "x=(t, b, 32)" in verdict.reason


@pytest.mark.parametrize(
    ("layer", "forward", "use"),
    [
        ("nn.Linear(width, width)", "self, x, pos_emb", "x = x + self.more(pos_emb)[:, :1].mean()"),
        ("nn.Linear(7, 1)", "self, x, edges", "x = x + self.more(edges).squeeze(-1).mean(1)[..., None]"),
        ("nn.Conv1d(width, width, 1)", "self, x", "x = self.more(x).transpose(1, 2)"),
        ("None", "self, h, mask=None", "x = h; size = h.size(0)"),
    ],
    ids=["projected positions", "pairs", "channels before lengths", "measured"],
)
def test_the_layers_an_input_is_fed_to_tell_its_layout(check: Check, layer: str, forward: str, use: str) -> None:
    source = PACKED.replace("WIDTH", "width").replace("HEADS", "heads").replace("(self, x)", f"({forward})")
    source = source.replace("        self.out = ", f"        self.more = {layer}\n        self.out = ")
    source = source.replace("        n, t, c = x.shape", f"        {use}\n        n, t, c = x.shape")
    verdict = check(source, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason


def test_code_that_makes_tensors_of_the_default_dtype_runs_in_float64_with_that_as_the_default(check: Check) -> None:
    source = PACKED.replace("WIDTH", "width").replace("HEADS", "heads")
    source = source.replace("y = (q @ k.mT", "y = (q @ (torch.eye(t) @ k).mT")
    verdict = check(source, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason
    wide = [trial for trial in verdict.trials if trial.dtype == "float64" and trial.outcome == "agree"]
    assert wide
    assert all("with float64 as the default dtype" in trial.detail for trial in wide)
    assert not any("default dtype" in trial.detail for trial in verdict.trials if trial.dtype == "float32")


def test_the_attempt_that_got_furthest_names_what_stands_in_the_way(check: Check) -> None:
    source = PACKED.replace("WIDTH", "width").replace("HEADS", "heads")
    obstacle = "        y = y.transpose(0, 1).view(n, t, c)\n        return"
    source = source.replace("        return", obstacle).replace(
        "self.out(y.transpose(1, 2).view(n, t, c))", "self.out(y)"
    )
    verdict = check(source, "return self.out(y)", "return self.out(1 * y)", "Attention.forward")
    assert verdict.verdict == "not exercised"
    row = next(row for row, line in enumerate(source.splitlines(), 1) if "transpose(0, 1)" in line)
    assert "view size is not compatible" in verdict.reason
    assert f"at line {row}" in verdict.reason


GROUPED = """
import torch
from torch import nn


class Grouped(nn.Module):
    def __init__(self, dim, n_heads, n_kv):
        super().__init__()
        self.n_heads, self.n_kv, self.d = n_heads, n_kv, dim // n_heads
        self.kv = nn.Linear(dim, n_kv * self.d)

    def forward(self, x):
        b, t, c = x.shape
        kv, repeats = self.kv(x).view(b, t, self.n_kv, self.d), self.n_heads // self.n_kv
        if repeats == 1:
            return kv
        return kv[:, :, :, None].expand(b, t, self.n_kv, repeats, self.d).view(b, t, self.n_heads, self.d)
"""
GRAPH = """
import torch
from torch import nn


class Graph(nn.Module):
    def __init__(self, in_features, out_features, heads):
        super().__init__()
        self.heads = heads
        self.w = nn.Linear(in_features, heads * out_features)

    def forward(self, h, adj):
        n = h.size(0)
        w = self.w(h).view(n, self.heads, -1).permute(1, 0, 2)
        scores = (w @ w.transpose(1, 2)).masked_fill(adj == 0, -1e9)
        return (scores.softmax(-1) @ w).permute(1, 0, 2).view(n, -1)
"""
FUNCTION = """
import torch


def attend(q, k, num_heads):
    def split(x):
        b, t, c = x.shape
        return x.reshape(b, t, num_heads, c // num_heads).transpose(1, 2)

    q, k = split(q), split(k)
    b, h, t, d = q.shape
    return ((q @ k.mT).softmax(-1) @ k).transpose(1, 2).view(b, t, h * d)
"""
LAYOUTS = """
import torch


def mix(q, other, bias):
    b, h, t, d = q.shape
    lifted = q.transpose(1, 2) + other
    lifted = lifted * bias
    return lifted.transpose(1, 2).view(b, h * t, d)
"""
MEMORY = """
import torch
from torch import nn


class Memory(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)

    def forward(self, x, mem):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, -1).transpose(1, 2)
        k, v = self.kv(mem).view(b, -1, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).view(b, t, c)
"""


@pytest.mark.parametrize(
    ("source", "view", "symbol"),
    [
        (GROUPED, ".view(b, t, self.n_heads, self.d)", "Grouped.forward"),
        (GRAPH, ".view(n, -1)", "Graph.forward"),
        (FUNCTION, ".view(b, t, h * d)", "attend"),
        (LAYOUTS, ".view(b, h * t, d)", "mix"),
        (MEMORY, ".view(b, t, c)", "Memory.forward"),
        (PACKED.replace("WIDTH", "dim").replace("HEADS", "heads").replace(MERGE, ".transpose(1, 2).view(n, -1, c)"),
         ".view(n, -1, c)", "Attention.forward"),
    ],
    ids=["fewer heads of keys", "adjacency", "heads of a function", "layouts", "memory", "plain"],
)  # fmt: skip
def test_sizes_and_inputs_of_ordinary_code_are_found_unaided(check: Check, source: str, view: str, symbol: str) -> None:
    before, _, rest = source.rpartition(view)
    after = before + view.replace(".view", ".contiguous().view") + rest
    line = next(line for line in source.splitlines()[::-1] if view in line)
    fixed = next(line for line in after.splitlines()[::-1] if ".contiguous().view" in line)
    verdict = check(source, line, fixed, symbol, "repaired")
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize("place", ["constructor", "forward"])
def test_a_flag_off_its_default_is_tried_where_the_error_is_not_raised_with_it(check: Check, place: str) -> None:
    source = PACKED.replace("WIDTH, HEADS", "width, heads, copy=True" if place == "constructor" else "width, heads")
    source = source.replace("WIDTH", "width").replace("HEADS", "heads")
    source = source.replace(
        "self.heads =", "self.copy = copy; self.heads =" if place == "constructor" else "self.heads ="
    )
    source = source.replace(
        "forward(self, x)", "forward(self, x)" if place == "constructor" else "forward(self, x, copy=True)"
    )
    flag = "self.copy" if place == "constructor" else "copy"
    source = source.replace(
        "        return self.out(y.transpose(1, 2).view(n, t, c))",
        f"        y = y.transpose(1, 2)\n        if {flag}:\n            y = y.contiguous()\n"
        "        return self.out(y.view(n, t, c))",
    )
    verdict = check(source, "y.view(n, t, c)", "y.reshape(n, t, c)", "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason
    assert "copy=False" in verdict.reason


def test_a_dictionary_of_tensors_is_made_of_what_its_entries_are_used_for(check: Check) -> None:
    source = PACKED.replace("WIDTH", "width").replace("HEADS", "heads").replace("(self, x)", "(self, batch)")
    source = source.replace("n, t, c = x.shape", "x = batch['x']; n, t, c = x.shape; keep = batch['mask']")
    source = source.replace(".softmax(-1)", ".masked_fill(~keep[:, None, None], -1e4).softmax(-1)")
    verdict = check(source, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason
    assert "batch={'x': (b, t, 32), 'mask': (b, t) bool}" in verdict.reason
    wrong = MERGED.replace("(1, 2)", "(1, 2).flip(1)")
    assert check(source, MERGE, wrong, "Attention.forward", "repaired").verdict == "refuted"


def configured(setup: str) -> str:
    """PACKED with a configuration nobody wrote, read in ``setup``."""
    source = PACKED.replace("self, WIDTH, HEADS", "self, config")
    source = source.replace("        super().__init__()\n", f"        super().__init__()\n{setup}")
    return source.replace("WIDTH", "config.hidden_size").replace("HEADS", "config.num_attention_heads")


@pytest.mark.parametrize(
    "setup",
    [
        "        self.down = nn.Linear(config.hidden_size, config.kv_lora)\n",
        "        rank: int = config.kv_lora\n        self.down = nn.Linear(rank, 2 * rank)\n",
        "        self.table = nn.Parameter(torch.zeros(config.stages[1], config.bands[0]))\n",
        "        self.factor = config.alpha ** -0.5\n",
        "        self.sizes = config.rope_parameters['long_factor'] * 2\n",
        "        self.inner = config.per_layer_config[0].head_dim * 2\n",
        "        if config.attention_dropout > 0:\n            raise ValueError('no dropout, please')\n",
    ],
    ids=["size", "annotated", "sequences", "number", "key", "of one layer", "rate"],
)
def test_settings_without_a_convention_are_found_by_the_errors_they_cause(check: Check, setup: str) -> None:
    verdict = check(configured(setup), MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason


def test_a_setting_that_is_compared_with_none_is_none(check: Check) -> None:
    setup = "        self.clip = config.clip_qkv\n"
    source = configured(setup).replace("n, t, c = x.shape", "n, t, c = x.shape\n        x = self.clipped(x)")
    clipped = (
        "    def clipped(self, x):\n        return x.clamp(-self.clip, self.clip) if self.clip is not None else x\n"
    )
    verdict = check(source + "\n" + clipped, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason


def test_a_configuration_that_is_absent_by_default_is_given_where_it_is_needed(check: Check) -> None:
    source = configured("        self.config = attn_config\n").replace("self, config", "self, config, attn_config=None")
    source = source.replace("n, t, c = x.shape", "n, t, c = x.shape\n        x = x * self.config.residual_scale")
    verdict = check(source, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason


def test_sizes_that_do_not_fit_each_other_are_not_the_only_ones_tried(check: Check) -> None:
    """Grouped keys would need to be repeated; this class takes as many of them as of queries."""
    source = configured("        self.repeat = config.num_attention_heads // config.num_key_value_heads\n")
    source = source.replace("@ v\n", "@ v.repeat_interleave(self.repeat, 1)\n")
    verdict = check(source, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason


def test_parameters_that_were_never_filled_get_values(check: Check) -> None:
    source = configured("        self.sink = nn.Parameter(torch.empty(config.num_attention_heads))\n")
    source = source.replace("return self.out(", "y = y * self.sink[:, None, None]\n        return self.out(")
    verdict = check(source, MERGE, MERGED, "Attention.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason


def test_a_base_class_without_a_forward_is_no_way_to_run_anything(check: Check) -> None:
    source = configured("") + "\n\nclass Base(nn.Module):\n    inner = Attention\n"
    verdict = check(source.replace("x.shape", "x.shape[::0]"), MERGE, MERGED, "Attention.forward", "repaired")
    assert "calling Base" not in verdict.reason
    assert verdict.verdict == "not exercised"


def test_a_copy_is_made_afresh_only_after_a_call_that_changed_it() -> None:
    import torch

    from mha_lint.validation.trials.pristine import Pristine

    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.seen: list[int] = []
            self.last: torch.Tensor | None = None

    fresh = Pristine(Counting())
    lent = fresh.lend()
    assert fresh.lend() is lent
    for change in (
        lambda module: module.calls.add_(1),
        lambda module: module.seen.append(1),
        lambda module: setattr(module, "last", torch.ones(1)),
        lambda module: module.register_buffer("more", torch.ones(1)),
    ):
        change(lent)
        again = fresh.lend()
        assert again is not lent
        assert (int(again.calls), again.seen, again.last, len(list(again.buffers()))) == (0, [], None, 1)
        lent = again
