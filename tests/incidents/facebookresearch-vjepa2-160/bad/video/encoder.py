import torch.nn as nn
from video.utils.modules import ClipBlock


class ClipEncoder(nn.Module):
    def __init__(self, dim=32, depth=2, heads=4, drop_rate=0.0, weights_drop_rate=0.0):
        super().__init__()
        self.blocks = nn.ModuleList(
            [ClipBlock(dim=dim, heads=heads, drop_rate=drop_rate, weights_dropout=weights_drop_rate) for _ in range(depth)]
        )

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x
