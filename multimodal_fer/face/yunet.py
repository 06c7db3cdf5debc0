"""YuNet, the network of libfacedetection, in torch: faces and five landmarks at every place of a picture.

Wu, Peng and Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector". No anchors: each cell of three grids
(every 8, 16 and 32 pixels) gives two probabilities, a box and five points around its own corner.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.utils.tensor_files import check_shapes, load_into, package_weights

FOLDER = "detector-yunet"  # of the weights
STRIDES = (8, 16, 32)  # pixels between the cells of each grid
VALUES = 16  # of a cell: class, objectness, box (4), landmarks (10)


@dataclass(frozen=True)
class YuNetConfig:
    """Settings of the released network, 53,104 parameters."""

    stem: int = 16  # channels of the first convolution
    widths: tuple[int, ...] = (16, 32, 64, 64, 64, 64)  # channels of the stages; see `YuNet`


class Grid(NamedTuple):
    """The values of all cells: `logits` (B, N, 16) as the network gives them, `cells` (N, 3) in pixels.

    A cell is its left and top corner and its side. The first two logits are those of a face (class and
    objectness); then the centre from the corner, and the logarithm of width and height, in sides; then
    the landmarks from the corner, in sides.
    """

    logits: Tensor
    cells: Tensor


class Separable(nn.Module):
    """A 1x1 convolution, then a 3x3 one of each channel; batch normalisation is folded into both."""

    def __init__(self, inputs: int, outputs: int, activated: bool = True):
        super().__init__()
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        self.depthwise = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)
        self.activated = activated

    def forward(self, map_BCHW: Tensor) -> Tensor:
        # In this order of memory a 1x1 convolution is a product of matrices, which is faster.
        map_BHWC = functional.linear(
            map_BCHW.permute(0, 2, 3, 1), self.pointwise.weight.flatten(1), self.pointwise.bias
        )
        map_BCHW = self.depthwise(map_BHWC.permute(0, 3, 1, 2))
        return map_BCHW.relu_() if self.activated else map_BCHW


class YuNet(nn.Module):
    """Six stages, the last three joined from coarse to fine, and one head for each grid.

    `forward` takes RGB pictures (B, H, W, 3) uint8, of which height and width are multiples of 32.
    """

    def __init__(self, config: YuNetConfig):
        super().__init__()
        self.config = config
        first, *rest = config.widths
        self.stem = nn.Conv2d(3, config.stem, 3, stride=2, padding=1)
        self.stages = nn.ModuleList([nn.Sequential(Separable(config.stem, first))])
        for before, after in zip(config.widths, rest, strict=False):
            self.stages.append(nn.Sequential(Separable(before, before), Separable(before, after)))
        last = config.widths[-1]
        self.neck = nn.ModuleList([Separable(last, last) for _ in STRIDES])
        self.heads = nn.ModuleList([Separable(last, VALUES, activated=False) for _ in STRIDES])

    def forward(self, images_BHW3: Tensor) -> Grid:
        # RGB and the order of the dimensions in memory are kept: convolutions are five times as fast so.
        map_BCHW = images_BHW3.float().permute(0, 3, 1, 2)
        map_BCHW = self.stem(map_BCHW).relu_()
        maps = []
        for number, stage in enumerate(self.stages):
            # The picture is halved before the second, fourth, fifth and sixth stage.
            map_BCHW = functional.max_pool2d(map_BCHW, 2) if number in (1, 3, 4, 5) else map_BCHW
            map_BCHW = stage(map_BCHW)
            maps.append(map_BCHW)
        logits, cells = [], []
        coarse: Tensor | None = None
        for level in (2, 1, 0):
            fine = maps[3 + level]
            if coarse is not None:
                fine = fine + functional.interpolate(coarse, scale_factor=2, mode="nearest")
            coarse = self.neck[level](fine)
            values_BVHW = self.heads[level](coarse)
            logits.append(values_BVHW.flatten(2).transpose(1, 2))
            rows, columns = values_BVHW.shape[2:]
            cells.append(_cells(rows, columns, STRIDES[level]))
        return Grid(torch.cat(logits, 1), torch.cat(cells).to(images_BHW3.device))


def _cells(rows: int, columns: int, stride: int) -> Tensor:
    """Return the left and top corner and the side of each cell of one grid, (N, 3)."""
    top, left = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    corners = torch.stack([left.flatten(), top.flatten()], 1) * stride
    return functional.pad(corners, (0, 1), value=stride).float()


class Candidates(NamedTuple):
    """Places that may hold a face: probabilities (N,), boxes (N, 4) and landmarks (N, 5, 2) in pixels.

    The landmarks are the right and the left eye of the person, the tip of the nose, the right and the left
    corner of the mouth.
    """

    confidences: Tensor
    boxes: Tensor
    landmarks: Tensor


def decode(grid: Grid, least: float) -> Candidates:
    """Return the places of the first picture whose confidence is at least `least`."""
    logits, cells = grid.logits[0], grid.cells
    confidences = logits[:, :2].sigmoid().prod(1).sqrt()
    picked = confidences >= least
    logits, corners, sides = logits[picked], cells[picked, :2], cells[picked, 2:]
    centres, sizes = logits[:, 2:4] * sides + corners, logits[:, 4:6].exp() * sides
    landmarks = logits[:, 6:].view(-1, 5, 2) * sides[:, None] + corners[:, None]
    boxes = torch.cat([centres - sizes / 2, centres + sizes / 2], 1)
    return Candidates(confidences[picked], boxes, landmarks)


@cache
def load_detector() -> YuNet:
    """Load the weights that come with the package, once.

    Raises `WeightsError` if they are missing, damaged, or those of another network.
    """
    return read_detector(package_weights() / FOLDER)


def read_detector(folder: Path) -> YuNet:
    """Load the detector in a folder of weights; for errors see `load_detector`."""
    network = YuNet(YuNetConfig())
    path = folder / "model.safetensors"
    check_shapes(path, {key: tuple(value.shape) for key, value in network.state_dict().items()})
    return load_into(network, path).requires_grad_(False)
