# run: SelfAttn(20, 4)(torch.rand(3, 6, 20))
import torch, torch.nn as nn


class SelfAttn(nn.Module):
  def __init__(self, emb, heads):
    super().__init__()
    self.emb, self.heads = emb, heads
    self.tokeys    = nn.Linear(emb, emb, bias=False)
    self.toqueries = nn.Linear(emb, emb, bias=False)
    self.tovalues  = nn.Linear(emb, emb, bias=False)
    self.unifyheads = nn.Linear(emb, emb)

  def forward(self, x):
    b, t, e = x.size()
    h = self.heads
    s = e // h

    keys    = self.tokeys(x).view(b, t, h, s)
    queries = self.toqueries(x).view(b, t, h, s)
    values  = self.tovalues(x).view(b, t, h, s)

    # fold heads into the batch dimension
    keys = torch.transpose(keys, 1, 2).contiguous().view(b * h, t, s)
    queries = torch.transpose(queries, 1, 2).contiguous().view(b * h, t, s)
    values = torch.transpose(values, 1, 2).reshape(b * h, t, s)

    dot = torch.bmm(queries, keys.transpose(1, 2))
    dot = dot / (s ** (1/2))
    dot = torch.softmax(dot, dim=2)

    out = torch.bmm(dot, values).view(b, h, t, s)
    out = torch.transpose(out, 1, 2).view(b, t, s * h)  # expect: MHA001
    return self.unifyheads(out)
