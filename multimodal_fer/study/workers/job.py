"""What one worker does: it loads the models once and turns files into answers. Light to import."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from multimodal_fer.errors import MultimodalFerError, SpeechUnavailableError
from multimodal_fer.utils.process_pool import PoolError, take_share


@dataclass(frozen=True)
class Setup:
    """What every worker of a study is told: where the sessions lie, and the settings of `Analyzer`."""

    folder: str
    bundle: str
    speech_model: str = "auto"
    engine: str | None = None
    language: str | None = None
    frame_rate: float = 5.0
    face: str | int = "largest"
    device: str = "auto"
    videos: str | None = None  # a folder for annotated videos; None makes none


class Reply(NamedTuple):
    """The answer for one file as plain values, or why there is none."""

    file: str
    record: dict[str, Any] | None
    error: str | None
    notes: tuple[str, ...] = ()


class Pool(Protocol):
    """Where files are worked off: gives a reply to each, in any order.

    Raises `MultimodalFerError` where no worker can be started; a worker's death costs its file alone.
    """

    def __call__(self, files: Sequence[str], setup: Setup, workers: int) -> Iterator[Reply]: ...


class Worker:
    """The models of one process, and what it does with a file."""

    def __init__(self, setup: Setup) -> None:
        from multimodal_fer.analyzer import Analyzer

        self.setup = setup
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
            # One recording goes on without words; a study would mix sessions with and without them.
            raise SpeechUnavailableError(self.analyzer.speech_note or "no speech model")

    def answer(self, file: str) -> Reply:
        """Analyse one file; whatever is wrong with it becomes a sentence."""
        path = Path(self.setup.folder, file)
        try:
            if path.suffix.lower() == ".txt":
                return Reply(
                    file, self._answered(self.analyzer.analyze_text_file(path), file), None
                )
            analysis = self.analyzer.analyze(path)
            notes = self._draw(analysis, path, file)
            return Reply(file, self._answered(analysis, file), None, notes)
        except MultimodalFerError as error:
            # The sentence names the file by its whole path; results must not depend on where it lay.
            return Reply(file, None, str(error).removeprefix(f"{path}: "))
        except Exception as error:  # one file must never end the study
            return Reply(
                file, None, f"unexpected {type(error).__name__}: {error}; please report it"
            )

    def _answered(self, analysis: Any, file: str) -> dict[str, Any]:
        return replace(analysis, path=file).to_dict()

    def _draw(self, analysis: Any, path: Path, file: str) -> tuple[str, ...]:
        if self.setup.videos is None or not analysis.frames:
            return ()
        from multimodal_fer.media.drawing import write_video

        return write_video(analysis, path, video_of(self.setup.videos, file))


def video_of(videos: str | os.PathLike[str], file: str) -> Path:
    """Where the annotated video of a session lies."""
    return Path(videos, f"{file}.mp4")


def share_cores(slot: int, workers: int) -> None:
    """Give this process its share of the cores, before any library starts threads."""
    cores = take_share(slot, workers)
    import cv2
    import torch

    cv2.setNumThreads(cores)
    torch.set_num_threads(cores)
