# not run: methods by themselves
# fix: none (the code does not say which of the two is meant)
"""Flags that comparisons tell, beside masks and caches."""
import torch
import torch.nn.functional as F
from torch import nn


class A(nn.Module):
    def one(self, q, k, v, mask=None, cache=None):
        t = q.shape[2]
        is_causal = t > 1
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)  # expect: MHA112

    def two(self, q, k, v, mask=None, cache=None):
        first = cache is None
        if cache is not None:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=first and q.shape[2] > 1)  # expect: MHA112

    def good(self, q, k, v, mask=None, cache=None):
        t = q.shape[2]
        is_causal = mask is None and t > 1
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)

    def good2(self, q, k, v, mask=None, cache=None):
        has = mask is not None
        t = q.shape[2]
        is_causal = not has and t > 1
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)

    def good3(self, q, k, v, mask=None, cache=None):
        t = q.shape[2]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal and t > 1)

    def good4(self, q, k, v, cache=None):
        t = q.shape[2]
        mask = None
        if cache is not None:
            mask = torch.ones(t, k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - t)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=cache is None and t > 1)

    def good5(self, q, k, v, cache=None):
        t = q.shape[2]
        first = cache is None
        mask = None
        if not first:
            mask = torch.ones(t, k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - t)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=first and t > 1)

    def good6(self, q, k, v, mask, kind):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=kind == "causal")

    def good7(self, q, k, v, mask, cache=None):
        causal = cache is None and mask is None
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)

    def good8(self, q, k, v, mask=None):
        use = mask is None
        t = q.shape[2]
        flag = use and t > 1
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=flag)


class Cached(nn.Module):
    def __init__(self, n_head, n_kv_head):
        super().__init__()
        self.n_head, self.n_kv_head = n_head, n_kv_head

    def forward(self, q, k, v, cache):
        k, v = cache.update(k, v)
        if self.n_head != self.n_kv_head:
            k = k.repeat_interleave(self.n_head // self.n_kv_head, 1)
            v = v.repeat_interleave(self.n_head // self.n_kv_head, 1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)  # expect: MHA109

    def good(self, q, k, v, cache):
        k, v = cache.update(k, v)
        if q.shape[2] == k.shape[2]:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.scaled_dot_product_attention(q, k, v)

    def good2(self, q, k, v, past=None):
        prefill = past is None
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        t = q.shape[2]
        return F.scaled_dot_product_attention(q, k, v, is_causal=prefill and t > 1)

    def good3(self, q, k, v, past=None):
        prefill = past is None
        if not prefill:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        return F.scaled_dot_product_attention(q, k, v, is_causal=past is None)

    def good4(self, q, k, v, past):
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        t = q.shape[2]
        return F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
