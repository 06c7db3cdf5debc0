"""The sound of the artificial corpus: two microphones, and the turns cut out of them.

A voice is a series of syllables: harmonics under the formants of a vowel, with breath in between. Arousal
raises pitch, pitch range, loudness and tempo; every speaker has an individual voice.
"""

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy
from iemocap_plan import TICKS, CorpusConfig, Dialog, Turn, chance
from numpy.random import Generator
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
PERIOD = 512  # samples of one stored period
HIGHEST = 4000.0  # Hz of the highest harmonic
VOWELS = ((700, 1200), (500, 1800), (320, 2300), (450, 900), (350, 800))  # first two formants, Hz
FORMANT_WIDTH = 130.0  # Hz
LOUDNESS = 0.05  # root mean square of an average turn
CROSSTALK = 0.08  # of the partner in the other microphone
NOISE = 0.001

Sound = NDArray[numpy.float32]
Samples = NDArray[numpy.int16]


@dataclass(frozen=True)
class Voice:
    pitch: float  # Hz
    formants: float  # times those of a man of average size
    loudness: float
    breath: float


def voice_of(session: int, speaker: str) -> Voice:
    """Return the voice of an actor, the same in every dialog and for every seed."""
    random = numpy.random.default_rng([session, ord(speaker)])
    pitch, formants = (205.0, 1.16) if speaker == "F" else (112.0, 1.0)
    return Voice(
        pitch=pitch * random.uniform(0.88, 1.14),
        formants=formants * random.uniform(0.94, 1.06),
        loudness=random.uniform(0.8, 1.25),
        breath=random.uniform(0.02, 0.06),
    )


def speak(count: int, voice: Voice, arousal: float, random: Generator) -> Sound:
    """Synthesise `count` samples of speech without words."""
    seconds = count / SAMPLE_RATE
    syllables = max(2, round(seconds * 4.2 * 1.25**arousal))
    level = voice.pitch * 2 ** (0.28 * arousal)
    span = 0.10 * 1.5**arousal  # octaves
    place = numpy.linspace(0, syllables, count, endpoint=False, dtype=numpy.float32)
    syllable = place.astype(numpy.intp)
    steps = span * random.standard_normal(syllables + 1) - numpy.linspace(0, 0.15, syllables + 1)
    pitch = level * 2 ** numpy.interp(place, numpy.arange(syllables + 1), steps)
    phase = numpy.cumsum(pitch / SAMPLE_RATE)
    periods = numpy.stack([_period(vowel, level, voice) for vowel in VOWELS])
    vowels = random.integers(len(VOWELS), size=syllables)
    sound = periods[vowels[syllable], (phase % 1 * PERIOD).astype(numpy.intp)]
    swell = numpy.sin(numpy.pi * (place - syllable)) ** numpy.float32(0.6)
    breath = random.standard_normal(count, numpy.float32)
    sound = sound * swell + voice.breath * breath * (1.2 - swell)
    loud = LOUDNESS * voice.loudness * 10 ** (5 * arousal / 20)
    return (sound * (loud / numpy.sqrt(numpy.mean(sound**2)))).astype(numpy.float32)


def _period(vowel: tuple[int, int], pitch: float, voice: Voice) -> Sound:
    """Return one period of a vowel: decaying harmonics under two formants."""
    harmonics = numpy.arange(1, max(2, int(HIGHEST / pitch)) + 1)
    frequency = harmonics * pitch
    hills = [(frequency / voice.formants - formant) / FORMANT_WIDTH for formant in vowel]
    strength = (0.05 + sum(1 / (1 + hill**2) for hill in hills)) / harmonics**0.7
    spectrum = numpy.zeros(PERIOD // 2 + 1, complex)
    # Phases that grow with the square keep the peaks low.
    spectrum[harmonics] = strength * numpy.exp(1j * numpy.pi * harmonics**2 / len(harmonics))
    period = numpy.fft.irfft(spectrum, PERIOD)
    return (period / period.std()).astype(numpy.float32)


def span_of(turn: Turn) -> slice:
    """Return the samples of a turn."""
    first = turn.start * SAMPLE_RATE // TICKS
    return slice(first, first + (turn.end - turn.start) * SAMPLE_RATE // TICKS)


def record(dialog: Dialog, config: CorpusConfig) -> Samples:
    """Return both microphones [shape=(samples, 2)]; left is that of the actor with markers."""
    random = chance(config, f"{dialog.name} sound")
    count = dialog.length * SAMPLE_RATE // TICKS
    spoken = {speaker: numpy.zeros(count, numpy.float32) for speaker in "FM"}
    for turn in dialog.turns:
        place = span_of(turn)
        voice = voice_of(dialog.session, turn.speaker)
        spoken[turn.speaker][place] = speak(place.stop - place.start, voice, turn.arousal, random)
    channels = numpy.empty((count, 2), numpy.int16)
    for channel, speaker in enumerate(order_of(dialog)):
        partner = "M" if speaker == "F" else "F"
        sound = spoken[speaker] + CROSSTALK * spoken[partner]
        sound += NOISE * random.standard_normal(count, numpy.float32)
        channels[:, channel] = (32767 * sound.clip(-1, 1)).astype(numpy.int16)
    return channels


def order_of(dialog: Dialog) -> str:
    """Return the actors from left to right."""
    return "FM" if dialog.wearer == "F" else "MF"


def write_sounds(dialog: Dialog, config: CorpusConfig, session_folder: Path) -> None:
    """Write the dialog's wav, and for each labelled turn an exact cut of its actor's channel."""
    channels = record(dialog, config)
    write_wav(session_folder / "dialog" / "wav" / f"{dialog.name}.wav", channels)
    folder = session_folder / "sentences" / "wav" / dialog.name
    for turn in dialog.labelled:
        cut = channels[span_of(turn), order_of(dialog).index(turn.speaker)]
        write_wav(folder / f"{turn.name}.wav", cut[:, None])


def write_wav(path: Path, samples: Samples) -> None:
    """Write 16-bit PCM [shape=(samples, channels)] after a header of 44 bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
