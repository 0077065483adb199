# run: Weighed(24, 4)(torch.randn(5, 2, 24))
# run: Weighed(24, 4)(torch.randn(5, 2, 24), more=torch.randn(8, 3, 6), other=torch.randn(8, 3, 6), told=True)
"""Many paths, and much to do on each, before anything is attended to."""
import logging

import torch
from torch import nn

logger = logging.getLogger(__name__)


class Weighed(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.q_proj, self.k_proj, self.v_proj, self.out = (nn.Linear(width, width) for _ in range(4))

    def shape(self, x, t, b):
        return x.view(t, b * self.heads, self.head_width).transpose(0, 1)

    def forward(self, x, more=None, other=None, told=False, bias=None, sharp=None, late=None, chart=()):
        t, b, width = x.size()
        q, k, v = self.shape(self.q_proj(x), t, b), self.shape(self.k_proj(x), t, b), self.shape(self.v_proj(x), t, b)
        if more is not None:
            k = torch.cat([k, more], 1)
        if other is not None:
            v = torch.cat([v, other], 1)
        if sharp is not None:
            q = q * sharp
        if late is not None:
            k = k + late
        shift = 0.0 if bias is None else 1.0
        if told:
            logger.debug("lengths %s %s", k.size(1), v.size(1))
        counts = []
        counts.append((q.size(0), k.size(0), v.size(0), q.size(1), k.size(1), v.size(1), q.size(2), k.size(2)))
        counts.append((q.size(0), k.size(0), v.size(0), q.size(1), k.size(1), v.size(1), q.size(2), k.size(2)))
        counts.append((q.size(0), k.size(0), v.size(0), q.size(1), k.size(1), v.size(1), q.size(2), k.size(2)))
        counts.append((q.size(0), k.size(0), v.size(0), q.size(1), k.size(1), v.size(1), q.size(2), k.size(2)))
        counts.append((q.size(0), k.size(0), v.size(0), q.size(1), k.size(1), v.size(1), q.size(2), k.size(2)))
        counts.append((q.size(0), k.size(0), v.size(0), q.size(1), k.size(1), v.size(1), q.size(2), k.size(2)))
        counts.append((q.size(0), k.size(0), v.size(0), q.size(1), k.size(1), v.size(1), q.size(2), k.size(2)))
        counts.append((q.size(0), k.size(0), v.size(0), q.size(1), k.size(1), v.size(1), q.size(2), k.size(2)))
        assert all(each[0] == b * self.heads for each in counts)
        assert k.size(1) == v.size(1) and k.size(2) == v.size(2) == self.head_width
        weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) * self.head_width**-0.5 + shift, dim=-1)
        context = torch.bmm(weights, v).transpose(0, 1)
        return self.out(context.view(t, b, width)), chart  # expect: MHA001
