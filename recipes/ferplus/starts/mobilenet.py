"""Fill a MobileNet with published weights and give it its batch normalisation back.

Shapes: B crops, C channels, S side.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from multimodal_fer.errors import WeightsError
from multimodal_fer.face.zoo.mobilenet import MobileNet
from recipes.ferplus.starts.graph import read_graph
from recipes.ferplus.starts.layers import Layer
from recipes.ferplus.starts.timm import read_timm

READERS = {
    ".json": read_graph,
    ".safetensors": read_timm,
    ".pth": read_timm,
    ".pt": read_timm,
    ".bin": read_timm,
}


def is_published(start: str) -> bool:
    """Return if a start names a file of published weights, not a run or a weights folder."""
    return Path(start).suffix in READERS


def start_from(network: MobileNet, path: Path, images_BSS: Tensor) -> None:
    """Copy published weights into the convolutions of a network; its classifier stays as it is.

    Published files have normalisation folded into the kernels. Where the network has batch normalisation,
    this measures means and deviations on `images_BSS`, at the size of the training, and sets the layer so
    that it returns what it gets: the function stays the same, and training can use batch statistics.

    Raises `WeightsError` if the file cannot be read or does not fit the network.
    """
    layers = READERS[path.suffix](path)
    convolutions = list_convolutions(network)
    if len(layers) < len(convolutions):
        raise WeightsError(
            f"{path}: expected at least {len(convolutions)} convolutions, found {len(layers)}; "
            "choose fewer `widths`"
        )
    for layer, (convolution, _) in zip(layers, convolutions, strict=False):
        if layer.kernel.shape != convolution.weight.shape:
            raise WeightsError(
                f"{path}: {layer.name}: expected a kernel of {tuple(convolution.weight.shape)}, found "
                f"{layer.kernel.shape}"
            )
        if layer.bias.shape != (len(layer.kernel),):
            raise WeightsError(
                f"{path}: {layer.name}: expected {len(layer.kernel)} biases, found {layer.bias.shape}"
            )
    with torch.no_grad():
        for layer, (convolution, norm) in zip(layers, convolutions, strict=False):
            copy_layer(layer, convolution, norm)
        measure_norms(network, images_BSS)


def list_convolutions(network: MobileNet) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
    """Return the convolutions in their order, each with the normalisation behind it."""
    modules = [module for module in network.modules() if not isinstance(module, nn.Sequential)]
    followers = [*modules[1:], None]
    return [
        (module, follower if isinstance(follower, nn.BatchNorm2d) else None)
        for module, follower in zip(modules, followers, strict=True)
        if isinstance(module, nn.Conv2d)
    ]


def copy_layer(layer: Layer, convolution: nn.Conv2d, norm: nn.BatchNorm2d | None) -> None:
    """Copy a kernel and its bias, into the normalisation if the convolution has no bias."""
    convolution.weight.copy_(torch.from_numpy(layer.kernel.copy()))
    bias = torch.from_numpy(layer.bias.copy())
    if convolution.bias is not None:
        convolution.bias.copy_(bias)
    if norm is not None:
        norm.running_mean.zero_()  # type: ignore[union-attr]
        norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
        norm.weight.fill_(1)
        norm.bias.copy_(bias if convolution.bias is None else torch.zeros_like(bias))


def measure_norms(network: MobileNet, images_BSS: Tensor) -> None:
    """Replace each normalisation by an equal one that has the statistics of these images."""
    measured: dict[nn.BatchNorm2d, tuple[Tensor, Tensor]] = {}

    def note(norm: nn.Module, given: tuple[Tensor], output: Tensor) -> None:
        measured[norm] = given[0].mean((0, 2, 3)), given[0].var((0, 2, 3), correction=0)  # type: ignore[index]

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(note) for norm in norms]
    network.eval()(images_BSS)
    for hook in hooks:
        hook.remove()
    for norm, (mean, variance) in measured.items():
        norm.bias.add_(mean)  # type: ignore[operator]
        norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        norm.running_var.copy_(variance)  # type: ignore[union-attr]
        norm.weight.copy_((variance + norm.eps).sqrt())
