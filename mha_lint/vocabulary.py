"""Patterns of single names tell what names mean to attention; none is matched against the text of code."""

from __future__ import annotations

import re
from functools import lru_cache

# --- layers and functions --------------------------------------------------------------------------------------------

PROJECTS = re.compile(
    r"^(?:add_)?(?:(?:to|w|proj|fc)_?)?(?:q|k|v|qkv|kv|qk|query|key|value|queries|keys|values)(?:_?(?:proj|lin|linear))?$"
)  # names of the linear layers of an attention that is handed over: ``attn.to_q(x)``
ROTATES = re.compile(  # queries, or queries and keys
    r"(?<![a-z])apply_(?:\w*_)?(?:rope|rotary|rot_emb(?:ed)?)(?![a-z])(?!\w*inplace)", re.IGNORECASE
)
KEEPS_MEANING = re.compile(  # layers: what they are given stays it
    r"norm|drop|layer_?scale|^ls_?\d*$|(?:^|_)(?:ln|rms)(?:_|\d|$)", re.IGNORECASE
)
# Methods that nothing but tensors and arrays has; none of these works in place.
OF_TENSORS_ALONE = frozenset(
    ("unsqueeze", "repeat_interleave", "reshape", "permute", "swapaxes", "movedim", "moveaxis", "unflatten")
)
MAPS = re.compile(r"proj|linear|dense|conv|mlp|ffn|fc|attn|attention", re.IGNORECASE)  # layers that make another of it
NEIGHBOURS = re.compile(r"^(?:torch_geometric|torch_scatter|dgl)\.(?:\w+\.)*(?:softmax|scatter_softmax|edge_softmax)$")
SETS_UP = re.compile(r"(?<![a-z])init|initiali[sz]|Init")  # functions that are given a layer and set up its numbers
WRAPS = re.compile(  # functions, in small letters, and classes that are given a layer and make one like it
    r"^(?!.*(?:clone|copies|repeat|stack|list|fold|count|num|params))[a-z_0-9]+$|[wW]rap|Lo[rR][aA]|Norm|Init|Equal|Quant|"
    r"Checkpoint|Parallel|Compile|Ortho|Spectral|TimeDistributed"
)
MAPS_LINEARLY = re.compile(
    r"linear|dense|proj|conv|mix|(?:^|_)(?:fc|out)(?:$|_)", re.IGNORECASE
)  # layers: W^O may be one
PROJECTS_OUT = re.compile(  # the projection behind attention
    r"^(?:(?:to|w|c|o|fc)_)?(?:out|output|o)_?(?:proj|projection|layer|linear|conv|fc)?$"
    r"|^(?:c_)?proj(?:ection)?_?(?:o|out|output)?$|^wo$"
)
LARGEST = re.compile(r"^(?:a?max|logsumexp)$")  # functions that give the largest of a row, or about that
ATTENDS = re.compile(r"att(?:n|en|\b)|mha|(?:^|_)heads?|Heads?(?:$|[A-Z])", re.IGNORECASE)  # classes
EMBEDS = re.compile(  # classes that make tokens (b, t, c) of an input, or give them positions
    r"embed|tokeni|patchif|^stem|Stem|position", re.IGNORECASE
)
BUILDS = re.compile(r"init|reset|build|setup|load", re.IGNORECASE)  # functions that run before a module moves
IMPORTS = re.compile(  # functions that are given the name of a module and return it
    r"import|lazy|(?<![a-z])load_module|(?<![a-z])optional(?:_module|_dep|_package)", re.IGNORECASE
)
TRIES_OUT = re.compile(  # contexts in which a call is made for its error or for its time
    r"raises|warns|(?<![a-z])assert|expect|suppress|profil|(?<![a-z])tim(?:e|er|eit|ing)(?![a-z])|bench", re.IGNORECASE
)
ASKS_WHO_RUNS = re.compile(  # whether the code runs for a compiler, an exporter or a tracer
    r"(?<![a-z])is_(?:\w+_)?(?:compiling|exporting|scripting|tracing|fake_tensor|fx_proxy)|torchdynamo|(?<![a-z])is_dynamo"
)
LEFT_OUT_OF_GRAPHS = re.compile(  # decorators of functions that no graph looks into
    r"^(?:disable|unused|ignore|script|script_if_tracing|custom_op|allow_in_graph|nonstrict_trace|triton_op|impl)$"
    r"|no_compile|not_compil|constant_result"
)
TALKS = re.compile(  # conditions and functions of code that tells its author something
    r"(?<![a-z])(?:debug|verbose|log(?:ger|ging)?|print|warn(?:ing|ings)?|stats|visuali[sz]e|profile)(?![a-z])",
    re.IGNORECASE,
)
TRIES = re.compile(r"(?:^|_)(?:test|bench|benchmark|profile|measure)(?:_|$)")  # functions of no model

LAYS_OUT = re.compile(  # what attention, or a change of layout, can't be written without: too much, never too little
    r"^(?:view|contiguous|unbind|(?:un)?flatten|transpose|t|T|mT|swap(?:axes|dims)|permute|movedim|moveaxis|stack|chunk"
    r"|cat|concat|concatenate|einsum|bmm|baddbmm|matmul|masked_fill|masked_scatter|scaled_dot_product_attention"
    r"|MultiheadAttention|Transformer(?:(?:En|De)coder(?:Layer)?)?)$"
    r"|reshape|[rR]earrange|[sS]oftmax"
)
CHOOSES_KEYS = re.compile(  # what tells which keys a query may see, besides the mask itself
    r"^(?:is_causal|causal|tril|triu|masked_fill|logical_(?:not|or|and)|finfo|dropout_p)$"
)
SCORES = re.compile(
    r"[sS]oftmax|scaled_dot_product|MultiheadAttention|attention_interface|^Transformer(?:$|(?:En|De)coder(?:Layer)?$)"
)
FUSED = re.compile(  # functions that attend in one kernel, and what chooses among them
    r"scaled_dot_product_attention|flash_attn|flash_attention|memory_efficient_attention|flex_attention"
    r"|attention_interface|attention_function|dispatch_attention|xformers|varlen_attn|sageattn",
    re.IGNORECASE,
)
DROPS_NUMBERS = re.compile(r"^(?!.*(?:path|head|key|token|block)).*drop", re.IGNORECASE)  # layers, and functions
TURNS = re.compile(r"^(?:cos|sin|polar)$")  # what takes the cosines of angles
COUNTS = re.compile(r"^(?:arange|linspace)$")  # what positions and frequencies begin with
MAKES_ANGLES = re.compile(r"[rR]otary|(?<![a-z])rope(?![a-z])|RoPE|Rope")  # names of classes that do

# --- sizes -----------------------------------------------------------------------------------------------------------

BATCH_SIZE = re.compile(r"^(?:b|bs|bsz|bz|b_?sz|nb|n?_?batch(?:es)?(?:_?size)?|(?:num|n)_batch(?:es)?)$", re.IGNORECASE)
HEADS = re.compile(r"^(?:h|nh|(?:n|num)?_?heads?)$", re.IGNORECASE)
ROWS_AND_COLUMNS = re.compile(r"^(?:[hwxy]\d?|height|width|rows?|cols?|columns?)$", re.IGNORECASE)
SEQUENCE_LENGTH = re.compile(
    r"^(?:[tls]\d?|len|length|[qktls]_?len|seq|seqlen|(?:src|tgt|trg|seq|source|target|query|key|kv|sequence)_?(?:len|length)"
    r"|(?:n|num)_?(?:tokens?|patch(?:es)?)|tokens|time|time_?steps?|hw)$",
    re.IGNORECASE,
)

ACROSS_HEADS = re.compile(  # classes and functions in which tokens are not meant to meet
    r"channel|xca|cross_?covariance|across_?heads?|head_?mix|mix(?:es|ing)?_?heads?|(?<!multi)(?<!multi_)heads?_?att",
    re.IGNORECASE,
)
ACROSS_ENTRIES = re.compile(  # classes and layers in which entries of a batch are meant to meet
    r"batch(?!_?norm|_?first)|frame|temporal|(?:^|_)across|(?-i:Across)|(?:inter|cross)_?(?:sample|instance|view|image|entry|entries)",
    re.IGNORECASE,
)

# --- tensors ---------------------------------------------------------------------------------------------------------

_PROJECTION = r"(?:(?:to|w|proj|fc|linear|lin|mixed)_?)?"
_LAYER = r"(?:_?(?:proj|projection|lin|linear|layer|net|fc|states?|head))?"
OF_QUERIES = re.compile(rf"^{_PROJECTION}(?:q|query|queries)s?{_LAYER}$", re.IGNORECASE)  # tensors, and their layers
OF_KEYS = re.compile(rf"^{_PROJECTION}(?:k|key)s?{_LAYER}$", re.IGNORECASE)
OF_VALUES = re.compile(rf"^{_PROJECTION}(?:v|value)s?{_LAYER}$", re.IGNORECASE)
SHARES = re.compile(
    r"shar(?:e|ed|es|ing)(?![a-z])|(?<![a-z])(?:un)?tied?(?![a-z])|same|equal|(?<![a-z])eq(?![a-z])", re.IGNORECASE
)
QUERIES = re.compile(r"(?:^|[._x])q(?:$|[_0-9])|quer", re.IGNORECASE)
KEYS = re.compile(r"(?:^|[._x])k(?:$|[_0-9])|key", re.IGNORECASE)
CACHE = re.compile(r"cache|past|(?<![a-z])kvs?(?![a-z])", re.IGNORECASE)  # of keys and values
EARLIER = re.compile(r"cache|past|prev|history|(?<![a-z])mems?(?![a-z])", re.IGNORECASE)  # tokens of earlier calls
CACHED = re.compile(r"cache|past|prev", re.IGNORECASE)  # keys of earlier calls, and nothing that is learned
STARTS = re.compile(r"offset|start|(?:past|cached?)_?len", re.IGNORECASE)  # where the positions of new tokens begin
ALLOCATED = re.compile(r"cached?(?![a-z])|(?<![a-z])cached?", re.IGNORECASE)  # a cache that is as large as it will be
ROTATION = re.compile(r"(?:^|_)(?:cos|sin|freqs?)(?:$|_)", re.IGNORECASE)  # what a rotation multiplies with
DIAGONALS = re.compile(r"diag|trace|(?<![a-z])tr(?![a-z])", re.IGNORECASE)
BIAS = re.compile(r"bias|alibi|rel_?pos|relative|position", re.IGNORECASE)  # what is added to scores, and masks nothing
MASKS = re.compile(r"mask", re.IGNORECASE)
KEEPS_MASKS = re.compile(r"mask|bias|cache|kept|buffer", re.IGNORECASE)  # in a condition: what was made before, maybe
ATTENDS_TO = re.compile(r"(?<![a-z])(?:attn|attention|key)(?![a-z])", re.IGNORECASE)  # what a mask is for
PADDING = re.compile(r"pad", re.IGNORECASE)
PADS = re.compile(  # the token, or its number, that stands for padding
    r"^(?!.*(?:no[nt]?|un)_?pad)(?:.*[^a-z])?<?pad(?:ding)?(?:$|>|_?(?:id|idx|ind|index|ix|token|tok|symbol|value|val|word|char)s?(?:$|[_A-Z]))",
    re.IGNORECASE,
)
TOKEN_IDS = re.compile(
    r"(?:^|_)(?:ids?|token_?ids?|tokens)$", re.IGNORECASE
)  # numbers of tokens, of which 0 is padding
LAYS_ANEW = re.compile(r"^(?:unsqueeze|view|reshape|expand|to|cuda|long|type_as)$")  # and keeps the numbers
LENGTHS = re.compile(  # how many tokens each entry of a batch has
    r"^(?!.*(?:pre|past|cache|mask|pad|start|prompt|skip|drop|max|min|mem|context))(?:\w*_)?(?:valid_?|seq_?|src_?|tgt_?|key_?|k_?|input_?)?(?:len|length)s?$",
    re.IGNORECASE,
)
SOFT_MASKS = re.compile(r"soft|learn|prob|weight|scale|scor|bias|embed|token|prun|sparse|span|head", re.IGNORECASE)
OF_ROWS = re.compile(  # what hides queries, not keys
    r"rand|bernoulli|drop|isnan|isinf|isfinite|quer(?!\w*len)|row|heads?_?mask|\bgat(?:e|ing)|keepdim|[tT]hresh|topk"
)

WIDTH_OF_HEAD = re.compile(
    r"(?<![a-z])heads?_?(?:dim|size|width|features|channels)|(?:dim|size|d|width)_?(?:per_?)?head(?!s)", re.IGNORECASE
)

# --- settings --------------------------------------------------------------------------------------------------------

DEVICE = re.compile(r"device|cuda|cpu|meta\b|\bmps\b", re.IGNORECASE)
MOVES = re.compile(r"device|cuda|^to$|^type_as$")  # what takes a tensor to a device
SETS_DEFAULT = re.compile(r"^set_default_(?:device|tensor_type)$")
OTHER_STRIDES = re.compile(r"(?<![a-z])(?:tpu|xla)(?![a-z])", re.IGNORECASE)  # tensors of XLA have no strides
TYPE = re.compile(r"^(?:dtype|bfloat16|float\d*|half|double|bool|u?int\d*|long|short)$")
WHOLE = re.compile(r"^(?:u?int\d*|long|short)$")  # types of whole numbers
LOWER_PRECISION = re.compile(r"float16|half|bfloat16|dtype|type_as")
PRECISION = re.compile(r"dtype|half|fp16|float16|float32|bf16|precision|autocast", re.IGNORECASE)
AUTOCAST = re.compile(r"autocast|custom_fwd")
MODE = re.compile(r"train|eval|infer|determin|grad_enabled", re.IGNORECASE)  # whether this is training
WITHOUT_GRADIENTS = re.compile(r"no_grad|inference_mode")  # contexts and decorators
STAGE = re.compile(r"prefill|prompt|decod|increment|first|empty|step|generat", re.IGNORECASE)  # of generation
DECODES = re.compile(r"decod(?:e|ing)(?![a-z])|increment", re.IGNORECASE)  # token by token
PREFILLS = re.compile(r"prefill", re.IGNORECASE)  # many tokens at once
NO_LENGTH = re.compile(  # numbers that tell nothing of how many keys there are
    r"head|group|(?:^|_)n?_?rep|version|layer|drop|n?dim(?!_?len)|dtype|device|block_idx|world|rank", re.IGNORECASE
)
LENGTH = re.compile(
    r"shape|size|len|seq|pos|past|offset|start|cache|^[tlns]\d?$|(?:^|_)(?:tgt|src|time|steps?|tokens?)(?:$|_|\d)",
    re.IGNORECASE,
)
DROPS_ON_PURPOSE = re.compile(r"mc_?drop|mcd(?:rop|\b)|monte|bayes|uncertain|always|forced?_|stochastic", re.IGNORECASE)
SETTINGS = re.compile(r"\b(?:config|cfg|conf|args|hparams|params|opts?|options)\b")


@lru_cache(maxsize=16384)
def is_said(meaning: re.Pattern[str], name: str) -> bool:
    """A name means what a pattern looks for; the same few names are asked again on each path."""
    return meaning.search(name) is not None
