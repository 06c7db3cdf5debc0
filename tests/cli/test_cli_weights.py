"""Test the commands for weights: output, questions and errors."""

import json
import re
import subprocess
import sys

import pytest
import typer
from hub_weights import REPO, edit_card, latest
from typer.testing import CliRunner

from multimodal_fer.cli import weights as cli_weights
from multimodal_fer.cli.commands import app
from multimodal_fer.hub import downloading, registry
from multimodal_fer.hub.publishing import plan

pytest.importorskip("huggingface_hub", reason="publishing needs huggingface_hub (extra hub)")
pytest_plugins = ["hub_fixtures"]
pytestmark = [
    pytest.mark.usefixtures("online"),
    # The library calls its HTTP client in a deprecated way.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]


def run(*arguments, **settings):
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False, **settings)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(cli_weights, "is_interactive", lambda: True)


def test_a_dry_run_shows_the_plan_without_requests(face, server):
    result = run("publish", face, "--repo", REPO, "--dry-run", "--private", "--gated", "auto")
    assert result.exit_code == 0 and not server.requests
    planned = plan(face, REPO)
    for part in (
        f"→ {REPO}, private, gated (auto)",
        "licence: other (research-use)",
        planned.sha256,
    ):
        assert part in result.stdout
    shown = dict(re.findall(r"([\d,]+) bytes  (\S+)", result.stdout))
    sizes = {file.path: f"{file.size:,}" for file in planned.files}
    assert {size: name for name, size in sizes.items()}.items() <= shown.items()


def test_problems_are_shown_and_nothing_is_published(face, server):
    edit_card(face, "## Limits", "## Limit")
    (face / "speech.wav").write_bytes(b"RIFF")
    for more in ([], ["--dry-run"], ["--yes"]):
        result = run("publish", face, "--repo", REPO, *more)
        assert result.exit_code == 1 and not server.requests
        assert "problem: " in result.stdout and "'## Limits' is missing" in result.stdout
        assert "looks like sound of a corpus" in result.stdout and "2 problems" in result.stdout


def test_published_weights_can_be_fetched_and_used(weights, server):
    result = run("publish", weights / "both7", "--repo", "lab/both")
    assert result.exit_code == 0, result.output
    address = re.search(r"published: (\S+)", result.stdout)
    assert address and address[1].startswith(server.address)
    fetched = run("fetch", "lab/both")
    printed = dict(re.findall(r"(\w+): (.+)", fetched.stdout))
    assert set(printed) == {"folder", "revision", "sha256"}
    assert printed["revision"] == address[1].rsplit("/", 1)[1]
    assert printed["sha256"] == plan(weights / "both7", "lab/both").sha256
    again = run(
        "fetch", "lab/both", "--revision", printed["revision"], "--sha256", printed["sha256"]
    )
    assert again.stdout == fetched.stdout
    wrong = run("fetch", "lab/both", "--sha256", "0" * 64)
    assert wrong.exit_code == 1 and "expected content with sha256 000" in wrong.stderr
    answer = json.loads(run("analyze-text", "i love it", "--bundle", "lab/both").stdout)
    assert answer["bundle"].startswith("both@") and answer["emotion"]
    assert (
        f"lab/both: bundle of face-tiny, text-tiny, 0.0 MiB\n  {printed['folder']}"
        in run("weights", "list").stdout
    )


def test_a_confirmation_is_needed_before_publishing(face, server, terminal):
    refused = run("publish", face, "--repo", REPO, input="n\n")
    assert refused.exit_code == 1 and REPO not in server.repositories
    assert f"publish on {REPO}? It cannot be taken back" in refused.output
    assert run("publish", face, "--repo", REPO, "--yes").exit_code == 0
    assert "config.json" in latest(server)
    assert run("publish", face, "--repo", "lab/other", "--private", input="y\n").exit_code == 0
    assert server.repositories["lab/other"].private and not server.repositories[REPO].private


@pytest.mark.parametrize(("word", "gate"), [("manual", "manual"), ("auto", "auto"), ("no", False)])
def test_the_gate_is_set(face, server, word, gate):
    run("publish", face, "--repo", REPO, "--gated", word)
    assert server.repositories[REPO].gated == gate
    assert run("publish", face, "--repo", REPO, "--gated", "maybe").exit_code == 2


def test_errors_are_one_sentence_and_exit_code_1(face, tmp_path):
    for arguments, sentence in [
        (["publish", tmp_path / "nowhere", "--repo", REPO], "expected a folder of weights"),
        (["publish", face, "--repo", "tiny"], "expected a repository as owner/name"),
        (["fetch", "lab/nothing"], "there is no such repository"),
        (["fetch", "tiny"], "expected a repository as owner/name"),
        (["analyze-text", "x", "--bundle", "lab/nothing"], "there is no such repository"),
    ]:
        result = run(*arguments)
        assert result.exit_code == 1 and result.stdout == ""
        assert result.stderr.startswith("error: ") and sentence in " ".join(result.stderr.split())


def test_weights_are_listed_with_labels_and_size(weights, monkeypatch):
    monkeypatch.setenv(registry.WEIGHTS_VARIABLE, str(weights))
    (weights / "broken").mkdir()
    (weights / "broken" / "config.json").write_text("{")
    text = run("weights", "list").stdout
    assert (
        f"face-tiny: model for face, 0.0 MiB\n  {weights / 'face-tiny'}\n  labels: neutral" in text
    )
    assert "open7: bundle of " in text and "broken: cannot be loaded: " in text


def test_registered_weights_are_listed_before_the_download(monkeypatch, tmp_path):
    entry = {"repo": "lab/both", "revision": "0" * 40, "sha256": "0" * 64}
    (tmp_path / "registry.json").write_text(json.dumps({"both": entry}))
    monkeypatch.setattr(registry, "REGISTRY", tmp_path / "registry.json")
    assert (
        "both: published as lab/both, downloaded when first used" in run("weights", "list").stdout
    )


def test_verification_finds_altered_files(weights, monkeypatch):
    monkeypatch.setenv(registry.WEIGHTS_VARIABLE, str(weights))
    result = run("weights", "verify", "both7", weights / "text-tiny")
    assert result.exit_code == 0 and result.stdout.count("verified") == 2
    content = bytearray((weights / "face-tiny" / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (weights / "face-tiny" / "model.safetensors").write_bytes(bytes(content))
    result = run("weights", "verify", "both7", "text-tiny", "nothing")
    assert result.exit_code == 1
    assert re.search(r"both7: FAILED: .*expected sha256", result.stdout)
    assert "text-tiny: verified" in result.stdout
    assert "nothing: FAILED: weights 'nothing' not found" in result.stdout


def test_a_part_with_other_outputs_fails_its_bundle(weights):
    reference = weights / "text-tiny" / "golden.json"
    logits = json.loads(reference.read_text())["logits"]
    logits[0][0] += 0.1
    reference.write_text(json.dumps({"logits": logits}))
    result = run("weights", "verify", weights / "both7")
    assert result.exit_code == 1 and "logits of the reference input differ by 0.1" in result.stdout


def test_all_local_weights_are_verified():
    result = run("weights", "verify")
    assert result.exit_code == 0, result.stdout
    names = {
        name
        for name, place in registry.known_weights().items()
        if not isinstance(place, registry.Pin)
    }
    assert set(re.findall(r"^(\S+): verified", result.stdout, re.MULTILINE)) == names


def test_an_interrupted_fetch_leaves_nothing(face, server, monkeypatch, tmp_path):
    run("publish", face, "--repo", REPO)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(downloading, "_download_file", interrupt)
    result = CliRunner().invoke(app, ["fetch", REPO])
    assert result.exit_code != 0
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


HELP = """
import sys
from multimodal_fer.cli import app
try:
    app(sys.argv[1:])
finally:
    heavy = {"torch", "huggingface_hub", "safetensors", "av", "cv2", "yaml"} & set(sys.modules)
    assert not heavy, heavy
"""


@pytest.mark.parametrize("words", [[], ["publish"], ["fetch"], ["weights"], ["weights", "verify"]])
def test_help_is_light(words):
    result = subprocess.run(
        [sys.executable, "-c", HELP, *words, "--help"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_the_commands_can_be_added_to_any_app():
    other = typer.Typer()
    cli_weights.register(other)
    assert "verify" in CliRunner().invoke(other, ["weights", "--help"]).stdout
