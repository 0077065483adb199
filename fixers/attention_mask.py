"""The mask of attention by hand, as fused attention takes it.

Scores that are filled with minus infinity become a boolean mask, and what is added to them becomes a mask of floats.
Where they are filled with a finite number, a row that is filled as a whole averages all values. Fused attention gives
zeros for a boolean row without keys: such a row gets all keys, and a query of zeros, which averages all values too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from mha_lint.findings import Edit
from mha_lint.fixers.attention_operands import bound, bound_text, is_plain
from mha_lint.model.by_hand.numbers import Value, masks_with
from mha_lint.model.by_hand.steps import Added, ByHand, Choice, Filled, Link, Operand, Step, Viewed
from mha_lint.model.values import Tensor
from mha_lint.syntax.nodes import Function, every_parameter, walk
from mha_lint.syntax.usage import mentions, read_later, stored

if TYPE_CHECKING:
    from mha_lint.fixers import Context

Kind = Literal["", "bool", "float"]
_NAMES = ("attn_mask", "score_mask", "attended", "fused_mask")
_OPPOSITE: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: ">=", ast.GtE: "<", ast.Gt: "<=", ast.LtE: ">",
}  # fmt: skip
_MOST = 4  # names that stand for one another


class NotOffered(Exception):
    """The mask can't be written for fused attention; the message says why."""


class Plan(Struct):
    """How the mask is written: its text among the arguments, and what stands in place of the statements that masked.

    ``kind`` says of which type the mask is by now, and ``maybe`` that it may be None.
    """

    name: str
    kind: Kind = ""
    maybe: bool = False
    inline: str = ""  # the text of the mask, where no statement makes it
    lines: dict[ast.stmt, list[str]] = field(default_factory=dict)  # by the statements that they take the place of
    before: list[str] = field(default_factory=list)  # statements before the one that attends
    zeroed: bool = False  # queries of rows that hide all keys are zeros

    @property
    def argument(self) -> str:
        return self.inline or (self.name if self.kind else "")


def mask_of(found: ByHand, operands: tuple[Operand, Operand, Operand], context: Context) -> Plan:
    """Plan the mask for queries, keys and values. Raises :class:`NotOffered`."""
    writer = _Writer(found, operands, context)
    for link in _linked(found):
        if isinstance(link, Choice):
            writer.choose(link)
        else:
            for step in link.steps:
                if isinstance(step, (Added, Filled)):
                    writer.mask(step, link.statement)
    writer.settle()
    return writer.plan


def _linked(found: ByHand) -> Iterator[Link | Choice]:
    """Everything that happens to the scores, as links."""
    yield Link(found.first, found.inner, "")
    yield from found.links
    yield Link(found.statement, found.last, "")


def _masking(steps: tuple[Step, ...]) -> list[Added | Filled]:
    return [step for step in steps if isinstance(step, (Added, Filled))]


class _Writer:
    def __init__(self, found: ByHand, operands: tuple[Operand, Operand, Operand], context: Context) -> None:
        self.found = found
        self.operands = operands
        self.query, self.key = operands[0].node, operands[1]
        self.context = context
        self.places = context.places
        taken = {node.id for node in walk(found.function) if isinstance(node, ast.Name)}
        taken |= {each.arg for each in every_parameter(found.function)}
        self.taken = taken
        self.plan = Plan(next((name for name in _NAMES if name not in taken), "attn_mask_of_scores"))
        self.steps = [step for step in found.steps() if isinstance(step, (Added, Filled))]

    # --- one after another -------------------------------------------------------------------------------------------

    def mask(self, step: Added | Filled, statement: ast.stmt) -> None:
        """One way in which scores are masked, whatever the way there."""
        plan = self.plan
        text, kind = self._text(step, statement)
        if len(self.steps) == 1 and self._stays(step, statement):
            plan.inline, plan.kind = text, kind
            return
        joined, plan.kind = self._joined(text, kind, step)
        plan.maybe = False
        self._write(statement, f"{plan.name} = {joined}")

    def choose(self, choice: Choice) -> None:
        """Scores that are masked under a condition."""
        branches = [
            [(link, step) for link in links for step in _masking(link.steps)] for links in (choice.body, choice.orelse)
        ]
        if not any(branches):
            return
        plan = self.plan
        before, maybe = plan.kind, plan.maybe
        kinds: list[tuple[Kind, bool]] = []
        for branch in branches:
            plan.kind, plan.maybe = before, maybe
            for link, step in branch:
                text, kind = self._text(step, link.statement)
                joined, plan.kind = self._joined(text, kind, step)
                plan.maybe = False
                self._write(link.statement, f"{plan.name} = {joined}")
            kinds.append((plan.kind, plan.maybe))
        known = {kind for kind, _ in kinds if kind}
        if len(known) > 1:
            raise NotOffered("the mask is boolean on one path, and of floats on another")
        plan.kind = known.pop() if known else ""
        plan.maybe = any(may or not kind for kind, may in kinds)
        if plan.maybe and not before:
            self._write(self.found.first, f"{plan.name} = None", once=True)

    def settle(self) -> None:
        """Check what the statements can't say."""
        if self.plan.kind and self.found.first is self.found.statement and self.plan.lines:
            raise NotOffered("the mask has no place of its own before this statement")

    # --- texts -------------------------------------------------------------------------------------------------------

    def _text(self, step: Added | Filled, statement: ast.stmt) -> tuple[str, Kind]:
        if isinstance(step, Added):
            return self._of_windows(self._term(step), step), "float"
        value = masks_with(step.value, self.found.function)
        if value is Value.INFINITE:
            return self._kept(step), "bool"
        return self._kept_exactly(step, statement), "bool"

    def _kept(self, step: Filled) -> str:
        """Where a query attends to a key."""
        condition, _ = self._without_scores(step.condition)
        return self._source(condition) if step.keeps else opposite(condition, self.context)

    def _kept_exactly(self, step: Filled, statement: ast.stmt) -> str:
        """The same where the scores elsewhere are finite: a row without a key attends to all keys, with no query."""
        if len(self.steps) != 1:
            raise NotOffered("scores that are filled with a finite number are masked in another way too")
        if self.found.product.query.order is not None or self.found.product.query.swapped:
            raise NotOffered(
                "the queries of masked rows can't be set to zero where their dimensions are in another order"
            )
        if not isinstance(self.query, ast.Name):
            raise NotOffered("the queries have no name by which those of masked rows could be set to zero")
        if self._is_read_otherwise(self.query.id):
            raise NotOffered(f"`{self.query.id}` is read elsewhere too, and those of masked rows would be zero")
        query, keyless = self.query.id, self._free("keyless")
        kept = self._kept(step)
        if kept.isidentifier():
            self._write(statement, f"{keyless} = ~{kept}.any(dim=-1, keepdim=True)")
        else:
            hidden = self._free("hidden")
            condition, _ = self._without_scores(step.condition)
            text = opposite(condition, self.context) if step.keeps else self._source(condition)
            self._write(statement, f"{hidden} = {text}")
            self._write(statement, f"{keyless} = {hidden}.all(dim=-1, keepdim=True)")
            kept = f"~{hidden}"
        self._write(statement, f"{query} = {query}.masked_fill({keyless}, 0.0)")
        self.plan.zeroed = True
        return f"{kept} | {keyless}"

    def _is_read_otherwise(self, name: str) -> bool:
        """Tell whether anything but the first product, and what goes with it, reads the queries by their name."""
        found = self.found
        going = {found.first, *(link.statement for link in self._every_link())}
        staying: list[ast.AST] = [each for each in self._between(found.first) if each not in going]
        for choice in found.choices:
            staying.remove(choice.statement)
            inside = (*choice.statement.body, *choice.statement.orelse)
            staying += [choice.statement.test, *(each for each in inside if each not in going)]
        own = set(walk(found.product.query.node)) if found.first is found.statement else set()
        reads = [node for node in walk(found.statement) if isinstance(node, ast.Name) and node.id == name]
        if any(mentions(each, name) for each in staying) or any(node not in own for node in reads):
            return True
        return mentions(found.product.key.node, name) or read_later(found.statement, name, self.places)

    def _every_link(self) -> Iterator[Link]:
        for link in self.found.links:
            yield from (link,) if isinstance(link, Link) else link.links

    def _without_scores(self, node: ast.expr) -> tuple[ast.expr, bool]:
        """A mask that is not expanded as the scores are, nor cast to their type, and whether it was cast.

        Fused attention expands it. Raises :class:`NotOffered` where anything else of it asks the scores.
        """
        inner, was_cast = node, False
        while (peeled := as_scores(inner, self.found.names)) is not None:
            inner, casts = peeled
            was_cast = was_cast or casts
        if any(mentions(inner, name) for name in self.found.names):
            raise NotOffered("the mask asks the scores for their type or their sizes")
        return inner, was_cast

    def _written(self, step: Added | Filled) -> tuple[ast.expr, bool]:
        """What masks, without the scores, and whether it was cast to their type."""
        if isinstance(step, Added) and step.given is not None:
            return step.term, False  # the scores that it is given become zeros
        return self._without_scores(step.term if isinstance(step, Added) else step.condition)

    def _term(self, step: Added) -> str:
        """What is added, in the type of the queries: fused attention takes no other."""
        term, was_cast = self._written(step)
        text = self._source(term) if step.given is None else self._for_zeros(step)
        if step.subtracts:
            text = f"-{bound_text(text)}"
        if not was_cast and not self._may_be_of_other_type(term):
            return text
        named = next((each.node for each in self.operands if is_plain(each.node)), None)
        if named is None:
            raise NotOffered("neither queries, keys nor values have a name, whose type the mask could take")
        return f"{bound_text(text)}.to({self.places.source(named)}.dtype)"

    def _for_zeros(self, step: Added) -> str:
        """What a function adds to scores: what it gives for scores of zeros."""
        call = step.term
        assert isinstance(call, ast.Call)
        zeros = self._zeros(step)
        given = [zeros if each is step.given else self._source(each) for each in call.args]
        for keyword in call.keywords:
            given.append(f"{keyword.arg}={zeros if keyword.value is step.given else self._source(keyword.value)}")
        return f"{self._source(call.func)}({', '.join(given)})"

    def _zeros(self, step: Added) -> str:
        """Scores of zeros: a single one, or as many as there are scores where the function looks at their shape."""
        named = next((each.node for each in self.operands if is_plain(each.node)), None)
        if step.of_any_shape and named is not None:
            return f"{self.places.source(named)}.new_zeros(())"
        if not is_plain(self.query):
            raise NotOffered("the queries have no name, by which scores of zeros could be made")
        query, product = self.places.source(self.query), self.found.product
        is_moved = product.query.order is not None or product.query.swapped or self.key.order is not None
        if is_moved or not is_plain(self.key.node) or not self._are_of_one_rank():
            raise NotOffered("the sizes of the scores, that a function adds to, can't be written")
        keys = f"{self.places.source(self.key.node)}.shape[{-1 if self.key.swapped else -2}]"
        return f"{query}.new_zeros(*{query}.shape[:-1], {keys})"

    def _are_of_one_rank(self) -> bool:
        """Tell whether queries, keys, and what the softmax is given are known to have the same number of dimensions."""
        product, softmax = self.found.product.node, self.found.softmax
        operations = self.context.model.operations
        given = [value for each in operations.get(product, ()) for value in (*each.args, each.result)]
        given += [each.argument(0, "input") for each in operations.get(softmax, ())]
        ranks = {value.rank for value in given if isinstance(value, Tensor)}
        return len(ranks - {None}) == 1

    def _of_windows(self, text: str, step: Added) -> str:
        """The text of a mask that is added to scores in the shape of windows, in the shape that they have elsewhere."""
        steps = list(self.found.steps())
        place = next(index for index, each in enumerate(steps) if each is step)
        around = steps[place - 1 : place] + steps[place + 1 : place + 2]
        views = [each.node for each in around if isinstance(each, Viewed)]
        if len(views) < 2:
            return text
        there, back = (", ".join(self.places.source(size) for size in view.args) for view in views)
        return f"{bound_text(text)}.expand({there}).reshape({back})"

    def _may_be_of_other_type(self, term: ast.expr) -> bool:
        """Tell whether a caller hands the mask over by itself, not with the queries, the keys or the values."""
        function = self.found.function
        product, context = self.found.product, self.found.context
        own = set().union(*(_roots(each.node, function) for each in (product.query, product.key, context.value)))
        return bool(_roots(term, function) - own)

    def _joined(self, text: str, kind: Kind, step: Added | Filled) -> tuple[str, Kind]:
        """A mask together with the one that there is already."""
        plan, name = self.plan, self.plan.name
        if not plan.kind:
            return text, kind
        if plan.kind != kind:
            if plan.maybe:
                raise NotOffered("the mask may be None, boolean or of floats")
            self._check_torch()
            kept, term = (text, name) if plan.kind == "float" else (name, text)
            return f'torch.where({kept}, {term}, float("-inf"))', "float"
        both = f"{name} {'+' if kind == 'float' else '&'} {bound_text(text)}"
        return (f"{text} if {name} is None else {both}" if plan.maybe else both), kind

    def _check_torch(self) -> None:
        if self.context.model.names.imports.get("torch") != "torch":
            raise NotOffered("`torch` is not imported by its name")

    def _source(self, node: ast.expr) -> str:
        text = self.places.source(node)
        return f"({text})" if isinstance(node, (ast.Tuple, ast.NamedExpr, ast.IfExp)) else text

    def _free(self, name: str) -> str:
        while name in self.taken:
            name = f"{name}_"
        self.taken.add(name)
        return name

    # --- places ------------------------------------------------------------------------------------------------------

    def _stays(self, step: Added | Filled, statement: ast.stmt) -> bool:
        """Tell whether the mask means the same among the arguments of the last statement as where it is written."""
        if self.plan.zeroed or statement is self.found.statement:
            return not self.plan.zeroed or self.found.first is self.found.statement
        written, _ = self._written(step)
        if not is_plain(written):
            return False
        return not any(_stores(each, written) for each in self._between(statement))

    def _between(self, statement: ast.stmt) -> Iterator[ast.stmt]:
        block = self.places.block(self.found.statement)
        first = next((index for index, each in enumerate(block) if each is statement), 0)
        last = next((index for index, each in enumerate(block) if each is self.found.statement), len(block))
        yield from block[first:last]

    def _write(self, statement: ast.stmt, line: str, *, once: bool = False) -> None:
        if statement is self.found.statement:
            self.plan.before.append(line)
            return
        lines = self.plan.lines.setdefault(statement, [])
        if once:
            if line not in lines:
                lines.insert(0, line)
            return
        lines.append(line)


def as_scores(node: ast.expr, names: Sequence[str]) -> tuple[ast.expr, bool] | None:
    """What is expanded as the scores of one of the names, or cast to their type, and whether it is cast."""
    match node:
        case ast.Call(func=ast.Attribute(value=inner, attr="expand_as"), args=[ast.Name(id=name)]) if name in names:
            return inner, False
        case ast.Call(func=ast.Attribute(value=inner, attr="type_as"), args=[ast.Name(id=name)]) if name in names:
            return inner, True
        case ast.Call(
            func=ast.Attribute(value=inner, attr="to"), args=[ast.Attribute(value=ast.Name(id=name), attr="dtype")]
        ) if name in names:
            return inner, True
        case _:
            return None


def opposite(condition: ast.expr, context: Context) -> str:
    """A condition that holds where another does not."""
    places = context.places
    text: str
    match condition:
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            text = places.source(operand)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPPOSITE:
            text = f"{places.whole(left)} {_OPPOSITE[type(op)]} {places.whole(right)}"
        case _:
            text = f"~{bound(condition, places)}"
    return text


def _roots(node: ast.expr, function: Function, left: int = _MOST) -> set[str]:
    """The parameters of a function, but for ``self``, that an expression is computed from."""
    given = {each.arg for each in every_parameter(function)} - {"self"}
    found: set[str] = set()
    for each in walk(node):
        if not isinstance(each, ast.Name):
            continue
        if each.id in given:
            found.add(each.id)
        elif left:
            for value in _values_of(each.id, function):
                found |= _roots(value, function, left - 1)
    return found


def _values_of(name: str, function: Function) -> Iterator[ast.expr]:
    for node in walk(function):
        if isinstance(node, ast.Assign) and any(mentions(target, name) for target in node.targets):
            yield node.value


def _stores(statement: ast.stmt, written: ast.expr) -> bool:
    names = {node.id for node in walk(written) if isinstance(node, ast.Name)}
    return not names.isdisjoint(stored(statement))


def edits_of(plan: Plan, statement: ast.stmt, context: Context) -> Edit | None:
    """What takes the place of a statement that masked scores; None where nothing does."""
    lines = plan.lines.get(statement)
    if not lines:
        return None
    places = context.places
    if len(lines) > 1 and not places.stands_alone(statement):
        raise NotOffered("a statement that masks shares its line with another")
    indent = places.indent(statement)
    edit: Edit = places.replace(statement, f"{places.newline}{indent}".join(lines))
    return edit
