"""Transformer encoders of a chosen depth and width, for how export grows with the model."""

import os

import torch


def make():
    """DEPTH layers of WIDTH (environment variables), random weights, any batch."""
    torch.manual_seed(0)
    depth, width = int(os.environ["DEPTH"]), int(os.environ["WIDTH"])
    layer = torch.nn.TransformerEncoderLayer(
        width, width // 64, 4 * width, batch_first=True, activation="gelu", dropout=0.0
    )
    return torch.nn.TransformerEncoder(layer, depth, enable_nested_tensor=False), (torch.randn(2, 16, width),)
