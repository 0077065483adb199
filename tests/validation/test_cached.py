"""The probe "cached equals full": caches that are handed on, updated or kept, and what goes wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from mha_lint.observation import Observation  # noqa: E402
from mha_lint.validation.probes import observe  # noqa: E402

from .probed_modules import HEADS, WIDTH, Attention  # noqa: E402

D = WIDTH // HEADS
RATES = 100.0 ** (-torch.arange(D // 2) / (D // 2))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def asked(module: Any, insist: bool = False, **inputs: Any) -> Observation:
    return observe("cached equals full", module, inputs or {"x": torch.randn(3, 7, WIDTH)}, insist=insist)


def rotated(x: Any, first: int) -> Any:
    turn = (torch.arange(first, first + x.shape[-2])[:, None] * RATES).repeat(1, 2)
    one, two = x.chunk(2, -1)
    return x * turn.cos() + torch.cat((-two, one), -1) * turn.sin()


def lower(queries: int, keys: int) -> Any:
    """The triangle that ends with the last query at the last key."""
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


class Base(nn.Module):
    """Projections, heads, and attention to keys and values that may be longer than the queries."""

    def __init__(self, bug: str = "", rotary: bool = True, causal: bool = True) -> None:
        super().__init__()
        self.bug, self.rotary, self.causal = bug, rotary, causal
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def heads(self, x: Any) -> Any:
        return self.qkv(x).unflatten(-1, (3, HEADS, D)).permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, q: Any, k: Any, v: Any, cached: bool) -> Any:
        if not self.causal or (self.bug == "no mask where there is a cache" and cached):
            out = F.scaled_dot_product_attention(q, k, v)
        elif self.bug == "flag":
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=lower(q.shape[-2], k.shape[-2]))
        return self.proj(out.transpose(1, 2).flatten(2))

    def joined(self, q: Any, k: Any, v: Any, past: Any) -> Any:
        """Rotate, and put what is cached before what is new."""
        first = 0 if past is None or self.bug == "no offset" else past[0].shape[-2]
        if self.rotary and self.bug != "cached keys rotated again":
            q, k = rotated(q, first), rotated(k, first)
        if past is not None:
            order = (k, past[0]) if self.bug == "keys in the wrong order" else (past[0], k)
            k, v = torch.cat(order, -2), torch.cat((past[1], v), -2)
        if self.rotary and self.bug == "cached keys rotated again":
            q, k = rotated(q, first), rotated(k, 0)
        return q, k, v


class HandedOn(Base):
    """Takes (k, v) and returns them."""

    def forward(self, x: Any, layer_past: Any = None, use_cache: bool = False) -> Any:
        q, k, v = self.joined(*self.heads(x), layer_past)
        out = self.attend(q, k, v, use_cache or layer_past is not None)
        return out, (k, v) if use_cache else None


class Always(Base):
    """Takes (k, v) and always returns them, in a tuple with the weights, or stacked."""

    def __init__(self, stacked: bool, **named: Any) -> None:
        super().__init__(**named)
        self.stacked = stacked

    def forward(self, hidden_states: Any, past_key_value: Any = None) -> Any:
        q, k, v = self.joined(*self.heads(hidden_states), past_key_value)
        out = self.attend(q, k, v, True)
        return (out, torch.stack((k, v))) if self.stacked else (out, None, (k, v))


class Updated(Base):
    """Hands keys and values to an object that keeps them."""

    def forward(self, hidden_states: Any, position_embeddings: Any, past_key_values: Any = None) -> Any:
        q, k, v = self.heads(hidden_states)
        cos, sin = (each.unsqueeze(1) for each in position_embeddings)
        q, k = (z * cos + torch.cat((-z[..., D // 2 :], z[..., : D // 2]), -1) * sin for z in (q, k))
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, 0, {"sin": sin, "cos": cos})
        return self.attend(q, k, v, past_key_values is not None), None


class Held(Base):
    """Keeps keys and values in attributes while it is told to."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.cache_k: Any = None
        self.cache_v: Any = None

    def forward(self, x: Any, use_cache: bool = False) -> Any:
        past = (self.cache_k, self.cache_v) if use_cache and self.cache_k is not None else None
        q, k, v = self.joined(*self.heads(x), past)
        if use_cache:
            self.cache_k, self.cache_v = k, v
        return self.attend(q, k, v, use_cache)


class Preallocated(Base):
    """Writes keys and values into buffers from a position on."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        for name in ("k_cache", "v_cache"):
            self.register_buffer(name, torch.zeros(3, HEADS, 32, D), persistent=False)

    def forward(self, x: Any, start_pos: int = 0) -> Any:
        q, k, v = self.heads(x)
        end = start_pos + x.shape[1]
        first = 0 if self.bug == "no offset" else start_pos
        q, k = rotated(q, first), rotated(k, first)
        self.k_cache[:, :, start_pos:end] = k
        self.v_cache[:, :, start_pos:end] = v
        return self.attend(q, self.k_cache[:, :, :end], self.v_cache[:, :, :end], False)


class Indexed(Base):
    """Writes into a part's buffers at the positions that it is given."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.store = nn.Module()
        for name in ("k_cache", "v_cache"):
            self.store.register_buffer(name, torch.zeros(3, HEADS, 32, D))

    def forward(self, x: Any, input_pos: Any) -> Any:
        q, k, v = self.heads(x)
        self.store.k_cache[:, :, input_pos] = k
        self.store.v_cache[:, :, input_pos] = v
        mask = torch.ones(32, 32, dtype=torch.bool).tril()[input_pos]
        if self.bug == "flag":
            mask = torch.ones(len(input_pos), 32, dtype=torch.bool).tril()
        out = F.scaled_dot_product_attention(q, self.store.k_cache, self.store.v_cache, attn_mask=mask)
        return self.proj(out.transpose(1, 2).flatten(2))


class Stack(nn.Module):
    """Two layers, whose caches are handed on together."""

    def __init__(self, **named: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, WIDTH)
        self.layers = nn.ModuleList(HandedOn(**named) for _ in range(2))

    def forward(self, ids: Any, past_key_values: Any = None, use_cache: bool = True) -> Any:
        x, caches = self.embed(ids), []
        for layer, past in zip(self.layers, past_key_values or (None, None), strict=True):
            out, cache = layer(x, past, use_cache)
            x = x + out
            caches.append(cache)
        return {"logits": x, "past": tuple(caches) if use_cache else None}


def inputs_of(module: Any) -> dict[str, Any]:
    x = torch.randn(3, 7, WIDTH)
    match module:
        case Stack():
            return {"ids": torch.randint(11, (3, 7))}
        case Updated():
            turn = (torch.arange(7)[:, None] * RATES).repeat(1, 2).expand(3, 7, D)
            return {"hidden_states": x, "position_embeddings": (turn.cos(), turn.sin())}
        case Always():
            return {"hidden_states": x}
        case Indexed():
            return {"x": x, "input_pos": torch.randint(20, (7,))}
    return {"x": x}


MAKES = {
    "handed on": HandedOn,
    "always returned": lambda **named: Always(False, **named),
    "stacked": lambda **named: Always(True, **named),
    "updated": Updated,
    "held": Held,
    "preallocated": Preallocated,
    "indexed": Indexed,
    "two layers": Stack,
}
BUGS = {
    "flag": [*MAKES],
    "no mask where there is a cache": ["handed on", "updated", "held", "two layers"],
    "no offset": ["handed on", "always returned", "stacked", "held", "preallocated", "two layers"],
    "cached keys rotated again": ["handed on", "stacked", "held", "two layers"],
    "keys in the wrong order": ["handed on", "always returned", "held"],
}


@pytest.mark.parametrize("how", MAKES)
@pytest.mark.parametrize("insist", [False, True])
def test_a_cache_that_changes_nothing_holds(how: str, insist: bool) -> None:
    module = MAKES[how]()
    seen = asked(module, insist, **inputs_of(module))
    assert seen.outcome == "holds", seen


@pytest.mark.parametrize(("bug", "how"), [(bug, how) for bug, hows in BUGS.items() for how in hows])
def test_a_cache_that_changes_what_is_computed_is_a_counterexample(bug: str, how: str) -> None:
    module = MAKES[how](bug=bug)
    seen = asked(module, **inputs_of(module))
    assert seen.outcome == "violated" and seen.size is not None and seen.size > 1e-3, seen


@pytest.mark.parametrize("how", ["handed on", "held"])
def test_one_attention_need_not_be_causal(how: str) -> None:
    module = MAKES[how](causal=False)
    assert asked(module, **inputs_of(module)).outcome == "holds"
    module = MAKES[how](causal=False, bug="no offset")
    assert asked(module, **inputs_of(module)).outcome == "violated"


def test_layers_that_see_later_tokens_are_not_asked() -> None:
    module = Stack(causal=False)
    seen = asked(module, **inputs_of(module))
    assert seen.outcome == "not applicable" and "earlier rows depend on later tokens" in seen.words


def test_a_cache_of_a_window_is_not_asked() -> None:
    class Windowed(HandedOn):
        window = 4

        def __init__(self) -> None:
            super().__init__(rotary=False)
            self.window_size = 4

        def forward(self, x: Any, layer_past: Any = None, use_cache: bool = False) -> Any:
            out, cache = super().forward(x, layer_past, use_cache)
            return out, tuple(each[..., -4:, :] for each in cache) if cache else None

    seen = asked(Windowed())
    assert seen.outcome == "not applicable" and "window_size = 4" in seen.words


@pytest.mark.parametrize("insist", [False, True])
def test_without_a_cache_there_is_nothing_to_ask(insist: bool) -> None:
    assert asked(Attention(causal=True), insist).outcome == "not applicable"

    class Ignores(Attention):
        def forward(self, x: Any, past_key_value: Any = None) -> Any:
            return super().forward(x)

    seen = asked(Ignores(causal=True), insist)
    assert seen.outcome == "not applicable"


def test_masks_are_cut_with_the_tokens() -> None:
    class Masked(HandedOn):
        def forward(self, x: Any, mask: Any, kv_cache: Any = None) -> Any:
            q, k, v = self.joined(*self.heads(x), kv_cache)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            return self.proj(out.transpose(1, 2).flatten(2)), (k, v)

    x = torch.randn(3, 7, WIDTH)
    for mask in (lower(7, 7), torch.ones(3, 1, 7, 7).tril().bool(), torch.ones(3, 1, 1, 7, dtype=torch.bool)):
        assert asked(Masked(), x=x, mask=mask).outcome == "holds"


def test_a_module_that_keeps_its_cache_is_left_as_it_was() -> None:
    module = Held()
    asked(module)
    assert module.cache_k is None and module.training
    buffers = Preallocated()
    asked(buffers)
    assert not bool(buffers.k_cache.any())
