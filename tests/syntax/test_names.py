"""What a name of a module refers to."""

from __future__ import annotations

import ast

import pytest

from mha_lint.syntax.module import Module
from mha_lint.syntax.names import ClassInfo, ModuleNames, collect


def names(text: str) -> ModuleNames:
    return collect(Module(text))


def expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize(
    ("imported", "used", "full"),
    [
        ("import torch", "torch.nn.Linear", "torch.nn.Linear"),
        ("import torch.nn", "torch.nn.Linear", "torch.nn.Linear"),
        ("import torch.nn as nn", "nn.Linear", "torch.nn.Linear"),
        ("from torch import nn", "nn.Linear", "torch.nn.Linear"),
        ("from torch.nn import Linear as L", "L", "torch.nn.Linear"),
        ("from . import layers", "layers.A", ".layers.A"),
        ("from .. import layers", "layers.A", "..layers.A"),
        ("from .layers import A", "A", ".layers.A"),
        ("from torch import (\n  nn,  # layers\n)", "nn", "torch.nn"),
        ("if a:\n  from torch import nn", "nn", "torch.nn"),
        ("if a: pass\nelse: from torch import nn", "nn", "torch.nn"),
        ("try: from torch import nn\nexcept ImportError: nn = None", "nn", "torch.nn"),
        ("try: import a\nexcept ImportError: from torch import nn", "nn", "torch.nn"),
        ("import os; from torch import nn", "nn", "torch.nn"),
        ("from torch import *", "nn", None),
        ("import torch", "x.nn", None),
        ("import torch", "f().nn", None),
        ("def f():\n  import torch", "torch", None),
    ],
)
def test_an_imported_name_has_a_full_name(imported: str, used: str, full: str | None) -> None:
    assert names(imported).qualify(expression(used)) == full


def test_a_name_that_unicode_spells_another_way_is_the_same() -> None:
    assert names("from torch import 𝐧𝐧\n").qualify(expression("nn.Linear")) == "torch.nn.Linear"


def test_functions_classes_and_constants_are_found_at_the_top_and_under_a_condition() -> None:
    found = names("A = 1; B: int = 2\nC: int\nif a:\n  def f(): D = 3\n  async def g(): pass\nclass K: E = 4\n")
    assert set(found.constants) == {"A", "B"}
    assert set(found.functions) == {"f", "g"}
    assert set(found.classes) == {"K"}
    assert set(found.classes["K"].constants) == {"E"}


def test_the_last_definition_of_a_class_wins_and_each_is_known() -> None:
    found = names("class A: x = 1\nclass A: x = 2\n")
    first, second = found.every_class
    assert found.classes["A"] is second
    assert found.class_of(first.node) is first
    assert found.class_of(None) is None


def test_methods_come_from_bases_of_the_file() -> None:
    found = names("class A:\n  def f(self): pass\nclass B(A):\n  def g(self): pass\n")
    assert found.classes["B"].lineage == [found.classes["B"], found.classes["A"]]
    assert found.classes["B"].method("f") is found.classes["A"].methods["f"]
    assert found.classes["B"].method("h") is None


def test_bases_are_full_names() -> None:
    found = names("from torch import nn\nclass A(nn.Module, Generic[T], *more, metaclass=M): pass\n")
    assert found.classes["A"].bases == ("torch.nn.Module", "")


def test_classes_that_derive_from_each_other_end() -> None:
    found = names("class A(B): pass\nclass B(A): pass\n")
    assert [cls.name for cls in found.classes["A"].lineage] == ["A", "B"]


@pytest.mark.parametrize(
    ("decorator", "is_property"),
    [("property", True), ("cached_property", True), ("functools.cached_property", True), ("property.setter", False)],
)
def test_properties_are_told_by_their_decorators(decorator: str, is_property: bool) -> None:
    cls = names(f"class A:\n  @{decorator}\n  def f(self): pass\n").classes["A"]
    assert cls.is_property("f") is is_property
    assert not cls.is_property("g")


@pytest.mark.parametrize(
    ("head", "fields"),
    [
        ("@dataclass\nclass A:", {"x"}),
        ("class A:", {"x"}),
        ("class A(NamedTuple):", {"x"}),
        ("class A(nn.Module):", set()),
        ("@dataclass\nclass A(nn.Module):", {"x"}),
    ],
)
def test_annotated_values_may_be_parameters_of_a_constructor(head: str, fields: set[str]) -> None:
    text = f"{head}\n  x: int = 1\n  y = 2\n  z: int\n  c: ClassVar[int] = 3\n  d: typing.Final = 4\n"
    assert names(text).classes["A"].fields == fields


def changed(text: str, name: str = "x") -> list[str | None]:
    found = names(text)
    cls: ClassInfo = found.classes["B"]
    return [value if value is None else ast.unparse(value) for value in found.changes_of(cls, name)]


def test_changes_of_an_attribute_are_those_of_related_classes_and_of_unknown_objects() -> None:
    text = "class A:\n  def f(self): self.x = 1\nclass B(A): pass\nclass C(B):\n  def f(self): self.x = 2\n"
    assert changed(text) == ["1", "2"]
    assert changed("class A:\n  def f(self): self.x = 1\nclass B: pass\n") == []
    assert changed("class B: pass\ndef f(b): b.x = 3\n") == ["3"]
    assert changed("class B:\n  def f(self, name): setattr(self, name, 1)\n") == [None]
