"""Copies of modules are what ``copy.deepcopy`` makes; one that a call has changed is lent to no other call."""

from __future__ import annotations

import copy
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from mha_lint.validation.child.imports import quiet  # noqa: E402
from mha_lint.validation.search.specs import size_of  # noqa: E402
from mha_lint.validation.trials import process_state  # noqa: E402
from mha_lint.validation.trials.pristine import Pristine, copied  # noqa: E402


class Keeping(torch.nn.Module):
    """Keeps one list under two names, one parameter in two places, itself, and tables of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 3)
        self.second = torch.nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("unsaved", torch.ones(2), persistent=False)
        self.lengths: list[int] = [1, 2]
        self.same_lengths = self.lengths
        self.empty: dict[str, int] = {}
        self.ordered = OrderedDict(a=[1])
        self.itself = {"module": [self]}


class Telling(torch.nn.Module):
    """Says itself what a copy of it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "copies": self.copies + 1}


class Copying(torch.nn.Module):
    def __deepcopy__(self, memo: object) -> Copying:
        return self


def test_a_copy_shares_inside_of_itself_what_the_module_shares_and_nothing_with_the_module() -> None:
    module = Keeping()
    made = copied(module)
    assert made.second.weight is made.first.weight and made.first.weight is not module.first.weight
    assert made.lengths is made.same_lengths and made.lengths == [1, 2] and made.lengths is not module.lengths
    assert made.itself["module"][0] is made
    assert made.ordered["a"] is not module.ordered["a"] and type(made.ordered) is OrderedDict
    assert made.empty is not module.empty
    assert made._forward_hooks is not module._forward_hooks
    expected = copy.deepcopy(module)
    assert list(vars(made)) == list(vars(expected))
    assert list(made.state_dict()) == list(expected.state_dict())
    assert all(torch.equal(made.state_dict()[name], value) for name, value in expected.state_dict().items())
    assert not made.unsaved.is_set_to(module.unsaved)


def test_a_class_that_says_how_it_is_copied_is_copied_so() -> None:
    whole = torch.nn.Sequential(Telling(), Copying())
    made = copied(whole)
    assert made[0].copies == 1
    assert made[1] is whole[1]


@pytest.mark.parametrize("make", [
    lambda: torch.nn.LSTM(4, 4),
    lambda: torch.nn.MultiheadAttention(4, 2),
    lambda: torch.nn.TransformerEncoderLayer(4, 2),
    lambda: torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 4)),
])  # fmt: skip
def test_copies_of_torchs_own_modules_compute_the_same(make: Callable[[], Any]) -> None:
    module = make().eval()
    inputs = [torch.randn(3, 2, 4)] * (3 if isinstance(module, torch.nn.MultiheadAttention) else 1)
    ours, theirs = module(*inputs), copied(module)(*inputs)
    ours, theirs = (each[0] if isinstance(each, tuple) else each for each in (ours, theirs))
    assert torch.equal(ours, theirs)


CHANGES: dict[str, Callable[[Any], object]] = {
    "an attribute": lambda module: setattr(module, "added", 1),
    "a parameter": lambda module: setattr(module.first, "bias", torch.nn.Parameter(torch.ones(3))),
    "the values of a buffer": lambda module: module.seen.add_(1),
    "a list that grows": lambda module: module.lengths.append(3),
    "an item of a list": lambda module: module.lengths.__setitem__(0, 5),
    "an empty table that is filled": lambda module: module.empty.update(a=1),
    "a module": lambda module: module.add_module("third", torch.nn.Linear(1, 1)),
    "a hook of a part": lambda module: module.first.register_forward_hook(lambda *arguments: None),
    "the mode of a part": lambda module: module.first.train(),
    "an attribute that is gone": lambda module: delattr(module, "lengths"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_call_has_changed_is_lent_to_no_other(change: str) -> None:
    pristine = Pristine(Keeping())
    lent = pristine.lend()
    assert pristine.lend() is lent
    CHANGES[change](lent)
    assert pristine.lend() is not lent


def test_what_is_lent_again_has_no_gradients() -> None:
    pristine = Pristine(Keeping())
    lent = pristine.lend()
    lent.first(torch.ones(1, 3)).sum().backward()
    assert pristine.lend() is lent and all(value.grad is None for value in lent.parameters())


def test_a_lazy_layer_that_took_its_size_is_lent_to_no_other_call() -> None:
    pristine = Pristine(torch.nn.LazyLinear(2))
    lent = pristine.lend()
    assert pristine.lend() is lent
    lent(torch.ones(1, 3))
    assert pristine.lend() is not lent


def test_a_change_of_the_environment_is_seen_and_put_back() -> None:
    usual = process_state.settings()
    left = process_state.Left()
    with process_state.observed(left, usual):
        os.environ["MHA_LINT_OF_A_TEST"] = "1"
    assert list(left.changed) == ["the environment"]
    assert "MHA_LINT_OF_A_TEST" not in os.environ
    again = process_state.Left()
    with process_state.observed(again, usual):
        pass
    assert not again.changed


def test_code_may_close_where_it_prints_to_and_the_next_prints_on(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        sys.stdout.close()
    with quiet():
        print("nobody reads this")
    assert capsys.readouterr() == ("", "")


def test_sizes_are_numbers_names_or_arithmetic_on_them() -> None:
    sizes = {"H": 3, "W": 5}
    assert [size_of(dim, sizes) for dim in (4, "W", "H*W", " H + 1")] == [4, 5, 15, 4]
