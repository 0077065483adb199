"""The operations of ATen by what they mean to attention."""

from __future__ import annotations

VIEWS = frozenset(
    "view _unsafe_view reshape _reshape_alias permute transpose t expand unsqueeze squeeze select slice split "
    "split_with_sizes unbind clone _to_copy contiguous alias detach unflatten as_strided chunk narrow lift_fresh "
    "diagonal expand_as unfold".split()
)
CUTS = frozenset("select slice split split_with_sizes unbind narrow chunk index_select index gather".split())
ELEMENTWISE = frozenset("tanh clamp clamp_min clamp_max neg nan_to_num relu sigmoid exp softplus abs".split())
NORMS = frozenset(
    "native_layer_norm native_group_norm linalg_vector_norm norm rsqrt _fused_rms_norm rms_norm "
    "_weight_norm_interface std var var_mean".split()
)
BATCH_NORMS = frozenset(
    "native_batch_norm cudnn_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
    "_batch_norm_no_update".split()
)
REDUCTIONS = frozenset("sum amax max mean norm linalg_vector_norm logsumexp std var var_mean".split())
# Where the place of a token in its sequence matters.
PLACED = frozenset(
    "arange cumsum cumprod roll flip sort topk argsort avg_pool1d avg_pool2d max_pool2d_with_indices avg_pool3d "
    "_adaptive_avg_pool2d adaptive_max_pool2d upsample_bilinear2d upsample_nearest2d upsample_bicubic2d "
    "upsample_nearest1d upsample_linear1d _upsample_bicubic2d_aa _upsample_bilinear2d_aa im2col _fft_r2c _fft_c2c "
    "lstm gru rnn_tanh mkldnn_rnn_layer linspace tril triu tril_indices triu_indices grid_sampler_2d".split()
)
FILLS = frozenset("bernoulli fill zero uniform normal random exponential".split())
CONVOLUTIONS = frozenset("convolution _convolution mkldnn_convolution cudnn_convolution".split())
