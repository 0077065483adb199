"""Each probe finds its bug in a small module that has it, none in one that is right, and leaves nothing behind."""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from .modules import BERT, CROSS, GPT, VIT, WINDOW

torch = pytest.importorskip("torch")

from mha_lint.observation import Observation  # noqa: E402
from mha_lint.validation.probes import PROBES, observe  # noqa: E402

from .probed_modules import HEADS, WIDTH, Attention, Cross, Fused, Placed, Stateful, attend  # noqa: E402

BUGS = {
    "mask never applied": "causality",
    "mask inverted": "causality",
    "mask masks nothing": "causality",
    "heads merged without transpose": "permutation equivariance",
    "heads split without transpose": "permutation equivariance",
    "softmax over queries": "constant value",
    "mask after softmax": "constant value",
    "scaled by the model's width": "unit score variance",
    "not scaled": "unit score variance",
    "dropout in eval": "eval determinism",
    "keys of the batch averaged": "batch independence",
    "mask overflows": "half safety",
}
OF_MASKS = ("causality", "masked key")
OF_OTHERS = ("relative positions", "cached equals full")  # of what no module here has
CAUSAL = {"mask never applied", "mask inverted", "mask masks nothing", "mask overflows"}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def tokens(*sizes: int) -> Any:
    return torch.randn(*(sizes or (3, 7)), WIDTH)


def made(source: str, name: str, *arguments: Any, **named: Any) -> Any:
    """A class of tests/validation/modules.py, which cannot merge heads as it is, with a merge that can."""
    scope: dict[str, Any] = {"__name__": __name__}
    exec(
        source.replace(".view(B, T, C)", ".reshape(B, T, C)").replace(").view(b, n, -1)", ").reshape(b, n, -1)"), scope
    )
    return scope[name](*arguments, **named)


def outcomes(module: Callable[..., Any], **inputs: Any) -> dict[str, str]:
    return {probe: observe(probe, module, inputs).outcome for probe in PROBES}


def holding(*others: str) -> dict[str, str]:
    """All properties hold, but for ``others``, which do not apply."""
    return {**dict.fromkeys(PROBES, "holds"), **dict.fromkeys((*others, *OF_OTHERS), "not applicable")}


@pytest.mark.parametrize("bug", BUGS)
def test_the_probe_for_a_bug_finds_it(bug: str) -> None:
    seen = observe(BUGS[bug], Attention(bug, causal=bug in CAUSAL), {"x": tokens()})
    assert seen.outcome == "violated", seen


@pytest.mark.parametrize("causal", [False, True])
def test_nothing_is_found_in_attention_that_is_right(causal: bool) -> None:
    seen = outcomes(Attention(causal=causal), x=tokens())
    assert seen == holding(*(["permutation equivariance"] if causal else OF_MASKS))


@pytest.mark.parametrize(
    ("probe", "causal"),
    [(probe, False) for probe in PROBES if probe not in (*OF_MASKS, *OF_OTHERS)]
    + [(probe, True) for probe in PROBES if probe not in ("permutation equivariance", *OF_OTHERS)],
)
def test_what_holds_holds_when_it_is_insisted_on(probe: str, causal: bool) -> None:
    assert observe(probe, Attention(causal=causal), {"x": tokens()}, insist=True).outcome == "holds"


def test_the_counterexample_is_told_in_words_and_numbers() -> None:
    inputs = {"x": tokens()}
    causality = observe("causality", Attention("mask inverted", causal=True), inputs)
    assert causality.size is not None and causality.size > 1e-3
    assert causality.words.startswith("changing token ")
    assert f" by {causality.size:.3g}, though the attention is causal" in causality.words
    variance = observe("unit score variance", Attention("not scaled"), inputs)
    assert variance.words.startswith(f"with standard-normal queries and keys of width {WIDTH // HEADS} the scores have")
    assert variance.size is not None and variance.size == pytest.approx(WIDTH // HEADS - 1, rel=0.3)
    weights = observe("constant value", Attention("mask after softmax"), inputs)
    assert "add up to" in weights.words and "(head " in weights.words
    assert (
        "calls with the same input differ by" in observe("eval determinism", Attention("dropout in eval"), inputs).words
    )
    overflow = observe("half safety", Attention("mask overflows", causal=True), inputs)
    assert "in float16 `masked_fill` raises" in overflow.words and "overflow" in overflow.words


def test_a_sum_of_weights_is_measured_exactly() -> None:
    """With one key of two masked after the softmax, and equal scores, half of the weight is left."""

    def halved(q: Any, k: Any, v: Any) -> Any:
        return ((q @ k.mT) * 0.0).softmax(-1).masked_fill(torch.tensor([False, True]), 0.0) @ v

    seen = observe("constant value", halved, {"q": tokens(2, 3), "k": tokens(2, 2), "v": tokens(2, 2)})
    assert seen.outcome == "violated" and "add up to 0.5, not 1" in seen.words
    assert seen.size == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("module", "violated"),
    [
        (Fused(), set()),
        (Fused(causal=False), set()),
        (Fused(rate=0.3), set()),
        (Fused(rate=0.3, gated=False), {"eval determinism", "constant value"}),
        (Fused(inverted=True), {"causality"}),
    ],
)
def test_fused_attention_is_judged_like_any_other(module: Any, violated: set[str]) -> None:
    seen = outcomes(module, x=tokens())
    assert {probe for probe, outcome in seen.items() if outcome == "violated"} == violated
    assert seen["unit score variance"] == "holds"


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (
            made(GPT, "CausalAttention", made(GPT, "Settings", block_size=16, n_head=HEADS, n_embd=WIDTH)),
            {"x": tokens()},
        ),
        (made(VIT, "Attention", WIDTH, HEADS), {"x": tokens()}),
        (made(CROSS, "CrossAttention", WIDTH), {"x": tokens(), "context": tokens(3, 9)}),
        (made(CROSS, "CrossAttention", WIDTH), {"x": tokens(), "context": tokens()}),
        (made(WINDOW, "WindowAttention", WIDTH, (3, 3), HEADS), {"x": tokens(4, 9)}),
        (torch.nn.MultiheadAttention(WIDTH, HEADS), {"0": tokens(7, 3), "1": tokens(7, 3), "2": tokens(7, 3)}),
        (torch.nn.TransformerEncoderLayer(WIDTH, HEADS, batch_first=True), {"src": tokens()}),
        (
            torch.nn.TransformerDecoderLayer(WIDTH, HEADS, batch_first=True),
            {"tgt": tokens(), "memory": tokens(), "tgt_mask": torch.ones(7, 7).triu(1).bool()},
        ),
    ],
)
@pytest.mark.slow
def test_attention_as_people_write_it_is_not_misjudged(module: Any, inputs: dict[str, Any]) -> None:
    seen = [observe(probe, module, inputs) for probe in PROBES]
    assert not [each for each in seen if each.outcome == "violated"]
    assert sum(each.outcome == "holds" for each in seen) >= 5, seen


def test_bert_style_attention_is_equivariant() -> None:
    class Config:
        hidden_size, num_attention_heads, attention_probs_dropout_prob = WIDTH, HEADS, 0.1

    source = BERT.replace("context.view(", "context.reshape(")
    seen = outcomes(made(source, "SelfAttention", Config()), hidden_states=tokens())
    assert seen == holding(*OF_MASKS)


@pytest.mark.parametrize("length", [7, 9])
def test_cross_attention_is_not_taken_for_self_attention(length: int) -> None:
    inputs = {"x": tokens(), "context": tokens(3, length)}
    assert observe("causality", Cross(), inputs).outcome == "not applicable"
    assert observe("permutation equivariance", Cross(), inputs).outcome == "holds"
    assert observe("permutation equivariance", Cross("values scrambled"), inputs).outcome == "violated"
    assert observe("constant value", Cross(), inputs).outcome == "holds"
    assert observe("unit score variance", Cross(), inputs).outcome == "holds"


@pytest.mark.slow
def test_a_decoder_is_asked_of_its_own_tokens_alone() -> None:
    """Its memory has as many tokens, and every output depends on all of them."""
    layer = torch.nn.TransformerDecoderLayer(WIDTH, HEADS, batch_first=True)
    inputs = {"tgt": tokens(), "memory": tokens()}
    wrong = {**inputs, "tgt_mask": torch.ones(7, 7).tril().bool()}
    assert observe("causality", layer, {**inputs, "tgt_mask": ~wrong["tgt_mask"]}).outcome == "holds"
    assert observe("causality", layer, wrong).outcome == "violated"


def test_the_batch_of_a_sequence_first_layout_is_found() -> None:
    module = torch.nn.MultiheadAttention(WIDTH, HEADS)
    x = tokens(7, 3)
    seen = observe("batch independence", module, {"query": x, "key": x, "value": x})
    assert seen.outcome == "holds" and "dim 1" in seen.words
    mask = torch.ones(7, 7).triu(1).bool()
    assert observe("causality", module, {"query": x, "key": x, "value": x, "attn_mask": mask}).outcome == "holds"
    assert observe("causality", module, {"query": x, "key": x, "value": x, "attn_mask": ~mask}).outcome == "violated"


def test_functions_are_probed_like_modules() -> None:
    q, k, v = (torch.randn(2, HEADS, 6, 8) for _ in range(3))
    seen = outcomes(attend, q=q, k=k, v=v)
    assert seen == holding(*OF_MASKS, "every projection learns")  # it has no parameters
    wrong = observe("unit score variance", attend, {"0": q, "1": k, "2": v, "scale": 1 / 32**0.5})
    assert wrong.outcome == "violated" and wrong.size == pytest.approx(1 - 8 / 32, rel=0.1)


def test_causality_is_not_asked_without_evidence_unless_insisted_on() -> None:
    module, inputs = Attention(), {"x": tokens()}
    assert observe("causality", module, inputs).outcome == "not applicable"
    assert observe("causality", module, inputs, insist=True).outcome == "violated"


@pytest.mark.parametrize(
    "change",
    [
        lambda x, weight: x + torch.arange(x.shape[1])[:, None],
        lambda x, weight: x.cumsum(1),
        lambda x, weight: torch.nn.functional.conv1d(x.mT, weight, padding=1).mT,
        lambda x, weight: torch.cat([x[:, :1] * 2, x[:, 1:]], 1),
    ],
)
def test_positions_of_any_kind_explain_why_places_matter(change: Callable[..., Any]) -> None:
    class Placed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Attention()
            self.kernel = torch.nn.Parameter(torch.randn(WIDTH, WIDTH, 3))

        def forward(self, x: Any) -> Any:
            return self.inner(change(x, self.kernel))

    assert observe("permutation equivariance", Placed(), {"x": tokens()}).outcome == "not applicable"


@pytest.mark.parametrize("kind", ["renormalised", "wholly masked", "talking heads", "sink"])
def test_weights_that_rightly_do_not_add_up_are_passed_over(kind: str) -> None:
    mixing = torch.nn.Parameter(torch.randn(HEADS, HEADS))

    def run(q: Any, k: Any, v: Any) -> Any:
        scores = q @ k.mT / 8**0.5
        keep = torch.ones(6, 6).tril()
        if kind == "sink":
            return torch.cat([scores, torch.zeros(2, HEADS, 6, 1)], -1).softmax(-1)[..., :-1] @ v
        weights = scores.softmax(-1)
        if kind == "renormalised":
            weights = weights * keep
            weights = weights / weights.sum(-1, keepdim=True)
        elif kind == "wholly masked":
            weights = weights.masked_fill((torch.arange(6) < 2)[:, None], 0.0)
        else:
            weights = torch.einsum("bhts,hg->bgts", weights, mixing)
        return weights @ v

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixing = mixing

        def forward(self, **inputs: Any) -> Any:
            return run(**inputs)

    inputs = {name: torch.randn(2, HEADS, 6, 8) for name in "qkv"}
    assert observe("constant value", Wrapped(), inputs).outcome in ("holds", "not applicable")


@pytest.mark.parametrize("kind", ["cosine", "learned scale", "muP"])
def test_scores_that_are_scaled_on_purpose_are_passed_over(kind: str) -> None:
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k = torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)
            self.logit_scale = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, x: Any) -> Any:
            q, k = self.q(x), self.k(x)
            if kind == "cosine":
                q, k = (torch.nn.functional.normalize(part, dim=-1) for part in (q, k))
            scale = {"cosine": 10.0, "learned scale": self.logit_scale, "muP": 1 / WIDTH}[kind]
            return (q @ k.mT * scale).softmax(-1) @ x

    assert observe("unit score variance", Scaled(), {"x": tokens()}).outcome == "not applicable"


def test_random_numbers_drawn_for_nothing_are_told() -> None:
    def wasteful(x: Any) -> Any:
        torch.rand(3)
        return x * 2

    seen = observe("eval determinism", wasteful, {"x": tokens()})
    assert seen.outcome == "violated" and "advances the random state" in seen.words and "rand" in seen.words


def test_watching_operations_does_not_import_torchs_compiler_where_nothing_is_compiled() -> None:
    code = (
        "import sys, torch\nfrom mha_lint.validation.probes import observe\n"
        "seen = observe('half safety', torch.nn.Linear(4, 4), {'input': torch.ones(2, 4)})\n"
        "print(seen.outcome, 'torch._dynamo' in sys.modules)\n"
    )
    environment = {**os.environ, "TORCH_COMPILE_DISABLE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "holds False\n"


def _everything(module: Any, inputs: dict[str, Any]) -> list[Any]:
    tensors = [*module.state_dict().values(), *inputs.values()]
    tensors += [value.grad for value in module.parameters()]
    flags = [(id(part), part.training, sorted(vars(part)), list(part._forward_hooks)) for part in module.modules()]
    return [[copy.deepcopy(value) for value in tensors], flags, torch.get_rng_state(), random.getstate()]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return bool(torch.equal(one, other))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("make", [Stateful, lambda: Attention("dropout in eval"), lambda: Attention(causal=True)])
def test_module_random_state_and_inputs_stay_as_they_were(probe: str, make: Callable[[], Any]) -> None:
    module = make().train()
    inputs = {"x": tokens().requires_grad_()}
    module(inputs["x"]).sum().backward()
    cache = list(getattr(module, "cache", []))
    before = _everything(module, inputs)
    gradients = [value.grad for value in module.parameters()]
    observe(probe, module, inputs, insist=True)
    assert _same(before, _everything(module, inputs))
    assert all(value.grad is kept for value, kept in zip(module.parameters(), gradients, strict=True))
    assert inputs["x"].grad is not None and inputs["x"].requires_grad
    assert len(getattr(module, "cache", [])) == len(cache)


def test_a_stateful_module_with_batch_norm_is_judged_from_the_state_it_is_in() -> None:
    seen = outcomes(Stateful(), x=tokens())
    assert seen["eval determinism"] == seen["batch independence"] == seen["causality"] == "holds"


def test_inputs_that_the_code_writes_into_are_copies() -> None:
    def writes(x: Any) -> Any:
        return x.mul_(2).softmax(-1)

    x = tokens()
    kept = x.clone()
    observe("batch independence", writes, {"x": x})
    assert torch.equal(x, kept)


def test_inputs_follow_the_dtype_of_the_parameters() -> None:
    seen = observe("constant value", Attention().double(), {"x": tokens()})
    assert seen == Observation("constant value", "holds", "the weights of each of 84 queries add up to 1")


def test_what_cannot_be_asked_says_why() -> None:
    lazy = observe("batch independence", torch.nn.LazyLinear(3), {"input": tokens()})
    assert (lazy.outcome, "call it once first" in lazy.words) == ("not applicable", True)
    broken = observe("constant value", Attention(), {"x": torch.randn(3, 7, WIDTH + 1)})
    assert broken.outcome == "not applicable" and "softmax" in broken.words
    alone = observe("batch independence", Attention(), {"x": tokens(1, 7)})
    assert alone.outcome == "not applicable" and "batch" in alone.words
    with pytest.raises(KeyError):
        observe("beauty", Attention(), {"x": tokens()})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [7, 6])
@pytest.mark.parametrize("scrambled", [False, True])
def test_what_is_given_of_each_token_is_permuted_with_it(scrambled: bool, length: int, dtype: Any) -> None:
    module = Placed(scrambled).to(dtype)
    angles = torch.randn(1, length, WIDTH, dtype=dtype)
    pairs = torch.ones(length, length, dtype=torch.bool).tril() | (torch.rand(length, length) > 0.5)
    inputs = {"x": tokens(3, length).to(dtype), "rotary": (angles.cos(), angles.sin()), "mask": pairs}
    seen = observe("permutation equivariance", module, inputs, insist=True)
    assert seen.outcome == ("violated" if scrambled else "holds"), seen.words
    assert ("all that is given of them" in seen.words) == scrambled


def test_tokens_are_not_told_from_sequences_where_there_are_as_many() -> None:
    angles = torch.randn(4, WIDTH)
    inputs = {"x": tokens(4, 4), "rotary": (angles.cos(), angles.sin())}
    seen = observe("permutation equivariance", Placed(), inputs, insist=True)
    assert seen.outcome == "not applicable" and "as many tokens as sequences" in seen.words


@pytest.mark.parametrize("bug", ["", "heads merged without transpose", "heads split without transpose"])
@pytest.mark.parametrize("stride", [1, 2])
def test_equal_tokens_stay_equal_under_biases_that_nothing_learns(bug: str, stride: int) -> None:
    """What permutations can't show: places matter to the weights, and every second token alone asks."""
    module = Biased(bug, stride)
    x = tokens()
    seen = observe("equal tokens", module, {"x": x}, insist=True)
    assert seen.outcome == ("violated" if bug else "holds"), seen.words
    assert ("the same" in seen.words) == bool(bug)
    again = observe("permutation equivariance", module, {"x": x}, insist=True)
    assert again.outcome == "violated", again.words  # bug or not


def test_equal_tokens_need_not_stay_equal_where_positions_are_added() -> None:
    module = torch.nn.Sequential(Added(), Attention())
    assert observe("equal tokens", module, {"0": tokens()}, insist=True).outcome == "violated"
    assert observe("equal tokens", module, {"0": tokens()}).outcome == "not applicable"
    assert "equal tokens" not in PROBES  # nobody is asked for it: only who corrects a layout


@pytest.mark.parametrize("insist", [False, True])
def test_as_many_sequences_as_tokens_are_permuted_one_of_the_two_at_a_time(insist: bool) -> None:
    assert observe("permutation equivariance", Attention(), {"x": tokens(5, 5)}, insist=insist).outcome == "holds"
    wrong = Attention("heads merged without transpose")
    assert observe("permutation equivariance", wrong, {"x": tokens(5, 5)}, insist=True).outcome == "violated"


def test_pairs_of_tokens_are_permuted_alike_where_the_tokens_come_first() -> None:
    pairs = (torch.rand(3, 5, 5) > 0.5) | torch.eye(5, dtype=torch.bool)
    seen = observe("permutation equivariance", TimeFirst(), {"x": torch.randn(5, 3, WIDTH), "mask": pairs}, insist=True)
    assert seen.outcome == "holds", seen.words


class TimeFirst(Attention):
    def forward(self, x: Any, mask: Any) -> Any:
        q, k, v = self.qkv(x.transpose(0, 1)).chunk(3, dim=-1)
        scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~mask, float("-inf"))
        return self.proj(scores.softmax(dim=-1) @ v).transpose(0, 1)


class Biased(Attention):
    """Attention whose scores have a bias by distance, for every ``stride``-th token."""

    def __init__(self, bug: str, stride: int) -> None:
        super().__init__(bug)
        self.stride = stride

    def forward(self, x: Any) -> Any:
        b, n, c = x.shape
        q, k, v = (each.reshape(b, n, HEADS, -1).transpose(1, 2) for each in self.qkv(x).chunk(3, dim=-1))
        if self.bug == "heads split without transpose":
            v = self.qkv(x).chunk(3, dim=-1)[2].reshape(b, HEADS, n, -1)
        q = q[:, :, :: self.stride]
        apart = torch.arange(n)[:: self.stride, None] - torch.arange(n)
        y = (q @ k.mT * q.shape[-1] ** -0.5 + torch.sin(apart)).softmax(dim=-1) @ v
        if self.bug != "heads merged without transpose":
            y = y.transpose(1, 2)
        return self.proj(y.reshape(b, -1, c))


class Added(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x + torch.arange(x.shape[1])[:, None]
