"""Test that malicious weights folders are refused before memory is allocated, and never executed."""

import ast
import json
import os
import struct
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hub_weights import edit_config
from safetensors.torch import load_file, save_file

from multimodal_fer.errors import WeightsError
from multimodal_fer.hub import loading
from multimodal_fer.labels import FER_PLUS, OPEN7
from multimodal_fer.models import MODELS, build
from multimodal_fer.models.shapes import tensor_shapes_of
from multimodal_fer.text.vocabulary import Vocabulary

resource = pytest.importorskip(
    "resource", reason="memory is measured with the resource module of Unix"
)

ROOT = Path(__file__).parent.parent.parent
LARGE = 10 * 2**30  # bytes
FUSED = {"part_labels": {"face": FER_PLUS, "text": OPEN7}}
MOST_GROWTH = 300 * 2**10  # KiB of memory that refusing may take


@pytest.fixture
def folders(tmp_path):
    """Return a folder with a valid face network, a text network, and a bundle of both."""
    torch.manual_seed(0)
    face = build("se-resnet", {"widths": [8, 8], "blocks": [1, 1]})
    loading.save_model(tmp_path / "face", "se-resnet", face, {})
    words = Vocabulary.build(["it was easy and i love it"])
    settings = {"vocabulary_size": len(words), "word_size": 4, "units": 4}
    loading.save_model(tmp_path / "text", "words", build("words", settings), {}, words)
    parts = {"face": tmp_path / "face", "text": tmp_path / "text"}
    loading.save_bundle(tmp_path / "both", face.config.labels, 0.5, parts)
    return tmp_path


@pytest.fixture
def face(folders):
    return folders / "face"


@pytest.fixture(autouse=True)
def memory():
    """Check that no test allocates much memory."""
    build("words", {"vocabulary_size": 10})  # memory that torch allocates once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH


def edit_settings(folder: Path, **values) -> None:
    settings = json.loads((folder / "config.json").read_text())["settings"]
    edit_config(folder, settings=settings | values)


def pin_again(bundle: Path, **parts: dict) -> None:
    """Change what a bundle states about its parts."""
    pinned = json.loads((bundle / "config.json").read_text())["parts"]
    edit_config(bundle, parts={name: row | parts.get(name, {}) for name, row in pinned.items()})


def refused(folder: Path, sentence: str, load=loading.load_model) -> None:
    with pytest.raises(WeightsError, match=sentence) as caught:
        load(folder)
    assert str(folder.parent) in str(caught.value)


SETTINGS = {
    "width": ({"widths": [10**9, 10**9]}, "cannot be built"),
    "shapes": ({"widths": [10**6, 10**6]}, r"does not fit.*expected .*1,000,000.*found"),
    "layers": ({"blocks": [10**9, 1]}, "more layers than any network here has"),
    "stages": ({"widths": [8] * 10**5, "blocks": [1] * 10**5}, "more layers than any network"),
    "labels": (
        {"labels": [str(n) for n in range(10**5)]},
        r"does not fit.*head.bias: expected 100,000, found 8",
    ),
    "crops": ({"input_size": 10**9}, "expected input_size from 1 to 1024, found 1000000000"),
    "no crops": ({"input_size": "48"}, "expected input_size from 1"),
    "cold": ({"temperature": 0}, "expected temperature from 0.001 to 1000, found 0"),
    "nothing": ({"temperature": float("nan")}, "expected temperature from 0.001 to 1000"),
    "hot": ({"temperature": float("inf")}, "expected temperature from 0.001 to 1000"),
    "text": ({"widths": "wide"}, "expected widths as"),
    "unknown": ({"code": "import os"}, "has no setting"),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_of_absurd_size_or_kind_are_refused(face, kind):
    settings, sentence = SETTINGS[kind]
    edit_settings(face, **settings)
    with pytest.raises(WeightsError, match=sentence):
        loading.load_model(face)
    assert torch.is_grad_enabled()  # also after an error inside torch


@pytest.mark.parametrize("model", ["os.system", "../se-resnet", "", ["se-resnet"], None, 7])
def test_models_of_other_names_are_refused(face, model):
    edit_config(face, model=model)
    with pytest.raises(
        WeightsError, match=r"unknown model|expected the name and the settings of a model"
    ):
        loading.load_model(face)


def test_invalid_settings_are_refused(face):
    for settings in ([], "x", None, 3):
        edit_config(face, settings=settings)
        refused(face, "expected the name and the settings of a model")


@pytest.mark.parametrize("name", MODELS)
def test_shapes_without_memory_are_those_of_the_network(name):
    settings = FUSED if name == "late-attention" else {}
    shapes = tensor_shapes_of(name, settings)
    if name.startswith("pretrained"):
        assert shapes is None
        return
    built = build(name, settings).state_dict()
    assert shapes == {key: tuple(value.shape) for key, value in built.items()}


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("pretrained")])
def test_settings_of_any_kind_build_a_network_or_are_refused(name):
    _, config = MODELS[name]
    base = FUSED if name == "late-attention" else {}
    for field in fields(config):
        for value in ("x", [], {}, -1, 0, None, 10**9, [[1]]):
            with suppress(WeightsError):  # no other error
                tensor_shapes_of(name, base | {field.name: value})


CLAIMS = {
    "length": (LARGE, {}),
    "beyond": (None, {"a": {"dtype": "F16", "shape": [9], "data_offsets": [0, 18]}}),
    "ten gigabytes": (
        None,
        {"a": {"dtype": "F16", "shape": [LARGE // 2], "data_offsets": [0, LARGE]}},
    ),
    "overlap": (
        None,
        {
            "a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]},
            "b": {"dtype": "F16", "shape": [4], "data_offsets": [4, 12]},
        },
    ),
    "hole": (
        None,
        {
            "a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
            "b": {"dtype": "F16", "shape": [1], "data_offsets": [14, 16]},
        },
    ),
    "negative": (None, {"a": {"dtype": "F16", "shape": [-8], "data_offsets": [0, 16]}}),
    "overflow": (
        None,
        {"a": {"dtype": "F16", "shape": [2**40, 2**40], "data_offsets": [0, 16]}},
    ),
    "kind": (None, {"a": {"dtype": "PICKLE", "shape": [8], "data_offsets": [0, 16]}}),
    "no object": (None, []),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_wrong_headers_are_refused(face, kind):
    length, header = CLAIMS[kind]
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text) if length is None else length) + text + b"\0" * 16
    (face / "model.safetensors").write_bytes(content)
    refused(face, "is not a complete safetensors file")


def test_truncated_files_are_refused(face):
    whole = (face / "model.safetensors").read_bytes()
    for content in (b"", whole[:4], whole[:-1], whole + b"\0", b"\0" * 100):
        (face / "model.safetensors").write_bytes(content)
        refused(face, "is not a complete safetensors file")


def test_too_many_tensors_are_refused(face, monkeypatch):
    monkeypatch.setattr("multimodal_fer.utils.tensor_files.MOST_TENSORS", 10)
    refused(face, r"\d+ tensors, at most 10 are read")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_with_nan_or_infinity_are_refused(face, value):
    tensors = load_file(face / "model.safetensors")
    tensors["head.weight"][0, 0] = value
    save_file(tensors, face / "model.safetensors")
    refused(face, r"head\.weight holds NaN or infinity")


@pytest.mark.parametrize(
    "model", ["../../etc", "/etc", "face/../text", "..", "", "a\0b", "a" * 999, 7]
)
def test_parts_that_lead_elsewhere_are_refused(folders, model):
    pin_again(folders / "both", face={"model": model})
    refused(folders / "both", "expected the plain name of a folder", loading.load_bundle)


@pytest.mark.parametrize("file", ["../../etc/passwd", "/etc/passwd", "setup.py", "README.md"])
def test_parts_pin_files_of_weights_only(folders, file):
    pin_again(folders / "both", face={"files": {file: "0" * 64}})
    refused(folders / "both", "expected files among", loading.load_bundle)


def test_invalid_bundles_are_refused(folders):
    both = folders / "both"
    before = (both / "config.json").read_text()
    for values in ({"parts": []}, {"parts": {"face": "face"}}, {"parts": {"face": None}}):
        edit_config(both, **values)
        refused(both, "expected", loading.load_bundle)
    (both / "config.json").write_text(before)
    for values in ({"labels": "abc"}, {"labels": [1]}, {"unsure_below": float("nan")}):
        edit_config(both, **values)
        refused(both, "expected a list of different labels and 'unsure_below'", loading.load_bundle)
        (both / "config.json").write_text(before)
    pin_again(both, face={"files": {"config.json": "0" * 64}})
    refused(both, r"does not pin model\.safetensors", loading.load_bundle)
    (both / "config.json").write_text(before)
    files = json.loads(before)["parts"]["text"]["files"]
    pin_again(both, text={"files": {n: h for n, h in files.items() if n != "vocabulary.txt"}})
    refused(both, r"does not pin vocabulary\.txt", loading.load_bundle)
    (both / "config.json").write_text(before)
    parts = json.loads(before)["parts"]
    edit_config(both, parts={"face": parts["text"], "fusion": parts["face"]})
    refused(both, "is not a network for the part face", loading.load_bundle)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "golden.json"])
def test_links_out_of_the_folder_are_refused(face, name):
    (face / name).rename(face.parent / "elsewhere")
    (face / name).symlink_to(Path("..") / "elsewhere")
    refused(face, f"{name}: is a link that leads out of its folder", loading.verify_model)
    (face / name).unlink()
    (face / name).symlink_to(name)  # to itself
    refused(face, "is missing or not a file|not found", loading.verify_model)
    (face / name).unlink()
    (face.parent / "elsewhere").rename(face / "kept")
    (face / name).symlink_to("kept")
    assert loading.verify_model(face) < loading.GOLDEN_TOLERANCE


def test_a_vocabulary_that_is_a_link_is_not_read(folders):
    (folders / "secret").write_text("_PAD_\n_UNK_\n" + "secret\n")
    (folders / "text" / "vocabulary.txt").unlink()
    (folders / "text" / "vocabulary.txt").symlink_to(folders / "secret")
    refused(folders / "text", "is a link that leads out", loading.load_reader)
    refused(folders / "text", "is a link that leads out", loading.verify)
    with pytest.raises(WeightsError, match="is a link that leads out"):
        loading.load_bundle(folders / "both")


@pytest.mark.parametrize("name", ["vocabulary.txt", "config.json", "golden.json"])
def test_files_of_ten_gigabytes_are_not_read(folders, name):
    with (folders / "text" / name).open("wb") as file:
        file.truncate(LARGE)  # a sparse file
    refused(folders / "text", r"has 10,240.0 MiB, at most 8.0 MiB are read", loading.verify)
    if name != "golden.json":  # not read by loading
        with pytest.raises(WeightsError, match=r"at most 8\.0 MiB are read"):
            loading.load_bundle(folders / "both")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_other_than_regular_files_are_not_opened(face, name):
    (face / name).unlink()
    os.mkfifo(face / name)  # opening it would block
    refused(face, "is missing or not a file|not found")
    (face / name).unlink()
    (face / name).mkdir()
    refused(face, "is missing or not a file|not found")


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 10**6,
        b'{"a":' * 10**6,
        b'{"model": ' + b"9" * 10**5 + b"}",
        b"\xff\xfe",
        b'{"model": "se-resnet", "settings": {"widths": [1e999]}}',
    ],
    ids=["nested lists", "nested objects", "a long number", "no text", "infinity"],
)
def test_configs_made_to_break_readers_are_refused(face, content):
    (face / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot be read|expected widths as tuple"):
        loading.load_model(face)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"logits": "x"}', '{"logits": [[1], [1, 2]]}', "[" * 10**6, "{", "\0"]
)
def test_invalid_reference_outputs_are_refused(face, content):
    (face / "golden.json").write_text(content)
    refused(face, "golden.json: holds no logits", loading.verify_model)


def test_reference_outputs_of_another_shape_are_refused(face):
    """Check that a single number is not broadcast."""
    for logits in (0.0, [], [[0.0]], [[None] * 8] * 4):
        (face / "golden.json").write_text(json.dumps({"logits": logits}))
        refused(face, "holds no logits|input differ by inf", loading.verify_model)


RUNS_CODE = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
CODE = [path for name in ("multimodal_fer", "recipes", "benchmarks", "examples")
        for path in sorted((ROOT / name).rglob("*.py"))]  # fmt: skip


def dotted(node: ast.expr) -> str:
    return (
        f"{dotted(node.value)}.{node.attr}"
        if isinstance(node, ast.Attribute)
        else getattr(node, "id", "")
    )


def calls_that_run_code(tree: ast.AST) -> list[str]:
    """Return calls that could execute the content of a file."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in RUNS_CODE:
            found.append(f"{node.lineno}: from {node.module} import")
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        constants = {
            word.arg: word.value.value
            for word in node.keywords
            if isinstance(word.value, ast.Constant)
        }
        words = {word.arg for word in node.keywords}
        head, _, method = name.rpartition(".")
        wrong = (
            name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen")
            or head in RUNS_CODE
            or (name == "torch.load" and constants.get("weights_only") is not True)
            or name.startswith("torch.hub.")
            or (name in ("numpy.load", "np.load") and constants.get("allow_pickle") is not False)
            or (head == "yaml" and method not in ("safe_load", "safe_dump"))
            or ("trust_remote_code" in words and constants.get("trust_remote_code") is not False)
            or ("shell" in words and constants.get("shell") is not False)
        )
        if wrong:
            found.append(f"{node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_executes_files(path):
    assert calls_that_run_code(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle; pickle.load(file)",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.hub.load(name)",
        "numpy.load(path)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=chosen)",
        "yaml.load(text)",
        "eval(text)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_calls_that_run_code_are_found(code):
    assert calls_that_run_code(ast.parse(code))


@pytest.mark.parametrize(
    ("part", "values", "sentence"),
    [
        ("face", {"input_size": 1.5}, "expected input_size as int, found 1.5"),
        ("face", {"dropout": "much"}, "expected dropout as float, found 'much'"),
        ("face", {"labels": [["anger"], "fear"]}, "expected labels as"),
        ("face", {"labels": ["anger", "anger"]}, "expected different names as labels"),
        ("face", {"labels": ["anger", ""]}, "expected different names as labels"),
        ("face", {"temperature": True}, "expected temperature from"),
        ("text", {"languages": 5}, "expected languages as"),
        ("text", {"languages": [5]}, "expected languages as"),
    ],
)
def test_settings_of_the_wrong_kind_are_refused_at_load(folders, part, values, sentence):
    """Check what would otherwise fail while an answer is judged."""
    edit_settings(folders / part, **values)
    refused(folders / part, sentence)


@pytest.mark.parametrize("labels", [["anger", "anger"], [["anger"]], ["anger", ""], []])
def test_bundles_with_labels_that_are_no_names_are_refused(folders, labels):
    edit_config(folders / "both", labels=labels)
    refused(folders / "both", "expected a list of different labels", loading.load_bundle)


def test_links_of_a_hub_cache_are_followed(folders, tmp_path):
    """Check a snapshot of huggingface_hub, whose files are links to the blobs of the same repository."""
    repository = tmp_path / "cache" / "models--a--b"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, file in enumerate(sorted((folders / "face").iterdir())):
        file.rename(repository / "blobs" / str(number))
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", str(number)))
    assert loading.load_model(snapshot).config.labels == FER_PLUS
    (repository / "blobs" / "0").rename(repository / "0")
    next(path for path in snapshot.iterdir() if not path.exists()).unlink()
    (snapshot / "config.json").unlink(missing_ok=True)
    (snapshot / "config.json").symlink_to(repository / "0")
    refused(snapshot, "leads out of its folder")


def test_names_that_no_file_system_has(tmp_path):
    with pytest.raises(WeightsError, match="not found"):
        loading.load_bundle("x" * 300)
