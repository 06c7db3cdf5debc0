"""Prepare trained networks for fast inference."""

from copy import deepcopy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def for_inference(model: Network) -> Network:
    """Return a copy with the same outputs that is faster on a CPU; it can neither be trained nor explained.

    Batch normalisation that follows a convolution is folded into its kernel, and kernels are stored
    channels-last, which oneDNN needs.
    """
    copy = deepcopy(model).eval()
    for part in copy.modules():
        if isinstance(part, nn.Sequential):
            for index, (layer, follower) in enumerate(pairwise(list(part))):
                if isinstance(layer, nn.Conv2d) and isinstance(follower, nn.BatchNorm2d):
                    part[index] = fuse_conv_bn_eval(layer, follower)
                    part[index + 1] = nn.Identity()
    return copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
