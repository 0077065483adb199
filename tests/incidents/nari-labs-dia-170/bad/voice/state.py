from dataclasses import dataclass

import torch


@dataclass
class DecoderState:
    prefill_mask: torch.Tensor

    @classmethod
    def new(cls, text_lengths, longest):
        places = torch.arange(longest)
        present = places[None, :] < text_lengths[:, None]
        return cls((present[:, None, :, None] == present[:, None, None, :]))
