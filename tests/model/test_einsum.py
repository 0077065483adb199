"""Contractions of two operands against ``torch.einsum``: the shape and strides that the model gives are torch's."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mha_lint.model.attention import analyse
from mha_lint.model.values import Tensor
from mha_lint.syntax.module import Module

SIZES = dict(zip("abcdef", (2, 3, 4, 5, 6, 7), strict=True))


@st.composite
def equations(draw: st.DrawFn) -> str:
    letters = draw(st.permutations("abcdef"))
    shared, own = letters[: draw(st.integers(1, 3))], letters[3:]
    cut = draw(st.integers(0, len(own)))
    left, right = draw(st.permutations([*shared, *own[:cut]])), draw(st.permutations([*shared, *own[cut:]]))
    contracted = shared[: draw(st.integers(1, len(shared)))]
    output = draw(st.permutations([letter for letter in {*left, *right} if letter not in contracted]))
    return f"{''.join(left)},{''.join(right)}->{''.join(output)}"


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(equations())
def test_layout_of_a_contraction_is_torchs(equation: str) -> None:
    left, right = equation.partition("->")[0].split(",")
    lines = [
        f"{', '.join(f'{name}{letter}' for letter in letters)}, = {name}.shape"
        for name, letters in (("x", left), ("y", right))
    ]
    source = "import torch\n\n\nclass Contraction(torch.nn.Module):\n    def forward(self, x, y):\n" + "".join(
        f"        {line}\n" for line in [*lines, f"return torch.einsum({equation!r}, x, y)"]
    )
    ((_, told),) = analyse(Module(source), every=True).classes[0].returns
    assert isinstance(told, Tensor)
    assert told.shape is not None
    assert told.strides is not None
    known = {
        f"{name}.shape[{at}]": SIZES[letter] for name, ls in (("x", left), ("y", right)) for at, letter in enumerate(ls)
    }

    def value(size: object) -> int:
        return int(eval(str(size), {}, _Symbols(known)))

    real = torch.einsum(
        equation, torch.randn([SIZES[letter] for letter in left]), torch.randn([SIZES[letter] for letter in right])
    )
    assert tuple(map(value, told.shape)) == tuple(real.shape)
    assert tuple(map(value, told.strides)) == real.stride()


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("... i d, ... j d -> ... i j", ((2, 3, 4, 5), (2, 3, 6, 5))),
        ("b i ..., b j ... -> b i j ...", ((2, 3, 4, 5), (2, 6, 4, 5))),
        ("...d,...d->...", ((2, 3, 4), (3, 4))),
        ("... i d, j d -> ... i j", ((2, 3, 4), (5, 4))),
    ],
)
def test_an_ellipsis_stands_for_what_is_left(equation: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    sizes = "".join(f"        x{i} = torch.zeros({', '.join(map(str, shape))})\n" for i, shape in enumerate(shapes))
    source = "import torch\n\n\nclass Contraction(torch.nn.Module):\n    def forward(self):\n" + sizes
    source += f"        return torch.einsum({equation!r}, x0, x1)\n"
    ((_, told),) = analyse(Module(source), every=True).classes[0].returns
    assert isinstance(told, Tensor) and told.shape is not None
    real = torch.einsum(equation, *(torch.zeros(shape) for shape in shapes))
    assert [str(size) for size in told.shape] == [str(size) for size in real.shape]


class _Symbols(dict[str, object]):
    """Reads ``x.shape[1]`` in a printed size off the known sizes."""

    def __init__(self, known: dict[str, int]) -> None:
        super().__init__({name: _Shaped({k: v for k, v in known.items() if k[0] == name}, name) for name in "xy"})


class _Shaped:
    def __init__(self, known: dict[str, int], name: str) -> None:
        self.shape = [known[f"{name}.shape[{index}]"] for index in range(len(known))]
