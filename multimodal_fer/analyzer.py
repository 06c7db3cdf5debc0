"""Analyse recordings and written answers: decode, find speech and faces, predict, fuse."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from os import PathLike
from pathlib import Path
from threading import Event
from typing import Any, Self

from multimodal_fer.errors import MediaError, SpeechUnavailableError
from multimodal_fer.face.classification import FaceTracks, FrameClassifier, describe_absences
from multimodal_fer.fusion.bundle import Bundle, missing_parts
from multimodal_fer.fusion.coverage import measure_coverage
from multimodal_fer.fusion.prediction import (
    Predictor,
    confidence_of,
    cut_sound,
    face_prediction,
)
from multimodal_fer.hub.loading import DEFAULT_BUNDLE, load_bundle
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.labels import MODALITIES
from multimodal_fer.layers.output import Prediction
from multimodal_fer.media.clock import true_duration
from multimodal_fer.media.container import probe
from multimodal_fer.media.frames import FRAME_RATE, iter_frames
from multimodal_fer.media.sound import iter_audio
from multimodal_fer.models.inference import for_inference
from multimodal_fer.speech.transcription import SpeechResult, transcribe
from multimodal_fer.speech.utterances import make_windows, voice_spans
from multimodal_fer.speech.whisper import Recogniser, load_recogniser
from multimodal_fer.text.selection import select_texts
from multimodal_fer.types import Analysis, Media, Segment, Transcript, Window, overall, strongest
from multimodal_fer.utils.devices import choose_device
from multimodal_fer.utils.files import printable

SLOWEST, FASTEST = 0.1, 120  # frames per second that are analysed
SHORTEST = 0.02  # seconds for which a frame is shown
Progress = Callable[[str, float, float], None]  # stage, seconds done, seconds in all
Warn = Callable[[str], None]


class Analyzer:
    """Load the models once, then analyse many recordings.

    Parameters
    ----------
    bundle
        name or folder of the weights; the default one is part of the package
    speech_model
        "auto" (an installed model, never a download), "none", a Whisper name, folder or
        file; see `multimodal_fer.speech.whisper.load_recogniser`
    engine
        "faster-whisper", "openai-whisper" or None for the one that fits the model
    language
        spoken language as a code such as "en"; None detects it
    frame_rate
        frames per second that are analysed
    face
        "largest", or the number of the person to analyse if several are visible
    device
        "auto", "cpu" or "cuda"

    Raises
    ------
    WeightsError, SpeechError
        a model does not exist, was altered or does not fit the request. If a speech model is merely not
        installed, no error is raised: every analysis has a warning instead.
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
        if not SLOWEST <= frame_rate <= FASTEST:
            raise ValueError(f"frame_rate must be {SLOWEST} to {FASTEST}, got {frame_rate}")
        if face != "largest" and not isinstance(face, int):
            raise ValueError(f"face must be 'largest' or a person's number, got {face!r}")
        self.bundle: Bundle = load_bundle(bundle)
        self.language = language
        self.frame_rate = frame_rate
        self.face = face
        self.device = choose_device(device)
        if self.bundle.face is not None:
            network = for_inference(self.bundle.face).to(self.device)
            self.bundle = replace(self.bundle, face=network)
        self.predictor = Predictor(self.bundle, self.device)
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
        """Return an analyzer with published weights.

        `name` is OWNER/NAME on a model hub, downloaded once, at the commit, branch or tag `revision`; or
        a name or folder as for `Analyzer`, whose other settings are taken too. Also raises `HubError`.
        """
        return cls(find_weights(name, revision), **settings)

    def analyze(self, path: str | PathLike[str], *, progress: Progress | None = None) -> Analysis:
        """Analyse the emotions that a recording expresses in each of its utterances and pauses.

        `progress` is called with the stage ("listen" or "watch", which run in parallel threads), the
        seconds done, and the seconds in all.

        Raises `MediaError` if the file is no recording or nothing in it can be decoded. Missing and
        damaged parts of a recording are reported in `warnings`.
        """
        report = progress or (lambda stage, done, total: None)
        media = probe(path)
        speech, faces, warnings = self._read_streams(media, report)
        duration = true_duration(media, speech.duration, faces.end, warnings.append)
        windows = make_windows(duration, speech.spans, speech.words)
        segments = self._predict(media, windows, speech, faces, warnings.append)
        coverage = measure_coverage(0.0, duration, speech.by_modality(), faces)
        warnings += missing_parts(self.bundle, [name for name in MODALITIES if coverage[name] > 0])
        # Of the words, only those count that were analysed.
        analysed = sum(segment.seconds * segment.coverage["text"] for segment in segments)
        coverage["text"] = min(1.0, analysed / max(duration, 1e-6))
        if not any(segment.scores for segment in segments):
            warnings.append("nothing in this recording could be analysed, so no emotion is given")
        transcript = None
        if self.recogniser is not None and media.has_audio:
            transcript = Transcript(speech.language, self.recogniser.name, tuple(speech.words))
        return self._analysis(
            segments,
            warnings,
            path=printable(media.path),
            duration=duration,
            face_labels=self.bundle.part_labels.get("face", ()),
            coverage=coverage,
            faces=tuple(faces.tracks),
            frames=tuple(faces.rows),
            transcript=transcript,
        )

    def analyze_text(self, text: str) -> Analysis:
        """Analyse the emotions that a written answer expresses. All times are zero."""
        warnings = missing_parts(self.bundle, ("text",))
        segments = []
        if text.strip():
            window = Window(0.0, 0.0, spoken=False, text=text)
            words = self._predict_words([window], None, warnings.append)
            evidence = {"text": words[0]} if words else {}
            joint = self.predictor.fuse([evidence])[0]
            segments = [self.predictor.segment(window, None, evidence, joint, {"text": 1.0})]
        else:
            warnings.insert(0, "the text is empty")
        return self._analysis(segments, warnings, path=None)

    def analyze_text_file(self, path: str | PathLike[str]) -> Analysis:
        """Analyse the emotions that a written answer in a UTF-8 text file expresses."""
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            name = printable(path)
            raise MediaError(f"{name}: no such file; check the spelling and the folder") from None
        except (OSError, UnicodeDecodeError) as error:
            raise MediaError(
                f"{printable(path)}: expected a text file in UTF-8 ({error}); save it again as UTF-8"
            ) from None
        return replace(self.analyze_text(text), path=printable(path))

    def _read_streams(
        self, media: Media, report: Progress
    ) -> tuple[SpeechResult, FaceTracks, list[str]]:
        """Find speech and faces in two threads: each alone leaves cores idle for part of the time."""
        stop = Event()
        sound_warnings: list[str] = []  # kept apart, so that their order never changes
        frame_warnings: list[str] = []
        with ThreadPoolExecutor(max_workers=1) as pool:
            listening = pool.submit(self._find_speech, media, report, sound_warnings.append, stop)
            try:
                faces = self._find_faces(media, report, frame_warnings.append)
                return listening.result(), faces, sound_warnings + frame_warnings
            finally:
                stop.set()  # after an error or Ctrl-C the rest of the sound is not needed

    def _find_speech(self, media: Media, report: Progress, warn: Warn, stop: Event) -> SpeechResult:
        speech = SpeechResult(language=self.language)
        if not media.has_audio:
            warn("the recording has no sound")
            return speech
        with closing(iter_audio(media.path, warn=warn)) as blocks:
            for speech in transcribe(blocks, self.recogniser, self.language):
                report("listen", speech.duration, media.duration)
                if stop.is_set():
                    return speech
        if speech.duration == 0:
            warn("nothing in the sound track can be decoded")
        elif not speech.spans:
            warn("no speech was found in this recording")
        elif self.speech_note:
            warn(self.speech_note)
        elif self.recogniser and not speech.words:
            warn("speech was found, but no words were recognised")
        return speech

    def _find_faces(self, media: Media, report: Progress, warn: Warn) -> FaceTracks:
        faces = FaceTracks()
        if not media.has_video:
            warn("the recording has no video")
            return faces
        if self.bundle.face is None:
            return faces
        classifier = FrameClassifier(self.bundle.face, self.device)
        last, ends = 0.0, [0.0]
        frames = iter_frames(media.path, self.frame_rate, warn=warn, ended=ends.append)
        with closing(frames):  # the decoder's threads end here, also after an error or Ctrl+C
            for frame in frames:
                classifier.add(frame)
                last = frame.time
                report("watch", last, media.duration)
        # The last sampled frame is shown until the next sampling time or the end of the video.
        faces = classifier.finish(min(1 / self.frame_rate, max(ends[-1] - last, SHORTEST)))
        if not faces.rows:
            warn("no frame of the video track can be decoded")
        numbers = [track.id for track in faces.tracks]
        if numbers and self.face != "largest" and self.face not in numbers:
            known = ", ".join(map(str, numbers))
            warn(f"there is no face number {self.face} in this recording; it has {known}")
        for note in describe_absences(faces):
            warn(note)
        return faces

    def _predict(
        self,
        media: Media,
        windows: Sequence[Window],
        speech: SpeechResult,
        faces: FaceTracks,
        warn: Warn,
    ) -> list[Segment]:
        """Predict each window from each modality, and fuse the predictions."""
        voices: dict[int, Prediction] = {}
        if self.bundle.voice is not None and any(window.spoken for window in windows):
            # The windows depend on the words, so the sound has to be decoded a second time.
            spans = voice_spans(windows, speech.duration)
            again = iter_audio(media.path, warn=lambda _: None)  # it was warned of before
            voices = self.predictor.predict_voices(cut_sound(again, spans))
        words = self._predict_words(windows, speech.language, warn)
        spoken = speech.by_modality()
        evidence: list[dict[str, Prediction]] = []
        tracks, coverages = [], []
        for number, window in enumerate(windows):
            part = faces.choose(window.start, window.end, self.face)
            track = part.track if part else None
            coverage = measure_coverage(window.start, window.end, spoken, faces, track)
            if number not in words:
                coverage["text"] = 0.0
            face = face_prediction(*part, coverage["face"]) if part else None
            found = {"face": face, "voice": voices.get(number), "text": words.get(number)}
            evidence.append({name: value for name, value in found.items() if value is not None})
            tracks.append(track)
            coverages.append(coverage)
        joint = self.predictor.fuse(evidence)
        rows = zip(windows, tracks, evidence, joint, coverages, strict=True)
        return [self.predictor.segment(*row) for row in rows]

    def _predict_words(
        self, windows: Sequence[Window], language: str | None, warn: Warn
    ) -> dict[int, Prediction]:
        if self.bundle.text is None:
            return {}
        texts = select_texts(self.bundle.text, windows, language, warn)
        return {
            number: words._replace(quality=confidence_of(windows[number]))
            for number, words in self.predictor.predict_texts(texts).items()
        }

    def _analysis(
        self, segments: Sequence[Segment], warnings: Sequence[str], **fields: Any
    ) -> Analysis:
        scores = overall(segments)
        return Analysis(
            bundle=self.bundle.version,
            labels=self.bundle.labels,
            emotion=strongest(scores),
            unsure=self.predictor.is_unsure(scores),
            scores=scores,
            segments=tuple(segments),
            warnings=tuple(dict.fromkeys(warnings)),
            **fields,
        )


def analyze(path: str | PathLike[str], **settings: object) -> Analysis:
    """Analyse one recording with the settings of `Analyzer`.

    To analyse several, make one `Analyzer` and reuse it.
    """
    return Analyzer(**settings).analyze(path)  # type: ignore[arg-type]


def analyze_text(text: str, **settings: object) -> Analysis:
    """Analyse one written answer with the settings of `Analyzer`."""
    return Analyzer(**{"speech_model": "none", **settings}).analyze_text(text)  # type: ignore[arg-type]
