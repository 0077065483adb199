"""The probes "every projection learns" and "whole weights": layers, inputs and weights that take no part."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from mha_lint.observation import Observation  # noqa: E402
from mha_lint.validation.probes import observe  # noqa: E402

from .probed_modules import HEADS, WIDTH  # noqa: E402

D = WIDTH // HEADS


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def asked(module: Any, insist: bool = False, **inputs: Any) -> Observation:
    return observe("every projection learns", module, inputs or {"x": torch.randn(3, 7, WIDTH)}, insist=insist)


def split(x: Any) -> Any:
    return x.unflatten(-1, (HEADS, D)).transpose(1, 2)


class Three(nn.Module):
    """Attention with a layer for each of the three, which are applied as ``how`` says."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.how = how
        self.to_q, self.to_k, self.to_v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any, past_key_value: Any = None) -> Any:
        q, k, v = split(self.to_q(x)), split(self.to_k(x)), split(self.to_v(x))
        match self.how:
            case "keys by the queries' layer":
                k = split(self.to_q(x))
            case "values without a gradient":
                v = v.detach()
            case "keys that are chosen":
                k = F.one_hot(k.argmax(-1), D).to(x.dtype)
            case "queries of the keys":
                q = k
            case "keys of an earlier call" if past_key_value is not None:
                k, v = past_key_value
            case "no gradients":
                q, k, v = (part.detach() for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return y if self.how == "no gradients" else self.out(y)


def test_it_holds_where_all_three_learn() -> None:
    seen = asked(Three())
    assert (seen.outcome, seen.words) == ("holds", "each of 4 matrices of parameters gets a gradient")


@pytest.mark.parametrize("insist", [False, True])
@pytest.mark.parametrize(("how", "lost"), [("keys by the queries' layer", "to_k"), ("queries of the keys", "to_q")])
def test_a_layer_that_is_built_and_not_applied_is_told_with_those_that_learn(how: str, lost: str, insist: bool) -> None:
    seen = asked(Three(how), insist)
    assert seen.outcome == "violated", seen
    assert seen.words.startswith(f"{lost} gets no gradient and changes nothing, while to_")
    assert " and to_" in seen.words and seen.words.endswith(" learn")


@pytest.mark.parametrize("how", ["values without a gradient", "keys that are chosen"])
def test_what_counts_without_a_gradient_is_not_lost(how: str) -> None:
    for insist in (False, True):
        seen = asked(Three(how), insist)
        assert seen.outcome == "not applicable", seen
        assert "gets no gradient, and nothing tells that this call is meant to use it" in seen.words


def test_keys_of_an_earlier_call_need_no_layer() -> None:
    past = tuple(torch.randn(3, HEADS, 5, D) for _ in range(2))
    seen = asked(Three("keys of an earlier call"), True, x=torch.randn(3, 7, WIDTH), past_key_value=past)
    assert seen.outcome == "not applicable"
    assert "may come from past_key_value" in seen.words


def test_what_is_frozen_cannot_learn() -> None:
    module = Three("keys by the queries' layer")
    assert asked(module.requires_grad_(False)).words.startswith("it has no matrix of parameters that learns")
    module.requires_grad_(True)
    module.to_k.requires_grad_(False)
    assert asked(module).outcome == "holds", "the frozen layer is passed over"


def test_a_call_that_gives_no_gradients_tells_nothing() -> None:
    assert asked(Three("no gradients")).words == "nothing that comes out has a gradient"


class Checkpoint(nn.Module):
    """A layer that old checkpoints have stands beside a packed one; a memory is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.key = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Any) -> Any:
        q, k, v = map(split, self.qkv(x).chunk(3, -1))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def test_layers_that_wait_for_something_else_are_no_counterexample() -> None:
    for insist in (False, True):
        assert asked(Checkpoint(), insist).outcome == "not applicable"


class Overwritten(nn.Module):
    """Queries that are overwritten with what the keys become, or not."""

    def __init__(self, right: bool = False) -> None:
        super().__init__()
        self.right = right

    def forward(self, query: Any, key: Any, value: Any) -> Any:
        key = split(key)
        query = split(query) if self.right else key.clone()
        value = split(value)
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def test_only_who_insists_is_told_of_inputs_without_influence() -> None:
    inputs = {name: torch.randn(3, 7, WIDTH) for name in ("query", "key", "value")}
    assert asked(Overwritten(), False, **inputs).outcome == "not applicable"
    seen = asked(Overwritten(), True, **inputs)
    assert seen.words == "what query holds, which is to make the queries, changes nothing, unlike key, value"
    assert asked(Overwritten(right=True), True, **inputs).outcome == "not applicable"


class Mapped(nn.Module):
    """Equations that may take a diagonal: of the weights, or of a map by a parameter."""

    def __init__(self, weighing: str = "bhij,bhjd->bhid", mapping: str = "btc,ce->bte") -> None:
        super().__init__()
        self.weighing, self.mapping = weighing, mapping
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.merge = nn.Parameter(torch.randn(WIDTH, WIDTH))

    def forward(self, x: Any) -> Any:
        q, k, v = map(split, self.qkv(x).chunk(3, -1))
        weights = (torch.einsum("bhid,bhjd->bhij", q, k) * D**-0.5).softmax(-1)
        y = torch.einsum(self.weighing, weights, v).transpose(1, 2).flatten(2)
        return torch.einsum(self.mapping, y, self.merge)


def test_a_parameter_of_which_the_diagonal_alone_learns_is_told_to_who_insists() -> None:
    wrong = Mapped(mapping="btc,cc->btc")
    assert asked(wrong).words.endswith("all else in it changes nothing, which may be meant")
    seen = asked(wrong, True)
    assert (seen.outcome, seen.words[:33]) == ("violated", "of merge (32, 32) the diagonal al")
    assert asked(Mapped(), True).outcome == "holds"


def test_the_module_has_its_numbers_and_gradients_afterwards() -> None:
    module = Three("keys by the queries' layer")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    asked(module, True)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())


def whole(module: Any) -> Observation:
    return observe("whole weights", module, {"x": torch.randn(3, 7, WIDTH)}, insist=True)


def test_weights_of_which_the_diagonal_alone_reaches_the_values_are_not_whole() -> None:
    seen = whole(Mapped("bhtt,bhtd->bhtd"))
    assert seen.outcome == "violated"
    assert seen.words.startswith("a query takes its own value alone, with a weight of 0.")
    assert whole(Mapped()).words == "no diagonal of weights was seen to meet values"


class Strangers(nn.Module):
    """Tokens that do not attend to themselves, over values that are an input."""

    def __init__(self, weighing: str) -> None:
        super().__init__()
        self.weighing = weighing

    def forward(self, x: Any) -> Any:
        scores = torch.einsum("bid,bjd->bij", x, x) * WIDTH**-0.5
        own = torch.eye(x.shape[1], dtype=torch.bool)
        return torch.einsum(self.weighing, scores.masked_fill(own, float("-inf")).softmax(-1), x)


def test_a_diagonal_of_zeros_gives_a_query_nothing() -> None:
    seen = whole(Strangers("bjj,bje->bje"))
    assert seen.outcome == "violated"
    assert seen.words.startswith("a query takes its own value alone, with a weight of 0:")
    assert whole(Strangers("bij,bje->bie")).outcome == "not applicable"
