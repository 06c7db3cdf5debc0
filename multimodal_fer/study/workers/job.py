"""Define a worker of a study, which loads the models once and analyses files; light to import."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from multimodal_fer.errors import MultimodalFerError, SpeechUnavailableError
from multimodal_fer.utils.files import printable
from multimodal_fer.utils.process_pool import PoolError, take_share


@dataclass(frozen=True)
class Setup:
    """The settings of every worker: the folder of the sessions, and the settings of `Analyzer`."""

    folder: str
    bundle: str
    speech_model: str = "auto"
    engine: str | None = None
    language: str | None = None
    frame_rate: float = 5.0
    face: str | int = "largest"
    device: str = "auto"
    answers: str | None = None  # with `videos`: the folder of the finished answers
    time_limit: float | None = None  # seconds for one file, of local processes
    videos: str | None = (
        None  # if set, answers are drawn into videos in this folder; nothing is analysed
    )


class Reply(NamedTuple):
    """The answer for one file as plain values, or the error as a sentence."""

    file: str
    record: dict[str, Any] | None
    error: str | None
    notes: tuple[str, ...] = ()


class Pool(Protocol):
    """A function that yields a reply for each file, in any order.

    It raises `MultimodalFerError` if no worker can be started. If a worker dies, only its file fails.
    """

    def __call__(self, files: Sequence[str], setup: Setup, workers: int) -> Iterator[Reply]: ...


class Worker:
    """The models of one process."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        if setup.videos is not None:
            return
        from multimodal_fer.analyzer import Analyzer

        try:
            self.analyzer = Analyzer(
                setup.bundle,
                speech_model=setup.speech_model,
                engine=setup.engine,
                language=setup.language,
                frame_rate=setup.frame_rate,
                face=setup.face,
                device=setup.device,
            )
        except ValueError as error:
            raise PoolError(str(error)) from None
        if self.analyzer.recogniser is None and setup.speech_model not in ("auto", "none"):
            # A study must not mix sessions with and without recognised words.
            raise SpeechUnavailableError(self.analyzer.speech_note or "no speech model")

    def answer(self, file: str) -> Reply:
        """Analyse one file, or draw its answer; an error becomes a sentence in the reply."""
        path = Path(self.setup.folder, file)
        try:
            if self.setup.videos is not None:
                return Reply(file, None, None, self._draw(path, file))
            if path.suffix.lower() == ".txt":
                analysis = self.analyzer.analyze_text_file(path)
            else:
                analysis = self.analyzer.analyze(path)
            return Reply(file, replace(analysis, path=printable(file)).to_dict(), None)
        except MultimodalFerError as error:
            # Results must not depend on the folder, so the path is cut from the sentence.
            return Reply(file, None, str(error).removeprefix(f"{printable(path)}: "))
        except MemoryError:
            return Reply(file, None, "there is not enough memory for this file; try fewer workers")
        except Exception as error:  # one file must not stop the study
            reason = f"unexpected {type(error).__name__}: {error}; please report it"
            return Reply(file, None, reason)

    def _draw(self, path: Path, file: str) -> tuple[str, ...]:
        from multimodal_fer.media.drawing import write_video
        from multimodal_fer.types import Analysis

        answer = Path(self.setup.answers or "", f"{file}.json").read_text(encoding="utf-8")
        analysis = Analysis.from_dict(json.loads(answer))
        return write_video(analysis, path, video_of(self.setup.videos or "", file))


def video_of(videos: str | os.PathLike[str], file: str) -> Path:
    """Return the path of a session's annotated video."""
    return Path(videos, f"{file}.mp4")


def share_cores(slot: int, workers: int) -> None:
    """Limit this process to its share of the cores, before any library starts threads."""
    cores = take_share(slot, workers)
    import cv2
    import torch

    cv2.setNumThreads(cores)
    torch.set_num_threads(cores)
