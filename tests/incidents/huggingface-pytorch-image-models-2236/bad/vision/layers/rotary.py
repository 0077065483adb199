import torch


def sincos(tokens, width):
    angles = torch.arange(tokens)[:, None] * 10000.0 ** (-torch.arange(0, width, 2) / width)
    return angles.sin().repeat_interleave(2, -1), angles.cos().repeat_interleave(2, -1)


def rotate(x, sin, cos):
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
    return x * cos + turned * sin
