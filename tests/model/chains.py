"""Random chains of tensor operations: run on real tensors, and told to the model as source code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import libcst as cst
import torch
from hypothesis import strategies as st

from mha_lint.model.attention import analyse
from mha_lint.model.layout import Answer
from mha_lint.model.sizes import Size
from mha_lint.model.values import Tensor

HEADER = "import torch\nfrom torch import nn\n\n\nclass Chain(nn.Module):\n    def forward(self, a):\n"


@dataclass
class Chain:
    """Lines of ``forward``, the tensor they have made so far, and its dimensions as expressions of those lines."""

    sizes: list[int]
    lines: list[str] = field(default_factory=list)
    x: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    dims: list[str] = field(default_factory=list)
    failed: bool = False  # the last line, a view, raised

    def __post_init__(self) -> None:
        self.x = torch.randn(self.sizes)
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
            self.x = eval(expression, {"torch": torch, "x": self.x, **names})
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
    """A chain whose sizes are 2 or more (dimensions of 1 come from the code); it ends at the first view that raises."""
    sizes = draw(st.lists(st.integers(2, 4), min_size=1, max_size=4))
    chain = Chain(sizes)
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
    chain.apply(f"x.{name}({i}, {j - chain.x.dim() if draw(st.booleans()) else j})", dims)


def permute(draw: Any, chain: Chain) -> None:
    order = draw(st.permutations(range(chain.x.dim())))
    if order:
        chain.apply(f"x.permute({', '.join(map(str, order))})", [chain.dims[dim] for dim in order])


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


POINTWISE = (
    *("x + 1", "x * x", "torch.relu(x)", "x.clone()"),  # keep a dense layout
    *("x.softmax(-1)", "x.contiguous()", "x.masked_fill(x > 0, 0.0)", "x.repeat_interleave(1, dim=0)"),
)

STEPS = (
    *(transpose, permute, movedim, view, view, view, flatten, unsqueeze),
    *(expand, select, cut, chunk, product, pointwise),
)


@dataclass
class Told:
    """What the model says of a chain: the answer to its last view, and the tensor that it returns."""

    views: list[Answer]
    returned: Tensor | None
    symbols: dict[str, int]

    def value(self, size: Size) -> int:
        total = 0
        for monomial, coefficient in size.terms:
            term = coefficient
            for name in monomial:
                term *= self.symbols[name]
            total += term
        return total


def told(chain: Chain) -> Told:
    model = analyse(cst.parse_module(chain.source))
    (each,) = model.classes
    (outcome,) = each.returns
    last = [seen.answer for found in model.views.values() for seen in found]
    symbols = {f"a.shape[{index}]": size for index, size in enumerate(chain.sizes)}
    return Told(last, outcome[1] if isinstance(outcome[1], Tensor) else None, symbols)


def disagreement(chain: Chain) -> str | None:
    """How the model contradicts torch on this chain; None where it agrees or does not know."""
    said = told(chain)
    view_lines = [line for line in chain.lines if ".view(" in line]
    if view_lines and len(said.views) == len(view_lines):
        if chain.failed and said.views[-1] is Answer.ALWAYS:
            return "says the view always succeeds; torch raised"
        if Answer.NEVER in (said.views[:-1] if chain.failed else said.views):
            return "says a view never succeeds; torch ran it"
    tensor = said.returned
    if chain.failed or tensor is None or tensor.shape is None:
        return None
    known = all(symbol in said.symbols for size in tensor.shape for symbol in size.symbols)
    shape = [said.value(size) for size in tensor.shape] if known else None
    if shape is not None and shape != list(chain.x.shape):
        return f"says the shape is {shape}; torch has {list(chain.x.shape)}"
    if tensor.strides is None or not known:
        return None
    strides = [said.value(stride) for stride in tensor.strides]
    real = [stride for size, stride in zip(chain.x.shape, chain.x.stride(), strict=True) if size != 1]
    if [stride for size, stride in zip(chain.x.shape, strides, strict=True) if size != 1] != real:
        return f"says the strides are {strides}; torch has {list(chain.x.stride())}"
    return None


def is_known(chain: Chain) -> bool:
    """Whether the model gives every answer it is asked for: each view's, and the strides at the end."""
    said = told(chain)
    return Answer.UNKNOWN not in said.views and (
        chain.failed or (said.returned is not None and said.returned.strides is not None)
    )
