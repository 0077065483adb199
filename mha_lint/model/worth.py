"""Which classes and functions of a file are interpreted at all, and on which of them most steps are spent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from mha_lint.syntax.module import Module
from mha_lint.syntax.names import ClassInfo, ModuleNames
from mha_lint.syntax.nodes import Function

# What attention, or a change of layout, can't be written without. It may say too much, never too little.
_TENSOR_WORK = re.compile(
    r"\b(?:view|contiguous|unbind|(?:un)?flatten|transpose|t|T|mT|swap(?:axes|dims)|permute|movedim|moveaxis|stack|chunk"
    r"|cat|concat|concatenate|einsum|bmm|baddbmm|matmul|scaled_dot_product_attention|MultiheadAttention)\b"
    r"|reshape|[rR]earrange|[sS]oftmax|[\w)\]] *@"
)
_SCORES = re.compile(r"[sS]oftmax|scaled_dot_product|MultiheadAttention|attention_interface")
_NAME = re.compile(r"[^\W\d]\w*")

Key = TypeVar("Key")


class _Text:
    """What a class or a function says."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(_NAME.findall(self.text))


@dataclass(frozen=True, slots=True)
class Worth:
    """``working`` does work on tensors that a rule could ask for, ``attending`` computes scores.

    ``holding`` are classes that hold what attends, if inside of what they hold: they lay out what that attends to,
    merge what it gives, and hand masks down.
    """

    working: set[ClassInfo | Function]
    attending: set[ClassInfo | Function]
    holding: set[ClassInfo]


def worth_of(module: Module, names: ModuleNames) -> Worth:
    """Tell by the texts of a file which of its classes and functions are worth being interpreted.

    Whoever names a function that works, or attends, counts as well.
    """
    functions = {name: _Text(module.whole(node)) for name, node in names.functions.items()}
    classes = {cls: _Text(module.whole(cls.node)) for cls in names.every_class}
    working, attending = _spread(functions, _TENSOR_WORK), _spread(functions, _SCORES)
    attends = _with_heirs(_saying(classes, attending, _SCORES), names)
    holds, more = set(attends), attends
    while more:
        more = _with_heirs(_saying(classes, {cls.name for cls in more}), names) - holds
        holds |= more
    return Worth(
        {names.functions[name] for name in working} | _with_heirs(_saying(classes, working, _TENSOR_WORK), names),
        {names.functions[name] for name in attending} | attends,
        holds - attends,
    )


def _spread(texts: Mapping[str, _Text], pattern: re.Pattern[str]) -> set[str]:
    """The names whose texts hold the pattern, or name what does, or what names that in turn."""
    found = _saying(texts, set(), pattern)
    more = found
    while more:
        more = _saying(texts, more) - found
        found |= more
    return found


def _saying(texts: Mapping[Key, _Text], names: set[str], pattern: re.Pattern[str] | None = None) -> set[Key]:
    """The keys of the texts that say one of the names, or hold the pattern."""
    found = {key for key, said in texts.items() if pattern is not None and pattern.search(said.text)}
    if names:
        found |= {key for key, said in texts.items() if key not in found and not names.isdisjoint(said.words)}
    return found


def _with_heirs(classes: set[ClassInfo], names: ModuleNames) -> set[ClassInfo]:
    return {cls for cls in names.every_class if not classes.isdisjoint(cls.lineage)}
