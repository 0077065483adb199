"""Conventional parameter names of this field, and the small values that suit them.

Only names of quantities, never names of classes: it must serve code that nobody prepared for it.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from msgspec import Struct


class Sizing(Struct, frozen=True):
    """The sizes that one attempt to build a module starts from; width = heads × head width, unless it is ``apart``."""

    heads: int
    head_dim: int
    kv_heads: int
    window: int = 4
    space: int = 8
    apart: int = 0

    @property
    def width(self) -> int:
        return self.apart or self.heads * self.head_dim


# Tried in order. Different enough that swapped sizes cannot hide, small enough to be fast.
SIZINGS = (
    Sizing(4, 8, 2),
    Sizing(2, 16, 2),
    Sizing(4, 16, 4),
    Sizing(2, 32, 2),
    Sizing(3, 8, 3, window=7, space=7),
    Sizing(8, 16, 8, space=16),
    Sizing(1, 32, 1, window=2),
    Sizing(4, 64, 4, space=32),
)

# The model's width is not that of all heads together: what confuses the two fails.
APART = Sizing(4, 6, 2, apart=40)

_ROLES: tuple[tuple[str, str], ...] = (
    ("config", r"(config|cfg|conf|args|hparams|hps|opt|opts|model_args|model_config|model_cfg|\w+_config|\w+_cfg)"),
    ("repeat", r"num_key_value_groups|n_rep"),
    ("kv_heads", r"(n|num|nb)_?(kv|key_value|kv_?head|query)_?(heads?|groups?)|num_key_value_heads|kv_heads|"
                 r"n_kv_heads?|(n|num|nb)_?kv"),
    ("heads", r"(n|num|nb|number_of|total_num)?_?(attention|attn|self_attention|encoder_attention|"
              r"decoder_attention|q|query)?_?"
              r"heads?|nhead|heads_num|h|num_heads_q|n_heads?"),
    ("head_dim", r"(dim|size|width)_?(per_)?heads?|heads?_?(dim|size|width|features|channels)|d_?(head|k|v|q|kv|qk)|"
                 r"(num_)?(head_channels|channels_per_head)|attention_head_(dim|size)|(\w+_)?head_?dim|"
                 r"(rotary|rope)_(dim|ndims|size)|dim_(k|v|q|key|value)|(key|value|qk|v|k)_dim|kv_channels"),
    ("rate", r"(\w*_)?(drop|dropout|pdrop)(_?(rate|prob|p|path|out|prob_?\w*))?|p|dropout_\w+|\w*drop_?(rate|"
             r"path|prob)|\w+_pdrop|"
             r"\w*_dropout_\w+"),
    ("mlp", r"intermediate_size|ffn?_?(dim|size|hidden\w*)|mlp_dim|dim_?feedforward|d_?ff|mlp_hidden\w*|"
            r"hidden_features"),
    ("length", r"(max_?)?(block_size|context_(length|size|len)|ctx_len|n_ctx|n_positions|seq_?(len|length)|"
               r"max_?len(gth)?|"
               r"(max_)?position_embeddings|max_position\w*|max_seq_?\w*|sequence_length|num_tokens|max_tokens|"
               r"max_target_positions|"
               r"max_source_positions|source_length|target_length|chunk_size|num_patches|n_tokens|seqlen)"),
    ("window", r"(\w*_)?window(_?size)?|ws|win_size|local_window\w*"),
    ("space", r"(\w*_)?(resolution|feat_size|img_size|image_size|grid_size|fmap_size|input_size|spatial_size|"
              r"(image|input)_resolution)|"
              r"|height|H|W"),
    ("batch", r"(max_)?batch_?size"),
    ("vocab", r"vocab_?size|n_?vocab|num_(embeddings|classes)|n_classes"),
    ("layers", r"(n|num)_?(hidden_)?(layers?|blocks?)|depth|n_layers?|num_(encoder|decoder)_layers"),
    ("index", r"layer_?(idx|id|index|number|num)|(block|head)_?(idx|id|index)|i_layer"),
    ("ratio", r"sr_?ratio|(\w*_)?ratio|expansion|mlp_ratio|mult|(\w*_)?stride|dilation|groups"),
    ("kernel", r"(\w*_)?kernel(_size)?|patch_size|\w*kernel_size"),
    ("eps", r"(\w*_)?(eps|epsilon)"),
    ("theta", r"(rope_|rotary_)?(theta|base)"),
    ("scale", r"(\w*_)?(scale|scaling|multiplier|softcap(ping)?|temperature|pct|percent(age)?|fraction)"),
    ("device", r"device"),
    ("dtype", r"(\w*_)?dtype"),
    ("norm", r"(\w*_)?norm(_layer|_cls|_class|alization)?"),
    ("act", r"(\w*_)?act(ivation)?(_layer|_fn|_func|_function)?|\w*hidden_act|nonlinearity"),
    ("implementation", r"_?attn_implementation(_internal)?|attention_type|attn_type"),
    ("width", r"(\w*_)?(d_?model|embed_?dim|emb(ed|edding)?_?(dim|size|width)?|hidden_?(size|dim|channels|"
              r"features)|n_?embd|n_?state|"
              r"model_dim|dim_?model|inner_dim|attention_dim|attn_dim|attention_hidden_size|proj_dim|"
              r"projection_dim|out_dim|in_dim|"
              r"query_dim|input_dim|output_dim|dims?|(in|out|num|n)?_?(channels?|features|planes|chans?|feats?)|"
              r"d_?(in|out)|dim_?(in|out)|width|all_head_size|q_dim|kdim|vdim|qdim|model_size|emb_size|"
              r"input_size|size|units|latent_dim|"
              r"context_dim|cross_attention_dim|encoder_hidden_size)|c|C|ch|d|e|k|dim_q|dim_kv|d_embed|embed|"
              r"in_ch|out_ch|inplanes|n_feat|hsize|hdim|n_?hid(den)?|n_?inp|d_?hid(den)?"),
    ("flag", r"(use|is|has|with|enable|do|add|apply|return|output|scale|tie|reorder|upcast|need)_\w+|\w*bias|"
             r"causal|masked|flash|"
             r"batch_first|bidirectional|fused|gradient_checkpointing|training|\w*_is_\w*|sliding|"
             r"decoder|cross"),
)  # fmt: skip
# Where no whole name is known, its parts tell: every part of a role's first set, any of its second, none of its third.
_COUNTS = frozenset("n num nb number of no count".split())
_EXTENTS = frozenset("d dim dims dimension dimensions size width features feats channels chans chs ch".split())
_WIDTHS = frozenset(
    "hidden embed embedding embeddings embedded embd emb model width widths channel channels ch chans feature features "
    "feat feats planes dim dims dimension dimensions units".split()
)
_NO_SIZE = frozenset(
    "type name mode path layer layers fn func function cls class module modules map init kind use is has with id ids "
    "index file dir parallel list tensor mult ratio factor per positions position token tokens pos first last "
    "only".split()
)
_NO_NUMBER = frozenset("type name mode mask init map kind list ids idx file path fn cls class".split())
_QUALIFIERS = frozenset("attention attn self cross multi query q total of encoder decoder sa ca mha".split())
_KEYS = frozenset("kv key value".split())
_CHOSEN = frozenset("topk experts groups group mult multiple".split())
_SAMPLING = frozenset("downsample downsampling upsample upsampling reduction compress compression".split())
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_COMPILED = tuple((role, re.compile(pattern, re.IGNORECASE)) for role, pattern in _ROLES)


@functools.cache
def role_of(name: str) -> str:
    """The quantity that a parameter of this name conventionally holds; "" when there is no convention."""
    bare = name.strip("_")
    for role, pattern in _COMPILED:
        if pattern.fullmatch(bare) or pattern.fullmatch(name):
            return role
    return _role_by_parts(set(parts_of(name)))


def parts_of(name: str) -> list[str]:
    """The words of a name, split at underscores and capitals, in lower case."""
    return [part.lower() for part in _PARTS.findall(name)]


def _role_by_parts(parts: set[str]) -> str:
    if parts & {"head", "heads"}:
        rest = parts - {"head", "heads"}
        if rest & _EXTENTS:
            return "head_dim"
        is_count = bool(rest & _COUNTS) and not rest & _NO_NUMBER
        if rest & _KEYS and (is_count or rest - _KEYS <= _COUNTS | _QUALIFIERS):
            return "kv_heads"
        return "heads" if is_count or rest <= _COUNTS | _QUALIFIERS else ""
    if parts & {"drop", "dropout"}:
        return "rate"
    if parts & _NO_NUMBER:
        return ""
    if "rank" in parts:
        return "rank"
    if "experts" in parts and parts & _COUNTS and not parts & {"per", "top", "shared"}:
        return "experts"
    if parts & _CHOSEN or parts >= {"top", "k"}:
        return "count"
    if parts & {"layers", "blocks"} and parts & _COUNTS and not parts & _NO_SIZE - {"layers"}:
        return "layers"
    if parts & _SAMPLING and parts & {"rate", "factor", "ratio"}:
        return "ratio"
    return "width" if parts & _WIDTHS and not parts & _NO_SIZE else ""


def value_of(role: str, sizing: Sizing) -> Any:
    """A plausible value. Raises KeyError where the role has none ("config", "norm", "")."""
    return {
        "width": sizing.width,
        "heads": sizing.heads,
        "kv_heads": sizing.kv_heads,
        "repeat": max(1, sizing.heads // sizing.kv_heads),
        "head_dim": sizing.head_dim,
        "rate": 0.1,
        "mlp": 2 * sizing.width,
        "length": 64,
        "window": sizing.window,
        "space": sizing.space,
        "batch": 8,
        "vocab": 61,
        "layers": 2,
        "index": 0,
        "ratio": 1,
        "rank": sizing.head_dim,
        "experts": 4,
        "count": 2,
        "kernel": 3,
        "eps": 1e-5,
        "theta": 10000.0,
        "scale": 1.0,
        "device": None,
        "dtype": None,
        "act": "gelu",
        "implementation": "eager",
        "flag": False,
    }[role]


_QUERY = re.compile(r"q(uer(y|ies))?|q_in\w*|tgt|target|x_q|hidden_states|x", re.IGNORECASE)
_CONTEXT = re.compile(
    r"(\w*_)?(context|memory|encoder_\w+|enc_\w+|cond|kv|k(eys?)?|v(alues?)?|src|source|cross_\w+|ctx|y|latents?|"
    r"key_value_states|x_kv|key_states|value_states)",
    re.IGNORECASE,
)
_MASK = re.compile(
    r"bool_\w+|(\w*_)?(mask|attn_bias|attention_bias|bias|masks)(_\w+)?|adj\w*|(\w*_)?padding|keep|valid|visible",
    re.IGNORECASE,
)
_IDS = re.compile(r"(\w*_)?(ids|idx|tokens?|input_ids|indices|token_ids|tok)", re.IGNORECASE)
_POSITIONS = re.compile(r"(\w*_)?(position_ids|positions?|pos_ids|cache_position|input_pos)", re.IGNORECASE)
_ROTARY = re.compile(
    r"(\w*_)?(rope\w*|rotary\w*|freqs\w*|pos_emb\w*|position_embeddings?|cos|sin|rel_pos\w*|rot_pos\w*|pe)",
    re.IGNORECASE,
)
_CACHE = re.compile(
    r"(\w*_)?(past\w*|cache\w*|kv_cache|layer_past|k_cache|v_cache|mems?|state|incremental_state|inference_params|"
    r"head_mask|layer_head_mask)",
    re.IGNORECASE,
)
_SPACE = re.compile(
    r"(\w*_)?(size|feat_size|shapes?|resolution|grid_size|hw\w*|spatial_shapes?|grid_shape|x_size|input_size)",
    re.IGNORECASE,
)


def input_kind(name: str) -> str:
    """Return the kind of input that a forward parameter of this name conventionally carries; "tensor" if unknown."""
    for kind, pattern in (
        ("cumulative", re.compile(r"cu_?(seq_?lens?|window_seqlens)\w*", re.IGNORECASE)),
        ("lengths", re.compile(r"(\w*_)?(lens|lengths|seq_?lens)", re.IGNORECASE)),
        ("alibi", re.compile(r"(\w*_)?alibi(_\w+)?", re.IGNORECASE)),
        ("vector", re.compile(r"(\w*_)?(vec|temb|t_emb|time_emb\w*|pooled(_\w+)?|timestep_emb\w*)", re.IGNORECASE)),
        ("positions", _POSITIONS),
        ("mask", _MASK),
        ("cache", _CACHE),
        ("rotary", _ROTARY),
        ("ids", _IDS),
        ("height", re.compile(r"h|height|ny", re.IGNORECASE)),
        ("width", re.compile(r"w|width|nx", re.IGNORECASE)),
        ("start", re.compile(r"start_pos|offset|step|layer_idx|index", re.IGNORECASE)),
        ("count", re.compile(r"(n|num)_\w+|max_\w+|\w*len(gth)?|seqlen\w*", re.IGNORECASE)),
        ("space", _SPACE),
        ("context", _CONTEXT),
        ("flag", re.compile(r"(is|use|need|return|output|with)_\w+|causal|training|verbose", re.IGNORECASE)),
    ):
        if pattern.fullmatch(name):
            return kind
    return "tensor"
