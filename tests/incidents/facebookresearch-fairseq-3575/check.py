"""In half precision the fill raises."""

from incident_checks import raises


def wrong(load):
    return raises("without overflow", lambda: load("train").main(fp16=True))
