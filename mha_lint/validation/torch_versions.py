"""Which versions of torch can execute what validation executes."""

from __future__ import annotations

import re

OLDEST = "2.4"  # older ones cannot be asked whether there is autocast on the CPU, nor what the default device is


def is_too_old(version: str) -> bool:
    """Tell whether a version of torch, such as ``2.1.0+cu121``, is older than :data:`OLDEST`."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and tuple(map(int, numbers.groups())) < tuple(map(int, OLDEST.split(".")))
