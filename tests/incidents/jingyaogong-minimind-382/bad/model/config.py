class SmallConfig:
    model_type = "small"

    def __init__(self, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, dropout=0.0, flash_attn=True):
        self.hidden_size = hidden_size
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.dropout = dropout
        self.flash_attn = flash_attn
