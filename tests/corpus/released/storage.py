# run: PagedAttention().views(torch.randn(5, 8, 2, 64), torch.randn(5, 8, 2, 64))
"""A cache is memory that others have laid out: a view of it says how."""

import torch


class PagedAttention:
    def views(self, key_cache, value_cache):
        blocks, block_size, heads, width = key_cache.shape
        step = 16 // key_cache.element_size()
        keys = key_cache.reshape(blocks, heads, width // step, block_size, step)
        values = value_cache.reshape(blocks, heads, block_size // step, width, step)
        return keys, values

    def attend(self, query, key_cache, value_cache, run):
        keys, values = self.views(key_cache, value_cache)
        scores = torch.einsum("thd,shd->hts", query, key_cache[0])
        return run(scores.softmax(-1), keys, values)
