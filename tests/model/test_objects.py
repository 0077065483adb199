"""Objects of classes of the file: built when somebody asks for what their constructors made."""

from mha_lint.model.attention import FileModel, analyse
from mha_lint.model.factors import of_number
from mha_lint.model.values import Instance, Int, Number
from mha_lint.syntax.module import Module
from tests.model.linting import codes

HEAD = """import torch
from torch import nn


class Part(nn.Module):
    def __init__(self, dim, heads, turned=False):
        super().__init__()
        self.dim, self.heads = dim, heads
        self.turned = turned
        self.scale = 1.0 if turned else 2.0

    def forward(self, x):
        b, t, c = x.shape
        x = x.contiguous().view(b, t, self.heads, c // self.heads).transpose(1, 2)
        return x if self.turned else x.contiguous()


"""


def model_of(text: str) -> FileModel:
    return analyse(Module(HEAD + text), every=True)


def test_an_object_that_nobody_asks_is_not_built() -> None:
    text = "class Whole(nn.Module):\n    def __init__(self, dim):\n        self.part = Part(dim, 8, turned=dim > 2)\n"
    (built,) = model_of(text).classes[1].built
    part = built.attributes["part"]
    assert isinstance(part, Instance) and part.building is not None and not part.attributes


def test_an_attribute_of_an_object_is_known_where_it_is_asked_for() -> None:
    text = (
        "class Whole(nn.Module):\n    def __init__(self, dim):\n        self.part = Part(dim, 8)\n"
        "        self.heads = self.part.heads\n        other = Part(dim, 4)\n        self.others = other.heads\n"
    )
    for built in model_of(text).classes[1].built:
        heads, others = built.attributes["heads"], built.attributes["others"]
        assert isinstance(heads, Int) and heads.size.constant == 8
        assert isinstance(others, Int) and others.size.constant == 4


def test_each_way_to_build_an_object_is_followed_where_an_attribute_of_it_is_read() -> None:
    text = (
        "class Whole(nn.Module):\n    def __init__(self, dim, flag):\n"
        "        self.part = Part(dim, 8, turned=flag)\n        self.scale = self.part.scale\n"
    )
    scales = [built.attributes["scale"] for built in model_of(text).classes[1].built]
    assert sorted(str(scale) for scale in scales) == [str(Number(of_number(1.0))), str(Number(of_number(2.0)))]


def test_an_object_is_built_in_one_way_for_all_that_is_asked_of_it_on_a_path() -> None:
    """Of the two ways to build it, one turns what it gives, and the same one has the scale 1."""
    text = (
        "class Whole(nn.Module):\n    def __init__(self, dim, flag):\n        super().__init__()\n"
        "        self.part = Part(dim, 8, turned=True if flag else False)\n\n    def forward(self, x):\n"
        "        b, t, c = x.shape\n        y = self.part(x).transpose(1, 2)\n"
        "        return y.{}(b, t, c) if self.part.turned else y\n"
    )
    assert codes(HEAD + text.format("view")) == []  # transposed twice: as it was
    assert codes(HEAD + text.format("view").replace("if self.part.turned", "if not self.part.turned")) == ["MHA001"]


def test_an_object_that_holds_itself_comes_to_an_end() -> None:
    text = (
        "class Tree(nn.Module):\n    def __init__(self, depth):\n        super().__init__()\n"
        "        self.inner = Tree(depth - 1)\n        self.width = self.inner.width\n\n"
        "    def forward(self, x):\n        return self.inner(x).view(-1)\n"
    )
    assert model_of(text).classes[1].returns
