"""Which functions of a file can lead to findings, told from its syntax tree by one look.

There are no paths, sizes or strides here: every body is run over sets of facets, branches join, calls of functions of
the file are followed with what their arguments may be, attributes are told apart by their names and classes. It
follows what the layout model follows, and where it knows less it assumes more.

Known to be lost: sizes found to be 1 where no code of the same function compares them, methods of tensors kept as
values, a cut along dimension -1 that takes all there is, a sum with a tensor of more dimensions than the first, numbers
that arithmetic makes of others of another size.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import cached_property

from mha_lint.screen import facets as fc
from mha_lint.screen.callables import SELF, Env, Object
from mha_lint.screen.expressions import EXPRESSIONS
from mha_lint.screen.facets import CONTEXT, GIVEN, Value, joined, rich
from mha_lint.screen.outline import Class, Function, Outline, mentioned, related
from mha_lint.screen.scales import doubtful
from mha_lint.screen.statements import STATEMENTS

MAX_PASSES = 5
MAX_STEPS = 200_000  # statements and calls
MAX_DEPTH = 10  # calls inside calls, as in the interpreter


class Endless(Exception):
    """There is too much to look at."""


class Look:
    """One look at one file."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
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
        self.objects = {cls: rich(Object(cls)) for cls in self.file.every_class}
        self.running: list[Function] = []
        self.returned: list[Value] = []
        self.calls: dict[Function, set[Function]] = {}
        self.memo: dict[object, tuple[Value, bool, bool]] = {}  # by function and arguments
        self.begun: set[object] = set()  # those of the memo that were run as roots
        self.results: dict[Function, Value] = {}  # of functions that were wanted while they ran
        self.steps = 0

    @cached_property
    def doubtful(self) -> bool:
        """Whether the file may scale by the root of something else than the width of a head."""
        return doubtful(self._tree)

    def qualified(self, node: ast.expr, env: Env) -> str | None:
        rest = ""
        while isinstance(node, ast.Attribute):
            rest = f".{node.attr}{rest}"
            node = node.value
        if isinstance(node, ast.Name) and node.id in self.file.imports and node.id not in env:
            return self.file.imports[node.id] + rest
        return None

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
            raise Endless
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
                env[parameter.arg] = rich(SELF)
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

    def block(self, body: Sequence[ast.stmt], env: Env) -> None:
        self.steps += len(body)
        if self.steps > MAX_STEPS:
            raise Endless
        for statement in body:
            handler = STATEMENTS.get(type(statement))
            if handler is not None:
                handler(self, statement, env)

    def value(self, node: ast.expr, env: Env) -> Value:
        handler = EXPRESSIONS.get(type(node))
        return 0 if handler is None else handler(self, node, env)

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
        owner = self._owner() if SELF in base.others else None
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
