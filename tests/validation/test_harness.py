"""A way to run a module is found unaided: its sizes by their names, its inputs, and the modules it is given."""

from __future__ import annotations

import pytest

from mha_lint.validation.vocabulary import role_of

from .conftest import Check

pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("width", "hidden embedding_dim embedding_dimension hiddenSize dModel attention_width img_channels n_embd"),
        ("heads", "n_heads head_num number_of_heads numHeads num_of_attention_heads heads_count nhead n_q_heads"),
        ("kv_heads", "num_kv_heads kv_head_count num_key_value_heads"),
        ("head_dim", "head_dimension headDim dim_head qk_dim_per_head"),
        ("rate", "emb_drop attention_dropout resid_pdrop"),
        ("index", "layer_num layer_idx"),
        ("", "model_type channels_last embed_layer"),
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
