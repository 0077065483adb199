"""The sizes and the choices of ``--bench``."""

from __future__ import annotations

import re

from msgspec import Struct

_HEAD_WIDTH = 64  # of a preset that says no number of heads
_SHAPE = re.compile(r"\d+x\d+(x\d+){0,2}")
_LARGEST = 1 << 20  # of a batch, a length or a width


class UnknownShape(Exception):
    """A text that says no shape; the message says what was expected."""


class Preset(Struct, frozen=True):
    """Sizes to measure at: items of a batch, tokens of each, the width of the model and its heads.

    Width and heads hold where the code does not say them itself.
    """

    name: str
    batch: int
    tokens: int
    width: int
    heads: int


# The middle one of CUDA is the size of a small language model. A CPU gets sizes at which a call takes milliseconds. All
# lengths are squares, so that they can be images as well.
_PRESETS = {
    "cpu": (
        Preset("small", 4, 64, 256, 4),
        Preset("medium", 2, 256, 512, 8),
        Preset("large", 1, 576, 768, 12),
    ),
    "cuda": (
        Preset("small", 4, 256, 512, 8),
        Preset("medium", 8, 1024, 768, 12),
        Preset("large", 4, 4096, 1024, 16),
    ),
}


class Wanted(Struct, frozen=True):
    """The choices of a run: ``shapes`` instead of the presets, and where to compile (None: on CUDA alone)."""

    shapes: tuple[tuple[int, ...], ...] = ()
    compiled: bool | None = None
    only_if_faster: bool = False


def presets(device: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[Preset, ...]:
    """The presets of a device, or one for each of the shapes: batch, tokens and, perhaps, width and heads."""
    if not shapes:
        return _PRESETS[device]
    usual = _PRESETS[device][1]
    made = []
    for batch, tokens, *more in shapes:
        width = more[0] if more else usual.width
        heads = more[1] if len(more) > 1 else max(1, width // _HEAD_WIDTH)
        made.append(Preset("x".join(map(str, (batch, tokens, *more))), batch, tokens, width, heads))
    return tuple(made)


def parse_shapes(text: str) -> tuple[tuple[int, ...], ...]:
    """The shapes of ``8x1024x768,2x4096``. Raises :class:`UnknownShape`."""
    shapes = []
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        sizes = tuple(map(int, part.split("x"))) if _SHAPE.fullmatch(part) else ()
        if not sizes or not all(0 < size <= _LARGEST for size in sizes):
            raise UnknownShape(f"expected batch x tokens, x width, x heads, such as 8x1024 or 8x1024x768, not {part!r}")
        if len(sizes) == 4 and sizes[2] % sizes[3]:
            raise UnknownShape(f"in {part!r}, {sizes[3]} heads do not divide the width {sizes[2]}")
        shapes.append(sizes)
    if not shapes:
        raise UnknownShape("no shape named")
    return tuple(shapes)
