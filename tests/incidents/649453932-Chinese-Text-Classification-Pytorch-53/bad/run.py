from importlib import import_module

import torch


def main(name="encoder_classifier"):
    module = import_module("models." + name)
    config = module.Config()
    model = module.Model(config).eval()
    return model(torch.zeros(2, config.pad_size, dtype=torch.long))


if __name__ == "__main__":
    main()
