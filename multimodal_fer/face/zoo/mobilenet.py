"""MobileNet v1 (Howard et al. 2017) for faces, laid out as the published networks for face recognition.

Shapes: B crops, C channels, H W pixels of a map, S side of the network's input, D embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.face.network import FaceConfig, FaceNetwork
from multimodal_fer.face.normalisation import resize, standardise
from multimodal_fer.layers.output import Output

# Mean and deviation that crops are given, in grey levels. The deviation is that of the corpus; the mean is
# how much brighter the corpus is than the photographs (VGGFace2) that the published weights expect around 0.
CONTRAST = 57.0
BRIGHTNESS = 15.0


@dataclass(frozen=True)
class MobileNetConfig(FaceConfig):
    """Settings of a MobileNet; the defaults stop after block 11 of 13, the last one with 512 channels."""

    enlarged: int = (
        112  # side to which crops of `input_size` are enlarged, as faces in the first training
    )
    widths: tuple[int, ...] = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512)  # per block
    halved: tuple[int, ...] = (2, 4, 6, 12)  # numbers of the blocks that halve the map, from 1
    stem: int = 32  # channels of the first convolution
    plain: int = 3  # blocks without normalisation, as in files with folded normalisation
    dropout: float = 0.2


class SamePadded(nn.Conv2d):
    """A 3x3 convolution with the padding `SAME` of TensorFlow: at stride 2, even sides get one row last."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int = 1, bias: bool = True):
        super().__init__(inputs, outputs, 3, stride, 1, groups=groups, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        height, width = input.shape[2:]
        if self.stride[0] == 1 or (height % 2 and width % 2):
            return super().forward(input)
        padding = [width % 2, 1, height % 2, 1]
        padded = functional.pad(input, padding)
        return functional.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)


class Clipped(nn.ReLU):
    """ReLU6, as a kind of `nn.ReLU`, so that guided back-propagation hooks it.

    Without gradients it overwrites its input, which no other layer needs; this saves a quarter of the time.
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.relu6(input, inplace=not torch.is_grad_enabled())


def separable(inputs: int, outputs: int, stride: int, normalised: bool) -> nn.Sequential:
    """Return a depthwise and a pointwise convolution, each followed by normalisation and ReLU6."""
    depthwise = SamePadded(inputs, inputs, stride, groups=inputs, bias=not normalised)
    pointwise = nn.Conv2d(inputs, outputs, 1, bias=not normalised)
    if not normalised:
        return nn.Sequential(depthwise, Clipped(), pointwise, Clipped())
    return nn.Sequential(
        depthwise,
        nn.BatchNorm2d(inputs),
        Clipped(),
        pointwise,
        nn.BatchNorm2d(outputs),
        Clipped(),
    )


class MobileNet(FaceNetwork):
    """A MobileNet for grey crops whose classifier sees the average and the maximum of the last map.

    Crops of `input_size` pixels or fewer are enlarged to `enlarged`, larger ones taken as they are, which
    training uses. Corpus images have 48 pixels, so crops are cut to 48 first: a sharper face than any in
    training would be new to the network. All crops get the same mean and deviation, so that brightness and
    contrast of a recording do not matter.
    """

    config: MobileNetConfig

    def __init__(self, config: MobileNetConfig):
        super().__init__(config)
        self.stem = nn.Sequential(SamePadded(1, config.stem, stride=2), Clipped())
        blocks: list[nn.Module] = []
        channels = config.stem
        for number, width in enumerate(config.widths, 1):
            stride = 2 if number in config.halved else 1
            blocks.append(separable(channels, width, stride, normalised=number > config.plain))
            channels = width
        self.stages = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * channels, len(config.labels))
        initialise(self)

    def forward(self, images_BHW: Tensor) -> Output:
        if images_BHW.shape[-1] <= self.config.input_size:
            images_BHW = resize(images_BHW, self.config.enlarged).squeeze(1)
        input_B1SS = standardise(images_BHW) * CONTRAST + BRIGHTNESS
        map_BCHW = self.stages(self.stem(input_B1SS))
        embedding_BD = torch.cat([map_BCHW.mean((2, 3)), map_BCHW.amax((2, 3))], dim=1)
        return Output(self.head(self.dropout(embedding_BD)), embedding_BD)


def initialise(network: MobileNet) -> None:
    """Draw kernels that keep the deviation of their input (He et al. 2015), and set biases to zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        network.stem[0].weight /= CONTRAST  # type: ignore[operator]
