# run: Merger(8, 12, 2)(torch.randn(3, 4, 8))
# run: Joints(8, 5)([torch.randn(2, 8, 1)])
"""A convolution as large as what it is given leaves one row and one column, which go with the batch."""

import torch.nn.functional as F
from torch import nn


class Merger(nn.Module):
    def __init__(self, width, merged, size):
        super().__init__()
        self.size, self.merged = size, merged
        self.qkv = nn.Linear(width, 3 * width)
        self.down = nn.Conv2d(width, merged, kernel_size=size, stride=size)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        x = F.scaled_dot_product_attention(q, k, v)
        x = x.view(-1, self.size, self.size, x.shape[-1]).permute(0, 3, 1, 2)
        return self.down(x).view(-1, self.merged)


class Joints(nn.Module):
    """The last of several maps has one step."""

    def __init__(self, width, joints):
        super().__init__()
        self.qkv, self.joints = nn.Linear(width, 3 * width), joints
        self.to_joints = nn.Conv1d(width, 3 * joints, 1)

    def forward(self, features):
        q, k, v = self.qkv(features[-1].transpose(1, 2)).chunk(3, dim=-1)
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.to_joints(x).reshape(-1, self.joints, 3)
