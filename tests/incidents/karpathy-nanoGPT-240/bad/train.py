import torch
from model import Decoder, DecoderConfig

dropout = 0.2  # for finetuning, 0.1 or more
heads = 4
width = 32


def evaluate(model, ids):
    model.eval()
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    model.train()
    return loss


def main():
    model = Decoder(DecoderConfig(dropout=dropout, heads=heads, width=width))
    steps = model.optimizer(1e-3)
    ids = torch.randint(0, 40, (2, 9))
    evaluate(model, ids).item()
    steps.zero_grad()


if __name__ == "__main__":
    main()
