"""The rotary tables that functions of a file are handed by its other code.

A model makes tables once, and hands them down through its layers to the attention in each. To run all of this code
would cost more than to run the attention. So only the statements are read that name a table: from the call that makes
it, to the parameter of the function that rotates by it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile

from msgspec.structs import replace

from mha_lint.model.fuel import MAX_HANDED, STEPS_OF_A_PART, OutOfSteps
from mha_lint.model.held import Held, Place, names_bound
from mha_lint.model.interpreter import assignment, objects
from mha_lint.model.interpreter.machine import Machine
from mha_lint.model.interpreter.paths import Frame
from mha_lint.model.keys import named
from mha_lint.model.rotary import UNTOLD, RotaryTable, Stage
from mha_lint.model.values import (
    NONE,
    NOTHING,
    Building,
    Instance,
    Repeated,
    Self,
    Sequence,
    State,
    Tensor,
    Unknown,
    Value,
)
from mha_lint.model.worth import Worth, takes_cosines
from mha_lint.syntax.names import ClassInfo
from mha_lint.syntax.nodes import Function, children, every_parameter, is_static, last_name, parameters, receiver, walk
from mha_lint.syntax.words import names_in, names_said
from mha_lint.vocabulary import TURNS

Handed = dict[Function, dict[str, Value]]  # what functions are handed, by the names of their parameters


def handed_tables(run: Machine, worth: Worth) -> Handed:
    """Follow the tables that the classes of a file make, or have others make, to the functions that are handed them."""
    follower = _Follower(run, worth.makers)
    for cls in worth.turning:
        for name, node in cls.methods.items():
            hands_itself = name in ("forward", "__call__") and follower.kept(cls)
            if name != "__init__" and (hands_itself or not follower.telling(cls).isdisjoint(names_in(node))):
                follower.read(Place(node, cls, run.names))
    follower.read_all()
    return follower.handed


class _Follower:
    """Reads functions one after another, the one that hands a table over before the one that it is handed to."""

    def __init__(self, run: Machine, makers: frozenset[str]) -> None:
        self.handed: Handed = {}
        self.run, self.makers, self.held = run, makers, Held()
        self.pending: list[Place] = []
        self.disputed: set[tuple[Function, str]] = set()
        self._telling: dict[ClassInfo | None, frozenset[str]] = {None: makers}
        self._kept: dict[ClassInfo, frozenset[str]] = {}
        self._objects: dict[ClassInfo, dict[str, Value]] = {}

    def telling(self, cls: ClassInfo | None) -> frozenset[str]:
        """The names by which the code of a class says that it makes a table, or has one."""
        found = self._telling.get(cls)
        if found is None:
            assert cls is not None
            found = self.makers | self.kept(cls)
            made = [node for info in cls.lineage for node in info.methods.values()]
            found |= {
                node.name
                for node in made
                if not node.name.startswith("__")
                and node.name != "forward"
                and (not self.makers.isdisjoint(names_in(node)) or _takes_cosines(node) or _names_one_of(found, node))
            }
            self._telling[cls] = found
        return found

    def kept(self, cls: ClassInfo) -> frozenset[str]:
        """The attributes of an object that make tables, or are some."""
        found = self._kept.get(cls)
        if found is None:
            attributes = self.held.attributes(cls)
            told = (name for name, kept in attributes.items() if any(self._tells(*each) for each in kept))
            found = self._kept[cls] = frozenset(told)
        return found

    def _tells(self, value: ast.expr, place: Place) -> bool:
        """A constructor keeps what makes tables, or a table."""
        values = [value]
        if isinstance(value, ast.Name):
            values += place.bound.get(value.id, ())
        return any(not self.makers.isdisjoint(names_in(each)) or _takes_cosines(each) for each in values)

    def read_all(self) -> None:
        count = 0
        while self.pending and count < MAX_HANDED:
            self.read(self.pending.pop(0))
            count += 1

    def read(self, place: Place) -> None:
        """Follow the tables of a function: those that it makes, and those that it was handed so far."""
        self.run.meter.begin(STEPS_OF_A_PART)
        with suppress(OutOfSteps), self._running(place):
            _Reader(self, place).read()

    @contextmanager
    def _running(self, place: Place) -> Iterator[None]:
        """Let what is evaluated be code of a function."""
        run = self.run
        symbol = place.node.name if place.cls is None else f"{place.cls.name}.{place.node.name}"
        run.stack.frames.append(Frame(symbol, place.node))
        outer_names = run.homes.enter(place.node)
        seen = run.seen
        outer = seen.began, seen.parameters, seen.given
        seen.began = place.node
        seen.parameters = {} if place.node.name == "__init__" else {named(name): name for name in place.parameters}
        seen.given = frozenset(seen.parameters)
        try:
            yield
        finally:
            seen.began, seen.parameters, seen.given = outer
            run.stack.frames.pop()
            run.homes.names = outer_names

    def attribute(self, cls: ClassInfo, name: str) -> Value | None:
        """Return what an object holds under a name; None where its constructor sets no such attribute, or several.

        The constructor is run only where it computes in steps what it keeps.
        """
        kept = self.held.attributes(cls).get(name, ())
        if len(kept) != 1:
            return self._object(cls).get(name) if kept else None
        ((written, place),) = kept
        used = {node.id for node in walk(written) if isinstance(node, ast.Name)}
        steps = [value for local in used for value in place.bound.get(local, ())]
        if place.receiver in used or any(self._tells(value, place) for value in steps):
            return self._object(cls).get(name)
        given = {local: Unknown(named(local)) for local in (*place.parameters, *place.bound)}
        with self._running(place):
            values = self.run.choices.each(
                State(variables=dict(given)), lambda state: self.run.evaluate(written, state)
            )
        return next((value for value, _ in values if value != NONE), None)

    def _object(self, cls: ClassInfo) -> dict[str, Value]:
        """The attributes of an object of a class, as one way through its constructor leaves them."""
        found = self._objects.get(cls)
        if found is None:
            node = ast.Name(cls.name)
            bare = Instance(cls, building=Building(node, (), (), {}, {}))
            made = objects.built(self.run, node, bare, State())
            found = self._objects[cls] = dict(made.attributes) if isinstance(made, Instance) else {}
        return found

    def give(self, function: Function, cls: ClassInfo | None, name: str, value: Value) -> None:
        """Note that a call hands a function a table; what several calls do not agree on is not known."""
        given = self.handed.setdefault(function, {})
        if (function, name) in self.disputed:
            return
        before = given.get(name)
        agreed = value if before is None else agreement(before, value)
        if agreed is None:
            self.disputed.add((function, name))
            del given[name]
        elif agreed != before:
            given[name] = agreed
        else:
            return
        home = self.run.homes.home_of(function)
        self.pending.append(Place(function, cls, home))


class _Reader:
    """Reads one function: ``tables`` are what its local names hold, on one way or another."""

    def __init__(self, follower: _Follower, place: Place) -> None:
        self.follower, self.place, self.run = follower, place, follower.run
        given = follower.handed.get(place.node, {})
        self.objects = {name: value for name, value in given.items() if isinstance(value, Instance)}
        self.tables = {name: value for name, value in given.items() if name not in self.objects}
        made_by = (name for each in self.objects.values() for name, _ in each.attributes)
        self.telling = follower.telling(place.cls).union(made_by)
        self.locals = {*place.parameters, *place.bound}

    def read(self) -> None:
        self._block(self.place.node.body)

    def _block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, statement: ast.stmt) -> None:
        owner = self.place.receiver if self.place.cls is not None and self.follower.kept(self.place.cls) else ""
        said = [each for each in _expressions(statement) if self._is_about_tables(each) or owner in names_in(each)]
        for node in said:
            for call in walk(node):
                if isinstance(call, ast.Call):
                    self._hand_over(call)
        match statement:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._bind(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._bind(target, value)
            case ast.AugAssign(target=target):
                self._assign(target, None)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[item])):
                self._fill(name, self._value(item))
            case ast.For(target=target, iter=iterable):
                items = self._value(iterable)
                self._assign(target, None if items is None else assignment.element(items))
                self._branches(statement.body, [])
                self._block(statement.orelse)
            case ast.While(body=body):
                self._branches(body, [])
            case ast.If(body=body, orelse=orelse):
                self._branches(body, orelse)
            case ast.Match(cases=cases):
                self._branches(*(case.body for case in cases), [])
            case ast.With(body=body) | ast.AsyncWith(body=body) | ast.FunctionDef(body=body):
                self._block(body)
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=finalbody):
                self._branches([*body, *orelse], *(handler.body for handler in handlers))
                self._block(finalbody)

    def _branches(self, *bodies: list[ast.stmt]) -> None:
        """Read several ways on: a name holds afterwards what it holds on one of them, if others say nothing else."""
        before, ends = dict(self.tables), []
        for body in bodies:
            self.tables = dict(before)
            self._block(body)
            if not (body and isinstance(body[-1], (ast.Return, ast.Raise))):
                ends.append(self.tables)
        held = {name: [end[name] for end in ends if name in end] for end in ends for name in end}
        agreed = {name: _agreed(values) for name, values in held.items()}
        self.tables = {name: value for name, value in agreed.items() if value is not None}

    # --- names -------------------------------------------------------------------------------------------------------

    def _bind(self, target: ast.expr, written: ast.expr) -> None:
        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            if not _is_none(written):
                self._fill(target.value.id, self._value(written))
        else:
            self._assign(target, self._value(written))

    def _assign(self, target: ast.expr, value: Value | None) -> None:
        names = list(names_bound(target))
        for name in names:
            self.tables.pop(name, None)
        if value is None:
            return
        state = State()
        assignment.assign(self.run, target, value, state)
        for name in names:
            table = as_handed(state.variables.get(name))
            if table is not None:
                self.tables[name] = table

    def _fill(self, name: str, value: Value | None) -> None:
        """A dictionary, or a list, is given one item more."""
        before = self.tables.pop(name, None)
        of_each: Value | None = None if value is None else Repeated(value)
        if of_each is not None and before is not None:
            of_each = agreement(before, of_each)
        if of_each is not None:
            self.tables[name] = of_each

    # --- calls -------------------------------------------------------------------------------------------------------

    def _hand_over(self, call: ast.Call) -> None:
        """A call hands tables to functions of the project; ``checkpoint(layer, x, tables)`` calls what it is given."""
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        if self._makes(call) or not any(self._is_about_tables(each) or self._is_self(each) for each in given):
            return
        called, args = self.follower.held.called(call.func, self.place), call.args
        if not called and args and last_name(args[0]) != self.place.receiver:
            called, args = self.follower.held.called(args[0], self.place), args[1:]
        for function, cls in called:
            for name, written in _bound(function, cls, args, call.keywords):
                value = self._itself() if self._is_self(written) else self._value(written)
                if value is not None:
                    self.follower.give(function, cls, name, value)

    def _is_self(self, node: ast.expr) -> bool:
        """The object is handed over itself, with what it has that makes tables."""
        cls = self.place.cls
        is_object = isinstance(node, ast.Name) and node.id == self.place.receiver
        return is_object and cls is not None and bool(self.follower.kept(cls))

    def _itself(self) -> Value | None:
        cls = self.place.cls
        assert cls is not None
        kept = [(name, self.follower.attribute(cls, name)) for name in sorted(self.follower.kept(cls))]
        return Instance(cls, tuple((name, value) for name, value in kept if value is not None))

    def _is_about_tables(self, node: ast.expr) -> bool:
        said = names_in(node)
        return not self.telling.isdisjoint(said) or not self.tables.keys().isdisjoint(said)

    def _makes(self, call: ast.Call) -> bool:
        """The call makes a table, as far as the names in it tell."""
        return not self.telling.isdisjoint(names_in(call.func))

    def _value(self, written: ast.expr) -> Value | None:
        """The table, or the tables, that an expression gives on each way; None where it is not known to give any."""
        if not self._is_about_tables(written):
            return None
        if isinstance(written, (ast.Dict, ast.DictComp)):
            values = written.values if isinstance(written, ast.Dict) else [written.value]
            of_each = _agreed([self._value(value) for value in values])
            return None if of_each is None else Repeated(of_each)
        calls = [node for node in walk(written) if isinstance(node, ast.Call) and not self._makes(node)]
        if any(self.follower.held.called(call.func, self.place) for call in calls):
            return None  # code of the project makes something of it
        state, run = self._state_of(written), self.run
        found = [as_handed(value) for value, _ in run.choices.each(state, lambda each: run.evaluate(written, each))]
        return _agreed(value for value in found if value is not None)

    def _state_of(self, written: ast.expr) -> State:
        """Return what is known where an expression is evaluated: tables, named attributes, and names of the rest."""
        state = State(variables={**self.tables, **self.objects})
        if self.place.cls is not None and self.place.receiver:
            state.variables[self.place.receiver] = Self(self.place.cls)
        for node in walk(written):
            if isinstance(node, ast.Name) and node.id not in state.variables and node.id in self.locals:
                state.variables[node.id] = Unknown(named(node.id))
        cls = self.place.cls
        for name in _attributes_of(self.place.receiver, written):
            value = None if cls is None else self.follower.attribute(cls, name)
            if value is not None:
                state.attributes[name] = value
        return state


def _names_one_of(attributes: frozenset[str], method: Function) -> bool:
    """A method names one of the attributes of its object."""
    if attributes.isdisjoint(names_in(method)):
        return False
    return not attributes.isdisjoint(_attributes_of(receiver(method), method))


def _takes_cosines(node: ast.AST) -> bool:
    return names_said(TURNS, node) and takes_cosines(node)


def _expressions(statement: ast.stmt) -> list[ast.expr]:
    """The expressions of a statement, but not those of statements inside of it."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return []
        case ast.With(items=items) | ast.AsyncWith(items=items):
            return [item.context_expr for item in items]
        case _:
            return [child for child in children(statement) if isinstance(child, ast.expr)]


def _bound(
    function: Function, cls: ClassInfo | None, args: list[ast.expr], keywords: list[ast.keyword]
) -> Iterator[tuple[str, ast.expr]]:
    """The parameters of a function that a call gives something to, and what."""
    positional = [each.arg for each in parameters(function)]
    if cls is not None and not is_static(function):
        positional = positional[1:]
    plain = takewhile(lambda each: not isinstance(each, ast.Starred), args)
    yield from zip(positional, plain, strict=False)
    every = {each.arg for each in every_parameter(function)}
    for keyword in keywords:
        if keyword.arg in every:
            yield keyword.arg, keyword.value


def _attributes_of(owner: str, node: ast.AST) -> Iterator[str]:
    """The attributes of the object that an expression names."""
    for each in walk(node):
        match each:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == owner:
                yield attribute


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


# --- values ----------------------------------------------------------------------------------------------------------


def as_handed(value: Value | None) -> Value | None:
    """Return what is known of a value as a rotary table, or as several; None where it holds none."""
    match value:
        case Tensor(rotary=RotaryTable(stage=stage) as table) if stage >= Stage.ANGLES:
            return Tensor(rotary=table)
        case Sequence(items):
            known = [as_handed(item) for item in items]
            return Sequence(tuple(item or NOTHING for item in known)) if any(known) else None
        case Repeated(item, _):
            of_each = as_handed(item)
            return None if of_each is None else Repeated(of_each)
        case Unknown(handed=handed):
            return None if isinstance(handed, Instance) else handed
        case _:
            return None


def agreement(one: Value, other: Value) -> Value | None:
    """Return what is known of a value that is one or the other; None where the two are not laid out alike."""
    if one == other:
        return one
    match one, other:
        case Tensor(rotary=RotaryTable() as first), Tensor(rotary=RotaryTable() as second):
            alike = _bare(first) == _bare(second)
            return Tensor(rotary=replace(first, by=None, rank=None, held=UNTOLD, phase=None)) if alike else None
        case Sequence(items), Sequence(others) if len(items) == len(others):
            known = [agreement(*pair) for pair in zip(items, others, strict=True)]
            return None if any(item is None for item in known) else Sequence(tuple(filter(None, known)))
        case Repeated(item), Repeated(another):
            of_each = agreement(item, another)
            return None if of_each is None else Repeated(of_each)
        case _:
            return None


def _agreed(values: Iterable[Value | None]) -> Value | None:
    """Return what several values agree on; None where there are none, or nothing is known of one."""
    first, *others = [*values] or [None]
    agreed = first
    for value in others:
        agreed = None if agreed is None or value is None else agreement(agreed, value)
    return agreed


def _bare(table: RotaryTable) -> RotaryTable:
    """Return what a table is, whoever made it."""
    return replace(table, by=None, rank=None, held=UNTOLD, phase=None)
