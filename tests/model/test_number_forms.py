"""Numbers are exact however they are written, and what may be a tensor is not taken for a number."""

import pytest

from tests.model.linting import codes
from tests.model.test_scales import BY_ATTRIBUTE, by_scores, scaled, scales_of

BY_WIDTH = "scores are scaled by the width of the model, not by that of a head"
NUMPY = "import numpy as np\n"
# Each is the root of the width of the model, by which scores should not be divided.
ROOTS = [
    "math.sqrt(dim)",
    "dim ** 0.5",
    "dim ** (1 / 2)",
    "dim ** (2 / 4)",
    "math.sqrt(math.sqrt(dim * dim))",
    "math.pow(dim, 0.5)",
    "math.pow(dim, 1 / 2)",
    "pow(dim, 0.5)",
    "np.power(dim, 0.5)",
    "np.sqrt(dim)",
    "np.float32(np.sqrt(dim))",
    "np.sqrt(np.array(dim))",
    "(dim ** (1 / 4)) ** 2",
    "float(dim) ** 0.5",
    "1 / dim ** -0.5",
    "1.0 / math.pow(dim, -0.5)",
    "torch.sqrt(torch.tensor(dim))",
    "torch.sqrt(torch.tensor(float(dim)))",
    "torch.sqrt(torch.tensor([dim], dtype=torch.float32))",
    "torch.tensor(dim).sqrt()",
    "torch.tensor(dim).float().sqrt().item()",
    "torch.sqrt(torch.FloatTensor([dim]))",
    "torch.sqrt(torch.FloatTensor([dim])).to('cpu')",
    "torch.as_tensor(dim).pow(0.5)",
    "torch.full((1,), dim).sqrt()",
    "torch.pow(torch.tensor(dim), 0.5)",
    "torch.tensor(dim).rsqrt().reciprocal()",
    "32 * (1 / 32) * dim ** 0.5",
    "(1 / 2 + 1 / 2) * dim ** 0.5",
]


@pytest.mark.parametrize("root", ROOTS)
def test_the_root_of_a_width_is_known_however_it_is_written(root: str) -> None:
    text = NUMPY + scaled(f"self.scale = {root}", BY_ATTRIBUTE.replace("* self.scale", "/ self.scale"))
    assert scales_of(text) == [BY_WIDTH]
    right = text.replace(root, root.replace("dim", "(dim // heads)"))
    assert scales_of(right) == []


@pytest.mark.parametrize(
    "scale",
    [
        "1 / math.sqrt(k.size(-1))",
        "1 / torch.sqrt(torch.tensor(k.size(-1)))",
        "torch.rsqrt(torch.tensor(k.shape[-1], dtype=q.dtype))",
        "q.new_tensor(k.shape[-1]).rsqrt()",
        "np.power(k.shape[-1], -0.5)",
        "torch.tensor(k.shape[-1] ** -0.5, device=q.device)",
    ],
)
def test_a_number_that_is_made_where_scores_are_scaled_is_known(scale: str) -> None:
    scores = by_scores(f"SCORES * {scale}")
    assert scales_of(NUMPY + scaled(forward=scores)) == []
    wrong = scores.replace("k.size(-1)", "self.dim").replace("k.shape[-1]", "self.dim")
    assert scales_of(NUMPY + scaled(forward=wrong)) == [BY_WIDTH]


def test_a_scale_that_is_kept_as_a_buffer_is_known() -> None:
    init = 'self.register_buffer("scale", torch.tensor(dim ** -0.5), persistent=False)'
    assert scales_of(scaled(init)) == [BY_WIDTH]
    assert scales_of(scaled(init.replace("dim **", "(dim // heads) **"))) == []


FUNCTION = """import math
import torch


def attend(q, k, v, mask, scale):
    {first}
    w = torch.matmul(q, k.transpose(-2, -1)){scores}
    w = torch.softmax(w, dim={dim})
    return torch.matmul(w, v)
"""


@pytest.mark.parametrize(
    "first",
    [
        "q = q / math.sqrt(q.size(-1))",
        "q = q * q.shape[-1] ** -0.5",
        "q = q * scale",
        "q = scale * q",
        "q *= scale",
        "q /= 8.0",
        "q = -q",
        "q = q + 1.0",
        "q = torch.mul(q, scale)",
        "b, t, d = q.shape; q = q / math.sqrt(d)",
    ],
)
def test_what_is_used_as_a_tensor_stays_one_whatever_is_computed_with_it(first: str) -> None:
    assert codes(FUNCTION.format(first=first, scores="", dim=-2)) == ["MHA105"]
    assert codes(FUNCTION.format(first=first, scores="", dim=-1)) == []


@pytest.mark.parametrize(
    "added",
    [
        "(1 - mask) * torch.finfo(w.dtype).min",
        "(1.0 - mask) * -10000.0",
        "(1 - mask) * -1e9",
        "-mask * 1e9",
        "mask * torch.finfo(w.dtype).min",
        "(mask - 1) * 1e9",
        "(1 - mask[:, None]) * -1e4",
        "torch.log(mask)",
    ],
)
def test_a_mask_of_which_nothing_is_known_is_no_number(added: str) -> None:
    """The weights are masked a second time, which is right only where the scores were masked."""
    text = FUNCTION.format(first=f"w = torch.matmul(q, k.transpose(-2, -1)); w = w + {added}", scores="", dim=-1)
    text = text.replace("    w = torch.matmul(q, k.transpose(-2, -1))\n", "")
    text = text.replace("    return", "    w = w.masked_fill(scale == 0, 0.0)\n    return").replace("; ", "\n    ")
    assert "MHA107" not in codes(text)
    assert "MHA107" in codes(text.replace(f"w = w + {added}", "w = w + 1.0"))


def test_sizes_that_a_function_is_given_stay_sizes() -> None:
    text = """import torch


def merge(b, heads, width, tokens):
    x = torch.randn(b, tokens, heads, width).transpose(1, 2)
    return x.view(b, tokens, heads * width)
"""
    assert codes(text) == ["MHA001"]
