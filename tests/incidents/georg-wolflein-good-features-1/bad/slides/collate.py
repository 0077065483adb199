import torch


def padded(bags):
    """Bags of tiles, of different lengths, as one tensor and a mask that is 1 at true tiles."""
    longest = max(len(bag) for bag in bags)
    feats = torch.zeros(len(bags), longest, bags[0].shape[-1])
    mask = torch.zeros(len(bags), longest)
    for index, bag in enumerate(bags):
        feats[index, : len(bag)] = bag
        mask[index, : len(bag)] = 1
    return feats, mask
