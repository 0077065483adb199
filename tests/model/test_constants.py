"""Constants that are none: a branch that other code of the file can reach is followed."""

import pytest

from tests.model.linting import codes

ATTENTION = """import torch
from torch import nn
{top}

class Attention(nn.Module):
{body}
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
{init}
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, c // self.heads).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        w = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1)
        y = (w @ v).transpose(1, 2)
        if {test}:
            return self.out(y.view(b, t, c))
        return self.out(y.reshape(b, t, c))
{more}
"""


def attention(test: str, top: str = "", body: str = "", init: str = "", more: str = "") -> str:
    """An attention with a view that raises where the condition ``test`` holds."""
    return ATTENTION.format(test=test, top=top, body=body, init=f"        {init}\n" if init else "", more=more)


def method(statement: str) -> str:
    return f"\n    def set(self, value):\n        {statement}\n"


def function(statement: str) -> str:
    return f"\n\ndef enable(module):\n    {statement}\n"


REBOUND = {
    "set in try and except": attention(
        "HAS", "try:\n    import flash\n\n    HAS = True\nexcept ImportError:\n    HAS = False\n"
    ),
    "set in if and else": attention(
        "HAS", "import sys\n\nif sys.version_info > (3, 9):\n    HAS = True\nelse:\n    HAS = False\n"
    ),
    "set in a loop": attention("HAS", "HAS = False\nfor name in dir(torch):\n    HAS = True\n"),
    "set in a while loop": attention("HAS", "HAS = False\nwhile not HAS:\n    HAS = True\n"),
    "set in a with block": attention(
        "HAS",
        (
            "import contextlib\n\nHAS = False\nwith contextlib.suppress(ImportError):\n"
            "    import flash\n\n    HAS = True\n"
        ),
    ),
    "set again in an if": attention("HAS", "HAS = False\nif torch.cuda.is_available():\n    HAS = True\n"),
    "added to": attention("COUNT", "COUNT = 0\nCOUNT += torch.cuda.device_count()\n"),
    "set by a function": attention("HAS", "HAS = False\n\n\ndef enable():\n    global HAS\n    HAS = True\n"),
    "set in globals()": attention("HAS", 'HAS = False\n\n\ndef enable():\n    globals()["HAS"] = True\n'),
    "deleted": attention("HAS", "HAS = False\ndel HAS\nfrom .a import *\n"),
    "before a star import": attention("HAS", "HAS = False\nfrom .flags import *\n"),
    "imported or False": attention(
        "HAS", "HAS = False\ntry:\n    from flags import HAS\nexcept ImportError:\n    pass\n"
    ),
    "module imported or None": attention(
        "flash is None", "try:\n    import flash\nexcept ImportError:\n    flash = None\n"
    ),
    "function imported or None": attention(
        "flash is None", "try:\n    from flash import flash\nexcept ImportError:\n    flash = None\n"
    ),
    "bound by with": attention("HAS", 'HAS = False\nwith open("f") as HAS:\n    pass\n'),
    "bound by a walrus": attention("HAS", "HAS = False\nif (HAS := torch.cuda.is_available()):\n    pass\n"),
}

CHANGED = {
    "by a method": attention("self.fused", init="self.fused = False", more=method("self.fused = value")),
    "by a method to True": attention("self.fused", init="self.fused = False", more=method("self.fused = True")),
    "by a method from None": attention(
        "self.cache is not None", init="self.cache = None", more=method("self.cache = value")
    ),
    "by a method with others": attention("self.fused", init="self.fused = False", more=method("self.fused, _ = value")),
    "counted by a method": attention("self.count > 3", init="self.count = 0", more=method("self.count += 1")),
    "by a function": attention("self.fused", init="self.fused = False", more=function("module.fused = True")),
    "by a function for each": attention(
        "self.fused",
        init="self.fused = False",
        more=function("for each in module.modules():\n        each.fused = True"),
    ),
    "by setattr": attention("self.fused", init="self.fused = False", more=function('setattr(module, "fused", True)')),
    "by setattr of self": attention(
        "self.fused", init="self.fused = False", more=method('setattr(self, "fused", value)')
    ),
    "by setattr of any name": attention(
        "self.fused",
        init="self.fused = False",
        more=method("for name in value:\n            setattr(self, name, True)"),
    ),
    "by __dict__.update": attention("self.fused", init="self.fused = False\n        self.__dict__.update(width=1)"),
    "by a method of a subclass": attention(
        "self.fused",
        init="self.fused = False",
        more="\n\nclass Fused(Attention):\n    def fuse(self):\n        self.fused = True\n",
    ),
    "by the constructor of a subclass": attention(
        "self.fused",
        init="self.fused = False",
        more=(
            "\n\nclass Fused(Attention):\n    def __init__(self, width, heads):\n"
            "        super().__init__(width, heads)\n        self.fused = True\n"
        ),
    ),
    "by a method of its owner": attention(
        "self.fused",
        init="self.fused = False",
        more=(
            "\n\nclass Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.attention = Attention(8, 2)\n\n    def fuse(self):\n"
            "        self.attention.fused = True\n"
        ),
    ),
    "by the constructor of its owner": attention(
        "self.fused",
        init="self.fused = False",
        more=(
            "\n\nclass Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.attention = Attention(8, 2)\n        self.attention.fused = True\n"
        ),
    ),
    "at the top level": attention(
        "self.fused", init="self.fused = False", more="\n\nattention = Attention(8, 2)\nattention.fused = True\n"
    ),
    "class attribute by a method": attention(
        "self.fused", body="    fused = False\n", more=method("self.fused = True")
    ),
    "class attribute at the top level": attention(
        "self.fused", body="    fused = False\n", more="\n\nAttention.fused = True\n"
    ),
    "class attribute twice in its body": attention(
        "self.fused", body="    fused = False\n    if torch.cuda.is_available():\n        fused = True\n"
    ),
    "class attribute by a subclass": attention(
        "self.fused", body="    fused = False\n", more="\n\nclass Fused(Attention):\n    fused = True\n"
    ),
    "class attribute by a class method": attention(
        "self.fused",
        body="    fused = False\n",
        more="\n    @classmethod\n    def fuse(cls):\n        cls.fused = True\n",
    ),
    "property of that name": attention(
        "self.fused",
        init="self.fused = False",
        more=(
            "\n    @property\n    def fused(self):\n        return self._fused\n\n"
            "    @fused.setter\n    def fused(self, value):\n        self._fused = value\n"
        ),
    ),
    "property with a setter": attention(
        "self.fused",
        init="self._fused = False",
        more=(
            "\n    @property\n    def fused(self):\n        return self._fused\n\n"
            "    @fused.setter\n    def fused(self, value):\n        self._fused = value\n"
        ),
    ),
    "list appended to": attention("self.hooks", init="self.hooks = []", more=method("self.hooks.append(value)")),
    "module replaced by None": attention(
        "self.extra is None", init="self.extra = nn.Identity()", more=method("self.extra = None")
    ),
    "deleted by a method": attention("self.fused", init="self.fused = False", more=method("del self.fused")),
    "by a method to a tensor": attention(
        "self.cache is not None",
        init="self.cache = None",
        more="\n    def clear(self):\n        self.cache = torch.zeros(1)\n",
    ),
    "by a function of the constructor": attention(
        "self.fused",
        init="self.fused = False\n\n        def fuse():\n            self.fused = True\n\n        self.fuse = fuse",
    ),
    "field of a dataclass": attention(
        "self.options.fused",
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Options:\n    fused: bool = False\n",
        init="self.options = Options(fused=True)",
    ),
}

CONSTANT = {
    "module constant": attention("HAS", "HAS = False\n"),
    "attribute": attention("self.fused", init="self.fused = False"),
    "set again to the same": attention("self.fused", init="self.fused = False", more=method("self.fused = False")),
    "set in a class of its own": attention(
        "self.fused",
        init="self.fused = False",
        more="\n\nclass Other(nn.Module):\n    def fuse(self):\n        self.fused = True\n",
    ),
    "class attribute": attention("self.fused", body="    fused = False\n"),
    "annotated class attribute": attention("self.fused", body="    fused: bool = False\n"),
    "set in a subclass to something else": attention(
        "self.fused",
        init="self.fused = False",
        more=(
            "\n\nclass Fused(Attention):\n    def __init__(self, width, heads):\n"
            "        super().__init__(width, heads)\n        self.other = True\n"
        ),
    ),
}


@pytest.mark.parametrize("text", REBOUND.values(), ids=REBOUND)
def test_a_name_of_the_module_that_is_bound_more_than_once_decides_nothing(text: str) -> None:
    assert "MHA001" in codes(text)


@pytest.mark.parametrize("text", CHANGED.values(), ids=CHANGED)
def test_an_attribute_that_other_code_of_the_file_sets_decides_nothing(text: str) -> None:
    assert "MHA001" in codes(text)


@pytest.mark.parametrize("text", CONSTANT.values(), ids=CONSTANT)
def test_a_branch_that_no_code_of_the_file_reaches_is_not_followed(text: str) -> None:
    assert "MHA001" not in codes(text)


SCALED = """import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.d = heads, dim // heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.scale = {scale}

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, self.d).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        w = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
        return self.out((w @ v).transpose(1, 2).reshape(b, t, c))
"""


@pytest.mark.parametrize(
    "scale",
    [
        "dim ** (-1 / 2)",
        "dim ** -(1 / 2)",
        "1 / dim ** (1 / 2)",
        "dim ** (1 / 2 - 1)",
        "(dim ** (1 / 2)) ** -1",
        "dim ** (-2 / 4)",
        "self.d ** (1 / 2)",
        "round(7 / 2) / 4 * dim ** -0.5",
        "int(9 / 2) / 4 * dim ** -0.5",
        "7 // 2 / 3 * dim ** -0.5",
        "-7 // 2 / -4 * dim ** -0.5",
        "-7 % 4 * dim ** -0.5",
        "2 ** -1 * 2 * dim ** -0.5",
    ],
)
def test_true_division_of_constants_is_a_scale(scale: str) -> None:
    assert codes(SCALED.format(scale=scale)) == ["MHA104"]


@pytest.mark.parametrize(
    "scale",
    [
        "self.d ** (-1 / 2)",
        "self.d ** -(1 / 2)",
        "1 / self.d ** (1 / 2)",
        "2 * 1 / 2 * self.d ** -0.5",
        "int(8 / 2) / 4 * self.d ** -0.5",
        "8 / 2 / 4 * self.d ** -0.5",
        "-7 // 2 / -4 * self.d ** -0.5",
        "(1 / 3) * 3 * self.d ** -0.5",
    ],
)
def test_true_division_of_constants_is_a_right_scale(scale: str) -> None:
    assert codes(SCALED.format(scale=scale)) == []


def test_a_number_divided_in_place_is_a_scale() -> None:
    text = SCALED.format(scale="1").replace("self.scale = 1\n", "scale = 1\n        scale /= dim**0.5\n")
    text = text.replace("scale /= dim**0.5\n", "scale /= dim**0.5\n        self.scale = scale\n")
    assert codes(text) == ["MHA104"]


def test_a_whole_quotient_is_a_size() -> None:
    text = SCALED.format(scale="self.d ** -0.5").replace("dim // heads", "int(64 / 2)")
    view = text.replace("transpose(1, 2).reshape(b, t, c)", "transpose(1, 2).view(b, t, c)")
    assert codes(view) == ["MHA001"]


CONFIGURED = """import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.qkv, self.out = nn.Linear(config.width, 3 * config.width), nn.Linear(config.width, config.width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, c // self.heads).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        {lines}
"""


def test_a_setting_that_is_named_as_a_method_is_a_setting() -> None:
    lines = "y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)\n"
    text = CONFIGURED.format(lines=lines + "        return self.out(y.transpose(1, 2).reshape(b, t, c))")
    assert codes(text) == ["MHA103"]


@pytest.mark.parametrize("name", ["dropout", "mask", "scale", "size", "update", "T", "real_"])
def test_a_setting_that_is_named_as_a_method_may_be_none(name: str) -> None:
    lines = (
        "y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)\n"
        "        if self.dropout is None:\n            return self.out(y.view(b, t, c))\n"
        "        return self.out(y.reshape(b, t, c))"
    )
    view = CONFIGURED.format(lines=lines).replace("config.dropout", f"config.{name}")
    fresh = "y = torch.matmul(q @ k.transpose(-2, -1), v).transpose(1, 2)"
    assert "MHA001" in codes(view.replace("y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)", fresh))


def test_a_size_that_is_named_as_an_attribute_of_tensors_is_a_size() -> None:
    lines = (
        "y = torch.matmul((q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1), v)\n"
        "        return self.out(y.transpose(1, 2).view(b, t, self.heads * (c // self.heads)))"
    )
    text = CONFIGURED.format(lines=lines).replace("config.heads", "config.H")
    assert codes(text) == ["MHA001"]


def test_a_module_that_is_given_by_a_setting_is_no_method_of_the_settings() -> None:
    lines = (
        "w = self.dropout((q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1))\n"
        "        return self.out((w @ v).transpose(1, 2).reshape(b, t, c))"
    )
    assert codes(CONFIGURED.format(lines=lines)) == []
