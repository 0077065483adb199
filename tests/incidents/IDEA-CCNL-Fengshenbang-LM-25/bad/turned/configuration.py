class TurnedConfig:
    model_type = "turned"

    def __init__(self, hidden_size=32, num_attention_heads=4, attention_probs_dropout_prob=0.0, rotary_value=False):
        self.hidden_size = hidden_size
        self.num_attention_heads = num_attention_heads
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.rotary_value = rotary_value
