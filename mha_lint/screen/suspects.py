"""Which functions of a file can lead to findings, told from its syntax tree by one look.

There are no paths, sizes or strides here: every body is run over sets of facets, branches join, calls of functions of
the file are followed with what their arguments may be, attributes are told apart by their names and classes. It
follows what the layout model follows, and where it knows less it assumes more.

Known to be lost: sizes found to be 1 where no code of the same function compares them, methods of tensors kept as
values, a cut along dimension -1 that takes all there is, a sum with a tensor of more dimensions than the first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from mha_lint.screen import facets as fc
from mha_lint.screen import sequences
from mha_lint.screen.facets import (
    CONTEXT,
    GIVEN,
    INTEGER,
    KNOWN,
    LITERAL,
    ONE,
    ROLES,
    SIZES,
    TENSOR,
    WEIGHTS,
    Facets,
    Items,
    Many,
    Rich,
    Value,
    joined,
    rich,
)
from mha_lint.screen.operations import OPERATIONS, Call, told_by_name
from mha_lint.screen.outline import Class, Function, Outline, mentioned, related
from mha_lint.screen.part import Suspects

Env = dict[str, Value]

MAX_PASSES = 5
MAX_STEPS = 200_000  # statements and calls
MAX_STARRED = 16  # parameters
MAX_DEPTH = 10  # calls inside calls, as in the interpreter

# The kind of suspect that a rule's findings start from.
KINDS = {"MHA001": "view", "MHA002": "unbind", "MHA003": "unprojected", "MHA004": "contiguous", "MHA005": "reshape"}


def suspects(text: str, codes: Collection[str], tree: ast.Module | None = None) -> Suspects | None:
    """What of a file matters for the rules; ``tree`` is its syntax tree, where there is one already.

    None for all of it: the code is broken or takes too long to look at, or a rule is not known here.
    """
    if not KINDS.keys() >= set(codes):
        return None
    try:
        look = _Look(ast.parse(text) if tree is None else tree)
        roots = look.finds({KINDS[code] for code in codes})
        return Suspects(look.file, text, roots, look.holders, look.calls, look.kinds, look.likely)
    except (SyntaxError, ValueError, RecursionError, MemoryError, _Endless):
        return None


class _Endless(Exception):
    """There is too much to look at."""


_SELF = object()  # what `self` is, and `super()`, of which is only known that its methods are those of some relation


@dataclass(frozen=True, slots=True)
class _Layer:
    """A ``torch.nn`` module; ``items`` are the layers that a Sequential runs in turn, or the width of another."""

    kind: str
    items: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class _Qualified:
    """A name imported from elsewhere, or a builtin, in full."""

    name: str


@dataclass(frozen=True, slots=True)
class _Perhaps:
    """A callable, or another that is not known: what it gives is not proved."""

    callee: object


@dataclass(frozen=True, slots=True)
class _Closure:
    function: Function
    env: Env = field(hash=False)


@dataclass(frozen=True, slots=True)
class _Mapped:
    """A ``map`` over what may be a tensor with these facets."""

    source: Facets


class _Object:
    """An object of a class of the file."""

    def __init__(self, cls: Class) -> None:
        self.cls = cls


class _Look:
    def __init__(self, tree: ast.Module) -> None:
        self.file = Outline(tree)
        self.wanted: set[str] = set()
        self.suspicious = False  # what is being run
        self.holders: set[Function] = set()  # functions in which something is suspect
        self.kinds: set[str] = set()  # of what is suspect
        self.likely = False  # something is suspect that nearly always is a finding
        self.compares = self.learns = False  # the function being run compares something with 1, or another number
        self.adds = False  # what is being run adds a context to something
        self.sums: set[Function] = set()  # functions that do
        self.attributes: dict[str, dict[Class | None, Value]] = {}  # by name, then by the class that assigns
        self.looked_up: dict[str, dict[object, Value]] = {}  # attributes, until they grow
        self.names: dict[Class, frozenset[str]] = {}
        self.again = False  # something grew after it was read
        self.objects = {cls: rich(_Object(cls)) for cls in self.file.every_class}
        self.running: list[Function] = []
        self.returned: list[Value] = []
        self.calls: dict[Function, set[Function]] = {}
        self.memo: dict[object, tuple[Value, bool, bool]] = {}  # by function and arguments
        self.begun: set[object] = set()  # those of the memo that were run as roots
        self.results: dict[Function, Value] = {}  # of functions that were wanted while they ran
        self.steps = 0

    def _qualified(self, node: ast.expr, env: Env) -> str | None:
        rest = ""
        while isinstance(node, ast.Attribute):
            rest = f".{node.attr}{rest}"
            node = node.value
        if isinstance(node, ast.Name) and node.id in self.file.imports and node.id not in env:
            return self.file.imports[node.id] + rest
        return None

    # --- the look ------------------------------------------------------------------------------------------------

    def finds(self, wanted: set[str]) -> list[Function]:
        """The functions in which, or in what they call, something is suspect."""
        self.wanted = wanted
        for _ in range(MAX_PASSES):
            self.again = False
            found = []
            for function in self.file.everything:
                self.suspicious = False
                self.root(function)
                if self.suspicious:
                    found.append(function)
            if not self.again:
                break
            self.memo.clear()
            self.begun.clear()
        else:
            raise _Endless
        if "unprojected" in wanted:
            unprojected = [cls.methods["forward"] for cls in self.file.every_class if self._unprojected(cls)]
            found += unprojected
            self.kinds |= {"unprojected"} if unprojected else set()
        return found

    def suspect(self, kind: str) -> None:
        if kind in self.wanted:
            self.suspicious = True
            self.kinds.add(kind)
            self.holders.add(self.running[-1])

    def root(self, function: Function) -> Value:
        """Run it with arguments of which nothing is known; what it may return."""
        return self.run(function, None)

    def _unprojected(self, cls: Class) -> bool:
        forward = cls.methods.get("forward")
        if forward is None or not cls.node.bases or not fc.all_facets(self.root(forward)) & CONTEXT:
            return False
        name = cls.node.name
        if any(name in mentioned(value) for value in self.file.constants.values()):
            return False
        callers = [other for other in self.file.every_class if other is not cls and name in self._names_in(other)]
        return not callers or any(self._keeps(caller) for caller in callers)

    def _names_in(self, cls: Class) -> frozenset[str]:
        if cls not in self.names:
            self.names[cls] = mentioned(cls.node)
        return self.names[cls]

    def _keeps(self, caller: Class) -> bool:
        forward = caller.method("forward")
        if forward is None:
            return False
        return bool(fc.all_facets(self.root(forward)) & CONTEXT) or forward in self.sums

    # --- functions -----------------------------------------------------------------------------------------------

    def run(
        self,
        function: Function,
        given: Sequence[Value] | None,
        keywords: dict[str, Value] | None = None,
        outer: Env | None = None,
    ) -> Value:
        """What a function may return; ``given=None`` for arguments of which nothing is known."""
        if self.running:
            self.calls.setdefault(self.running[-1], set()).add(function)
        if function in self.running or len(self.running) >= MAX_DEPTH:
            return self.results.setdefault(function, 0)
        arguments = function.args
        positional = [*arguments.posonlyargs, *arguments.args]
        env: Env = dict(outer or {})
        defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
        for index, (parameter, default) in enumerate(zip(positional, defaults, strict=True)):
            if index == 0 and function in self.file.bound:
                env[parameter.arg] = rich(_SELF)
            elif given is None:
                env[parameter.arg] = self._unknown_argument(default)
            elif index < len(given):
                env[parameter.arg] = joined(given[index], (keywords or {}).get(parameter.arg, 0))
            elif keywords and parameter.arg in keywords:
                env[parameter.arg] = keywords[parameter.arg]
            else:
                env[parameter.arg] = 0 if default is None else self.value(default, {})
        for parameter, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if given is None:
                env[parameter.arg] = self._unknown_argument(default)
            elif keywords and parameter.arg in keywords:
                env[parameter.arg] = keywords[parameter.arg]
            else:
                env[parameter.arg] = 0 if default is None else self.value(default, {})
        if arguments.vararg:
            rest = given[len(positional) :] if given else ()
            env[arguments.vararg.arg] = fc.many(fc.either(rest))
        if arguments.kwarg:
            env[arguments.kwarg.arg] = 0
        key = (function, *env.values())
        if key in self.memo and (self.running or key in self.begun):
            result, adds, suspicious = self.memo[key]
            self.adds, self.suspicious = self.adds or adds, self.suspicious or suspicious
            return result
        if not self.running:
            self.begun.add(key)
        before, adds, suspicious = self.returned, self.adds, self.suspicious
        told = self.compares, self.learns
        self.returned, self.adds, self.suspicious = [], False, False
        self.running.append(function)
        try:
            if isinstance(function, ast.Lambda):
                result = self.value(function.body, env)
            else:
                self.compares = self.learns = False
                self.block(function.body, env)
                result = fc.either(self.returned)
            if self.adds:
                self.sums.add(function)
        finally:
            self.running.pop()
            self.returned, (self.compares, self.learns) = before, told
        self.memo[key] = result, self.adds, self.suspicious
        self.adds, self.suspicious = self.adds or adds, self.suspicious or suspicious
        if function in self.results:  # it was wanted while it ran
            known = self.results[function]
            self.results[function] = joined(known, result)
            self.again = self.again or self.results[function] != known
        return result

    def _unknown_argument(self, default: ast.expr | None) -> Value:
        if isinstance(default, ast.Name) and default.id in self.file.classes:
            return joined(GIVEN, rich(self.file.classes[default.id]))
        return GIVEN

    # --- statements ----------------------------------------------------------------------------------------------

    def block(self, body: Sequence[ast.stmt], env: Env) -> None:
        self.steps += len(body)
        if self.steps > MAX_STEPS:
            raise _Endless
        for statement in body:
            handler = _STATEMENTS.get(type(statement))
            if handler is not None:
                handler(self, statement, env)

    def _expression(self, statement: ast.Expr, env: Env) -> None:
        self.value(statement.value, env)

    def _return(self, statement: ast.Return, env: Env) -> None:
        if statement.value is not None:
            self.returned.append(self.value(statement.value, env))

    def _assign(self, statement: ast.Assign, env: Env) -> None:
        value = self.value(statement.value, env)
        target = statement.targets[0]
        if isinstance(target, (ast.Tuple, ast.List)) and len(statement.targets) == 1:
            self._unpacking(target.elts, statement.value, value)
        for target in statement.targets:
            self.assign(target, value, env)

    def _unpacking(self, targets: Sequence[ast.expr], source: ast.expr, value: Value) -> None:
        """Unpacking a tensor calls ``unbind(0)``; so does a ``map`` over one."""
        if "unbind" not in self.wanted or not _may_be_qkv(targets, source):
            return
        if self.suspicious and _is_unbind(source) and all(map(_is_letter, targets)):
            self.likely = True
        tensor = fc.facets(value)
        for other in fc.others(value):
            if isinstance(other, _Mapped):
                tensor |= other.source
        if (tensor & TENSOR and tensor & LITERAL) or (tensor and self.learns):
            self.suspect("unbind")

    def _annotated(self, statement: ast.AnnAssign, env: Env) -> None:
        if statement.value is not None:
            self.assign(statement.target, self.value(statement.value, env), env)

    def _augmented(self, statement: ast.AugAssign, env: Env) -> None:
        before = self.value(statement.target, env)
        self.assign(
            statement.target, joined(before, self.binary(statement.op, before, self.value(statement.value, env))), env
        )

    def assign(self, target: ast.expr, value: Value, env: Env) -> None:
        match target:
            case ast.Name(name):
                env[name] = value
            case ast.Attribute(attr=name):
                self.set_attribute(name, value)
            case ast.Starred(value=inner):
                self.assign(inner, fc.many(fc.element(value)), env)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                for part, element in zip(sequences.parts(value, elements), elements, strict=True):
                    self.assign(element, part, env)

    def _if(self, statement: ast.If, env: Env) -> None:
        self.value(statement.test, env)
        self._branches(env, statement.body, statement.orelse)

    def _branches(self, env: Env, *bodies: Sequence[ast.stmt]) -> None:
        """Run one of several blocks."""
        ends = []
        for body in bodies:
            end = dict(env)
            self.block(body, end)
            ends.append(end)
        for end in ends[1:]:
            for name, value in end.items():
                ends[0][name] = joined(ends[0][name], value) if name in ends[0] else value
        env.update(ends[0])

    def _for(self, statement: ast.For | ast.AsyncFor, env: Env) -> None:
        item = fc.element(self.value(statement.iter, env))
        for _ in range(2):
            self.assign(statement.target, item, env)
            self._branches(env, (), statement.body)
        self.block(statement.orelse, env)

    def _while(self, statement: ast.While, env: Env) -> None:
        for _ in range(2):
            self.value(statement.test, env)
            self._branches(env, (), statement.body)
        self.block(statement.orelse, env)

    def _with(self, statement: ast.With | ast.AsyncWith, env: Env) -> None:
        for item in statement.items:
            self.value(item.context_expr, env)
        self.block(statement.body, env)

    def _try(self, statement: ast.Try, env: Env) -> None:
        self._branches(env, (), [*statement.body, *statement.orelse])
        self._branches(env, (), *(handler.body for handler in statement.handlers))
        self.block(statement.finalbody, env)

    def _define(self, statement: ast.FunctionDef | ast.AsyncFunctionDef, env: Env) -> None:
        env[statement.name] = rich(_Closure(statement, dict(env)))

    def _assert(self, statement: ast.Assert, env: Env) -> None:
        self.value(statement.test, env)

    def _local_import(self, statement: ast.Import | ast.ImportFrom, env: Env) -> None:
        self.file.add_import(statement)

    # --- expressions ---------------------------------------------------------------------------------------------

    def value(self, node: ast.expr, env: Env) -> Value:
        handler = _EXPRESSIONS.get(type(node))
        return 0 if handler is None else handler(self, node, env)

    def _literal(self, node: ast.Constant, env: Env) -> Value:
        if type(node.value) is int:
            return (SIZES if node.value == 1 else LITERAL) | INTEGER
        return 0

    def _name(self, node: ast.Name, env: Env) -> Value:
        name = node.id
        if name in env:
            return env[name]
        if name in self.file.classes:
            return rich(self.file.classes[name])
        if name in self.file.functions:
            return rich(self.file.functions[name])
        if name in self.file.imports:
            return rich(_Qualified(self.file.imports[name]))
        if name in self.file.constants:
            value = self.file.constants.pop(name)  # not again inside of itself
            try:
                return joined(GIVEN, self.value(value, {}))
            finally:
                self.file.constants[name] = value
        return rich(_Qualified(f"builtins.{name}"))

    def _attribute(self, node: ast.Attribute, env: Env) -> Value:
        qualified = self._qualified(node, env)
        if qualified is not None:
            return rich(_Qualified(qualified))
        base = self.value(node.value, env)
        name = node.attr
        if name == "shape":
            return fc.many(fc.facets(base) & SIZES | INTEGER)
        if name in ("T", "mT", "H", "mH"):
            return joined(fc.transposed(fc.facets(base)), 0 if isinstance(base, int) else self.attribute(name, base))
        if name in ("data", "real"):
            return joined(fc.facets(base), 0 if isinstance(base, int) else self.attribute(name, base))
        return self.attribute(name, base)

    def set_attribute(self, name: str, value: Value) -> None:
        owned = self.attributes.setdefault(name, {})
        owner = self._owner()
        known = owned.get(owner, 0)
        owned[owner] = joined(known, value)
        if owned[owner] != known and name in self.looked_up:
            del self.looked_up[name]
            self.again = True

    def _owner(self) -> Class | None:
        """The class whose method is running."""
        return next((self.file.owners[f] for f in reversed(self.running) if f in self.file.owners), None)

    def attribute(self, name: str, base: Value) -> Value:
        """What an attribute of that name may be; nothing is known of those of what is not known itself."""
        if isinstance(base, int):
            return GIVEN
        if name in self.file.assigning:
            suspicious, adds = self.suspicious, self.adds
            for function in self.file.assigning.pop(name):
                self.root(function)
            self.suspicious, self.adds = suspicious, adds  # they are roots of their own
        owner = self._owner() if _SELF in base.others else None
        known = self.looked_up.setdefault(name, {})
        if owner not in known:
            known[owner] = self._looked_up(name, owner)
        if self.running:
            properties = self.file.properties.intersection(self.file.methods.get(name, ()))
            self.calls.setdefault(self.running[-1], set()).update(properties)
        return known[owner]

    def _looked_up(self, name: str, owner: Class | None) -> Value:
        """What it may be as an attribute of an object that may be of the class, or of any."""
        value: Value = GIVEN
        for cls, known in list(self.attributes.get(name, {}).items()):
            if related(cls, owner):
                value = joined(value, known)
        for method in self.file.methods.get(name, ()):
            if related(self.file.owners[method], owner):
                value = joined(value, self.run(method, None) if method in self.file.properties else rich(method))
        for constant in self.file.constants_of_classes.get(name, ()):
            value = joined(value, self.value(constant, {}))
        return value

    def _tuple(self, node: ast.Tuple | ast.List, env: Env) -> Value:
        values = [self.value(element, env) for element in node.elts]
        if any(isinstance(element, ast.Starred) for element in node.elts):
            return fc.many(fc.either(values))
        return fc.items(values)

    def _starred(self, node: ast.Starred, env: Env) -> Value:
        return fc.element(self.value(node.value, env))

    def _binary(self, node: ast.BinOp, env: Env) -> Value:
        return self.binary(node.op, self.value(node.left, env), self.value(node.right, env))

    def binary(self, sign: ast.operator, left: Value, right: Value) -> Value:
        first, second = fc.facets(left), fc.facets(right)
        if isinstance(sign, ast.MatMult):
            return fc.multiplied(first, second)
        if not isinstance(left, int) and not isinstance(right, int):
            return sequences.concatenated(left, right)
        if not isinstance(left, int) and isinstance(sign, ast.Mult):
            return fc.many(fc.element(left))
        if isinstance(sign, ast.Add) and (first | second) & CONTEXT:
            self.adds = True
        result = fc.elementwise(first, second)
        if not (first | second) & TENSOR:
            result |= INTEGER
        return result | ONE if first & second & LITERAL and not result & TENSOR else result

    def _unary(self, node: ast.UnaryOp, env: Env) -> Value:
        value = self.value(node.operand, env)
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return INTEGER if type(node.operand.value) is int else 0
        return fc.elementwise(fc.facets(value))

    def _either(self, node: ast.BoolOp, env: Env) -> Value:
        return fc.either(self.value(value, env) for value in node.values)

    def _compare(self, node: ast.Compare, env: Env) -> Value:
        values = [self.value(part, env) for part in (node.left, *node.comparators)]
        if any(fc.facets(value) & ONE for value in values) or any(
            isinstance(part, ast.Constant) and part.value == 2 for part in node.comparators
        ):
            self.compares = True  # on one side of it, a size is known to be 1
        if any(fc.facets(value) & LITERAL for value in values):
            self.learns = True
        return fc.elementwise(*map(fc.facets, values))

    def _conditional(self, node: ast.IfExp, env: Env) -> Value:
        self.value(node.test, env)
        return joined(self.value(node.body, env), self.value(node.orelse, env))

    def _lambda(self, node: ast.Lambda, env: Env) -> Value:
        return rich(_Closure(node, dict(env)))

    def _walrus(self, node: ast.NamedExpr, env: Env) -> Value:
        value = self.value(node.value, env)
        self.assign(node.target, value, env)
        return value

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp, env: Env) -> Value:
        inner = dict(env)
        for generator in node.generators:
            self.assign(generator.target, fc.element(self.value(generator.iter, inner)), inner)
        return fc.many(self.value(node.elt, inner))

    def _subscript(self, node: ast.Subscript, env: Env) -> Value:
        base = self.value(node.value, env)
        index = node.slice
        for part in index.elts if isinstance(index, ast.Tuple) else [index]:  # whatever the base is
            for inner in (part.lower, part.upper, part.step) if isinstance(part, ast.Slice) else (part,):
                if inner is not None:
                    self.value(inner, env)
        result: Value = 0
        for other in fc.others(base):
            if isinstance(other, Items):
                result = joined(result, sequences.item(other, index))
            elif isinstance(other, Many):
                result = joined(result, rich(other) if isinstance(index, ast.Slice) else other.item)
            elif other is fc.NESTED:
                result = joined(result, base)
        tensor = fc.facets(base)
        if tensor & ~ROLES:
            result = joined(result, self._indexed(tensor, index, env))
        return result

    def _indexed(self, tensor: Facets, index: ast.expr, env: Env) -> Facets:
        inserts = cuts = False
        for part in index.elts if isinstance(index, ast.Tuple) else [index]:
            match part:
                case ast.Constant(value=None):
                    inserts = True
                case ast.Slice(lower=None, upper=None, step=None):
                    pass
                case ast.Constant(value=value) if value is ...:
                    pass
                case ast.Slice(lower=lower, upper=upper):
                    cuts = True
                    ends = fc.facets(self.value(upper, env)) if upper is not None else 0
                    if lower is not None:
                        self.value(lower, env)
                        ends |= ONE if upper is not None or sequences.integer(lower) == -1 else 0
                    inserts = inserts or bool(ends & ONE)
                case _:
                    cuts = True
                    if not fc.facets(self.value(part, env)) & INTEGER:  # by a tensor, as far as is known
                        return tensor & (SIZES | ROLES | (GIVEN if part is index else 0)) | KNOWN
        result = fc.cut(tensor) if cuts else tensor
        return result | SIZES if inserts else result

    # --- calls ---------------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call, env: Env) -> Value:
        function = node.func
        self.steps += 1
        if isinstance(function, ast.Attribute):
            return self._call_attribute(node, function, env)
        callee = self.value(function, env)
        args, keywords = self._arguments(node, env)
        return self.apply(callee, args, keywords, node, env)

    def _arguments(self, node: ast.Call, env: Env) -> tuple[list[Value], dict[str, Value]]:
        args = [self.value(arg, env) for arg in node.args]
        if any(isinstance(arg, ast.Starred) for arg in node.args):
            args = [fc.either(args)] * MAX_STARRED  # each may be any of them
        keywords = {keyword.arg or "**": self.value(keyword.value, env) for keyword in node.keywords}
        return args, keywords

    def _call_attribute(self, node: ast.Call, function: ast.Attribute, env: Env) -> Value:
        name = function.attr
        qualified = self._qualified(function, env)
        if qualified is not None:
            args, keywords = self._arguments(node, env)
            return self._call_qualified(qualified, args, keywords, node, env)
        receiver = self.value(function.value, env)
        args, keywords = self._arguments(node, env)
        if name == "append" and len(args) == 1:
            self._append(function.value, args[0], env)
            return 0
        if name == "reshape" and _is_plain_contiguous(function.value):
            self.suspect("contiguous")
        of_self = _SELF in fc.others(receiver)
        result: Value = 0
        if not of_self:
            operation = OPERATIONS.get(name)
            if operation is not None:
                result = operation(Call(self, name, [receiver, *args], keywords, node))
            elif name.endswith("_") and not name.startswith("__"):
                result = fc.facets(receiver)
        callee = self.attribute(name, receiver)
        return joined(result, self.apply(callee, args, keywords, node, env))

    def _append(self, target: ast.expr, value: Value, env: Env) -> None:
        longer = fc.many(value)
        if isinstance(target, ast.Name):
            env[target.id] = joined(env.get(target.id, 0), longer)
        elif isinstance(target, ast.Attribute):
            self.set_attribute(target.attr, longer)

    def apply(self, callee: Value, args: list[Value], keywords: dict[str, Value], node: ast.Call, env: Env) -> Value:
        """What calling it may give."""
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        result = told_by_name(name, args)
        for other in fc.others(callee):
            match other:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    given = [0, *args] if other in self.file.bound else args
                    result = joined(result, self.run(other, given, keywords))
                case _Perhaps(callee=inner):
                    value = self.apply(rich(inner), args, keywords, node, env)
                    result = joined(result, fc.unproved(value))
                case _Closure(function=inner, env=outer):
                    result = joined(result, self.run(inner, args, keywords, outer))
                case Class():
                    init = other.method("__init__")
                    if init is not None:
                        self.run(init, [0, *args], keywords)
                    result = joined(result, self.objects[other])
                    if other.method("forward") is None:
                        for base in (b for cls in other.lineage for b in cls.node.bases):
                            name_of = self._qualified(base, {}) or ""
                            if name_of.startswith("torch.nn."):
                                result = joined(result, self._layer(name_of.rpartition(".")[2], args, keywords))
                case _Object():
                    forward = other.cls.method("forward") or other.cls.method("__call__")
                    if forward is not None:
                        result = joined(result, self.run(forward, [0, *args], keywords))
                case _Qualified(name=full):
                    result = joined(result, self._call_qualified(full, args, keywords, node, env))
                case _ if other is _SELF:
                    for called in ("forward", "__call__"):
                        result = joined(
                            result, self.apply(self.attribute(called, rich(_SELF)), args, keywords, node, env)
                        )
                case _Layer():
                    result = joined(result, self._apply_layer(other, args, keywords, node, env))
        return result

    def _apply_layer(
        self, layer: _Layer, args: list[Value], keywords: dict[str, Value], node: ast.Call, env: Env
    ) -> Value:
        tensor = fc.facets(args[0]) if args else fc.facets(keywords.get("input", keywords.get("x", 0)))
        match layer.kind:
            case "Sequential":
                value: Value = args[0] if args else 0
                for item in layer.items:
                    value = self.apply(item, [value], {}, node, env)
                return value
            case "Linear" | "LazyLinear" | "NonDynamicallyQuantizableLinear":
                return fc.allocated(tensor, keeps=SIZES) | fc.facets(layer.items[0]) if layer.items else 0
            case "Conv1d" | "Conv2d" | "Conv3d":
                return tensor & SIZES | GIVEN | KNOWN | (fc.facets(layer.items[0]) if layer.items else 0)
            case "LayerNorm":
                return fc.allocated(tensor)
            case "Softmax":
                return fc.allocated(tensor, keeps=SIZES) | WEIGHTS
            case "Identity":
                return tensor
            case "Rearrange":
                return fc.transposed(tensor) | fc.reshaped(fc.transposed(tensor), LITERAL, copies=True)
            case kind if kind in _ELEMENTWISE_LAYERS:
                return fc.elementwise(tensor)
            case kind if kind in _NORMS:
                return tensor & (SIZES | ROLES) | KNOWN
            case _:
                return 0

    def _call_qualified(
        self, name: str, args: list[Value], keywords: dict[str, Value], node: ast.Call, env: Env
    ) -> Value:
        last = name.rpartition(".")[2]
        if last.startswith("get") and name != "builtins.getattr":  # a default of a table of functions
            for default in (*args[-1:], *keywords.values()):
                if any(isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, _Closure)) for o in fc.others(default)):
                    return _perhaps(default)
        if name.startswith(("torch.", "einops.")):
            operation = OPERATIONS.get(last)
            if operation is not None:
                first = [keywords[n] for n in ("input", "tensor", "tensors", "x", "self") if n in keywords]
                return operation(Call(self, last, args or first, keywords, node))
            if last[:1].isupper():
                return self._layer(last, args, keywords)
            return 0
        if name.startswith("builtins."):
            return self._builtin(last, args, keywords, node, env)
        if last in ("deepcopy", "copy") and args:
            return args[0]
        return told_by_name(last, args)

    def _layer(self, kind: str, args: list[Value], keywords: dict[str, Value]) -> Value:
        if kind == "Size" and args:
            return args[0]
        if kind in ("ModuleList", "ParameterList"):
            return args[0] if args else fc.many(0)
        if kind in ("Parameter", "Buffer"):
            return fc.facets(args[0]) | KNOWN if args else KNOWN
        if kind == "Sequential":
            return rich(_Layer(kind, tuple(args)))
        width = args[1] if len(args) > 1 else keywords.get("out_features", keywords.get("out_channels", 0))
        return rich(_Layer(kind, (fc.facets(width) & SIZES,)))

    def _builtin(self, name: str, args: list[Value], keywords: dict[str, Value], node: ast.Call, env: Env) -> Value:
        match name:
            case "map" if len(args) == 2:
                item = fc.element(args[1])
                mapped = self.apply(args[0], [item], {}, node, env)
                return joined(fc.many(mapped), rich(_Mapped(fc.facets(args[1]))))
            case "zip":
                return fc.many(fc.items(list(map(fc.element, args))))
            case "enumerate" if args:
                return fc.many(fc.items([GIVEN | INTEGER | SIZES, fc.element(args[0])]))
            case "range":
                return fc.many(GIVEN | LITERAL)
            case "len":
                return INTEGER | SIZES
            case "tuple" | "list" | "int" | "reversed" | "sorted" | "iter" | "next":
                return args[0] if args else 0
            case "getattr" if args:
                return GIVEN
            case "super":
                return rich(_SELF)
            case "max" | "min" | "sum":
                return fc.either(args)
        return told_by_name(name, args)


def _may_be_qkv(targets: Sequence[ast.expr], source: ast.expr) -> bool:
    """Whether three parts are unpacked, or two with names of queries, keys or values."""
    if len(targets) != 2:
        return len(targets) == 3
    return all(map(_is_letter, targets)) or _last_name(source).endswith("kv")


def _is_letter(target: ast.expr) -> bool:
    """Whether a name may stand for queries, keys or values."""
    return isinstance(target, ast.Name) and re.match(r"_*(?:x?[qkv]|quer|val)", target.id.lower()) is not None


def _is_unbind(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "unbind"


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.lower()
        case ast.Call(func=ast.Attribute(value=inner)):
            return _last_name(inner)
        case ast.Call(func=ast.Name(id=name)):
            return name.lower()
    return ""


def _is_plain_contiguous(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "contiguous"
        and not node.args
        and not node.keywords
    )


def _perhaps(value: Value) -> Rich:
    """What may be called, as one of several."""
    return rich(*(other if isinstance(other, _Perhaps) else _Perhaps(other) for other in fc.others(value)))


_ELEMENTWISE_LAYERS = frozenset(
    "ReLU GELU SiLU Sigmoid Tanh ReLU6 LeakyReLU ELU Mish Hardswish Softplus QuickGELU "
    "Dropout Dropout1d Dropout2d Dropout3d AlphaDropout".split()
)
_NORMS = frozenset("RMSNorm GroupNorm BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d".split())

_STATEMENTS: dict[type[ast.stmt], Callable[..., None]] = {
    ast.Expr: _Look._expression,
    ast.Return: _Look._return,
    ast.Assign: _Look._assign,
    ast.AnnAssign: _Look._annotated,
    ast.AugAssign: _Look._augmented,
    ast.If: _Look._if,
    ast.For: _Look._for,
    ast.AsyncFor: _Look._for,
    ast.While: _Look._while,
    ast.With: _Look._with,
    ast.AsyncWith: _Look._with,
    ast.Try: _Look._try,
    getattr(ast, "TryStar", ast.Try): _Look._try,  # from Python 3.11 on
    ast.FunctionDef: _Look._define,
    ast.AsyncFunctionDef: _Look._define,
    ast.Assert: _Look._assert,
    ast.Import: _Look._local_import,
    ast.ImportFrom: _Look._local_import,
}

_EXPRESSIONS: dict[type[ast.expr], Callable[..., Value]] = {
    ast.Constant: _Look._literal,
    ast.Name: _Look._name,
    ast.Attribute: _Look._attribute,
    ast.Tuple: _Look._tuple,
    ast.List: _Look._tuple,
    ast.Starred: _Look._starred,
    ast.BinOp: _Look._binary,
    ast.UnaryOp: _Look._unary,
    ast.BoolOp: _Look._either,
    ast.Compare: _Look._compare,
    ast.IfExp: _Look._conditional,
    ast.Lambda: _Look._lambda,
    ast.NamedExpr: _Look._walrus,
    ast.ListComp: _Look._comprehension,
    ast.GeneratorExp: _Look._comprehension,
    ast.Subscript: _Look._subscript,
    ast.Call: _Look._call,
}
