"""A wrong scale is found wherever it is applied: twice, inside of fused attention, on one of several scores."""

import pytest

from tests.model.linting import found
from tests.model.test_scales import by_scores, scaled, scales_of

TWICE = "scores are divided by the root of the width of a head at two places, by the width in all"
RIGHT = "(dim // heads) ** -0.5"


@pytest.mark.parametrize(
    "forward",
    [
        "q = q * self.scale; weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)",
        "q = q / math.sqrt(q.size(-1)); weights = (q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))).softmax(-1)",
        "q = q * self.scale; s = q @ k.transpose(-2, -1); s = s * self.scale; weights = s.softmax(-1)",
        "q, k = q * self.scale, k * self.scale; weights = (q @ k.transpose(-2, -1)).softmax(-1)",
        "q *= self.scale; weights = (q @ k.transpose(-2, -1)).mul_(self.scale).softmax(-1)",
        "weights = torch.nn.functional.scaled_dot_product_attention(q * self.scale, k, v)",
        "q = q * self.scale; weights = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=None)",
        "q = q * self.scale; weights = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=self.scale)",
    ],
)
def test_scores_that_are_scaled_twice(forward: str) -> None:
    assert scales_of(scaled(f"self.scale = {RIGHT}", forward)) == [TWICE]


FUSED = "torch.nn.functional.scaled_dot_product_attention"


@pytest.mark.parametrize(
    ("forward", "wrong"),
    [
        (f"r = self.scale ** 0.5; weights = {FUSED}(q * r, k * r, v)", f"{TWICE}".replace("two", "three")),
        (f"weights = {FUSED}(q * self.scale, k * self.scale, v)", TWICE.replace("two", "three").partition(",")[0]),
    ],
)
def test_the_root_may_be_applied_in_halves_before(forward: str, wrong: str) -> None:
    assert scales_of(scaled(f"self.scale = {RIGHT}", forward)) == [wrong]


@pytest.mark.parametrize(
    "call",
    [
        "flash_attn_func(q * self.scale, k, v, 0.0, 1.0)",
        "flash_attn_func(q * self.scale, k, v, softmax_scale=1.0)",
        "xformers.ops.memory_efficient_attention(q * self.scale, k, v, None, 0.0, 1.0)",
        "flex_attention(q * self.scale, k, v, None, None, 1.0)",
        "flex_attention(q * self.scale, k, v, scale=1.0)",
    ],
)
def test_a_kernel_is_given_its_scale_by_name_or_by_place(call: str) -> None:
    imports = (
        "import xformers.ops\nfrom flash_attn import flash_attn_func\n"
        "from torch.nn.attention.flex_attention import flex_attention\n"
    )
    text = imports + scaled(f"self.scale = {RIGHT}", f"weights = {call}")
    assert scales_of(text) == []
    assert scales_of(text.replace("1.0)", "self.scale)")) == [TWICE]


@pytest.mark.parametrize(
    "forward",
    [
        "weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)",
        "weights = (q @ k.transpose(-2, -1) / q.size(-1)).softmax(-1)",  # µP
        "weights = (q @ k.transpose(-2, -1) * self.scale ** 2).softmax(-1)",
        "q, k = q * self.scale ** 0.5, k * self.scale ** 0.5; weights = (q @ k.transpose(-2, -1)).softmax(-1)",
        "weights = torch.nn.functional.scaled_dot_product_attention(q, k, v)",
        "weights = torch.nn.functional.scaled_dot_product_attention(q * self.scale, k, v, scale=1.0)",
        "q = q * q.size(-1) ** 0.5; weights = torch.nn.functional.scaled_dot_product_attention(q, k, v)",
        "q = q * self.scale; s = q @ k.transpose(-2, -1); s = s * self.scale / self.scale; weights = s.softmax(-1)",
    ],
)
def test_scores_that_are_scaled_once_in_all(forward: str) -> None:
    assert scales_of(scaled(f"self.scale = {RIGHT}", forward)) == []


@pytest.mark.parametrize(
    ("scale", "wrong"),
    [
        (RIGHT, None),
        ("dim ** -0.5", "scores are scaled by the width of the model, not by that of a head"),
        ("dim ** 0.5", "scores are multiplied by the root of the width of the model, not divided by that of a head"),
        (
            "math.sqrt(dim // heads)",
            "scores are multiplied by the root of the width of a head, by which they should be divided",
        ),
    ],
)
@pytest.mark.parametrize(
    "forward",
    [
        by_scores("SCORES * self.scale"),
        "weights = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=self.scale)",
        "weights = flash_attn_func(q, k, v, softmax_scale=self.scale, causal=True)",
        "weights = xformers.ops.memory_efficient_attention(q, k, v, scale=self.scale)",
        "weights = self.attend(self, q, k, v, None, scaling=self.scale)",
        "s = q @ k.transpose(-2, -1) * self.scale; r = q @ self.places[None, None]; weights = (s + r).softmax(-1)",
        "s = q @ k.transpose(-2, -1); r = q @ v.mT; weights = ((s + r) * self.scale).softmax(-1)",
        "s = q @ k.transpose(-2, -1) * self.scale; r = q @ v.mT * q.size(-1) ** -0.5; weights = (s + r).softmax(-1)",
        "s = q @ k.mT * self.scale; r = q @ v.mT / q.size(-1)**0.5; s = torch.cat([s, r], 3); weights = s.softmax(-1)",
        "s = q @ k.transpose(-2, -1); r = q @ v.mT; weights = (torch.cat([r, s], dim=-1) * self.scale).softmax(dim=-1)",
    ],
)
def test_a_scale_is_judged_wherever_it_is_applied(forward: str, scale: str, wrong: str | None) -> None:
    text = "import xformers.ops\nfrom flash_attn import flash_attn_func\n" + scaled(f"self.scale = {scale}", forward)
    assert scales_of(text) == ([] if wrong is None else [wrong])


def test_the_scores_of_a_sum_that_are_scaled_wrongly_are_flagged_alone() -> None:
    forward = (
        "s = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5; r = q @ v.mT * q.size(-1) ** 0.5; "
        "weights = (s + r).softmax(-1)"
    )
    text = scaled(forward=forward)
    (hit,) = [finding for finding in found(text) if finding.code == "MHA104"]
    assert text.splitlines()[hit.location.row - 1].strip().startswith("r = ")


PARAMETERS = """import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.scale = heads, SCALE
        self.query = nn.Parameter(torch.randn(heads, dim, dim // heads))
        self.key = nn.Parameter(torch.randn(heads, dim, dim // heads))
        self.packed = nn.Parameter(torch.randn(dim, dim))

    def forward(self, x):
        b, t, c = x.shape
        PROJECT
        return (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
"""
SPLIT = "view(b, t, self.heads, c // self.heads).transpose(1, 2)"


@pytest.mark.parametrize(
    "project",
    [
        'q, k = (torch.einsum("btc,hcd->bhtd", x, w) for w in (self.query, self.key))',
        'q = torch.einsum("btc,hcd->bhtd", x, self.query); k = torch.einsum("hcd,btc->bhtd", self.key, x)',
        f"q, k = (x @ self.packed).{SPLIT}, torch.matmul(x, self.packed).{SPLIT}",
    ],
)
def test_parameters_are_maps_whose_widths_are_known(project: str) -> None:
    text = PARAMETERS.replace("PROJECT", project.replace("; ", "\n        "))
    assert scales_of(text.replace("SCALE", "dim ** -0.5")) == [
        "scores are scaled by the width of the model, not by that of a head"
    ]
    assert scales_of(text.replace("SCALE", "(dim // heads) ** -0.5")) == []
    assert scales_of(text.replace("SCALE", "1.0")) == []


HEAD = """from torch import nn


class Head(nn.Module):
    def __init__(self, n_embd, WIDTH):
        super().__init__()
        self.query, self.key = nn.Linear(n_embd, WIDTH), nn.Linear(n_embd, WIDTH)

    def forward(self, x):
        q, k = self.query(x), self.key(x)
        return (q @ k.transpose(-2, -1)SCALE).softmax(-1)
"""


def test_one_head_of_several_is_known_by_the_name_of_its_width() -> None:
    unscaled = HEAD.replace("SCALE", "")
    for name in ("head_size", "head_dim", "dim_head", "dim_per_head", "d_head"):
        assert scales_of(unscaled.replace("WIDTH", name)) == ["scores are not scaled at all"]
        assert scales_of(HEAD.replace("WIDTH", name).replace("SCALE", " * q.shape[-1] ** -0.5")) == []
        assert scales_of(HEAD.replace("WIDTH", name).replace("SCALE", " * 1.0")) == []
    for name in ("d_k", "hidden", "heads", "headroom"):
        assert scales_of(unscaled.replace("WIDTH", name)) == []


CONFIG = """import math
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.heads, self.width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)

    def split(self, x):
        return x.view(*x.shape[:-1], self.heads, self.width).permute(0, 2, 1, 3)

    def forward(self, hidden_states):
        q, k = self.split(self.query(hidden_states)), self.split(self.key(hidden_states))
        return torch.softmax(torch.matmul(q, k.transpose(-1, -2)) / SCALE, dim=-1)
"""


def test_a_width_that_settings_give_is_known() -> None:
    assert scales_of(CONFIG.replace("SCALE", "math.sqrt(self.config.hidden_size)")) == [
        "scores are scaled by the width of the model, not by that of a head"
    ]
    assert scales_of(CONFIG.replace("SCALE", "math.sqrt(self.width)")) == []
