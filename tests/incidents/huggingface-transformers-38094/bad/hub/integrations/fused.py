import torch


def repeat_kv(hidden: torch.Tensor, n_rep: int) -> torch.Tensor:
    b, kv_heads, s, d = hidden.shape
    if n_rep == 1:
        return hidden
    return hidden[:, :, None, :, :].expand(b, kv_heads, n_rep, s, d).reshape(b, kv_heads * n_rep, s, d)


def fused_attention_forward(module, query, key, value, attention_mask, dropout=0.0, scaling=None, is_causal=None):
    key = repeat_kv(key, module.num_key_value_groups)
    value = repeat_kv(value, module.num_key_value_groups)
    if is_causal is None:
        is_causal = attention_mask is None and query.shape[2] > 1
    y = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, is_causal=is_causal  # expect: MHA106
    )
    return y.transpose(1, 2).contiguous()
