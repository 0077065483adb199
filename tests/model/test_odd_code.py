"""Code that is odd, and right: whatever it is, linting it does not fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.files import decode
from mha_lint.linter import lint
from mha_lint.settings import Settings

SETTINGS = Settings().with_selection(("ALL",), (), ())
HEAD = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n\n\n"
CODE = {
    "an empty subscript": "def attend(x, y):\n    x = x.softmax(-1)\n    return x[()] @ y[()]\n",
    "a factor that has no name": (
        "class A(nn.Module):\n    def forward(self, q, k, v, parts):\n        scores = q @ k.transpose(-2, -1)\n"
        "        first, second = (part for part in parts())\n        scores = scores * first\n"
        "        return (scores.softmax(-1) * (lambda: second)()) @ v\n"
    ),
    "names that nobody binds": (
        "class A(nn.Module):\n    rate = missing_rate\n\n"
        "    def __init__(self, dim=missing_dim):\n        super().__init__()\n"
        "        self.q = nn.Linear(dim, missing_width)\n\n"
        "    def forward(self, x, mask=missing_mask):\n        q = self.q(x).view(2, 3, 4, -1)\n"
        "        return F.scaled_dot_product_attention(q, q, q, attn_mask=mask) + missing_bias\n\n\n"
        "def attend():\n    return F.scaled_dot_product_attention(missing_q, missing_k, missing_v)\n"
    ),
}


@pytest.mark.parametrize("code", CODE.values(), ids=CODE.keys())
def test_odd_code_is_linted(code: str) -> None:
    lint(decode(Path("model.py"), (HEAD + code).encode()), SETTINGS)
