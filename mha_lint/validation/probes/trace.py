"""Follows scores, weights and values through one call, below Python, whatever the code is made of.

ATen's operations are watched by a ``TorchDispatchMode``: matmul, einsum, ``@``, ``F.linear`` and torch's own attention
all arrive there as a few products, softmaxes and views. Fused attention is told to compute in plain steps meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from msgspec.structs import replace

from mha_lint.validation.probes.factors import factor_of, of_product
from mha_lint.validation.probes.facts import Applied, Fact, Scores, Seen, Weights
from mha_lint.validation.probes.masks import is_switch, is_triangular
from mha_lint.validation.probes.operations import (
    BATCH_NORMS,
    CONVOLUTIONS,
    CUTS,
    ELEMENTWISE,
    FILLS,
    NORMS,
    PLACED,
    REDUCTIONS,
    VIEWS,
)
from mha_lint.validation.probes.subject import Subject
from mha_lint.validation.probes.watching import Watching
from mha_lint.validation.trials import trial


class Trace(Watching):
    """Watches one call. With ``generator``, what projections give is replaced by standard normal values."""

    def __init__(
        self, subject: Subject, arguments: Mapping[str, Any], generator: torch.Generator | None = None
    ) -> None:
        Watching.__init__(self)
        self.seen = Seen()
        self._generator = generator
        self._facts: dict[int, tuple[torch.Tensor, Fact]] = {}  # the tensor is kept alive, so that its id stays its own
        for part in subject.owner.modules() if subject.owner is not None else ():
            for parameter in part._parameters.values():
                if parameter is not None:
                    self._set(parameter, Fact(learned=True))
        for name, value in arguments.items():
            for _, leaf in trial.flatten(value, name):
                if isinstance(leaf, torch.Tensor):
                    self._set(leaf, Fact(sources=frozenset({name})))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        out = args[0] if self._is_bias(name, args) else func(*args, **kwargs)
        if self._generator is not None and self._projects(name, args):
            out = self._drawn(out)
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.seen.drawn.append(name)
        written = name.endswith("_") and not name.endswith("__") and isinstance(args[0], torch.Tensor)
        self._note(func, name[:-1] if written else name, args, kwargs, out)
        if written:
            self._spread(args[0])
        return out

    # --- facts

    def fact(self, value: Any) -> Fact:
        known = self._facts.get(id(value))
        return known[1] if known is not None else Fact()

    def _set(self, value: torch.Tensor, fact: Fact) -> None:
        self._facts[id(value)] = value, fact

    def _spread(self, written: torch.Tensor) -> None:
        """Add what is known of a view that was written into to what is known of its base."""
        base = written._base
        if base is not None:
            fact, own = self.fact(written), self.fact(base)
            self._set(
                base,
                replace(
                    own,
                    sources=own.sources | fact.sources,
                    learned=own.learned or fact.learned,
                    multiplied=own.multiplied or fact.multiplied,
                    marks=own.marks | fact.marks,
                ),
            )

    def _note(self, func: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        operands = [*_tensors(args), *_tensors(tuple(kwargs.values()))]
        facts = [self.fact(value) for value in operands]
        results = [out] if isinstance(out, torch.Tensor) else [*_tensors((out,))]
        if not results:
            return
        plain = Fact(
            frozenset().union(*(fact.sources for fact in facts)),
            any(fact.learned for fact in facts),
            any(fact.multiplied for fact in facts),
            frozenset().union(*(fact.marks for fact in facts)),
            factors=max((fact.factors for fact in facts), key=len, default=()),
        )
        if name in FILLS or name.endswith("_like") or name.startswith("new_"):  # of the values, nothing is left
            plain = Fact()
        self._placed(name, args, operands)
        if name in ("eq", "ne") and isinstance(args[1], (int, float)) and not args[0].is_floating_point():
            self.seen.compared |= {(source, args[1]) for source in plain.sources}
        if name in ("mm", "bmm", "addmm", "baddbmm"):
            self._set(results[0], self._product(name, args, kwargs, results[0], plain))
        elif name in ("_softmax", "_safe_softmax", "softmax"):
            self._set(results[0], self._softmax(args, results[0], plain))
        elif name in VIEWS or name in CUTS:
            self._viewed(func, name, args, kwargs, results, plain)
        elif name in CONVOLUTIONS:
            marks = frozenset({"mixed by a parameter"})
            self._set(results[0], _mixed(replace(plain, multiplied=True, marks=frozenset()), facts, marks))
        elif name in BATCH_NORMS and plain.sources:
            self._set(results[0], replace(plain, multiplied=True, marks=frozenset()))
        else:
            if name in NORMS:
                plain = replace(plain, marks=plain.marks | {"normalised"})
            self._set(results[0], self._pointwise(func, name, args, kwargs, results[0], plain))
            for other in results[1:]:
                self._set(other, plain)

    def _placed(self, name: str, args: tuple[Any, ...], operands: list[torch.Tensor]) -> None:
        if name in PLACED:
            self.seen.placed.append(name)
        elif name in CONVOLUTIONS and any(size > 1 for size in args[1].shape[2:]):
            self.seen.placed.append("convolution")
        elif name in ("view", "_unsafe_view", "reshape", "_reshape_alias"):
            self.seen.views.add((tuple(operands[0].shape), tuple(int(size) for size in args[1])))

    # --- products and softmax

    def _product(
        self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: torch.Tensor, plain: Fact
    ) -> Fact:
        left, right = args[-2:] if name in ("mm", "bmm") else args[1:3]
        ours, theirs = self.fact(left), self.fact(right)
        result = replace(plain, multiplied=True, marks=frozenset(), factors=())
        if ours.is_parameter or theirs.is_parameter:
            return _mixed(result, [ours, theirs], frozenset({"mixed by a parameter"}))
        if ours.weights is not None and theirs.weights is not None:
            return result
        for weights, value, dim in ((ours.weights, left, left.dim() - 1), (theirs.weights, right, right.dim() - 2)):
            if weights is not None:
                is_left = dim == value.dim() - 1
                queries = value.shape[-2] if is_left else value.shape[-1]
                weighed = (right, -2) if is_left else (left, -1)
                self._apply(weights, value, dim, plain.sources, queries, weighed)
                return result
        if ours.scores is not None or theirs.scores is not None:
            return result
        marks = ours.marks | theirs.marks
        alpha = kwargs.get("alpha", 1)
        kept = (left @ right) * alpha if self._generator is not None else None
        biased = name in ("addmm", "baddbmm") and kwargs.get("beta", 1) != 0
        if biased:
            self._note_masks(args[:1])
        causal = biased and is_triangular(args[0])
        factors = of_product(ours.factors, theirs.factors, alpha)
        return replace(result, scores=Scores(left.shape[-1], kept, causal, biased, marks, factors))

    def _softmax(self, args: tuple[Any, ...], out: torch.Tensor, plain: Fact) -> Fact:
        scores = self.fact(args[0]).scores
        if scores is None:
            return replace(plain, multiplied=True, marks=frozenset())
        self.seen.softmaxes.append(scores)
        self.seen.sides |= set(out.shape[-2:])
        eps = max(torch.finfo(args[0].dtype).eps, torch.finfo(out.dtype).eps)
        return replace(plain, marks=frozenset(), weights=Weights(scores, tuple(out.shape), eps))

    def _apply(
        self,
        weights: Weights,
        value: torch.Tensor,
        dim: int,
        sources: frozenset[str],
        queries: int,
        weighed: tuple[torch.Tensor | None, int] = (None, -2),
    ) -> None:
        weights = replace(weights, eps=max(weights.eps, torch.finfo(value.dtype).eps))
        sums = value.to(torch.float64).sum(dim)
        self.seen.applied.append(Applied(weights, sums, sources, queries, value.shape[dim], *weighed))

    # --- views

    def _viewed(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        results: list[torch.Tensor],
        plain: Fact,
    ) -> None:
        value = args[0]
        own = self.fact(value)
        scores, weights = own.scores, own.weights
        if name in CUTS and any(result.numel() < value.numel() for result in results):
            self.seen.cuts |= {
                size
                for size, *others in zip(value.shape, *(result.shape for result in results), strict=False)
                if name in ("slice", "narrow", "split", "split_with_sizes", "select") and any(o != size for o in others)
            }
            if weights is not None and _cuts_normalised(value, results[0]):
                weights = replace(weights, marks=weights.marks | {"cut after the softmax"})
        if name == "diagonal" and weights is not None:
            weights = replace(weights, marks=weights.marks | {"its diagonal"})
        planes: list[torch.Tensor | None] = [None] * len(results)
        if scores is not None and scores.plain is not None and scores.plain.shape == value.shape:
            moved = func(scores.plain, *args[1:], **kwargs)
            planes = [moved] if isinstance(moved, torch.Tensor) else [*moved]
        for result, plane in zip(results, planes, strict=True):
            if weights is not None and result.is_floating_point():
                weights = replace(weights, eps=max(weights.eps, torch.finfo(result.dtype).eps))
            kept = None if scores is None else replace(scores, plain=plane)
            weighted = own.weighted if result.shape == value.shape else None
            self._set(result, replace(plain, scores=kept, weights=weights, weighted=weighted))

    # --- everything else

    def _note_masks(self, others: Sequence[Any]) -> None:
        """Note which inputs reach scores or weights with neither a product nor a parameter on the way."""
        for fact in map(self.fact, others):
            if not fact.multiplied and not fact.learned:
                self.seen.masks |= fact.sources

    def _pointwise(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: torch.Tensor, plain: Fact
    ) -> Fact:
        operands = _tensors(args)
        weighing = [value for value in operands if self.fact(value).weights is not None]
        scoring = [value for value in operands if self.fact(value).scores is not None]
        if name == "copy" and len(operands) == 2:
            fact = self.fact(operands[1])
            return fact if operands[0].shape == operands[1].shape else replace(fact, scores=None, weights=None)
        if weighing or scoring:
            self._note_masks([value for value in operands if value is not (weighing or scoring)[0]])
        factor = factor_of(func, name, args, self.fact(args[1])) if name in ("mul", "div") else None
        if weighing:
            return self._on_weights(name, args, operands, weighing, out, plain)
        if scoring:
            scores = self._on_scores(func, name, args, kwargs, operands, scoring, out)
            if scores is not None and factor is not None:
                scores = replace(scores, factors=(*scores.factors, factor))
            return replace(plain, factors=(), scores=scores)
        weighted = [self.fact(value).weighted for value in operands if self.fact(value).weighted is not None]
        if name == "sum" and weighted and weighted[0] is not None and len(args) > 1 and len(args[1]) == 1:
            weights, alone = weighted[0]
            dim = args[1][0] % alone.dim()
            self._apply(weights, alone, dim, plain.sources, alone.shape[dim - 1] if dim else 1)
            return replace(plain, multiplied=True)
        if name in ("mul", "div") and plain.sources and any(self.fact(value).is_parameter for value in operands):
            return replace(plain, marks=plain.marks | {"learned scale"})
        if name in ("mul", "div") and plain.multiplied and any(map(self._scales_as_given, operands)):
            return replace(plain, marks=plain.marks | {"scaled by an input"})
        if factor is not None:
            plain = replace(plain, factors=(*plain.factors, factor))
        shifts = [value for value in operands if self.fact(value).is_parameter and value.dim() > 1]
        if name in ("add", "sub") and plain.sources and shifts:
            return replace(plain, marks=plain.marks | {"shifted"})
        return plain

    def _scales_as_given(self, value: torch.Tensor) -> bool:
        """Tell whether it is an input, or made of some with no product, and no rotation by zero or mask of ones."""
        fact = self.fact(value)
        given = bool(fact.sources) and not fact.multiplied and value.is_floating_point()
        return given and not bool((value == 0).all()) and not bool((value == 1).all())

    def _on_weights(
        self,
        name: str,
        args: tuple[Any, ...],
        operands: Sequence[torch.Tensor],
        weighing: Sequence[torch.Tensor],
        out: torch.Tensor,
        plain: Fact,
    ) -> Fact:
        value = weighing[0]
        weights = self.fact(value).weights
        assert weights is not None
        others = [other for other in operands if other is not value]
        facts = [self.fact(other) for other in others]
        if name in REDUCTIONS:
            return replace(plain, marks=plain.marks | {"of weights"})
        own = all("of weights" in fact.marks for fact in facts)
        marks: frozenset[str] = frozenset()
        if len(weighing) > 1:
            marks |= {"joined"}
        if name in ("mul", "div") and others:
            values = facts[0].multiplied or (bool(facts[0].sources) and out.shape != value.shape)
            if name == "mul" and "its diagonal" in weights.marks and values and not own:
                alone = value.to(torch.float64)
                queries, keys = weights.shape[-2:]
                self.seen.diagonals.append(Applied(weights, alone, plain.sources, queries, keys))
            if out.shape != value.shape:
                if name == "div" or facts[0].is_parameter:
                    return plain
                return replace(plain, weighted=(weights, value.expand(out.shape)))
            if not own and any(fact.learned or fact.multiplied for fact in facts):
                marks |= {"gated by what is computed"}
            if is_triangular(others[0]):
                weights = replace(weights, scores=replace(weights.scores, causal=True, masked=True))
        elif name in ("add", "sub") and others:
            marks |= {"joined"}
        elif name not in (
            "mul",
            "div",
            "add",
            "sub",
            "masked_fill",
            "where",
            "native_dropout",
            "nan_to_num",
            "dropout",
        ):
            if name not in ("cat", "stack", "clamp_min", "clamp"):
                return plain
            marks |= {"joined"}
        return replace(plain, marks=frozenset(), weights=replace(weights, marks=weights.marks | marks))

    def _on_scores(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        operands: Sequence[torch.Tensor],
        scoring: Sequence[torch.Tensor],
        out: torch.Tensor,
    ) -> Scores | None:
        value = scoring[0]
        scores = self.fact(value).scores
        assert scores is not None
        others = [other for other in operands if other is not value]
        facts = [self.fact(other) for other in others]
        kept = scores.plain
        here = kept is not None and kept.shape == value.shape

        def same(*, changed: bool) -> torch.Tensor | None:
            """``plain`` after this operation, or unchanged, in the shape of the result."""
            if kept is None or not here:
                return None
            moved = func(*(kept if item is value else item for item in args), **kwargs) if changed else kept
            fits = moved.dim() <= out.dim() and all(
                one in (1, size) for one, size in zip(moved.shape[::-1], out.shape[::-1], strict=False)
            )
            return moved.expand(out.shape) if fits else None

        if len(scoring) > 1:
            return replace(scores, plain=same(changed=False), marks=scores.marks | {"a sum of several products"})
        if name in ("masked_fill", "where", "index_put"):
            mask = args[0] if name == "where" else _tensors(args)[1]
            causal = scores.causal or is_triangular(mask)
            return replace(scores, plain=same(changed=False), causal=causal, masked=True)
        if name in ("add", "sub") and others:
            causal = scores.causal or is_triangular(others[0] if name == "add" else -others[0])
            self.seen.biased = True
            return replace(scores, plain=same(changed=False), causal=causal, masked=True)
        if name in ("mul", "div"):
            if others and is_switch(others[0]):
                causal = scores.causal or is_triangular(others[0])
                return replace(scores, plain=same(changed=False), causal=causal, masked=True)
            marks = set()
            for fact in facts:
                marks |= {"learned scale"} if fact.learned and not fact.sources else set()
                marks |= {"normalised"} if "normalised" in fact.marks else set()
                marks |= {"scaled by what is computed"} if fact.sources else set()
            return replace(scores, plain=same(changed=True), marks=scores.marks | marks)
        if name in ("add", "sub", "rsub", "native_dropout"):
            return replace(scores, plain=same(changed=False))
        if name in ELEMENTWISE:
            marks = {"capped"} if name == "tanh" else set()
            return replace(scores, plain=same(changed=True), marks=scores.marks | marks)
        if name in ("cat", "stack"):
            return replace(scores, plain=None, marks=scores.marks | {"joined"})
        return None

    # --- standard normal queries and keys

    def _projects(self, name: str, args: tuple[Any, ...]) -> bool:
        """Tell whether a parameter meets what is no parameter, in a product, a convolution or a batch norm."""
        facts = [self.fact(value) for value in args[-2:] if isinstance(value, torch.Tensor)]
        if name in ("addmm", "baddbmm"):
            facts = [self.fact(value) for value in args[1:3]]
        elif name in BATCH_NORMS:
            return bool(self.fact(args[0]).sources)
        elif name in CONVOLUTIONS:
            facts = [self.fact(value) for value in args[:2]]
        elif name not in ("mm", "bmm"):
            return False
        return any(fact.is_parameter for fact in facts) and not all(fact.is_parameter for fact in facts)

    def _is_bias(self, name: str, args: tuple[Any, ...]) -> bool:
        """With a generator: whether a layer's bias is added to values that were drawn for all of the layer."""
        if self._generator is None or name not in ("add", "add_") or len(_tensors(args)) != 2:
            return False
        return args[1].dim() == 1 and self.fact(args[1]).is_parameter and self.fact(args[0]).multiplied

    def _drawn(self, out: Any) -> Any:
        if not isinstance(out, torch.Tensor):
            return (self._drawn(out[0]), *out[1:])
        if not out.is_floating_point():
            return out
        values = torch.randn(out.shape, generator=self._generator, dtype=torch.float64)
        return values.to(out.device, out.dtype)


def _mixed(result: Fact, facts: Sequence[Fact], marks: frozenset[str]) -> Fact:
    """Return what is known of the product of scores or weights with a parameter: talking heads."""
    for fact in facts:
        if fact.weights is not None:
            return replace(result, weights=replace(fact.weights, marks=fact.weights.marks | marks))
        if fact.scores is not None:
            return replace(result, scores=replace(fact.scores, plain=None, marks=fact.scores.marks | marks))
    return result


def _cuts_normalised(value: torch.Tensor, part: torch.Tensor) -> bool:
    """Tell whether ``part`` is cut from weights along the dim in which they add up to one."""
    for dim in range(value.dim()):
        shrinks = part.dim() < value.dim() or part.shape[dim] < value.shape[dim]
        if shrinks and value.shape[dim] > 1:
            sums = value.to(torch.float64).sum(dim)
            if bool(((sums - 1).abs() < 1e-2).all()):
                return True
    return False


def _tensors(values: tuple[Any, ...]) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += _tensors(tuple(value))
    return found


def traced(subject: Subject, generator: torch.Generator | None = None) -> Seen:
    """Run one call and return what it was seen to do; whatever it raises passes through."""
    arguments = subject.fresh()
    trace = Trace(subject, arguments, generator)
    try:
        trial.seed_everything(subject.seed)
        with plain_attention(), trace:
            subject.call(arguments)
    finally:
        subject.state.restore()
    return trace.seen


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Within, torch's own attention computes scores, softmax and products one after the other, not fused."""
    cuda, mha = torch.backends.cuda, torch.backends.mha
    switches = [
        (getattr(cuda, f"enable_{kind}_sdp"), getattr(cuda, f"{kind}_sdp_enabled")())
        for kind in ("flash", "mem_efficient", "cudnn", "math")
        if hasattr(cuda, f"enable_{kind}_sdp")
    ]
    fast = mha.get_fastpath_enabled()
    try:
        for switch, _ in switches:
            switch(switch is cuda.enable_math_sdp)
        mha.set_fastpath_enabled(False)
        yield
    finally:
        mha.set_fastpath_enabled(fast)
        for switch, was in switches:
            switch(was)
