"""Random chains of tensor operations: run on real tensors, and told to the model as source code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st

from mha_lint.model.attention import analyse
from mha_lint.model.keys import Key, dimension, named
from mha_lint.model.layout import Answer
from mha_lint.model.sizes import Size
from mha_lint.model.values import Tensor
from mha_lint.syntax.module import Module

HEADER = """\
import torch
import torch.nn.functional as F
from torch import nn


class Chain(nn.Module):
    def forward(self, a):
"""


@dataclass
class Chain:
    """Lines of ``forward``, the tensor they have made so far, and its dimensions as expressions of those lines."""

    sizes: list[int]
    lines: list[str] = field(default_factory=list)
    x: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    dims: list[str] = field(default_factory=list)
    failed: bool = False  # the last line, a view, raised
    spelled: bool = False  # the sizes stand in the code, so 1 is known to be 1

    def __post_init__(self) -> None:
        self.x = torch.randn(self.sizes)
        if self.spelled:
            self.dims = [str(size) for size in self.sizes]
            self.lines = [f"x = torch.zeros({', '.join(self.dims)})"]
        else:
            self.dims = [f"d{index}" for index in range(len(self.sizes))]
            self.lines = [f"{', '.join(self.dims)}{',' if len(self.dims) == 1 else ''} = a.shape", "x = a.contiguous()"]

    @property
    def source(self) -> str:
        return HEADER + "".join(f"        {line}\n" for line in [*self.lines, "return x"])

    def apply(self, expression: str, dims: list[str] | None = None) -> None:
        """Append ``x = expression`` and run it; ``dims`` are the new dimensions' expressions."""
        self.lines.append(f"x = {expression}")
        names = {f"d{index}": size for index, size in enumerate(self.sizes)}
        try:
            self.x = eval(expression, {"torch": torch, "F": torch.nn.functional, "x": self.x, **names})
        except RuntimeError as error:
            if "view size is not compatible" not in str(error):
                raise RuntimeError(self.source) from error
            self.failed = True
            return
        if dims is not None:
            self.dims = dims
        assert len(self.dims) == self.x.dim(), self.source


@st.composite
def chains(draw: Any, longest: int = 7) -> Chain:
    """A chain of a tensor of any rank and layout, up to the first view that raises.

    A size of 1 stands in the code; the model answers for sizes that it does not know as if they were 2 or more.
    """
    spelled = draw(st.booleans())
    sizes = draw(st.lists(st.integers(1 if spelled else 2, 4), min_size=1, max_size=4))
    chain = Chain(sizes, spelled=spelled)
    if draw(st.booleans()):
        permute(draw, chain)
    for _ in range(draw(st.integers(1, longest))):
        if chain.failed or chain.x.numel() > 20_000 or chain.x.numel() == 0:
            break
        step = draw(st.sampled_from(STEPS))
        step(draw, chain)
    return chain


def _dim(draw: Any, chain: Chain) -> int:
    return draw(st.integers(0, max(chain.x.dim() - 1, 0)))


def transpose(draw: Any, chain: Chain) -> None:
    if chain.x.dim() < 2:
        return
    i, j = _dim(draw, chain), _dim(draw, chain)
    dims = list(chain.dims)
    dims[i], dims[j] = dims[j], dims[i]
    name = draw(st.sampled_from(["transpose", "swapaxes"]))
    j = j - chain.x.dim() if draw(st.booleans()) else j
    chain.apply(f"torch.{name}(x, {i}, {j})" if draw(st.booleans()) else f"x.{name}({i}, {j})", dims)


def permute(draw: Any, chain: Chain) -> None:
    order = draw(st.permutations(range(chain.x.dim())))
    if order:
        text = ", ".join(map(str, order))
        written = f"torch.permute(x, ({text},))" if draw(st.booleans()) else f"x.permute({text})"
        chain.apply(written, [chain.dims[dim] for dim in order])


def movedim(draw: Any, chain: Chain) -> None:
    if chain.x.dim() < 2:
        return
    source, target = _dim(draw, chain), _dim(draw, chain)
    dims = list(chain.dims)
    dims.insert(target, dims.pop(source))
    chain.apply(f"x.movedim({source}, {target})", dims)


def view(draw: Any, chain: Chain) -> None:
    """Merge some neighbours; or lay the elements out by sizes taken from the dimensions in another order."""
    dims = list(chain.dims)
    if draw(st.booleans()) and len(dims) > 1:
        at = draw(st.integers(0, len(dims) - 2))
        dims[at : at + 2] = [f"{dims[at]}*{dims[at + 1]}"]
    elif draw(st.booleans()):
        factors = [factor for dim in dims for factor in dim.split("*")]
        dims = []
        while factors:
            count = draw(st.integers(1, len(factors)))
            dims.append("*".join(factors[:count]))
            factors = factors[count:]
    written = list(dims)
    if written and draw(st.integers(0, 3)) == 0:
        written[draw(st.integers(0, len(written) - 1))] = "-1"
    if written:
        chain.apply(f"x.{draw(st.sampled_from(['view', 'view', 'reshape']))}({', '.join(written)})", dims)


def flatten(draw: Any, chain: Chain) -> None:
    if chain.x.dim() > 1:
        start = draw(st.integers(0, chain.x.dim() - 2))
        chain.apply(f"x.flatten({start})", [*chain.dims[:start], "*".join(chain.dims[start:])])


def unsqueeze(draw: Any, chain: Chain) -> None:
    if chain.x.dim() < 5:
        at = draw(st.integers(0, chain.x.dim()))
        chain.apply(f"x.unsqueeze({at})", [*chain.dims[:at], "1", *chain.dims[at:]])


def expand(draw: Any, chain: Chain) -> None:
    if "1" in chain.dims:
        at = chain.dims.index("1")
        target = ["-1"] * chain.x.dim()
        target[at] = "3"
        chain.apply(f"x.expand({', '.join(target)})", [*chain.dims[:at], "3", *chain.dims[at + 1 :]])


def select(draw: Any, chain: Chain) -> None:
    if chain.x.dim() > 1:
        at = _dim(draw, chain)
        index = ", ".join([":"] * at + ["0"])
        chain.apply(f"x[{index}]", [*chain.dims[:at], *chain.dims[at + 1 :]])


def cut(draw: Any, chain: Chain) -> None:
    if chain.x.dim() and chain.x.shape[-1] > 2 and "*" not in chain.dims[-1]:
        chain.apply("x[..., 1:]", [*chain.dims[:-1], f"({chain.dims[-1]} - 1)"])


def chunk(draw: Any, chain: Chain) -> None:
    if chain.x.dim():
        at = _dim(draw, chain)
        chain.apply(f"torch.cat([x, x], dim={at}).chunk(2, dim={at})[1]")


def product(draw: Any, chain: Chain) -> None:
    if chain.x.dim() > 2:
        chain.apply("x @ x.transpose(-2, -1)", [*chain.dims[:-1], chain.dims[-2]])


def pointwise(draw: Any, chain: Chain) -> None:
    if chain.x.dim():
        chain.apply(draw(st.sampled_from(POINTWISE)))


def split(draw: Any, chain: Chain) -> None:
    """``split``, ``tensor_split`` and ``unbind`` of a doubled tensor; ``narrow``."""
    if not 0 < chain.x.dim() < 5:
        return
    at = _dim(draw, chain)
    size = chain.dims[at]
    kind = draw(st.sampled_from(["split", "sections", "tensor_split", "unbind", "narrow"]))
    doubled = f"torch.cat([x, x], dim={at})"
    if kind == "split":
        chain.apply(f"{doubled}.split({size}, dim={at})[1]")
    elif kind == "sections":
        chain.apply(f"torch.split({doubled}, [{size}, {size}], dim={at})[0]")
    elif kind == "tensor_split":
        chain.apply(f"{doubled}.tensor_split(2, dim={at})[0]")
    elif kind == "unbind":
        chain.apply(f"torch.stack([x, x], dim={at}).unbind({at})[1]")
    else:
        chain.apply(f"{doubled}.narrow({at}, 0, {size})")


def grow(draw: Any, chain: Chain) -> None:
    if not 0 < chain.x.dim() < 5:
        return
    at = _dim(draw, chain)
    dims = list(chain.dims)
    kind = draw(st.sampled_from(["stack", "cat", "repeat", "repeat_interleave", "expand"]))
    if kind == "stack":
        chain.apply(f"torch.stack([x, x], dim={at})", [*dims[:at], "2", *dims[at:]])
    elif kind == "cat":
        dims[at] = f"2*{dims[at]}"
        chain.apply(f"torch.cat((x, x), dim={at})", dims)
    elif kind == "repeat":
        times = ["1"] * len(dims)
        times[at], dims[at] = "2", f"2*{dims[at]}"
        chain.apply(f"x.repeat({', '.join(times)})", dims)
    elif kind == "repeat_interleave":
        dims[at] = f"2*{dims[at]}"
        chain.apply(f"x.repeat_interleave(2, dim={at})", dims)
    else:
        chain.apply(f"x.unsqueeze(0).expand(2, {', '.join(['-1'] * len(dims))})", ["2", *dims])


def shrink(draw: Any, chain: Chain) -> None:
    """Dimensions of 1 go; a dimension is split."""
    ones = [index for index, size in enumerate(chain.dims) if size == "1"]
    if ones and draw(st.booleans()):
        at = draw(st.sampled_from(ones))
        chain.apply(f"x.squeeze({at})", [*chain.dims[:at], *chain.dims[at + 1 :]])
        return
    products = [index for index, size in enumerate(chain.dims) if "*" in size and "(" not in size]
    if products:
        at = draw(st.sampled_from(products))
        first, _, rest = chain.dims[at].partition("*")
        sizes = draw(st.sampled_from([f"({first}, {rest})", f"(-1, {rest})", f"({first}, -1)"]))
        chain.apply(f"x.unflatten({at}, {sizes})", [*chain.dims[:at], first, rest, *chain.dims[at + 1 :]])


def matrices(draw: Any, chain: Chain) -> None:
    if chain.x.dim() < 2:
        return
    kind = draw(st.sampled_from(["mT", "T", "linear", "bmm", "einsum", "index", "ellipsis", "tril"]))
    dims = chain.dims
    if kind == "mT":
        chain.apply("x.mT", [*dims[:-2], dims[-1], dims[-2]])
    elif kind == "T" and len(dims) == 2:
        chain.apply("x.T", dims[::-1])
    elif kind == "tril":
        chain.apply("x.tril()", dims)
    elif kind == "linear":
        chain.apply(f"F.linear(x, torch.zeros(3, {dims[-1]}))", [*dims[:-1], "3"])
    elif kind == "bmm" and len(dims) == 3:
        chain.apply("torch.bmm(x, x.transpose(1, 2))", [*dims[:2], dims[1]])
    elif kind == "einsum" and len(dims) == 3:
        chain.apply("torch.einsum('bij,bkj->bik', x, x)", [*dims[:2], dims[1]])
    elif kind == "index" and len(dims) < 5:
        chain.apply("x[:, None]", [dims[0], "1", *dims[1:]])
    elif kind == "ellipsis" and len(dims) > 2:
        chain.apply("x[..., 0]", dims[:-1])


POINTWISE = (
    *(
        "x + 1",
        "x * x",
        "torch.relu(x)",
        "x.clone()",
        "x.double().float()",
        "torch.where(x > 0, x, x)",
    ),  # keep a layout
    *("x.softmax(-1)", "x.contiguous()", "x.masked_fill(x > 0, 0.0)", "x.repeat_interleave(1, dim=0)"),
    *("torch.softmax(x, dim=0)", "F.dropout(x, 0.1)", "x.clone(memory_format=torch.contiguous_format)"),
)

STEPS = (
    *(transpose, permute, movedim, view, view, view, flatten, unsqueeze),
    *(expand, select, cut, chunk, product, pointwise, split, grow, shrink, matrices),
)


@dataclass
class Told:
    """What the model says of a chain: the answer to its last view, and the tensor that it returns."""

    views: list[Answer]
    returned: Tensor | None
    symbols: dict[Key, int]

    def knows(self, sizes: Iterable[Size]) -> bool:
        """Tell whether the chain settles each of these: the model may count by a symbol of its own."""
        return all(key in self.symbols for size in sizes for key in size.symbols)

    def value(self, size: Size) -> int:
        total = 0
        for monomial, coefficient in size.terms:
            term = coefficient
            for key in monomial:
                term *= self.symbols[key]
            total += term
        return total


def told(chain: Chain) -> Told:
    model = analyse(Module(chain.source), every=True)
    (each,) = model.classes
    (outcome,) = each.returns
    last = [seen.answer for found in model.views.values() for seen in found if not seen.copies]
    symbols = {dimension(named("a"), index): size for index, size in enumerate(chain.sizes)}
    return Told(last, outcome[1] if isinstance(outcome[1], Tensor) else None, symbols)


def disagreement(chain: Chain, said: Told | None = None) -> str | None:
    """How the model contradicts torch on this chain; None where it agrees or does not know."""
    said = said if said is not None else told(chain)
    view_lines = [line for line in chain.lines if ".view(" in line]
    if view_lines and len(said.views) == len(view_lines):
        if chain.failed and said.views[-1] is Answer.ALWAYS:
            return "says the view always succeeds; torch raised"
        if Answer.NEVER in (said.views[:-1] if chain.failed else said.views):
            return "says a view never succeeds; torch ran it"
    tensor = said.returned
    if chain.failed or tensor is None or tensor.shape is None:
        return None
    known = said.knows(tensor.shape)
    shape = [said.value(size) for size in tensor.shape] if known else None
    if shape is not None and shape != list(chain.x.shape):
        return f"says the shape is {shape}; torch has {list(chain.x.shape)}"
    if tensor.strides is None or not known or not said.knows(tensor.strides):
        return None
    strides = [said.value(stride) for stride in tensor.strides]
    real = [stride for size, stride in zip(chain.x.shape, chain.x.stride(), strict=True) if size != 1]
    if tensor.contiguous and not chain.x.is_contiguous():
        return "says the tensor is contiguous; torch says it is not"
    if [stride for size, stride in zip(chain.x.shape, strides, strict=True) if size != 1] != real:
        return f"says the strides are {strides}; torch has {list(chain.x.stride())}"
    return None


def is_known(chain: Chain, said: Told | None = None) -> bool:
    """Whether the model gives every answer it is asked for: each view's, and the strides at the end."""
    said = said if said is not None else told(chain)
    return Answer.UNKNOWN not in said.views and (
        chain.failed or (said.returned is not None and said.returned.strides is not None)
    )
