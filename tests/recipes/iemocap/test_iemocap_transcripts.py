"""Transcripts of turns by a speech recogniser: stored once, used by trainings, word error rates."""

import csv
import json
from dataclasses import replace

import iemocap_shared
import pytest
from conftest import REAL_VIDEOS

from multimodal_fer.errors import ConfigError
from multimodal_fer.media.sound import read_audio
from multimodal_fer.speech.transcription import SpeechResult, transcribe
from multimodal_fer.speech.whisper import Recognition, find_offline_folders, load_recogniser
from multimodal_fer.training.config import load_config
from multimodal_fer.training.run import load_checkpoint
from multimodal_fer.types import Word
from recipes.iemocap.learning.config import TrainConfig
from recipes.iemocap.preparation import transcripts
from recipes.iemocap.preparation.prepared import Prepared, load_prepared
from recipes.iemocap.preparation.transcripts import (
    Transcripts,
    edit_distance,
    normalised,
    word_errors,
)
from recipes.iemocap.train import train

needs_whisper = pytest.mark.skipif(
    not find_offline_folders(), reason="needs Whisper tiny.en of the extra offline"
)


@pytest.fixture
def prepared(tmp_path):
    """Link the prepared corpus into a new folder, which gets the transcripts."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    for path in iemocap_shared.prepared_folder().iterdir():
        if not path.name.startswith(("transcripts", ".")):
            (folder / path.name).symlink_to(path)
    return load_prepared(folder)


def first_dialog(prepared: Prepared) -> Prepared:
    dialog = prepared.turns[0].dialog
    rows = [row for row in prepared.rows.values() if row.turn.dialog == dialog]
    return Prepared(prepared.folder, rows, prepared.hash)


class FakeRecogniser:
    """Returns given texts, and counts its calls."""

    name, languages = "fake", ("en",)

    def __init__(self, texts):
        self.texts, self.calls = iter(texts), 0

    def recognise(self, waveform, language):
        self.calls += 1
        return Recognition([Word(text, 0.0, 0.1, 1.0) for text in next(self.texts).split()], "en")


@pytest.fixture
def recogniser(prepared, monkeypatch):
    """Return each turn's own words, with "um" as the last one."""
    texts = [turn.text.split() for turn in prepared.turns]
    fake = FakeRecogniser(" ".join([*words[:-1], "um"]) for words in texts)
    monkeypatch.setattr(transcripts, "load_recogniser", lambda *_, **__: fake)

    def transcribe(blocks, recogniser, language):
        ((_, waveform),) = blocks
        yield SpeechResult(words=recogniser.recognise(waveform, language).words)

    monkeypatch.setattr(transcripts, "transcribe", transcribe)
    return fake


def test_turns_are_transcribed_once_and_errors_counted(prepared, recogniser):
    made = Transcripts(prepared)
    made.finish()
    assert recogniser.calls == 240
    result = made.result()
    assert result["turns"] == 240 and result["edits"] == 240 and result["edits_per_turn"] == 1
    assert result["word_error_rate"] == pytest.approx(240 / result["words"])
    assert result["recogniser"]["model"] == "fake"
    again = Transcripts(prepared)
    again.finish()
    turn = next(iter(prepared.rows))
    assert again.of(turn).endswith(" um") and recogniser.calls == 240


def test_an_interrupted_transcription_continues(prepared, recogniser):
    first = Transcripts(first_dialog(prepared))
    first.finish()
    done = recogniser.calls
    path = next(first.folder.glob("Ses*.json"))
    Transcripts(prepared).finish()
    assert 0 < done < 240 and recogniser.calls == 240
    path.write_text(path.read_text()[:-40])  # half a file is made again
    recogniser.texts = iter(["well"] * done)
    made = Transcripts(first_dialog(prepared))
    made.finish()
    assert recogniser.calls == 240 + done and made.of(prepared.turns[0].id) == "well"


def test_trainings_use_transcripts(prepared, recogniser, tmp_path):
    toml = iemocap_shared.grid_toml("words")
    words = [f"data={prepared.folder}", f"run={tmp_path / 'run'}", "epochs=1", "device=cpu"]
    train(load_config(TrainConfig, toml, [*words, "transcripts=whisper"]), "0")
    vocabulary = load_checkpoint(tmp_path / "run" / "fold-0" / "last.pt")["vocabulary"]
    assert "um" in vocabulary and vocabulary[2:] == sorted(vocabulary[2:])
    with pytest.raises(ConfigError, match="unknown transcripts 'google'"):
        replace(load_config(TrainConfig, toml), transcripts="google")


@needs_whisper
def test_tiny_whisper_transcribes_turns(prepared):
    """Check the errors on artificial voices, which speak no words."""
    some = first_dialog(prepared)
    for turn in list(some.rows)[3:]:  # three turns will do
        some.rows[turn] = replace(some.rows[turn], media=("face", "text"))
    made = Transcripts(some)
    made.finish()
    result = made.result()
    turns = list(some.rows)[:3]
    pairs = [(normalised(some.words(turn) or ""), normalised(made.of(turn))) for turn in turns]
    edits = sum(plain_distance(*pair) for pair in pairs)
    assert result["edits"] == edits
    assert result["word_error_rate"] == pytest.approx(edits / sum(len(words) for words, _ in pairs))
    assert result["recogniser"] == {
        "engine": "faster-whisper", "model": "tiny.en", "language": "en"
    }  # fmt: skip
    kept = json.loads(next(made.folder.glob("Ses*.json")).read_text())
    assert list(kept["texts"]) == turns


@needs_whisper
def test_tiny_whisper_on_real_speech():
    """Check for a word error rate under one on GRID's known sentences."""
    table = REAL_VIDEOS / "manifest.csv"
    if not table.exists():
        pytest.skip("needs the GRID clips of ../shared/data/video")
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["terms"].startswith("GRID")]
    recogniser = load_recogniser("auto", language="en")
    pairs = []
    for row in rows[:3]:
        *_, result = transcribe([(0.0, read_audio(REAL_VIDEOS / row["path"]))], recogniser, "en")
        pairs.append((row["text"], " ".join(word.text for word in result.words)))
    found = word_errors(pairs)
    assert found["turns"] == len(pairs) and 0 <= found["word_error_rate"] < 1


def plain_distance(one, other):
    """Compute Levenshtein's table cell by cell."""
    row = list(range(len(other) + 1))
    for place, word in enumerate(one, start=1):
        before, row[0] = row[0], place
        for column, found in enumerate(other, start=1):
            cost = min(row[column] + 1, row[column - 1] + 1, before + (word != found))
            before, row[column] = row[column], cost
    return row[-1]


@pytest.mark.parametrize(
    ("reference", "found", "edits"),
    [
        ("a b c", "a x c d", 2),
        ("", "a", 1),
        ("a b", "", 2),
        ("a b c d", "b c d a", 2),
        ("a", "a", 0),
    ],
)
def test_the_edit_distance_is_the_least(reference, found, edits):
    assert edit_distance(reference.split(), found.split()) == edits
    assert plain_distance(reference.split(), found.split()) == edits


def test_errors_are_of_words_and_not_of_spelling():
    words = normalised("Don’t [LAUGHTER] say: 5:30, I'll GO!")
    assert " ".join(words) == "don't say five thirty i'll go"
    assert " ".join(normalised("X4, no. 21 K7 in 1990")) == "x four no twenty one k seven in 1990"
    same = word_errors([("Well, yes. [BREATHING]", "well yes"), ("[LAUGHTER]", "ha")])
    assert same["word_error_rate"] == 0 and same["turns"] == 1
    worse = word_errors([("no", "oh no no no"), ("yes it is", "")])
    assert worse["word_error_rate"] == pytest.approx(6 / 4)  # it may be over one
    assert worse["edits_per_turn"] == 3 and worse["turns_without_a_word_heard"] == 1
