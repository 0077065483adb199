"""Tell if a class or function can be run with no help from anybody: forward through its attention, and backward."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from mha_lint.validation.child import imports, stubs, torch_settings
from mha_lint.validation.job import Reached, Reaching
from mha_lint.validation.search import harness, targets
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.construct import without_dropout
from mha_lint.validation.search.setups import Setup, as_it_is, materialise
from mha_lint.validation.search.specs import Assignment
from mha_lint.validation.trials import drawing, pairing, trial
from mha_lint.validation.trials.coverage import Statement, statements_at, watch
from mha_lint.validation.trials.record import DTYPES

BUDGET = 10.0  # seconds for the search, from when the file was imported
# What computes scores or weighs by them; a call of anything named after attention counts too.
_SCORING = frozenset("matmul bmm baddbmm einsum softmax scaled_dot_product_attention".split())


def reach(asked: Reaching, tell: Callable[[str], None]) -> Reached:
    """Run what ``asked`` names. It counts once a scoring statement of it ran and a gradient came back."""
    torch_settings.make_deterministic()
    tell("the import of the file")
    try:
        loaded = pairing.load_alone(asked.path, asked.text)
    except imports.CannotLoad as error:
        return Reached("", reason=str(error))
    stubs.arm()
    wanted = scoring_statements(loaded.source, loaded.tree, asked.symbols)
    search = harness.Search(
        loaded,
        wanted,
        as_it_is,
        asked.hints,
        now() + BUDGET,
        set(),
        methods=False,
        any_of=True,
    )
    owners = {owner for symbol in asked.symbols if (owner := targets.owner_of(loaded.module, symbol))}
    short = ""
    for setup in search.setups(asked.symbols):
        tell(f"running {setup.target}")
        short = _shortcoming(loaded, setup, wanted)
        if short:  # some code cannot train with dropout
            short = _shortcoming(loaded, replace(setup, plan=without_dropout(setup.plan)), wanted)
        if not short:
            return Reached(_level(loaded, setup.target, owners), setup.describe())
    return Reached("", reason=short or search.notes.in_words())


def _level(loaded: imports.Loaded, target: targets.Target, owners: set[str]) -> str:
    if not target.is_class:
        return "function"
    if target.name in owners:
        return "module"
    classes = [targets.lookup(loaded.module, owner) for owner in owners]
    is_subclass = issubclass(targets.lookup(loaded.module, target.name), tuple(filter(None, classes)))
    return "subclass" if is_subclass else "user"


def _shortcoming(loaded: imports.Loaded, setup: Setup, wanted: frozenset[Statement]) -> str:
    """Why a run forward and backward, in train mode, shows nothing of the wanted statements; "" where it does."""
    module = targets.instantiate(setup.target, setup.plan, loaded.module, seed=7)
    materialise(module, setup, as_it_is)
    trial.randomise(module, seed=11)
    positional = trial.positional_only(targets.signature_of(module))
    conditions = drawing.Conditions("cpu", DTYPES["cpu"][0], True, seed=1000)
    assignment: Assignment = setup.assignments[0]
    inspected = setup.inspected

    def make() -> drawing.Inputs:
        return drawing.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, conditions)

    with watch(loaded.pseudo) as rows:
        seen = trial.run(module, make, positional, conditions)
    if seen.error is not None:
        return f"running {setup.describe()} in train mode raised {imports.in_one_line(seen.error)}"
    if wanted and not any(statement.ran(rows.of(loaded.pseudo)) for statement in wanted):
        return f"no scores are computed in {setup.describe()}"
    if not trial.says_something(seen, ""):
        return f"the outputs of {setup.describe()} are not finite, or no gradient comes back from them"
    return ""


def scoring_statements(source: str, tree: ast.Module, symbols: tuple[str, ...]) -> frozenset[Statement]:
    """The statements of these methods and functions that multiply queries by keys, weigh values, or call what does.

    Where there is none, all of their statements.
    """
    rows: set[int] = set()
    for symbol in symbols:
        bodies = [node for name, node in _definitions(tree, "") if name == symbol]
        inner = [node for body in bodies for node in ast.walk(body)]
        scoring = {node.lineno for node in inner if isinstance(node, ast.expr) and _scores(node)}
        rows |= scoring or {node.lineno for node in inner if isinstance(node, ast.stmt)}
    return statements_at(source, rows)


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            name = f"{prefix}{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield name, child
            yield from _definitions(child, f"{name}.")
        elif isinstance(child, (ast.If, ast.Try)):
            yield from _definitions(child, prefix)


def _scores(node: ast.expr) -> bool:
    match node:
        case ast.BinOp(op=ast.MatMult()):
            return True
        case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name)):
            return (
                name in _SCORING or "softmax" in name.lower() or "attention" in name.lower() or "attn" in name.lower()
            )
    return False
