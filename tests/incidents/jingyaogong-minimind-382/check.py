"""The reference kernel raises where a mask is given."""

from incident_checks import raises_on_the_reference_kernel


def wrong(load):
    return raises_on_the_reference_kernel("should not be set when is_causal", load("eval_model").main)
