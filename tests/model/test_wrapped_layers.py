"""A layer that something is put around takes and gives what the layer does."""

import pytest

from tests.model.linting import codes

WRAPPED = """import functools
import torch
from torch import nn
from torch.nn.utils import weight_norm, spectral_norm
from torch.nn.utils.parametrizations import orthogonal

from .wrappers import wrap, init_, LoRALinear, clones, Residual, GEGLU


def initialised(layer, gain=1.0):
    nn.init.xavier_uniform_(layer.weight, gain)
    return layer


def normed(layer):
    return weight_norm(layer)


class Attend(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.d = heads, dim // heads
        linear = functools.partial(nn.Linear, bias=False)
        self.v_proj, self.out = {layer}, nn.Linear(dim, dim)

    def forward(self, weights, value):
        b, t, _ = value.shape
        v = self.v_proj(value)
        v = v.view(b, -1, self.heads, self.d).transpose(1, 2)
        w = torch.softmax(weights, dim=-1)
        y = (w @ v).transpose(1, 2)
        return self.out(y.{merged})
"""


@pytest.mark.parametrize(
    "layer",
    [
        "nn.Linear(dim, dim)",
        "wrap(nn.Linear(dim, dim))",
        "wrap(nn.Linear(dim, dim), name='v')",
        "init_(nn.Linear(dim, dim), 0.02)",
        "initialised(nn.Linear(dim, dim), gain=2.0)",
        "normed(nn.Linear(dim, dim))",
        "weight_norm(nn.Linear(dim, dim))",
        "spectral_norm(nn.Linear(dim, dim), n_power_iterations=2)",
        "nn.utils.parametrizations.weight_norm(nn.Linear(dim, dim))",
        "nn.utils.parametrizations.spectral_norm(nn.Linear(dim, dim))",
        "orthogonal(nn.Linear(dim, dim))",
        "nn.utils.parametrize.register_parametrization(nn.Linear(dim, dim), 'weight', object())",
        "LoRALinear(nn.Linear(dim, dim), rank=4)",
        "torch.compile(nn.Linear(dim, dim))",
        "nn.utils.skip_init(nn.Linear, dim, dim)",
        "linear(dim, dim)",
        "functools.partial(nn.Linear, bias=False)(dim, dim)",
    ],
)
def test_a_wrapped_layer_is_known_by_what_it_wraps(layer: str) -> None:
    """That t is the number of tokens follows from the width of the projection alone."""
    text = WRAPPED.format(layer=layer, merged="view(b, t, -1)")
    assert codes(text) == ["MHA001"]
    assert codes(text.replace("y.view", "y.reshape")) == []


@pytest.mark.parametrize(
    "layer", ["clones(nn.Linear(dim, dim), 4)", "Residual(nn.Linear(dim, dim))", "GEGLU(nn.Linear(dim, dim))"]
)
def test_what_may_make_more_of_a_layer_is_not_known(layer: str) -> None:
    assert "MHA001" not in codes(WRAPPED.format(layer=layer, merged="view(b, t, -1)"))


SCORES = """import torch
from torch import nn
from .wrappers import wrap


class Attend(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key = wrap(nn.Linear(dim, dim)), wrap(nn.Linear(dim, dim))

    def forward(self, x):
        b, t, c = x.shape
        q = self.query(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        k = self.key(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        return (q @ k.transpose(-2, -1)SCALE).softmax(-1)
"""


def test_a_wrapper_may_scale_and_does_not_change_the_width() -> None:
    assert codes(SCORES.replace("SCALE", "")) == []
    assert codes(SCORES.replace("SCALE", " * c ** -0.5")) == ["MHA104"]
