import torch
from seq.modules import SharedAttention
from torch import nn


class Encoder(nn.Module):
    def __init__(self, layers=2, width=32, heads=4):
        super().__init__()
        self.layers = nn.ModuleList([SharedAttention(width, heads) for _ in range(layers)])

    def forward(self, x, padding):
        for layer in self.layers:
            x = x + layer(x, key_padding_mask=padding)
        return x


def prepare(model, tpu):
    if tpu:
        for module in model.modules():
            if hasattr(module, "prepare_for_tpu_"):
                module.prepare_for_tpu_()
    return model


def main(tpu=True):
    model = prepare(Encoder(), tpu).eval()
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    return model(torch.randn(5, 2, 32), padding)


if __name__ == "__main__":
    main()
