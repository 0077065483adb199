"""Which classes and functions of a file do work on tensors that a rule could ask for; no others are interpreted."""

from __future__ import annotations

import re
from collections.abc import Mapping

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


def worth_it(module: Module, names: ModuleNames) -> set[ClassInfo | Function]:
    """The classes and functions whose own text, or that of a function of the file which they name, works on tensors."""
    texts = {name: module.whole(node) for name, node in names.functions.items()}
    working = _spread(texts, _TENSOR_WORK)
    named = _naming(working, _TENSOR_WORK.pattern)
    classes = {cls for cls in names.every_class if named.search(module.whole(cls.node))}
    return {names.functions[name] for name in working} | _with_heirs(classes, names)


def attending_in(module: Module, names: ModuleNames) -> set[ClassInfo | Function]:
    """The classes and functions that compute scores, as far as their texts tell, or name a function that does.

    A class that names such a class lays out what that attends to, and merges what it gives. Who holds that in turn,
    as a whole model does, is none of them.
    """
    texts = {cls: module.whole(cls.node) for cls in names.every_class}
    attending = _spread({name: module.whole(node) for name, node in names.functions.items()}, _SCORES)
    named = _naming(attending, _SCORES.pattern)
    classes = _with_heirs({cls for cls, text in texts.items() if named.search(text)}, names)
    if classes:
        holding = _naming({cls.name for cls in classes})
        classes |= _with_heirs({cls for cls, text in texts.items() if holding.search(text)}, names)
    return {names.functions[name] for name in attending} | classes


def _spread(texts: Mapping[str, str], pattern: re.Pattern[str]) -> set[str]:
    """The names whose texts hold the pattern, or name what does, or what names that in turn."""
    found = {name for name, text in texts.items() if pattern.search(text)}
    more = found
    while more:
        named = _naming(more)
        more = {name for name, text in texts.items() if name not in found and named.search(text)}
        found |= more
    return found


def _with_heirs(classes: set[ClassInfo], names: ModuleNames) -> set[ClassInfo]:
    return {cls for cls in names.every_class if not classes.isdisjoint(cls.lineage)}


def _naming(functions: set[str], *others: str) -> re.Pattern[str]:
    return re.compile("|".join([*others, *(rf"\b{name}\b" for name in sorted(functions))]))
