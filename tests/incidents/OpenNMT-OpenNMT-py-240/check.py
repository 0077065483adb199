"""The mask does not move with the decoder."""

import torch


def wrong(load):
    decoder = load("translate.modules").MaskedDecoder(32).to("meta")
    return decoder.mask.device != torch.device("meta")
