import torch
import torch.nn as nn


class Attention(nn.Module):
    """A sequence of queries reads a context."""

    def __init__(self, dimensions, attention_type="general"):
        super().__init__()
        if attention_type not in ["dot", "general"]:
            raise ValueError("Invalid attention type selected.")
        self.attention_type = attention_type
        if self.attention_type == "general":
            self.linear_in = nn.Linear(dimensions, dimensions, bias=False)
        self.linear_out = nn.Linear(dimensions * 2, dimensions, bias=False)
        self.softmax = nn.Softmax(dim=0)  # or here: MHA105
        self.tanh = nn.Tanh()

    def forward(self, query, context):
        batch_size, output_len, dimensions = query.size()
        query_len = context.size(1)
        if self.attention_type == "general":
            query = query.contiguous().view(batch_size * output_len, dimensions)
            query = self.linear_in(query)
            query = query.view(batch_size, output_len, dimensions)
        scores = torch.bmm(query, context.transpose(1, 2).contiguous())
        scores = scores.view(batch_size * output_len, query_len)
        weights = self.softmax(scores)  # expect: MHA105
        weights = weights.view(batch_size, output_len, query_len)
        mix = torch.bmm(weights, context)
        combined = torch.cat((mix, query), dim=2).view(batch_size * output_len, 2 * dimensions)
        return self.tanh(self.linear_out(combined).view(batch_size, output_len, dimensions)), weights
