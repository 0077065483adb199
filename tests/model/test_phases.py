"""Angles of which a factor was rounded are followed to the cosines that are taken of them, on whatever way."""

import pytest

from mha_lint.findings import Severity
from tests.model.linting import found

SINUSOIDS = """import math
import einops
import torch
from einops import einsum, rearrange, repeat


def encoding(t, d, x):
    position = torch.arange(0, t, dtype=torch.float).unsqueeze(1)
    div_term = torch.exp(torch.arange(0, d, 2).float() * -(math.log(10000.0) / d))
    other = 1.0 / 100.0 ** (torch.arange(0, d, 2).float() / d)
    angles = position * div_term.CAST
    WAY
    return torch.sin(angles), torch.cos(angles)
"""
WAYS = {
    "as they are": "pass",
    "joined with others": "angles = torch.cat((angles, position * other), dim=-1)",
    "stacked with others": "angles = torch.stack((angles, position * other), dim=0).reshape(t, -1)",
    "shifted and scaled": "angles = (angles + 0.5) * math.pi / 2",
    "indexed": "angles = torch.cat((angles, position * other), dim=-1)[torch.randint(t, (4,)), None]",
    "repeated by a pattern": 'angles = repeat(angles, "t f -> t (f 2)")',
    "rearranged": 'angles = rearrange(torch.cat((angles, position * other), dim=-1), "(a b) f -> a b f", a=2)',
    "contracted by names": 'angles = einsum(position[:, 0], div_term.CAST, "time, width -> time width")',
    "wavelengths": "angles = position / (100.0 ** (torch.arange(0, d, 2).float() / d)).CAST",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("cast", ["half()", "to(x.dtype)", "type_as(x)", "to(torch.bfloat16)"])
def test_a_function_that_only_counts_and_takes_cosines_is_interpreted(way: str, cast: str) -> None:
    text = SINUSOIDS.replace("WAY", way)
    assert [each.code for each in found(text.replace("CAST", cast))] == ["MHA120"]
    assert not found(text.replace("CAST", "float()"))


def test_what_is_rounded_once_its_cosines_are_taken_is_right() -> None:
    later = SINUSOIDS.replace("CAST", "float()").replace("torch.sin(angles), torch.cos(angles)", "CAST").replace(
        "CAST", "torch.cat((torch.sin(angles), torch.cos(angles)), -1).half()"
    )  # fmt: skip
    assert not found(later.replace("WAY", "pass"))


def test_an_attribute_that_is_asked_for_by_its_name_is_known() -> None:
    text = """import torch
from torch import nn


class Angles(nn.Module):
    def __init__(self, d, config):
        super().__init__()
        self.inv_freq = nn.Buffer(1.0 / (config.base ** (torch.arange(0, d, 2).float() / d)))

    def forward(self, x, position_ids):
        frequencies = getattr(self, "inv_freq")
        angles = position_ids[..., None].float() * frequencies.CAST
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)
"""
    assert [each.code for each in found(text.replace("CAST", "to(x.dtype)"))] == ["MHA120"]
    assert not found(text.replace("CAST", "float()"))


@pytest.mark.parametrize(
    ("cast", "severity", "words"),
    [
        ("half()", "warning", "cast to half precision"),
        ("to(x.dtype)", "warning", "cast to the type of the activations"),
        ("unsqueeze(0)", "info", "in the type of a buffer"),
    ],
)
def test_a_buffer_as_it_is_deserves_no_warning(cast: str, severity: Severity, words: str) -> None:
    text = """import torch
from torch import nn


class Angles(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / (10000 ** (torch.arange(0, d, 2).float() / d)))

    def forward(self, x):
        angles = torch.arange(x.shape[1], device=x.device)[:, None] * self.inv_freq.CAST
        return torch.cat((angles.cos(), angles.sin()), dim=-1)
"""
    (finding,) = found(text.replace("CAST", cast))
    assert (finding.code, finding.severity) == ("MHA120", severity)
    assert words in finding.message
