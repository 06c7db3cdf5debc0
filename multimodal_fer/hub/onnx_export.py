"""Export networks as ONNX graphs (extra `onnx`), to run them without torch.

    export("open7", "onnx/")  # face.onnx, voice.onnx, text.onnx, fusion.onnx and open7.json

A graph includes the features, the temperature and the softmax. The JSON file describes its inputs and the
labels of its scores.
"""

import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from multimodal_fer.errors import OutputError, WeightsError
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.fusion.late_attention import Evidence, LateAttention, log_of
from multimodal_fer.hub.loading import load_model
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.hub.weights_folder import VOCABULARY, part_folders, read_config
from multimodal_fer.models.inference import for_inference
from multimodal_fer.models.reference_outputs import reference_input
from multimodal_fer.text.network import WordNetwork
from multimodal_fer.text.sentences.encoder import SentenceEncoder
from multimodal_fer.text.sentences.word_pieces import LONGEST_PIECES
from multimodal_fer.text.vocabulary import LONGEST, PAD_NUMBER, UNKNOWN_NUMBER
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.utils.files import file_hash, replacing, write_json
from multimodal_fer.voice.network import SpeechNetwork
from multimodal_fer.voice.whisper_encoder import WhisperVoice

TOLERANCE = 5e-4  # of a probability; networks that scale small differences up reach 2e-4
EMBEDDING_RANGE = 10.0  # times the range of a probability: about the largest values of embeddings
OPSET = 18  # the first with all operators needed; supported by runtimes since 2023
SHORTEST_SOUND = SAMPLE_RATE // 5  # samples; shorter sounds get no prediction in `Analyzer` either
LONGEST_SOUND = 600 * SAMPLE_RATE
BOUNDS = {"samples": {"min": SHORTEST_SOUND, "max": LONGEST_SOUND}}  # of axes, for the export


class ScoringGraph(nn.Module):
    """A part with its calibrated probabilities and the embedding for a fusion as outputs."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.temperature = float(network.config.temperature)  # type: ignore[union-attr]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        output = self.network(*inputs)
        return (output.logits / self.temperature).softmax(1), output.embedding


class FusionGraph(nn.Module):
    """Late attention with the presence, scores and quality of the parts as inputs."""

    def __init__(self, network: LateAttention):
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        present_BM, *parts = inputs
        evidence = {
            name: Evidence(log_of(scores), quality)
            for name, scores, quality in zip(
                self.network.modalities, parts[::2], parts[1::2], strict=True
            )
        }
        return self.network.predict(evidence, present_BM)


@dataclass(frozen=True)
class Graph:
    """A network to export and its description for the JSON file."""

    module: nn.Module
    inputs: Mapping[str, tuple[str | int, ...]]  # name → axes: names are free, numbers are fixed
    outputs: tuple[str, ...]
    trials: Sequence[tuple[Tensor, ...]]  # inputs of several sizes; the first is traced
    about: Mapping[str, Any]


def export(name: str | os.PathLike[str], folder: str | os.PathLike[str]) -> list[Path]:
    """Write the parts of a bundle, or one model, as ONNX graphs with a JSON description; return the files.

    Each graph is run with onnxruntime and compared with its network on inputs of several sizes. Raises
    `WeightsError` if a network has no export, its graph differs or the extra is missing, and `OutputError` if
    the folder cannot be written.
    """
    _check_extra()
    source, folder = find_weights(name), Path(folder)
    config = read_config(source)
    about = {"source": source.name, "sha256": file_hash(source / "config.json"), "graphs": {}}
    models = {source.name: source}
    if folders := part_folders(config, source):
        about |= {key: config[key] for key in ("labels", "unsure_below")}
        models = {
            modality: source.parent / part
            for modality, part in zip(config["parts"], folders, strict=True)
        }
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for title, model in models.items():
            graph = graph_of(load_model(model))
            written.append(write_graph(graph, folder / f"{title}.onnx"))
            about["graphs"][title] = describe(graph, model)
            if (model / VOCABULARY).is_file():
                written.append(Path(shutil.copyfile(model / VOCABULARY, folder / VOCABULARY)))
        write_json(folder / f"{source.name}.json", about)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return [*written, folder / f"{source.name}.json"]


def graph_of(network: Any) -> Graph:
    """Return the graph of a network; raise `WeightsError` if it has no export."""
    if isinstance(network, FaceNetwork):
        return _face_graph(network)
    if isinstance(network, WhisperVoice):
        return _voice_graph(network)
    if isinstance(network, SpeechNetwork) and not network.config.prosody:
        return _voice_graph(network)
    if isinstance(network, WordNetwork):
        numbers = (
            f"numbers of the tokens of `text.tokens.tokenize`, int64: lines of {VOCABULARY} counted from 0, "
            f"{UNKNOWN_NUMBER} for other tokens, padded with {PAD_NUMBER}; at most {LONGEST}"
        )
        return _text_graph(network, numbers)
    if isinstance(network, SentenceEncoder):
        numbers = (
            f"numbers of BERT's word pieces, int64: lines of {VOCABULARY} counted from 0, between those of "
            f"[CLS] and [SEP], padded at the end; at most {LONGEST_PIECES}. `analyze_text` cuts longer texts "
            "into passages and takes the mean of their log probabilities"
        )
        return _text_graph(network, numbers)
    if isinstance(network, LateAttention):
        return _fusion_graph(network)
    raise WeightsError(
        f"{type(network).__name__} has no ONNX export; it exists for networks of faces, of speech without "
        "prosody, of words, and late attention"
    )


def write_graph(graph: Graph, path: Path) -> Path:
    """Trace a graph and write it, unless its outputs differ from those of the network."""
    with replacing(path) as unchecked:
        _trace(graph).save(unchecked)
        difference = largest_difference(graph, unchecked)
        if not difference <= TOLERANCE:  # also refuses NaN
            raise WeightsError(
                f"{path}: the outputs of the graph differ from the network by {difference:.2g}; not written"
            )
    return path


def largest_difference(graph: Graph, path: Path) -> float:
    """Return the largest difference between the outputs of a network and of its file, over all trials.

    Differences of embeddings are divided by their range, as they have larger values than probabilities.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for trial in graph.trials:
        with torch.no_grad():
            expected = graph.module(*trial)
        fed = {name: tensor.numpy() for name, tensor in zip(graph.inputs, trial, strict=True)}
        differences += [
            numpy.abs(found - right.numpy()).max()
            / (EMBEDDING_RANGE if name == "embeddings" else 1.0)
            for name, found, right in zip(
                graph.outputs, session.run(None, fed), expected, strict=True
            )
        ]
    return float(numpy.max(differences))  # unlike max(), returns NaN if there is one


def describe(graph: Graph, model: Path) -> dict[str, Any]:
    """Return the description of a graph for the JSON file."""
    return {
        "weights": model.name,
        "sha256": file_hash(model / "model.safetensors"),
        "inputs": {name: list(axes) for name, axes in graph.inputs.items()},
        "outputs": list(graph.outputs),
        **graph.about,
    }


def _trace(graph: Graph) -> Any:
    free = {axis for axes in graph.inputs.values() for axis in axes if isinstance(axis, str)}
    sizes = {axis: torch.export.Dim(axis, **BOUNDS.get(axis, {})) for axis in free}
    shapes = tuple(
        {place: sizes[axis] for place, axis in enumerate(axes) if isinstance(axis, str)}
        for axes in graph.inputs.values()
    )
    with _silent(), torch.no_grad():
        graph.module(*graph.trials[0])  # caches constants, which must not happen during tracing
        return torch.onnx.export(
            graph.module.eval(),
            graph.trials[0],
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=(shapes,),
        )


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress warnings and log messages of the exporter about its own code."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _face_graph(network: FaceNetwork) -> Graph:
    size = network.config.input_size
    (pictures,) = reference_input(network)
    return Graph(
        ScoringGraph(for_inference(network)),
        {"pictures": ("faces", size, size)},
        ("scores", "embeddings"),
        [(pictures,), (pictures[:1],)],
        {
            "labels": list(network.config.labels),
            "pictures": f"grey face crops of {size} x {size} pixels, uint8; the fusion takes the mean of "
            "scores over the crops of a window",
        },
    )


def _voice_graph(network: SpeechNetwork | WhisperVoice) -> Graph:
    sounds, lengths = reference_input(network)
    longer = sounds.repeat(1, 3)
    return Graph(
        ScoringGraph(network),
        {"sounds": ("windows", "samples"), "lengths": ("windows",)},
        ("scores", "embeddings"),
        [(sounds, lengths), (longer[:2], 3 * lengths[:2]), (sounds[3:, :4000], lengths[3:])],
        {
            "labels": list(network.config.labels),
            "sounds": f"mono sound of {SAMPLE_RATE} samples per second in [-1, 1], float32, padded at the "
            f"end; at least {SHORTEST_SOUND} samples",
            "lengths": "samples of each sound without padding, int64",
        },
    )


def _text_graph(network: WordNetwork | SentenceEncoder, numbers: str) -> Graph:
    tokens, lengths = reference_input(network)
    longer = tokens.repeat(1, 4)
    return Graph(
        ScoringGraph(network),
        {"tokens": ("texts", "words"), "lengths": ("texts",)},
        ("scores", "embeddings"),
        [(tokens, lengths), (longer[:2], 4 * lengths[:2]), (tokens[3:, :2], lengths[3:])],
        {
            "labels": list(network.config.labels),
            "languages": list(network.config.languages),
            "tokens": numbers,
            "lengths": "tokens of each text without padding, int64",
        },
    )


def _fusion_graph(network: LateAttention) -> Graph:
    evidence, present = reference_input(network)
    inputs: dict[str, tuple[str | int, ...]] = {"present": ("windows", len(network.modalities))}
    trial = [present.float()]
    for name, part in evidence.items():
        inputs[f"{name}_scores"] = ("windows", part.log_scores.shape[1])
        inputs[f"{name}_quality"] = ("windows",)
        trial += [part.log_scores.exp(), part.quality]
    return Graph(
        FusionGraph(network),
        inputs,
        ("scores", "attention"),
        [tuple(trial), tuple(tensor[1:2] for tensor in trial)],
        {
            "labels": list(network.config.labels),
            "modalities": list(network.modalities),
            "present": "1 if a window has the modality, else 0, float32; inputs of absent modalities are "
            "ignored but must be finite",
        },
    )


def _check_extra() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise WeightsError(
            f"the export needs {', '.join(missing)}: pip install 'multimodal_fer[onnx]'"
        )
