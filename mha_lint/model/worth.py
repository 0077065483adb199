"""Which classes and functions of a file are interpreted at all, and on which of them most steps are spent."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct

from mha_lint.model.sequences import ATTENTION
from mha_lint.model.tables import is_table
from mha_lint.syntax.names import ClassInfo, ModuleNames
from mha_lint.syntax.nodes import Function, last_name, walk
from mha_lint.syntax.words import names_in
from mha_lint.vocabulary import (
    ATTENDS,
    BATCH_SIZE,
    CHOOSES_KEYS,
    COUNTS,
    LAYS_OUT,
    MAKES_ANGLES,
    ROTATES,
    SCORES,
    TURNS,
    is_said,
)

_SIZES = frozenset({"size", "shape", "len"})  # what code says that asks for one
Key = TypeVar("Key")
Said = Mapping[Key, frozenset[str]]  # the names that classes or functions say


class Worth(Struct, frozen=True):
    """``working`` does work on tensors that a rule could ask for, ``attending`` computes scores.

    ``holding`` are classes that hold what attends, if inside of what they hold: they lay out what that attends to,
    merge what it gives, and hand masks down. ``about`` are the names of those that attend or hold what does, and of the
    functions of the file that these name. ``turning`` are classes that hold what attends and name ``makers`` of rotary
    tables, which they may hand it.
    """

    working: set[ClassInfo | Function]
    attending: set[ClassInfo | Function]
    holding: set[ClassInfo]
    about: frozenset[str]
    turning: list[ClassInfo]
    makers: frozenset[str]


def worth_of(names: ModuleNames) -> Worth:
    """Tell by the names in a file which of its classes and functions are worth being interpreted.

    Whoever names a function that works, or attends, or a table that holds it, counts as well.
    """
    aliases = {name: origin.rpartition(".")[2] for name, origin in names.imports.items()}
    functions = {name: _said_in(node, aliases) for name, node in names.functions.items()}
    tables = {name: _said_in(node, aliases) for name, node in names.constants.items() if is_table(node)}
    classes = {cls: _said_in(cls.node, aliases) for cls in names.every_class}
    working, attending = _spread(functions | tables, LAYS_OUT), _spread(functions | tables, SCORES)
    attends = _with_heirs(_saying(classes, attending, SCORES), names)
    holds = _with_holders(
        attends | _with_heirs(_saying(classes, _attention_of_other_files(names)), names), classes, names
    )
    layers = set(ATTENTION) - {cls.name for cls in classes}  # torch's own
    giving = _with_holders(_saying(classes, layers), classes, names)  # what they give tells what comes first
    tells = _saying(classes, set(), CHOOSES_KEYS)
    imported = {name for name in names.imports if is_said(ATTENDS, name)}
    masking = (holds | _saying(classes, imported)) & tells  # they tell what attends which keys it may see
    makers = _makers_of_angles(functions, classes, names) - {cls.name for cls in holds} - attending
    turning = _saying(classes, makers) & holds
    told = [classes[cls] for cls in holds] + [functions[name] for name in attending if name in functions]
    named = frozenset[str]().union(*told).intersection(functions)
    laying = _with_heirs(_saying(classes, working, LAYS_OUT) | _computing_angles(classes), names) | masking | giving
    asking = _saying({cls: classes[cls] for cls in holds - laying}, set(_SIZES))
    numbering = {cls for cls in asking if _numbers_entries(cls.node)}
    return Worth(
        {names.functions[name] for name in (working | _computing_angles(functions)) - tables.keys()}
        | laying
        | numbering,
        {names.functions[name] for name in attending - tables.keys()} | attends,
        holds - attends,
        named.union(attending, (cls.name for cls in holds)),
        [cls for cls in names.every_class if cls in turning],
        frozenset(makers),
    )


def _said_in(node: ast.AST, aliases: Mapping[str, str]) -> frozenset[str]:
    """The names that a node says, and those that imported ones had where they come from."""
    words = frozenset(names_in(node))
    return words.union(aliases[word] for word in words.intersection(aliases))


def _computing_angles(said: Said[Key]) -> set[Key]:
    """The keys of what counts positions, or steps of frequencies, and takes cosines or sines."""
    counting: set[Key] = _saying(said, set(), COUNTS)
    turning: set[Key] = _saying(said, set(), TURNS)
    return counting & turning


def _with_holders(held: set[ClassInfo], classes: Said[ClassInfo], names: ModuleNames) -> set[ClassInfo]:
    """The classes, and those that hold one of them, if inside of what they hold."""
    found = more = held
    while more:
        more = _with_heirs(_saying(classes, {cls.name for cls in more}), names) - found
        found = found | more
    return found


def _makers_of_angles(functions: Said[str], classes: Said[ClassInfo], names: ModuleNames) -> set[str]:
    """The functions and classes that take cosines, and the imported ones that are called as rotations are."""
    own = {cls.name for cls in _saying(classes, set(), TURNS) if takes_cosines(cls.node)}
    made = {name for name in _saying(functions, set(), TURNS) if not is_said(ROTATES, name)}
    own |= {name for name in made if takes_cosines(names.functions[name])}
    return own | {name for name in (*names.classes, *names.imports) if is_said(MAKES_ANGLES, name)}


def takes_cosines(node: ast.AST) -> bool:
    """Code calls for cosines or sines, and does not merely give something that name."""
    return any(isinstance(each, ast.Call) and is_said(TURNS, last_name(each.func)) for each in walk(node))


def _numbers_entries(node: ast.AST) -> bool:
    """Code cuts a table to the number of entries, or counts these: ``pe[: x.size(0)]``, ``arange(b)``."""
    for each in walk(node):
        match each:
            case ast.Slice(lower=None, upper=ast.expr() as size, step=None) if _counts_entries(size):
                return True
            case ast.Call(func=function, args=[size]) if last_name(function) == "arange" and _counts_entries(size):
                return True
    return False


def _counts_entries(size: ast.expr) -> bool:
    match size:
        case ast.Call(func=ast.Attribute(attr="size"), args=[ast.Constant(value=0)]):
            return True
        case ast.Subscript(value=ast.Attribute(attr="shape"), slice=ast.Constant(value=0)):
            return True
        case ast.Call(func=ast.Name(id="len"), args=[_]):
            return True
        case ast.Name(id=name):
            return is_said(BATCH_SIZE, name)
        case _:
            return False


def _attention_of_other_files(names: ModuleNames) -> set[str]:
    """The classes of attention, by their names, that the file imports."""
    return {name for name in names.imports if name[:1].isupper() and is_said(ATTENDS, name)}


def _spread(said: Said[str], meaning: re.Pattern[str]) -> set[str]:
    """The functions that say a name of this meaning, or name one that does, or one that names that in turn."""
    found = _saying(said, set(), meaning)
    more = found
    while more:
        more = _saying(said, more) - found
        found |= more
    return found


def _saying(said: Said[Key], names: set[str], meaning: re.Pattern[str] | None = None) -> set[Key]:
    """The keys of what says one of the names, or a name of this meaning."""
    found = {key for key, words in said.items() if not names.isdisjoint(words)}
    if meaning is not None:
        found |= {key for key, words in said.items() if any(is_said(meaning, word) for word in words)}
    return found


def _with_heirs(classes: set[ClassInfo], names: ModuleNames) -> set[ClassInfo]:
    return {cls for cls in names.every_class if not classes.isdisjoint(cls.lineage)}
