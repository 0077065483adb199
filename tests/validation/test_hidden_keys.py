"""The probe "masked key" for masks that are inputs, of any kind and polarity, and for padding among indices."""

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
LOW = torch.finfo(torch.float32).min


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def asked(module: Any, insist: bool = False, **inputs: Any) -> Observation:
    return observe("masked key", module, inputs, insist=insist)


def padding_mask(kind: str) -> Any:
    keep = torch.ones(3, 7, dtype=torch.bool)
    match kind:
        case "boolean":
            return keep
        case "integers":
            return keep.long()
        case "zeros and ones":
            return keep.float()
    return torch.zeros(3, 7)


class Padded(nn.Module):
    """Attention with a mask (b, s) of its keys, which is used rightly or wrongly, in one of many ways."""

    def __init__(self, how: str, causal: bool = False) -> None:
        super().__init__()
        self.how, self.causal = how, causal
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any, mask: Any) -> Any:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, D).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT / D**0.5
        if self.causal:
            scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), LOW)
        keys = mask[:, None, None, :]
        weights: Any = None
        match self.how:
            case "filled":
                scores = scores.masked_fill(keys == 0, LOW)
            case "filled where set":
                scores = scores.masked_fill(keys.bool(), LOW)
            case "where":
                scores = torch.where(keys.bool(), scores, torch.tensor(LOW))
            case "in place":
                scores.masked_fill_(keys == 0, LOW)
            case "assigned":
                scores[(keys == 0).expand_as(scores)] = LOW
            case "added":
                scores = scores + keys
            case "one less it, times a lot":
                scores = scores + (1.0 - keys.float()) * -1e9
            case "fused":
                out = F.scaled_dot_product_attention(q, k, v, attn_mask=keys.bool())
                return self.proj(out.transpose(1, 2).flatten(2))
            case "renormalised":
                weights = scores.softmax(-1) * keys.float()
                weights = weights / weights.sum(-1, keepdim=True)
            case "discarded":
                scores.masked_fill(keys == 0, LOW)
            case "over the queries":
                scores = scores.masked_fill(mask[:, None, :, None] == 0, LOW)
            case "a number is added":
                scores = scores + keys.float()
            case "hides hardly anything":
                scores = scores.masked_fill(keys == 0, -1e-9)
            case "after the softmax":
                weights = scores.softmax(-1) * keys.float()
            case "of the output":
                x = x * 1.0
            case "never read":
                pass
        weights = scores.softmax(-1) if weights is None else weights
        out = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return out * mask[..., None] if self.how == "of the output" else out


RIGHT = [
    ("filled", "boolean"),
    ("filled", "integers"),
    ("filled", "zeros and ones"),
    ("filled where set", "boolean"),
    ("where", "integers"),
    ("in place", "boolean"),
    ("assigned", "boolean"),
    ("added", "to be added"),
    ("one less it, times a lot", "integers"),
    ("one less it, times a lot", "zeros and ones"),
    ("fused", "boolean"),
    ("renormalised", "boolean"),
]
WRONG = [
    ("discarded", "boolean"),
    ("discarded", "integers"),
    ("over the queries", "boolean"),
    ("over the queries", "integers"),
    ("a number is added", "boolean"),
    ("a number is added", "zeros and ones"),
    ("hides hardly anything", "boolean"),
    ("after the softmax", "boolean"),
    ("after the softmax", "zeros and ones"),
]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("how", "kind"), RIGHT)
def test_a_mask_that_hides_its_keys_holds(how: str, kind: str, causal: bool) -> None:
    if causal and how in ("fused", "renormalised"):
        return
    for insist in (False, True):
        assert (
            asked(Padded(how, causal), insist, x=torch.randn(3, 7, WIDTH), mask=padding_mask(kind)).outcome == "holds"
        )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("how", "kind"), WRONG)
def test_a_mask_that_hides_no_key_is_a_counterexample(how: str, kind: str, causal: bool) -> None:
    if causal and how == "hides hardly anything":  # it fills what is later as well, which then shows to be hidden
        return
    insist = how == "a number is added"
    seen = asked(Padded(how, causal), insist, x=torch.randn(3, 7, WIDTH), mask=padding_mask(kind))
    assert seen.outcome == "violated" and seen.size is not None and seen.size > 1e-6, seen


@pytest.mark.parametrize("how", ["added", "a number is added"])
@pytest.mark.parametrize("kind", ["boolean", "integers", "zeros and ones"])
def test_a_mask_of_another_kind_may_have_been_meant(how: str, kind: str) -> None:
    """Where a mask is added to scores, true and false may be what was drawn for it, and not what it gets."""
    seen = asked(Padded(how), x=torch.randn(3, 7, WIDTH), mask=padding_mask(kind))
    assert seen.outcome == "holds", seen


@pytest.mark.parametrize("how", ["never read", "of the output"])
def test_a_mask_that_meets_no_score_is_not_asked_for_unless_insisted_on(how: str) -> None:
    inputs = {"x": torch.randn(3, 7, WIDTH), "mask": padding_mask("boolean")}
    assert asked(Padded(how), **inputs).outcome == "not applicable"
    assert asked(Padded(how), insist=True, **inputs).outcome == "violated"


class Decoder(nn.Module):
    """Torch's own layers, with masks of their keys."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Any, memory: Any, own_mask: Any = None, memory_mask: Any = None) -> Any:
        return self.layer(x, memory, tgt_key_padding_mask=own_mask, memory_key_padding_mask=memory_mask)


@pytest.mark.parametrize("length", [7, 9])
@pytest.mark.parametrize("mask", ["own_mask", "memory_mask"])
def test_the_keys_that_a_mask_is_for_are_found(length: int, mask: str) -> None:
    keys = torch.zeros(3, 7 if mask == "own_mask" else length, dtype=torch.bool)
    inputs = {"x": torch.randn(3, 7, WIDTH), "memory": torch.randn(3, length, WIDTH), mask: keys}
    assert asked(Decoder(), **inputs).outcome == "holds"


@pytest.mark.parametrize("batch_first", [False, True])
def test_torchs_own_mask_of_keys_holds(batch_first: bool) -> None:
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first)
    x = torch.randn(3, 7, WIDTH) if batch_first else torch.randn(7, 3, WIDTH)
    inputs = {"query": x, "key": x, "value": x, "key_padding_mask": torch.zeros(3, 7, dtype=torch.bool)}
    assert asked(module, **inputs).outcome == "holds"


def test_a_function_of_queries_keys_and_values_is_asked_of_its_keys() -> None:
    def attend(q: Any, k: Any, v: Any, mask: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def added(q: Any, k: Any, v: Any, mask: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask.float())

    inputs = {name: torch.randn(3, HEADS, 7, D) for name in "qkv"}
    mask = torch.ones(3, 1, 1, 7, dtype=torch.bool)
    assert asked(attend, **inputs, mask=mask).outcome == "holds"
    assert asked(added, insist=True, **inputs, mask=mask).outcome == "violated"


def test_a_result_that_is_pooled_says_nothing() -> None:
    class Pooled(Padded):
        def forward(self, x: Any, mask: Any) -> Any:
            return super().forward(x, mask).mean(1)

    inputs = {"x": torch.randn(3, 7, WIDTH), "mask": padding_mask("boolean")}
    assert asked(Pooled("discarded"), **inputs).outcome == "not applicable"


# --- padding among indices


class Language(nn.Module):
    """Indices, one of which says padding, and a mask that is made of them in one of the ways that this is written."""

    def __init__(self, how: str, causal: bool = False, tied: bool = False) -> None:
        super().__init__()
        self.how, self.causal, self.tied, self.pad = how, causal, tied, 2
        self.embed = nn.Embedding(11, WIDTH)
        self.attend = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, ids: Any) -> Any:
        b, t = ids.shape
        x = self.embed(ids)
        later = torch.ones(t, t, dtype=torch.bool).triu(1) if self.causal else None
        if self.how in ("torch's, right", "torch's, inverted"):
            mask = ids == self.pad if self.how == "torch's, right" else ids != self.pad
            y = self.attend(x, x, x, key_padding_mask=mask, attn_mask=later, need_weights=False)[0]
        else:
            q, k, v = self.qkv(x).view(b, t, 3, HEADS, D).permute(2, 0, 3, 1, 4)
            keep = ids != self.pad
            keep = keep[:, None, :, None] if self.how == "rows" else keep[:, None, None, :]
            keep = keep & ~later if later is not None else keep
            scores = (q @ k.mT / D**0.5).masked_fill(~keep, LOW)
            if self.how == "no mask":
                scores = q @ k.mT
            y = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return y @ self.embed.weight.T if self.tied else x + y


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("how", "outcome"),
    [("torch's, right", "holds"), ("columns", "holds"), ("torch's, inverted", "violated"), ("rows", "violated")],
)
def test_padding_among_indices_is_hidden(how: str, outcome: str, causal: bool, tied: bool) -> None:
    ids = torch.randint(11, (3, 7))
    seen = asked(Language(how, causal, tied), ids=ids)
    assert seen.outcome == outcome, seen
    assert "whose index 2 says padding" in seen.words or outcome == "holds"


def test_indices_that_are_compared_for_another_reason_are_no_padding() -> None:
    module = Language("rows")
    module.marked = module.pad  # type: ignore[assignment]  # torch's annotation of attributes knows modules alone
    del module.pad
    module.forward = lambda ids: Language.forward(_Renamed(module), ids)  # type: ignore[assignment, method-assign]  # as patches do
    assert observe("masked key", module, {"ids": torch.randint(11, (3, 7))}).outcome != "violated"


class _Renamed:
    """Reads ``pad`` from an attribute that is not named after padding."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, "marked" if name == "pad" else name)


def test_indices_whose_mask_reaches_no_score_say_nothing() -> None:
    assert asked(Language("no mask"), ids=torch.randint(11, (3, 7))).outcome != "holds"


class Counted(nn.Module):
    """Tokens beyond the length of their entry are padding."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Any, lengths: Any) -> Any:
        q, k, v = self.qkv(x).chunk(3, -1)
        beyond = torch.arange(x.shape[1]) >= lengths[:, None]
        scores = q @ k.transpose(1, 2) / 4
        if self.how == "filled":
            scores = scores.masked_fill(beyond[:, None], -1e9)
        elif self.how == "added":
            scores = scores + beyond[:, None]
        elif self.how == "inverted":
            scores = scores.masked_fill(~beyond[:, None], -1e9)
        return self.out(scores.softmax(-1) @ v)


@pytest.mark.parametrize(
    ("how", "outcome"), [("filled", "holds"), ("added", "violated"), ("inverted", "violated"), ("lost", "violated")]
)
def test_a_token_beyond_the_length_of_its_entry_is_hidden(how: str, outcome: str) -> None:
    seen = asked(Counted(how), insist=True, x=torch.randn(3, 6, 16), lengths=torch.tensor([6, 4, 5]))
    assert seen.outcome == outcome, seen.words
    if outcome == "violated":
        assert "token 5, which lies beyond what lengths says" in seen.words or "gives a weight" in seen.words


def test_lengths_that_make_no_mask_are_not_asked_for_unless_insisted_on() -> None:
    seen = asked(Counted("lost"), x=torch.randn(3, 6, 16), lengths=torch.tensor([6, 4, 5]))
    assert seen.outcome == "not applicable"
