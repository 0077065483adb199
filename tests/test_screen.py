"""The screen keeps most of a file from the layout model, and not one finding from its reader."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from corpus_files import corpus
from mutants import changed

from mha_lint.files import Source, SourceError, read_source
from mha_lint.linter import lint
from mha_lint.model.torch_api import OPERATIONS as MODELLED
from mha_lint.rules import all_rules, defaults
from mha_lint.screen import admits
from mha_lint.screen.operations import OPERATIONS
from mha_lint.screen.suspects import KINDS, suspects
from mha_lint.settings import Settings

ALL = Settings().with_selection(("ALL",), (), ())
CODES = frozenset(KINDS)

FINE = """
import torch
from torch import nn

class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, x):
        b, t, c = x.shape
        return x.view(b, t, self.heads, self.width).transpose(1, 2)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
        y = (weights @ v).transpose(1, 2).contiguous().view(b, t, c)
        return self.proj(y)
"""


def source(text: str, path: str = "model.py") -> Source:
    return Source(Path(path), text, "utf-8", False, text.encode())


def same(file: Source) -> int:
    """Hold the findings with and without the screen against each other; how many there are."""
    try:
        without = lint(file, ALL, screened=False)
    except SourceError as error:
        with pytest.raises(SourceError, match=re.escape(str(error))):
            lint(file, ALL)
        return 0
    assert lint(file, ALL) == without, file.path
    return len(without)


# --- nothing is lost


@pytest.mark.parametrize("file", corpus(), ids=lambda file: file.name)
def test_corpus_and_its_mutants_have_the_same_findings_with_and_without_the_screen(file) -> None:
    for text in dict.fromkeys(changed(file.text)):
        same(source(text))


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_examples_of_the_rules_have_the_same_findings_with_and_without_the_screen(rule) -> None:
    for text in rule.invalid:
        assert same(source("import torch\n" + text)) > 0
    for text in rule.valid:
        same(source("import torch\n" + text))


def test_the_whole_of_torch_nn_has_the_same_findings_with_and_without_the_screen() -> None:
    torch = pytest.importorskip("torch")
    files = [read_source(path) for path in sorted((Path(torch.__file__).parent / "nn").rglob("*.py"))]
    admitted = [file for file in files if admits(file.data)]
    assert len(admitted) > 30
    for file in admitted:
        same(file)


@pytest.mark.parametrize(
    "text",
    [
        # the caller hands a transposed tensor to a helper that views it
        "def merge(y, b, t):\n    return y.view(b, t, -1)\n\n\n"
        "def attend(q, k, v):\n    b, h, t, d = v.shape\n    y = q @ k.transpose(2, 3) @ v\n"
        "    return merge(y.transpose(1, 2), b, t)\n",
        # the same through an attribute and a subclass
        "from torch import nn\n\n\nclass Base(nn.Module):\n    def forward(self, q, k, v):\n"
        "        b, h, t, d = v.shape\n        y = self.attend(q, k, v)\n        return y.view(b, t, h * d)\n\n\n"
        "class Plain(Base):\n    def attend(self, q, k, v):\n"
        "        return (q @ k.transpose(2, 3) @ v).transpose(1, 2)\n",
        # a nested function, a lambda, a loop, a tuple
        "def outer(v):\n    b, h, t, d = v.contiguous().shape\n    v = v.contiguous()\n"
        "    def turned(x):\n        return x.transpose(1, 2)\n    return turned(v).view(b, t, h * d)\n",
        "def outer(v):\n    b, h, t, d = v.shape\n    turned = lambda x: x.contiguous().transpose(1, 2)\n"
        "    parts = (v, turned(v))\n    return parts[1].view(b, t, h * d)\n",
        "def outer(v):\n    b, h, t, d = v.shape\n    v = v.contiguous()\n    for _ in range(2):\n"
        "        y = v.permute(0, 2, 1, 3)\n        y = y.view(b, t, h * d)\n    return y\n",
        # arguments handed on with a star, a first parameter that is not called self, a layer of einops
        "def merge(y, b, t):\n    return y.view(b, t, -1)\n\n\ndef attend(q, k, v):\n    b, h, t, d = v.shape\n"
        "    args = ((q @ k.transpose(2, 3) @ v).transpose(1, 2), b, t)\n    return merge(*args)\n",
        "from torch import nn\n\n\nclass Attention(nn.Module):\n    def turned(this, x):\n"
        "        return x.transpose(1, 2)\n\n    def forward(this, v):\n        b, h, t, d = v.shape\n"
        "        return this.turned(v.contiguous()).view(b, t, h * d)\n",
        "from torch import nn\nfrom einops.layers.torch import Rearrange\n\n\nclass Attention(nn.Module):\n"
        "    def __init__(self, dim):\n        super().__init__()\n        self.proj = nn.Linear(dim, dim)\n"
        "        self.split = Rearrange('b t (h d) -> b h t d', h=8)\n\n    def forward(self, x):\n"
        "        b, t, c = x.shape\n        return self.split(self.proj(x)).view(b, 8 * t, c // 8)\n",
        # what a review of the screen found
        *("def f(v):\n    b, h, t, d = v.shape\n    v = v.contiguous()\n" + body for body in (
            "    y = v[:, -1].transpose(1, 2)\n    return y.view(b, t * d)\n",
            "    y = v\n    merge = lambda: y.view(b, t, h * d)\n    y = y.transpose(1, 2)\n"
            "    return merge()\n",
            "    return g(v)[v.transpose(1, 2).view(b, t, h * d)]\n",
        )),
        "def merge(y):\n    return y.view(y.shape[0], y.shape[1], -1)\n\n\ndef one(x):\n"
        "    return merge(x.transpose(1, 2))\n\n\ndef two(x):\n    b, h, t, d = x.shape\n"
        "    return merge(x.transpose(1, 2))\n",
        "from torch import nn\n\n\nclass Attention(nn.Module):\n    def __init__(self, dim):\n"
        "        super().__init__()\n        self.q = nn.Linear(dim, dim)\n\n    def reset(self):\n"
        "        @torch.no_grad()\n        def init(m):\n            m.weight.zero_()\n        self.apply(init)\n\n"
        "    def forward(self, x):\n        return self.q(x)\n\n    def step(self, x):\n        b, t, c = x.shape\n"
        "        return self(x).contiguous().view(b, t * c)\n\n\n@(\n    torch.no_grad()\n)\n"
        "def other(x):\n    return x\n",
        "from torch import nn\n\n\nclass Dense(nn.Linear):\n    pass\n\n\nclass Attention(nn.Module):\n"
        "    def __init__(self, dim):\n        super().__init__()\n        self.q = Dense(dim, dim)\n\n"
        "    def forward(self, x):\n        b, t, c = x.shape\n        return self.q(x).contiguous().view(b, t * c)\n",
        "from torch import nn\n\n\nclass Attention(nn.Module):\n    def __init__(self, dim):\n"
        "        super().__init__()\n        self.q, self.k = nn.Linear(dim, dim), nn.Linear(dim, dim)\n\n"
        "    def forward(self, x):\n        b, t, c = x.shape\n"
        "        q, k, v = torch.stack([self.q(x), self.k(x), self.k(x)])\n        return q, k, v\n",
        "def merge(b, x=None, y=None):\n    return y.view(b, -1)\n\n\ndef f(v):\n    b, h, t, d = v.shape\n"
        "    return merge(*(b,), y=v.transpose(1, 2))\n",
        # three parts, as an assertion says
        "def split(qkv):\n    b, n, parts, h, d = qkv.shape\n    assert parts == 3\n"
        "    q, k, v = qkv.permute(2, 0, 3, 1, 4)\n    return q, k, v\n",
    ],
)  # fmt: skip
def test_suspects_are_followed_as_far_as_the_model_follows_them(text: str) -> None:
    assert same(source("import torch\n" + text)) > 0


def test_every_operation_of_the_layout_model_is_known_to_the_screen() -> None:
    assert MODELLED.keys() - OPERATIONS.keys() <= {"is_contiguous"}


def test_every_rule_says_what_its_findings_start_from() -> None:
    assert {rule.code for rule in all_rules()} == KINDS.keys()


def test_rules_run_by_default_as_they_say_themselves() -> None:
    assert defaults() == {rule.code: rule.default for rule in all_rules()}


def test_rule_of_someone_else_sees_the_whole_file() -> None:
    assert suspects(FINE, {"MHA001", "XYZ001"}) is None


# --- a scale of something else than the width of a head, whatever that is called

SCALED = """import math
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads, scale=None):
        super().__init__()
        self.dim, self.heads = dim, heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        INIT

    def split(self, x):
        b, t, c = x.shape
        return x.view(b, t, self.heads, c // self.heads).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        FORWARD
        return weights @ v
"""
BY_ATTRIBUTE = "weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)"
FUNCTION = "\n\ndef attend(q, k, head_dim):\n    return (q @ k.transpose(-2, -1) / math.sqrt(head_dim)).softmax(-1)\n"
METHOD = FUNCTION.replace("\n\ndef attend(", "\ndef attend(self, ").replace("\n", "\n    ").rstrip() + "\n"
PROPERTY = "\n    @property\n    def head_dim(self):\n        return self.dim\n"


def scaled(init: str = "", forward: str = BY_ATTRIBUTE, more: str = "") -> str:
    """Attention with these statements, each on a row of its own."""
    lines = {"INIT": init or "self.head_dim = dim // heads", "FORWARD": forward}
    text = SCALED
    for word, statements in lines.items():
        text = text.replace(word, statements.replace("; ", "\n        "))
    return text + more


def scales_of(text: str, *, screened: bool) -> list[str]:
    return [finding.message for finding in lint(source(text), ALL, screened=screened) if finding.code == "MHA104"]


def by_scores(scores: str) -> str:
    return f"weights = ({scores}).softmax(-1)".replace("SCORES", "(q @ k.transpose(-2, -1))")


@pytest.mark.parametrize(
    "text",
    [
        # a name for the width of a head is given another
        scaled("head_dim = dim; self.scale = head_dim ** -0.5"),
        scaled("self.head_dim = dim; self.scale = self.head_dim ** -0.5"),
        scaled("head_dim: int = dim; self.scale = head_dim ** -0.5"),
        scaled("heads, head_dim = heads, dim; self.scale = head_dim ** -0.5"),
        scaled("self.head_dim = head_dim = dim; self.scale = head_dim ** -0.5"),
        scaled("head_dim = heads; self.scale = head_dim ** -0.5"),
        scaled("head_dim = dim // 1; self.scale = head_dim ** -0.5"),
        scaled("head_dim = dim // heads * heads; self.scale = head_dim ** -0.5"),
        scaled("head_dim = dim // heads; head_dim *= heads; self.scale = head_dim ** -0.5"),
        scaled("pass", by_scores("SCORES / math.sqrt(self.head_dim)"), PROPERTY),
        # the last size of what isn't split
        scaled(forward="_, _, d_k = x.shape; " + by_scores("SCORES / math.sqrt(d_k)")),
        scaled(forward="_, _, head_dim = x.size(); " + by_scores("SCORES * head_dim ** -0.5")),
        scaled(forward="d_k = x.shape[-1]; " + by_scores("SCORES * d_k ** -0.5")),
        scaled(forward=by_scores("SCORES / math.sqrt(x.size(-1))")),
        scaled(forward=by_scores("SCORES * x.shape[-1] ** -0.5")),
        # an argument
        scaled(forward="weights = attend(q, k, head_dim=self.dim)", more=FUNCTION),
        scaled(forward="weights = attend(q, k, self.dim)", more=FUNCTION),
        scaled(forward="weights = self.attend(q, k, self.dim)", more=METHOD),
        # a root that something is multiplied by, or an inverse that something is divided by
        scaled(forward=by_scores("SCORES.mul(self.head_dim ** 0.5)")),
        scaled(forward=by_scores("SCORES.div(self.head_dim ** -0.5)")),
        scaled("head_dim = dim // heads; self.root = head_dim ** -0.5", by_scores("SCORES * (1 / self.root)")),
        scaled("head_dim = dim // heads; self.scale: float = head_dim ** 0.5"),
        scaled("head_dim = dim // heads; self.scale, self.bias = head_dim ** 0.5, None"),
        scaled("head_dim = dim // heads; root = head_dim ** 0.5; self.scale = root"),
        scaled("head_dim = dim // heads; self.scale = scale or head_dim ** 0.5"),
    ],
)
def test_a_wrong_scale_is_found_whatever_its_parts_are_called_and_however_they_are_handed_on(text: str) -> None:
    assert scales_of(text, screened=False)
    same(source(text))


@pytest.mark.parametrize(
    "text",
    [
        scaled("head_dim = dim // heads; self.scale = head_dim ** -0.5"),
        scaled("self.head_dim = int(dim / heads); self.scale = 1 / math.sqrt(self.head_dim)"),
        scaled("head_dim = dim // heads; self.scale = scale or head_dim ** -0.5"),
        scaled(forward=by_scores("SCORES / math.sqrt(self.head_dim)")),
        scaled(forward=by_scores("SCORES / math.sqrt(q.size(-1))")),
        scaled(forward="b, h, t, d_k = q.shape; " + by_scores("SCORES * d_k ** -0.5")),
        scaled(forward="weights = attend(q, k, self.head_dim)", more=FUNCTION),
    ],
)
def test_a_scale_by_the_width_of_a_head_is_not_suspect(text: str) -> None:
    assert not scales_of(text, screened=False)
    found = suspects(text, {"MHA104"})
    assert found is not None and not found.roots


# --- and most is never parsed


def test_clean_attention_holds_no_suspect() -> None:
    found = suspects(FINE, CODES - {"MHA005"})
    assert found is not None
    assert not found.roots


def test_part_holds_what_the_suspect_needs_and_no_more() -> None:
    text = (
        FINE.replace(".contiguous()", "") + "\n\nclass Other(nn.Module):\n    def forward(self, x):\n        return x\n"
    )
    found = suspects(text, {"MHA001"})
    assert found is not None
    part = found.part()
    assert part.roots == {"Attention.forward"}
    assert "class Attention" in part.text
    assert "class Other" not in part.text
    ast.parse(part.text)
    assert list(map(len, part.text.splitlines())) == list(map(len, text.splitlines()))


def test_clean_attention_is_linted_without_libcst(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(FINE)
    code = (
        "import sys\nfrom mha_lint.cli import main\nstatus = main(['--isolated', '--no-cache', sys.argv[1]])\n"
        "assert status == 0, status\nassert 'libcst' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


# --- whatever the code


def test_broken_code_is_still_an_error() -> None:
    with pytest.raises(SourceError, match="syntax error"):
        lint(source(FINE + "\ndef broken(:\n"), ALL)


@pytest.mark.slow
def test_code_that_takes_too_long_to_look_at_is_left_to_the_model() -> None:
    loops = "".join("    " * (depth + 1) + f"for i{depth} in x:\n" for depth in range(18))
    text = f"import torch\n\n\ndef f(x):\n{loops}{'    ' * 19}x = x.view(-1)\n"
    assert suspects(text, CODES) is None


def test_functions_that_call_one_another_come_to_an_end() -> None:
    text = "import torch\n\n\ndef f(x):\n    return g(x.transpose(1, 2)), g(x)\n\n\n"
    text += "def g(x):\n    return f((x, x)), h(x)\n\n\n"
    text += "def h(x):\n    return f(g(x)), x.view(-1), [h(y) for y in x]\n"
    found = suspects(text, CODES)
    assert found is not None
    assert found.part().roots == {"f"}  # it hands the transposed tensor down
