"""Run recipes/open on generated voices and texts: prepare, train, interrupt, resume, evaluate, analyze."""

import csv
import json
import random
from dataclasses import replace

import numpy
import pytest
import torch
from conftest import SAMPLE, write_clip

from multimodal_fer.analyzer import Analyzer
from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.fusion.bundle import Bundle
from multimodal_fer.fusion.prediction import Predictor
from multimodal_fer.hub import loading
from multimodal_fer.labels import FER_PLUS, MODALITIES, OPEN7
from multimodal_fer.models import build
from multimodal_fer.models.reference_outputs import reference_logits
from multimodal_fer.speech.whisper_tensors import load_encoder
from multimodal_fer.training.config import load_config
from multimodal_fer.training.distributed import Workers
from multimodal_fer.training.evidence import EvidenceSet
from multimodal_fer.training.run import load_checkpoint, save_checkpoint
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.utils.files import file_hash
from multimodal_fer.voice.reference import LEAST_UTTERANCES
from recipes.open import export
from recipes.open.fusion import baselines, evidence
from recipes.open.fusion import evaluate as fusion_evaluate
from recipes.open.fusion import train as fusion_recipe
from recipes.open.runs import config_of, load_trained
from recipes.open.text import evaluate as text_evaluate
from recipes.open.text import train as text_recipe
from recipes.open.text.corpora import Sample, labels_of_corpora, read_texts, targets_of
from recipes.open.voice import evaluate as voice_evaluate
from recipes.open.voice import folds, head, moments, prepare
from recipes.open.voice import train as voice_recipe
from recipes.open.voice.corpora import deal_speakers, read_corpus
from recipes.open.voice.margins import vary_margins
from recipes.open.voice.references import make_reference, mixture_weights

PITCH = {"neutral": 0.0, "happy": 120.0, "sad": -80.0, "angry": 300.0}
SENTENCES = {
    "joy": ["i love this", "great and easy", "what a joy", "this is great"],
    "anger": ["i hate this", "so annoying and bad", "this makes me angry", "stop it now"],
    "neutral": ["the button is blue", "it is monday", "there are two pages", "i opened it"],
    "sadness": ["i am sad", "i gave up", "this is so sad", "i cry and cry"],
}
VOICE = voice_recipe.VoiceTrainConfig(
    settings={"bands": 32, "channels": [8, 12], "units": 8}, folds=3, test_fold=0,
    validation_fold=1, augmentation="recorded", margin=0.2, epochs=3, batch=8, average_decay=0.5,
)  # fmt: skip
TEXT = text_recipe.TextTrainConfig(
    settings={"word_size": 8, "units": 8}, corpora=("goemotions",), vectors="none",
    smallest_count=1, epochs=6, batch=16, learning_rate=0.01, average_decay=0.5,
)  # fmt: skip
FUSION = fusion_recipe.FusionTrainConfig(epochs=2, steps=20, batch=32)


def write_voices(root):
    """Write six speakers whose pitch glides by label."""
    chance = numpy.random.default_rng(0)
    rows = []
    for speaker in range(6):
        for label, slope in PITCH.items():
            for take in range(3):
                seconds = 0.6 + 0.1 * take
                time = numpy.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
                phase = 2 * numpy.pi * ((120 + 20 * speaker) * time + slope * time**2 / 2)
                sound = sum(numpy.sin(tone * phase) / tone for tone in range(1, 6))
                sound = 0.1 * sound + 0.002 * chance.standard_normal(len(time))
                name = f"{speaker}_{label}_{take}.wav"
                write_clip(root / name, sound=sound.astype(numpy.float32), rate=SAMPLE_RATE)
                rows.append({"path": name, "speaker": f"s{speaker}", "label": label, "text": "la"})
    with (root / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


def write_texts(root):
    """Write a corpus in the format of GoEmotions, and some rows of the other corpora."""
    chance = random.Random(0)
    folder = root / "goemotions"
    folder.mkdir(parents=True)
    names = sorted(SENTENCES)
    (folder / "emotions.txt").write_text("\n".join(names))
    for file in ("train.tsv", "dev.tsv", "test.tsv"):
        lines = [
            f"{chance.choice(SENTENCES[name])} {number}\t{names.index(name)}\tid{number}"
            for number in range(40)
            for name in names
        ]
        (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "isear").mkdir()
    rows = ["id\tsubject\tcountry\tsex\tlabel\tintensity\tnonresponse\ttext"]
    rows += [f"{n}\t{n}\t1\t1\tjoy\t3\t0\ta good day {n}" for n in range(30)]
    (root / "isear" / "isear.tsv").write_text("\n".join(rows))
    (root / "so_emotion").mkdir()
    rows = ["id\tgroup\tset\ttext\tlabels"]
    rows += [f"{n}\tA\tFirst\tthis works, thanks {n}\tlove,joy" for n in range(30)]
    (root / "so_emotion" / "so_emotion.tsv").write_text("\n".join(rows))
    (root / "meld").mkdir()
    (root / "meld" / "dev_sent_emo.csv").write_text(
        'Utterance,Emotion,Sentiment\n"Oh, no!",sadness,negative\nHi,neutral,neutral\n'
    )
    (root / "emobank").mkdir()
    (root / "emobank" / "emobank.csv").write_text(
        "id,split,V,A,D,text\n"
        + "".join(
            f"{n},test,{2 + n / 10},3,3,a {'good' if n > 9 else 'bad'} day\n" for n in range(20)
        )
    )


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    (root / "voices").mkdir()
    write_voices(root / "voices")
    write_texts(root / "texts")
    prepare.main(str(root / "speech"), str(root / "voices"))
    return root


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        for module in (voice_evaluate, text_evaluate, fusion_evaluate):
            patch.setattr(module, "RESULTS", folder)
        patch.setattr(fusion_evaluate, "SAMPLES", 500)
        patch.setattr(fusion_evaluate, "DRAWS", 2)
        patch.setattr(baselines, "STEPS", 50)
        yield folder


def interrupted(run_class, config, folder):
    """Train one epoch, then continue from the folder with a new run."""
    config = replace(config, run=str(folder))
    group = Workers(0, 1, torch.device("cpu"))
    first = run_class(config, group)
    first.folder.mkdir(parents=True)
    first.advance()
    return run_class(config, group).go()


def same_weights(one, other):
    first, second = (load_checkpoint(folder / "last.pt")["average"] for folder in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_a_voice_starts_from_whispers_encoder(corpora, tmp_path, rate):
    config = replace(
        VOICE, data=str(corpora / "speech"), run=str(tmp_path / "voice"), model="whisper-voice",
        settings={"blocks": 1, "last_mlp": True, "units": 16}, start="whisper-tiny.en", encoder_rate=rate,
        epochs=1, limit=16, precision="bfloat16",
    )  # fmt: skip
    trained = load_trained(str(voice_recipe.train(config))).model
    kept = [
        torch.equal(value, trained.encoder.state_dict()[name])
        for name, value in load_encoder(1).items()
    ]
    assert all(kept) if rate == 0 else not any(kept)


HEAD = replace(
    VOICE, model="whisper-voice", settings={"blocks": 1, "units": 16, "dropout": 0.2},
    start="whisper-tiny.en", versions=2, balance=0.5, epochs=20, batch=16, learning_rate=3e-3,
)  # fmt: skip


def test_a_head_on_whispers_encoder_learns_and_answers(corpora, results, tmp_path, monkeypatch):
    config = replace(HEAD, data=str(corpora / "speech"), run=str(tmp_path / "head"))
    whole = head.train(config)
    assert same_weights(whole, interrupted(head.HeadRun, config, tmp_path / "head-again"))
    figures = load_checkpoint(whole / "last.pt")["epochs"]
    assert figures[-1]["valid_uar"] > 0.6 > 0.25  # chance is 0.25
    trained = load_trained(str(whole)).model
    assert torch.equal(trained.encoder.conv1.weight, load_encoder(1)["conv1.weight"])
    export.export(str(whole), str(tmp_path / "voice"))
    exported = load_trained(str(tmp_path / "voice")).model
    assert exported.config.temperature != 1.0

    predictor = Predictor(Bundle("test", "0" * 64, OPEN7, 0.4, voice=exported), torch.device("cpu"))
    speech = prepare.load_speech(corpora / "speech")
    sounds = [(number, speech.waveform(number)) for number in range(LEAST_UTTERANCES)]
    few, enough = (predictor.predict_voices(some) for some in (sounds[1:], sounds))
    alone = predictor.predict_voices(sounds[:1])
    assert alone[0].scores != enough[0].scores  # judged against the speaker's own voice
    for number in few:
        one = predictor.predict_voices([sounds[number]])[number]
        assert few[number].scores == pytest.approx(one.scores, abs=1e-4)


def test_folds_are_measured_for_every_corpus(corpora, results, tmp_path, monkeypatch):
    toml = tmp_path / "head.toml"
    toml.write_text(
        'model = "whisper-voice"\nsettings = { blocks = 1, units = 16 }\n'
        'start = "whisper-tiny.en"\nversions = 2\nbatch = 16\nlearning_rate = 3e-3\n'
    )
    monkeypatch.setattr(folds, "SETTINGS", toml)
    monkeypatch.setattr(folds, "STEPS", 40)
    monkeypatch.setattr(folds, "RESULTS", results)
    folds.main(str(corpora / "speech"))
    found = json.loads((results / "voice-folds.json").read_text())["protocols"]["voices"]
    assert len(found["folds"]) == 6 and found["summary"]["none"]["mean"] > 0.4
    assert {"none", "all", "10 neutral", "30 lacking"} < set(found["summary"])
    with pytest.raises(ConfigError, match="set versions to at least 1"):
        folds.main(str(corpora / "speech"), "versions=0")
    with pytest.raises(ConfigError, match="at most 4 versions, found versions = 5"):
        folds.main(str(corpora / "speech"), "versions=5")


def test_references_are_made_as_they_will_be_in_use():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 10 + [1] * 30 + [2] * 5)
    neutral = mixture_weights(labels, "neutral", 0, generator)
    assert neutral[:10].sum().item() == pytest.approx(0.7) and neutral[40:].sum().item() > 0.1
    lacking = mixture_weights(labels, "lacking", 0, generator)
    assert sorted(round(lacking[labels == kind].sum().item(), 3) for kind in range(3))[0] == 0.0
    pool = torch.randn(45, 6, generator=generator)
    counts = torch.tensor([[0.0], [1.0], [20.0]])
    found = make_reference(pool, neutral.expand(3, -1).contiguous(), pool[:3], counts, generator)
    torch.testing.assert_close(found.mean[1], pool[1])  # itself alone
    assert found.variance[1].abs().max() < 1e-5 and found.variance[2].min() > 0.05
    assert torch.equal(found.count, counts)


def test_versions_of_a_clip_are_what_their_names_say():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4 * SAMPLE_RATE, generator=generator) * 0.1
    noise[: int(1.5 * SAMPLE_RATE)] = noise[int(2.5 * SAMPLE_RATE) :] = (
        0  # speech from 1.5 to 2.5 s
    )
    found = {
        name: moments.make_version(name, [noise] * 8, [(1.5, 2.5)] * 8, generator)
        for name in moments.VERSIONS
    }
    assert torch.equal(found["published"][0], noise.expand(8, -1))
    for name in ("close", "telephone"):
        seconds = found[name][1] / SAMPLE_RATE
        assert seconds.min() >= 0.7 and seconds.max() <= 2.0 and seconds.unique().numel() > 4
    power = torch.fft.rfft(found["telephone"][0]).abs().square().mean(0)
    above = power[len(power) * 5 // 8 :]  # 5 kHz
    assert above.mean() < 1e-3 * power[len(power) // 8 : len(power) // 4].mean()


def test_everything_from_corpora_to_an_answer(corpora, results, tmp_path):
    weights = tmp_path / "weights"
    voice = replace(VOICE, data=str(corpora / "speech"), run=str(tmp_path / "voice"))
    whole = voice_recipe.train(voice)
    again = interrupted(voice_recipe.VoiceRun, voice, tmp_path / "voice-again")
    assert same_weights(whole, again)
    voice_evaluate.main("drawn", str(corpora / "speech"), str(whole))
    measured = json.loads((results / "drawn.json").read_text())
    assert set(measured["summary"]) == {"clean", "babble", "room", "telephone", "codec"}
    assert measured["folds"][0]["speakers"] == ["s0", "s1"]
    export.export(str(whole), str(weights / "voice"))

    text = replace(TEXT, data=str(corpora / "texts"), run=str(tmp_path / "text"))
    text_run = text_recipe.train(text)
    again = interrupted(text_recipe.TextRun, text, tmp_path / "text-again")
    assert same_weights(text_run, again)
    text_evaluate.main(str(text_run), str(corpora / "texts"), "test")
    measured = json.loads((results / "text.test.json").read_text())
    ekman = measured["protocols"]["goemotions-ekman"]
    assert ekman["macro_f1"] > 0.3  # four of the seven labels exist
    assert measured["protocols"]["meld"]["texts"] == 2
    export.export(str(text_run), str(weights / "text"))

    face_weights(weights / "face")
    folder = str(tmp_path / "evidence")
    face_evidence(tmp_path / "evidence", weights / "face")
    evidence.main("voice", str(weights / "voice"), str(corpora / "speech"), folder)
    evidence.main("text", str(weights / "text"), str(corpora / "texts"), folder)
    fusion = replace(FUSION, evidence=folder, run=str(tmp_path / "fusion"))
    fused = fusion_recipe.train(fusion)
    again = interrupted(fusion_recipe.FusionRun, fusion, tmp_path / "fusion-again")
    assert same_weights(fused, again)
    export.export(str(fused), str(weights / "fusion"))
    fusion_evaluate.main(str(weights / "fusion"), folder)
    measured = json.loads((results / "fusion.test.json").read_text())
    worlds = [f"{world}{prior}" for world in ("realistic", "corrupted", "clean")
              for prior in ("", ", equal shares")]  # fmt: skip
    for world in worlds:
        assert set(measured[world]) == {"face+voice+text", "face+voice", "face+text", "voice+text"}
    assert set(measured["corrupted"]["face+voice"]) == {
        "late attention", "mean of scores", "product rule", "logistic stacking", "opinion pool",
        "face alone", "voice alone", "gain"
    }  # fmt: skip
    assert measured["attention"]["face"]["uniform"] < measured["attention"]["face"]["clean"]

    parts = {name: weights / name for name in (*MODALITIES, "fusion")}
    loading.save_bundle(weights / "drawn7", OPEN7, 0.5, parts)
    answer = Analyzer(weights / "drawn7").analyze(SAMPLE)
    assert answer.emotion in OPEN7
    assert all(loading.verify_model(folder) < loading.GOLDEN_TOLERANCE for folder in parts.values())


def face_weights(folder):
    torch.manual_seed(0)
    settings = {"widths": [16, 16], "blocks": [1, 1]}
    loading.save_model(folder, "se-resnet", build("se-resnet", settings).eval(), {})


def face_evidence(folder, weights):
    """Write evidence like the facial recipe: a clean condition, and a corrupted one of random scores."""
    generator = torch.Generator().manual_seed(1)
    size = reference_logits(loading.load_model(weights)).shape[1]
    for part in ("train", "validation", "test"):
        labels = torch.randint(7, (90,), generator=generator)
        noise = torch.randn(90, size, generator=generator)
        sure = 4.0 * torch.nn.functional.one_hot(labels, size) + noise
        vague = torch.randn(90, size, generator=generator)
        EvidenceSet(
            torch.stack([sure, vague]).log_softmax(2),
            torch.tensor([[1.0] * 90, [0.2] * 90]),
            labels,
            ("clean", "corrupted"),
            FER_PLUS,
            file_hash(weights / "model.safetensors"),
            torch.arange(90),
        ).save(folder / f"face-{part}.npz")


def test_speakers_are_never_in_two_parts(corpora):
    clips = read_corpus(corpora / "voices")
    assert len(clips) == 72 and {clip.label for clip in clips} == set(PITCH)
    dealt = deal_speakers(clips, 3)
    assert dealt == {"s0": 0, "s1": 0, "s2": 1, "s3": 1, "s4": 2, "s5": 2}
    config = replace(VOICE, data=str(corpora / "speech"))
    speech = prepare.load_speech(config.data)
    parts = voice_recipe.split_speakers(speech, config)
    speakers = {name: {speech.clips[n].speaker for n in part.clips} for name, part in parts.items()}
    assert speakers == {"train": {"s4", "s5"}, "validation": {"s2", "s3"}, "test": {"s0", "s1"}}
    assert all(clip.path == "" for clip in speech.clips)  # archives name no files of a machine


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("missing.wav,s1,happy", "row 2: missing.wav is missing"),
        ("0_happy_0.wav,s1,cheerful", "row 2: unknown label 'cheerful'"),
    ],
)
def test_rows_of_a_manifest_that_do_not_fit_are_named(corpora, tmp_path, row, message):
    (tmp_path / "0_happy_0.wav").write_bytes((corpora / "voices" / "0_happy_0.wav").read_bytes())
    (tmp_path / "manifest.csv").write_text(f"path,speaker,label\n{row}\n")
    with pytest.raises(DataError, match=message):
        read_corpus(tmp_path)


def test_other_releases_are_read_by_their_names(tmp_path):
    for name in ("Actor_01/03-01-05-01-02-01-01.wav", "Actor_02/01-01-08-02-01-01-02.mp4",
                 "Actor_02/02-01-08-02-01-01-02.mp4", "Actor_02/03-02-08-02-01-01-02.wav"):  # fmt: skip
        (tmp_path / "ravdess" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ravdess" / name).touch()
    found = read_corpus(tmp_path / "ravdess")
    assert [(clip.speaker, clip.label) for clip in found] == [
        ("ravdess_01", "angry"), ("ravdess_02", "surprised"),
    ]  # fmt: skip
    (tmp_path / "crema").mkdir()
    (tmp_path / "crema" / "1001_DFA_ANG_XX.wav").touch()
    assert read_corpus(tmp_path / "crema")[0].label == "anger"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected manifest\.csv"):
        read_corpus(tmp_path / "empty")


def test_a_clip_that_cannot_be_decoded_is_left_out(tmp_path, capsys):
    sound = 0.1 * numpy.sin(numpy.arange(8000) * 0.1).astype(numpy.float32)
    write_clip(tmp_path / "good.wav", sound=sound, rate=SAMPLE_RATE)
    (tmp_path / "bad.wav").write_bytes(b"no sound at all")
    (tmp_path / "manifest.csv").write_text("path,speaker,label\ngood.wav,a,sad\nbad.wav,a,sad\n")
    prepare.main(str(tmp_path / "out"), str(tmp_path))
    assert "left out: " in capsys.readouterr().err
    speech = prepare.load_speech(tmp_path / "out")
    assert len(speech.clips) == 1 and len(speech.waveform(0)) == 8000
    numpy.testing.assert_allclose(speech.waveform(0), sound, atol=1e-3)


def test_texts_have_their_labels_by_name(corpora):
    root = corpora / "texts"
    assert read_texts(root, ["goemotions"], "train")[0].labels == ("anger",)
    both = read_texts(root, ["isear", "so_emotion"], "train")
    assert {sample.labels for sample in both} == {("happiness",)}
    parts = [len(read_texts(root, ["isear"], part)) for part in ("train", "validation", "test")]
    assert sum(parts) == 30 and parts[0] > parts[1] > 0
    targets = targets_of(read_texts(root, ["meld"], "validation"))
    assert targets.argmax(1).tolist() == [OPEN7.index("sadness"), OPEN7.index("neutral")]
    with pytest.raises(DataError, match="unknown corpus 'novels'"):
        read_texts(root, ["novels"], "train")


def test_labels_that_a_corpus_never_gives_are_masked():
    texts = [
        Sample("a", ("anger",), "isear"),
        Sample("b", ("fear",), "isear"),
        Sample("c", ("neutral",), "goemotions"),
        Sample("d", ("fear",), "goemotions"),
    ]
    in_corpus = torch.from_numpy(labels_of_corpora(texts))
    assert in_corpus.sum(1).tolist() == [2, 2, 2, 2] and in_corpus[2, OPEN7.index("neutral")]
    logits = torch.zeros(4, 7, requires_grad=True)
    targets = torch.from_numpy(targets_of(texts))
    torch.nn.functional.cross_entropy(
        text_recipe.mask_missing(logits, in_corpus), targets
    ).backward()
    assert logits.grad is not None
    assert not logits.grad[0, OPEN7.index("neutral")] and logits.grad[2, OPEN7.index("neutral")] < 0


def test_rows_of_texts_that_do_not_fit_are_named(tmp_path):
    folder = tmp_path / "goemotions"
    folder.mkdir()
    (folder / "emotions.txt").write_text("joy\nneutral\n")
    (folder / "train.tsv").write_text("fine\t0\tid\nbroken\t7\tid\n")
    with pytest.raises(DataError, match=r"train\.tsv, row 2"):
        read_texts(tmp_path, ["goemotions"], "train")
    with pytest.raises(DataError, match=r"isear\.tsv: cannot be read"):
        read_texts(tmp_path, ["isear"], "train")


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="unknown augmentation 'torn'"):
        replace(VOICE, augmentation="torn")
    with pytest.raises(ConfigError, match="unknown labels"):
        replace(VOICE, labels="mine")


@pytest.mark.parametrize(
    ("config", "old", "new"),
    [
        (voice_recipe.VoiceTrainConfig, "wear=recorded", "augmentation"),
        (fusion_recipe.FusionTrainConfig, "worn=0.5", "corrupted"),
        (fusion_recipe.FusionTrainConfig, "foreign=0.1", "label_noise"),
    ],
)
def test_renamed_keys_are_refused_with_their_new_names(tmp_path, config, old, new):
    key = old.partition("=")[0]
    message = f"the key '{key}' is now called '{new}'"
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(ConfigError, match=message):
        load_config(config, tmp_path / "empty.toml", [old])
    (tmp_path / "old.toml").write_text(old if key != "wear" else 'wear = "recorded"')
    with pytest.raises(ConfigError, match=rf"old\.toml: {message}"):
        load_config(config, tmp_path / "old.toml")


def test_runs_and_weights_with_old_keys_are_read(corpora, tmp_path):
    config = replace(VOICE, data=str(corpora / "speech"), run=str(tmp_path / "run"), epochs=1)
    run = voice_recipe.train(config)
    state = load_checkpoint(run / "last.pt")
    state["config"]["wear"] = state["config"].pop("augmentation")
    save_checkpoint(state, run / "last.pt")
    trained = load_trained(str(run))
    assert config_of(trained, voice_recipe.VoiceTrainConfig).augmentation == "recorded"
    assert voice_recipe.train(config) == run  # the same settings: continues
    export.export(str(run), str(tmp_path / "voice"))
    path = tmp_path / "voice" / "config.json"
    stored = json.loads(path.read_text())
    stored["training"]["wear"] = stored["training"].pop("augmentation")
    path.write_text(json.dumps(stored))
    assert load_trained(str(path.parent)).training["augmentation"] == "recorded"


def test_margins_are_cut_and_padded_around_speech():
    generator = torch.Generator().manual_seed(0)
    clip = torch.cat([torch.full((SAMPLE_RATE,), value) for value in (0.1, 1.0, 0.1)])
    found = [vary_margins(clip, (1.0, 2.0), 1.5, generator) for _ in range(40)]
    lengths = [len(waveform) / SAMPLE_RATE for waveform in found]
    assert min(lengths) < 2 and max(lengths) > 3 and min(lengths) >= 0.7 and max(lengths) <= 4
    assert all((waveform == 1).sum() >= 0.7 * SAMPLE_RATE for waveform in found)
    assert any(not waveform[0] for waveform in found)  # digital silence
