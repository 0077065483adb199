"""Wrong fixes that claim to add, to repair or to correct something.

*Extended* ones add a projection to a subject's result. *Repaired* and *corrected* ones start from a mistake for which
the tool has a fix: one of the examples and the corpus, or one that is written into a released class. The fix that was
validated is then replaced by a wrong one, or gets something wrong beside it.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mha_lint.files import SourceError, decode
from mha_lint.findings import Relation, Verdict
from mha_lint.fixing import fix_source
from mha_lint.linter import lint
from mha_lint.settings import Settings
from mha_lint.validation import Job, Validator
from tests.bench.injection.code import Code
from tests.bench.injection.sites import sites_of
from tests.bench.rewrites import Harm, Kind, Make, Rewrite
from tests.bench.wrong_subjects import WIDTHS, Subject, own_nodes, parses

ROOT = Path(__file__).resolve().parents[2]
_CORRECTED = frozenset("MHA101 MHA102 MHA103 MHA104 MHA105 MHA106 MHA111 MHA113".split())
_SETTINGS = Settings(unsafe_fixes=True, exclude=())
_TRIES = 3  # sites of one rule in one class that are linted, until one has a fix

# --- extended ---------------------------------------------------------------------------------------------------------

_ADDED = ("extra_proj.weight", "extra_proj.bias")
RIGHT_PROJECTION = "self.extra_proj({y})"
_WEIGHT, _BIAS = "self.extra_proj.weight", "self.extra_proj.bias"

_PROJECTIONS: dict[str, tuple[Harm, str]] = {
    "projection applied twice": ("ordinary", "self.extra_proj(self.extra_proj({y}))"),
    "projection of the first token": ("ordinary", "torch.cat([self.extra_proj({y}[:, :1]), {y}[:, 1:]], 1)"),
    "projection of all but the first token": ("ordinary", "torch.cat([{y}[:, :1], self.extra_proj({y}[:, 1:])], 1)"),
    "projection of the batch's first": ("ordinary", "torch.cat([self.extra_proj({y}[:1]), {y}[1:]])"),
    "projection in train mode": ("ordinary", "self.extra_proj({y}) if self.training else {y}"),
    "projection in eval mode": ("ordinary", "{y} if self.training else self.extra_proj({y})"),
    "projection with gradients on": ("ordinary", "self.extra_proj({y}) if torch.is_grad_enabled() else {y}"),
    "projection of more than one token": ("corner", "self.extra_proj({y}) if {y}.shape[1] > 1 else {y}"),
    "projection transposed": ("ordinary", f"torch.nn.functional.linear({{y}}, {_WEIGHT}.t(), {_BIAS})"),
    "projection made symmetric": (
        "ordinary", f"torch.nn.functional.linear({{y}}, ({_WEIGHT} + {_WEIGHT}.t()) / 2, {_BIAS})",
    ),
    "projection's diagonal alone": ("ordinary", f"{{y}} * {_WEIGHT}.diagonal() + {_BIAS}"),
    "projection without its bias": ("ordinary", f"torch.nn.functional.linear({{y}}, {_WEIGHT})"),
    "projection with its bias twice": ("ordinary", f"self.extra_proj({{y}}) + {_BIAS}"),
    "projection with its bias in train mode": (
        "ordinary", f"torch.nn.functional.linear({{y}}, {_WEIGHT}, {_BIAS} if self.training else None)",
    ),
    "projection's bias alone": ("ordinary", f"{{y}} + {_BIAS} + 0 * {_WEIGHT}.sum()"),
    "projection's positive part": ("ordinary", f"torch.nn.functional.linear({{y}}, {_WEIGHT}.relu(), {_BIAS})"),
    "projection squared": ("ordinary", f"torch.nn.functional.linear({{y}}, {_WEIGHT} * {_WEIGHT}, {_BIAS})"),
    "projection clamped": ("corner", f"torch.nn.functional.linear({{y}}, {_WEIGHT}.clamp(-1, 1), {_BIAS})"),
    "projection of the input": ("ordinary", "{y} + self.extra_proj({x}) - {x}"),
    "projection of the detached result": ("ordinary", "self.extra_proj({y}.detach()) + {y} - {y}.detach()"),
    "projection with twice the gradient": (
        "ordinary", "2 * self.extra_proj({y}) - self.extra_proj({y}).detach()",
    ),
    "projection half residual": ("ordinary", "0.5 * {y} + 0.5 * self.extra_proj({y})"),
    "projection's weight detached": (
        "ordinary", f"torch.nn.functional.linear({{y}}, {_WEIGHT}.detach(), {_BIAS}) + 0 * {_WEIGHT}.sum()",
    ),
    "projection kept from the first call": (
        "ordinary",
        f"torch.nn.functional.linear({{y}}, self.__dict__.setdefault('_kept', {_WEIGHT}), {_BIAS})",
    ),
    "projection rounded to bfloat16": (
        "ordinary", f"torch.nn.functional.linear({{y}}, {_WEIGHT}.bfloat16().to({{y}}.dtype), {_BIAS})",
    ),
}  # fmt: skip


def projected(subject: Subject, width: str, projection: str) -> Rewrite:
    """The subject with a linear layer added to its constructor, and the result put through ``projection``."""
    edits = [
        *subject.at_the_end_of_init(f"self.extra_proj = torch.nn.Linear({width}, {width})"),
        *subject.at_the_result(f"{{y}} = {projection}"),
    ]
    symbols = (subject.init_symbol, subject.forward_symbol)
    return Rewrite(subject.text, subject.edit(*edits), symbols, "extended", added=_ADDED)


def widths(subject: Subject) -> list[str]:
    """What may be the width of the result, as the constructor can say it."""
    if subject.init is None or any(isinstance(node, ast.Return) for node in own_nodes(subject.init)):
        return []
    names = {arg.arg for arg in [*subject.init.args.args, *subject.init.args.kwonlyargs]}
    given = [each for each in WIDTHS if each.partition(".")[0] in names and each in subject.init_text]
    return [each for each in given if "." in each or each in names]


def _extending(projection: str) -> Make:
    def make(subject: Subject) -> Iterator[Rewrite]:
        if subject.width:
            yield projected(subject, subject.width, projection)

    return make


# --- repaired and corrected -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim(Subject):
    """A subject whose text is that of a validated fix, ``fix``."""

    fix: Job | None = None

    def original(self) -> Subject:
        """The text before the fix."""
        assert self.fix is not None
        data = self.fix.before.encode()
        return replace(self, code=Code(self.code.path, data, ast.parse(data)))


class _Collecting(Validator):
    """Takes the jobs that fixing makes, and executes none."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []

    def validate(self, job: Job) -> Verdict:
        self.jobs.append(job)
        return Verdict("not exercised")


def our_files() -> list[Path]:
    """The examples and the corpus."""
    return [path for folder in ("examples", "tests/corpus") for path in sorted((ROOT / folder).rglob("*.py"))]


def claims_in(path: Path) -> list[Claim]:
    """The fixes of one of our files that repair or correct something."""
    return _claims(path.parent.name, path, path.read_bytes(), "", ())


def claims_of(package: str, path: Path, name: str) -> list[Claim]:
    """Fixes of mistakes that are written into a released class: one of each rule, and a view of what was transposed."""
    data = path.read_bytes()
    found: list[Claim] = []
    tries: Counter[str] = Counter()
    for site in sites_of(path, _CORRECTED):
        rule = site.injection.rule
        if site.injection.unit == name and not site.injection.planted and not site.silent and tries[rule] < _TRIES:
            fixes = _claims(package, path, site.wrong, name, (rule,))[:1]
            tries[rule] += _TRIES if fixes else 1
            found += fixes
    code = Code(path, data, ast.parse(data))
    cls = next(node for node in code.tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    for node in ast.walk(cls):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Call(func=ast.Attribute(attr="transpose")), attr="reshape") as function
            ):
                end = code.end(function)
                viewed = data[: end - len(b"reshape")] + b"view" + data[end:]
                return found + _claims(package, path, viewed, name, ("MHA001",))[:1]
    return found


def _claims(package: str, path: Path, data: bytes, name: str, rules: tuple[str, ...]) -> list[Claim]:
    """The fixes that ``rules`` have for one text, in one class where it is named; all rules where none is."""
    settings = Settings(select=rules, unsafe_fixes=True, exclude=()) if rules else _SETTINGS
    collecting = _Collecting()
    try:
        source = decode(path, data)
        findings = [each for each in lint(source, settings).findings if each.symbol.startswith(name)]
    except SourceError:
        return []
    for finding in findings:
        fix_source(source, [finding], settings, collecting)
    found: list[Claim] = []
    for job in collecting.jobs:
        owner = job.symbols[0].rpartition(".")[0]
        if job.relation not in ("corrected", "repaired") or not owner or (name and owner != name):
            continue
        code = Code(path, job.after.encode(), ast.parse(job.after))
        if owner not in {node.name for node in code.tree.body if isinstance(node, ast.ClassDef)}:
            continue
        claim = Claim(package, code, owner, tuple(job.hints.items()), 3, "", job)
        if claim.serves():
            found.append(claim)
    return found


def _wrongly(claim: Claim, after: str) -> Iterator[Rewrite]:
    fix = claim.fix
    assert fix is not None
    if parses(after) and after != fix.after:
        yield Rewrite(
            fix.before, after, fix.symbols, fix.relation, fix.flagged, fix.added, fix.probes, fix.agree, fix.expected
        )


def right_fix(claim: Claim) -> Rewrite:
    fix = claim.fix
    assert fix is not None
    return Rewrite(
        fix.before, fix.after, fix.symbols, fix.relation, fix.flagged, fix.added, fix.probes, fix.agree, fix.expected
    )


def _beside(relation: Relation, statements: str) -> Make:
    """The right fix, and statements at the result."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        if isinstance(subject, Claim) and subject.fix and subject.fix.relation == relation:
            yield from _wrongly(subject, subject.edit(*subject.at_the_result(statements)))

    return make


def _instead(relation: Relation, statements: str) -> Make:
    """No fix, but statements at the result of what was there."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        if isinstance(subject, Claim) and subject.fix and subject.fix.relation == relation:
            original = subject.original()
            yield from _wrongly(subject, original.edit(*original.at_the_result(statements)))

    return make


def _weights(content: str, *, of_original: bool) -> Make:
    """Each softmax ``{s}`` of the class becomes ``content``, on top of the fix or in its place."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        if not isinstance(subject, Claim) or subject.fix is None or subject.fix.relation != "corrected":
            return
        text = subject.original() if of_original else subject
        for method in text.methods:
            for node in own_nodes(method):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("softmax"):
                    written = content.replace("{s}", text.code.text(node))
                    yield from _wrongly(subject, text.replaced(node, f"({written})"))

    return make


def _merged(change: Callable[[str, str], str]) -> Make:
    """The value that is transposed, and how, in each chain ``value.transpose(…).reshape(…)`` of the repaired class."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        if not isinstance(subject, Claim) or subject.fix is None or subject.fix.relation != "repaired":
            return
        for method in subject.methods:
            for node in own_nodes(method):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                inner = node.func.value
                if node.func.attr not in ("reshape", "view") or not isinstance(inner, ast.Call):
                    continue
                if isinstance(inner.func, ast.Attribute) and inner.func.attr == "contiguous":
                    inner = inner.func.value
                moved = inner.func if isinstance(inner, ast.Call) else None
                if isinstance(moved, ast.Attribute) and moved.attr in ("transpose", "permute"):
                    code = subject.code
                    arguments = code.text(node).removeprefix(code.text(node.func))
                    content = change(code.text(moved.value), code.text(inner))
                    yield from _wrongly(subject, subject.replaced(node, f"({content}).reshape{arguments}"))

    return make


_EYE = "torch.eye(w.shape[-2], w.shape[-1], dtype=w.dtype, device=w.device)"
_AS_WEIGHTS = "(lambda w: ({}).expand_as(w))({{s}})"
_INSTEAD_OF_WEIGHTS = {
    "each token sees itself alone": _AS_WEIGHTS.format(_EYE),
    "mean over all tokens": _AS_WEIGHTS.format("torch.ones_like(w) / w.shape[-1]"),
    "previous token alone": _AS_WEIGHTS.format(f"{_EYE}.roll(-1, -1).tril()"),
    "first token alone": _AS_WEIGHTS.format("torch.ones_like(w).cumsum(-1).eq(1).to(w.dtype)"),
    "mean over the past": _AS_WEIGHTS.format("(m := torch.ones_like(w).tril()) / m.sum(-1, keepdim=True)"),
}
_BESIDE_WEIGHTS = {
    "corrected, but two tokens back alone": "(lambda w: (m := w.tril().triu(-1)) / m.sum(-1, keepdim=True))({s})",
    "corrected, but sharper": "(lambda w: (m := w ** 1.05) / m.sum(-1, keepdim=True))({s})",
    "corrected, but of the batch's first": "{s}[:1].expand_as({s})",
    "corrected, but weights detached": "{s}.detach()",
}
_RESULTS = {
    "scaled": "{y} = {y} * 1.01",
    "tokens turned": "{y} = {y}.flip(1)",
    "detached in eval mode": "{y} = {y} if self.training else {y}.detach()",
    "scaled without gradients": "{y} = {y} * (1 + 1e-2 * (not torch.is_grad_enabled()))",
    "scaled in eval mode": "{y} = {y} * (1 + 1e-2 * (not self.training))",
    "batch of seven scaled": "if {x}.shape[0] == 7: {y} = {y} * 1.01",
    "second call scaled": "self._calls = getattr(self, '_calls', 0) + 1\n{y} = {y} * (1 + 1e-2 * (self._calls > 1))",
    "off by a millionth": "{y} = {y} * (1 + 1e-6)",
    "one draw": "torch.rand(1)",
}
_NO_FIX = {
    "zeros": "{y} = {y} * 0",
    "the input": "{y} = {x} + {y} * 0 if {x}.shape == {y}.shape else {y} * 0",
    "mean over the result's tokens": "{y} = {y}.mean(1, keepdim=True).expand_as({y})",
    "the first token's result": "{y} = {y}[:, :1].expand_as({y})",
}


def kinds() -> list[Kind]:
    """The kinds of added projections; they take subjects whose width is known."""
    return [Kind(name, 9, harm, _extending(text)) for name, (harm, text) in _PROJECTIONS.items()]


def claimed_kinds() -> list[Kind]:
    """The kinds of wrong repairs and corrections; they take claims."""
    found: list[Kind] = []
    for name, content in _INSTEAD_OF_WEIGHTS.items():
        found.append(Kind(f"corrected to: {name}", 10, "ordinary", _weights(content, of_original=True)))
        found.append(Kind(f"corrected, then: {name}", 10, "ordinary", _weights(content, of_original=False)))
    for name, content in _BESIDE_WEIGHTS.items():
        found.append(Kind(name, 10, "ordinary", _weights(content, of_original=False)))
    for relation in ("corrected", "repaired"):
        item = 10 if relation == "corrected" else 13
        for name, statements in _RESULTS.items():
            harm: Harm = "corner" if "seven" in name else "ordinary"
            found.append(Kind(f"{relation}, but {name}", item, harm, _beside(relation, statements)))
        for name, statements in _NO_FIX.items():
            made = (_instead if relation == "corrected" else _beside)(relation, statements)
            found.append(Kind(f"{relation} to {name}", item, "ordinary", made))
    repairs: dict[str, Callable[[str, str], str]] = {
        "repaired without its transpose": lambda value, moved: value,
        "repaired with a flip": lambda value, moved: f"{moved}.flip(-1)",
        "repaired, transposed twice": lambda value, moved: f"{moved}.transpose(-1, -2)",
        "repaired with heads turned": lambda value, moved: f"{value}.flip(1){moved.removeprefix(value)}",
        "repaired and detached": lambda value, moved: f"{moved}.detach()",
    }
    return found + [Kind(name, 13, "ordinary", _merged(change)) for name, change in repairs.items()]
