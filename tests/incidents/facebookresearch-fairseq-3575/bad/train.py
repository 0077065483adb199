from argparse import Namespace

import torch
from seq.modules import EncoderLayer


def main(fp16=False):
    args = Namespace(encoder_embed_dim=32, encoder_attention_heads=4, attention_dropout=0.0)
    layer = EncoderLayer(args)
    x = torch.randn(5, 2, 32)
    mask = torch.ones(5, 5).triu(1)
    if fp16:
        layer, x, mask = layer.half(), x.half(), mask.half()
    return layer(x, attn_mask=mask)


if __name__ == "__main__":
    main()
