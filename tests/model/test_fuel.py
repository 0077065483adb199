"""The limits of what is computed for one file, and what a file is told of when they are reached."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mha_lint import linter
from mha_lint.files import decode
from mha_lint.model import attention, sizes
from mha_lint.model.fuel import (
    MAX_DEGREE,
    MAX_ITEMS,
    MAX_TERMS,
    STEPS_OF_ATTENTION,
    STEPS_OF_HOLDERS,
    STEPS_OF_OTHERS,
    OutOfSteps,
)
from mha_lint.model.interpreter import meter
from mha_lint.model.interpreter.paths import Trail
from mha_lint.model.keys import named
from mha_lint.model.sizes import Size, product
from mha_lint.model.values import Sequence, State, integer
from mha_lint.model.worth import worth_of
from mha_lint.rules import all_rules
from mha_lint.rules.base import Hit
from mha_lint.rules.view_of_transposed import ViewOfTransposed
from mha_lint.settings import Settings
from mha_lint.syntax.module import Module
from mha_lint.syntax.names import collect
from mha_lint.syntax.places import Places

BEFORE_VIEW = """\
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).unbind(2)
        att = (q.transpose(1, 2) @ k.transpose(1, 2).transpose(-2, -1)).softmax(-1)
"""
VIEW = "        return self.proj((att @ v.transpose(1, 2)).transpose(1, 2).view(b, t, c))\n"


def symbol(name: str) -> Size:
    return sizes.symbol(named(name))


def codes(text: str) -> list[str]:
    source = decode(Path("module.py"), text.encode())
    return [finding.code for finding in linter.lint(source, Settings(select=("MHA001",))).findings]


def test_a_product_of_too_many_symbols_is_not_computed() -> None:
    names = [symbol(f"s{number}") for number in range(MAX_DEGREE + 1)]
    assert product(names[:-1])._degree == MAX_DEGREE
    with pytest.raises(OutOfSteps):
        product(names)


def test_a_size_of_too_many_terms_is_not_computed() -> None:
    names = [symbol(f"s{number}") for number in range(MAX_TERMS + 1)]
    with pytest.raises(OutOfSteps):
        sum(names[1:], names[0])


def test_the_sign_of_a_long_product_is_unknown() -> None:
    def difference(count: int) -> Size:
        return product(symbol(f"s{number}") for number in range(count)) - symbol("t")

    assert product(symbol(f"s{number}") for number in range(4)).sign() == 1
    assert difference(20).sign() is None
    assert product(symbol(f"s{number}") for number in range(20)).sign() is None


def test_nothing_is_told_of_a_function_whose_sizes_grow_with_each_statement() -> None:
    assert codes(BEFORE_VIEW + VIEW) == ["MHA001"]
    assert codes(BEFORE_VIEW + "        n = b * t\n" + "        n = n * n\n" * 3 + VIEW) == ["MHA001"]
    assert codes(BEFORE_VIEW + "        n = b * t\n" + "        n = n * n\n" * 9 + VIEW) == []


@pytest.mark.parametrize("grown", ["w + w", "w * 2"])
def test_a_tuple_that_doubles_is_unknown_at_last(grown: str) -> None:
    def items(times: int) -> int | None:
        lines = "".join(f"        w = {grown}\n" for _ in range(times))
        text = f"class M(nn.Module):\n    def __init__(self):\n        w = (1, 2)\n{lines}        self.w = w\n"
        model = attention.analyse(Module("from torch import nn\n" + text), every=True)
        (built,) = model.classes[0].built
        value = built.attributes["w"]
        return len(value.items) if isinstance(value, Sequence) else None

    assert items(4) == 32
    assert MAX_ITEMS < 2 * 2**11
    assert items(11) is None


def test_most_steps_are_spent_on_what_computes_scores() -> None:
    text = (
        "from torch import nn\nclass Scores(nn.Module):\n    def forward(self, q, k):\n        return weigh(q, k)\n"
        "class Holder(nn.Module):\n    def __init__(self):\n        self.inner = Scores()\n"
        "class Model(nn.Module):\n    def __init__(self):\n        self.holder = Holder()\n"
        "class Heir(Scores):\n    pass\nclass Other(nn.Module):\n    def forward(self, x):\n        return x.view(1)\n"
        "def weigh(q, k):\n    return (q @ k).softmax(-1)\n"
    )
    module = Module(text)
    names = collect(module)
    worth = worth_of(names)
    told = {cls.name: cls for cls in names.every_class}
    assert worth.attending == {told["Scores"], told["Heir"], names.functions["weigh"]}
    assert worth.holding == {told["Holder"], told["Model"]}
    assert STEPS_OF_ATTENTION > STEPS_OF_HOLDERS > STEPS_OF_OTHERS


def test_a_choice_is_made_among_what_is_left_when_steps_run_out() -> None:
    trail = Trail((2, 1))
    assert [trail.choose(3), trail.choose(1), trail.choose(2)] == [2, 0, 0]


def test_nothing_is_told_of_a_file_that_takes_too_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert codes(BEFORE_VIEW + VIEW) == ["MHA001"]
    monkeypatch.setattr(meter, "FILE_STEPS", 60)
    assert codes(BEFORE_VIEW + VIEW) == []


def test_the_steps_of_all_functions_of_a_file_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    other = (BEFORE_VIEW + VIEW).partition("class Attention")[2]
    twice = f"{BEFORE_VIEW}{VIEW}\n\nclass Other{other}"
    monkeypatch.setattr(meter, "FILE_STEPS", 150)
    assert codes(BEFORE_VIEW + VIEW) == ["MHA001"]
    assert codes(twice) == []


def test_a_rule_that_computes_with_too_large_a_size_is_silent_from_there_on() -> None:
    class TooLarge(ViewOfTransposed):
        def check(self, model: attention.FileModel, places: Places) -> Iterator[Hit]:
            yield from super().check(model, places)
            product(symbol(f"s{number}") for number in range(MAX_DEGREE + 1))

    model, places = linter.modelled(decode(Path("module.py"), (BEFORE_VIEW + VIEW).encode()), Settings())
    assert len(list(linter._checked(TooLarge, model, places))) == 1


def test_a_file_is_modelled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    modelled: list[Module] = []
    analyse = attention.analyse

    def counted(module: Module, **options: Any) -> attention.FileModel:
        modelled.append(module)
        return analyse(module, **options)

    monkeypatch.setattr(attention, "analyse", counted)
    for rule in all_rules():
        for text in rule.invalid:
            modelled.clear()
            linter.lint(decode(Path("module.py"), f"import torch\n{text}".encode()), Settings(select=("ALL",)))
            assert len(modelled) == 1


def test_states_are_told_apart_by_what_is_read_later_alone() -> None:
    one, other = State(variables={"a": integer(1), "b": integer(2)}), State(variables={"a": integer(1)})
    assert one.known(["a"]) == other.known(["a"])
    assert one.known(["a", "c"]) == other.known(["a", "c"])
    assert one.known(["b"]) != other.known(["b"])
    assert State(attributes={"h": integer(1)}).known(()) != State().known(())


def test_a_widened_state_goes_on_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    branches = "".join(f"        if n{number}:\n            m{number} = {number}\n" for number in range(8))
    read = "        print(" + ", ".join(f"m{number}" for number in range(8)) + ")\n"
    text = BEFORE_VIEW + branches + VIEW.replace("        return", f"{read * 20}        return")
    assert codes(text) == ["MHA001"]
    monkeypatch.setattr(attention, "STEPS_OF_ATTENTION", 100)
    assert codes(text) == ["MHA001"]
