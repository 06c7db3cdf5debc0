"""The pipeline from a generated release to a table and a bundle, which hold nothing of the corpus."""

import base64
import json
import shutil
from dataclasses import replace
from pathlib import Path

import iemocap_shared
import pytest
import torch
from conftest import SAMPLE
from iemocap_plan import CorpusConfig, plan_corpus

from multimodal_fer import Analyzer, models
from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.fusion.late_attention import Evidence
from multimodal_fer.hub import loading, weights_folder
from multimodal_fer.training.run import load_checkpoint, save_checkpoint
from recipes.iemocap import export, grid, pipeline
from recipes.iemocap.corpus.emotions import LABEL_SETS
from recipes.iemocap.corpus.protocols import whole_fold
from recipes.iemocap.corpus.turns import Turn
from recipes.iemocap.learning.config import read_settings
from recipes.iemocap.learning.evidence import ShippedFace, scores_among
from recipes.iemocap.preparation.prepared import load_prepared
from recipes.iemocap.publication import cards, scan
from recipes.iemocap.publication.final_training import check_stop, median_epoch

PARTS = ("voice", "text", "fusion")


@pytest.fixture(scope="module")
def bundle():
    return iemocap_shared.bundle()


@pytest.fixture(scope="module")
def settings(bundle):
    return iemocap_shared.whole_settings()


@pytest.fixture(scope="module")
def prepared(bundle):
    return load_prepared(iemocap_shared.prepared_folder())


@pytest.fixture(scope="module")
def result(settings):
    return json.loads(Path(settings.place("-results"), "iemocap-fusion.json").read_text())


def folders_of(bundle):
    return [bundle, *(bundle.parent / f"{part}-{bundle.name}" for part in PARTS)]


# --- what comes out ---


def test_the_whole_recipe_learns(result, settings):
    """Check figures against chance (UAR 0.25, accuracy of the most frequent label 0.31) and single parts."""
    fused = result["pooled"]
    assert fused["turns"] == 240 and fused["accuracy"] > 0.65 and fused["uar"] > 0.6
    for name in ("face", "speech", "words"):
        alone = json.loads(Path(settings.place("-results"), f"iemocap-{name}.json").read_text())[
            "pooled"
        ]
        assert fused["accuracy"] > alone["accuracy"] + 0.03 and fused["uar"] > alone["uar"] + 0.03
    page = Path(settings.place("-results"), pipeline.TABLE).read_text()
    assert "| `iemocap-fusion` |" in page and "| `iemocap-mdre` |" in page


def test_a_recording_is_analysed_with_the_bundle(bundle):
    answer = Analyzer(bundle).analyze(SAMPLE)
    assert answer.labels == ("anger", "happiness", "sadness", "neutral")
    assert answer.bundle.startswith("iemocap4@") and set(answer.scores) == set(answer.labels)
    assert "contempt" in answer.face_labels
    shares = answer.segments[0].attention
    assert sum(shares.values()) == pytest.approx(1) and set(shares) == {"face", "voice", "text"}


def test_reference_outputs_are_reproduced(bundle):
    for part in PARTS:
        loading.verify_model(bundle.parent / f"{part}-{bundle.name}")


def test_the_bundle_answers_as_the_training_did(bundle, prepared):
    """Check that rounded weights leave the predictions unchanged."""
    run_folder = Path(iemocap_shared.whole_settings().place("-final")) / "fusion" / "all"
    state = load_checkpoint(run_folder / "last.pt")
    fused = loading.load_bundle(bundle).fusion
    assert fused is not None
    assert {name: len(own) for name, own in fused.config.part_labels.items()} == {
        "face": 8,
        "voice": 4,
        "text": 4,
    }
    trained = models.build("late-attention", state["settings"])
    trained.load_state_dict(
        {k.removeprefix("module."): v for k, v in state["average"].items() if k != "n_averaged"}
    )
    face = ShippedFace(
        "face-ferplus-seresnet", whole_fold(prepared.turns, "four"), prepared, "cpu"
    ).predict("train")
    count = len(face.turns)
    evidence = {"face": Evidence(face.log_scores, torch.ones(count))}
    for name in ("voice", "text"):
        evidence[name] = Evidence(torch.zeros(count, 4), torch.ones(count))
    present = torch.tensor([[1.0, 0.0, 0.0]]).expand(count, 3)
    with torch.no_grad():
        before = trained.eval()(evidence, present).logits
        after = fused(evidence, present).logits
    assert (before - after).abs().max() < 0.05


def test_what_is_trained_on_all_turns_says_so(bundle, result):
    config = weights_folder.read_config(bundle.parent / f"voice-{bundle.name}")
    training = config["training"]
    assert training["turns"] == 240 and training["fold"] == "all turns"
    assert training["epochs_done"] == median_epoch(training["best_epochs_of_folds"])
    assert len(training["best_epochs_of_folds"]) == 3 and median_epoch([2, 5]) == 4
    fusion = weights_folder.read_config(bundle.parent / f"fusion-{bundle.name}")
    figures = fusion["results"]["IEMOCAP, four, loso5, mean of 3 folds"]
    assert figures["UA"] == pytest.approx(result["summary"]["uar"]["mean"], abs=1e-4)


def test_cards_have_the_figures_the_protocol_and_the_promise(bundle, result):
    card = (bundle / "README.md").read_text()
    for expected in (
        f"{result['summary']['accuracy']['mean']:.3f} ± ",
        "Protocol `loso5`",
        "not of the weights in this folder",
        "are shared with the owners of the corpus",
        "license: other",
        "| face + voice + text |",
        "Not on the release as published",
    ):
        assert expected in card
    pages = [folder / "README.md" for folder in folders_of(bundle)]
    for page in pages:
        places = page.read_text().replace("{" + "}", "")
        assert "{" not in places, f"{page} has a place that was not filled"
        assert "/tmp" not in places and str(Path.home()) not in places


def test_it_can_be_published_and_is_gated(bundle):
    pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    from multimodal_fer.hub.publishing import plan

    planned = plan(bundle, "somebody/iemocap4")
    assert (
        planned.problems == () and planned.gated == "manual" and planned.licence.startswith("other")
    )
    assert "extra_gated_fields" in planned.card and "datasets" not in planned.card
    assert len({file.path.partition("/")[0] for file in planned.files if "/" in file.path}) == 4


def test_the_same_command_makes_the_same_bundle(bundle, settings, capsys):
    before = loading.load_bundle(bundle).version
    export.export(settings.export)
    assert loading.load_bundle(bundle).version == before
    assert "epoch 1/" not in capsys.readouterr().out


# --- what is refused ---


def test_a_bundle_is_only_made_of_what_was_measured(settings, tmp_path):
    with pytest.raises(DataError, match=r"make them with python -m recipes\.iemocap\.evaluate"):
        export.export(replace(settings.export, results=str(tmp_path)))
    results = tmp_path / "results"
    shutil.copytree(settings.place("-results"), results)
    path = results / "iemocap-fusion.json"
    whole = json.loads(path.read_text())

    def with_changes(**changes):
        path.write_text(json.dumps(whole | changes))
        return replace(settings.export, results=str(results), weights=str(tmp_path / "w" / "x"))

    with pytest.raises(DataError, match="is of another prepared release"):
        export.export(with_changes(manifest_sha256="0"))
    with pytest.raises(DataError, match="has 2 of 3 folds"):
        export.export(with_changes(folds_measured=2))
    folds = json.loads(json.dumps(whole["folds"]))
    folds[1]["parts"]["text"]["weights_sha256"] = "0"
    with pytest.raises(DataError, match="session2 was measured with other parts"):
        export.export(with_changes(folds=folds))
    with pytest.raises(ConfigError, match="expected a text of terms"):
        cards.terms_text(str(tmp_path / "none.md"))
    (tmp_path / "terms.md").write_text("Do as you like.")
    with pytest.raises(ConfigError, match="expected terms that name IEMOCAP"):
        cards.terms_text(str(tmp_path / "terms.md"))


def test_a_training_with_another_last_epoch_is_refused(tmp_path):
    save_checkpoint({"stop": 3}, tmp_path / "last.pt")
    with pytest.raises(
        ConfigError, match="was started to end after epoch 3, but the folds now give 4"
    ):
        check_stop(tmp_path, 4)


def test_labels_are_matched_by_name():
    own = ("neutral", "happiness", "surprise", "anger")
    log_scores = torch.tensor([[0.1, 0.6, 0.2, 0.1]]).log()
    found = scores_among(log_scores, own, ("anger", "happiness", "frustration"))
    assert found[0].tolist() == pytest.approx([1 / 7, 6 / 7, 0], abs=1e-4)


# --- nothing of the corpus ---


def test_nothing_of_the_corpus_is_in_what_is_published(bundle, settings, prepared):
    """Check by the scan, and by a plain search for every sentence, id and label line."""
    places = [*folders_of(bundle), settings.place("-results")]
    assert scan.Scanner(prepared).scan(places) == {}
    for path in (path for place in places for path in Path(place).rglob("*")):
        content = path.read_bytes()
        for turn in prepared.turns:
            if len(turn.text.split()) > 3:
                assert turn.text.encode() not in content
            labelled = f"{turn.id}\t{turn.label}".encode()
            assert labelled not in content and f"{turn.id}: {turn.label}".encode() not in content
        if "results" not in str(path):
            assert b"Ses0" not in content


def write_material(kind, prepared, folder):
    """Write a file that holds material of the corpus."""
    turns = [turn for turn in prepared.turns if len(turn.text.split()) > 6]
    first = next(iter(prepared.rows))
    crops, samples = prepared.crops(first), prepared.samples(first)
    ids = sorted(turn.id for turn in prepared.turns)[:8]
    json_of = {
        "sentence": {"note": f"as in {turns[0].text.upper()} or so"},
        "stretch": {"note": " ".join(turns[1].text.split()[:6])},
        "words": {"tokens": turns[2].text.split()},
        "label": {"turns": {turns[0].id: "anger"}},
        "beside": {"test": ids, "answers": [0, 1, 2, 3, 0, 1, 2, 3]},
        "sorted": {"test": ids[::-1]},
        "crop": {"image": crops[0].ravel().tolist()},
        "sound": {"values": samples[:4000].tolist()},
        "packed": {"data": base64.b64encode(crops[0].tobytes()).decode()},
    }
    if kind in json_of:
        (folder / "result.json").write_text(json.dumps(json_of[kind]))
    elif kind == "lines":
        (folder / "log.md").write_text("\n".join(f"{t.id} {t.label}" for t in turns[:3]))
    elif kind == "page":
        (folder / "page.md").write_text(f"He said:\n{turns[0].text[:20]}\n{turns[0].text[20:]}")
    elif kind == "wave":
        shutil.copyfile(next(iemocap_shared.release().rglob("sentences/wav/*/*.wav")), folder / "a")
    elif kind == "arrays":
        torch.save({"x": torch.zeros(2)}, folder / "README.md")
    elif kind == "vocabulary":
        (folder / "vocabulary.txt").write_text("_PAD_\n_UNK_\nthe\nhe\nsaid\n")
    elif kind == "sentences in a vocabulary":
        (folder / "vocabulary.txt").write_text(f"_PAD_\n_UNK_\n{turns[0].text}\n")


@pytest.mark.parametrize(
    "kind",
    ["sentence", "stretch", "words", "label", "beside", "sorted", "crop", "sound", "packed", "lines",
     "page", "wave", "arrays", "vocabulary", "sentences in a vocabulary"],
)  # fmt: skip
def test_everything_of_the_corpus_is_found(kind, prepared, tmp_path):
    (tmp_path / "result.json").write_text('{"accuracy": 0.5, "note": "I don\'t know"}')
    (tmp_path / "vocabulary.txt").write_text("_PAD_\n_UNK_\na\nthe\n")
    scan.check_free([tmp_path], prepared)
    write_material(kind, prepared, tmp_path)
    with pytest.raises(DataError, match="must not be published"):
        scan.check_free([tmp_path], prepared)


def test_a_missing_place_is_an_error(prepared, tmp_path):
    with pytest.raises(DataError, match="expected a file or folder to search"):
        scan.check_free([tmp_path / "none"], prepared)


# --- commands ---


def test_a_dry_run_prints_the_stages(settings, tmp_path, capsys):
    dry = replace(settings, home=str(tmp_path / "dry"), dry_run=True, systems=("speech", "words"))
    pipeline.plan(str(iemocap_shared.release()), dry)
    printed = capsys.readouterr().out
    assert "prepare 240 turns" in printed and "recipes.iemocap.grid" in printed
    assert "measured once the release is prepared" in printed and not (tmp_path / "dry").exists()
    pipeline.plan(str(iemocap_shared.release()), replace(settings, dry_run=True))
    assert capsys.readouterr().out.count(" min in all") == 4


def test_settings_are_read_by_their_kind():
    found = read_settings(pipeline.Settings, ["seeds=1,2", "small=1", "workers=3", "epochs=5"])
    assert found.seeds == ("1", "2") and found.small and found.workers == 3
    assert found.rest == ("epochs=5",)
    with pytest.raises(ConfigError, match="small: expected 1 or 0, found 'yes'"):
        read_settings(pipeline.Settings, ["small=yes"])
    with pytest.raises(ConfigError, match="workers: expected a number"):
        read_settings(pipeline.Settings, ["workers=many"])
    with pytest.raises(ConfigError, match="unknown setting 'fusions=x'; known: data="):
        read_settings(export.Settings, ["fusions=x"])
    with pytest.raises(ConfigError, match="the bundle needs speech as well"):
        pipeline.Settings(systems=("words",))
    with pytest.raises(ConfigError, match="unknown system 'speach'; known: face"):
        grid.toml_of("speach", small=True)
    with pytest.raises(ConfigError, match="unknown engine"):
        grid.Settings(engine="spark")


# --- the grid ---


def small_grid(settings, tmp_path, **changes):
    usual = grid.Settings(
        data=settings.data, home=str(tmp_path), systems=("words",), workers=2, small=True,
        rest=("epochs=1", "device=cpu"),
    )  # fmt: skip
    return replace(usual, **changes)


def test_a_grid_trains_systems_folds_and_seeds(settings, tmp_path, capsys):
    asked = small_grid(settings, tmp_path, seeds=("1", "2"), folds="0", engine="serial")
    runs = grid.train_grid(asked)
    assert [Path(run).name for run in runs] == ["iemocap-words", "iemocap-words-seed2"]
    losses = [
        load_checkpoint(Path(run) / "fold-0" / "last.pt")["epochs"][0]["loss"] for run in runs
    ]
    assert losses[0] != losses[1]
    assert "trial 2/2" in capsys.readouterr().out
    grid.train_grid(asked)
    assert "continuing after epoch 1 of 1" in capsys.readouterr().out


def test_a_failing_trial_stops_no_other(settings, tmp_path):
    asked = small_grid(settings, tmp_path, folds="all", engine="serial")
    broken = tmp_path / "iemocap-words" / "fold-1"
    broken.mkdir(parents=True)
    state = {"manifest": "0" * 64}
    save_checkpoint(state, broken / "last.pt")
    with pytest.raises(DataError, match=r"fold 1: .* was started on another prepared release"):
        grid.train_grid(asked)
    assert (tmp_path / "iemocap-words" / "fold-2" / "last.pt").exists()


def test_a_grid_runs_on_ray(settings, tmp_path):
    pytest.importorskip("ray", reason="needs the extra ray")
    asked = small_grid(settings, tmp_path / "ray", engine="ray")
    grid.train_grid(asked)
    serial = small_grid(settings, tmp_path / "serial", engine="serial", folds="0")
    grid.train_grid(serial)
    first, second = (
        load_checkpoint(Path(place.home) / "iemocap-words" / "fold-0" / "last.pt")["epochs"][0]
        for place in (asked, serial)
    )
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)
    assert "epoch 1/1" in (tmp_path / "ray" / "iemocap-words" / "fold-2" / grid.LOG).read_text()


def test_engines_are_chosen(monkeypatch):
    monkeypatch.setattr(grid.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(grid.torch.cuda, "device_count", lambda: 2)
    assert grid.choose_engine(grid.Settings(workers=2)) == "processes"
    assert grid.choose_engine(grid.Settings(workers=1)) == "serial"
    with pytest.raises(ConfigError, match="needs Ray; pip install"):
        grid.choose_engine(grid.Settings(engine="ray"))
    monkeypatch.setattr(grid.importlib.util, "find_spec", lambda name: True)
    assert grid.choose_engine(grid.Settings()) == "ray"


# --- labels ---


def test_label_sets_have_the_turns_that_papers_count():
    """Count the artificial release, which has the real counts of each label by kind of scene."""
    counts = dict.fromkeys(LABEL_SETS, 0)
    for dialog in plan_corpus(CorpusConfig(turns=10_039, oddities=False)):
        for turn in dialog.labelled:
            made = Turn(turn.name, 0.0, 1.0, turn.emotion, 3.0, 3.0, 3.0)
            for name, labels in LABEL_SETS.items():
                counts[name] += labels.label_of(made) is not None
    assert counts == {
        "four": 5531, "four-improvised": 2943, "four-unmerged": 4490,
        "four-unmerged-improvised": 2280, "five": 7380, "six": 7380,
    }  # fmt: skip
