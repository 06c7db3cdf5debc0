"""The whole walk, from a recorded or written answer to what it expresses; a function a step."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from os import PathLike
from pathlib import Path
from threading import Event
from typing import Any, Self

from multimodal_fer.errors import MediaError, SpeechUnavailableError
from multimodal_fer.face.classification import FaceTracks, FrameClassifier, describe_absences
from multimodal_fer.fusion.bundle import Bundle, missing_parts
from multimodal_fer.fusion.coverage import measure_coverage, true_duration
from multimodal_fer.fusion.prediction import (
    Predictor,
    cut_sound,
    face_prediction,
    prediction_within,
)
from multimodal_fer.hub.loading import DEFAULT_BUNDLE, load_bundle
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.labels import MODALITIES
from multimodal_fer.layers.output import Prediction
from multimodal_fer.media.container import probe
from multimodal_fer.media.pictures import FRAME_RATE, iter_frames
from multimodal_fer.media.sound import iter_audio
from multimodal_fer.models.inference import for_inference
from multimodal_fer.speech.transcription import SpeechResult, listen
from multimodal_fer.speech.utterances import make_windows, voice_spans
from multimodal_fer.speech.whisper import Recogniser, load_recogniser
from multimodal_fer.text.vocabulary import LONGEST
from multimodal_fer.types import (
    Analysis,
    FaceTrack,
    Media,
    Segment,
    Transcript,
    Window,
    overall,
    strongest,
)
from multimodal_fer.utils.devices import choose_device

READABLE = 0.4  # share of a text's words that must be known to judge it
# Mean confidence of words under which they are not judged: what an English model makes of Polish speech is
# under it in 19 of 20 utterances, of English sentences none in 57.
CONFIDENT = 0.6
Progress = Callable[[str, float, float], None]  # stage, seconds done, seconds in all


class Analyzer:
    """Load the models once, then analyse many recordings.

    Parameters
    ----------
    bundle
        name or folder of the weights; the default came with the package
    speech_model
        "auto" (an installed model, never a download), "none", a Whisper name, folder or
        file; see `multimodal_fer.speech.whisper.load_recogniser`
    engine
        "faster-whisper", "openai-whisper" or None for the one that fits the model
    language
        spoken language as a code such as "en"; None detects it
    frame_rate
        pictures per second that are looked at
    face
        "largest", or the number of the person whose face counts where several are seen
    device
        "auto", "cpu" or "cuda"

    Raises
    ------
    WeightsError, SpeechError
        a model that does not exist, was altered or does not fit the request. A speech model that is
        merely not at hand is no error: every answer then says so in its warnings.
    """

    def __init__(
        self,
        bundle: str | PathLike[str] = DEFAULT_BUNDLE,
        *,
        speech_model: str | PathLike[str] = "auto",
        engine: str | None = None,
        language: str | None = None,
        frame_rate: float = FRAME_RATE,
        face: str | int = "largest",
        device: str = "auto",
    ) -> None:
        if not 0 < frame_rate <= 120:
            raise ValueError(f"frame_rate must be above 0 and at most 120, got {frame_rate}")
        if face != "largest" and not isinstance(face, int):
            raise ValueError(f"face must be 'largest' or a person's number, got {face!r}")
        self.bundle: Bundle = load_bundle(bundle)
        self.language = language
        self.frame_rate = frame_rate
        self.face = face
        self.device = choose_device(device)
        if self.bundle.face is not None:
            quick = for_inference(self.bundle.face).to(self.device)
            self.bundle = replace(self.bundle, face=quick)
        self.judge = Predictor(self.bundle, self.device)
        self.recogniser: Recogniser | None = None
        self.speech_note: str | None = None
        if str(speech_model) != "none":
            try:
                self.recogniser = load_recogniser(
                    speech_model, engine=engine, language=language, device=device
                )
            except SpeechUnavailableError as error:
                self.speech_note = f"no words were recognised: {error}"

    @classmethod
    def from_pretrained(
        cls, name: str | PathLike[str], revision: str | None = None, **settings: Any
    ) -> Self:
        """An analyzer with published weights: OWNER/NAME, fetched once, at a commit, branch or tag.

        Takes names and folders as well, and the other settings of `Analyzer`. Raises `HubError` too.
        """
        return cls(find_weights(name, revision), **settings)

    def analyze(self, path: str | PathLike[str], *, progress: Progress | None = None) -> Analysis:
        """Say what one recording expresses, second by second and utterance by utterance.

        `progress` is called with the stage ("listen" or "watch", which run side by side in two
        threads), the seconds done, and the seconds in all.

        Raises `MediaError` where the file is no recording or nothing in it can be decoded; a missing
        or damaged part of a recording is reported in `warnings`.
        """
        report = progress or _no_progress
        media = probe(path)
        heard, seen, warnings = self._listen_and_watch(media, report)
        duration = true_duration(media, heard, seen, warnings.append)
        windows = make_windows(duration, heard.spans, heard.words)
        segments = self._judge_all(media, windows, heard, seen, warnings.append)
        return self._answer(media, duration, heard, seen, segments, warnings)

    def analyze_text(self, text: str) -> Analysis:
        """Say what a written answer expresses. Time is unknown, so all times are zero."""
        warnings = missing_parts(self.bundle, ("text",))
        segments: tuple[Segment, ...] = ()
        if text.strip():
            window = Window(0.0, 0.0, spoken=False, text=text)
            judged = self._read([window], None, warnings.append)
            evidence = prediction_within(0, {"text": judged})
            joint = self.judge.together([evidence])[0]
            segments = (self.judge.segment(window, None, evidence, joint, {"text": 1.0}),)
        else:
            warnings.insert(0, "the text is empty: there is nothing to judge")
        scores = overall(segments)
        return Analysis(
            path=None,
            bundle=self.bundle.version,
            labels=self.bundle.labels,
            emotion=strongest(scores),
            unsure=self.judge.is_unsure(scores),
            scores=scores,
            segments=segments,
            warnings=tuple(warnings),
        )

    def analyze_text_file(self, path: str | PathLike[str]) -> Analysis:
        """Say what a written answer in a UTF-8 text file expresses."""
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise MediaError(f"{path}: no such file; check the spelling and the folder") from None
        except (OSError, UnicodeDecodeError) as error:
            raise MediaError(f"{path}: expected a text in UTF-8 ({error}); save it again") from None
        return replace(self.analyze_text(text), path=str(path))

    def _listen_and_watch(
        self, media: Media, report: Progress
    ) -> tuple[SpeechResult, FaceTracks, list[str]]:
        """Hear the sound beside watching the pictures: each leaves cores idle for part of its time."""
        stop = Event()
        of_sound: list[str] = []  # warnings are kept apart, so that their order is always the same
        of_pictures: list[str] = []
        with ThreadPoolExecutor(max_workers=1) as beside:
            listening = beside.submit(self._listen, media, report, of_sound.append, stop)
            try:
                seen = self._watch(media, report, of_pictures.append)
                return listening.result(), seen, of_sound + of_pictures
            finally:
                stop.set()  # after an error or Ctrl-C the rest of the sound is not worth hearing

    def _listen(
        self, media: Media, report: Progress, warn: Callable[[str], None], stop: Event
    ) -> SpeechResult:
        """Hear the sound once: where somebody speaks, and which words."""
        heard = SpeechResult(language=self.language)
        if not media.has_audio:
            warn("the recording has no sound")
            return heard
        blocks = iter_audio(media.path, warn=warn)
        for heard in listen(blocks, self.recogniser, self.language):
            report("listen", heard.duration, media.duration)
            if stop.is_set():
                return heard
        if heard.duration == 0:
            warn("the sound track holds nothing that can be decoded")
        elif not heard.spans:
            warn("no speech was found in this recording")
        elif self.speech_note:
            warn(self.speech_note)
        elif self.recogniser and not heard.words:
            warn("somebody speaks, but no words were recognised")
        return heard

    def _watch(self, media: Media, report: Progress, warn: Callable[[str], None]) -> FaceTracks:
        """Look at the pictures once: whose faces they show, and what each face expresses."""
        seen = FaceTracks()
        if not media.has_video:
            warn("the recording has no picture")
            return seen
        if self.bundle.face is None:
            return seen
        watcher = FrameClassifier(self.bundle.face, self.device)
        for frame in iter_frames(media.path, self.frame_rate, warn=warn):
            watcher.look(frame)
            report("watch", frame.time, media.duration)
        seen = watcher.finish(1 / self.frame_rate)
        if not seen.rows:
            warn("the video track holds no picture that can be decoded")
        for note in describe_absences(seen):
            warn(note)
        return seen

    def _judge_all(
        self,
        media: Media,
        windows: Sequence[Window],
        heard: SpeechResult,
        seen: FaceTracks,
        warn: Callable[[str], None],
    ) -> list[Segment]:
        """Gather what each modality says of each window, and fuse them."""
        voices: dict[int, Prediction] = {}
        if self.bundle.voice is not None and any(window.spoken for window in windows):
            # A second reading of the sound alone: the windows are not known before the words are.
            spans = voice_spans(windows, heard.duration)
            voices = self.judge.voices(cut_sound(iter_audio(media.path), spans))
        words = self._read(windows, heard.language, warn)
        chosen = [self._choose_face(window, seen) for window in windows]
        faces = {
            number: face_prediction(track, first, last)
            for number, (track, first, last) in enumerate(chosen)
            if track is not None
        }
        by_modality = {"face": faces, "voice": voices, "text": words}
        evidence = [prediction_within(number, by_modality) for number in range(len(windows))]
        spoken = heard.by_modality()
        segments = []
        for number, joint in enumerate(self.judge.together(evidence)):
            window, track = windows[number], chosen[number][0]
            coverage = measure_coverage(window.start, window.end, spoken, seen, track)
            if number not in words:
                coverage["text"] = 0.0
            segments.append(self.judge.segment(window, track, evidence[number], joint, coverage))
        return segments

    def _read(
        self, windows: Sequence[Window], language: str | None, warn: Callable[[str], None]
    ) -> dict[int, Prediction]:
        """Return what the words of each window express, if they are sure and in a language that is read."""
        reader = self.bundle.text
        if reader is None or not any(window.text for window in windows):
            return {}
        known = " or ".join(reader.network.config.languages)
        if language is not None and language not in reader.network.config.languages:
            warn(
                f"the words are not judged: their language is {language}, the bundle reads {known}"
            )
            return {}
        texts = sure_texts(windows, warn)
        if not texts:
            return {}
        share = reader.known_share(" ".join(texts.values()))
        if share < READABLE:
            warn(
                f"the words are not judged: {share:.0%} of them are known to the bundle, "
                f"which reads {known}"
            )
            return {}
        if any(reader.is_cut(text) for text in texts.values()):
            warn(f"only the first {LONGEST} words and marks of a long text are judged")
        return self.judge.words(texts)

    def _choose_face(self, window: Window, seen: FaceTracks) -> tuple[FaceTrack | None, int, int]:
        """The person whose face counts in a window, and which of that face's pictures lie in it."""
        shown = seen.between(window.start, window.end)
        best: tuple[float, FaceTrack | None, int, int] = (0.0, None, 0, 0)
        for track in seen.tracks if shown else ():
            if self.face not in ("largest", track.id):
                continue
            first = bisect_left(track.times, shown[0][0].time)
            last = bisect_right(track.times, shown[-1][0].time)
            area = sum((b[2] - b[0]) * (b[3] - b[1]) for b in track.boxes[first:last])
            if area > best[0]:
                best = (area, track, first, last)
        return best[1:]

    def _answer(
        self,
        media: Media,
        duration: float,
        heard: SpeechResult,
        seen: FaceTracks,
        segments: Sequence[Segment],
        warnings: list[str],
    ) -> Analysis:
        coverage = measure_coverage(0.0, duration, heard.by_modality(), seen)
        present = [name for name in MODALITIES if coverage[name] > 0]
        warnings += missing_parts(self.bundle, present)
        read = sum(segment.seconds * segment.coverage["text"] for segment in segments)
        coverage["text"] = min(
            1.0, read / max(duration, 1e-6)
        )  # words that were not judged do not count
        scores = overall(segments)
        if not scores:
            warnings.append("nothing in this recording could be judged, so no emotion is given")
        transcript = None
        if self.recogniser is not None and media.has_audio:
            transcript = Transcript(heard.language, self.recogniser.name, tuple(heard.words))
        return Analysis(
            path=media.path,
            duration=duration,
            bundle=self.bundle.version,
            labels=self.bundle.labels,
            face_labels=self.bundle.face.config.labels if self.bundle.face else (),
            emotion=strongest(scores),
            unsure=self.judge.is_unsure(scores),
            scores=scores,
            coverage=coverage,
            segments=tuple(segments),
            faces=tuple(seen.tracks),
            frames=tuple(seen.rows),
            transcript=transcript,
            warnings=tuple(dict.fromkeys(warnings)),
        )


def sure_texts(windows: Sequence[Window], warn: Callable[[str], None]) -> dict[int, str]:
    """Return the text of each window whose words the recogniser was sure of; written words always are.

    A model that knows English only makes English sentences of any language: the confidence of its words
    is the one sign of it.
    """
    texts = {number: window.text for number, window in enumerate(windows) if window.text}
    confidences = {number: windows[number].confidence for number in texts}
    known = {number: value for number, value in confidences.items() if value is not None}
    if not known:
        return texts
    lengths = {number: windows[number].end - windows[number].start for number in known}
    total = sum(lengths.values()) or 1.0
    mean = sum(known[number] * lengths[number] for number in known) / total
    if mean < CONFIDENT:
        warn(
            f"the words are not judged: the speech model was not sure of them (mean confidence {mean:.2f}, "
            f"at least {CONFIDENT} is needed); is it another language than the model knows, or noisy?"
        )
        return {}
    unsure = [number for number, value in known.items() if value < CONFIDENT]
    if unsure:
        warn(
            f"the words of {len(unsure)} of {len(known)} utterances are not judged: the speech model was "
            "not sure of them"
        )
    return {number: text for number, text in texts.items() if number not in unsure}


def _no_progress(stage: str, done: float, total: float) -> None:
    pass


def analyze(path: str | PathLike[str], **settings: object) -> Analysis:
    """Analyse one recording; for several, make an `Analyzer` once and reuse it.

    Takes the settings of `Analyzer`.
    """
    return Analyzer(**settings).analyze(path)  # type: ignore[arg-type]


def analyze_text(text: str, **settings: object) -> Analysis:
    """Analyse one written answer. Takes the settings of `Analyzer`."""
    return Analyzer(**{"speech_model": "none", **settings}).analyze_text(text)  # type: ignore[arg-type]
