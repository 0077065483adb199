from models.layers.product_attention import ProductAttention
from torch import nn


class Heads(nn.Module):
    def __init__(self, d_model, n_head):
        super().__init__()
        self.n_head = n_head
        self.attention = ProductAttention()
        self.w_q = nn.Linear(d_model, d_model)
        self.w_k = nn.Linear(d_model, d_model)
        self.w_v = nn.Linear(d_model, d_model)
        self.w_concat = nn.Linear(d_model, d_model)

    def forward(self, q, k, v, mask=None):
        q, k, v = self.w_q(q), self.w_k(k), self.w_v(v)
        q, k, v = self.split(q), self.split(k), self.split(v)
        out, _ = self.attention(q, k, v, mask=mask)
        return self.w_concat(self.concat(out))

    def split(self, tensor):
        b, t, c = tensor.size()
        return tensor.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)

    def concat(self, tensor):
        b, h, t, d = tensor.size()
        return tensor.transpose(1, 2).contiguous().view(b, t, h * d)
