"""recipes/open end to end on generated voices and texts: prepare, train, kill, resume, evaluate, analyze."""

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
from multimodal_fer.hub import loading
from multimodal_fer.labels import FER_PLUS, MODALITIES, OPEN7
from multimodal_fer.models import build
from multimodal_fer.models.reference_outputs import reference_logits
from multimodal_fer.training.distributed import Workers
from multimodal_fer.training.evidence import EvidenceSet
from multimodal_fer.training.run import load_checkpoint
from multimodal_fer.types import SAMPLE_RATE
from recipes.open import export
from recipes.open.fusion import evaluate as fusion_evaluate
from recipes.open.fusion import evidence
from recipes.open.fusion import train as fusion_recipe
from recipes.open.runs import load_trained
from recipes.open.text import evaluate as text_evaluate
from recipes.open.text import train as text_recipe
from recipes.open.text.corpora import Example, asked_labels, read_texts, targets_of
from recipes.open.voice import evaluate as voice_evaluate
from recipes.open.voice import prepare
from recipes.open.voice import train as voice_recipe
from recipes.open.voice.corpora import deal_speakers, read_corpus
from recipes.open.voice.whisper_start import load_encoder

PITCH = {"neutral": 0.0, "happy": 120.0, "sad": -80.0, "angry": 300.0}
SAID = {
    "joy": ["i love this", "great and easy", "what a joy", "this is great"],
    "anger": ["i hate this", "so annoying and bad", "this makes me angry", "stop it now"],
    "neutral": ["the button is blue", "it is monday", "there are two pages", "i opened it"],
    "sadness": ["i am sad", "i gave up", "this is so sad", "i cry and cry"],
}
VOICE = voice_recipe.VoiceTrainConfig(
    settings={"bands": 32, "channels": [8, 12], "units": 8}, folds=3, test_fold=0,
    validation_fold=1, wear="recorded", epochs=3, batch=8, average_decay=0.5,
)  # fmt: skip
TEXT = text_recipe.TextTrainConfig(
    settings={"word_size": 8, "units": 8}, corpora=("goemotions",), vectors="none",
    smallest_count=1, epochs=6, batch=16, learning_rate=0.01, average_decay=0.5,
)  # fmt: skip
FUSION = fusion_recipe.FusionTrainConfig(width=16, epochs=2, steps=20, batch=32)


def write_voices(root):
    """Six speakers whose pitch glides by label."""
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
    """GoEmotions by form, and one row of each other corpus."""
    chance = random.Random(0)
    folder = root / "goemotions"
    folder.mkdir(parents=True)
    names = sorted(SAID)
    (folder / "emotions.txt").write_text("\n".join(names))
    for file in ("train.tsv", "dev.tsv", "test.tsv"):
        lines = [
            f"{chance.choice(SAID[name])} {number}\t{names.index(name)}\tid{number}"
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
        'Utterance,Emotion\n"Oh, no!",sadness\nHi,neutral\n'
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
        yield folder


def interrupted(run_class, config, folder):
    """Train one epoch, forget everything, and go on from the folder."""
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
        settings={"blocks": 1, "units": 16}, start="whisper-tiny.en", encoder_rate=rate, epochs=1,
        limit=16, precision="bfloat16",
    )  # fmt: skip
    trained = load_trained(str(voice_recipe.train(config))).model
    kept = [
        torch.equal(value, trained.encoder.state_dict()[name])
        for name, value in load_encoder(1).items()
    ]
    assert all(kept) if rate == 0 else not any(kept)


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
    read = text_recipe.train(text)
    assert same_weights(read, interrupted(text_recipe.TextRun, text, tmp_path / "text-again"))
    text_evaluate.main(str(read), str(corpora / "texts"), "test")
    measured = json.loads((results / "text.test.json").read_text())
    assert (
        measured["protocols"]["goemotions-ekman"]["macro_f1"] > 0.3
    )  # of seven labels, four exist
    assert measured["protocols"]["meld"]["texts"] == 2
    export.export(str(read), str(weights / "text"))

    face_weights(weights / "face")
    face_evidence(tmp_path / "evidence", weights / "face")
    evidence.main(
        "voice", str(weights / "voice"), str(corpora / "speech"), str(tmp_path / "evidence")
    )
    evidence.main("text", str(weights / "text"), str(corpora / "texts"), str(tmp_path / "evidence"))
    fusion = replace(FUSION, evidence=str(tmp_path / "evidence"), run=str(tmp_path / "fusion"))
    fused = fusion_recipe.train(fusion)
    assert same_weights(
        fused, interrupted(fusion_recipe.FusionRun, fusion, tmp_path / "fusion-again")
    )
    export.export(str(fused), str(weights / "fusion"))
    fusion_evaluate.main(str(weights / "fusion"), str(tmp_path / "evidence"))
    measured = json.loads((results / "fusion.test.json").read_text())
    assert len(measured["worn"]) == 7  # every pattern of three modalities
    assert set(measured["worn"]["face + voice"]) == {
        "late attention", "mean of scores", "product rule", "face alone", "voice alone"
    }  # fmt: skip

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
    """As the facial recipe writes it: a clean condition and a worn one that says nothing."""
    generator = torch.Generator().manual_seed(1)
    size = reference_logits(loading.load_model(weights)).shape[1]
    for part in ("train", "validation", "test"):
        labels = torch.randint(7, (90,), generator=generator)
        sure = 4.0 * torch.nn.functional.one_hot(labels, size) + torch.randn(
            90, size, generator=generator
        )
        vague = torch.randn(90, size, generator=generator)
        EvidenceSet(
            torch.randn(2, 90, 16, generator=generator),
            torch.stack([sure, vague]).log_softmax(2),
            labels,
            ("clean", "worn"),
            FER_PLUS,
            "0" * 64,
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
    heard = {name: {speech.clips[n].speaker for n in part.clips} for name, part in parts.items()}
    assert heard == {"train": {"s4", "s5"}, "validation": {"s2", "s3"}, "test": {"s0", "s1"}}
    assert all(clip.path == "" for clip in speech.clips)  # an archive names no file of this machine


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
    assert "left out: " in capsys.readouterr().out
    speech = prepare.load_speech(tmp_path / "out")
    assert len(speech.clips) == 1 and len(speech.waveform(0)) == 8000
    numpy.testing.assert_allclose(speech.waveform(0), sound, atol=1e-3)


def test_texts_have_their_labels_by_name(corpora):
    root = corpora / "texts"
    assert read_texts(root, ["goemotions"], "train")[0].labels == ("anger",)
    both = read_texts(root, ["isear", "so_emotion"], "train")
    assert {example.labels for example in both} == {("happiness",)}
    parts = [len(read_texts(root, ["isear"], part)) for part in ("train", "validation", "test")]
    assert sum(parts) == 30 and parts[0] > parts[1] > 0
    targets = targets_of(read_texts(root, ["meld"], "validation"))
    assert targets.argmax(1).tolist() == [OPEN7.index("sadness"), OPEN7.index("neutral")]
    with pytest.raises(DataError, match="unknown corpus 'novels'"):
        read_texts(root, ["novels"], "train")


def test_a_corpus_says_nothing_of_labels_that_it_never_gives():
    texts = [
        Example("a", ("anger",), "isear"),
        Example("b", ("fear",), "isear"),
        Example("c", ("neutral",), "goemotions"),
        Example("d", ("fear",), "goemotions"),
    ]
    asked = torch.from_numpy(asked_labels(texts))
    assert asked.sum(1).tolist() == [2, 2, 2, 2] and asked[2, OPEN7.index("neutral")]
    logits = torch.zeros(4, 7, requires_grad=True)
    targets = torch.from_numpy(targets_of(texts))
    torch.nn.functional.cross_entropy(text_recipe.among_asked(logits, asked), targets).backward()
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
    with pytest.raises(ConfigError, match="unknown wear 'torn'"):
        replace(VOICE, wear="torn")
    with pytest.raises(ConfigError, match="unknown labels"):
        replace(VOICE, labels="mine")
