"""Load, verify and save weights.

A model is a folder: model.safetensors, config.json, golden.json (reference outputs) and, for networks of
words, vocabulary.txt. Weights are in half precision; with `stored` = "int8-rows", matrices are in int8. A
bundle is a config.json that pins such folders beside it. Loading executes nothing from the folder. Sizes in
a config are compared with the file before memory is allocated.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from multimodal_fer.errors import DataError, WeightsError
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.fusion.bundle import Bundle
from multimodal_fer.fusion.late_attention import LateAttention
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.hub.weights_folder import (
    CONFIG,
    REFERENCE,
    VOCABULARY,
    WEIGHTS,
    load_vocabulary,
    part_folders,
    read_config,
    weights_file,
)
from multimodal_fer.labels import MODALITIES, map_labels
from multimodal_fer.models import build, rounding
from multimodal_fer.models.reference_outputs import reference_logits
from multimodal_fer.models.shapes import tensor_shapes_of
from multimodal_fer.text.network import Reader, WordNetwork
from multimodal_fer.text.sentences.encoder import SentenceEncoder
from multimodal_fer.text.sentences.reader import SentenceReader
from multimodal_fer.text.sentences.word_pieces import WordPieces
from multimodal_fer.text.vocabulary import Vocabulary
from multimodal_fer.utils.files import file_hash, write_json
from multimodal_fer.utils.tensor_files import check_shapes, load_into

DEFAULT_BUNDLE = "open7"
LIMITS = {
    "temperature": (1e-3, 1e3),
    "fine_temperature": (1e-3, 1e3),
    "input_size": (1, 1024),
    "padded_length": (1, 1024),
}  # of settings
KINDS = {"face": FaceNetwork, "fusion": LateAttention}  # required classes of parts
GOLDEN_TOLERANCE = 1e-3  # of a logit; processors round sums differently


def load_bundle(
    name: str | os.PathLike[str] = DEFAULT_BUNDLE, revision: str | None = None
) -> Bundle:
    """Load a bundle and its parts, after comparing each file with the sha256 that the bundle pins.

    Parameters
    ----------
    name : a folder, a name, or OWNER/NAME of published weights; see `find_weights` for the order
    revision : commit, branch or tag of published weights

    Raises
    ------
    WeightsError, HubError
    """
    folder = find_weights(name, revision)
    config = read_config(folder)
    labels, unsure_below, parts = _bundle_settings(folder, config)
    loaded = {part: _load_part(folder.parent, part, pinned) for part, pinned in parts.items()}
    bundle = Bundle(folder.name, file_hash(folder / CONFIG), labels, unsure_below, **loaded)
    if bundle.fusion is None:
        _check_labels(folder, bundle)
    else:
        _check_fusion(folder, bundle, bundle.fusion, parts)
    return bundle


def _check_labels(folder: Path, bundle: Bundle) -> None:
    """Raise if a label of a part cannot be mapped to one of the bundle."""
    for modality, own in bundle.part_labels.items():
        try:
            map_labels(own, bundle.labels)
        except KeyError as error:
            raise WeightsError(
                f"{folder}: its part {modality} answers with {error}, which is not a label of the bundle "
                f"({', '.join(bundle.labels)}) and cannot be mapped to one; add a fusion or change the labels"
            ) from None


def _check_fusion(
    folder: Path, bundle: Bundle, fusion: LateAttention, pinned: Mapping[str, Any]
) -> None:
    """Raise if the fusion has other labels than the bundle, or was trained with other parts."""
    if set(fusion.config.labels) != set(bundle.labels):
        raise WeightsError(
            f"{folder}: the fusion has the labels {', '.join(fusion.config.labels)}, the bundle has "
            f"{', '.join(bundle.labels)}; save the bundle again with a fusion for its labels"
        )
    trained_with = read_config(folder.parent / pinned["fusion"]["model"]).get("parts", {})
    for modality in [name for name in fusion.modalities if name in bundle.part_labels]:
        own, expected = bundle.part_labels[modality], fusion.config.part_labels[modality]
        if set(own) != set(expected):
            raise WeightsError(
                f"{folder}: the fusion expects a part {modality} with the labels {', '.join(expected)}, "
                f"found {', '.join(own)}; train the fusion on this part"
            )
        digest = pinned[modality]["files"][WEIGHTS]
        if trained_with.get(modality) not in (None, digest):
            raise WeightsError(
                f"{folder}: its fusion has learnt from other weights of the part {modality} than "
                f"{pinned[modality]['model']}; train the fusion on this part"
            )


def _bundle_settings(
    folder: Path, config: Mapping[str, Any]
) -> tuple[tuple[str, ...], float, dict[str, Any]]:
    """Return the labels, `unsure_below` and the parts of a bundle; raise if the config has none."""
    try:
        labels, unsure_below, parts = config["labels"], config["unsure_below"], config["parts"]
    except KeyError as error:
        raise WeightsError(f"{folder / CONFIG}: is not a bundle, it lacks {error}") from None
    part_folders(config, folder / CONFIG)  # checks the names
    unknown = sorted(set(parts) - {*MODALITIES, "fusion"})
    if unknown:
        raise WeightsError(f"{folder}: this version cannot use the parts {unknown}; update it")
    named = isinstance(labels, list) and all(isinstance(label, str) and label for label in labels)
    named = named and 0 < len(labels) == len(set(labels))
    if not named or not _is_within(unsure_below, 0, 1):
        raise WeightsError(
            f"{folder / CONFIG}: expected a list of different labels and 'unsure_below' from 0 to 1; "
            "save the bundle again"
        )
    return tuple(labels), float(unsure_below), parts


def _load_part(beside: Path, modality: str, pinned: Mapping[str, Any]) -> Any:
    """Load a part beside its bundle, after comparing each of its files with the pinned sha256."""
    folder, files = beside / pinned["model"], pinned["files"]
    for file in (WEIGHTS, CONFIG, VOCABULARY) if modality == "text" else (WEIGHTS, CONFIG):
        if file not in files:
            raise WeightsError(f"{folder}: the bundle does not pin {file}")
    for file, expected in files.items():
        path = weights_file(folder, file)
        if (found := file_hash(path)) != expected:
            raise WeightsError(f"{path}: expected sha256 {expected}, found {found}; copy it again")
    network = load_reader(folder) if modality == "text" else load_model(folder)
    if not isinstance(network, KINDS.get(modality, object)):
        raise WeightsError(
            f"{folder}: is not a network for the part {modality}; save the bundle again with one that is"
        )
    return network


def load_reader(
    name: str | os.PathLike[str], revision: str | None = None
) -> Reader | SentenceReader:
    """Load a text network with its vocabulary; for arguments and errors see `load_bundle`."""
    folder = find_weights(name, revision)
    network = load_model(folder)
    try:
        vocabulary = load_vocabulary(weights_file(folder, VOCABULARY))
    except DataError as error:
        raise WeightsError(str(error)) from None
    match network, vocabulary:
        case WordNetwork(), Vocabulary() if len(vocabulary) == network.config.vocabulary_size:
            return Reader(network, vocabulary)
        case SentenceEncoder(), WordPieces() if len(vocabulary) == network.config.vocabulary_size:
            return SentenceReader(network, vocabulary)
    raise WeightsError(f"{folder}: {VOCABULARY} does not fit the network; copy the folder again")


def load_model(name: str | os.PathLike[str], revision: str | None = None) -> Any:
    """Load the network that config.json names, strictly; returned in eval mode.

    For arguments and errors see `load_bundle`.
    """
    folder = find_weights(name, revision)
    config = read_config(folder)
    if "model" not in config:
        raise WeightsError(
            f"{folder / CONFIG}: is not a model, it lacks 'model'; load bundles with load_bundle"
        )
    model_name, settings = _model_settings(folder, config)
    path = weights_file(folder, WEIGHTS)
    rounded = config.get("stored") == rounding.ROUNDED
    try:
        shapes = tensor_shapes_of(model_name, settings)
    except WeightsError as error:
        raise WeightsError(f"{folder / CONFIG}: {error}") from None
    if shapes is not None:  # before memory is allocated for either
        check_shapes(path, rounding.rounded_shapes(shapes) if rounded else shapes)
    model = build(model_name, settings)
    return load_into(model, path, rounding.restore_rows if rounded else None)


def _model_settings(folder: Path, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the name and settings of a model, after the checks that apply to every model."""
    name, settings = config["model"], config.get("settings")
    if not isinstance(name, str) or not isinstance(settings, dict):
        raise WeightsError(
            f"{folder / CONFIG}: expected the name and the settings of a model; save the weights again"
        )
    for setting, (smallest, largest) in LIMITS.items():
        if not _is_within(settings.get(setting, 1), smallest, largest):
            raise WeightsError(
                f"{folder / CONFIG}: expected {setting} from {smallest:g} to {largest:g}, "
                f"found {settings[setting]!r}; save the weights again"
            )
    return name, settings


def _is_within(value: Any, smallest: float, largest: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and smallest <= value <= largest


def save_model(
    folder: str | os.PathLike[str],
    name: str,
    model: Any,
    about: Mapping[str, Any],
    vocabulary: Vocabulary | WordPieces | None = None,
) -> None:
    """Write weights, config and reference outputs; `about` (training, terms) goes into the config.

    The matrices of a sentence encoder are rounded to int8, other weights to half precision.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if vocabulary is not None:
        vocabulary.save(folder / VOCABULARY)
    rounded = isinstance(model, SentenceEncoder)
    store = rounding.round_rows if rounded else rounding.in_half_precision
    tensors = store({key: value.cpu() for key, value in model.state_dict().items()})
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes it readable by its owner only
    stored = {"stored": rounding.ROUNDED} if rounded else {}
    write_json(
        folder / CONFIG, {"model": name, "settings": asdict(model.config), **stored, **about}
    )
    write_json(folder / REFERENCE, {"logits": reference_logits(load_model(folder)).tolist()})


def save_bundle(
    folder: str | os.PathLike[str],
    labels: Sequence[str],
    unsure_below: float,
    parts: Mapping[str, str | os.PathLike[str]],
) -> None:
    """Write the config of a bundle; `parts` (modality → folder beside it) are pinned by sha256."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pinned = {
        modality: {
            "model": Path(part).name,
            "files": {
                name: file_hash(Path(part) / name)
                for name in (WEIGHTS, CONFIG, VOCABULARY)
                if (Path(part) / name).is_file()
            },
        }
        for modality, part in parts.items()
    }
    write_json(
        folder / CONFIG, {"labels": list(labels), "unsure_below": unsure_below, "parts": pinned}
    )


def verify(name: str | os.PathLike[str], revision: str | None = None) -> float:
    """Verify a model, or a bundle with the pins and the reference outputs of its parts.

    Returns the largest difference of a logit; raises `WeightsError` as `verify_model` does.
    """
    folder = find_weights(name, revision)
    config = read_config(folder)
    if "model" in config:
        if config["model"] in ("words", "sentences"):
            load_reader(folder)
        return verify_model(folder)
    load_bundle(folder)
    parts = part_folders(config, folder / CONFIG)
    return max((verify_model(folder.parent / part) for part in parts), default=0.0)


def verify_model(folder: str | os.PathLike[str]) -> float:
    """Compute the logits of the reference input; return the largest difference from the stored logits.

    Raises `WeightsError` if it exceeds `GOLDEN_TOLERANCE`.
    """
    path = weights_file(Path(folder), REFERENCE)
    try:
        stored = torch.tensor(json.loads(path.read_text(encoding="utf-8"))["logits"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path}: holds no logits ({error}); save the weights again") from None
    model = load_model(folder)
    try:
        logits = reference_logits(model)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise WeightsError(
            f"{folder}: fails on the reference input ({error}); save the weights again"
        ) from None
    same = stored.shape == logits.shape
    difference = float((logits - stored).abs().max()) if same else math.inf
    if not difference <= GOLDEN_TOLERANCE:  # also refuses NaN
        raise WeightsError(
            f"{folder}: the logits of the reference input differ by {difference:.4g} from the stored ones; "
            "the weights or the code have changed"
        )
    return difference
