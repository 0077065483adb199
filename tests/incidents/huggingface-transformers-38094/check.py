"""A later token changes what an earlier one gets, although the mask is causal."""

import torch


def wrong(load):
    config = load("hub.models.chat.configuration_chat").ChatConfig()
    model = load("hub.models.chat.modeling_chat").ChatModel(config).eval()
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    other = torch.tensor([[1, 2, 3, 4, 6]])
    return not torch.allclose(model(ids)[:, :4], model(other)[:, :4], atol=1e-5)
