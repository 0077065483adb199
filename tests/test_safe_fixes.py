"""A safe fix changes neither results, nor parameters, nor the ``state_dict``, nor the random numbers drawn."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from corpus_files import SUMMED_OTHERWISE, CorpusFile, corpus, execute, settings_for

from mha_lint.edits import apply
from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.fixers.unused_imports import tidied
from mha_lint.linter import lint
from mha_lint.rules import all_rules
from mha_lint.settings import Settings

torch = pytest.importorskip("torch")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
RUNS = {
    "causal_mask_where_flag_does": ("CausalSelfAttention(32, 4)(torch.randn(2, 5, 32))",),
    "mask_not_a_buffer": (
        "CausalSelfAttention(32, 4)(torch.randn(2, 5, 32))",
        "DecoderAttention(32, 4)(torch.randn(2, 5, 32))",
    ),
    "mask_value_overflows_half": ("DecoderSelfAttention(32, 4)(torch.randn(2, 5, 32))",),
    "naive_attention": (
        "CausalSelfAttention(32, 4)(torch.randn(2, 5, 32))",
        "CrossAttention(32, 4)(torch.randn(2, 5, 32), torch.randn(2, 7, 32), torch.randn(5, 7))",
    ),
    "repeated_kv_heads": ("GroupedQueryAttention(32, 4, 2)(torch.randn(2, 5, 32))",),
    "needless_contiguous": ("GroupedQueryAttention(32, 4, 2)(torch.randn(2, 5, 32))",),
    "rotary_phase_in_half": ("RotarySelfAttention(32, 4)(torch.randn(2, 5, 32))",),
    "tiny_gpt": ("GPT(GPTConfig(dropout=0.1))(torch.randint(0, 65, (2, 7)))",),
    "unbind_qkv": (
        "Attention(32, 4, attn_drop=0.1)(torch.randn(2, 5, 32))",
        "TeacherAttention(32, 4)(torch.randn(2, 5, 32))",
    ),
    "unused_attention_weights": ("TransformerBlock(32, 4)(torch.randn(2, 5, 32))",),
    "view_of_transposed": (
        "CausalSelfAttention(32, 4)(torch.randn(2, 5, 32))",
        "CrossAttention(32, 4)(torch.randn(2, 5, 32), torch.randn(2, 7, 32))",
    ),
    "vit": ("VisionTransformer()(torch.randn(2, 3, 32, 32))",),
}  # what is run of each example that has a safe fix


@dataclass(frozen=True)
class Ran:
    """What an expression did: the state of the module that it builds, its results, and the random numbers left."""

    state: dict[str, Any]
    results: list[Any]
    draws: list[Any]


def example(path: Path) -> CorpusFile:
    runs = tuple(("run", expression) for expression in RUNS.get(path.stem, ()))
    return CorpusFile(path, path.read_text(encoding="utf-8"), (), frozenset(), runs)


FILES = [*(file for file in corpus() if file.expected), *map(example, sorted(EXAMPLES.glob("*.py")))]


@lru_cache(maxsize=1)
def safe() -> list[tuple[CorpusFile, Finding]]:
    """The findings of corpus and examples whose fix is called safe."""
    pairs: list[tuple[CorpusFile, Finding]] = []
    for file in FILES:
        settings = Settings() if file.path.parent == EXAMPLES else settings_for(file)
        found = list(lint(decode(file.path, file.text.encode()), settings).findings)
        found.sort(key=lambda finding: finding.code)
        pairs += [(file, each) for each in found if each.fix is not None and each.fix.applicability == "safe"]
    return pairs


def ran(file: CorpusFile, text: str, expression: str) -> Ran:
    """Build the module under a seed and call it in train and eval mode; a view that torch refuses is a reshape."""
    tree = ast.parse(expression, mode="eval").body
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Call):
        value = execute(file, text, f"({expression}, torch.get_rng_state())").value
        return Ran({}, tensors(value[0]), [value[1]])
    given = ", ".join(
        [*map(ast.unparse, tree.args), *(f"{each.arg}={ast.unparse(each.value)}" for each in tree.keywords)]
    )
    steps = (
        "{name: value.clone() for name, value in m.state_dict().items()}, [*m.parameters()], torch.get_rng_state(), "
        f"m({given}), torch.get_rng_state(), m.eval()({given}), torch.get_rng_state()"
    )
    built = f"(lambda m: ({steps}))({ast.unparse(tree.func)})"
    state, parameters, *rest = execute(file, text, built).value
    return Ran(state, tensors([parameters, rest[1], rest[3]]), [rest[0], rest[2], rest[4]])


def tensors(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value.detach()]
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in tensors(item)]
    return []


def difference(before: Ran, after: Ran, *, rounded: bool = False) -> str:
    """In words, what of promise 6 is broken; "" where nothing is. Where ``rounded``, results may differ by rounding."""
    tolerance = 1e-6 if rounded else 0.0
    if [*before.state] != [*after.state]:
        return "the names in the state_dict differ"
    if any(not torch.equal(before.state[name], after.state[name]) for name in before.state):
        return "a value in the state_dict differs"
    if len(before.results) != len(after.results):
        return "another number of parameters or results"
    if any(
        left.dtype != right.dtype or not torch.allclose(left, right, rtol=tolerance, atol=tolerance)
        for left, right in zip(before.results, after.results, strict=True)
    ):
        return "parameters or results differ"
    if any(not torch.equal(left, right) for left, right in zip(before.draws, after.draws, strict=True)):
        return "other random numbers are left"
    return ""


def broken_by(file: CorpusFile, after: str, *, rounded: bool = False) -> list[str]:
    runs = [(ran(file, file.text, run), ran(file, after, run)) for run in file.notes("run")]
    found = [difference(*pair, rounded=rounded) for pair in runs]
    return [what for what in found if what]


def together(findings: list[Finding], text: str) -> str:
    """The text after the safe fixes of one rule, of which none overlap."""
    edits = [edit for finding in findings if finding.fix is not None for edit in finding.fix.edits]
    return apply(text, tidied(text, edits, "attention.py"))


def test_a_safe_fix_changes_neither_results_nor_parameters_nor_state_dict_nor_random_numbers() -> None:
    broken: dict[str, list[str]] = {}
    for (file, code), pairs in groupby(safe(), key=lambda pair: (pair[0], pair[1].code)):
        after = together([finding for _, finding in pairs], file.text)
        if what := broken_by(file, after, rounded=code in SUMMED_OTHERWISE):
            broken[f"{file.name} {code}"] = what
    assert broken == {}


def test_every_rule_whose_fix_is_safe_is_held_against_that_promise() -> None:
    held = {finding.code for file, finding in safe() if file.notes("run")}
    assert held == {rule.code for rule in all_rules() if rule.applicability == "safe" and rule.relation != "comment"}
    assert {file.path.stem for file, _ in safe() if file.path.parent == EXAMPLES} <= RUNS.keys()


@pytest.mark.parametrize("name", ["projection/class_habits", "projection/head_list"])
def test_the_fix_that_adds_a_projection_would_break_it_and_is_unsafe(name: str) -> None:
    file = next(each for each in FILES if each.name == name)
    found = lint(decode(file.path, file.text.encode()), Settings()).findings
    (finding, *_) = [each for each in found if each.code == "MHA003"]
    assert finding.fix is not None
    assert finding.fix.applicability == "unsafe"
    assert "new parameters: out_proj.weight" in finding.fix.message
    assert "the names in the state_dict differ" in broken_by(file, apply(file.text, finding.fix.edits))


def half(lines: str) -> str:
    body = "".join(f"        {line}\n" for line in lines.splitlines())
    return (
        "import torch\nfrom torch import nn\n\n\nclass Attention(nn.Module):\n    def __init__(self, dim):\n"
        "        super().__init__()\n        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))\n\n"
        "    def forward(self, x, padding, bias):\n        q, k, v = self.q(x), self.k(x), self.v(x)\n"
        f"        scores = q @ k.transpose(-2, -1) * x.shape[-1] ** -0.5\n{body}        return scores.softmax(-1) @ v\n"
    )


FUTURE = "future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)\n"
HIDDEN = "torch.ones(2, 5, dtype=torch.bool)"  # every key: a row that is masked as a whole


@pytest.mark.parametrize(
    ("lines", "applicability"),
    [
        ("scores = scores.masked_fill(padding[:, None], -1e9)", "safe"),
        ("scores = scores.masked_fill(padding[:, None], -1e9)\nscores = scores + bias", "unsafe"),
        (
            f"{FUTURE}scores = (scores * 1.0).masked_fill(future, -1e9)\n"
            'scores = scores.masked_fill(padding[:, None], -float("inf"))',
            "unsafe",
        ),
    ],
)
def test_a_fill_that_another_mask_could_tell_from_the_old_one_is_not_called_safe(
    lines: str, applicability: str
) -> None:
    text = half(lines)
    file = CorpusFile(Path("half.py"), text, (), frozenset(), ())
    (finding,) = [each for each in lint(decode(file.path, text.encode()), Settings()).findings if each.code == "MHA108"]
    assert finding.fix is not None
    assert finding.fix.applicability == applicability
    lowest = "torch.finfo(torch.float32).min"
    run = f"Attention(8)(torch.randn(2, 5, 8), padding={HIDDEN}, bias=torch.full((5, 5), {lowest}))"
    if "inf" in lines:  # the first key alone is hidden, from which the first query was to learn all
        run = run.replace(HIDDEN, "torch.arange(5).expand(2, 5) == 0")
    what = difference(ran(file, text, run), ran(file, apply(text, finding.fix.edits), run))
    assert bool(what) == (applicability == "unsafe")
