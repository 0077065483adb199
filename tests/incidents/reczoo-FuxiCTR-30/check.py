"""The order of the fields decides what each gets."""

import torch
from incident_checks import order_matters


def wrong(load):
    return order_matters(load("clicks.models.interactions").SelfField(16, 2), torch.randn(2, 6, 16))
