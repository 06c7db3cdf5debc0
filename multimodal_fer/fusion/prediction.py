"""From evidence to answers: what voice and words express by themselves, and all modalities together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy
import torch

from multimodal_fer.fusion.bundle import Bundle
from multimodal_fer.fusion.late_attention import Evidence, log_of
from multimodal_fer.labels import MODALITIES, fold_scores, map_labels
from multimodal_fer.layers.output import Prediction, predictions_of
from multimodal_fer.layers.sequences import pad
from multimodal_fer.types import (
    SAMPLE_RATE,
    FaceTrack,
    Scores,
    Segment,
    Span,
    Waveform,
    Window,
    mean_scores,
    strongest,
)

VOICES_AT_ONCE = 8  # waveforms judged together
MIN_VOICE = 0.2  # seconds; less says nothing of how something is said


class JointPrediction(NamedTuple):
    """What all parts say together: scores over the bundle's labels, and how much each counted."""

    scores: Scores
    attention: Scores


class Predictor:
    """A bundle's voice, text and fusion parts on one device."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.bundle = bundle
        self.device = device
        for part in (bundle.voice, bundle.text and bundle.text.network, bundle.fusion):
            if part is not None:
                part.to(device)

    def voices(self, sounds: Iterable[tuple[int, Waveform]]) -> dict[int, Prediction]:
        """What the voice of each numbered waveform expresses; those too short are left out."""
        network = self.bundle.voice
        judged: dict[int, Prediction] = {}
        if network is None:
            return judged
        for batch in _batches(sounds, VOICES_AT_ONCE):
            padded_BN, lengths_B = pad([torch.from_numpy(waveform) for _, waveform in batch])
            with torch.inference_mode():
                output = network(padded_BN.to(self.device), lengths_B.to(self.device))
            rows = predictions_of(output, network.config)
            judged |= dict(zip((number for number, _ in batch), rows, strict=True))
        return judged

    def words(self, texts: Mapping[int, str]) -> dict[int, Prediction]:
        """What the words of each numbered text express; a text without a word is left out."""
        reader = self.bundle.text
        if reader is None:
            return {}
        readable = {
            number: text for number, text in texts.items() if reader.vocabulary.encode(text)
        }
        if not readable:
            return {}
        with torch.inference_mode():
            output = reader(list(readable.values()))
        return dict(zip(readable, predictions_of(output, reader.network.config), strict=True))

    def together(self, judged: Sequence[Mapping[str, Prediction]]) -> list[JointPrediction]:
        """Fuse each window's modalities; one alone counts fully, none gives no scores."""
        if self.bundle.fusion is None or not judged:
            return [mean_of(window, self.bundle.labels) for window in judged]
        fusion = self.bundle.fusion
        present_BM = torch.tensor(
            [[float(name in window) for name in fusion.modalities] for window in judged]
        )
        evidence = {name: self._evidence(name, judged) for name in fusion.modalities}
        with torch.inference_mode():
            scores_BK, attention_BM = fusion.predict(evidence, present_BM.to(self.device))
        return [
            self._joint(window, scores, attention)
            for window, scores, attention in zip(
                judged, scores_BK.tolist(), attention_BM.tolist(), strict=True
            )
        ]

    def segment(
        self,
        window: Window,
        track: FaceTrack | None,
        judged: Mapping[str, Prediction],
        joint: JointPrediction,
        coverage: Scores,
    ) -> Segment:
        """The answer for one window."""
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
                name: judged[name].scores if name in judged else None for name in MODALITIES
            },
            spoken=window.spoken,
        )

    def is_unsure(self, scores: Scores) -> bool:
        """Whether an answer's best score is under what the bundle calls sure."""
        return bool(scores) and max(scores.values()) < self.bundle.unsure_below

    def _evidence(self, name: str, judged: Sequence[Mapping[str, Prediction]]) -> Evidence:
        """Rows for all windows, zeros where the modality is absent."""
        assert self.bundle.fusion is not None
        config = self.bundle.fusion.config
        labels = config.part_labels[name]
        embedding = torch.zeros(len(judged), config.embeddings[name])
        scores = torch.zeros(len(judged), len(labels))
        for row, window in enumerate(judged):
            if name in window:
                embedding[row] = torch.from_numpy(window[name].embedding)
                scores[row] = torch.tensor([window[name].scores[label] for label in labels])
        return Evidence(embedding.to(self.device), log_of(scores).to(self.device))

    def _joint(
        self, window: Mapping[str, Prediction], scores: list[float], weights: list[float]
    ) -> JointPrediction:
        """Return the fused scores in the order of the bundle's labels."""
        assert self.bundle.fusion is not None
        if not window:
            return JointPrediction({}, {})
        attention: Scores = dict.fromkeys(MODALITIES, 0.0)
        attention.update(zip(self.bundle.fusion.modalities, weights, strict=True))
        by_name = dict(zip(self.bundle.fusion.config.labels, scores, strict=True))
        return JointPrediction({label: by_name[label] for label in self.bundle.labels}, attention)


def prediction_within(
    number: int, by_modality: Mapping[str, Mapping[int, Prediction]]
) -> dict[str, Prediction]:
    """What the modalities that have evidence say of one window."""
    return {name: judged[number] for name, judged in by_modality.items() if number in judged}


def face_prediction(track: FaceTrack, first: int, last: int) -> Prediction:
    """The pictures of one person in one window, taken together."""
    embeddings = numpy.stack(track.embeddings[first:last]).astype(numpy.float32)
    return Prediction(mean_scores(track.scores[first:last]), embeddings.mean(0))


def mean_of(window: Mapping[str, Prediction], labels: Sequence[str]) -> JointPrediction:
    """Without a fusion part: the mean of the scores of what is present."""
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

    A span's sound is given once its end is heard, so little more than a block and a span is held; spans
    may overlap.
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
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
