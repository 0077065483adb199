import torch
from model.config import SmallConfig
from model.small import SmallAttention


def main():
    attention = SmallAttention(SmallConfig()).eval()
    return attention(torch.randn(1, 5, 32), attention_mask=torch.ones(1, 5))


if __name__ == "__main__":
    main()
