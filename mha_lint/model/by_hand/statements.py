"""Statements of attention by hand: those between the product of queries and keys and that with the values."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from mha_lint.model.by_hand.expressions import Read, Reader
from mha_lint.model.by_hand.steps import ByHand, Choice, Context, Link, Normalised, Product, Shifted, Turned
from mha_lint.model.operations import asks_sizes
from mha_lint.syntax.nodes import Block, Function, is_simple, walk

_ASKED_OF = frozenset({"shape", "dtype", "device"})
_AS_ANOTHER = frozenset({"expand_as", "type_as"})  # methods that ask their argument for its sizes, or its type
_IN_PLACE: dict[type[ast.operator], type[ast.operator]] = {ast.Mult: ast.Mult, ast.Div: ast.Div, ast.Add: ast.Add}


def attention_in(function: Function, reader: Reader) -> Iterator[ByHand]:
    """Yield each attention by hand of a function: both of its products stand in one block."""
    for block in _blocks(function):
        for index, statement in enumerate(block):
            if not is_simple(statement):
                continue
            whole = _in_one(function, statement, reader) or _begun(function, block, index, reader)
            if whole is not None:
                yield whole


def _blocks(function: Function) -> Iterator[Block]:
    for node in walk(function):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block:
                yield block


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    for node in walk(statement):
        if isinstance(node, (ast.BinOp, ast.Call)):
            yield node


def _in_one(function: Function, statement: ast.stmt, reader: Reader) -> ByHand | None:
    """Attention that one statement holds from the first product to the last."""
    for node in _expressions(statement):
        found = reader.context(node, "")
        if found is not None and isinstance(found[0].leaf, Product):
            read, context = found
            assert isinstance(read.leaf, Product)
            return ByHand(function, statement, read.leaf, (), (), read.steps, context, statement, (), ())
    return None


@dataclass(slots=True)
class _Walk:
    """How far the scores, or the weights, have been followed."""

    name: str
    weights: bool
    turned: bool = False  # the last two dimensions of the weights have changed places
    links: list[Link | Choice] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    asked: list[ast.stmt] = field(default_factory=list)

    def take(self, link: Link) -> None:
        self.links.append(link)
        self.name = link.target
        self.weights = self.weights or any(isinstance(step, Normalised) for step in link.steps)
        turns = sum(isinstance(step, Turned) for step in link.steps)
        self.turned = self.turned is not (turns % 2 == 1)
        if self.name not in self.names:
            self.names.append(self.name)


def _begun(function: Function, block: Block, index: int, reader: Reader) -> ByHand | None:
    """Attention whose first product a statement gives a name to, and that ends in the same block."""
    first = _link(block[index], "", reader)
    if first is None or not isinstance(first[1].leaf, Product):
        return None
    target, read = first
    product = read.leaf
    assert isinstance(product, Product)
    weights = any(isinstance(step, Normalised) for step in read.steps)
    path = _Walk(target, weights, names=[target])
    for statement in block[index + 1 :]:
        if not _mentions(statement, path.names):
            continue
        link = _link(statement, path.name, reader)
        if link is not None and isinstance(link[1].leaf, ast.Name):
            path.take(Link(statement, link[1].steps, link[0]))
            continue
        if isinstance(statement, ast.If):
            choice = _choice(statement, path, reader)
            if choice is None:
                return None
            path.links.append(choice)
            path.weights = path.weights or choice.softmax is not None
            continue
        if _only_asks(statement, path.names):
            path.asked.append(statement)
            continue
        end = _end(statement, path, reader)
        if end is None:
            return None
        last, context = end
        return ByHand(
            function, block[index], product, read.steps, tuple(path.links), last.steps, context, statement,
            tuple(path.names), tuple(path.asked),
        )  # fmt: skip
    return None


def _end(statement: ast.stmt, path: _Walk, reader: Reader) -> tuple[Read, Context] | None:
    """The product with the values, where the statement reads the weights there and nowhere else."""
    reads = sum(_is_read(node, path.names) - _is_question(node, path.names) for node in walk(statement))
    if reads != 1 or not is_simple(statement):
        return None
    for node in _expressions(statement):
        found = reader.context(node, path.name, weights=path.weights, turned=path.turned)
        if found is not None:
            return found
    return None


def _link(statement: ast.stmt, name: str, reader: Reader) -> tuple[str, Read] | None:
    """The name that a statement gives to what becomes of scores, and how that is read."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=target)], value=value):
            read = reader.read(value, name)
        case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
            read = reader.read(value, name)
        case ast.AugAssign(target=ast.Name(id=target), op=op, value=value) if target == name and type(op) in _IN_PLACE:
            read = reader.read(ast.BinOp(ast.Name(name, ast.Load()), op, value), name)
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=method)) as value) if name and method.endswith("_"):
            target, read = name, reader.read(value, name)
        case _:
            return None
    if read is None or _count(read, statement, name) != 1:
        return None
    return target, read


def _count(read: Read, statement: ast.stmt, name: str) -> int:
    """How often a statement reads the name; 1 for a product that does not."""
    if isinstance(read.leaf, Product):
        return 1
    reads = sum(_is_read(node, [name]) - _is_question(node, [name]) for node in walk(statement))
    shifts = [step.node for step in read.steps if isinstance(step, Shifted)]  # they read the scores once more
    reads -= sum(_is_read(node, [name]) for shift in shifts for node in walk(shift))
    return 1 if isinstance(statement, ast.AugAssign) and reads == 0 else reads


def _choice(statement: ast.If, path: _Walk, reader: Reader) -> Choice | None:
    """An ``if`` whose branches mask, or add to, scores of one name, and do nothing else with them."""
    if _mentions(statement.test, path.names):
        return None
    branches = [_branch(block, path, reader) for block in (statement.body, statement.orelse)]
    if branches[0] is None or branches[1] is None:
        return None
    if len({_normalises(branch) for branch in branches if branch is not None}) > 1:
        return None
    return Choice(statement, branches[0], branches[1])


def _branch(block: Block, path: _Walk, reader: Reader) -> tuple[Link, ...] | None:
    found: list[Link] = []
    for statement in block:
        if not _mentions(statement, path.names):
            continue
        link = _link(statement, path.name, reader)
        if link is None:
            if not _only_asks(statement, path.names):
                return None
            path.asked.append(statement)
            continue
        target, read = link
        if target != path.name or not isinstance(read.leaf, ast.Name):
            return None
        if _normalises(tuple(found)):
            return None
        found.append(Link(statement, read.steps, target))
    return tuple(found)


def _normalises(branch: tuple[Link, ...]) -> bool:
    return any(isinstance(step, Normalised) for link in branch for step in link.steps)


def _mentions(node: ast.AST, names: list[str]) -> bool:
    return any(_is_named(each, names) for each in walk(node))


def _is_named(node: ast.AST, names: list[str]) -> bool:
    match node:
        case ast.Name(id=name):
            return name in names
        case ast.Global(names=declared) | ast.Nonlocal(names=declared):
            return any(name in names for name in declared)
        case _:
            return getattr(node, "name", None) in names


def _is_read(node: ast.AST, names: list[str]) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names


def _is_question(node: ast.AST, names: list[str]) -> bool:
    """Tell whether an expression asks one of the names for its type, its sizes or its device."""
    match node:
        case ast.Attribute(value=asked, attr=attribute):
            return _is_read(asked, names) and (attribute in _ASKED_OF or asks_sizes(attribute))
        case ast.Call(func=ast.Attribute(attr=method), args=[asked], keywords=[]) if method in _AS_ANOTHER:
            return _is_read(asked, names)
        case _:
            return False


def _only_asks(statement: ast.stmt, names: list[str]) -> bool:
    """Tell whether a statement asks nothing of scores or weights but their type, their sizes or their device."""
    asked = sum(_is_question(node, names) for node in walk(statement))
    mentioned = sum(_is_named(node, names) for node in walk(statement))
    return is_simple(statement) and asked == mentioned
