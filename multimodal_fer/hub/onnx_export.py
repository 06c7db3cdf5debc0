"""Write networks as ONNX graphs (extra `onnx`), for people who run them without torch.

    export("open7", "onnx/")  # face.onnx, voice.onnx, text.onnx, fusion.onnx and open7.json

A graph holds everything between what is recorded and what is answered: features, temperature, softmax. What
it asks for, and what the labels of its scores are, stands in the JSON file beside it.

Shapes: B pictures, sounds, texts or windows; H W pixels, N samples, T tokens, K labels, D embedding.
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
from multimodal_fer.text.vocabulary import LONGEST, PAD_NUMBER, UNKNOWN_NUMBER
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.utils.files import file_hash, write_json
from multimodal_fer.voice.network import SpeechNetwork
from multimodal_fer.voice.whisper_encoder import WhisperVoice

TOLERANCE = 1e-4  # of a probability or a value of an embedding
OPSET = 18  # the first that says all that is needed; runtimes since 2023 read it
SHORTEST_SOUND = SAMPLE_RATE // 5  # samples; what is shorter is never judged (judging.MIN_VOICE)
LONGEST_SOUND = 600 * SAMPLE_RATE
BOUNDS = {"samples": {"min": SHORTEST_SOUND, "max": LONGEST_SOUND}}  # of axes, for the tracer


class ScoringGraph(nn.Module):
    """A part as it is asked: calibrated probabilities and the embedding that a fusion reads."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.temperature = float(network.config.temperature)  # type: ignore[union-attr]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        output = self.network(*inputs)
        return (output.logits / self.temperature).softmax(1), output.embedding


class FusionGraph(nn.Module):
    """Late attention over what is present, and the embeddings and scores that the parts' graphs give."""

    def __init__(self, network: LateAttention):
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        present_BM, *parts = inputs
        evidence = {
            name: Evidence(embedding, log_of(scores))
            for name, embedding, scores in zip(
                self.network.modalities, parts[::2], parts[1::2], strict=True
            )
        }
        return self.network.predict(evidence, present_BM)


@dataclass(frozen=True)
class Graph:
    """A network as it is exported, and what stands about it in the JSON file."""

    module: nn.Module
    inputs: Mapping[
        str, tuple[str | int, ...]
    ]  # name → its axes: words are free, numbers are fixed
    outputs: tuple[str, ...]
    trials: Sequence[tuple[Tensor, ...]]  # inputs of several sizes; the first is traced
    about: Mapping[str, Any]


def export(name: str | os.PathLike[str], folder: str | os.PathLike[str]) -> list[Path]:
    """Write a bundle's parts, or one model, as ONNX graphs and a JSON file that says how to ask them.

    Each graph is run by onnxruntime and compared with its network on inputs of several sizes: a file that
    stands there answers as the weights do. Returns the files. Raises `WeightsError` for a network that has
    no export, and where the extra is missing; `OutputError` where the folder cannot be written.
    """
    _check_extra()
    source, folder = find_weights(name), Path(folder)
    config = read_config(source)
    about = {"source": source.name, "sha256": file_hash(source / "config.json"), "graphs": {}}
    models = {source.name: source}
    if folders := part_folders(config, source):
        about |= {key: config[key] for key in ("labels", "unsure_below")}
        models = {
            modality: source.parent / folder
            for modality, folder in zip(config["parts"], folders, strict=True)
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
    """What is exported of a network. Raises `WeightsError` for one that has no export."""
    if isinstance(network, FaceNetwork):
        return _face_graph(network)
    if isinstance(network, SpeechNetwork | WhisperVoice) and not network.config.prosody:
        return _voice_graph(network)
    if isinstance(network, WordNetwork):
        return _text_graph(network)
    if isinstance(network, LateAttention):
        return _fusion_graph(network)
    raise WeightsError(
        f"{type(network).__name__} has no ONNX export; facial networks, speech without prosody, words and "
        "late attention have one"
    )


def write_graph(graph: Graph, path: Path) -> Path:
    """Trace, write, run and compare; where the answers differ nothing is left behind."""
    unproven = path.with_name(f".{path.name}.unproven")
    try:
        _trace(graph).save(unproven)
        difference = largest_difference(graph, unproven)
        if not difference <= TOLERANCE:
            raise WeightsError(f"{path}: its answers differ by {difference:.2g}; not written")
        unproven.replace(path)
    finally:
        unproven.unlink(missing_ok=True)
    return path


def largest_difference(graph: Graph, path: Path) -> float:
    """Between the answers of a network and of its file, over all trials."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for trial in graph.trials:
        with torch.no_grad():
            expected = graph.module(*trial)
        fed = {name: tensor.numpy() for name, tensor in zip(graph.inputs, trial, strict=True)}
        differences += [
            numpy.abs(found - right.numpy()).max()
            for found, right in zip(session.run(None, fed), expected, strict=True)
        ]
    return float(numpy.max(differences))  # NaN where there is one; max() would lose it


def describe(graph: Graph, model: Path) -> dict[str, Any]:
    """What a program has to know to ask a graph."""
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
        graph.module(*graph.trials[0])  # constants that are kept must not be made while tracing
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
    """The exporter tells of its own code, by warnings and in the log."""
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
            "pictures": f"grey face crops of {size} x {size} pixels, uint8; the mean over a window's "
            "pictures, of scores and of embeddings, is what the fusion reads",
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
            "sounds": f"mono sound of {SAMPLE_RATE} samples a second in [-1, 1], float32, padded at the "
            f"end; {SHORTEST_SOUND} samples at least",
            "lengths": "samples of each before its padding, int64",
        },
    )


def _text_graph(network: WordNetwork) -> Graph:
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
            "tokens": f"numbers of tokens, int64: lines of {VOCABULARY} counted from 0, padded with "
            f"{PAD_NUMBER}, {UNKNOWN_NUMBER} for what is not in it, as `vocabulary.tokenize` cuts a text; "
            f"{LONGEST} at most",
            "lengths": "tokens of each before its padding, int64",
        },
    )


def _fusion_graph(network: LateAttention) -> Graph:
    evidence, present = reference_input(network)
    inputs: dict[str, tuple[str | int, ...]] = {"present": ("windows", len(network.modalities))}
    example = [present.float()]
    for name, part in evidence.items():
        inputs[f"{name}_embedding"] = ("windows", part.embedding.shape[1])
        inputs[f"{name}_scores"] = ("windows", part.log_scores.shape[1])
        example += [part.embedding, part.log_scores.exp()]
    return Graph(
        FusionGraph(network),
        inputs,
        ("scores", "attention"),
        [tuple(example), tuple(tensor[1:2] for tensor in example)],
        {
            "labels": list(network.config.labels),
            "modalities": list(network.modalities),
            "present": "1 where a window has the modality, 0 where not, float32; what absent ones hold "
            "does not count, if it is finite",
        },
    )


def _check_extra() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise WeightsError(
            f"the export needs {', '.join(missing)}: pip install 'multimodal_fer[onnx]'"
        )
