"""What comes from torch and einops is known however it is imported."""

import pytest

from tests.model.linting import codes

HEADS = """{top}


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x):
        {inside}
        q, k, v = {rearrange}(self.qkv(x), "b n (three h d) -> three b h n d", h=self.heads, three=3)
        w = torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** {power}, dim=-1)
        return w @ v
"""
TORCH = "import importlib\nimport torch\nfrom torch import nn\n"
HELPER = """
def einops_of_ours():
    try:
        import einops
    except ImportError:
        return None
    return einops
"""


@pytest.mark.parametrize(
    ("top", "inside", "rearrange"),
    [
        (TORCH + "import einops", "pass", "einops.rearrange"),
        (
            TORCH + "from monai.utils import optional_import\neinops, _ = optional_import('einops')",
            "pass",
            "einops.rearrange",
        ),
        (TORCH + "from .utils import optional_import\nr, _ = optional_import('einops', name='rearrange')", "pass", "r"),
        (TORCH + "from .utils import lazy\neinops = lazy('einops')", "pass", "einops.rearrange"),
        (
            TORCH + "from .utils import LazyLoader\ne = LazyLoader('einops', globals(), 'einops')",
            "pass",
            "einops.rearrange",
        ),
        (TORCH + "import lazy_loader\ne = lazy_loader.load('einops')", "pass", "e.rearrange"),
        (TORCH + "e = importlib.import_module('einops')", "pass", "e.rearrange"),
        (TORCH + "r = importlib.import_module('einops').rearrange", "pass", "r"),
        (TORCH + "e = __import__('einops')", "pass", "e.rearrange"),
        (TORCH + HELPER + "\n\neinops = einops_of_ours()", "pass", "einops.rearrange"),
        (TORCH + HELPER, "pass", "einops_of_ours().rearrange"),
        (TORCH, "e = importlib.import_module('einops')", "e.rearrange"),
        (TORCH + "from .utils import optional_import", "e, found = optional_import('einops')", "e.rearrange"),
        (TORCH, "r = getattr(importlib.import_module('einops'), 'rearrange')", "r"),
        (TORCH, "from einops import rearrange", "rearrange"),
        (TORCH + "import einops\nr = einops.rearrange", "pass", "r"),
        (
            TORCH + "try:\n    from einops import rearrange\nexcept ImportError:\n    rearrange = None",
            "pass",
            "rearrange",
        ),
        ("from .imports import *", "pass", "rearrange"),
        ("from torch import *\nfrom .imports import *", "pass", "einops.rearrange"),
    ],
)
def test_einops_is_known_however_it_is_imported(top: str, inside: str, rearrange: str) -> None:
    rearrange = rearrange.replace("einops.", "e.") if "e = Lazy" in top else rearrange
    assert "MHA104" in codes(HEADS.format(top=top, inside=inside, rearrange=rearrange, power="0.5"))
    assert "MHA104" not in codes(HEADS.format(top=top, inside=inside, rearrange=rearrange, power="-0.5"))


@pytest.mark.parametrize(
    "top",
    [
        "def einops_of_ours(name):\n    return name\n\n\ne = einops_of_ours('einops')",
        "from .ours import rearranged\ne = rearranged('einops')",
        "def e_of(x):\n    import einops\n    return x\n\n\ne = e_of()",
    ],
)
def test_what_a_function_gives_that_imports_nothing_is_not_known(top: str) -> None:
    assert codes(HEADS.format(top=TORCH + top, inside="pass", rearrange="e.rearrange", power="0.5")) == []


def test_a_part_of_torch_under_a_name_of_the_module_is_known() -> None:
    text = HEADS.format(
        top=TORCH + "import einops\nlinear = nn.Linear", inside="pass", rearrange="einops.rearrange", power="0.5"
    )
    assert "MHA104" in codes(text.replace("= nn.Linear(", "= linear("))


def test_attention_under_another_name_is_looked_at_where_nothing_else_tells_of_it() -> None:
    top = "from torch.nn.functional import scaled_dot_product_attention as fused\n\n\n"
    text = "def attend(q, k, v, mask):\n    return fused(q, k, v, attn_mask=mask, is_causal=True)\n"
    assert codes(top + text) == ["MHA112"]
    assert codes(top.replace("torch.nn.functional", "ours") + text) == []
