"""Test that ONNX graphs without torch have the outputs of the package."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from onnx import checker
from typer.testing import CliRunner

from multimodal_fer.analyzer import analyze_text
from multimodal_fer.cli.commands import app
from multimodal_fer.errors import OutputError, WeightsError
from multimodal_fer.hub.onnx_export import (
    TOLERANCE,
    export,
    graph_of,
    largest_difference,
    write_graph,
)
from multimodal_fer.models import build
from multimodal_fer.text.sentences.word_pieces import WordPieces

WEIGHTS = ROOT / "weights"
TEXT = "I could not find it anywhere, this is terrible!"

# A program with only the files, numpy and onnxruntime.
WITHOUT_TORCH = """
import json, sys
import numpy, onnxruntime
folder, tokens = sys.argv[1], json.loads(sys.argv[2])
bundle = json.load(open(f"{folder}/open7.json"))
run = {name: onnxruntime.InferenceSession(f"{folder}/{name}.onnx") for name in bundle["graphs"]}
scores, _ = run["text"].run(
    None, {"tokens": numpy.array([tokens]), "lengths": numpy.array([len(tokens)])}
)
inputs = {"text_scores": scores, "text_quality": numpy.ones(1, "f4")}
about = bundle["graphs"]["fusion"]
for name, axes in about["inputs"].items():
    inputs.setdefault(name, numpy.zeros([1, *axes[1:]], "f4"))
inputs["present"] = numpy.array([[float(name == "text") for name in about["modalities"]]], "f4")
fused, attention = run["fusion"].run(None, inputs)
assert "torch" not in sys.modules
print(json.dumps(dict(zip(about["labels"], fused[0].tolist()))))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    answer = CliRunner().invoke(app, ["export", "open7", "--output", str(folder)])
    assert answer.exit_code == 0, answer.output
    return folder


def test_every_part_of_the_bundle_is_written(exported: Path) -> None:
    names = {path.name for path in exported.iterdir()}
    graphs = {f"{part}.onnx" for part in ("face", "voice", "text", "fusion")}
    assert names == {*graphs, "vocabulary.txt", "open7.json"}
    for graph in graphs:
        checker.check_model(exported / graph, full_check=True)


def test_graphs_without_torch_give_the_scores_of_the_package(exported: Path) -> None:
    tokens = WordPieces.load(exported / "vocabulary.txt").encode(TEXT)
    command = [sys.executable, "-c", WITHOUT_TORCH, str(exported), json.dumps(tokens)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == pytest.approx(analyze_text(TEXT).scores, abs=TOLERANCE)


def test_a_graph_of_other_weights_is_refused_and_removed(exported: Path, tmp_path: Path) -> None:
    settings = json.loads((WEIGHTS / "fusion-open7" / "config.json").read_text())["settings"]
    other = graph_of(build("late-attention", settings).eval())
    assert largest_difference(other, exported / "fusion.onnx") > TOLERANCE
    present, *parts = other.trials[1]
    nan = (present, *(values * torch.nan for values in parts))
    broken = replace(other, trials=[other.trials[0], nan])
    with pytest.raises(WeightsError, match="differ from the network by nan"):
        write_graph(broken, tmp_path / "fusion.onnx")
    assert not list(tmp_path.iterdir())


def test_networks_without_an_export_are_named() -> None:
    with pytest.raises(WeightsError, match="PublishedVoice has no ONNX export"):
        graph_of(build("are", {}))
    with pytest.raises(WeightsError, match="SpeechNetwork has no ONNX export"):
        graph_of(build("speech", {"prosody": True}))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="taken: cannot be written"):
        export("fusion-open7", tmp_path / "taken")


def test_other_voice_networks_export_too(tmp_path: Path) -> None:
    settings = {"front": "mfcc", "bidirectional": False, "pooling": "last", "units": 8}
    torch.manual_seed(0)
    network = build("speech", settings).eval()
    network.scale.running_var.fill_(400.0)  # typical of MFCC; an untrained scale is 1
    assert write_graph(graph_of(network), tmp_path / "voice.onnx").is_file()
