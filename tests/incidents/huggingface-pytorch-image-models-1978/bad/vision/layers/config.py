"""Which kernels may be used: set once for a process, asked when a layer is built."""
import os
from typing import Optional

import torch.nn.functional as F

_CAN = hasattr(F, "scaled_dot_product_attention")
_WANTED = int(os.environ.get("VISION_FUSED", "1"))


def fused_here(untried: bool = False) -> bool:
    if not _CAN:
        return False
    if untried:
        return _WANTED > 1
    return _WANTED > 0


def set_fused(enable: Optional[bool] = True) -> None:
    global _WANTED
    _WANTED = int(bool(enable))
