"""Load, verify and save weights. A model is a folder: model.safetensors, config.json, golden.json, and
vocabulary.txt where it reads words. A bundle is a config.json that pins such folders beside it.

Loading executes nothing from the folder: tensors come from safetensors, the network from this package. What a
folder claims is compared with what it holds before memory is taken for it.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from multimodal_fer.errors import DataError, WeightsError
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.fusion.bundle import Bundle
from multimodal_fer.fusion.late_attention import LateAttention
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.hub.weights_folder import (
    CONFIG,
    GOLDEN,
    VOCABULARY,
    WEIGHTS,
    part_folders,
    read_config,
    tensor_shapes,
    weights_file,
)
from multimodal_fer.labels import MODALITIES, map_labels
from multimodal_fer.models import build
from multimodal_fer.models.reference_outputs import reference_logits
from multimodal_fer.models.shapes import tensor_shapes_of
from multimodal_fer.text.network import Reader, WordNetwork
from multimodal_fer.text.vocabulary import Vocabulary
from multimodal_fer.utils.files import file_hash, write_json

DEFAULT_BUNDLE = "open7"
LARGEST = {"input_size": 1024, "padded_length": 1024}  # settings that no tensor's shape shows
KINDS = {"face": FaceNetwork, "fusion": LateAttention}  # of parts that only such can be
GOLDEN_TOLERANCE = 1e-3  # of a logit; processors differ in the last bits of a sum
STORED = torch.float16  # halves the files; figures in the cards are those of the rounded weights


def load_bundle(
    name: str | os.PathLike[str] = DEFAULT_BUNDLE, revision: str | None = None
) -> Bundle:
    """Load a bundle and its parts, each compared with the hash that the bundle pins.

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
    digest = file_hash(folder / CONFIG)
    bundle = Bundle(folder.name, digest, labels, unsure_below, **loaded)
    _check_labels(folder, bundle)
    if bundle.fusion is not None:
        _check_fusion(folder, bundle, parts)
    return bundle


def _check_labels(folder: Path, bundle: Bundle) -> None:
    """Refuse a bundle in which the scores of a part have no place in the answer."""
    if bundle.fusion is not None:
        found = bundle.fusion.config.labels
        if set(found) != set(bundle.labels):
            raise WeightsError(
                f"{folder}: its fusion answers with {', '.join(found)}, the bundle with "
                f"{', '.join(bundle.labels)}; save the bundle again with a fusion that fits"
            )
        return
    for modality, own in bundle.part_labels.items():
        try:
            map_labels(own, bundle.labels)
        except KeyError as error:
            raise WeightsError(
                f"{folder}: its part {modality} answers with {error}, which is none of the bundle's "
                f"labels ({', '.join(bundle.labels)}) and counts as none of them; a fusion or other "
                "labels are needed"
            ) from None


def _check_fusion(folder: Path, bundle: Bundle, pinned: Mapping[str, Any]) -> None:
    """Refuse a fusion that has learnt from other parts than those that the bundle holds."""
    assert bundle.fusion is not None
    learnt_from = read_config(folder.parent / pinned["fusion"]["model"]).get("parts", {})
    for modality in bundle.fusion.modalities:
        own = bundle.part_labels.get(modality)
        expected = bundle.fusion.config.part_labels[modality]
        if own is not None and set(own) != set(expected):
            raise WeightsError(
                f"{folder}: its fusion expects a part {modality} with the labels {', '.join(expected)}, "
                f"found {', '.join(own)}; train the fusion on this part"
            )
        digest = learnt_from.get(modality)
        if own is not None and digest is not None and pinned[modality]["files"][WEIGHTS] != digest:
            raise WeightsError(
                f"{folder}: its fusion has learnt from other weights of the part {modality} than "
                f"{pinned[modality]['model']}; train the fusion on this part"
            )


def _bundle_settings(
    folder: Path, config: Mapping[str, Any]
) -> tuple[tuple[str, ...], float, dict[str, Any]]:
    """Labels, threshold and parts of a bundle, once they are seen to be such."""
    try:
        labels, unsure_below, parts = config["labels"], config["unsure_below"], config["parts"]
    except KeyError as error:
        raise WeightsError(f"{folder / CONFIG}: is no bundle, it lacks {error}") from None
    part_folders(config, folder / CONFIG)  # names that lead nowhere else
    unknown = sorted(set(parts) - {*MODALITIES, "fusion"})
    if unknown:
        raise WeightsError(f"{folder}: this version cannot use the parts {unknown}; update it")
    named = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    if not named or not _is_within(unsure_below, 0, 1):
        raise WeightsError(
            f"{folder / CONFIG}: expected a list of labels and 'unsure_below' from 0 to 1; "
            "save the bundle again"
        )
    return tuple(labels), float(unsure_below), parts


def _load_part(beside: Path, modality: str, pinned: Mapping[str, Any]) -> Any:
    """A part that lies beside its bundle, once each of its files is seen to be the pinned one."""
    folder, files = beside / pinned["model"], pinned["files"]
    for file in (WEIGHTS, CONFIG, VOCABULARY) if modality == "text" else (WEIGHTS, CONFIG):
        if file not in files:
            raise WeightsError(f"{folder}: the bundle does not pin {file}")
    for file, expected in files.items():
        check_hash(weights_file(folder, file), expected)
    network = load_reader(folder) if modality == "text" else load_model(folder)
    if not isinstance(network, KINDS.get(modality, object)):
        raise WeightsError(
            f"{folder}: is no network for the part {modality}; save the bundle again with one that is"
        )
    return network


def load_reader(name: str | os.PathLike[str], revision: str | None = None) -> Reader:
    """A text network with its vocabulary; found as `load_bundle` finds bundles."""
    folder = find_weights(name, revision)
    network = load_model(folder)
    try:
        vocabulary = Vocabulary.load(weights_file(folder, VOCABULARY))
    except DataError as error:
        raise WeightsError(str(error)) from None
    if not isinstance(network, WordNetwork) or len(vocabulary) != network.config.vocabulary_size:
        raise WeightsError(
            f"{folder}: {VOCABULARY} does not fit the network; copy the folder again"
        )
    return Reader(network, vocabulary)


def load_model(name: str | os.PathLike[str], revision: str | None = None) -> Any:
    """Build the network that config.json names and fill it, strictly; returned in eval mode.

    Found as `load_bundle` finds bundles; raises the same.
    """
    folder = find_weights(name, revision)
    config = read_config(folder)
    if "model" not in config:
        raise WeightsError(
            f"{folder / CONFIG}: is no model, it lacks 'model'; a bundle is for load_bundle"
        )
    model_name, settings = _model_settings(folder, config)
    path = weights_file(folder, WEIGHTS)
    _check_fit(path, tensor_shapes_of(model_name, settings))
    model = build(model_name, settings)
    try:
        tensors = load_file(path)
        model.load_state_dict({key: value.float() for key, value in tensors.items()})
    except (SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{path}: does not fit its config.json ({error})") from None
    spoilt = [key for key, value in model.state_dict().items() if not value.isfinite().all()]
    if spoilt:
        raise WeightsError(
            f"{path}: {spoilt[0]} holds NaN or infinity; train or save the weights again"
        )
    return model.eval()


def _model_settings(folder: Path, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """A model's name and settings, as far as their sense does not depend on the model."""
    name, settings = config["model"], config.get("settings")
    if not isinstance(name, str) or not isinstance(settings, dict):
        raise WeightsError(
            f"{folder / CONFIG}: expected a model's name and its settings; save the weights again"
        )
    if not _is_within(settings.get("temperature", 1.0), 1e-3, 1e3):
        raise WeightsError(
            f"{folder / CONFIG}: expected a temperature from 0.001 to 1000, "
            f"found {settings['temperature']!r}; save the weights again"
        )
    for setting, largest in LARGEST.items():
        if not _is_within(settings.get(setting, 1), 1, largest):
            raise WeightsError(
                f"{folder / CONFIG}: expected {setting} from 1 to {largest}, "
                f"found {settings[setting]!r}; save the weights again"
            )
    return name, settings


def _is_within(value: Any, smallest: float, largest: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and smallest <= value <= largest


def _check_fit(path: Path, asked: Mapping[str, tuple[int, ...]] | None) -> None:
    """Raise where a network would have other tensors than its file, before memory is taken for either."""
    there = tensor_shapes(path)
    if asked is None:
        return
    unfit = sorted(key for key in {*asked, *there} if asked.get(key) != there.get(key))
    if unfit:
        first = unfit[0]
        raise WeightsError(
            f"{path}: does not fit its config.json ({len(unfit)} tensors, such as {first}: "
            f"expected {_shape(asked.get(first))}, found {_shape(there.get(first))}); "
            "copy the folder again"
        )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else " x ".join(f"{size:,}" for size in shape) or "one number"


def save_model(
    folder: str | os.PathLike[str],
    name: str,
    model: Any,
    about: Mapping[str, Any],
    vocabulary: Vocabulary | None = None,
) -> None:
    """Write weights, config and golden logits; `about` is kept in the config (training, terms)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if vocabulary is not None:
        vocabulary.save(folder / VOCABULARY)
    tensors = {
        key: (value.to(STORED) if value.is_floating_point() else value).cpu().contiguous()
        for key, value in model.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes it readable for its owner only
    config = {"model": name, "settings": asdict(model.config), **about}
    write_json(folder / CONFIG, config)
    loaded = load_model(folder)
    logits = reference_logits(loaded)
    write_json(folder / GOLDEN, {"logits": logits.tolist()})


def save_bundle(
    folder: str | os.PathLike[str],
    labels: Sequence[str],
    unsure_below: float,
    parts: Mapping[str, str | os.PathLike[str]],
) -> None:
    """Write a bundle's config: its parts (modality → folder beside it), pinned by their hashes."""
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
    config = {"labels": list(labels), "unsure_below": unsure_below, "parts": pinned}
    write_json(folder / CONFIG, config)


def verify(name: str | os.PathLike[str], revision: str | None = None) -> float:
    """Verify a model, or a bundle: its parts are the pinned ones, and each answers as when it was saved.

    Returns the largest difference from stored logits; raises `WeightsError` as `verify_model` does.
    """
    folder = find_weights(name, revision)
    config = read_config(folder)
    if "model" in config:
        if config["model"] == "words":
            load_reader(folder)
        return verify_model(folder)
    load_bundle(folder)
    parts = part_folders(config, folder / CONFIG)
    return max((verify_model(folder.parent / part) for part in parts), default=0.0)


def verify_model(folder: str | os.PathLike[str]) -> float:
    """Run the golden input through the weights; returns the largest difference from the stored logits.

    Raises `WeightsError` where it is more than rounding.
    """
    path = weights_file(Path(folder), GOLDEN)
    try:
        stored = torch.tensor(json.loads(path.read_text(encoding="utf-8"))["logits"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path}: holds no logits ({error}); save the weights again") from None
    model = load_model(folder)
    try:
        logits = reference_logits(model)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise WeightsError(
            f"{folder}: cannot answer its golden input ({error}); save the weights again"
        ) from None
    same = stored.shape == logits.shape
    difference = float((logits - stored).abs().max()) if same else math.inf
    if not difference <= GOLDEN_TOLERANCE:  # neither may NaN pass
        raise WeightsError(
            f"{folder}: golden logits differ by {difference:.4g}; weights or code changed"
        )
    return difference


def check_hash(path: Path, expected: str) -> None:
    """Raise `WeightsError` where a file is not the one that was pinned."""
    found = file_hash(path)
    if found != expected:
        raise WeightsError(f"{path}: expected sha256 {expected}, found {found}; copy it again")
