"""The names by which the ground of MHA201 is read, in one place, so that a reader can judge them."""

from __future__ import annotations

import re

PRODUCTS = frozenset({"matmul", "bmm", "mm", "einsum", "baddbmm", "contract", "tensordot"})

FUSED = re.compile(
    r"scaled_dot_product_attention|memory_efficient_attention|flash_attn|flash_attention|flex_attention"
    r"|^ALL_ATTENTION_FUNCTIONS$|^attention_interface$|^multi_head_attention_forward$|^xops$"
)

# What only looks at a tensor: the result has no part in attention.
LOOKS = frozenset(
    {"size", "dim", "numel", "stride", "is_contiguous", "new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"}
    | {"zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "finfo", "get_device"}
    | {"isnan", "isinf", "isfinite", "any", "all", "allclose", "len", "isinstance", "hasattr", "print", "id", "str"}
    | {
        "warn",
        "warning",
        "debug",
        "info",
        "warning_once",
        "masked_bias",
        "item",
        "tolist",
        "max",
        "amax",
        "min",
        "amin",
    }
)

CHANNELS = re.compile(r"channel|cross_?covariance|xca", re.IGNORECASE)  # attention that is not over tokens

NUMBERS = re.compile(r"max_neg|neg_value|min_value|mask_value|dtype_min|min_dtype")  # a number for this dtype

# What hands its tensor on, maybe in another shape.
PASSES = frozenset(
    {
        "view",
        "reshape",
        "unsqueeze",
        "squeeze",
        "flatten",
        "unflatten",
        "expand",
        "contiguous",
        "clone",
        "detach",
        "view_as",
    }
    | {
        "chunk",
        "split",
        "unbind",
        "rearrange",
        "repeat",
        "nan_to_num",
        "clamp",
        "clamp_",
        "clamp_min",
        "clamp_max",
        "clip",
    }
    | {
        "narrow",
        "tril",
        "triu",
        "tril_",
        "triu_",
        "sum",
        "mean",
        "expand_as",
        "requires_grad_",
        "cuda",
        "cpu",
        "reshape_as",
    }
    | {
        "requires_grad",
        "pad",
        "tuple",
        "list",
        "zip",
        "enumerate",
        "reversed",
        "gather",
        "index_select",
        "select",
        "pack",
    }
    | {
        "unpack",
        "sigmoid_",
        "as_strided",
        "movedim",
        "roll",
        "flip",
        "item_",
        "constrain",
        "refine_names",
        "rename",
        "align_to",
    }
)

TURNS = frozenset({"transpose", "permute", "swapaxes", "swapdims", "t"})
CASTS = frozenset({"to", "type_as", "type", "half", "bfloat16", "double", "float"})
OF_THE_FIRST = CASTS | {"masked_fill", "masked_fill_", "view_as", "expand_as", "reshape_as"}  # of their receiver
FILLS = frozenset({"masked_fill", "masked_fill_", "where"})
JOINS = frozenset({"cat", "concat", "concatenate", "stack", "hstack", "vstack", "logsumexp"})
CHOOSES = frozenset({"topk", "sort", "argsort", "scatter", "scatter_", "kthvalue"})
SQUASHES = frozenset({"tanh", "softcap", "soft_cap"})
BENDS = frozenset(
    {
        "sigmoid",
        "relu",
        "relu_",
        "leaky_relu",
        "gelu",
        "silu",
        "exp",
        "exp_",
        "log",
        "softplus",
        "elu",
        "cos",
        "pow",
        "sqrt",
    }
    | {"abs", "square", "softsign", "norm", "normalize", "layer_norm", "logsigmoid", "pinv", "inverse"}
)
ARITHMETIC = {
    "mul": "*", "mul_": "*", "multiply": "*", "div": "/", "div_": "/", "true_divide": "/",
    "add": "+", "add_": "+", "sub": "-", "sub_": "-",
}  # fmt: skip
KEEPS = frozenset(
    {"append", "extend", "insert", "add", "update", "setdefault", "put", "appendleft", "save_for_backward"}
)

DROPOUT = re.compile(r"drop", re.IGNORECASE)
MASK = re.compile(r"mask|neg_?inf|causal|pad", re.IGNORECASE)
BIAS = re.compile(r"bias|pos|rel|alibi|rpe|distance", re.IGNORECASE)
SCALE = re.compile(
    r"scal|sqrt|temper|tau|norm_fact|factor|head_dim|dim_head|head_size|width|\bdim\b|_dim\b|\bd_k\b|\bdk\b|alpha|beta|attn_mult"
    r"|softmax_temp|logit_scale|multiplier|hidden_size|ch\b|channels|d_model|d_head|coeff|normalizer|inv_"
)
SCORES = re.compile(r"score|attn|attention|\bsim|dots|energy|affin|\bqk|similarity|\batt\b", re.IGNORECASE)
LOGITS = re.compile(r"logit", re.IGNORECASE)  # scores in a function about attention, classes elsewhere
ATTENDS = re.compile(r"att", re.IGNORECASE)
MAKES_WEIGHTS = re.compile(
    r"(attention_scores|attention_probs|attn_probs|attention_weights|attn_weights|get_attn|get_attention)\b"
)
CACHE = re.compile(r"cache|past_key|past_kv|past_value|layer_past|present|saved_state|incremental", re.IGNORECASE)
CAUSAL = re.compile(r"causal|tril|triu|subsequent|future", re.IGNORECASE)
GROUPED = re.compile(r"repeat_kv|repeat_interleave|n_rep|num_key_value_groups|kv_heads|num_kv", re.IGNORECASE)

# A softmax that is none, or that is another one.
NOT_A_SOFTMAX = re.compile(
    r"log_?softmax|gumbel|loss|cross|scal|temp|dtype|fp32|ctc|_dim$|adaptive|scaling", re.IGNORECASE
)
SOFTMAX = re.compile(r"soft_?max", re.IGNORECASE)
LAYER_OF_SOFTMAX = re.compile(r"^(Softmax|softmax)$")
DISPATCHER = re.compile(r"eager_attention|attention_forward$|^eager_|_eager$")
