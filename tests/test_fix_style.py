"""Candidate edits parse, look as their file does, and leave nothing unused or untrue behind."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import dedent, indent
from typing import TYPE_CHECKING, Any

import pytest
from corpus_files import CORPUS, corpus

from mha_lint import fixers
from mha_lint.edits import apply
from mha_lint.files import Source, decode
from mha_lint.findings import Edit, Finding, Fix, Position
from mha_lint.fixers.unused_imports import tidied
from mha_lint.linter import lint
from mha_lint.settings import Settings

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules import Hit

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
EVERYTHING = Settings(extend_select=("MHA005",), ignore=("MHA2",))  # a fused call would take the mistake along
HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"


def source_of(text: str, name: str = "attention.py") -> Source:
    return decode(Path(name), text.encode())


def found(text: str, code: str, name: str = "attention.py") -> list[Finding]:
    return [finding for finding in lint(source_of(text, name), EVERYTHING).findings if finding.code == code]


def fixed(text: str, code: str, name: str = "attention.py") -> str:
    """The text after the fixes of all findings of a code, which must have one."""
    edits: list[Edit] = []
    for finding in found(text, code, name):
        assert finding.fix is not None, finding.no_fix_reason
        edits += finding.fix.edits
    assert edits, f"{code} found nothing"
    return apply(text, tidied(text, edits, name))


def wholly_fixed(source: Source) -> str:
    """The text after all candidates, unsafe ones included, round by round where their edits overlap."""
    text = source.text
    for _ in range(8):
        chosen: list[Edit] = []
        for finding in lint(decode(source.path, text.encode()), EVERYTHING).findings:
            assert "would not have parsed" not in finding.no_fix_reason, f"{source.path}: {finding.code}"
            edits = [*chosen, *(finding.fix.edits if finding.fix is not None else ())]
            try:
                apply(text, tidied(text, edits, source.path.name))
            except ValueError:
                continue  # it overlaps with one that is made
            chosen = edits
        if not chosen:
            return text
        text = apply(text, tidied(text, chosen, source.path.name))
    return text


# --- every candidate parses


def broken(hit: Hit[Any], context: Context) -> Fix:
    """A fixer as a third party may write it: its edit does not parse."""
    start = context.places.start(hit.first)
    return Fix("safe", "repaired", "Break it", (Edit(start, start, "((("),))


def astray(hit: Hit[Any], context: Context) -> Fix:
    """A fixer whose edit lies behind the end of the file."""
    return Fix("safe", "repaired", "Edit what is not there", (Edit(Position(9999, 1), Position(9999, 2), "x"),))


VIEWED = HEAD + "def merge(x):\n    b, h, t, d = x.shape\n    return x.transpose(1, 2).view(b, t, h * d)\n"


@pytest.mark.parametrize("fixer", [broken, astray])
def test_a_candidate_that_does_not_parse_is_never_shown_whoever_wrote_the_fixer(
    monkeypatch: pytest.MonkeyPatch, fixer: fixers.Fixer
) -> None:
    monkeypatch.setattr(fixers, "fixer_of", lambda code: fixer)
    (finding,) = found(VIEWED, "MHA001")
    assert finding.fix is None
    assert "would not have parsed" in finding.no_fix_reason
    assert "please report it" in finding.no_fix_reason


def test_a_file_that_this_interpreter_does_not_compile_still_gets_its_fix() -> None:
    text = VIEWED + "return 1\n"  # outside of a function: as a notebook's cell, or code for another version
    with pytest.raises(SyntaxError):
        compile(text, "attention.py", "exec")
    (finding,) = found(text, "MHA001")
    assert finding.fix is not None


@pytest.mark.parametrize("line", ["if b is 1:\n    pass\n", 'PATTERN = "\\d"\n'])
def test_compiling_a_candidate_shows_no_warning_of_the_code_that_is_linted(line: str) -> None:
    text = VIEWED + "b = 2\n" + line
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        compile(text, "attention.py", "exec")
        assert shown, "Python warns of this code"
        shown.clear()
        (finding,) = found(text, "MHA001")
    assert finding.fix is not None
    assert not [each for each in shown if "<candidate>" in str(each.filename)]
    if "is 1" in line:  # what only compiling tells
        assert shown == []


# --- one more argument, wherever a call may have its arguments


def masked(call: str) -> str:
    return (
        "import math\nimport torch\n\n\ndef attend(q, k, v):\n    t = q.shape[-2]\n    sizes = (t, t)\n"
        f"    future = {call}\n"
        "    w = (q @ k.transpose(-2, -1)).masked_fill(future.triu(1) == 1, -math.inf)\n"
        "    return w.softmax(-1) @ v\n"
    )


ARGUMENTS = {
    "torch.ones(t, t)": "torch.ones(t, t, device=k.device)",
    "torch.ones((t, t))": "torch.ones((t, t), device=k.device)",
    "torch.zeros(size=(t, t))": "torch.zeros(size=(t, t), device=k.device)",
    "torch.ones((t, t),)": "torch.ones((t, t), device=k.device,)",
    "torch.ones(t, (t))": "torch.ones(t, (t), device=k.device)",
    "torch.ones(t, (t), )": "torch.ones(t, (t), device=k.device, )",
    "torch.ones([t, t])": "torch.ones([t, t], device=k.device)",
    "torch.full((t, t), (1.0))": "torch.full((t, t), (1.0), device=k.device)",
    "torch.ones((t, t), dtype=(torch.float32))": "torch.ones((t, t), dtype=(torch.float32), device=k.device)",
    "(torch.ones((t, t)))": "(torch.ones((t, t), device=k.device))",
    "torch.ones(\n        (t, t)\n    )": "torch.ones(\n        (t, t), device=k.device\n    )",
    "torch.ones(\n        t,\n        t,\n    )": (
        "torch.ones(\n        t,\n        t,\n        device=k.device,\n    )"
    ),
    "torch.ones(\n        t,\n        (t),  # keys\n        # all\n    )": (
        "torch.ones(\n        t,\n        (t),  # keys\n        device=k.device,\n        # all\n    )"
    ),
    "torch.ones(\n        t,\n        t  # keys\n    )": (
        "torch.ones(\n        t,\n        t,\n        device=k.device  # keys\n    )"
    ),
    "torch.ones(t,\n               t)": "torch.ones(t,\n               t, device=k.device)",
    "torch.ones(  # square\n        t, t)": "torch.ones(  # square\n        t, t, device=k.device)",
}


@pytest.mark.parametrize("call", ARGUMENTS)
def test_a_keyword_argument_is_handed_over_however_the_call_is_written(call: str) -> None:
    text = fixed(masked(call), "MHA110")
    assert text == masked(ARGUMENTS[call])
    ast.parse(text)


def test_a_keyword_argument_beside_a_bare_generator_gets_it_parentheses() -> None:
    from mha_lint.fixers.arguments import with_keyword
    from mha_lint.syntax.exact import Exact
    from mha_lint.syntax.module import Module

    for text, wanted in {
        "f(x for x in y)\n": "f((x for x in y), n=1)\n",
        "f(  # (\n    x for x in y  # )\n)\n": "f(  # (\n    (x for x in y), n=1  # )\n)\n",
        "f((x for x in y))\n": "f((x for x in y), n=1)\n",
        "f(a=1, *(b))\n": "f(a=1, *(b), n=1)\n",
        "f()\n": "f(n=1)\n",
        "f(  # none\n)\n": "f(  # none\nn=1)\n",
        "f(**k)\n": "f(**k, n=1)\n",
        "f(*(t for _ in range(2)))\n": "f(*(t for _ in range(2)), n=1)\n",
        "f(*(t, t))\n": "f(*(t, t), n=1)\n",
        "f(lambda a, b: (a, b))\n": "f(lambda a, b: (a, b), n=1)\n",
    }.items():
        places = Exact(Module(text))
        (statement,) = places.module.tree.body
        assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
        assert apply(text, with_keyword(statement.value, "n", "1", places)) == wanted


def dropping(call: str) -> str:
    body = f"""
    class Attention(nn.Module):
        def __init__(self, width, p):
            super().__init__()
            self.p = p
            self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)

        def forward(self, x):
            q, k, v = self.q(x), self.k(x), self.v(x)
            w = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
            {call}
    """
    return HEAD + dedent(body).strip() + "\n"


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("return F.dropout((w), (self.p)) @ v", "return F.dropout((w), (self.p), training=self.training) @ v"),
        ("return F.dropout(w, self.p,) @ v", "return F.dropout(w, self.p, training=self.training,) @ v"),
        (
            "return F.scaled_dot_product_attention(q, k, v, dropout_p=(self.p if self.p < 1 else 0.5))",
            "return F.scaled_dot_product_attention("
            "q, k, v, dropout_p=((self.p if self.p < 1 else 0.5) if self.training else 0.0))",
        ),
    ],
)
def test_a_dropout_is_told_the_mode_however_its_rate_is_written(call: str, wanted: str) -> None:
    after = fixed(dropping(call), "MHA103")
    assert ast.dump(ast.parse(after)) == ast.dump(ast.parse(dropping(wanted)))


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("softmax((s))", "softmax((s), dim=-1)"),
        ("softmax(s,)", "softmax(s, dim=-1,)"),
        ("softmax(s, dim=(0))", "softmax(s, dim=(-1))"),
    ],
)
def test_a_softmax_is_told_the_dimension_however_it_is_written(call: str, wanted: str) -> None:
    text = HEAD + (
        "class Attention(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
        "        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))\n\n"
        "    def forward(self, x):\n        b, t, c = x.shape\n        q, k, v = self.q(x), self.k(x), self.v(x)\n"
        "        s = torch.bmm(q, k.transpose(1, 2)) * c**-0.5\n        return torch.bmm(F.{}, v)\n"
    )
    assert fixed(text.format(call), "MHA105") == text.format(wanted)


# --- imports


SCALED = """import math
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def split(self, x):
        return x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = (q @ k.transpose(-2, -1)) * math.sqrt(self.head_dim)
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
"""


def test_an_import_that_a_fix_makes_unused_goes() -> None:
    after = fixed(SCALED, "MHA104")
    assert after.startswith("import torch\nfrom torch import nn\n")
    assert "self.head_dim ** -0.5" in after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from math import pi, sqrt\nPI = pi\n", "from math import pi\nPI = pi\n"),
        ("from math import sqrt, pi\nPI = pi\n", "from math import pi\nPI = pi\n"),
        ("from math import (\n    pi,\n    sqrt,\n    tau,\n)\nPI = pi, tau\n", None),
        ("from math import sqrt  # of the width\n", ""),
    ],
)
def test_one_name_of_an_import_goes_and_the_others_stay(before: str, after: str | None) -> None:
    text = SCALED.replace("import math\n", before).replace("math.sqrt", "sqrt")
    result = fixed(text, "MHA104")
    assert "sqrt" not in result
    if after is not None:
        assert result.startswith(after + "import torch\n")
    ast.parse(result)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda text: text + "\n\n__all__ = ['Attention', 'math']\n", "attention.py"),
        (lambda text: text + "\n\n__all__ = ['Attention']\n__all__ += ['math']\n", "attention.py"),
        (lambda text: text.replace("import math\n", "import math as math\n"), "attention.py"),
        (lambda text: text + "\n\ndef other(x: 'math.Any'):\n    return x\n", "attention.py"),
        (lambda text: text + "\n\ndef other(x):\n    return math.exp(x)\n", "attention.py"),
        (lambda text: text, "__init__.py"),
        (lambda text: text.replace("import math\n", "try:\n    import math\nexcept ImportError:\n    pass\n"), "a.py"),
    ],
)
def test_an_import_that_is_there_for_others_stays(change: Callable[[str], str], name: str) -> None:
    assert "import math" in fixed(change(SCALED), "MHA104", name)


def test_an_import_that_two_fixes_make_unused_together_goes_with_both() -> None:
    second = SCALED.partition("\n\n\n")[2].replace("class Attention", "class Other")
    text = f"{SCALED}\n\n{second}"
    for finding in found(text, "MHA104"):
        assert finding.fix is not None
        assert "import math" in apply(text, finding.fix.edits), "the other one needs it still"
    assert "math" not in fixed(text, "MHA104")


def test_fixing_in_earnest_leaves_no_import_unused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from mha_lint.fixing import fix_source
    from mha_lint.validation import Validator

    second = SCALED.partition("\n\n\n")[2].replace("class Attention", "class Other")
    path = tmp_path / "attention.py"
    path.write_text(f"{SCALED}\n\n{second}")
    source = decode(path, path.read_bytes())
    settings = Settings(ignore=("MHA2",), unsafe_fixes=True)
    with Validator(devices=("cpu",)) as validator:
        result = fix_source(source, list(lint(source, settings).findings), settings, validator)
    assert [finding.code for finding in result.fixed] == ["MHA104", "MHA104"]
    assert result.text.startswith("import torch\n")


def fails_of(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """What ruff's F rules say of the files in a folder, by their names."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F"]
    command += ["--output-format", "json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    fails: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(done.stdout):
        fails.setdefault(Path(each["filename"]).name, []).append((each["code"], each["message"]))
    return fails


def test_fixed_files_parse_and_ruff_finds_nothing_unused_or_undefined_in_them_that_was_not_before(
    tmp_path: Path,
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    changed = 0
    for path in [*(file.path for file in corpus() if file.expected), *EXAMPLES.glob("*.py")]:
        source = decode(path, path.read_bytes())
        text, name = wholly_fixed(source), f"{path.parent.name}_{path.name}"
        changed += text != source.text
        (before / name).write_text(source.text, encoding="utf-8")
        (after / name).write_text(text, encoding="utf-8")
    assert changed > 50
    known = fails_of(before)
    new = {name: [each for each in fails if each not in known.get(name, [])] for name, fails in fails_of(after).items()}
    assert {name: fails for name, fails in new.items() if fails} == {}


# --- long lines


def long(call: str, filler: int = 88) -> str:
    """A function whose mask is made by a call, in a file whose longest line of code has so many characters."""
    line = "WIDE = "
    return masked(call) + "\n\n" + 3 * f"{line}{'1' * (filler - len(line))}\n"


@pytest.mark.parametrize(
    ("limit", "call", "wanted"),
    [
        (
            88,
            "torch.ones((q.shape[-2], q.shape[-2]), dtype=torch.float32).reshape(t, t)",
            "torch.ones(\n        (q.shape[-2], q.shape[-2]), dtype=torch.float32, device=k.device\n"
            "    ).reshape(t, t)",
        ),
        (
            120,
            "torch.ones((q.shape[-2], q.shape[-2]), dtype=torch.float32).reshape(t, t)",
            "torch.ones((q.shape[-2], q.shape[-2]), dtype=torch.float32, device=k.device).reshape(t, t)",
        ),
        (
            79,
            "torch.ones(q.shape[-2], q.shape[-2]).reshape(1, t, t).squeeze(0)",
            "torch.ones(\n        q.shape[-2], q.shape[-2], device=k.device\n    ).reshape(1, t, t).squeeze(0)",
        ),
    ],
)
def test_a_call_that_a_fix_makes_too_long_for_the_file_is_broken(limit: int, call: str, wanted: str) -> None:
    assert fixed(long(call, limit), "MHA110") == long(wanted, limit)


@pytest.mark.parametrize(
    ("before", "content", "after"),
    [
        ("x = f(a, b)", "c" * 70, "x = f(\n    a,\n    CONTENT,\n    b,\n)"),
        ("x = f(a, *b)", "c" * 70, "x = f(\n    a,\n    CONTENT,\n    *b,\n)"),
        ("x = f(a)(b, d)", "c" * 60, "x = f(a, CONTENT)(b, d)"),
        ("x = t[a]", "c" * 90, "x = t[a, CONTENT]"),
        ("x = f(a, t)  # as it is", "c" * 60, "x = f(a, CONTENT, t)  # as it is"),
    ],
)
def test_a_broken_call_keeps_its_meaning_and_a_row_that_cannot_be_broken_stays(
    before: str, content: str, after: str
) -> None:
    from mha_lint.fixers.long_lines import laid_out

    text = 3 * f"WIDE = {'1' * 72}\n" + f"{before}\n"
    at = Position(4, before.index("a") + 2)
    edits = laid_out(text, [Edit(at, at, f", {content}")])
    assert apply(text, edits).split("\n", 3)[3] == after.replace("CONTENT", content) + "\n"


def test_a_row_below_a_comment_in_a_method_is_broken() -> None:
    from mha_lint.fixers.long_lines import laid_out

    head = 3 * f"WIDE = {'1' * 72}\n" + "class A:\n    def f(self):\n        # why\n        # and how\n"
    text = head + f"        x = f(a, {'c' * 60})\n"
    at = Position(8, 16)
    after = apply(text, laid_out(text, [Edit(at, at, ", bb")]))
    assert after == head + f"        x = f(\n            a, bb, {'c' * 60}\n        )\n"


def test_parts_of_an_assignment_that_a_fix_makes_too_long_get_a_line_each() -> None:
    before = (CORPUS / "unbind" / "black_chain.py").read_text()
    after = fixed(before, "MHA002")
    added = """
        query, key, value = (
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
        )
"""
    assert added in after
    kept = [line for line in before.splitlines() if "permute" not in line and "unbind" not in line]
    assert set(kept) <= set(after.splitlines()), "no other row is touched"


# --- comments


def packed(lines: str) -> str:
    body = """
    class Attention(nn.Module):
        def __init__(self, dim, heads):
            super().__init__()
            self.heads = heads
            self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

        def forward(self, x):
            B, N, C = x.shape
    LINES
            y = F.scaled_dot_product_attention(q, k, v)
            return self.o(y.transpose(1, 2).reshape(B, N, C))
    """
    return HEAD + dedent(body).strip().replace("LINES", indent(dedent(lines).strip("\n"), " " * 8)) + "\n"


VIEW = "self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads)"
SWAP = "q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            f"qkv = {VIEW}.permute(2, 0, 3, 1, 4)  # (3, B, heads, N, d)\nq, k, v = qkv.unbind(0)",
            f"qkv = {VIEW}\nq, k, v = qkv.unbind(2)\n{SWAP}",
            ["# (3, B, heads, N, d)"],
        ),
        (
            "# one product for all\n# [3, B, heads, N, d]\n"
            f"qkv = {VIEW}.permute(2, 0, 3, 1, 4)\nq, k, v = qkv.unbind(0)",
            f"# one product for all\nqkv = {VIEW}\nq, k, v = qkv.unbind(2)\n{SWAP}",
            ["# [3, B, heads, N, d]"],
        ),
        (
            f"qkv = {VIEW}.permute(2, 0, 3, 1, 4)  # (3, B, heads, N, d)  # noqa: E501\nq, k, v = qkv.unbind(0)",
            f"qkv = {VIEW}  # noqa: E501\nq, k, v = qkv.unbind(2)\n{SWAP}",
            ["# (3, B, heads, N, d)"],
        ),
        (
            f"qkv = {VIEW}\nqkv = qkv.permute(2, 0, 3, 1, 4)  # 3 b h n d\nq, k, v = qkv.unbind(0)",
            f"qkv = {VIEW}\nq, k, v = qkv.unbind(2)\n{SWAP}",
            ["# 3 b h n d"],
        ),
        (
            "qkv = (\n    self.qkv(x)  # (B, N, 3 * C)\n"
            "    .reshape(B, N, 3, self.heads, C // self.heads)  # (B, N, 3, heads, d)\n"
            "    .permute(2, 0, 3, 1, 4)  # 3 x B x heads x N x d\n)\nq, k, v = qkv.unbind(0)",
            "qkv = (\n    self.qkv(x)  # (B, N, 3 * C)\n"
            "    .reshape(B, N, 3, self.heads, C // self.heads)  # (B, N, 3, heads, d)\n"
            f")\nq, k, v = qkv.unbind(2)\n{SWAP}",
            ["# 3 x B x heads x N x d"],
        ),
        (
            f"qkv = {VIEW}.permute(2, 0, 3, 1, 4)\nq, k, v = qkv.unbind(0)  # each (B, heads, N, d)",
            f"qkv = {VIEW}\nq, k, v = qkv.unbind(2)\n{SWAP}  # each (B, heads, N, d)",
            [],
        ),
        (
            f"qkv = {VIEW}.permute(2, 0, 3, 1, 4)  # packed\n"
            "q, k, v = qkv.unbind(0)  # for torchscript (a tensor is no tuple)",
            f"qkv = {VIEW}  # packed\nq, k, v = qkv.unbind(2)  # for torchscript (a tensor is no tuple)\n{SWAP}",
            [],
        ),
    ],
)
def test_a_comment_that_a_fix_makes_false_moves_to_what_it_describes_or_goes_and_is_told(
    before: str, after: str, told: list[str]
) -> None:
    text = packed(before)
    (finding,) = found(text, "MHA002")
    assert finding.fix is not None
    assert apply(text, finding.fix.edits) == packed(after)
    assert ("no longer holds" in finding.fix.message) == bool(told)
    assert all(comment in finding.fix.message for comment in told)


# --- the scale


def scaled(init: Iterable[str], use: str, more: str = "") -> str:
    body = "".join(f"        {line}\n" for line in init)
    return (
        f"import math\n\n{HEAD}class Attention(nn.Module):\n    def __init__(self, dim, heads, scale=None):\n"
        f"        super().__init__()\n{body}"
        "        self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)\n"
        f"{more}\n    def forward(self, x):\n        b, t, c = x.shape\n"
        "        q, k, v = self.qkv(x).chunk(3, dim=-1)\n"
        "        q = q.view(b, t, self.heads, c // self.heads).transpose(1, 2)\n"
        "        k = k.view(b, t, self.heads, c // self.heads).transpose(1, 2)\n"
        "        v = v.view(b, t, self.heads, c // self.heads).transpose(1, 2)\n"
        f"        weights = ({use}).softmax(-1)\n"
        "        return self.o((weights @ v).transpose(1, 2).reshape(b, t, c))\n"
    )


PRODUCT = "q @ k.transpose(-2, -1)"


@pytest.mark.parametrize(
    ("sign", "before", "after"),
    [
        ("*", "self.scale = dim ** -0.5", "self.scale = (dim // heads) ** -0.5"),
        ("*", "self.scale = 1 / math.sqrt(dim)", "self.scale = 1 / math.sqrt(dim // heads)"),
        ("/", "self.scale = math.sqrt(dim)", "self.scale = math.sqrt(dim // heads)"),
        ("/", "self.scale = dim ** 0.5", "self.scale = (dim // heads) ** 0.5"),
        ("*", "self.scale = scale or dim ** -0.5", "self.scale = scale or (dim // heads) ** -0.5"),
        (
            "*",
            "self.scale = dim ** -0.5 if scale is None else scale",
            "self.scale = (dim // heads) ** -0.5 if scale is None else scale",
        ),
        ("*", "self.size, self.scale = dim, dim ** -0.5", "self.size, self.scale = dim, (dim // heads) ** -0.5"),
    ],
)
def test_a_scale_is_mended_where_it_is_set(sign: str, before: str, after: str) -> None:
    use = f"{PRODUCT} {sign} self.scale"
    text = scaled(["self.heads = heads", before], use)
    wanted = scaled(["self.heads = heads", after], use)
    assert fixed(text, "MHA104").partition("class")[2] == wanted.partition("class")[2]


def test_a_scale_that_others_read_is_mended_where_it_is_used() -> None:
    shown = '\n    def extra_repr(self):\n        return f"scale={self.scale}"\n'
    text = scaled(["self.heads = heads", "self.scale = dim ** -0.5"], f"{PRODUCT} * self.scale", shown)
    after = fixed(text, "MHA104")
    assert "self.scale = dim ** -0.5" in after
    assert f"({PRODUCT} * q.shape[-1] ** -0.5)" in after


def test_a_scale_of_the_same_name_in_another_class_does_not_matter() -> None:
    other = "\n\nclass Other(nn.Module):\n    def forward(self, x):\n        return x * self.scale\n"
    text = scaled(["self.heads = heads", "self.scale = dim ** -0.5"], f"{PRODUCT} * self.scale") + other
    assert "self.scale = (dim // heads) ** -0.5" in fixed(text, "MHA104")


def test_a_fix_where_a_scale_is_used_leaves_no_dead_wrong_one() -> None:
    texts = {path: path.read_text() for path in (CORPUS / "scale").glob("*.py")}
    files = [path for path, text in texts.items() if "# expect: MHA104" in text and "# fix: none" not in text]
    assert len(files) > 5
    for path in files:
        after = fixed(path.read_text(), "MHA104")
        attributes = {node.attr for node in ast.walk(ast.parse(after)) if isinstance(node, ast.Attribute)}
        for name in attributes & {"scale", "scaling"}:
            tree = ast.walk(ast.parse(after))
            contexts = [type(node.ctx) for node in tree if isinstance(node, ast.Attribute) and node.attr == name]
            assert ast.Load in contexts, f"{path}: {name} is set and never read"


# --- the tokens first


TIME_FIRST = """import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, embed_dim // num_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(embed_dim, embed_dim) for _ in range(4))

    def forward(self, query):
        tgt_len, bsz, embed_dim = query.size()
        q = self.q_proj(query) * self.head_dim**-0.5
        SPLIT
        k = self.k_proj(query).view(-1, bsz * self.num_heads, self.head_dim).transpose(0, 1)
        v = self.v_proj(query).view(-1, bsz * self.num_heads, self.head_dim).transpose(0, 1)
        attn = torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(dim=-1), v)
        MERGE
        return self.out_proj(attn)
"""
SPLIT = "q = q.view(tgt_len, bsz * self.num_heads, self.head_dim).transpose(0, 1)"
MERGE = "attn = attn.transpose(0, 1).reshape(tgt_len, bsz, embed_dim)"


def time_first(split: str = SPLIT, merge: str = MERGE) -> str:
    return TIME_FIRST.replace("SPLIT", split).replace("MERGE", merge)


@pytest.mark.parametrize(
    ("code", "before", "after"),
    [
        ("MHA101", time_first(merge="attn = attn.reshape(tgt_len, bsz, embed_dim)"), time_first()),
        (
            "MHA101",
            time_first(merge="attn = attn.contiguous().view(tgt_len, bsz, embed_dim)"),
            time_first(merge="attn = attn.transpose(0, 1).contiguous().view(tgt_len, bsz, embed_dim)"),
        ),
        (
            "MHA101",
            time_first(merge="attn = torch.reshape(attn, (tgt_len, bsz, embed_dim))"),
            time_first(merge="attn = torch.reshape(attn.transpose(0, 1), (tgt_len, bsz, embed_dim))"),
        ),
        ("MHA102", time_first("q = q.view(bsz * self.num_heads, tgt_len, self.head_dim)"), time_first()),
    ],
)
def test_where_the_tokens_come_first_the_fix_keeps_them_first_and_is_validated(
    tmp_path: Path, code: str, before: str, after: str
) -> None:
    assert fixed(before, code) == after
    pytest.importorskip("torch")
    from mha_lint.fixing import fix_source
    from mha_lint.validation import Validator

    path = tmp_path / "attention.py"
    path.write_text(before)
    source, settings = decode(path, path.read_bytes()), Settings(select=(code,), unsafe_fixes=True)
    with Validator(devices=("cpu",)) as validator:
        result = fix_source(source, list(lint(source, settings).findings), settings, validator)
    assert result.text == after
    assert [finding.verdict and finding.verdict.verdict for finding in result.fixed] == ["validated"]
    namespace: dict[str, Any] = {}
    exec(before, namespace)
    import torch

    torch.manual_seed(0)
    module = namespace["Attention"](16, 4)
    exec(after, namespace)
    right = namespace["Attention"](16, 4)
    right.load_state_dict(module.state_dict())
    x = torch.randn(5, 3, 16)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(right(x[order]), right(x)[order])
    torch.testing.assert_close(right(x[:, :1]), right(x)[:, :1])
    assert not torch.allclose(module(x[order]), module(x)[order])
