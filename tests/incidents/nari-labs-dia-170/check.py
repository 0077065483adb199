"""The reference kernel raises when a prompt is read."""

import torch
from incident_checks import raises_on_the_reference_kernel


def wrong(load):
    decoder = load("voice.layers").VoiceDecoder(load("voice.config").VoiceConfig())
    state = load("voice.state").DecoderState.new(torch.tensor([5, 3]), 5)
    return raises_on_the_reference_kernel(
        "should not be set when is_causal", lambda: decoder(torch.randn(2, 5, 32), state)
    )
