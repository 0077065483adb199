# run: attend(torch.randn(2, 24, 8), 4, 6)
# run: attend_in_windows(__import__("numpy").zeros((2, 4, 6, 8)), 2)
"""Arrays of numpy are given all of their axes by ``transpose``."""

import numpy as np
import torch
import torch.nn.functional as F


def merged_index(rows, columns, size):
    index = np.arange(rows * columns).reshape(rows // size, size, columns // size, size)
    return torch.from_numpy(index.transpose(0, 2, 1, 3).reshape(-1, size * size))


def windows(image, size):
    b, h, w, c = image.shape
    image = image.reshape([b, h // size, size, w // size, size, c])
    return image.transpose([0, 1, 3, 2, 4, 5]).reshape([-1, size * size, c])


def attend(x, rows, columns):
    x = x[:, merged_index(rows, columns, 2).flatten()]
    return F.scaled_dot_product_attention(x, x, x)


def attend_in_windows(image, size):
    x = torch.from_numpy(windows(image, size))
    return F.scaled_dot_product_attention(x, x, x)
