"""Statements of attention by hand: those between the product of queries and keys and that with the values."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from msgspec import Struct, field

from mha_lint.model.by_hand.expressions import Read, Reader
from mha_lint.model.by_hand.mentions import is_question, is_read, mentions, only_asks
from mha_lint.model.by_hand.steps import ByHand, Choice, Context, Link, Normalised, Product, Shifted, Turned
from mha_lint.syntax.nodes import Block, Function, is_simple, walk

_IN_PLACE: dict[type[ast.operator], type[ast.operator]] = {ast.Mult: ast.Mult, ast.Div: ast.Div, ast.Add: ast.Add}


def attention_in(function: Function, reader: Reader) -> Iterator[ByHand]:
    """Yield each attention by hand of a function: both of its products stand in one block."""
    for block in _blocks(function):
        for index, statement in enumerate(block):
            whole = _in_one(function, statement, reader) if is_simple(statement) else None
            whole = whole or _begun(function, block, index, reader)
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


class _Walk(Struct):
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
    begun = _products(block[index], reader)
    if not begun:
        return None
    (target, read), *others = begun
    product = read.leaf
    assert isinstance(product, Product)
    weights = any(isinstance(step, Normalised) for step in read.steps)
    path = _Walk(target, weights, names=[target])
    for statement in block[index + 1 :]:
        if not mentions(statement, path.names):
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
        if only_asks(statement, path.names):
            path.asked.append(statement)
            continue
        end = _end(statement, path, reader)
        if end is None:
            return None
        last, context = end
        return ByHand(
            function, block[index], product, read.steps, tuple(path.links), last.steps, context, statement,
            tuple(path.names), tuple(path.asked), tuple(other.steps for _, other in others),
        )  # fmt: skip
    return None


def _products(statement: ast.stmt, reader: Reader) -> list[tuple[str, Read]]:
    """The name that a statement gives to scores, and their product; of an ``if`` that of each of its branches."""
    if isinstance(statement, ast.If):
        return _in_branches(statement, reader)
    link = _link(statement, "", reader) if is_simple(statement) else None
    return [link] if link is not None and isinstance(link[1].leaf, Product) else []


def _in_branches(statement: ast.If, reader: Reader) -> list[tuple[str, Read]]:
    """The products of all branches, which give one name to scores and read it nowhere else; else none."""
    found: list[tuple[str, Read]] = []
    for branch in (statement.body, statement.orelse):
        begun = [link for each in branch for link in _products(each, reader)]
        targets = {target for target, _ in begun}
        mentioned = [each for each in branch if mentions(each, targets)]
        if len(targets) != 1 or len(mentioned) != 1:
            return []
        found += begun
    same = len({target for target, _ in found}) == 1 and not mentions(statement.test, [found[0][0]])
    return found if same and not any(_normalises_within(read) for _, read in found) else []


def _normalises_within(read: Read) -> bool:
    return any(isinstance(step, Normalised) for step in read.steps)


def _end(statement: ast.stmt, path: _Walk, reader: Reader) -> tuple[Read, Context] | None:
    """The product with the values, where the statement reads the weights there and nowhere else."""
    reads = sum(is_read(node, path.names) - is_question(node, path.names) for node in walk(statement))
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
    reads = sum(is_read(node, [name]) - is_question(node, [name]) for node in walk(statement))
    shifts = [step.node for step in read.steps if isinstance(step, Shifted)]  # they read the scores once more
    reads -= sum(is_read(node, [name]) for shift in shifts for node in walk(shift))
    return 1 if isinstance(statement, ast.AugAssign) and reads == 0 else reads


def _choice(statement: ast.If, path: _Walk, reader: Reader) -> Choice | None:
    """An ``if`` whose branches mask, or add to, scores of one name, and do nothing else with them."""
    if mentions(statement.test, path.names):
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
        if not mentions(statement, path.names):
            continue
        link = _link(statement, path.name, reader)
        if link is None:
            if not only_asks(statement, path.names):
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
