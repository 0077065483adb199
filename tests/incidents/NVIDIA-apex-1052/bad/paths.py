import torch
import torch.nn as nn
import torch.nn.functional as F


class PathReasoning(nn.Module):
    """Between two entities there are several paths; the pair attends to those that there are."""

    def __init__(self, config):
        super().__init__()
        self.hidden_size = config.hidden_size
        self.pair = nn.Linear(2 * config.hidden_size, config.hidden_size)
        self.path = nn.Linear(config.hidden_size, config.hidden_size)
        self.score = nn.Linear(config.hidden_size, 1)
        self.classify = nn.Linear(2 * config.hidden_size, config.relation_num)

    def forward(self, head, tail, paths, path_mask):
        pair = self.pair(torch.cat([head, tail], dim=-1))
        scores = self.score(torch.tanh(self.path(paths) + pair.unsqueeze(-2)))
        scores_mask = scores.masked_fill(~path_mask.unsqueeze(-1), -1e9)  # expect: MHA108
        weights = F.softmax(scores_mask, dim=-2)
        mix = (weights * paths).sum(dim=-2)
        return self.classify(torch.cat([pair, mix], dim=-1))
