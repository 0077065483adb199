"""What the linter looks at: which files it reads at all, how far it follows tensors, and with how few imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mha_lint.edits import apply, compiles, offset, row_starts
from mha_lint.files import Source, SourceError, SyntaxProblem
from mha_lint.linter import lint, modelled, parse
from mha_lint.rules import all_rules
from mha_lint.screen import admits
from mha_lint.settings import Settings

ALL = Settings().with_selection(("ALL",), (), ())

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
        return self.proj(y), weights
"""


def source(text: str, path: str = "model.py") -> Source:
    return Source(Path(path), text, "utf-8", False, text.encode())


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_the_screen_admits_whatever_a_rule_fires_on(rule) -> None:
    for text in rule.invalid:
        assert admits(f"import torch\n{text}".encode())
        assert rule.code in {finding.code for finding in lint(source("import torch\n" + text), ALL).findings}


ANGLES_ALONE = """
import torch
from torch import nn


class Angles(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / 10000 ** (torch.arange(0, dim, 2).float() / dim))

    def forward(self, x):
        positions = torch.arange(x.shape[1], device=x.device).type_as(x)
        angles = torch.outer(positions, self.inv_freq)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()
"""

ROTATION_ALONE = """
import torch


def rotate_half(x):
    d = x.shape[-1] // 2
    return torch.cat((-x[..., d:], x[..., :d]), dim=-1)


def rotary(x):
    t, dim = x.shape[-2:]
    freqs = 10000 ** (-torch.arange(0, dim, 2).float() / dim)
    angles = torch.outer(torch.arange(t).float(), freqs).repeat_interleave(2, dim=-1)
    return x * angles.cos() + rotate_half(x) * angles.sin()
"""

MERGING_ALONE = """
import torch
from torch import nn


class Merge(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.merge = nn.Parameter(torch.empty(c, c))

    def merged(self, weights, v):
        y = torch.einsum("bhts,bshd->bthd", weights, v).flatten(2)
        return torch.einsum("btc,cc->btc", y, self.merge)
"""


@pytest.mark.parametrize(
    ("text", "code"),
    [(ANGLES_ALONE, "MHA120"), (ROTATION_ALONE, "MHA119"), (MERGING_ALONE, "MHA123")],
    ids=["angles", "rotation", "merging"],
)
def test_a_part_of_attention_in_a_file_of_its_own_is_read(text: str, code: str) -> None:
    assert code in {finding.code for finding in lint(source(text), ALL).findings}


@pytest.mark.parametrize(
    "text",
    [
        "from .imports import *\n\n\ndef f(q, k):\n    return F.scaled_dot_product_attention(q, k, k, dropout_p=1)\n",
        "from .imports import *\n\n\nclass A(nn.Module):\n    def forward(self, x):\n        return x.reshape(1)\n",
        "from .layers import split_heads\n\n\ndef f(x):\n    return split_heads(x).view(1)\n",
    ],
)
def test_the_screen_admits_files_that_get_torch_and_tensors_from_other_files(text: str) -> None:
    assert admits(text.encode())


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
def test_tensors_are_followed_through_calls_classes_and_loops(text: str) -> None:
    assert lint(source("import torch\n" + text), ALL).findings


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [
        (["--select", "MHA104,needless-contiguous"], len(all_rules())),  # a name is looked up in all of them
        (["--select", "MHA104,MHA004"], 2),
        (["--select", "MHA0", "--ignore", "MHA00,MHA099"], 0),
        ([], len(all_rules())),
    ],
)
def test_a_run_imports_the_rules_that_it_selects_and_no_others(
    arguments: list[str], imported: int, tmp_path: Path
) -> None:
    path = tmp_path / "model.py"
    path.write_text(FINE)
    code = (
        "import sys\nfrom importlib.metadata import entry_points\nfrom mha_lint.cli import main\n"
        "status = main(['--isolated', '--no-cache', *sys.argv[1:]])\nassert status == 0, status\n"
        "values = {point.module for point in entry_points(group='mha_lint.rules')}\n"
        "print(len(values & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code, "-q", *arguments, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{imported}\n"


def test_clean_attention_is_linted_without_libcst(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(FINE)
    code = (
        "import sys\nfrom mha_lint.cli import main\nstatus = main(['--isolated', '--no-cache', sys.argv[1]])\n"
        "assert status == 0, status\nassert 'libcst' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_a_file_that_imports_nothing_and_works_on_tensors_is_looked_at() -> None:
    text = (
        "def f(x):\n    b, h, t, d = x.shape\n    x = x.contiguous()\n    return x.permute(0, 2, 1, 3).view(b, t, -1)\n"
    )
    assert [finding.code for finding in lint(source(text), ALL).findings] == ["MHA001"]


def test_broken_code_is_still_an_error() -> None:
    with pytest.raises(SourceError, match="syntax error"):
        lint(source(FINE + "\ndef broken(:\n"), ALL)


# --- texts of every kind -----------------------------------------------------------------------------------------

VIEWED = "import torch\n\n\ndef f(v):\n    b, h, t, d = v.shape\n    x = v.contiguous()\n    {}\n"
VIEW = "y = x.transpose(1, 2).view(b, t, h * d)"
ODD = "\x0b\x0c\x1c\x1d\x1e\x85\u2028é漢𝐪"


@pytest.mark.parametrize(
    "written",
    [
        VIEW,
        f"{VIEW};",
        f"a = 1; {VIEW}; c = 2",
        f"if b: {VIEW}",
        f'"{ODD}"; {VIEW}  # {ODD}',
        f'"""\n{ODD}\n"""; {VIEW}',
        f"# {ODD}\n    {VIEW}",
        f"\f\n    \f    {VIEW}",
        f"y = \\\n\f{VIEW[4:]}",
        f"y = (({VIEW[4:]}))",
        f"y = lambda a: {VIEW[4:]}; y(1)",
        f"y = [{VIEW[4:]} for _ in b]",
        f"y = (z := {VIEW[4:]})",
        f"for _ in b: {VIEW}",
        f"with a, b as c: {VIEW}",
        f"try: {VIEW}\n    except A: pass",
        "y = x.transpose(1, 2) . \\\n  view (b, t, h * d)",
        "y = x.transpose(1, 2).𝐯𝐢𝐞𝐰(b, t, h * d).view(b, t, h * d)",
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_finding_and_its_fix_are_at_the_very_characters(written: str, newline: str) -> None:
    text = VIEWED.format(written).replace("\n", newline)
    finding = lint(source(text), ALL).findings[0]
    starts = row_starts(text)
    start, end = (offset(starts, place) for place in (finding.location, finding.end_location))
    assert re.fullmatch(r"(view|𝐯𝐢𝐞𝐰) ?\(b, t, h \* d\)", text[start:end])
    assert finding.fix is not None
    fixed = apply(text, finding.fix.edits)
    assert re.sub(r"contiguous\(\)\s*\.(?=view|𝐯)", "", fixed) == text
    assert compiles(fixed)
    assert finding.location not in {each.location for each in lint(source(fixed), ALL).findings}


@pytest.mark.parametrize("text", ["x = 1\ntype X = int[*x;\n", "x = 1\nprint x\n", "x = 1\ndef f[T: (]: pass\n"])
def test_a_text_that_this_python_cannot_read_is_told_with_its_version(text: str) -> None:
    with pytest.raises(SyntaxProblem) as refused:
        parse(source(text))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert str(refused.value).startswith("model.py:2: syntax error: ")
    assert refused.value.message.endswith(f" (read as Python {version})")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python reads them")
@pytest.mark.parametrize("text", ["def f[T](x: T) -> T: ...\n", "type X = int\n", "class A[T]: ...\n", "f'{'a'}'\n"])
def test_so_is_the_syntax_of_a_newer_python(text: str) -> None:
    with pytest.raises(SyntaxProblem) as refused:
        parse(source(text))
    assert re.fullmatch(r"model\.py:1: syntax error: .* \(read as Python 3\.1[01]\)", str(refused.value))


DEEP = {
    "operators": "y = ({}x)".format("a **\n" * 1600),
    "subscripts": "y = (x{})".format("\n [0]" * 1600),
    "branches": "if a: pass\n" + "    elif a: pass\n" * 1600,
}


@pytest.mark.parametrize("deep", DEEP.values(), ids=DEEP.keys())
def test_code_that_libcst_would_take_minutes_for_is_told_to_be_too_deep(deep: str) -> None:
    assert lint(source(f"import torch\n{deep.replace('    elif', 'elif')}\n# view\n"), ALL).findings == ()
    with pytest.raises(SourceError, match="nested too deeply"):
        lint(source(VIEWED.format(f"{VIEW}\n    {deep}")), ALL)


def test_the_model_of_deep_code_is_told_too() -> None:
    model, _ = modelled(source(VIEWED.format(f"{VIEW}\n    y = (x{'[0]' * 1200})")), Settings())
    assert model.views


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_a_tree_on_which_other_plugins_have_written_gives_the_same_findings(rule) -> None:
    for example in (*rule.invalid, *rule.valid):
        given = source("import torch\n" + example)
        tree = ast.parse(given.text)
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node):
                for name in ("parent", "_parent", "_pyflakes_parent", "previous_sibling", "parents"):
                    setattr(child, name, node)
            vars(node)["children"] = list(ast.iter_child_nodes(node))
        assert lint(given, ALL, tree=tree) == lint(given, ALL)
