"""Fixtures for the local hub and for weights to publish.

A test module uses them with `pytest_plugins = ["hub_fixtures"]` and `usefixtures("online")`.
"""

import shutil
import socket
import sys
import time

import pytest
import torch
from hub_server import OWNER_TOKEN, HubServer
from hub_weights import ABOUT, CARD, RESULTS

from multimodal_fer.hub import downloading, loading
from multimodal_fer.labels import OPEN7
from multimodal_fer.models import build
from multimodal_fer.text.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def server():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def library(server, tmp_path_factory):
    """Import huggingface_hub with the address of the local hub; restore the former modules at the end."""
    names = [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]
    before = {name: sys.modules.pop(name) for name in names}
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_CO_STAGING"):
            patch.delenv(variable, raising=False)
        for variable in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY"):
            patch.setenv(variable, "1")
        for variable in ("HF_HUB_DISABLE_UPDATE_CHECK", "HF_HUB_DISABLE_PROGRESS_BARS"):
            patch.setenv(variable, "1")
        patch.setenv("HF_ENDPOINT", server.address)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub-home")))
        patch.setenv("NO_PROXY", "127.0.0.1")
        import huggingface_hub

        yield huggingface_hub
    for name in [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def online(server, library, monkeypatch, tmp_path):
    """Set up an empty hub and cache and the owner's token; forbid waiting and other addresses."""
    server.clear()
    monkeypatch.setenv("HF_TOKEN", OWNER_TOKEN)
    monkeypatch.setenv(downloading.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    connect = socket.socket.connect

    def connect_here(self, address):
        assert address[0] == "127.0.0.1", f"a test contacted {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Create a bundle of a face and a text network, each with a complete card."""
    root = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    face = build("se-resnet", {"widths": [8, 8], "blocks": [1, 1]})
    loading.save_model(root / "face-tiny", "se-resnet", face, ABOUT | {"results": RESULTS})
    words = Vocabulary.build(["it was easy and i love it"])
    settings = {"vocabulary_size": len(words), "word_size": 4, "units": 4}
    about = ABOUT | {"modality": "text"}
    loading.save_model(root / "text-tiny", "words", build("words", settings), about, words)
    parts = {"face": root / "face-tiny", "text": root / "text-tiny"}
    loading.save_bundle(root / "both7", OPEN7, 0.5, parts)
    for name in ("face-tiny", "text-tiny", "both7"):
        (root / name / "README.md").write_text(CARD)
    (root / "both7" / "README.md").write_text(CARD + "\n[the face](../face-tiny/README.md)\n")
    return root


@pytest.fixture
def weights(made, tmp_path):
    """Return a copy to change."""
    shutil.copytree(made, tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def face(weights):
    return weights / "face-tiny"
