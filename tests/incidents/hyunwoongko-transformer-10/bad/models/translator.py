import torch
from models.layers.heads import Heads
from torch import nn


class Translator(nn.Module):
    def __init__(self, trg_pad_idx=1, vocabulary=40, d_model=32, n_head=4):
        super().__init__()
        self.trg_pad_idx = trg_pad_idx
        self.embedding = nn.Embedding(vocabulary, d_model)
        self.attention = Heads(d_model, n_head)

    def forward(self, trg):
        x = self.embedding(trg)
        return self.attention(x, x, x, self.make_trg_mask(trg))

    def make_trg_mask(self, trg):
        pad = (trg != self.trg_pad_idx).unsqueeze(1).unsqueeze(3)
        past = torch.tril(torch.ones(trg.shape[1], trg.shape[1], device=trg.device)).bool()
        return pad & past
