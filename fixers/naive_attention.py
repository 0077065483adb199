"""MHA201: one call of fused attention takes the place of the two products and what stands between them."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix, Position
from mha_lint.fixers.attention_causal import causal_flag, is_only_one
from mha_lint.fixers.attention_dropout import NOT_KNOWN, drops, rate_text
from mha_lint.fixers.attention_mask import NotOffered, Plan, as_scores, edits_of, mask_of
from mha_lint.fixers.attention_operands import bound_text, text_of_context, text_of_operand
from mha_lint.fixers.attention_scale import NO_NUMBER, Scale, argument_of, scale_of, scaled_text
from mha_lint.fixers.unread import unread_all
from mha_lint.model.by_hand.products import untransposed
from mha_lint.model.by_hand.steps import Added, ByHand, Cast, Choice, Link, Operand, Scaled
from mha_lint.model.values import Tensor
from mha_lint.syntax.nodes import argument, walk
from mha_lint.syntax.usage import mentions, read_later, stored

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.naive_attention import Naive

_NAME = "scaled_dot_product_attention"
_WIDE = frozenset({"float", "double"})


def fix(hit: Hit[Naive], context: Context) -> Fix | str:
    """Replace the last product, and delete what led to it, or turn it into a mask."""
    try:
        return _rewritten(hit.evidence, context)
    except NotOffered as error:
        return str(error)


def _rewritten(naive: Naive, context: Context) -> Fix:
    found, places = naive.by_hand, context.places
    function = _function(context)
    _check_products(found)
    _check_order(found)
    _check_operands(found, context)
    scale = scale_of(found, context)
    number = argument_of(scale, found, context)
    if number is None:
        raise NotOffered(NO_NUMBER)
    if number or scale.of_queries:  # else the default is the same, and none of the factors is written
        _check_factors(found, context)
    rate = rate_text(found, context)
    if rate is None:
        raise NotOffered(NOT_KNOWN)
    rank = _rank(found, context)
    query, key, value = _operands(found, scale, rank)
    causal = causal_flag(found) if naive.is_causal else ""
    plan = Plan("") if causal else mask_of(found, (query, key, value), context)
    front = 0 if plan.argument else 1  # a mask of three dimensions has one for each head, and an empty batch no heads
    operands = [text_of_operand(each, places) for each in (query, key, value)]
    operands[0] = scaled_text(operands[0], scale, context)
    named = (("attn_mask", plan.argument), ("dropout_p", rate), ("is_causal", causal), ("scale", number))
    arguments = [*_batched(operands, rank, front), *(f"{name}={text}" for name, text in named if text)]
    call = f"{function}({', '.join(arguments)})"
    if rank == 3:
        call = f"{call}.squeeze({front})"
    text = text_of_context(call, found.context)
    if _is_viewed(found, context):
        text = f"{text}.contiguous()"  # a product is contiguous, and what a kernel gives need not be
    edits = _edits(found, plan, text, context)
    message = f"Use `{function}`"
    return Fix("unsafe" if rate else "safe", "equivalent", message, edits)


def _is_viewed(found: ByHand, context: Context) -> bool:
    """Tell whether the code takes a view of the product: in the same expression, or by the name that it is given."""
    parent = context.places.parent(found.context.node)
    if isinstance(parent, ast.Attribute):
        return parent.attr == "view"
    match found.statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if value is found.context.node:
            return any(_takes_a_view(each, name) for each in _while_it_lasts(found.statement, name, context))
    return False


def _while_it_lasts(statement: ast.stmt, name: str, context: Context) -> Iterator[ast.stmt]:
    """The statements behind one in its block, up to the first that gives the name another value."""
    block = context.places.block(statement)
    behind = itertools.dropwhile(lambda each: each is not statement, block)
    for each in itertools.islice(behind, 1, None):
        yield each
        if name in stored(each):
            return


def _takes_a_view(statement: ast.stmt, name: str) -> bool:
    """Tell whether a statement calls ``name.view(…)``."""
    for node in walk(statement):
        match node:
            case ast.Attribute(value=ast.Name(id=viewed), attr="view") if viewed == name:
                return True
    return False


def _function(context: Context) -> str:
    """How the file may call fused attention."""
    imports = context.model.names.imports
    for full, suffix in (("torch.nn.functional", ""), ("torch.nn", ".functional"), ("torch", ".nn.functional")):
        alias = next((name for name, known in imports.items() if known == full), None)
        if alias is not None:
            return f"{alias}{suffix}.{_NAME}"
    raise NotOffered("`torch.nn.functional` is not imported by a name")


def _check_products(found: ByHand) -> None:
    """Raise where there are several products of queries and keys, or some heads share what fused attention takes."""
    if found.others:
        raise NotOffered("a product of queries and keys stands in each branch of an `if`")
    if any(each.shared for each in (found.product.query, found.product.key, found.context.value)):
        raise NotOffered("keys or values lack dimensions that the queries have")


def _check_order(found: ByHand) -> None:
    """Raise where scores are scaled under a condition, or behind a mask that is added, which is scaled with them."""
    for choice in found.choices:
        if any(isinstance(step, Scaled) for link in choice.links for step in link.steps):
            raise NotOffered("scores are scaled under a condition")
    added = False
    for step in found.steps():
        if added and isinstance(step, Scaled):
            raise NotOffered("what is added to the scores is scaled with them")
        added = added or isinstance(step, Added)


def _check_operands(found: ByHand, context: Context) -> None:
    """Raise where queries or keys are given another value between the two products."""
    operands = (found.product.query.node, found.product.key.node)
    read = {node.id for each in operands for node in walk(each) if isinstance(node, ast.Name)}
    for statement in _between(found, context):
        for node in walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in read:
                raise NotOffered(f"`{node.id}` is given another value between the two products")


def _check_factors(found: ByHand, context: Context) -> None:
    """Raise where what scales is given another value behind that, before the last product."""
    scaled: set[str] = set()
    steps = {found.first: found.inner}
    steps |= {link.statement: link.steps for link in found.links if isinstance(link, Link)}
    for statement in _between(found, context):
        for node in walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in scaled:
                raise NotOffered(f"`{node.id}` is given another value between the two products")
        factors = [step.factor for step in steps.get(statement, ()) if isinstance(step, Scaled)]
        scaled |= {node.id for each in factors for node in walk(each) if isinstance(node, ast.Name)}


def _between(found: ByHand, context: Context) -> Iterator[ast.stmt]:
    """The statements from the first product to the last one, which is not among them."""
    block = context.places.block(found.statement)
    first = next(index for index, each in enumerate(block) if each is found.first)
    last = next(index for index, each in enumerate(block) if each is found.statement)
    yield from block[first:last]


def _rank(found: ByHand, context: Context) -> int | None:
    """How many dimensions the scores have: the product says so, or the model knows it on every path."""
    if found.product.rank is not None:
        return found.product.rank
    seen = context.model.operations.get(found.softmax, [])
    given = [each.argument(0, "input") for each in seen]
    ranks = {each.rank if isinstance(each, Tensor) else None for each in given}
    return ranks.pop() if len(ranks) == 1 else None


def _operands(found: ByHand, scale: Scale, rank: int | None) -> tuple[Operand, Operand, Operand]:
    """Queries, keys and values, without casts that fused attention does not need."""
    query, key, value = found.product.query, found.product.key, found.context.value
    nodes = [scale.query, scale.key]
    if _narrows(found):
        nodes = [_uncast(node) for node in nodes]
    elif _widens(found) and _uncast(value.node) is not value.node:
        raise NotOffered("the weights stay in float32, as the values are")
    inner = untransposed(nodes[1], rank) if key.swapped else None
    keys = Operand(nodes[1], key.order, key.swapped) if inner is None else Operand(inner)
    return Operand(nodes[0], query.order, query.swapped), keys, value


def _narrows(found: ByHand) -> bool:
    """Tell whether weights are cast behind the softmax."""
    return any(isinstance(step, Cast) for step in found.of_weights)


def _widens(found: ByHand) -> bool:
    """Tell whether scores are cast before the softmax, or by it."""
    by_softmax = argument(found.softmax, 99, "dtype") is not None
    return by_softmax or any(isinstance(step, Cast) for step in found.of_scores)


def _uncast(node: ast.expr) -> ast.expr:
    match node:
        case ast.Call(func=ast.Attribute(value=inner, attr=name), args=[]) if name in _WIDE:
            return inner
        case ast.Call(func=ast.Attribute(value=inner, attr="to"), args=[ast.Attribute(attr="float32")]):
            return inner
        case _:
            return node


def _batched(operands: list[str], rank: int | None, front: int) -> list[str]:
    """The operands with four dimensions, a new one at ``front``: with three, no fused kernel takes them."""
    if rank != 3:
        return operands
    return [f"{bound_text(text)}.unsqueeze({front})" for text in operands]


# --- edits -----------------------------------------------------------------------------------------------------------


def _edits(found: ByHand, plan: Plan, text: str, context: Context) -> tuple[Edit, ...]:
    places = context.places
    edits: list[Edit] = []
    deletions: list[Edit] = []
    gone: list[ast.AST] = []
    node = found.context.node
    edits.append(_in_place_of(node, text, context))
    gone.append(node)
    if plan.before:
        if not places.stands_alone(found.statement):
            raise NotOffered("the statement shares its line with another, and the mask has no place of its own")
        indent = places.indent(found.statement)
        lines = "".join(f"{line}{places.newline}{indent}" for line in plan.before)
        edits.append(places.insert(places.start(found.statement), lines))
    for choice in found.choices:
        if choice.softmax is not None:
            clause = _else_of(choice, plan, context)
            edits += [clause] if clause is not None else []
            gone += choice.statement.orelse if clause is not None else []
    for statement in _statements(found, plan):
        if statement in gone:
            continue
        gone.append(statement)
        written = edits_of(plan, statement, context)
        if written is not None:
            edits.append(written)
            continue
        if not places.stands_alone(statement):
            raise NotOffered("a statement between the two products shares its line with another")
        if len(places.block(statement)) == 1:
            raise NotOffered("a block would be left without a statement")
        deletions.append(places.without_statement(statement))
    edits += _tidied(deletions, context)
    kept = " ".join([text, *plan.before, *(line for lines in plan.lines.values() for line in lines)])
    left, taken = unread_all(gone, kept, context, attributes=False)
    asking = [each for each in found.asked if each not in taken]
    expanded = [_not_expanded(each, found, gone, context) for each in asking]
    edits += [edit for edit in expanded if edit is not None]
    if None in expanded:
        raise NotOffered("the type or the sizes of the scores are asked for elsewhere")
    return (*edits, *left)


def _not_expanded(statement: ast.stmt, found: ByHand, gone: list[ast.AST], context: Context) -> Edit | None:
    """Leave out ``expand_as(scores)`` behind a mask that has a name: fused attention expands it.

    None where the statement does something else, or where what stays reads the mask.
    """
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            peeled = as_scores(value, found.names)
        case _:
            return None
    between = [each for each in _between(found, context) if each not in gone and each is not statement]
    is_read = any(mentions(each, name) for each in between) or read_later(found.statement, name, context.places)
    if peeled is None or peeled[1] or is_read or any(mentions(peeled[0], each) for each in found.names):
        return None
    edit: Edit = context.places.replace(value, context.places.whole(peeled[0]))
    return edit


def _in_place_of(node: ast.expr, text: str, context: Context) -> Edit:
    """Put a call in the place of an expression and the parentheses around it, if they are not all that is between."""
    places = context.places
    start = places.start_of_whole(node)
    before = places.line(start.row)[: start.column - 1]
    if before[-1:].isalnum():  # ``return(weights @ v)``
        edit: Edit = places.replace(node, text)
        return edit
    return Edit(start, places.end_of_whole(node), text)


def _else_of(choice: Choice, plan: Plan, context: Context) -> Edit | None:
    """Delete an ``else`` in which nothing but the softmax stands; None where there is more in it."""
    body, orelse, places = choice.statement.body, choice.statement.orelse, context.places
    if len(orelse) != len(choice.orelse) or any(plan.lines.get(each) for each in orelse):
        return None
    first, last = places.end(body[-1]).row + 1, places.end(orelse[-1]).row + 1
    if any("#" in places.line(row) for row in range(first, last)):
        raise NotOffered("comments stand in a branch that would go")
    return Edit(Position(first, 1), Position(last, 1), "")


def _tidied(deletions: list[Edit], context: Context) -> Iterator[Edit]:
    """Deletions of whole lines, and of the blank lines around a run of them those behind it."""
    places = context.places
    ordered = sorted(deletions, key=lambda each: each.start)
    first = None
    for edit, following in zip_longest(ordered, ordered[1:]):
        first = edit.start if first is None else first
        if following is not None and following.start == edit.end:
            yield edit
            continue
        above, below = first.row - 1, edit.end.row
        first = None
        lines = [places.line(row) if row else "" for row in (above, below)]
        is_blank = all(line.endswith(("\n", "\r")) and not line.strip() for line in lines)
        yield Edit(edit.start, Position(below + 1, 1), "") if is_blank and edit.end.column == 1 else edit


def _statements(found: ByHand, plan: Plan) -> Iterator[ast.stmt]:
    """The statements that go, or become a mask, but for the last one."""
    if found.first is not found.statement:
        yield found.first
    for link in found.links:
        yield from _of_link(link, plan)


def _of_link(link: Link | Choice, plan: Plan) -> Iterator[ast.stmt]:
    if isinstance(link, Link):
        yield link.statement
        return
    if drops(link) and not is_only_one(link):
        raise NotOffered("weights are dropped under a condition, and something else is done there")
    if is_only_one(link) and link.body[0].statement not in plan.lines:  # a flag among the arguments says the same
        yield link.statement
        return
    for each in link.links:
        yield each.statement
