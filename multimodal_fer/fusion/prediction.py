"""Predict emotions from voice and words, and fuse the predictions of all modalities."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy
import torch

from multimodal_fer.fusion.bundle import Bundle
from multimodal_fer.fusion.late_attention import Evidence, LateAttention, log_of
from multimodal_fer.labels import MODALITIES, fold_scores, map_labels, mean_scores
from multimodal_fer.layers.output import Output, Prediction, predictions_of
from multimodal_fer.layers.sequences import pad
from multimodal_fer.media.quality import voice_quality
from multimodal_fer.types import (
    SAMPLE_RATE,
    FaceTrack,
    Scores,
    Segment,
    Span,
    Waveform,
    Window,
    strongest,
)
from multimodal_fer.voice.reference import LEAST_UTTERANCES, reference_of
from multimodal_fer.voice.whisper_encoder import WhisperVoice

VOICES_AT_ONCE = 8  # waveforms classified together
MIN_VOICE = 0.2  # seconds; shorter sound carries no emotion
ENOUGH_COVERAGE = 0.5  # share of a window in which a face is visible, for its full quality


class JointPrediction(NamedTuple):
    """Fused scores over the bundle's labels, and the attention to each modality."""

    scores: Scores
    attention: Scores


class Predictor:
    """The voice, text and fusion networks of a bundle on one device."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.bundle = bundle
        self.device = device
        for part in (bundle.voice, bundle.text and bundle.text.network, bundle.fusion):
            if part is not None:
                part.to(device)

    def predict_voices(self, sounds: Iterable[tuple[int, Waveform]]) -> dict[int, Prediction]:
        """Return the prediction for each numbered waveform; empty without a voice network.

        The waveforms are of one recording. If there are enough of them, a network that can do so judges
        each against the mean of all, as voices differ more from each other than emotions do.
        """
        network = self.bundle.voice
        if network is None:
            return {}
        quality: dict[int, float] = {}
        predictions: list[Prediction] = []
        described: list[torch.Tensor] = []
        for batch in _batches(sounds, VOICES_AT_ONCE):
            quality |= {number: voice_quality(waveform) for number, waveform in batch}
            padded_BN, lengths_B = pad([torch.from_numpy(waveform) for _, waveform in batch])
            sound = padded_BN.to(self.device), lengths_B.to(self.device)
            with torch.inference_mode():
                if isinstance(network, WhisperVoice):
                    described.append(network.describe(network.extract_features(*sound)))
                else:
                    predictions += predictions_of(network(*sound), network.config)
        if isinstance(network, WhisperVoice) and described:
            with torch.inference_mode():
                output = judge_person(network, torch.cat(described))
            predictions = predictions_of(output, network.config)
        rows = zip(quality.items(), predictions, strict=True)
        return {number: row._replace(quality=clarity) for (number, clarity), row in rows}

    def predict_texts(self, texts: Mapping[int, str]) -> dict[int, Prediction]:
        """Return the prediction for each numbered text that has words."""
        reader = self.bundle.text
        found = reader.predict(list(texts.values())) if reader else [None] * len(texts)
        pairs = zip(texts, found, strict=True)
        return {number: prediction for number, prediction in pairs if prediction is not None}

    def fuse(self, windows: Sequence[Mapping[str, Prediction]]) -> list[JointPrediction]:
        """Fuse the predictions of each window, by modality; a window without any gets no scores."""
        fusion = self.bundle.fusion
        if fusion is None or not windows:
            return [mean_of(window, self.bundle.labels) for window in windows]
        present_BM = torch.tensor(
            [[float(name in window) for name in fusion.modalities] for window in windows]
        )
        evidence = {name: self._evidence(fusion, name, windows) for name in fusion.modalities}
        with torch.inference_mode():
            scores_BK, attention_BM = fusion.predict(evidence, present_BM.to(self.device))
        joint = []
        for window, scores, weights in zip(
            windows, scores_BK.tolist(), attention_BM.tolist(), strict=True
        ):
            by_label = dict(zip(fusion.config.labels, scores, strict=True))
            attention = dict.fromkeys(MODALITIES, 0.0)
            attention |= dict(zip(fusion.modalities, weights, strict=True))
            ordered = {label: by_label[label] for label in self.bundle.labels}
            joint.append(JointPrediction(ordered, attention) if window else JointPrediction({}, {}))
        return joint

    def segment(
        self,
        window: Window,
        track: FaceTrack | None,
        evidence: Mapping[str, Prediction],
        joint: JointPrediction,
        coverage: Scores,
    ) -> Segment:
        """Return the segment of one window."""
        words = evidence.get("text")
        return Segment(
            start=window.start,
            end=window.end,
            text=window.text,
            face_id=None if track is None else track.id,
            emotion=strongest(joint.scores),
            unsure=self.is_unsure(joint.scores),
            scores=joint.scores,
            attention=joint.attention,
            coverage=coverage,
            by_modality={
                name: evidence[name].scores if name in evidence else None for name in MODALITIES
            },
            spoken=window.spoken,
            fine=(words and words.fine) or {},
            text_valence=words and words.valence,
        )

    def is_unsure(self, scores: Scores) -> bool:
        """Return true if the best score is below the bundle's threshold."""
        return bool(scores) and max(scores.values()) < self.bundle.unsure_below

    def _evidence(
        self, fusion: LateAttention, name: str, windows: Sequence[Mapping[str, Prediction]]
    ) -> Evidence:
        """Return one row for each window, zeros if the modality is absent."""
        labels = fusion.config.part_labels[name]
        scores = torch.zeros(len(windows), len(labels))
        quality = torch.zeros(len(windows))
        for row, window in enumerate(windows):
            if name in window:
                quality[row] = window[name].quality
                scores[row] = torch.tensor([window[name].scores[label] for label in labels])
        return Evidence(log_of(scores).to(self.device), quality.to(self.device))


def judge_person(network: WhisperVoice, moments_UF: torch.Tensor) -> Output:
    """Judge all utterances of one person, against each other if there are enough of them."""
    output = network.judge(moments_UF)
    if len(moments_UF) < LEAST_UTTERANCES:
        return output
    scores_UK = (output.logits / network.config.temperature).softmax(1)
    return network.judge(moments_UF, reference_of(moments_UF, scores_UK))


def face_prediction(track: FaceTrack, first: int, last: int, coverage: float = 1.0) -> Prediction:
    """Return the mean prediction over the rows `first` to `last` of a track, `last` excluded.

    Its quality is the mean sharpness, less if the face is visible in under `ENOUGH_COVERAGE` of the window.
    """
    sharpness = sum(track.quality[first:last]) / (last - first)
    seen = min(1.0, coverage / ENOUGH_COVERAGE)
    return Prediction(mean_scores(track.scores[first:last]), sharpness * seen)


def confidence_of(window: Window) -> float:
    """Return the quality of a window's words: the recogniser's confidence, 1 for written words."""
    return 1.0 if window.confidence is None else window.confidence


def mean_of(window: Mapping[str, Prediction], labels: Sequence[str]) -> JointPrediction:
    """Return the mean scores of the present modalities, for a bundle without a fusion network."""
    if not window:
        return JointPrediction({}, {})
    folded = [
        fold_scores(part.scores, labels, map_labels(tuple(part.scores), labels))
        for part in window.values()
    ]
    attention = {name: 1 / len(window) if name in window else 0.0 for name in MODALITIES}
    return JointPrediction(mean_scores(folded), attention)


def cut_sound(
    blocks: Iterable[tuple[float, Waveform]], spans: Mapping[int, Span]
) -> Iterator[tuple[int, Waveform]]:
    """Yield the sound of each numbered span, in seconds and in time order, from a stream of blocks.

    Spans may overlap, and those shorter than `MIN_VOICE` are left out. A span is yielded as soon as the
    stream reaches its end, so little more than a block and a span is held in memory.
    """
    waiting = list(spans.items())
    held, offset = numpy.zeros(0, numpy.float32), 0.0
    for start, block in blocks:
        held = numpy.concatenate([held, block])
        reached = start + len(block) / SAMPLE_RATE
        while waiting and waiting[0][1][1] <= reached:
            yield from _cut(waiting.pop(0), held, offset)
        kept_from = min(waiting[0][1][0], reached) if waiting else reached
        held = held[max(0, round((kept_from - offset) * SAMPLE_RATE)) :]
        offset = reached - len(held) / SAMPLE_RATE
    for rest in waiting:
        yield from _cut(rest, held, offset)


def _cut(
    numbered: tuple[int, Span], held: Waveform, offset: float
) -> Iterator[tuple[int, Waveform]]:
    number, span = numbered
    first, last = (round((time - offset) * SAMPLE_RATE) for time in span)
    waveform = held[max(first, 0) : max(last, 0)]
    if len(waveform) >= MIN_VOICE * SAMPLE_RATE:
        yield number, waveform


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
