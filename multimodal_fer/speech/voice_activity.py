"""Detect speech with Silero's voice activity detector."""

from multimodal_fer.types import SAMPLE_RATE, Span, Waveform

MIN_SPEECH = 0.25  # seconds; shorter sounds are mostly coughs and clicks
MIN_PAUSE = 0.5  # seconds of quiet that separate two spans
PADDING = 0.2  # seconds kept around each span, so that soft first and last sounds are included
MAX_SPAN = 28.0  # seconds; with padding it fits into the 30 s that Whisper processes at once


def find_speech(waveform: Waveform) -> list[Span]:
    """Return the speech spans of a mono 16 kHz waveform as (start, end) in seconds."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    if len(waveform) == 0:
        return []
    options = VadOptions(
        min_speech_duration_ms=int(1000 * MIN_SPEECH),
        min_silence_duration_ms=int(1000 * MIN_PAUSE),
        speech_pad_ms=int(1000 * PADDING),
        max_speech_duration_s=MAX_SPAN,
    )
    found = get_speech_timestamps(waveform, options)
    return [(span["start"] / SAMPLE_RATE, span["end"] / SAMPLE_RATE) for span in found]
