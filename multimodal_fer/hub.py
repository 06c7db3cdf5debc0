"""Find, verify, load and save weights. A model is a folder: model.safetensors, config.json, golden.json, and
vocabulary.txt where it reads words. A bundle is a config.json that pins such folders beside it.

Loading executes nothing from the folder: tensors come from safetensors, the network from this package.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from multimodal_fer.errors import DataError, WeightsError
from multimodal_fer.files import file_hash, write_json
from multimodal_fer.golden import golden_logits
from multimodal_fer.labels import MODALITIES
from multimodal_fer.models import FaceNetwork, build
from multimodal_fer.models.fusion import LateAttention
from multimodal_fer.models.text import Reader, WordNetwork
from multimodal_fer.models.voice import SpeechNetwork
from multimodal_fer.vocabulary import Vocabulary

WEIGHTS_VARIABLE = "MULTIMODAL_FER_WEIGHTS"  # a folder of bundles and models to look in first
DEFAULT_BUNDLE = "open7"
VOCABULARY = "vocabulary.txt"
GOLDEN_TOLERANCE = 1e-3  # of a logit; processors differ in the last bits of a sum
STORED = torch.float16  # halves the files; figures in the cards are those of the rounded weights


@dataclass(frozen=True)
class Bundle:
    """Parts that belong together, and the labels that they answer with."""

    name: str
    digest: str  # sha256 of config.json, which itself pins the sha256 of every part
    labels: tuple[str, ...]
    unsure_below: float  # calibrated probability under which an answer is marked as unsure
    face: FaceNetwork | None = None
    voice: SpeechNetwork | None = None
    text: Reader | None = None
    fusion: LateAttention | None = None

    @property
    def version(self) -> str:
        """Name and content, as it stands in every answer."""
        return f"{self.name}@{self.digest[:12]}"


def find_weights(name: str | os.PathLike[str]) -> Path:
    """The folder of a bundle or model: a path, or a name to look up in the weights folders.

    Raises `WeightsError` saying where it looked.
    """
    if (Path(name) / "config.json").is_file():
        return Path(name)
    folders = weights_folders()
    for folder in folders:
        if (folder / name / "config.json").is_file():
            return folder / name
    known = sorted(
        {path.parent.name for folder in folders for path in folder.glob("*/config.json")}
    )
    raise WeightsError(
        f"weights {str(name)!r} not found; known: {', '.join(known) or 'none'}; "
        "or give a folder that holds config.json"
    )


def weights_folders() -> list[Path]:
    """Where names are looked up: the variable's folder, then what came with the package."""
    package = Path(__file__).parent
    chosen = os.environ.get(WEIGHTS_VARIABLE)
    # In a wheel the weights lie inside the package, in a checkout beside it.
    folders = [Path(chosen)] if chosen else []
    return [*folders, package / "weights", package.parent / "weights"]


def load_bundle(name: str | os.PathLike[str] = DEFAULT_BUNDLE) -> Bundle:
    """Load a bundle and its parts, each compared with the hash that the bundle pins."""
    folder = find_weights(name)
    config = read_config(folder)
    try:
        labels, parts = tuple(config["labels"]), config["parts"]
        unsure_below = float(config["unsure_below"])
    except KeyError as error:
        raise WeightsError(f"{folder}/config.json: is no bundle, it lacks {error}") from None
    unknown = sorted(set(parts) - {*MODALITIES, "fusion"})
    if unknown:
        raise WeightsError(f"{folder}: this version cannot use the parts {unknown}; update it")
    loaded = {name: _load_part(folder.parent, name, pinned) for name, pinned in parts.items()}
    digest = file_hash(folder / "config.json")
    return Bundle(folder.name, digest, labels, unsure_below, **loaded)


def _load_part(beside: Path, modality: str, pinned: Any) -> Any:
    """A part that lies beside its bundle, once each of its files is seen to be the pinned one."""
    try:
        name, files = Path(pinned["model"]).name, dict(pinned["files"])
    except (KeyError, TypeError, ValueError):
        raise WeightsError(
            f"{beside}: the bundle does not say which folder and files its part {modality} is"
        ) from None
    for file, expected in files.items():
        check_hash(beside / name / Path(file).name, expected)
    for file in ("model.safetensors", "config.json"):
        if file not in files:
            raise WeightsError(f"{beside / name}: the bundle does not pin {file}")
    return load_reader(beside / name) if modality == "text" else load_model(beside / name)


def load_reader(folder: str | os.PathLike[str]) -> Reader:
    """A text network with its vocabulary."""
    network = load_model(folder)
    try:
        vocabulary = Vocabulary.load(Path(folder) / VOCABULARY)
    except DataError as error:
        raise WeightsError(str(error)) from None
    if not isinstance(network, WordNetwork) or len(vocabulary) != network.config.vocabulary_size:
        raise WeightsError(
            f"{folder}: {VOCABULARY} does not fit the network; copy the folder again"
        )
    return Reader(network, vocabulary)


def load_model(folder: str | os.PathLike[str]) -> Any:
    """Build the network that config.json names and fill it, strictly; returned in eval mode."""
    folder = Path(folder)
    config = read_config(folder)
    if "model" not in config:
        raise WeightsError(f"{folder}/config.json: is no model, it lacks 'model'")
    model = build(config["model"], config["settings"])
    try:
        tensors = load_file(folder / "model.safetensors")
        model.load_state_dict({name: value.float() for name, value in tensors.items()})
    except FileNotFoundError:
        raise WeightsError(
            f"{folder}: model.safetensors is missing; copy the folder again"
        ) from None
    except (SafetensorError, RuntimeError) as error:
        raise WeightsError(
            f"{folder}/model.safetensors: does not fit its config.json ({error})"
        ) from None
    return model.eval()


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
    save_file(tensors, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes it readable for its owner only
    config = {"model": name, "settings": asdict(model.config), **about}
    write_json(folder / "config.json", config)
    loaded = load_model(folder)
    logits = golden_logits(loaded)
    write_json(folder / "golden.json", {"logits": logits.tolist()})


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
                for name in ("model.safetensors", "config.json", VOCABULARY)
                if (Path(part) / name).is_file()
            },
        }
        for modality, part in parts.items()
    }
    config = {"labels": list(labels), "unsure_below": unsure_below, "parts": pinned}
    write_json(folder / "config.json", config)


def verify_model(folder: str | os.PathLike[str]) -> float:
    """Run the golden input through the weights; returns the largest difference from the stored logits.

    Raises `WeightsError` where it is more than rounding.
    """
    folder = Path(folder)
    stored = json.loads((folder / "golden.json").read_text(encoding="utf-8"))["logits"]
    difference = float((golden_logits(load_model(folder)) - torch.tensor(stored)).abs().max())
    if not difference <= GOLDEN_TOLERANCE:  # neither may NaN pass
        raise WeightsError(
            f"{folder}: golden logits differ by {difference:.4g}; weights or code changed"
        )
    return difference


def read_config(folder: Path) -> dict[str, Any]:
    """Read a folder's config.json."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{folder}/config.json: cannot be read ({error})") from None
    if not isinstance(config, dict):
        raise WeightsError(
            f"{folder}/config.json: expected an object, found {type(config).__name__}"
        )
    return config


def check_hash(path: Path, expected: str) -> None:
    """Raise `WeightsError` where a file is missing or is not the one that was pinned."""
    if not path.is_file():
        raise WeightsError(f"{path}: is missing; copy the folder again")
    found = file_hash(path)
    if found != expected:
        raise WeightsError(f"{path}: expected sha256 {expected}, found {found}; copy it again")
