"""Wrong rewrites of attention modules, of many kinds, generated from their sources: validation must accept none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from . import modules

# Modules that run as they are; each with one that computes the same, which validation must accept.
SOURCES = {
    "packed": modules.VIT,
    "causal": modules.GPT.replace(".view(B, T, C)", ".reshape(B, T, C)"),
    "bert": modules.BERT,
    "cross": modules.CROSS.replace(".view(", ".reshape("),
    "plain heads": modules.PLAIN_HEADS,
    "spatial": modules.SPATIAL,
    "window": modules.WINDOW,
    "axial": modules.AXIAL.replace(".view(", ".reshape("),
}


@dataclass(frozen=True, slots=True)
class Rewrite:
    source: str
    kind: str
    before: str
    after: str
    symbol: str


# After the result is computed: {x} is the first input, {y} the first tensor of the result.
_AT_THE_END = {
    "slightly scaled": "{y} = {y} * (1 + 1e-5)",
    "train mode only": "{y} = {y} + 1e-3 * self.training",
    "eval mode only": "{y} = {y} + 1e-3 * (not self.training)",
    "float64 only": "{y} = {y} + 1e-3 * ({y}.dtype == torch.float64)",
    "float32 only": "{y} = {y} + 1e-3 * ({y}.dtype == torch.float32)",
    "batch of one only": "{y} = {y} + 1e-3 * ({x}.shape[0] == 1)",
    "larger batch only": "{y} = {y} + 1e-3 * ({x}.shape[0] > 1)",
    "strided input only": "{y} = {y} + 1e-3 * (not {x}.is_contiguous())",
    "negative values only": "{y} = torch.where({y} < 0, {y} * 1.001, {y})",
    "writes into its input": "{x}.add_(1e-3)",
    "draws a random number": "torch.rand(1)",
    "draws in train mode": "torch.rand(1) if self.training else None",
    "draws from Python's generator": "__import__('random').random()",
    "detached": "{y} = {y}.detach()",
    "half the gradient": "{y} = {y} * 0.5 + {y}.detach() * 0.5",
    "gradient of the input lost": "{y} = {y} + {x}.sum() - {x}.detach().sum()",
    "changes a parameter": "[value.data.add_(1e-3) for value in self.parameters()]",
    "not a number": "{y} = torch.where({y} > 1e-2, {y} * float('nan'), {y})",
    "another dtype": "{y} = {y}.to(torch.float32 if {y}.dtype == torch.float64 else torch.float64)",
    "one more dimension": "{y} = {y}[None]",
    "elements reversed": "{y} = {y}.flip(-1)",
    "batches rolled": "{y} = {y}.roll(1, 0)",
    "raises": "raise RuntimeError('no')",
    "never runs": "if {x}.dim() == 99:\n    {y} = {y} + 1",
}

# Anywhere in forward, one place at a time: a pattern, and what is put there.
_IN_PLACE = {
    "queries and keys swapped": (r"\bq, k, v = ", "k, q, v = "),
    "keys and values swapped": (r"\bq, k, v = ", "q, v, k = "),
    "transposed twice": (r"\.transpose\(([^()]*)\)", r".transpose(\1).transpose(\1)"),
    "transposed elsewhere": (r"\.transpose\(1, 2\)", ".transpose(0, 1)"),
    "not transposed": (r"\.transpose\(1, 2\)", ""),
    "softmax over the queries": (r"softmax\((\w*,? ?)(dim=)?-1\)", r"softmax(\1\2-2)"),
    "unscaled": (r" \* self\.scale\b", ""),
    "another scale": (r" \* self\.scale\b", " * self.scale * 1.01"),
    "heads counted wrong": (r"self\.num_heads\b|self\.n_head\b", r"(\g<0> + 1)"),
    "plus for times": (r" @ ", " + "),
    "a stray flip": (r"\.permute\(([^()]*)\)", r".permute(\1).flip(-1)"),
    "off by one": (r"\[:, :(\w)", r"[:, 1:\1"),
}

# In __init__.
_IN_INIT = {
    "bias dropped": (r"nn\.Linear\(([^()]*)\)", r"nn.Linear(\1, bias=False)"),
    "bias added": (r"nn\.Linear\(([^()]*), bias=\w+\)", r"nn.Linear(\1, bias=True)"),
    "one more parameter": (r"super\(\).__init__\(\)", "super().__init__(); self.spare = nn.Parameter(torch.zeros(3))"),
}


def rewrites() -> Iterator[Rewrite]:
    for name, source in SOURCES.items():
        tree = ast.parse(source)
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        forward = next(
            node for cls in reversed(classes) for node in cls.body
            if isinstance(node, ast.FunctionDef) and node.name == "forward"
        )  # fmt: skip
        owner = next(cls for cls in classes if forward in cls.body)
        symbol = f"{owner.name}.forward"
        for kind, statement in _AT_THE_END.items():
            yield Rewrite(name, kind, source, _before_return(source, forward, statement), symbol)
        init = next(node for node in owner.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
        for body, changes in ((forward, _IN_PLACE), (init, _IN_INIT)):
            for kind, (pattern, replacement) in changes.items():
                for count, after in enumerate(_each_place(source, body, pattern, replacement)):
                    told = f"{owner.name}.{body.name}"
                    yield Rewrite(name, f"{kind} {count + 1}", source, after, told)


def controls() -> Iterator[Rewrite]:
    """A rewrite of each source that changes nothing but gives the result a name."""
    for each in rewrites():
        if each.kind == "never runs":
            lines = each.after.splitlines()
            at = next(index for index, line in enumerate(lines) if "dim() == 99" in line)
            yield Rewrite(
                each.source, "harmless", each.before, "\n".join(lines[:at] + lines[at + 2 :]) + "\n", each.symbol
            )


def _before_return(source: str, forward: ast.FunctionDef, statement: str) -> str:
    """The text with ``statement`` run between the result and the last return."""
    last = max((node for node in ast.walk(forward) if isinstance(node, ast.Return)), key=lambda node: node.lineno)
    assert last.value is not None
    indent = " " * last.col_offset
    result = ast.get_source_segment(source, last.value)
    first = "outcome[0]" if isinstance(last.value, ast.Tuple) else "outcome"
    start = "outcome = [" if isinstance(last.value, ast.Tuple) else "outcome = "
    text = statement.format(x="given", y=first).replace("\n", "\n" + indent)
    stop = "]" if isinstance(last.value, ast.Tuple) else ""
    given = "tuple(outcome)" if isinstance(last.value, ast.Tuple) else "outcome"
    inner = (result or "").strip("()") if isinstance(last.value, ast.Tuple) else result
    new = f"{indent}{start}{inner}{stop}\n{indent}{text}\n{indent}return {given}"
    lines = source.splitlines()
    lines[last.lineno - 1 : last.end_lineno] = [new]
    opening = forward.body[0]
    lines.insert(opening.lineno - 1, f"{' ' * opening.col_offset}given = {forward.args.args[1].arg}")
    return "\n".join(lines) + "\n"


def _each_place(source: str, body: ast.FunctionDef, pattern: str, replacement: str) -> Iterator[str]:
    lines = source.splitlines(keepends=True)
    start = sum(map(len, lines[: body.lineno - 1]))
    end = sum(map(len, lines[: body.end_lineno]))
    for found in re.finditer(pattern, source[start:end]):
        after = source[: start + found.start()] + found.expand(replacement) + source[start + found.end() :]
        try:
            ast.parse(after)
        except SyntaxError:
            continue
        yield after
