"""Predictions from face, voice and text together, on small untrained networks."""

import json
from shutil import copytree

import numpy
import pytest
import torch
from conftest import SAMPLE, every, write_clip
from hub_weights import edit_config

from multimodal_fer.analyzer import Analyzer
from multimodal_fer.errors import WeightsError
from multimodal_fer.fusion.prediction import cut_sound
from multimodal_fer.hub import loading
from multimodal_fer.labels import FER_PLUS, MODALITIES, OPEN7
from multimodal_fer.models import build
from multimodal_fer.text.selection import select_texts
from multimodal_fer.text.vocabulary import Vocabulary
from multimodal_fer.types import SAMPLE_RATE, Analysis, Window

WORDS = "i could not find the button and gave up it was easy love this that is great no"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Write a bundle with all parts, none of them trained."""
    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    vocabulary = Vocabulary.build([WORDS])
    small = {
        "face": ("se-resnet", {"widths": [16, 16], "blocks": [1, 1]}),
        "voice": ("speech", {"bands": 32, "channels": [8, 8], "units": 8}),
        "text": ("words", {"vocabulary_size": len(vocabulary), "word_size": 8, "units": 8}),
    }
    labels = {"face": FER_PLUS, "voice": OPEN7, "text": OPEN7}
    small["fusion"] = ("late-attention", {"part_labels": labels})
    for part, (name, settings) in small.items():
        words = vocabulary if part == "text" else None
        loading.save_model(root / part, name, build(name, settings).eval(), {}, words)
    loading.save_bundle(root / "all7", OPEN7, 0.5, {part: root / part for part in small})
    return root


@pytest.fixture(scope="module")
def analyzer(weights):
    return Analyzer(weights / "all7")


@pytest.fixture(scope="module")
def answer(analyzer):
    return analyzer.analyze(SAMPLE)


def test_every_part_verifies(weights):
    for part in ("face", "voice", "text", "fusion"):
        assert loading.verify_model(weights / part) < loading.GOLDEN_TOLERANCE


def test_an_utterance_is_predicted_from_all_three(answer):
    spoken = [segment for segment in answer.segments if segment.text]
    assert spoken
    for segment in spoken:
        for name in MODALITIES:
            scores = segment.by_modality[name]
            assert scores and sum(scores.values()) == pytest.approx(1, abs=1e-3)
            assert segment.attention[name] > 0
        assert sum(segment.attention.values()) == pytest.approx(1, abs=1e-4)
    assert set(answer.scores) == set(OPEN7) and answer.emotion in OPEN7


def test_windows_without_speech_have_no_voice_and_no_words(answer):
    for segment in answer.segments:
        if not segment.text:
            assert segment.by_modality["voice"] is None and segment.by_modality["text"] is None
            assert segment.attention.get("voice", 0) == segment.attention.get("text", 0) == 0


def test_the_quality_of_faces_is_kept_but_not_in_the_record(answer):
    quality = answer.faces[0].quality
    assert len(quality) == len(answer.faces[0].times) and 0 < min(quality) <= max(quality) <= 1
    assert "quality" not in answer.to_dict()["faces"][0]


def test_the_same_recording_gives_the_same_answer(analyzer, answer):
    assert analyzer.analyze(SAMPLE).to_dict() == answer.to_dict()


def test_a_voice_alone_and_words_alone(analyzer, speech, tmp_path):
    clip = write_clip(tmp_path / "voice.wav", sound=speech, rate=SAMPLE_RATE)
    voice = analyzer.analyze(clip)
    spoken = [segment for segment in voice.segments if segment.text]
    assert spoken and all(segment.by_modality["face"] is None for segment in spoken)
    assert all(segment.attention["voice"] > 0 for segment in spoken)
    written = analyzer.analyze_text("I could not find the button and gave up.")
    assert written.emotion in OPEN7 and written.segments[0].attention["text"] == 1.0
    assert written.scores == pytest.approx(written.segments[0].scores) and not written.warnings


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("", "the text is empty"),
        (" \n\t ", "the text is empty"),
        (
            "Nie mogłem znaleźć przycisku",
            "the words were not analysed: the text network knows 0% of them",
        ),
        ("找不到按钮", "the words were not analysed"),
        ("Ich konnte den Knopf nicht finden", "the words were not analysed: the text network"),
    ],
)
def test_unusual_texts_have_a_warning(analyzer, text, warning):
    answer = analyzer.analyze_text(text)
    assert any(warning in note for note in answer.warnings)
    assert answer.emotion is None


def test_another_language_than_that_of_the_text_network_has_a_warning(analyzer):
    notes: list[str] = []
    window = Window(0.0, 1.0, spoken=True, text="it was easy")
    assert select_texts(analyzer.bundle.text, [window], "pl", notes.append) == {}
    assert notes == [
        "the words were not analysed: their language is pl, the text network was trained on en"
    ]
    assert list(select_texts(analyzer.bundle.text, [window], "en", notes.append)) == [0]
    assert len(notes) == 1


def test_words_of_low_confidence_are_left_out(analyzer):
    notes: list[str] = []
    sure = Window(0.0, 4.0, spoken=True, text="it was easy", confidence=0.9)
    unsure = Window(4.0, 5.0, spoken=True, text="it was easy", confidence=0.5)
    written = Window(0.0, 0.0, spoken=False, text="it was easy")

    def select(*windows: Window, language: str | None = "en") -> list[int]:
        return list(select_texts(analyzer.bundle.text, windows, language, notes.append))

    assert select(sure, unsure) == [0]
    assert notes.pop().startswith("the words of 1 of 2 utterances were not analysed")
    assert select(unsure, unsure) == []
    assert "mean confidence of 0.50" in notes.pop()
    assert select(written, language=None) == [0] and not notes


def test_speech_without_words_is_predicted_from_the_voice(weights, speech, tmp_path):
    """Analyse a recording without a speech model."""
    clip = write_clip(tmp_path / "voice.wav", sound=speech, rate=SAMPLE_RATE)
    answer = Analyzer(weights / "all7", speech_model="none").analyze(clip)
    spoken = [segment for segment in answer.segments if segment.spoken]
    assert len(spoken) == 3 and answer.emotion in OPEN7
    for segment in spoken:
        assert segment.text is None and segment.attention["voice"] == 1.0
        assert segment.scores == pytest.approx(segment.by_modality["voice"], abs=1e-5)
    assert Analysis.from_dict(answer.to_dict()).segments[0].spoken == answer.segments[0].spoken


def test_a_fusion_of_other_parts_is_refused(weights, tmp_path):
    """Refuse parts with other labels, and other weights than those of the fusion's training."""
    for name in ("face", "voice", "text", "fusion"):
        copytree(weights / name, tmp_path / name)
    parts = {name: tmp_path / name for name in ("face", "voice", "text", "fusion")}
    edit_config(tmp_path / "fusion", parts={"face": "0" * 64})
    loading.save_bundle(tmp_path / "other", OPEN7, 0.5, parts)
    with pytest.raises(WeightsError, match="has learnt from other weights of the part face"):
        loading.load_bundle(tmp_path / "other")
    edit_config(tmp_path / "fusion", parts={})
    settings = json.loads((tmp_path / "voice" / "config.json").read_text())["settings"]
    edit_config(tmp_path / "voice", settings=settings | {"labels": ["calm", *OPEN7[1:]]})
    loading.save_bundle(tmp_path / "other", OPEN7, 0.5, parts)
    with pytest.raises(WeightsError, match="expects a part voice with the labels neutral"):
        loading.load_bundle(tmp_path / "other")


def test_a_part_with_labels_in_another_order_is_matched_by_name(weights, tmp_path):
    for name in ("face", "voice", "text", "fusion"):
        copytree(weights / name, tmp_path / name)
    settings = json.loads((tmp_path / "text" / "config.json").read_text())["settings"]
    edit_config(tmp_path / "text", settings=settings | {"labels": list(reversed(OPEN7))})
    parts = {name: tmp_path / name for name in ("face", "voice", "text", "fusion")}
    loading.save_bundle(tmp_path / "turned", OPEN7, 0.5, parts)
    turned = Analyzer(tmp_path / "turned", speech_model="none").analyze_text("it was easy")
    plain = Analyzer(weights / "all7", speech_model="none").analyze_text("it was easy")
    names: dict[str, str] = dict(zip(OPEN7, reversed(OPEN7), strict=True))
    assert turned.scores == pytest.approx({names[k]: v for k, v in plain.scores.items()})


def test_a_bundle_without_a_fusion_needs_all_labels_of_its_parts(weights, tmp_path):
    copytree(weights / "face", tmp_path / "face")
    loading.save_bundle(tmp_path / "two", ["anger", "sadness"], 0.5, {"face": tmp_path / "face"})
    with pytest.raises(WeightsError, match="its part face answers with 'neutral'"):
        loading.load_bundle(tmp_path / "two")


def test_windows_get_exactly_their_own_sound(tmp_path):
    ramp = numpy.linspace(-0.5, 0.5, 7 * SAMPLE_RATE).astype(numpy.float32)
    blocks = [
        (start, ramp[start * SAMPLE_RATE : (start + 2) * SAMPLE_RATE]) for start in (0, 2, 4, 6)
    ]
    spans = {
        0: (0.5, 1.7),
        2: (1.6, 4.3),  # over two edges of blocks, and overlapping the span before
        3: (4.3, 4.35),  # too short
        4: (6.0, 9.0),  # goes on after the sound's end
    }
    cut = dict(cut_sound(blocks, spans))
    assert sorted(cut) == [0, 2, 4]
    for number in (0, 2, 4):
        first, last = (round(time * SAMPLE_RATE) for time in spans[number])
        numpy.testing.assert_array_equal(cut[number], ramp[first:last])


def test_a_silent_hour_is_not_kept_in_memory():
    """Cut one span from the end of an hour whose sound would need 230 MB."""
    second = numpy.zeros(30 * SAMPLE_RATE, numpy.float32)
    blocks = ((30.0 * number, second) for number in range(120))
    assert dict(cut_sound(blocks, {0: (3500.0, 3510.0)}))[0].shape == (160_000,)


def test_an_altered_vocabulary_is_refused(weights):
    path = weights / "text" / "vocabulary.txt"
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(before.replace("button", "lever"), encoding="utf-8")
        with pytest.raises(WeightsError, match="expected sha256"):
            loading.load_bundle(weights / "all7")
    finally:
        path.write_text(before, encoding="utf-8")


def test_a_hum_without_speech_has_no_emotion(analyzer, tmp_path):
    hum = 0.1 * numpy.sin(numpy.arange(120 * SAMPLE_RATE) * 0.05).astype(numpy.float32)
    answer = analyzer.analyze(write_clip(tmp_path / "hum.wav", sound=hum, rate=SAMPLE_RATE))
    assert answer.duration == pytest.approx(120, abs=0.1) and answer.emotion is None
    assert "no speech was found in this recording" in answer.warnings


def test_a_face_without_sound_is_predicted(analyzer, portrait, tmp_path):
    clip = write_clip(
        tmp_path / "silent.mp4", frame_times=every(2.0, 30), picture=lambda _: portrait
    )
    answer = analyzer.analyze(clip)
    assert answer.segments[0].attention == {"face": 1.0, "voice": 0.0, "text": 0.0}
