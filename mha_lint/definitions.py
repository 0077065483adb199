"""Cuts the program of a notebook down to its definitions, without what its cells do.

Validation imports a file. The cells of a notebook also train, download and draw, which an import must not do. Imports,
classes, functions, and the constants that these need are kept where they stand; all else becomes blank, so that every
edit of the program fits this one as well.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterator, Sequence, Set

from msgspec import Struct

from mha_lint.files import Source
from mha_lint.syntax.module import Module
from mha_lint.syntax.nodes import FUNCTIONS

_NOT_NEWLINE = re.compile(r"[^\r\n]")
_DEFINING = (ast.Import, ast.ImportFrom, ast.ClassDef, *FUNCTIONS)

# What may be called for a constant: it computes from its arguments, and does nothing else.
_PURE_CALLS = frozenset(
    """
    abs bool dict divmod float frozenset int len list max min pow range round set sorted str sum tuple zip
    math.ceil math.exp math.floor math.log math.log2 math.pow math.prod math.sqrt
    namedtuple collections.namedtuple NamedTuple TypeVar typing.TypeVar SimpleNamespace types.SimpleNamespace
    Path pathlib.Path partial functools.partial
    torch.arange torch.backends.mps.is_available torch.cuda.is_available torch.device torch.eye torch.finfo torch.full
    torch.ones torch.tensor torch.tril torch.triu torch.zeros
    np.arange np.array np.ones np.sqrt np.zeros numpy.arange numpy.array numpy.sqrt
    """.split()
)
_PURE_METHODS = frozenset("bool float half int long to tril triu unsqueeze view".split())
_PURE = (
    *(ast.Attribute, ast.BinOp, ast.BoolOp, ast.Call, ast.Compare, ast.Constant, ast.Dict, ast.FormattedValue),
    *(ast.IfExp, ast.JoinedStr, ast.Lambda, ast.List, ast.Name, ast.Set, ast.Slice, ast.Starred, ast.Subscript),
    *(ast.Tuple, ast.UnaryOp),
)


class _Scope(Struct, frozen=True):
    """The ``known`` names that statements may use, and of them the classes that are mere ``records``."""

    known: Set[str]
    records: Set[str]


class _Part(Struct, frozen=True):
    """A definition or a constant: the names that it binds, and those that it needs."""

    statement: ast.stmt
    binds: frozenset[str]
    needs: frozenset[str]
    is_definition: bool


class _Kept(Struct, frozen=True):
    """The ``statements`` that are kept, and the conditions that are taken to hold since definitions hang on them."""

    statements: Set[ast.stmt]
    assumed: Set[ast.If]


def importable(source: Source, rows: Collection[int]) -> str:
    """The text of a file as it is imported: of a notebook, what it defines. See :func:`definitions`."""
    return source.text if source.notebook is None else definitions(source.text, rows)


def definitions(program: str, rows: Collection[int] = ()) -> str:
    """The program with blanks for all that neither defines something nor is a constant which a definition needs.

    ``rows`` are those that matter to whoever asks. Where a notebook defines a name again below all of them, the later
    definition is left out: the code there ran with the earlier one. Raise what :func:`ast.parse` raises.
    """
    module = Module(program)
    last = max(rows, default=len(module.starts))
    statements = list(_without_later_bindings(module.tree.body, last))
    kept = _kept(statements)
    blanks = list(_blanks(module, module.tree.body, kept))
    data = module.data
    parts: list[str] = []
    done = 0
    for start, end, filler in blanks:
        space = _NOT_NEWLINE.sub(" ", module.cut(start, end))
        parts += [module.cut(done, start), filler + space[len(filler) :]]
        done = end
    return "".join([*parts, module.cut(done, len(data))])


# --- what is defined


def _without_later_bindings(body: Sequence[ast.stmt], last: int) -> Iterator[ast.stmt]:
    """The statements but for those below a row that bind a name anew."""
    bound: set[str] = set()
    for statement in body:
        names = set(_bound(statement))
        if statement.lineno <= last or isinstance(statement, ast.Import) or not names & bound:
            bound |= names
            yield statement


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds in the module."""
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
            return
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            for alias in aliases:
                yield alias.asname or alias.name.partition(".")[0]
            return
    for node in ast.iter_child_nodes(statement):
        if isinstance(node, ast.stmt):
            yield from _bound(node)
        elif isinstance(node, ast.ExceptHandler):
            for inner in node.body:
                yield from _bound(inner)
        else:
            yield from (each.id for each in ast.walk(node) if isinstance(each, ast.Name) and _is_stored(each))


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _kept(statements: Sequence[ast.stmt]) -> _Kept:
    """The definitions, the constants that they need, and what these need in turn."""
    classes = {each.name: each for each in statements if isinstance(each, ast.ClassDef)}
    records = {name for name, cls in classes.items() if _is_record(cls)}
    known = {name for each in statements if isinstance(each, _DEFINING) for name in _bound(each)}
    scope = _Scope(known | set(dir(builtins)), records)
    assumed: set[ast.If] = set()
    parts = list(_parts(statements, scope, frozenset(), assumed))
    kept = [part for part in parts if part.is_definition]
    waiting = [part for part in parts if not part.is_definition]
    needed = {name for part in kept for name in part.needs | part.binds}
    while True:
        wanted = [part for part in waiting if needed & part.binds or _patches(part.statement, needed)]
        if not wanted:
            return _Kept({part.statement for part in kept}, assumed)
        kept += wanted
        needed.update(name for part in wanted for name in part.needs)
        waiting = [part for part in waiting if part not in wanted]


def _parts(block: Sequence[ast.stmt], scope: _Scope, outer: frozenset[str], assumed: set[ast.If]) -> Iterator[_Part]:
    """The definitions and constants of a block; ``outer`` are the names that it needs to be entered.

    A condition that can't be evaluated is added to ``assumed``, where a class or a function is defined under it.
    """
    known = set(scope.known)
    for statement in block:
        scope = _Scope(known, scope.records)
        binds = frozenset(_bound(statement))
        needs = outer | _names(statement)
        match statement:
            case ast.If(test=test):
                is_known = _is_pure(test, scope)
                inner = _branches(statement) if is_known else [statement.body]
                needed = outer | _names(test) if is_known else outer
                parts = [part for each in inner for part in _parts(each, scope, needed, assumed)]
                if not is_known and _has_code(parts):
                    assumed.add(statement)
                elif not is_known:
                    parts = []
            case ast.Try():
                parts = [part for each in _branches(statement) for part in _parts(each, scope, outer, assumed)]
            case _ if isinstance(statement, _DEFINING):
                parts = [_Part(statement, binds, needs, is_definition=True)]
            case _ if _is_constant(statement, scope):
                parts = [_Part(statement, binds, needs, is_definition=False)]
            case _:
                parts = []
        known.update(name for part in parts for name in part.binds)
        yield from parts


def _has_code(parts: Sequence[_Part]) -> bool:
    return any(isinstance(part.statement, (ast.ClassDef, *FUNCTIONS)) for part in parts)


def _branches(statement: ast.stmt) -> list[list[ast.stmt]]:
    match statement:
        case ast.If(body=body, orelse=other):
            return [body, other]
        case ast.Try(body=body, handlers=handlers, orelse=other, finalbody=final):
            return [body, *(handler.body for handler in handlers), other, final]
        case _:
            return []


def _is_record(cls: ast.ClassDef) -> bool:
    """To build an object of the class does nothing but keep its arguments."""
    words = [ast.unparse(each) for each in (*cls.decorator_list, *cls.bases)]
    return any(re.search(r"\b(?:dataclass|NamedTuple|SimpleNamespace)\b", word) for word in words)


def _patches(statement: ast.stmt, needed: set[str]) -> bool:
    """A statement such as ``Attention.forward = forward`` belongs to the definition of the class."""
    match statement:
        case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=owner))]):
            return owner in needed
        case _:
            return False


def _is_constant(statement: ast.stmt, scope: _Scope) -> bool:
    match statement:
        case ast.Assign(targets=targets, value=value):
            return all(map(_is_plain_target, targets)) and _is_pure(value, scope)
        case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.AugAssign(target=target, value=value):
            return _is_plain_target(target) and _is_pure(value, scope)
        case _:
            return False


def _is_plain_target(target: ast.expr) -> bool:
    match target:
        case ast.Name() | ast.Attribute(value=ast.Name()):
            return True
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return all(map(_is_plain_target, elements))
        case _:
            return False


def _is_pure(value: ast.expr, scope: _Scope) -> bool:
    """To evaluate the expression has no effect, and needs nothing but what is kept."""
    match value:
        case ast.Lambda():
            return True  # it runs when it is called
        case ast.Name(id=name):
            return name in scope.known
        case ast.Call(func=function) if not _may_be_called(function, scope):
            return False
        case ast.JoinedStr() | ast.FormattedValue():
            pass
        case _ if not isinstance(value, _PURE):
            return False
    parts = [node.value if isinstance(node, ast.keyword) else node for node in ast.iter_child_nodes(value)]
    return all(_is_pure(part, scope) for part in parts if isinstance(part, ast.expr))


def _may_be_called(function: ast.expr, scope: _Scope) -> bool:
    written = ast.unparse(function)
    if written in _PURE_CALLS or written in scope.records:
        return True
    return isinstance(function, ast.Attribute) and function.attr in _PURE_METHODS


# --- the rest becomes blank


def _blanks(module: Module, block: Sequence[ast.stmt], kept: _Kept) -> Iterator[tuple[int, int, str]]:
    """Where each statement starts and ends that is not kept, in bytes, and what stands in its place.

    In a block that is ``0``, a statement that does nothing. In the module itself it is nothing, lest an import from
    ``__future__`` come too late. In place of a condition that is taken to hold stands ``1``.
    """
    is_first = True
    for statement in block:
        inner = _branches(statement)
        if statement in kept.statements and not (_is_of_the_future(statement) and not is_first):
            is_first = is_first and _is_of_the_future(statement)
        elif any(_holds(each, kept) for each in inner):
            is_first = False
            if isinstance(statement, ast.If) and statement in kept.assumed:
                yield *module.span(statement.test), "1"
            for each in inner:
                yield from _blanks(module, each, kept)
        else:
            start, end = module.span(statement)
            if isinstance(statement, (ast.ClassDef, *FUNCTIONS)) and statement.decorator_list:
                start = module.starts[min(each.lineno for each in statement.decorator_list) - 1]
            filler = "" if _is_alone(module, statement, start, end) else "0"
            is_first = is_first and not filler
            yield start, end, filler


def _holds(block: Sequence[ast.stmt], kept: _Kept) -> bool:
    return any(each in kept.statements or any(_holds(inner, kept) for inner in _branches(each)) for each in block)


def _is_of_the_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _is_alone(module: Module, statement: ast.stmt, start: int, end: int) -> bool:
    """A statement of the module shares its rows with no other one."""
    row = module.position(start).row
    is_indented = module.starts[row - 1] != start
    behind = module.cut(end, module.starts[statement.end_lineno or row]).strip()
    return not is_indented and (not behind or behind.startswith("#"))
