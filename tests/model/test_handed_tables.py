"""Rotary tables reach the attention that rotates by them on whichever way the code of a file hands them down."""

import pytest

from tests.model.linting import codes
from tests.model.test_rotary import HANDED

WRONG = "angles.repeat_interleave(2, dim=-1)"
RIGHT = "torch.cat((angles, angles), dim=-1)"


def edited(*edits: tuple[str, str]) -> str:
    """The module with its tables handed down in another way."""
    text = HANDED
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return text


MADE = "        tables = self.rotary(x, positions)\n"
LOOP = "        for layer in self.layers:\n            x = layer(x, tables=tables)\n"
BUFFER = "self.inv_freq = nn.Buffer(1.0 / (10000 ** (torch.arange(0, width, 2).float() / width)))"
APPLIED = "rotate(q, k, cos, sin)"
CALLED = "self.attention(self.norm(x), tables)"

BY_KIND = edited(
    (BUFFER, "for kind in kinds:\n            setattr(self, f'{kind}_inv_freq', " + BUFFER.partition(" = ")[2] + ")"),
    ("self, x, positions):", "self, x, positions, kind):"),
    ("self.inv_freq.float()", 'getattr(self, f"{kind}_inv_freq").float()'),
    (
        MADE,
        "        tables = {}\n        for kind in self.kinds:\n"
        "            tables[kind] = self.rotary(x, positions, kind)\n",
    ),
    ("tables=tables)", "tables=tables[layer.kind])"),
)
COMPREHENSION = edited(
    (MADE, "        tables = {kind: self.rotary(x, positions) for kind in self.kinds}\n"),
    ("tables=tables)", "tables=tables.get(layer.kind))"),
)
CHECKPOINTED = edited(("layer(x, tables=tables)", "self.checkpoint(layer.__call__, x, tables)"))
IN_A_LIST = edited(
    (
        "nn.ModuleList([Layer(width, heads) for _ in range(depth)])",
        "nn.ModuleList([])\n        for _ in range(depth):\n            layer = Layer(width, heads)\n"
        "            self.layers.append(nn.ModuleList([nn.LayerNorm(width), layer]))",
    ),
    (LOOP, "        for i, (norm, layer) in enumerate(self.layers):\n            x = layer(norm(x), tables)\n"),
)
SHARDED = edited(
    (LOOP, "        if self.parallel is not None:\n            x, tables = self.parallel(x, tables)\n" + LOOP)
)
IN_PARTS = edited(
    (MADE, "        cos, sin = self.rotary(x, positions)\n        tables = (cos.squeeze(0), sin.squeeze(0))\n"),
    (
        "    cos, sin = cos.unsqueeze(dim), sin.unsqueeze(dim)\n",
        "    cos, sin = cos[None, :, None].to(q.device), sin[None, :, None].to(q.device)\n",
    ),
)
BEHIND_HEADS = edited((APPLIED, "rotate(q, k, cos, sin, dim=2)"))
PROCESSOR = edited(
    ("class Attention(nn.Module):", "class Processor:"),
    (
        "    def __init__(self, width, heads):\n        super().__init__()\n"
        "        self.heads, self.qkv = heads, nn.Linear(width, 3 * width)\n\n    def forward(self, x, tables):",
        "    def __call__(self, attn, x, tables):",
    ),
    ("self.qkv(x).view(b, t, self.heads", "attn.qkv(x).view(b, t, attn.heads"),
    (
        "\n\nclass Layer(",
        "\n\nclass Attention(Processed):\n    _default_processor = Processor\n\n"
        "    def __init__(self, width, heads, processor=None):\n        super().__init__()\n"
        "        self.heads, self.qkv = heads, nn.Linear(width, 3 * width)\n        if processor is None:\n"
        "            processor = self._default_processor()\n        self.set_processor(processor)\n\n"
        "    def forward(self, x, tables):\n        return self.processor(self, x, tables)\n\n\nclass Layer(",
    ),
)
GIVEN_PROCESSOR = PROCESSOR.replace("self._default_processor()", "make()").replace(
    "Attention(width, heads)\n", "Attention(width, heads, processor=Processor())\n"
)
ITSELF = (
    PROCESSOR.replace(
        "self.set_processor(processor)", "self.set_processor(processor)\n        self.rotary = Rotary(width)"
    )
    .replace("self.processor(self, x, tables)", "self.processor(self, x)")
    .replace("__call__(self, attn, x, tables)", "__call__(self, attn, x)")
    .replace("cos, sin = tables", "cos, sin = attn.rotary(x, torch.arange(t)[None])")
    .replace(MADE, "")
    .replace("tables=tables", "tables=None")
)
ANGLES = edited(
    ("return angles.cos().to(x.dtype), angles.sin().to(x.dtype)", "return angles"),
    ("        cos, sin = tables\n", ""),
    (APPLIED, "rotate(q, k, tables)"),
    (
        "def rotate(q, k, cos, sin, dim=1):\n    cos, sin = cos.unsqueeze(dim), sin.unsqueeze(dim)\n",
        "def rotate(q, k, tables):\n    tables = tables[:, None].float()\n    cos, sin = tables.cos(), tables.sin()\n",
    ),
)
WAYS = {
    "by kind": BY_KIND,
    "comprehension": COMPREHENSION,
    "checkpointed": CHECKPOINTED,
    "in a list": IN_A_LIST,
    "sharded on one way": SHARDED,
    "in parts": IN_PARTS,
    "behind heads": BEHIND_HEADS,
    "processor": PROCESSOR,
    "given processor": GIVEN_PROCESSOR,
    "object itself": ITSELF,
    "angles": ANGLES,
}


@pytest.mark.parametrize("way", WAYS)
def test_tables_are_followed_to_the_rotation(way: str) -> None:
    assert "MHA119" not in codes(WAYS[way])
    assert "MHA119" in codes(WAYS[way].replace(RIGHT, WRONG))


REBOUND = edited((MADE, MADE + "        tables = self.arrange(tables)\n"))
PASSED = edited((CALLED, "self.attention(self.norm(x), arrange(tables))"))
LAID_ANEW = edited(
    (
        "    cos, sin = cos.unsqueeze(dim), sin.unsqueeze(dim)\n",
        "    cos, sin = arrange(cos.unsqueeze(dim)), arrange(sin.unsqueeze(dim))\n",
    )
)
TWO_KINDS = HANDED.replace("class Rotary(", "class Paired(").split("class Paired(")[1].split("\n\n\ndef")[0]
DISPUTED = edited(
    ("\n\n\ndef rotate_half", f"\n\n\nclass Paired({TWO_KINDS}\n\n\ndef rotate_half"),
    ("self.rotary = Rotary(width // heads)", "self.rotary, self.paired = Rotary(width), Paired(width)"),
    (MADE, MADE + "        paired = self.paired(x, positions)\n"),
    (LOOP, LOOP + "            x = layer(x, tables=paired)\n"),
)  # fmt: skip
SILENT = {"rebound by code that is not known": REBOUND, "arranged on the way": PASSED, "arranged at the end": LAID_ANEW}


@pytest.mark.parametrize("way", SILENT)
def test_what_other_code_makes_of_a_table_is_not_known(way: str) -> None:
    assert "MHA119" not in codes(SILENT[way].replace(RIGHT, WRONG))


def test_what_calls_do_not_agree_on_is_not_known() -> None:
    one = DISPUTED.replace(RIGHT, WRONG, 1)
    assert RIGHT in one
    assert "MHA119" not in codes(one)
    assert "MHA119" in codes(DISPUTED.replace(RIGHT, WRONG))


def test_a_table_that_is_missing_is_still_no_table() -> None:
    """The branch without tables is read as before, and so is that with them."""
    text = edited(
        ("        cos, sin = tables\n        q, k = rotate(q, k, cos, sin)\n",
         "        if tables is not None:\n            cos, sin = tables\n            q, k = rotate(q, k, cos, sin)\n"
         "        else:\n            q = q.transpose(1, 2).view(b, -1)\n"),
    )  # fmt: skip
    assert "MHA001" in codes(text)
    assert "MHA119" in codes(text.replace(RIGHT, WRONG))
