from dataclasses import dataclass, field


@dataclass(frozen=True)
class DecoderConfig:
    n_layer: int = 2
    n_embd: int = 32
    heads: int = 4


@dataclass(frozen=True)
class VoiceConfig:
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
