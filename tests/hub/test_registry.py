"""Test finding weights by name: local folders first, pinned publications, and few requests to a hub."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from hub_weights import REPO, edit_config, offline

import multimodal_fer
from multimodal_fer import Analyzer
from multimodal_fer.errors import HubError, HubUnreachableError, WeightsError
from multimodal_fer.hub import downloading, loading, registry
from multimodal_fer.hub.publishing import plan, publish
from multimodal_fer.hub.registry import find_weights, known_weights

pytest.importorskip("huggingface_hub", reason="fetching needs huggingface_hub (extra hub)")
pytest_plugins = ["hub_fixtures"]
pytestmark = [
    pytest.mark.usefixtures("online"),
    # The library calls its HTTP client in a deprecated way.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]
BOTH = "lab/both"


@pytest.fixture
def published(weights):
    """Publish the bundle; return its commit and its sha256."""
    planned = plan(weights / "both7", BOTH)
    return publish(planned).rsplit("/", 1)[1], planned.sha256


@pytest.fixture
def register(monkeypatch, tmp_path):
    """Return a function that writes another registry for the package."""
    path = tmp_path / "registry.json"
    monkeypatch.setattr(registry, "REGISTRY", path)
    return lambda rows: path.write_text(json.dumps(rows))


def pin(published, **changes) -> dict:
    commit, sha256 = published
    return {"both": {"repo": BOTH, "revision": commit, "sha256": sha256} | changes}


def test_the_order_is_folder_variable_package_registry(
    published, register, server, weights, monkeypatch, tmp_path
):
    register(pin(published) | {"open7": pin(published)["both"]})
    server.requests.clear()
    # The registry is last: names of the package need no hub.
    assert find_weights("open7").parent.name == "weights" and not server.requests
    chosen = tmp_path / "chosen"
    shutil.copytree(weights / "both7", chosen / "open7")
    monkeypatch.setenv(registry.WEIGHTS_VARIABLE, str(chosen))
    assert find_weights("open7") == chosen / "open7"
    shutil.copytree(weights / "both7", tmp_path / "here" / "open7")
    monkeypatch.chdir(tmp_path / "here")
    assert find_weights("open7") == Path("open7") and not server.requests
    assert find_weights("both").is_relative_to(tmp_path / "cache")


def test_a_registered_name_is_downloaded_once_as_pinned(published, register, server):
    register(pin(published))
    assert known_weights()["both"] == registry.Pin(**pin(published)["both"])
    bundle = multimodal_fer.load_bundle("both")
    assert bundle.face is not None and bundle.text is not None and bundle.name == "both"
    server.requests.clear()
    assert multimodal_fer.load_bundle("both").digest == bundle.digest and not server.requests
    assert known_weights()["both"] == find_weights("both")


def test_content_other_than_registered_is_refused(published, register, server, weights, tmp_path):
    register(pin(published, sha256="0" * 64))
    with pytest.raises(WeightsError, match=r"expected content with sha256 0+, found"):
        loading.load_bundle("both")
    assert not list((tmp_path / "cache").rglob("config.json"))
    # A later commit changes nothing; an altered cache is refused.
    register(pin(published))
    edit_config(weights / "both7", unsure_below=0.9)
    publish(plan(weights / "both7", BOTH))
    assert loading.load_bundle("both").unsure_below == 0.5
    edit_config(find_weights("both"), unsure_below=0.1)
    with pytest.raises(WeightsError, match="expected content with sha256"):
        loading.load_bundle("both")


def test_a_registered_name_without_a_network_is_explained(
    published, register, library, monkeypatch, tmp_path
):
    register(pin(published))
    with offline(library, monkeypatch):
        with pytest.raises(HubUnreachableError) as caught:
            loading.load_bundle("both")
        for part in (BOTH, "HF_HUB_OFFLINE", "copy the folder", str(tmp_path / "cache"), "weights"):
            assert part in str(caught.value)
    find_weights("both")
    with offline(library, monkeypatch):
        assert loading.load_bundle("both").name == "both"


@pytest.mark.parametrize(
    "changes", [{"revision": "main"}, {"sha256": ""}, {"repo": "../both"}, {"also": 1}]
)
def test_a_registry_without_pins_is_refused(published, register, changes):
    register(pin(published, **changes))
    with pytest.raises(WeightsError, match=r"is damaged .* install the package again"):
        find_weights("both")


def test_the_registry_of_the_package_is_valid():
    for name, entry in registry.registered().items():
        assert "/" not in name and isinstance(entry, registry.Pin)


def test_published_weights_are_loaded_by_owner_and_name(published, server, tmp_path):
    commit, _ = published
    analyzer = Analyzer(bundle=BOTH, speech_model="none")
    answer = analyzer.analyze_text("i love it")
    assert answer.bundle.startswith("both@") and answer.emotion is not None
    server.requests.clear()
    pinned = Analyzer.from_pretrained(BOTH, revision=commit, speech_model="none", frame_rate=2)
    assert pinned.bundle.digest == analyzer.bundle.digest and pinned.frame_rate == 2
    assert not server.requests
    assert known_weights()[BOTH] == tmp_path / "cache" / "lab--both" / commit / "both"


def test_a_single_model_is_loaded_by_owner_and_name(face, server):
    publish(plan(face, REPO))
    first = server.repositories[REPO].commits[-1][0]
    network = multimodal_fer.load_model(REPO)
    assert isinstance(network, multimodal_fer.face.network.FaceNetwork) and not network.training
    (face / "LICENSE").write_text("Free.\n")
    publish(plan(face, REPO))
    # Downloaded weights stay in use until `fetch` looks up the revision again.
    assert find_weights(REPO).parent.name == first
    assert downloading.fetch(REPO).parent.name != first
    assert find_weights(REPO).parent.name != first
    assert find_weights(REPO, first).parent.name == first
    with pytest.raises(HubError, match="there is no such revision"):
        loading.load_model(REPO, revision="v9")


def test_loading_is_strict(face, server):
    import torch
    from safetensors.torch import load_file, save_file

    publish(plan(face, REPO))
    tensors = load_file(face / "model.safetensors")
    for change in ({"more": torch.zeros(1)}, {"head.bias": None}, {"head.bias": torch.zeros(9)}):
        changed = {key: value for key, value in (tensors | change).items() if value is not None}
        save_file(changed, face / "model.safetensors")
        server.repositories[REPO].commit(
            {"model.safetensors": (face / "model.safetensors").read_bytes()}
        )
        downloading.fetch(REPO)
        with pytest.raises(
            WeightsError, match=rf"does not fit.*\(1 tensors, such as {next(iter(change))}"
        ):
            loading.load_model(REPO)


def test_downloaded_weights_load_without_the_library(published, monkeypatch):
    find_weights(BOTH)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert loading.load_bundle(BOTH).name == "both"
    with pytest.raises(HubError, match=r"pip install 'multimodal_fer\[hub\]'.*searched"):
        loading.load_bundle("lab/other")


def test_only_names_of_repositories_are_sent_to_the_hub(server, monkeypatch, tmp_path):
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("open9", "./lab/both", "/lab/both", "../lab/both", "lab/both/7", "lab\\both",
                 "~/both", Path("lab/both"), "weights/open9", ""):  # fmt: skip
        with pytest.raises(WeightsError, match=r"not found; known: .*open7"):
            loading.load_bundle(name)
    assert not server.requests
    with pytest.raises(HubError, match=r"there is no such repository.*searched lab/both, "):
        loading.load_bundle("lab/both")


def test_a_revision_of_local_weights_is_refused(face, server):
    for name in ("open7", face):
        with pytest.raises(WeightsError, match="only published weights have a revision"):
            loading.load_model(name, revision="main")
    assert not server.requests
