"""Test publishing and downloading: complete weights, and nothing else.

The hub is a local server (`hub_server.py`); no other address is contacted.
"""

import errno
import json
import shutil
import socket
import struct
import sys
from pathlib import Path

import pytest
import torch
from hub_server import READER_TOKEN
from hub_weights import CARD, REPO, change, edit_card, edit_config, latest, offline, put

from multimodal_fer.errors import (
    HubError,
    HubUnreachableError,
    MultimodalFerError,
    OutputError,
    WeightsError,
)
from multimodal_fer.hub import downloading, loading, weights_folder
from multimodal_fer.hub.downloading import fetch, sha256_of
from multimodal_fer.hub.publishing import plan, publish
from multimodal_fer.hub.weights_folder import unexpected_files
from multimodal_fer.models.reference_outputs import reference_logits

pytest.importorskip("huggingface_hub", reason="publishing needs huggingface_hub (extra hub)")
yaml = pytest.importorskip("yaml", reason="publishing needs huggingface_hub (extra hub)")
pytest_plugins = ["hub_fixtures"]
pytestmark = [
    pytest.mark.usefixtures("online"),
    # The library calls its HTTP client in a deprecated way.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]

LARGE = 10 * 2**30  # bytes


@pytest.fixture
def trained_on_iemocap(face):
    """Return the face network, marked as trained on IEMOCAP."""
    edit_config(face, corpora=["ravdess", "iemocap"])
    (face / "LICENSE").write_text("For research, as the release form of IEMOCAP says.\n")
    return face


def in_cache(tmp_path: Path) -> list[str]:
    """Return every file of the cache."""
    folder = tmp_path / "cache"
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def front_matter(card: str | bytes) -> dict:
    text = card.decode() if isinstance(card, bytes) else card
    return yaml.safe_load(text.split("---\n")[1])


def test_a_plan_lists_the_files_to_publish(face, server):
    planned = plan(face, REPO)
    assert planned.problems == () and planned.gated is False
    assert planned.licence == "other (research-use)"
    assert {file.path for file in planned.files} == {
        "README.md",
        "config.json",
        "golden.json",
        "model.safetensors",
    }
    sizes = {file.path: file.size for file in planned.files}
    assert sizes["model.safetensors"] == (face / "model.safetensors").stat().st_size
    assert planned.sha256 == sha256_of(face)
    metric = front_matter(planned.card)["model-index"][0]["results"][0]["metrics"][1]
    assert metric == {"type": "recall", "name": "UAR", "value": 0.125}
    assert planned.card.endswith(CARD.split("---\n", 2)[2])
    assert not server.requests


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("license: other\nlicense_name: research-use\n", "", "lacks license; add it"),
        ("license_name: research-use\n", "", "needs a license_name"),
        ("library_name: multimodal_fer\n", "", "lacks library_name"),
        ("tags: [emotion]", "tags: []", "lacks tags"),
        ("## Data and terms", "## Data", "section '## Data and terms' is missing"),
        ("It knows nothing.", "", "section '## Limits' is missing or empty"),
        ("## Not for", "## For", "section '## Not for'"),
        ("## Figures", "## Numbers", "section '## Figures'"),
        ("---\nlicense", "license", "expected a card with front matter"),
        ("tags: [emotion]", "tags: [", "expected a card with front matter"),
    ],
)
def test_an_incomplete_card_is_refused(face, server, old, new, problem):
    edit_card(face, old, new)
    planned = plan(face, REPO)
    assert any(problem in found for found in planned.problems), planned.problems
    with pytest.raises(WeightsError, match="cannot be published"):
        publish(planned)
    assert not server.requests


def test_weights_without_figures_or_terms_are_refused(weights):
    text = weights / "text-tiny"
    assert not plan(text, REPO).problems
    edit_card(text, "| nothing | 14% |", "| nothing | – |")
    edit_config(text, licence="")
    first, second = plan(text, REPO).problems
    assert "lacks 'licence'" in first and "no evaluation results" in second
    edit_config(text, licence="MIT", results={"MELD": {"accuracy": "good"}})
    (problem,) = plan(text, REPO).problems
    assert "results, MELD, accuracy: expected a number, found 'good'" in problem


def test_weights_that_fail_the_verification_are_refused(face):
    reference = face / "golden.json"
    logits = json.loads(reference.read_text())["logits"]
    logits[0][0] += 0.1
    reference.write_text(json.dumps({"logits": logits}))
    assert "logits of the reference input differ" in plan(face, REPO).problems[0]
    logits[0][0] = float("nan")
    reference.write_text(json.dumps({"logits": logits}))
    (problem,) = plan(face, REPO).problems
    assert "logits of the reference input differ by nan" in problem
    reference.unlink()
    assert "golden.json: is missing" in plan(face, REPO).problems[0]


def test_a_text_network_without_its_vocabulary_is_refused(weights):
    (weights / "text-tiny" / "vocabulary.txt").unlink()
    assert "vocabulary" in plan(weights / "text-tiny", REPO).problems[0]


def test_missing_folders_and_wrong_names_are_explained(face):
    with pytest.raises(WeightsError, match="expected a folder of weights"):
        plan(face / "nowhere", REPO)
    for name in ("tiny", "lab/", "lab/../tiny", "lab/a/b", "lab/ti ny", "lab/a--b", "lab/a.git"):
        with pytest.raises(HubError, match="expected a repository as owner/name"):
            plan(face, name)


def test_a_missing_library_is_explained(face, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for attempt in (lambda: plan(face, REPO), lambda: fetch(REPO)):
        with pytest.raises(HubError, match=r"pip install 'multimodal_fer\[hub\]'"):
            attempt()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("Ses01F_impro01_F000.wav", b"RIFF", "looks like sound of a corpus"),
        ("face.PNG", b"\x89PNG", "looks like pictures"),
        ("folds.csv", b"a,b", "looks like a table"),
        ("answers.jsonl", b"{}", "looks like a table"),
        ("features.npz", b"PK", "looks like arrays"),
        ("pytorch_model.bin", b"", "is not a file of a weights folder"),
        ("transcript.txt", b"hello", "looks like transcripts"),
        (".DS_Store", b"", "is not a file of a weights folder"),
        ("model.safetensors.part", b"", "is not a file of a weights folder"),
        ("LICENSE", b"RIFF\x00\x00", "has content that does not fit its name"),
        ("LICENSE.md", b"\xff\xfe", "has content that does not fit its name"),
        (
            "vocabulary.txt",
            b"_PAD_\n_UNK_\nhello you there\n",
            "has content that does not fit its name",
        ),
        ("golden.json", b'{"logits": [], "texts": ["hello"]}', "expected only logits"),
        ("README.md", CARD.encode() + b"Ses01F_impro01_F000: angry\n", "names turns of IEMOCAP"),
        ("model.safetensors", struct.pack("<Q", LARGE) + b"{}", "not a complete safetensors file"),
    ],
)
def test_unexpected_files_are_found(face, name, content, why):
    assert unexpected_files(face) == {}
    (face / name).write_bytes(content)
    found = unexpected_files(face)
    assert list(found) == [name] and why in found[name]
    assert any(why in problem for problem in plan(face, REPO).problems)


def test_links_and_folders_are_found(face, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (face / "LICENSE").symlink_to(tmp_path / "secret")
    (face / "crops").mkdir()
    found = unexpected_files(face)
    assert "is a link" in found["LICENSE"] and "is a folder" in found["crops"]
    planned = plan(face, REPO)
    assert planned.problems and "LICENSE" not in {file.path for file in planned.files}
    with pytest.raises(WeightsError, match="expected a folder of weights"):
        unexpected_files(tmp_path / "nowhere")


def test_tensors_larger_than_their_file_are_found(face):
    header = json.dumps({"a": {"dtype": "F16", "shape": [LARGE // 2], "data_offsets": [0, LARGE]}})
    content = struct.pack("<Q", len(header)) + header.encode() + b"\0" * 64
    (face / "model.safetensors").write_bytes(content)
    assert "not a complete safetensors file" in unexpected_files(face)["model.safetensors"]


def test_a_file_that_is_too_large_is_found(face, monkeypatch):
    monkeypatch.setitem(weights_folder.LARGEST, "model.safetensors", 1000)
    assert "at most 0.0 MiB are published" in unexpected_files(face)["model.safetensors"]


@pytest.mark.parametrize("name", ["../weights/face-tiny", "/etc", "..", "", 7])
def test_a_bundle_whose_part_leads_elsewhere_is_refused(weights, name):
    config = json.loads((weights / "both7" / "config.json").read_text())
    config["parts"]["face"]["model"] = name
    edit_config(weights / "both7", parts=config["parts"])
    with pytest.raises(WeightsError, match="expected the plain name of a folder"):
        plan(weights / "both7", REPO)


def test_a_folder_that_changed_since_its_plan_is_refused(face, server):
    planned = plan(face, REPO)
    edit_config(face, seed=2)
    with pytest.raises(WeightsError, match="has changed since the plan was made"):
        publish(planned)
    assert not server.requests


def test_published_weights_give_the_same_logits(face, server, tmp_path):
    planned = plan(face, REPO)
    address = publish(planned)
    commit = address.rsplit("/", 1)[1]
    assert address == f"{server.address}/{REPO}/commit/{commit}"
    assert latest(server)["README.md"] == planned.card.encode()
    folder = fetch(REPO, commit, planned.sha256)
    assert folder.name == "tiny" and folder.parent.name == commit
    assert torch.equal(
        reference_logits(loading.load_model(folder)), reference_logits(loading.load_model(face))
    )
    assert loading.verify_model(folder) < loading.GOLDEN_TOLERANCE
    assert unexpected_files(folder) == {} and not folder.is_symlink()
    assert len(in_cache(tmp_path)) == len(planned.files)  # no files of the library


def test_a_bundle_is_published_with_its_parts(weights, server):
    planned = plan(weights / "both7", "lab/both")
    assert planned.problems == () and len(planned.files) == 11
    assert "](face-tiny/README.md)" in planned.card
    publish(planned)
    folder = fetch("lab/both", sha256=planned.sha256)
    bundle = loading.load_bundle(folder)
    assert bundle.face is not None and bundle.text is not None and bundle.name == "both"
    assert bundle.digest == loading.load_bundle(weights / "both7").digest
    assert sha256_of(folder) == sha256_of(weights / "both7") == planned.sha256


def test_a_bundle_is_checked_with_its_parts(weights):
    assert "has this name" in plan(weights / "both7", "lab/face-tiny").problems[0]
    (weights / "text-tiny" / "speech.wav").write_bytes(b"RIFF")
    edit_config(weights / "face-tiny", seed=2)
    problems = " ".join(plan(weights / "both7", REPO).problems)
    assert "speech.wav: looks like sound" in problems and "expected sha256" in problems


def test_publishing_again_makes_a_commit_and_uploads_what_changed(face, server):
    first = publish(plan(face, REPO))
    uploads = server.asked("PUT")
    assert publish(plan(face, REPO)) == first  # no change, no commit
    edit_card(face, "It knows nothing.", "It knows nothing at all.")
    (face / "LICENSE").write_text("Free.\n")
    second = publish(plan(face, REPO))
    (face / "LICENSE").unlink()
    third = publish(plan(face, REPO))
    assert len({first, second, third}) == 3 and server.asked("PUT") == uploads
    commits = server.repositories[REPO].commits
    assert [("LICENSE" in files) for _, files in commits] == [False, False, True, False]
    assert ".gitattributes" in latest(server)
    # A pinned commit never changes; the branch does.
    before, now = (fetch(REPO, commits[1][0]), fetch(REPO))
    assert "nothing.\n" in (before / "README.md").read_text()
    assert "at all" in (now / "README.md").read_text()


def test_an_interrupted_upload_continues(weights, server):
    planned = plan(weights / "both7", REPO)
    hashes = {file.path: file.sha256 for file in planned.files}
    text = hashes["text-tiny/model.safetensors"]
    server.refused = {text}
    with pytest.raises(HubUnreachableError, match="run the command again"):
        publish(planned)
    assert "config.json" not in latest(server)  # no partial publication
    server.refused.clear()
    before = server.asked("PUT")
    publish(planned)
    assert server.asked("PUT") - before == {f"/large/{text}": 1}
    assert set(hashes) < set(latest(server))


def test_weights_of_iemocap_are_gated_before_the_upload(trained_on_iemocap, server):
    planned = plan(trained_on_iemocap, REPO)
    assert planned.problems == () and planned.gated == "manual"
    assert plan(trained_on_iemocap, REPO, gated=False).gated is False
    metadata = front_matter(planned.card)
    assert metadata["extra_gated_fields"]["I hold an IEMOCAP release form"] == "checkbox"
    assert metadata["license_link"] == "LICENSE" and "datasets" not in metadata
    publish(planned)
    asked = [
        request for request in server.requests if "/settings" in request or "/commit" in request
    ]
    assert [request.rsplit("/", 1)[1] for request in asked] == ["settings", "main"]
    assert server.repositories[REPO].gated == "manual"


def test_missing_terms_of_iemocap_are_listed(trained_on_iemocap):
    folder = trained_on_iemocap
    edit_card(folder, "license: other", "license: mit\ndatasets: [someone/copy]")
    (folder / "LICENSE").write_text("MIT\n")
    first, second, third = plan(folder, REPO).problems
    assert "license must be 'other'" in first
    assert "would link to a copy" in second
    assert "after reading your release form" in third


@pytest.mark.parametrize(
    ("values", "gated"),
    [
        ({"licence": "research use; IEMOCAP release form"}, "manual"),
        ({"training": {"corpora": ["IEMOCAP"]}}, "manual"),
        ({"results": {"IEMOCAP, loso5": {"UA": 0.5}}}, False),  # only evaluated on it
        ({}, False),
    ],
)
def test_iemocap_is_recognised(face, values, gated):
    edit_config(face, **values)
    assert plan(face, REPO).gated == gated


def test_access_is_restricted_but_never_extended(face, server):
    publish(plan(face, REPO, private=True, gated="auto"))
    repository = server.repositories[REPO]
    assert repository.private and repository.gated == "auto"
    publish(plan(face, REPO))
    assert repository.private and repository.gated == "auto"


def test_a_gate_admits_readers_of_the_owner(trained_on_iemocap, server, monkeypatch, tmp_path):
    publish(plan(trained_on_iemocap, REPO))
    monkeypatch.setenv("HF_TOKEN", READER_TOKEN)
    with pytest.raises(HubError, match="is gated; request access on its page"):
        fetch(REPO)
    assert in_cache(tmp_path) == []
    server.repositories[REPO].readers.add(READER_TOKEN)
    loading.load_model(fetch(REPO))


def test_a_wrong_token_is_explained(face, server, monkeypatch):
    planned = plan(face, REPO)
    with pytest.raises(HubError, match="rejects this access token"):
        publish(planned, token="hf_wrong")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HubError, match="rejects this access token"):
        publish(planned)
    with pytest.raises(HubError, match="rejects this access token"):
        fetch(REPO)
    assert REPO not in server.repositories


def test_a_missing_token_is_explained(face, server, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="log in with `hf auth login`"):
        publish(plan(face, REPO))
    assert not server.requests


def test_a_token_without_the_right_is_explained(face, server):
    server.fail("no writing")
    with pytest.raises(HubError, match="has no right"):
        publish(plan(face, REPO))


def test_a_concurrent_commit_is_not_overwritten(face, server):
    server.fail("conflict")
    with pytest.raises(HubError, match="somebody else changed the repository"):
        publish(plan(face, REPO))
    assert list(latest(server)) == [".gitattributes"]


@pytest.mark.parametrize(
    ("repo", "revision", "sentence"),
    [
        ("lab/nothing", None, "there is no such repository"),
        (REPO, "v2", "there is no such revision"),
        (REPO, "0" * 40, "there is no such revision"),
        (REPO, "../main", "expected a commit, branch or tag"),
        ("tiny", None, "expected a repository as owner/name"),
    ],
)
def test_missing_repositories_and_revisions_are_explained(
    face, server, tmp_path, repo, revision, sentence
):
    put(server, face)
    with pytest.raises(HubError, match=sentence):
        fetch(repo, revision)
    assert in_cache(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("out of order", "overloaded or out of order"),
        ("no JSON", "answer of the hub cannot be used"),
    ],
)
def test_a_failing_hub_is_explained(server, tmp_path, fault, sentence):
    server.fail(fault)
    with pytest.raises(HubError, match=sentence):
        fetch(REPO)
    assert in_cache(tmp_path) == []


def test_a_lost_connection_is_resumed(face, server):
    put(server, face)
    server.fail("cut one download")
    assert fetch(REPO, sha256=sha256_of(face)).is_dir()


def test_a_connection_that_stays_lost_leaves_nothing(face, server, tmp_path):
    put(server, face)
    server.fail("cut downloads")
    with pytest.raises(HubError):
        fetch(REPO)
    assert in_cache(tmp_path) == []
    server.faults.clear()
    assert fetch(REPO).is_dir()


def test_wrong_content_is_refused(face, server, tmp_path):
    put(server, face)
    server.fail("wrong content")
    with pytest.raises(WeightsError, match=r"model.safetensors: expected sha256 \w+, received"):
        fetch(REPO)
    assert in_cache(tmp_path) == []


def test_content_other_than_pinned_is_refused(face, server, tmp_path):
    put(server, face)
    for pin, sentence in (("0" * 64, "expected content with sha256 000"), ("12", "64 hexadecimal")):
        with pytest.raises(WeightsError, match=sentence):
            fetch(REPO, sha256=pin)
        assert in_cache(tmp_path) == []
    change(server, "config.json", latest(server)["config.json"] + b"\n")
    with pytest.raises(WeightsError, match="expected content with sha256"):
        fetch(REPO, sha256=sha256_of(face))
    folder = fetch(REPO)
    with pytest.raises(WeightsError, match="expected content with sha256"):
        fetch(REPO, folder.parent.name, sha256_of(face))  # from the cache


def test_cards_and_terms_do_not_count_for_a_pin(face, server):
    put(server, face)
    pin = sha256_of(face)
    change(server, "LICENSE", b"Free.\n")
    assert (fetch(REPO, sha256=pin) / "LICENSE").read_text() == "Free.\n"


def test_a_listed_size_of_ten_gigabytes_is_refused_before_the_download(face, server, tmp_path):
    put(server, face)
    server.repositories[REPO].claims["model.safetensors"] = LARGE
    with pytest.raises(
        WeightsError, match=r"lists model.safetensors with 10,240.0 MiB, at most 4,096.0 MiB"
    ):
        fetch(REPO)
    assert not [request for request in server.requests if "/resolve/" in request]
    server.repositories[REPO].claims["model.safetensors"] = 7
    with pytest.raises(WeightsError, match="expected a file of 7 bytes"):
        fetch(REPO)
    assert in_cache(tmp_path) == []


def with_part(pinned: dict) -> bytes:
    """Return the config of a bundle with one part of these entries."""
    return json.dumps({"parts": {"face": {"model": "a", "files": {}} | pinned}}).encode()


@pytest.mark.parametrize(
    ("path", "content", "sentence"),
    [
        ("model.safetensors", struct.pack("<Q", LARGE) + b"{}", "not a complete safetensors file"),
        ("config.json", {"model": "../../escape"}, "expected the plain name of a folder"),
        ("config.json", {"files": {"../../x": "0"}}, "expected files among"),
        ("config.json", {"model": "tiny"}, "a part of its own name"),
        ("config.json", {"model": "elsewhere"}, "lacks elsewhere/config.json"),
        ("config.json", b"[]", "expected an object"),
        ("config.json", b"\xff", "cannot be read"),
    ],
)
def test_hostile_repositories_are_refused(face, server, tmp_path, path, content, sentence):
    put(server, face)
    change(server, path, with_part(content) if isinstance(content, dict) else content)
    with pytest.raises(WeightsError, match=sentence):
        fetch(REPO)
    assert in_cache(tmp_path) == []


def test_files_of_other_names_are_not_downloaded(face, server, tmp_path):
    put(server, face)
    for path in ("modeling.py", "pytorch_model.bin", "../escape.txt", "more/deep/config.json"):
        change(server, path, b"import os")
    change(server, "aside/config.json", b"{}")  # not a part
    folder = fetch(REPO)
    assert {file.name for file in folder.parent.rglob("*") if file.is_file()} == {
        "README.md",
        "config.json",
        "golden.json",
        "model.safetensors",
    }
    assert not (tmp_path / "escape.txt").exists() and list(folder.parent.iterdir()) == [folder]


def test_a_repository_without_weights_is_refused(server, face, tmp_path):
    put(server, face)
    server.repositories[REPO].commit({}, ["model.safetensors"])
    with pytest.raises(WeightsError, match=r"lacks model\.safetensors"):
        fetch(REPO)
    server.repositories[REPO].commit({}, ["config.json"])
    with pytest.raises(WeightsError, match=r"holds no config\.json"):
        fetch(REPO)
    assert in_cache(tmp_path) == []


def test_a_full_disk_is_explained_and_leaves_nothing(face, server, monkeypatch, tmp_path):
    put(server, face)

    from huggingface_hub import file_download

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(file_download, "http_get", full)
        with pytest.raises(
            OutputError, match=r"failed \(No space left on device\); free some space"
        ):
            fetch(REPO)
    assert in_cache(tmp_path) == []
    with monkeypatch.context() as patch:  # in the last step
        patch.setattr(downloading.os, "replace", full)
        with pytest.raises(OutputError, match="free some space"):
            fetch(REPO)
    assert in_cache(tmp_path) == []
    assert fetch(REPO).is_dir()


def test_another_process_may_finish_first(face, server, monkeypatch):
    commit = put(server, face)
    check, first = downloading._put_in_place, []

    def slowly(whole, place):
        shutil.copytree(whole, place)
        first.append(place)
        check(whole, place)

    monkeypatch.setattr(downloading, "_put_in_place", slowly)
    folder = fetch(REPO, commit)
    assert first == [folder.parent] and loading.verify_model(folder) < loading.GOLDEN_TOLERANCE


def test_downloaded_weights_need_no_network(face, server, library, monkeypatch):
    commit = put(server, face)
    folder = fetch(REPO)
    server.requests.clear()
    assert fetch(REPO, commit) == folder and not server.requests
    with offline(library, monkeypatch):
        assert fetch(REPO) == folder == fetch(REPO, commit)


def test_a_missing_network_is_explained(face, server, library, monkeypatch, tmp_path):
    put(server, face)
    with offline(library, monkeypatch):
        with pytest.raises(HubUnreachableError, match=r"HF_HUB_OFFLINE.*or copy the folder"):
            fetch(REPO)
        with pytest.raises(HubUnreachableError, match="HF_HUB_OFFLINE"):
            publish(plan(face, REPO))
    assert in_cache(tmp_path) == []


def test_an_unreachable_hub_is_explained(server, library, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # but never listens
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        api = library.HfApi(endpoint=nowhere)
        monkeypatch.setattr(library, "HfApi", lambda **_: api)
        with pytest.raises(
            HubUnreachableError, match=r"connection to the hub failed.*copy the folder"
        ):
            fetch(REPO)


def test_the_cache_is_in_the_cache_folder_of_the_system(monkeypatch, tmp_path):
    monkeypatch.delenv(downloading.CACHE_VARIABLE)
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    monkeypatch.setenv(variable, str(tmp_path))
    assert downloading.cache_folder() == tmp_path / "multimodal_fer"
    monkeypatch.setenv(variable, "relative")
    assert downloading.cache_folder() == Path.home() / ".cache" / "multimodal_fer"


def test_errors_belong_to_the_package():
    assert issubclass(HubUnreachableError, HubError) and issubclass(HubError, MultimodalFerError)
