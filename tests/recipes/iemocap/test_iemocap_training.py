"""Training and measuring systems on a generated corpus: learning, resuming, separation of folds, results."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import iemocap_shared
import numpy
import pytest
import torch

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.speech.whisper_tensors import load_encoder
from multimodal_fer.training.config import load_config
from multimodal_fer.training.distributed import Workers
from multimodal_fer.training.run import load_checkpoint, save_checkpoint
from multimodal_fer.training.sound_augmentation import hide_features
from recipes.iemocap import tables
from recipes.iemocap.corpus.protocols import make_folds
from recipes.iemocap.evaluate import Measured, evaluate, part_answers
from recipes.iemocap.fuse import FuseConfig, HalfRun, fuse, split_halves
from recipes.iemocap.learning import face_scores
from recipes.iemocap.learning.config import TrainConfig
from recipes.iemocap.learning.evidence import Parts
from recipes.iemocap.learning.inputs import collate, predict
from recipes.iemocap.learning.measures import (
    Answers,
    calibration_by_chance,
    compare,
    report_of,
    spread,
    weighted_precision,
)
from recipes.iemocap.learning.runs import TrainedFold
from recipes.iemocap.learning.systems import SYSTEMS, network_name
from recipes.iemocap.learning.targets import concordance
from recipes.iemocap.preparation.prepared import load_prepared
from recipes.iemocap.publication.final_training import LOADABLE
from recipes.iemocap.train import FoldRun, main, of_fold, plan, train

TOMLS = Path(face_scores.__file__).parents[1] / "systems"
FOLD = 0
PARTS = ("face", "speech", "words")
SMALL = {
    name: load_config(TrainConfig, TOMLS / "small" / f"{name}.toml") for name in (*PARTS, "mdre")
}


@pytest.fixture(scope="module")
def data():
    return iemocap_shared.prepared_folder()


@pytest.fixture(scope="module")
def prepared(data):
    return load_prepared(data)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Link the runs of all systems and their fusion by short names."""
    iemocap_shared.bundle()
    folder = tmp_path_factory.mktemp("runs")
    for name in (*SMALL, "fusion"):
        (folder / name).symlink_to(iemocap_shared.whole_settings().place(f"-{name}"))
    return folder


@pytest.fixture(scope="module")
def fusing(runs):
    return iemocap_shared.whole_settings().fusion


@pytest.fixture(scope="module")
def results():
    """Return the results of all systems by short names."""
    iemocap_shared.bundle()
    folder = Path(iemocap_shared.whole_settings().place("-results"))
    names = [f"iemocap-{name}" for name in ("fusion", *SMALL)]
    found = [json.loads((folder / f"{name}.json").read_text()) for name in names]
    return folder, {result["name"].removeprefix("iemocap-"): result for result in found}


def one_process():
    return Workers(0, 1, torch.device("cpu"))


# --- learning ---


@pytest.mark.parametrize("name", SMALL)
def test_each_system_learns(results, name):
    """Check for a UAR above chance, which is 0.25 for four classes."""
    found = results[1][name]["pooled"]
    assert found["turns"] == 240 and found["uar"] > 0.38


def test_together_they_are_better_than_each_alone(results):
    fused = results[1]["fusion"]["pooled"]
    for name in PARTS:
        assert fused["uar"] > results[1][name]["pooled"]["uar"] + 0.05
        assert fused["accuracy"] > results[1][name]["pooled"]["accuracy"]


def test_late_attention_is_measured_on_every_subset(results):
    subsets = results[1]["fusion"]["subsets"]
    assert len(subsets) == 7 and set(subsets["face + voice + text"]) == {
        "late attention", "mean of scores", "product rule"
    }  # fmt: skip
    assert subsets["face + voice + text"]["late attention"]["accuracy"] == pytest.approx(
        results[1]["fusion"]["pooled"]["accuracy"]
    )
    one = subsets["voice"]["mean of scores"]
    assert one["accuracy"] == pytest.approx(results[1]["speech"]["pooled"]["accuracy"])


def test_whispers_encoder_is_a_system_whose_encoder_stays(data, prepared, tmp_path):
    config = replace(
        SMALL["speech"], model="whisper-encoder", settings={"blocks": 1, "units": 16},
        data=str(data), run=str(tmp_path / "whisper"), epochs=2,
    )  # fmt: skip
    train(config, "0")
    fold = TrainedFold(tmp_path / "whisper" / "fold-0", prepared)
    assert torch.equal(fold.model.encoder.conv1.weight.cpu(), load_encoder(1)["conv1.weight"])
    assert network_name("whisper-encoder") == "whisper-voice"
    assert "whisper-encoder" in LOADABLE["voice"]
    (result,) = evaluate([str(tmp_path / "whisper")], str(data), str(tmp_path / "results"))
    assert result["pooled"]["uar"] > 0.25 + 0.05  # chance, after two epochs


def test_numbers_are_learnt_too(data, tmp_path):
    config = replace(SMALL["face"], data=str(data), run=str(tmp_path / "vad"), target="dimensions")
    train(config, "0")
    (result,) = evaluate([str(tmp_path / "vad")], str(data), str(tmp_path / "results"))
    assert result["labels"] == ["valence", "arousal", "dominance"]
    assert result["pooled"]["ccc_valence"] > 0.3
    assert "CCC, valence" in tables.tables(tables.read_results([tmp_path / "results" / "vad.json"]))


def test_the_voice_learns_from_augmented_sounds(data, prepared, tmp_path, monkeypatch):
    """Check that augmentation changes the training, hides features and is the same in every run."""
    masks = []

    def hide(sound, count, generator):
        masks.append(count)
        return hide_features(sound, count, generator)

    monkeypatch.setattr("recipes.iemocap.train.hide_features", hide)
    config = replace(SMALL["speech"], data=str(data), epochs=2)
    augmented = replace(config, wear="recorded", speed=0.1)
    folds = [
        of_fold(replace(one, run=str(tmp_path / str(number))), 0)
        for number, one in enumerate((config, augmented, augmented))
    ]
    for own in folds:
        FoldRun(own, one_process(), prepared).go()
    assert same_weights(Path(folds[1].run), Path(folds[2].run))
    assert set(masks) == {2}
    first, second = (load_checkpoint(Path(own.run) / "last.pt")["epochs"] for own in folds[:2])
    assert first[1]["loss"] != second[1]["loss"]
    with pytest.raises(ConfigError, match="wear and speed are for speech"):
        replace(SMALL["words"], wear="recorded")
    with pytest.raises(ConfigError, match="unknown wear 'torn'"):
        replace(SMALL["speech"], wear="torn")


# --- resuming ---


@pytest.mark.parametrize("name", ["words", "mdre"])
def test_a_killed_training_goes_on_to_the_same_numbers(data, prepared, tmp_path, name):
    config = replace(SMALL[name], data=str(data), epochs=2)
    whole, cut = (of_fold(replace(config, run=str(tmp_path / part)), 0) for part in ("a", "b"))
    FoldRun(whole, one_process(), prepared).go()
    first = FoldRun(cut, one_process(), prepared)
    first.folder.mkdir(parents=True)
    first.advance()
    FoldRun(cut, one_process(), prepared).go()
    assert same_weights(Path(whole.run), Path(cut.run))
    with pytest.raises(ConfigError, match="other settings"):
        FoldRun(replace(cut, epochs=3), one_process(), prepared).go()
    about = json.loads((Path(cut.run) / "about.json").read_text())
    assert about["manifest_sha256"] == prepared.hash and about["commit"]
    assert (Path(cut.run) / "config.json").exists()


def test_a_killed_fusion_goes_on_to_the_same_numbers(results, fusing, prepared, tmp_path):
    parts = Parts(fusing.runs, FOLD, prepared, "cpu")
    config = replace(fusing, run=str(tmp_path / "killed"), half=0, fold=FOLD)
    # Both learn from the same tensors: predictions of parts computed twice may differ in the last bit.
    validation = parts.join("validation")
    whole = HalfRun(replace(config, run=str(tmp_path / "whole")), one_process(), parts, validation)
    first = HalfRun(config, one_process(), parts, validation)
    first.folder.mkdir()
    first.advance()
    HalfRun(config, one_process(), parts, validation).go()
    assert same_weights(whole.go(), tmp_path / "killed")


def same_weights(one, other):
    first, second = (load_checkpoint(folder / "last.pt") for folder in (one, other))
    assert [row["loss"] for row in first["epochs"]] == [row["loss"] for row in second["epochs"]]
    return all(torch.equal(first["model"][key], second["model"][key]) for key in first["model"])


def test_a_dry_run_writes_nothing(data, tmp_path, capsys):
    words = [f"data={data}", f"run={tmp_path / 'dry'}", "vectors=none", "dry_run=1", "fold=1"]
    main(str(TOMLS / "words.toml"), *words)
    printed = capsys.readouterr().out
    assert "fold 1: session2, turns: train 80, validation 80, test 80" in printed
    assert " min in all" in printed
    assert not (tmp_path / "dry").exists()
    plan(replace(SMALL["words"], data=str(data), run=str(tmp_path / "dry")))
    assert capsys.readouterr().out.count("session") == 3 and not (tmp_path / "dry").exists()


def test_face_features_are_computed_once(runs, data, prepared, monkeypatch):
    monkeypatch.setattr(face_scores.FaceFeatures, "_predict", None)
    features = face_scores.FaceFeatures(prepared, "face-ferplus-seresnet", torch.device("cpu"))
    for name in list(prepared.rows)[::20]:
        assert features.of(name).shape == (prepared.rows[name].faces, features.size)
    other = replace(prepared.rows[next(iter(prepared.rows))], digest="changed")
    again = load_prepared(data)
    again.rows[other.turn.id] = other
    changed = face_scores.FaceFeatures(again, "face-ferplus-seresnet", torch.device("cpu"))
    with pytest.raises(DataError, match="differs from the dialog"):  # reads the crops again
        changed.of(other.turn.id)


# --- inputs ---


def test_batches_change_no_answer(runs, prepared):
    for name in SMALL:
        trained = TrainedFold(runs / name / "fold-0", prepared, "cpu")
        turns = list(trained.fold.test[:9])
        together = predict(trained.model, trained.reader, turns, batch=4).logits
        single = [predict(trained.model, trained.reader, [turn]).logits for turn in turns]
        assert torch.allclose(together, torch.cat(single), atol=1e-3)


def test_words_are_known_from_the_training_part_only(runs, prepared):
    folds = make_folds(prepared.turns)
    state = load_checkpoint(runs / "words" / "fold-0" / "last.pt")
    known = set(state["vocabulary"][2:])
    own = " ".join(prepared.rows[turn].turn.text.lower() for turn in folds[FOLD].train)
    assert known and all(word in own for word in known)


def test_turns_without_a_modality_are_left_out_and_counted(runs, prepared, data):
    bare = load_prepared(data)
    gone = bare.rows[make_folds(bare.turns)[FOLD].test[0]]
    bare.rows[gone.turn.id] = replace(gone, media=("face", "text"))
    answers = part_answers(TrainedFold(runs / "speech" / "fold-0", bare, "cpu"), bare)
    assert len(answers.turns) == 79 and answers.without == 1
    bare.rows[gone.turn.id] = replace(gone, turn=replace(gone.turn, text="[LAUGHTER]"))
    reader = TrainedFold(runs / "words" / "fold-0", bare, "cpu").reader
    assert not reader.has(gone.turn.id) and reader.having(bare.rows)
    parts = Parts([str(runs / name) for name in PARTS], FOLD, bare, "cpu")
    joined = parts.join("test")
    assert joined.present[joined.turns.index(gone.turn.id)].tolist() == [1, 1, 0]


def test_what_is_collated_is_padded_by_name():
    items = [{"tokens": torch.ones(length), "prosody": torch.ones(35)} for length in (2, 3)]
    batch = collate(items, torch.device("cpu"))
    assert batch.values["tokens"].shape == (2, 3) and batch.lengths["tokens"].tolist() == [2, 3]
    assert batch.values["prosody"].shape == (2, 35) and "prosody" not in batch.lengths


# --- separation of folds ---


def test_halves_share_no_speaker(runs, prepared):
    validation = Parts([str(runs / name) for name in PARTS], FOLD, prepared, "cpu").join(
        "validation"
    )
    speakers = [
        {prepared.rows[validation.turns[row]].turn.speaker for row in half.tolist()}
        for half in split_halves(validation, prepared)
    ]
    assert all(speakers) and not speakers[0] & speakers[1]
    one = [name for name in validation.turns if prepared.rows[name].turn.speaker == "Ses02F"]
    rows = validation.rows(torch.tensor([validation.turns.index(name) for name in one]))
    halves = split_halves(rows, prepared)
    scenes = [{prepared.rows[rows.turns[r]].turn.dialog for r in half.tolist()} for half in halves]
    assert all(scenes) and not scenes[0] & scenes[1]


def test_parts_of_other_folds_protocols_or_releases_are_refused(data, runs, prepared, tmp_path):
    def copied(name, number=FOLD, **changes):
        folder = tmp_path / f"{name}-{number}-{'-'.join(changes)}"
        shutil.copytree(runs / name / "fold-0", folder / f"fold-{number}")
        path = folder / f"fold-{number}" / "last.pt"
        state = load_checkpoint(path)
        save_checkpoint(state | changes, path)
        return str(folder)

    def refused(error, message, *parts, number=FOLD):
        config = FuseConfig(data=str(data), run=str(tmp_path / "no"), parts=",".join(parts))
        with pytest.raises(error, match=message):
            fuse(config, str(number))
        assert not (tmp_path / "no").exists()

    face, words = str(runs / "face"), str(runs / "words")
    moved = [copied(name, number=1) for name in ("face", "words")]
    refused(
        ConfigError,
        "was trained on fold 0, whose training turns are test turns of fold 1",
        *moved,
        number=1,
    )
    refused(
        DataError,
        "was trained on other turns than fold 0 has now",
        face,
        copied("words", digest="0"),
    )
    refused(DataError, "another prepared release", face, copied("words", manifest="0" * 64))
    refused(ConfigError, "fold 7: not every part", face, words, number=7)
    refused(ConfigError, "both are text parts; give one", words, words)
    refused(ConfigError, "mdre takes voice and text together", face, str(runs / "mdre"))
    refused(ConfigError, "expected at least two runs", face)
    refused(DataError, "expected folders fold-0", face, str(tmp_path / "empty"))
    other = replace(SMALL["words"], data=str(data), run=str(tmp_path / "other"), epochs=1)
    train(replace(other, protocol="s3prl5"), "0")
    refused(ConfigError, "with protocol s3prl5, .* with loso5", face, str(tmp_path / "other"))


def test_a_fusion_knows_its_parts(data, runs, results, prepared, tmp_path):
    """Check that retrained parts, whose embeddings have changed, are refused."""
    shutil.copytree(runs / "fusion", tmp_path / "fusion")
    shutil.copytree(runs / "words", tmp_path / "words")
    path = tmp_path / "words" / "fold-0" / "last.pt"
    state = load_checkpoint(path)
    state["best"] = {name: value + 0.01 for name, value in state["best"].items()}
    save_checkpoint(state, path)
    for half in (0, 1):
        place = tmp_path / "fusion" / "fold-0" / f"half-{half}" / "last.pt"
        fused = load_checkpoint(place)
        fused["config"]["parts"] = ",".join(
            ["face-ferplus-seresnet", str(runs / "speech"), str(tmp_path / "words")]
        )
        save_checkpoint(fused, place)
    with pytest.raises(ConfigError, match="was trained on other weights of text"):
        Measured(str(tmp_path / "fusion"), prepared)


# --- results ---


def test_results_hold_nothing_of_the_corpus(results, prepared):
    folder, _ = results
    paths = sorted(folder.glob("*.json"))
    assert len(paths) == 5 + 10
    ids = set(prepared.rows)
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert not [turn.text for turn in prepared.turns if turn.text in text]
        assert not ids & set(outside_of_test(json.loads(text)))


def outside_of_test(value, key=""):
    """Yield every string and key of a result except those in lists of test turns."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from outside_of_test(inner, name)
    elif isinstance(value, list):
        for inner in value if key != "test" else ():
            yield from outside_of_test(inner)
    elif isinstance(value, str):
        yield value


def test_results_say_what_they_are_of(results, prepared):
    result = results[1]["mdre"]
    fold = make_folds(prepared.turns)[FOLD]
    assert result["protocol"] == "loso5" and result["manifest_sha256"] == prepared.hash
    assert result["folds"][0]["test"] == list(fold.test) and result["folds_of_protocol"] == 3
    assert sum(result[kind]["turns"] for kind in ("improvised", "scripted")) == 240
    figures = [fold["figures"]["uar"] for fold in result["folds"]]
    assert result["summary"]["uar"]["mean"] == pytest.approx(sum(figures) / 3)
    assert (
        result["date"] and result["commit"] and result["folds"][0]["training"]["epochs_done"] == 30
    )


def test_tables_have_published_figures_beside(results):
    page = tables.tables(tables.read_results(sorted(results[0].glob("*.json"))))
    row = next(line for line in page.split("\n") if line.startswith("| `iemocap-mdre`"))
    assert "MDRE (Yoon 2018): WAP 0.718, random 5 folds of turns" in row and "3 of 3" in row
    assert "| face + voice + text |" in page and "`iemocap-fusion` minus `iemocap-words`" in page
    assert {row.system for row in tables.published_beside("speech", ("voice",))} > {"IAAN"}
    assert {row.model for row in tables.PUBLISHED if row.model} <= set(SYSTEMS)
    with pytest.raises(DataError, match="expected a result file"):
        tables.read_results([str(TOMLS / "words.toml")])


def test_figures_are_those_of_the_papers():
    """Check fold 5 of MDRE's published confusion matrix: accuracy .751, UA .753, weighted precision .750."""
    mdre = [[123, 17, 5, 11], [9, 189, 12, 29], [8, 13, 109, 12], [20, 32, 19, 142]]
    assert weighted_precision(mdre) == pytest.approx(0.750, abs=5e-4)
    assert weighted_precision([[3, 0], [3, 0]]) == pytest.approx(0.25)
    truth, found = numpy.array([0, 1, 1]), numpy.eye(2, dtype="f4")[[0, 1, 0]]
    sure = numpy.tile(numpy.array([[0.7, 0.3]], "f4"), (80, 1))
    assert (
        0.01 < calibration_by_chance(sure) < 0.1
    )  # with few turns, the error is above zero by chance
    assert calibration_by_chance(numpy.repeat(sure, 500, 0)) < 0.005
    report = report_of(Answers(("a", "b"), [None] * 3, found, truth))  # type: ignore[list-item]
    assert report["uar"] == pytest.approx(0.75) and report["turns"] == 3
    spreads = spread([{"uar": 0.5}, {"uar": 0.7}])["uar"]
    assert spreads["mean"] == pytest.approx(0.6)
    assert spreads["deviation"] == pytest.approx(0.1414, abs=1e-4)
    values = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert concordance(values, values) == pytest.approx(torch.ones(3))
    assert (concordance(values + 1, values) < 0.9).all()


def test_two_systems_are_compared_on_the_same_turns(prepared):
    turns = prepared.turns[:60]
    truth = numpy.arange(60) % 2
    right = numpy.eye(2, dtype="f4")[truth]
    wrong = right.copy()
    wrong[:20] = 1 - wrong[:20]
    one = Answers(("a", "b"), turns, right, truth)
    other = Answers(("a", "b"), turns[::-1][:50], wrong[::-1][:50], truth[::-1][:50])
    found = compare(one, other)
    assert found["turns"] == 50 and found["accuracy"]["difference"] == pytest.approx(0.2)
    low, high = found["accuracy"]["interval"]
    assert low < 0.2 < high and compare(one, one)["uar"]["interval"] == [0, 0]


# --- settings ---


@pytest.mark.parametrize("path", sorted(TOMLS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_toml_is_of_known_settings(path):
    load_config(FuseConfig if path.stem == "fusion" else TrainConfig, path)


def test_wrong_settings_are_reported(data, tmp_path):
    with pytest.raises(ConfigError, match="unknown model 'mdrex'"):
        TrainConfig(model="mdrex")
    config = replace(SMALL["words"], data=str(data), run=str(tmp_path))
    with pytest.raises(ConfigError, match="loso5 has folds 0 to 2"):
        train(config, "7")
    with pytest.raises(ConfigError, match="expected a number from 0 to 2, or all, found 'two'"):
        train(config, "two")
    with pytest.raises(ConfigError, match="parts: expected run folders"):
        fuse(FuseConfig(data=str(data), run=str(tmp_path)))
