"""The probe "relative positions": kinds of rotations that go together, kinds that do not, and what is no rotation."""

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
    return observe("relative positions", module, inputs or {"x": torch.randn(3, 7, WIDTH)}, insist=insist)


def angles(layout: str, positions: Any) -> Any:
    turns = positions[..., None].to(torch.float32) * RATES
    if layout == "halves":
        return torch.cat((turns, turns), -1)
    return turns.repeat_interleave(2, -1) if layout == "neighbours" else turns


def by_halves(x: Any) -> Any:
    one, two = x.chunk(2, -1)
    return torch.cat((-two, one), -1)


def by_neighbours(x: Any) -> Any:
    return torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)


def reflected(x: Any) -> Any:
    one, two = x.chunk(2, -1)
    return torch.cat((two, one), -1)


TURNS = {"halves": by_halves, "neighbours": by_neighbours, "reflected": reflected}


class Rotary(nn.Module):
    """Attention whose queries and keys are rotated: angles in one ``layout``, turned in one ``kind``."""

    def __init__(self, layout: str, kind: str, how: str = "by hand") -> None:
        super().__init__()
        self.layout, self.kind, self.how = layout, kind, how
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.norm = nn.LayerNorm(D)
        self.norm.weight.data.normal_()
        self.table = nn.Parameter(torch.randn(64, WIDTH))
        self.slopes = nn.Parameter(torch.randn(64, 64))

    def turned(self, x: Any, first: int = 0, reverse: bool = False) -> Any:
        t = x.shape[-2]
        places = torch.arange(first, first + t)
        if self.how == "of a grid":
            places = places % 3
        turn = angles(self.layout, places)
        if self.how == "complex":
            pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
            return torch.view_as_real(pairs * torch.polar(torch.ones_like(turn), turn)).flatten(-2)
        cos, sin = turn.cos(), turn.sin()
        if self.how == "bfloat16 tables":
            cos, sin = cos.bfloat16().float(), sin.bfloat16().float()
        if self.kind == "in parts":
            one, two = x[..., ::2], x[..., 1::2]
            return torch.stack((one * cos - two * sin, one * sin + two * cos), -1).flatten(-2)
        if self.how == "written into":
            out = torch.empty_like(x)
            one, two = x.chunk(2, -1)
            out[..., : D // 2] = one * cos - two * sin
            out[..., D // 2 :] = two * cos + one * sin
            return out
        return x * cos + TURNS[self.kind](x) * (-sin if reverse else sin)

    def forward(self, x: Any) -> Any:
        b, t, _ = x.shape
        if self.how == "positions added":
            x = x + self.table[:t]
        if self.how == "class token":
            x, t = torch.cat((self.table[:1].expand(b, 1, -1), x), 1), t + 1
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, D).permute(2, 0, 3, 1, 4)
        if self.how == "normalised before":
            q, k = self.norm(q), self.norm(k)
        if self.how == "a part":
            q, k = (torch.cat((self.turned(z), z.flip(-1)), -1) for z in (q, k))
        elif self.how == "over the heads":
            q, k = (self.turned(z.transpose(1, 2)).transpose(1, 2) for z in (q, k))
        elif self.how == "grouped":
            q, k = self.turned(q), self.turned(k[:, :2]).repeat_interleave(2, 1)
        elif self.how == "reverse":
            q, k = self.turned(q), self.turned(k, reverse=True)
        else:
            q, k = self.turned(q, 5 if self.how == "offset" else 0), self.turned(k)
        if self.how == "normalised after":
            q, k = self.norm(q), self.norm(k)
        if self.how == "log scaled":
            q = q * torch.log(torch.arange(1, t + 1) + 1.0)[:, None]
        if self.how == "scaled down":
            q = q * (1 / torch.arange(1.0, t + 1))[:, None]
        if self.how == "fused":
            return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        scores = torch.einsum("bhtd,bhsd->bhts", q, k)
        if self.how == "biased":
            scores = scores + self.slopes[:t, :t]
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("layout", "kind", "how"),
    [
        ("halves", "halves", "by hand"),
        ("neighbours", "neighbours", "by hand"),
        ("each", "in parts", "by hand"),
        ("each", "", "complex"),
        ("halves", "halves", "fused"),
        ("each", "", "written into"),
        ("neighbours", "neighbours", "a part"),
        ("halves", "halves", "grouped"),
        ("halves", "halves", "offset"),
        ("halves", "halves", "biased"),
        ("halves", "halves", "normalised before"),
        ("halves", "halves", "bfloat16 tables"),
        ("neighbours", "neighbours", "class token"),
    ],
)
def test_rotations_that_go_together_hold(layout: str, kind: str, how: str) -> None:
    for insist in (False, True):
        seen = asked(Rotary(layout, kind, how), insist)
        assert seen.outcome == "holds", seen


@pytest.mark.parametrize(
    ("layout", "kind", "how"),
    [
        ("neighbours", "halves", "by hand"),
        ("halves", "neighbours", "by hand"),
        ("halves", "reflected", "by hand"),
        ("neighbours", "halves", "fused"),
        ("halves", "neighbours", "a part"),
        ("halves", "neighbours", "grouped"),
        ("neighbours", "halves", "biased"),
        ("halves", "halves", "reverse"),
        ("neighbours", "halves", "class token"),
    ],
)
def test_rotations_that_do_not_are_a_counterexample(layout: str, kind: str, how: str) -> None:
    for insist in (False, True):
        seen = asked(Rotary(layout, kind, how), insist)
        assert seen.outcome == "violated" and seen.size is not None and seen.size > 1e-2, seen
        assert "which are as far apart" in seen.words


def test_wide_numbers_show_how_far_right_and_mixed_ones_are_apart() -> None:
    x = {"x": torch.randn(2, 9, WIDTH, dtype=torch.float64)}
    wrong = asked(Rotary("neighbours", "halves").double(), **x)
    assert wrong.outcome == "violated" and wrong.size is not None and wrong.size > 0.1
    assert asked(Rotary("neighbours", "neighbours").double(), **x).outcome == "holds"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("positions added", "has positions already"),
        ("of a grid", "rotated by a sequence"),
        ("normalised after", "a parameter meets it"),
        ("log scaled", "multiplied once more"),
        ("scaled down", ""),
        ("over the heads", ""),
    ],
)
@pytest.mark.parametrize("kind", ["halves", "neighbours"])
def test_positions_of_other_kinds_are_not_asked(how: str, why: str, kind: str) -> None:
    seen = asked(Rotary("halves", kind, how))
    assert seen.outcome == "not applicable" and why in seen.words, seen


def test_a_rotation_over_the_heads_is_told_when_it_is_insisted_on() -> None:
    seen = asked(Rotary("halves", "halves", "over the heads"), insist=True)
    assert seen.outcome == "violated" and "something else" in seen.words


@pytest.mark.parametrize("module", [Attention(), Attention(causal=True), nn.Linear(WIDTH, WIDTH)])
def test_where_nothing_is_rotated_there_is_nothing_to_ask(module: Any) -> None:
    name = "input" if isinstance(module, nn.Linear) else "x"
    for insist in (False, True):
        assert asked(module, insist, **{name: torch.randn(3, 7, WIDTH)}).outcome == "not applicable"


def test_a_gate_is_no_rotation() -> None:
    class Gated(Attention):
        def forward(self, x: Any) -> Any:
            return super().forward(x * x.sigmoid()) * x.tanh()

    assert asked(Gated()).outcome == "not applicable"


class Given(nn.Module):
    """Cosines and sines, or the positions that they are made of, are given."""

    def __init__(self, kind: str, mixed: bool = False) -> None:
        super().__init__()
        self.kind, self.mixed, self.qkv = kind, mixed, nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: Any, position_embeddings: Any = None, position_ids: Any = None) -> Any:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, D).permute(2, 0, 3, 1, 4)
        if position_ids is not None:
            layout = self.kind if not self.mixed else "halves" if self.kind == "neighbours" else "neighbours"
            turn = angles(layout, position_ids)
            position_embeddings = turn.cos(), turn.sin()
        cos, sin = (each.unsqueeze(1) for each in position_embeddings)
        q, k = (each * cos + TURNS[self.kind](each) * sin for each in (q, k))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("kind", ["halves", "neighbours", "reflected"])
def test_cosines_and_sines_that_were_drawn_are_replaced(kind: str) -> None:
    drawn = torch.randn(3, 7, D), torch.randn(3, 7, D)
    seen = asked(Given(kind), x=torch.randn(3, 7, WIDTH), position_embeddings=drawn)
    assert seen.outcome == ("violated" if kind == "reflected" else "holds"), seen


@pytest.mark.parametrize("kind", ["halves", "neighbours"])
def test_cosines_and_sines_that_are_given_count(kind: str) -> None:
    turn = angles("halves", torch.arange(7)).expand(3, 7, D)
    seen = asked(Given(kind), x=torch.randn(3, 7, WIDTH), position_embeddings=(turn.cos(), turn.sin()))
    assert seen.outcome == ("holds" if kind == "halves" else "violated")


@pytest.mark.parametrize("mixed", [False, True])
def test_positions_that_were_drawn_are_put_in_sequence(mixed: bool) -> None:
    places = torch.randint(50, (3, 7))
    seen = asked(Given("neighbours", mixed), x=torch.randn(3, 7, WIDTH), position_ids=places)
    assert seen.outcome == ("violated" if mixed else "holds")


@pytest.mark.parametrize("heads_first", [False, True])
@pytest.mark.parametrize("kind", ["halves", "neighbours", "reflected"])
def test_a_function_that_rotates_is_asked_for_products_of_what_it_returns(kind: str, heads_first: bool) -> None:
    def apply_rotary(q: Any, k: Any, cos: Any, sin: Any) -> Any:
        return q * cos + TURNS[kind](q) * sin, k * cos + TURNS[kind](k) * sin

    shape = (2, HEADS, 7, D) if heads_first else (2, 7, HEADS, D)
    turn = angles("halves", torch.arange(7))
    turn = turn if heads_first else turn[:, None]
    q, k = torch.randn(shape), torch.randn(shape)
    seen = asked(apply_rotary, q=q, k=k, cos=turn.cos(), sin=turn.sin())
    assert seen.outcome == ("holds" if kind == "halves" else "violated"), seen
    drawn = asked(apply_rotary, q=q, k=k, cos=torch.randn(turn.shape), sin=torch.randn(turn.shape))
    assert drawn.outcome == ("violated" if kind == "reflected" else "holds"), drawn
