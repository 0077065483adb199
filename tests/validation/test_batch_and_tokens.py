"""The probes "batch independence" and "tokens meet", guessing and with what a rule knows of the inputs' dims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from mha_lint.findings import Axes  # noqa: E402
from mha_lint.observation import Observation  # noqa: E402
from mha_lint.validation.probes import observe  # noqa: E402

from .probed_modules import HEADS, WIDTH, Attention, Cross  # noqa: E402

D = WIDTH // HEADS


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def tokens(*sizes: int) -> Any:
    return torch.randn(*(sizes or (3, 7)), WIDTH)


def told(inputs: Mapping[str, Any], batch: int = 0, length: int = 1) -> dict[str, Axes]:
    return {name: Axes(name, batch, length) for name in inputs}


def asked(probe: str, module: Any, inputs: Mapping[str, Any], axes: Mapping[str, Axes] | None = None) -> Observation:
    return observe(probe, module, inputs, insist=axes is not None, axes=axes)


class Torchs(nn.Module):
    """``nn.MultiheadAttention``, batch first or not, given (b, t, c)."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first)

    def forward(self, x: Any) -> Any:
        return x + self.attend(x, x, x, need_weights=False)[0]


class Positions(nn.Module):
    """A table of positions added along the tokens, or along the batch in one of the ways that this is written."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.attend = how, Attention()
        self.register_buffer("pe", torch.randn(64, 1, WIDTH))
        self.table = nn.Embedding(64, WIDTH)

    def forward(self, x: Any) -> Any:
        match self.how:
            case "tokens":
                x = x + self.pe[: x.shape[1], 0]
            case "sliced by the batch":
                x = x + self.pe[: x.shape[0]]
            case "arange of the batch":
                x = x + self.table(torch.arange(x.shape[0]))[:, None]
        return self.attend(x)


class Repeated(nn.Module):
    """A mask for each entry, repeated for the heads in the order of the heads' rows, or not."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order, self.attend = order, nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Any, mask: Any) -> Any:
        if self.order == "tiled":
            mask = mask.repeat(HEADS, 1, 1)
        elif self.order == "interleaved":
            mask = mask.repeat_interleave(HEADS, dim=0)
        if mask.dtype == torch.long:
            mask = mask == 0
        return self.attend(x, x, x, attn_mask=mask, need_weights=False)[0]


class Handed(nn.Module):
    """Rows of scores (b·h, t, t) with a mask for each that comes as an input."""

    def __init__(self, tiled: bool) -> None:
        super().__init__()
        self.tiled, self.qkv = tiled, nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: Any, mask: Any) -> Any:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, D).permute(2, 0, 3, 1, 4).reshape(3, b * HEADS, t, D)
        if self.tiled:
            mask = mask.view(b, HEADS, t, t).transpose(0, 1).reshape(b * HEADS, t, t)
        scores = (q @ k.mT / D**0.5).masked_fill(mask, torch.finfo(x.dtype).min)
        return (scores.softmax(-1) @ v).view(b, HEADS, t, D).transpose(1, 2).flatten(2)


class FirstIsTokens(nn.Module):
    """Sequence first throughout, with positions along dim 0."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(WIDTH, HEADS)
        self.register_buffer("pe", torch.randn(64, 1, WIDTH))

    def forward(self, x: Any) -> Any:
        x = x + self.pe[: x.shape[0]]
        return self.attend(x, x, x, need_weights=False)[0]


# --- batch independence


def test_what_a_rule_knows_of_the_batch_decides() -> None:
    inputs = {"x": tokens()}
    assert asked("batch independence", Torchs(False), inputs).outcome != "violated"
    seen = asked("batch independence", Torchs(False), inputs, told(inputs))
    assert seen.outcome == "violated" and "changing the other entries of the batch" in seen.words
    assert asked("batch independence", Torchs(True), inputs, told(inputs)).outcome == "holds"
    assert asked("batch independence", FirstIsTokens(), inputs, told(inputs, 1, 0)).outcome == "holds"
    assert asked("batch independence", Torchs(False), inputs, told(inputs, -3, 1)).outcome == "violated"


def test_what_a_rule_knows_is_no_evidence_where_sizes_are_alike() -> None:
    inputs = {"x": tokens(7, 7)}
    assert asked("batch independence", Torchs(False), inputs, told(inputs)).outcome == "not applicable"
    inputs = {"x": tokens(1, 7)}
    assert asked("batch independence", Torchs(False), inputs, told(inputs)).outcome == "not applicable"


@pytest.mark.parametrize("how", ["sliced by the batch", "arange of the batch"])
@pytest.mark.parametrize("knows", [False, True])
def test_positions_over_the_batch_are_seen_when_entries_are_permuted(how: str, knows: bool) -> None:
    inputs = {"x": tokens()}
    seen = asked("batch independence", Positions(how), inputs, told(inputs) if knows else None)
    assert seen.outcome == "violated" and "permuting the 3 entries" in seen.words
    right = asked("batch independence", Positions("tokens"), inputs, told(inputs) if knows else None)
    assert right.outcome == "holds"


def test_positions_along_a_first_dim_of_tokens_are_no_violation() -> None:
    assert asked("batch independence", FirstIsTokens(), {"x": tokens(7, 3)}).outcome != "violated"

    def placed(x: Any) -> Any:
        return x + torch.arange(x.shape[0])[:, None, None]

    assert asked("batch independence", placed, {"x": tokens(7, 3)}).outcome != "violated"


@pytest.mark.parametrize("kind", ["boolean", "integers", "added"])
@pytest.mark.parametrize("knows", ["nothing", "tokens", "all"])
@pytest.mark.parametrize(("order", "outcome"), [("tiled", "violated"), ("interleaved", "holds")])
def test_masks_that_differ_between_entries_are_changed_with_them(
    kind: str, knows: str, order: str, outcome: str
) -> None:
    mask = torch.zeros(3, 7, 7, dtype=torch.bool)
    if kind != "boolean":
        mask = mask.float() if kind == "added" else torch.ones(3, 7, 7, dtype=torch.long)
    inputs = {"x": tokens(), "mask": mask}
    axes = told(inputs) if knows == "all" else told({"x": None})
    seen = asked("batch independence", Repeated(order), inputs, None if knows == "nothing" else axes)
    assert seen.outcome == outcome, seen
    assert ("the masks of the other entries" in seen.words) is (outcome == "violated")


@pytest.mark.parametrize("tiled", [False, True])
def test_a_mask_for_each_head_of_each_entry_is_changed_with_its_entry_where_a_rule_knows(tiled: bool) -> None:
    inputs = {"x": tokens(), "mask": torch.zeros(3 * HEADS, 7, 7, dtype=torch.bool)}
    seen = asked("batch independence", Handed(tiled), inputs, told(inputs))
    assert seen.outcome == ("violated" if tiled else "holds")
    assert asked("batch independence", Handed(tiled), inputs).outcome == "holds"  # the mask is held


def test_a_mask_for_all_entries_is_held() -> None:
    def masked(x: Any, mask: Any) -> Any:
        return F.scaled_dot_product_attention(x, x, x, attn_mask=mask)

    inputs = {"x": tokens(), "mask": torch.ones(7, 7, dtype=torch.bool)}
    assert asked("batch independence", masked, inputs, told({"x": None})).outcome == "holds"


# --- tokens meet


class Split(nn.Module):
    """Heads split off the width; with ``swapped``, torch's attention or a product is given (b, t, h, d)."""

    def __init__(self, swapped: bool, how: str = "fused", merge: str = "reshape") -> None:
        super().__init__()
        self.swapped, self.how, self.merge, self.num_heads = swapped, how, merge, HEADS
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any) -> Any:
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, D).unbind(2)
        if not self.swapped:
            q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        if self.how in ("fused", "causal"):
            out = F.scaled_dot_product_attention(q, k, v, is_causal=self.how == "causal")
        elif self.how == "einsum":
            weights = (torch.einsum("...qd,...kd->...qk", q, k) / D**0.5).softmax(-1)
            out = torch.einsum("...qk,...kd->...qd", weights, v)
        else:
            out = (q @ k.transpose(-2, -1) / D**0.5).softmax(-1) @ v
        if not self.swapped:
            out = out.transpose(1, 2)
        return self.proj(out.reshape(b, t, c) if self.merge == "reshape" else out.flatten(-2))


@pytest.mark.parametrize("how", ["fused", "causal", "einsum", "by hand"])
@pytest.mark.parametrize("merge", ["reshape", "flatten"])
@pytest.mark.parametrize("knows", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_tokens_that_never_meet_are_a_counterexample(how: str, merge: str, knows: bool, swapped: bool) -> None:
    inputs = {"x": tokens()}
    seen = asked("tokens meet", Split(swapped, how, merge), inputs, told(inputs) if knows else None)
    assert seen.outcome == ("violated" if swapped else "holds"), seen
    if swapped:
        assert f"its weights are {HEADS} by {HEADS}" in seen.words


def test_attention_over_the_batch_is_told_where_a_rule_knows() -> None:
    inputs = {"x": tokens()}
    assert asked("tokens meet", Torchs(False), inputs).outcome == "not applicable"
    assert asked("tokens meet", Torchs(False), inputs, told(inputs)).outcome == "violated"
    assert asked("tokens meet", Torchs(True), inputs, told(inputs)).outcome == "holds"


@pytest.mark.parametrize("length", [7, 9])
def test_tokens_of_a_memory_are_met(length: int) -> None:
    assert asked("tokens meet", Cross(), {"x": tokens(), "context": tokens(3, length)}).outcome == "holds"


class ChannelAttention(nn.Module):
    """Channels attend to each other: scores (d, d) are sums over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: Any) -> Any:
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, D).permute(2, 0, 3, 4, 1)
        weights = (q @ k.mT * t**-0.5).softmax(-1)
        return (weights @ v).permute(0, 3, 1, 2).reshape(b, t, c)


class Gated(nn.Module):
    """Weights of each token over its own channels, which are split into groups: no token meets another, on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any) -> Any:
        groups = self.q(x).unflatten(-1, (D, HEADS)).mT  # (b, t, h, d) of interleaved groups
        weights = (groups.mT @ groups).softmax(-1)  # (d, d)
        return (weights @ groups.mT).flatten(-2)


class CrossHeadAttention(Split):
    """Attention between heads that its name announces."""


@pytest.mark.parametrize(
    ("module", "outcome"),
    [
        (ChannelAttention(), "holds"),
        (Gated(), "not applicable"),
        (CrossHeadAttention(True), "not applicable"),
        (nn.Linear(WIDTH, WIDTH), "not applicable"),
    ],
)
def test_attention_that_is_not_between_tokens_on_purpose_is_no_violation(module: Any, outcome: str) -> None:
    name = "input" if isinstance(module, nn.Linear) else "x"
    assert asked("tokens meet", module, {name: tokens()}).outcome == outcome


def test_one_token_and_a_mask_that_hides_all_others_are_no_violation() -> None:
    inputs = {"x": tokens(3, 1)}
    assert asked("tokens meet", Split(False), inputs, told(inputs)).outcome == "not applicable"

    def alone(x: Any) -> Any:
        own = torch.eye(x.shape[1], dtype=torch.bool)
        return F.scaled_dot_product_attention(x, x, x, attn_mask=own)

    inputs = {"x": tokens()}
    for axes in (None, told(inputs)):
        assert asked("tokens meet", alone, inputs, axes).outcome == "not applicable"


def test_windows_of_tokens_meet() -> None:
    def windows(x: Any) -> Any:
        parts = x.unflatten(1, (4, 2))
        return F.scaled_dot_product_attention(parts, parts, parts).flatten(1, 2)

    assert asked("tokens meet", windows, {"x": tokens(3, 8)}).outcome == "holds"


def test_weights_that_reach_nothing_are_told_where_it_is_insisted_on() -> None:
    def dropped(x: Any) -> Any:
        F.scaled_dot_product_attention(x, x, x)
        return x * 2

    inputs = {"x": tokens()}
    assert asked("tokens meet", dropped, inputs).outcome == "not applicable"
    assert asked("tokens meet", dropped, inputs, told(inputs)).outcome == "violated"
