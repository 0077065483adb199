"""The injection benchmark writes the mistakes that it means into rotary embeddings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bench.injection.silence import (
    AUTOCAST_IS_SET,
    CAST_UNKNOWN,
    FREQUENCIES_UNKNOWN,
    HANDED_ANGLES,
    OF_PARTS,
    POSITIONS_GIVEN,
)
from tests.injected_texts import all_sites, change, silences, written

ROTARY = """class RotaryEmbedding(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / (10000 ** (torch.arange(0, width, 2).float() / width)))

    def forward(self, x):
        positions = torch.arange(x.shape[1], device=x.device)
        freqs = torch.outer(positions.float(), self.inv_freq.float())
        freqs = torch.cat((freqs, freqs), dim=-1)
        return freqs.cos(), freqs.sin()


def rotate_half(x):
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.rotary = RotaryEmbedding(width // heads)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        cos, sin = self.rotary(x)
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
"""


LAID = "freqs = torch.cat((freqs, freqs), dim=-1)"


TURNED = "return torch.cat((-x2, x1), dim=-1)"


BY_NEIGHBOURS = ROTARY.replace(LAID, "freqs = freqs.repeat_interleave(2, dim=-1)").replace(
    "x1, x2 = x.chunk(2, dim=-1)\n    return torch.cat((-x2, x1), dim=-1)",
    "x1, x2 = x[..., ::2], x[..., 1::2]\n    return torch.stack((-x2, x1), dim=-1).flatten(-2)",
)


SILENCED = [
    (
        "MHA119",
        "table by repeat_interleave",
        OF_PARTS,
        ROTARY.replace(LAID, f"freqs = torch.cat((freqs_h, freqs_w), dim=-1)\n        {LAID}"),
    ),
    (
        "MHA119",
        "table by stack and flatten",
        FREQUENCIES_UNKNOWN,
        ROTARY.replace("10000 ** (torch.arange(0, width, 2).float() / width)", "given"),
    ),
    ("MHA119", "rotation by neighbours", HANDED_ANGLES, ROTARY.replace("= RotaryEmbedding(", "= made(")),
    (
        "MHA120",
        "frequencies to half",
        AUTOCAST_IS_SET,
        ROTARY.replace(LAID, f"with torch.autocast('cuda', enabled=False):\n            {LAID}"),
    ),
    (
        "MHA120",
        "frequencies to the activations",
        CAST_UNKNOWN,
        ROTARY.replace("torch.arange(0, width, 2).float()", "steps").replace("torch.arange(", "positions_of("),
    ),
    (
        "MHA120",
        "upcast dropped",
        POSITIONS_GIVEN,
        ROTARY.replace("        positions = torch.arange(x.shape[1], device=x.device)\n", "").replace(
            "def forward(self, x):\n        freqs", "def forward(self, x, positions):\n        freqs"
        ),
    ),
]


@pytest.mark.parametrize(
    ("rule", "form", "reason", "text"), SILENCED, ids=[f"{each[0]}-{each[2][:24]}" for each in SILENCED]
)
def test_a_mistake_that_a_page_excepts_is_a_site_with_the_reason(
    tmp_path: Path, rule: str, form: str, reason: str, text: str
) -> None:
    assert silences(tmp_path, text)[rule, form] == reason


def test_angles_and_rotations_are_written_in_the_other_way(tmp_path: Path) -> None:
    found = written(tmp_path, ROTARY)
    assert found["MHA119", "table by repeat_interleave"] == change(LAID, "freqs = freqs.repeat_interleave(2, dim=-1)")
    assert found["MHA119", "table by stack and flatten"] == change(
        LAID, "freqs = torch.stack((freqs, freqs), dim=-1).flatten(-2)"
    )
    assert found["MHA119", "rotation by neighbours"] == change(
        TURNED, "return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)"
    )
    back = written(tmp_path, BY_NEIGHBOURS)
    assert back["MHA119", "table by cat"] == change("freqs = freqs.repeat_interleave(2, dim=-1)", LAID)
    assert back["MHA119", "rotation by halves"] == change(
        "return torch.stack((-x2, x1), dim=-1).flatten(-2)",
        "return torch.cat((-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]), dim=-1)",
    )


def test_a_factor_of_angles_loses_its_precision(tmp_path: Path) -> None:
    found = written(tmp_path, ROTARY)
    product = "freqs = torch.outer(positions.float(), self.inv_freq.float())"
    wrong = {
        "frequencies to half": product.replace("inv_freq.float()", "inv_freq.half()"),
        "frequencies to the activations": product.replace("inv_freq.float()", "inv_freq.to(x.dtype)"),
        "positions to the activations": product.replace("positions.float()", "positions.to(x.dtype)"),
        "upcast dropped": "freqs = torch.outer(positions, self.inv_freq)",
    }
    assert {form: found["MHA120", form] for form in wrong} == {
        form: change(product, text) for form, text in wrong.items()
    }


@pytest.mark.parametrize("text", [ROTARY, BY_NEIGHBOURS], ids=["halves", "neighbours"])
def test_a_layout_that_does_not_fit_makes_scores_depend_on_more_than_a_distance(tmp_path: Path, text: str) -> None:
    torch = pytest.importorskip("torch")
    for site in all_sites(tmp_path, text):
        if site.injection.rule != "MHA119" or site.injection.form.startswith("planted"):
            continue
        drifts = []
        for source in (site.right, site.wrong):
            scope: dict[str, Any] = {}
            exec(source.decode(), scope)
            q, k = torch.randn(2, 1, 8).double().expand(2, 12, 8)
            cos, sin = scope["RotaryEmbedding"](8)(q[None])
            turned = [each * cos + scope["rotate_half"](each) * sin for each in (q, k)]
            diagonal = (turned[0] @ turned[1].T).diagonal()
            drifts.append(float((diagonal - diagonal[0]).abs().max()))
        assert drifts[0] < 1e-5 < 1e-2 < drifts[1], site.injection.form


def test_a_layout_that_nothing_here_rotates_by_is_no_site(tmp_path: Path) -> None:
    alone = ROTARY.replace(TURNED, "return x")
    assert "MHA119" not in {rule for rule, form in written(tmp_path, alone) if not form.startswith("planted")}
    both = ROTARY + BY_NEIGHBOURS[BY_NEIGHBOURS.index("def rotate_half") : BY_NEIGHBOURS.index("class Attention")]
    assert "MHA119" not in {rule for rule, form in written(tmp_path, both) if not form.startswith("planted")}
