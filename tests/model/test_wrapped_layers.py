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
        self.heads = heads
        linear = functools.partial(nn.Linear, bias=False)
        self.one, self.other = LAYER, LAYER

    def forward(self, x):
        b, t, c = x.shape
        q = self.one(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        k = self.other(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        return (q @ k.transpose(-2, -1)SCALE).softmax(-1)
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
        "functools.partial(nn.Linear, dim)(dim)",
        "functools.partial(nn.Linear, out_features=dim)(dim)",
    ],
)
def test_a_wrapped_layer_is_known_by_what_it_wraps(layer: str) -> None:
    text = WRAPPED.replace("LAYER", layer)
    assert codes(text.replace("SCALE", " * c ** -0.5")) == ["MHA104"]
    assert codes(text.replace("SCALE", " * q.shape[-1] ** -0.5")) == []


@pytest.mark.parametrize(
    "layer", ["clones(nn.Linear(dim, dim), 4)", "Residual(nn.Linear(dim, dim))", "GEGLU(nn.Linear(dim, dim))"]
)
def test_what_may_make_more_of_a_layer_is_not_known(layer: str) -> None:
    assert codes(WRAPPED.replace("LAYER", layer).replace("SCALE", " * c ** -0.5")) == []


def test_a_wrapper_that_is_not_known_may_scale() -> None:
    text = WRAPPED.replace("SCALE", "")
    assert codes(text.replace("LAYER", "wrap(nn.Linear(dim, dim))")) == []
    assert codes(text.replace("LAYER", "nn.Linear(dim, dim)")) == ["MHA104"]


def test_a_function_with_some_of_its_arguments_is_not_taken_for_the_function_without() -> None:
    text = WRAPPED.replace("LAYER", "nn.Linear(dim, dim)").replace("SCALE", " * q.shape[-1] ** -0.5")
    weighing = (
        "        weigh = functools.partial(torch.softmax, dim=-1)\n        return weigh(q @ k.transpose(-2, -1))\n"
    )
    start = text.index("        return (q @")
    assert codes(text[:start] + weighing) == []
