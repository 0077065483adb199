"""The order of the words decides what each gets, although nothing tells their places."""

import torch
from incident_checks import order_matters


def wrong(load):
    return order_matters(load("models.encoder_classifier").Multi_Head(32, 4), torch.randn(2, 6, 32))
