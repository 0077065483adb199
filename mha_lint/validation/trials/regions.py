"""The changed statements as a function of what they read: the last resort, for rewrites that are local.

What they read of tensors and sizes becomes a parameter, and so does what unknown code returns; what is handed to
unknown code is returned as well. The file itself is not imported, so that nothing of it can stand in the way.
"""

from __future__ import annotations

import ast
import builtins
import copy
import os
from collections.abc import Iterator, Mapping, Sequence

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.parsing import parse
from mha_lint.validation.job import Job
from mha_lint.validation.trials.liveness import live_after
from mha_lint.validation.trials.region_shapes import TAKES_SIZES, shapes_of

RELATIONS = ("equivalent", "repaired")  # what the statements alone can show
NAME = "region"  # of the function that the statements become

_PASSED = "_passed"  # what was handed to unknown code
_LIBRARIES = frozenset("torch math einops numpy functools itertools operator typing".split())
_REFUSED_BUILTINS = frozenset("super locals globals vars eval exec open input print exit quit breakpoint".split())
_OF_TENSORS = frozenset(name for name in dir(torch.Tensor) if not name.startswith("_"))
_REFUSED = (
    ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
    ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom, ast.Delete, ast.AsyncFor, ast.AsyncWith,
)  # fmt: skip

_BRANCHES = (ast.If, ast.IfExp, ast.While, ast.Match, ast.Try, getattr(ast, "TryStar", ast.Try), ast.BoolOp)

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class NoRegion(Exception):
    """The change is not that of statements that could run alone; the message says why."""


def lifted(job: Job, more: int) -> tuple[Job, ...]:
    """One job for each changed function: its changed statements, and ``more`` statements before them, alone.

    Raise NoRegion where that is impossible, or where there are no more statements.
    """
    try:
        before, after = parse(job.before), parse(job.after)
    except (SyntaxError, ValueError) as error:
        raise NoRegion(f"it cannot be parsed: {error}") from error
    pairs = _changed_functions(before, after)
    own = _own_names(before)
    imports = {name: statement for name, statement in _imports(before).items() if name not in own}
    return tuple(_lift(job, old, new, imports, own, more) for old, new in pairs)


def _changed_functions(before: ast.Module, after: ast.Module) -> list[tuple[_Function, _Function]]:
    olds, news = list(_functions(before)), list(_functions(after))
    if len(olds) != len(news):
        raise NoRegion("functions come or go")
    pairs = [(old, new) for old, new in zip(olds, news, strict=True) if ast.dump(old) != ast.dump(new)]
    inner = [
        pair for pair in pairs if not any(other[0] is not pair[0] and _holds(pair[0], other[0]) for other in pairs)
    ]
    patched = copy.deepcopy(before)
    places = {id(old): place for place, old in enumerate(olds)}
    copies = list(_functions(patched))
    for old, new in inner:
        copies[places[id(old)]].body = new.body
    if not inner or ast.dump(patched) != ast.dump(after):
        raise NoRegion("more than the bodies of functions changes")
    return inner


def _functions(tree: ast.AST) -> Iterator[_Function]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def _holds(outer: ast.AST, inner: ast.AST) -> bool:
    return any(node is inner for node in ast.walk(outer))


def _imports(tree: ast.Module) -> dict[str, str]:
    """Return the imports from the libraries that tensors are worked on with: the statement, by bound name."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.partition(".")[0] in _LIBRARIES:
                        found[_bound_by(alias)] = ast.unparse(ast.Import([alias]))
            case ast.ImportFrom(module=str(module), names=names, level=0) if module.partition(".")[0] in _LIBRARIES:
                for alias in names:
                    found[_bound_by(alias)] = ast.unparse(ast.ImportFrom(module, [alias], 0))
    return found


def _own_names(tree: ast.Module) -> set[str]:
    """Names that the file binds at its top level to anything but what it imports from those libraries."""
    own: set[str] = set()
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                own.add(name)
            case ast.Import(names=names):
                own |= {_bound_by(alias) for alias in names if alias.name.partition(".")[0] not in _LIBRARIES}
            case ast.ImportFrom(module=module, names=names, level=level):
                if level or (module or "").partition(".")[0] not in _LIBRARIES:
                    own |= {_bound_by(alias) for alias in names}
            case ast.Name(id=name, ctx=ast.Store()):
                own.add(name)
            case _:
                pending += ast.iter_child_nodes(node)
    return own


def _bound_by(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _lift(job: Job, old: _Function, new: _Function, imports: Mapping[str, str], own: set[str], more: int) -> Job:
    block, first, end, new_block, new_end = _narrowed(old.body, new.body)
    if more > first:
        raise NoRegion("there is nothing before the changed statements")
    first -= more
    statements, changed = block[first:end], new_block[first:new_end]
    if any(_branches(node) for item in (*statements, *changed) for node in ast.walk(item)):
        raise NoRegion("it branches, and only the code around it knows which ways are taken")
    live = live_after(old, block, end)
    both = _bound(statements) | _bound(changed)
    if (both & live) - (_bound(statements) & _bound(changed)):
        raise NoRegion("it binds other names before and after")
    if both & {name for node in ast.walk(old) if isinstance(node, (ast.Global, ast.Nonlocal)) for name in node.names}:
        raise NoRegion("it binds names of other code")
    local = _bound([old]) | {item.arg for item in ast.walk(old.args) if isinstance(item, ast.arg)}
    names = _Names(local, own, imports)
    for body in (statements, changed):
        _Lifter(names).text(body, (), old.args)  # what is bound after it was read may come around again in a loop
    outputs = sorted((both & live) | (_written(statements) - (both - live)))
    left, right = _Lifter(names), _Lifter(names)
    texts = [lifter.text(body, outputs, old.args) for lifter, body in ((left, statements), (right, changed))]
    if left.opaque.keys() != right.opaque.keys() or left.read != right.read:
        raise NoRegion("it reads or calls other things before and after")
    head = f"def {NAME}({', '.join(names.declared(old.args))}):\n"
    preface = "".join(f"{imports[name]}\n" for name in sorted(names.imported))
    before, after = (preface + head + text for text in texts)
    rows = _rows(statements, before)
    shapes = shapes_of(_function(before), sorted(names.numbers & set(names.parameters.values())))
    return replace(
        job,
        path=os.path.join(os.getcwd(), f"{NAME}.py"),
        before=before,
        after=after,
        symbols=(NAME,),
        flagged=tuple(sorted({row for flagged in job.flagged for row in rows.get(flagged, ())})),
        hints=shapes,
        declared=(),
    )


def _branches(node: ast.AST) -> bool:
    return isinstance(node, _BRANCHES) or (isinstance(node, ast.comprehension) and bool(node.ifs))


def _narrowed(old: list[ast.stmt], new: list[ast.stmt]) -> tuple[list[ast.stmt], int, int, list[ast.stmt], int]:
    """The innermost blocks that differ: the first statement that does, and the ends, in both."""
    ours, theirs = [ast.dump(item) for item in old], [ast.dump(item) for item in new]
    first = 0
    while first < min(len(ours), len(theirs)) and ours[first] == theirs[first]:
        first += 1
    same = 0
    while same < min(len(ours), len(theirs)) - first and ours[-1 - same] == theirs[-1 - same]:
        same += 1
    end, new_end = len(ours) - same, len(theirs) - same
    if end == first + 1 and new_end == first + 1 and type(old[first]) is type(new[first]):
        differing = [
            name for name, value in ast.iter_fields(old[first]) if _dumped(value) != _dumped(getattr(new[first], name))
        ]
        if len(differing) == 1 and differing[0] in ("body", "orelse", "finalbody"):
            return _narrowed(getattr(old[first], differing[0]), getattr(new[first], differing[0]))
    if first in (end, new_end):  # statements are only added, or only removed: take a neighbour in
        if first == 0:
            end, new_end = end + 1, new_end + 1
        first = max(first - 1, 0)
    return old, first, end, new, new_end


def _dumped(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [ast.dump(item) if isinstance(item, ast.AST) else repr(item) for item in values]


def _is_read(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Load)


def _bound(nodes: Sequence[ast.AST]) -> set[str]:
    inner = [item for node in nodes for item in ast.walk(node)]
    hidden = {id(name) for item in inner if isinstance(item, ast.comprehension) for name in ast.walk(item.target)}
    return {item.id for item in inner if isinstance(item, ast.Name) and not _is_read(item) and id(item) not in hidden}


def _written(nodes: Sequence[ast.AST]) -> set[str]:
    """Names of what is written into by subscript."""
    inner = [item for node in nodes for item in ast.walk(node) if isinstance(item, ast.Subscript)]
    written = [item.value for item in inner if isinstance(item.ctx, ast.Store)]
    return {item.id for item in written if isinstance(item, ast.Name)}


def _rows(statements: Sequence[ast.stmt], text: str) -> dict[int, set[int]]:
    """For each row of the statements, the rows of ``text`` that came of it."""
    function = _function(text)
    ours = [node for statement in statements for node in _statements(statement)]
    theirs = [node for statement in function.body[1:] for node in _statements(statement)]
    found: dict[int, set[int]] = {}
    for one, other in zip(ours, theirs, strict=False):
        for row in range(one.lineno, (one.end_lineno or one.lineno) + 1):
            found.setdefault(row, set()).add(other.lineno)
    return {row: {max(lines)} for row, lines in found.items()}  # the innermost statement comes last


def _function(text: str) -> ast.FunctionDef:
    return next(node for node in parse(text).body if isinstance(node, ast.FunctionDef))


def _statements(statement: ast.stmt) -> Iterator[ast.stmt]:
    yield statement
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            yield from _statements(child)


class _Names(Struct):
    """The names of the lifted function, shared by both texts."""

    local: set[str]
    own: set[str]  # of the file's top level
    imports: Mapping[str, str]
    parameters: dict[str, str] = field(default_factory=dict)  # by what each stands for
    imported: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)  # what is used as a size
    tensors: set[str] = field(default_factory=set)  # what is multiplied, or has a method of tensors called

    def parameter(self, key: str, wish: str) -> str:
        if key not in self.parameters:
            taken = {*self.parameters.values(), *self.imports, *dir(builtins), NAME, _PASSED}
            taken |= self.local if key != wish else set()
            name = wish
            while name in taken or not name.isidentifier():
                name += "_"
            self.parameters[key] = name
        return self.parameters[key]

    def is_known(self, name: str) -> bool:
        """Tell whether a name that is not local is one of a library, or a builtin."""
        if name in self.local:
            return False
        if name in self.imports:
            self.imported.add(name)
            return True
        if name in self.own:
            return False
        if name in _REFUSED_BUILTINS:
            raise NoRegion(f"it calls {name}")
        return hasattr(builtins, name)

    def declared(self, given: ast.arguments) -> Iterator[str]:
        """The parameters as they are written: tensors and plain numbers with their annotations."""
        said = {item.arg: ast.unparse(item.annotation) for item in _arguments(given) if item.annotation is not None}
        for key, name in self.parameters.items():
            annotation = "int" if name in self.numbers else said.get(key, "")
            annotation = "'Tensor'" if name in self.tensors else annotation
            yield f"{name}: {annotation}" if annotation in ("int", "bool", "float", "'Tensor'") else name


def _arguments(given: ast.arguments) -> list[ast.arg]:
    return [*given.posonlyargs, *given.args, *given.kwonlyargs]


class _Lifter(ast.NodeTransformer):
    """Rewrites statements so that they read nothing but parameters and libraries."""

    def __init__(self, names: _Names) -> None:
        self.names = names
        self.assigned: set[str] = set()
        self.opaque: dict[str, int] = {}  # calls of unknown code, counted
        self.read: set[str] = set()  # the parameters

    def text(self, statements: Sequence[ast.stmt], outputs: Sequence[str], given: ast.arguments) -> str:
        body = [self._statement(copy.deepcopy(statement)) for statement in statements]
        returned = [*outputs, _PASSED]
        lines = [f"{_PASSED} = []", *(ast.unparse(ast.fix_missing_locations(item)) for item in body)]
        lines.append(f"return ({', '.join(returned)},)")
        return "".join(f"    {line}\n" for item in lines for line in item.splitlines())

    def _statement(self, node: ast.stmt) -> ast.stmt:
        """Right sides first; what a statement binds for certain is read from then on, as it was bound."""
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                self._read(node.target.id)
            if node.value is not None:
                node.value = self.visit(node.value)
            if isinstance(node, ast.AnnAssign):
                node.annotation = ast.Constant(None)
            for target in targets:
                self._bind(target)
            return node
        outer = set(self.assigned)
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                self.assigned = set(outer)
                if isinstance(node, (ast.For, ast.With)):
                    bound = [node.target] if isinstance(node, ast.For) else [each.optional_vars for each in node.items]
                    for target in filter(None, bound):
                        self._bind(target)
                setattr(node, name, [self._statement(item) for item in value])
            elif isinstance(value, list):
                setattr(node, name, [self.visit(item) if isinstance(item, ast.AST) else item for item in value])
            elif isinstance(value, ast.AST):
                setattr(node, name, value if name == "target" else self.visit(value))
        self.assigned = outer
        if isinstance(node, ast.Return):
            value = node.value or ast.Constant(None)
            node.value = ast.Tuple([value, ast.Name(_PASSED, ast.Load())], ast.Load())
        if isinstance(node, _REFUSED):
            raise NoRegion(f"it holds a statement of the kind {type(node).__name__}")
        return node

    def _bind(self, target: ast.expr) -> None:
        match target:
            case ast.Name(name):
                self.assigned.add(name)
            case ast.Tuple(elts=items) | ast.List(elts=items):
                for item in items:
                    self._bind(item)
            case ast.Starred(value=value):
                self._bind(value)
            case ast.Subscript():
                target.value = self.visit(target.value)
                target.slice = self.visit(target.slice)
            case _:
                raise NoRegion("it writes to an attribute")

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, _REFUSED):
            raise NoRegion(f"it holds {type(node).__name__}")
        return super().generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(self._read(node.id), ast.Load()) if _is_read(node) else node

    def _read(self, name: str) -> str:
        if name in self.assigned or self.names.is_known(name):
            return name
        return self._parameter(name, name)

    def _parameter(self, key: str, wish: str) -> str:
        name = self.names.parameter(key, wish)
        self.read.add(name)
        return name

    def _scoped(self, node: ast.AST, bound: set[str]) -> ast.AST:
        outer = set(self.assigned)
        self.assigned |= bound
        done = super().generic_visit(node)
        self.assigned = outer
        return done

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> ast.AST:
        names = {item.id for each in node.generators for item in ast.walk(each.target) if isinstance(item, ast.Name)}
        return self._scoped(node, names)

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._scoped(node, {item.arg for item in ast.walk(node.args) if isinstance(item, ast.arg)})

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        done = super().generic_visit(node)
        if isinstance(node.op, ast.Add):  # of shapes: x.shape[:-2] + (width,)
            self.names.numbers |= {
                name.id for side in (node.left, node.right) if isinstance(side, ast.Tuple) for name in _terms(side)
            }
        if isinstance(node.op, ast.MatMult):
            self._are_tensors(node.left, node.right)
        return done

    def _are_tensors(self, *nodes: ast.expr) -> None:
        self.names.tensors |= {node.id for node in nodes if isinstance(node, ast.Name)}

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        root = _root(node)
        if isinstance(root, ast.Name):
            if root.id not in self.assigned and self.names.is_known(root.id):
                return node
            if node.attr in _OF_TENSORS and not _is_self(node.value):
                node.value = self.visit(node.value)
                return node
            if root.id in self.assigned:
                raise NoRegion(f"it reads {ast.unparse(node)}")
            if node.attr == "training":
                raise NoRegion("it depends on the mode, which is not its own")
            return ast.Name(self._parameter(ast.unparse(node), node.attr), ast.Load())
        if node.attr in _OF_TENSORS:
            node.value = self.visit(node.value)
            return node
        return self._unknown(node, [node.value])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node.func:
            case ast.Name(name):
                known = name not in self.assigned and self.names.is_known(name)
            case ast.Attribute(value=value, attr=attr):
                root = _root(node.func)
                plain = isinstance(root, ast.Name) and root.id not in self.assigned
                known = plain and isinstance(root, ast.Name) and self.names.is_known(root.id)
                if not known and attr in _OF_TENSORS and not _is_self(value):
                    node.func.value = self.visit(value)
                    self._are_tensors(node.func.value)
                    known = True
            case _:
                known = False
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if not known:
            return self._unknown(node.func, arguments)
        node.args = [self.visit(item) for item in node.args]
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in ("matmul", "bmm"):
            self._are_tensors(*node.args)
        if called in TAKES_SIZES:
            self.names.numbers |= {item.id for argument in node.args for item in _terms(argument)}
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        return node

    def _unknown(self, code: ast.expr, arguments: list[ast.expr]) -> ast.expr:
        """A parameter in place of what unknown code gives; what it is handed is kept."""
        key = ast.dump(code)
        self.opaque[key] = count = self.opaque.get(key, 0) + 1
        named = [node for node in ast.walk(code) if isinstance(node, (ast.Name, ast.Attribute))]
        wish = (named[0].attr if isinstance(named[0], ast.Attribute) else named[0].id) if named else "value"
        given = [self.visit(item.value if isinstance(item, ast.Starred) else item) for item in arguments]
        passed = ast.Call(
            ast.Attribute(ast.Name(_PASSED, ast.Load()), "append", ast.Load()), [ast.Tuple(given, ast.Load())], []
        )
        result = ast.Name(self._parameter(f"{key} {count}", wish), ast.Load())
        return ast.Subscript(ast.Tuple([passed, result], ast.Load()), ast.Constant(1), ast.Load())


def _terms(node: ast.expr) -> Iterator[ast.Name]:
    """The names that a size is computed from."""
    match node:
        case ast.Name():
            yield node
        case ast.BinOp(left=left, right=right):
            yield from _terms(left)
            yield from _terms(right)
        case ast.Tuple(elts=items):
            for item in items:
                yield from _terms(item)


def _root(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")
