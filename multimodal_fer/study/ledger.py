"""Keep track of a study's finished answers on disk.

An answer is finished if the entry beside it names the same file content, settings, bundle and package
version, and the answer's own hash. Both are written whole or not at all, so a run may end at any time.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multimodal_fer import __version__
from multimodal_fer.errors import MediaError, OutputError
from multimodal_fer.report.writers import record_json
from multimodal_fer.study.sessions import Session
from multimodal_fer.study.workers.job import Setup, video_of
from multimodal_fer.types import Analysis
from multimodal_fer.utils.files import file_hash, write_json, write_text

SESSIONS, VIDEOS, FINISHED = "sessions", "videos", ".finished"


class Ledger:
    """The finished answers in a results folder.

    Parameters
    ----------
    results : the folder
    setup : the settings of the workers
    bundle, speech : hashes or names that identify the bundle and the speech model
    """

    def __init__(self, results: Path, setup: Setup, bundle: str, speech: str) -> None:
        self.results, self.setup = results, setup
        text = {"package": __version__, "bundle": bundle}
        media = {
            "speech": speech,
            "engine": setup.engine,
            "language": setup.language,
            "frame_rate": setup.frame_rate,
            "face": setup.face,
        }
        self.settings = {"text": text, "audio": text | media, "video": text | media}

    def key(self, session: Session) -> str:
        """Return a hash of all that an answer depends on; raise `MediaError` if the file is unreadable."""
        path = self.recording(session.file)
        try:
            content = file_hash(path)
        except OSError as error:
            raise MediaError(f"{path}: cannot be read ({error.strerror})") from None
        about = {"content": content, **self.settings[session.kind]}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def about(self) -> dict[str, str]:
        """Return the settings for the index page."""
        named = {**self.settings["video"], "bundle": Path(self.setup.bundle).name}
        del named["package"]
        return {
            key.replace("_", " "): str(value) for key, value in named.items() if value is not None
        }

    def is_finished(self, session: Session, key: str) -> bool:
        """Return true if the answer on disk has this key."""
        try:
            entry = json.loads(self._entry(session.file).read_text(encoding="utf-8"))
            return entry["key"] == key and entry["answer"] == file_hash(self.answer(session.file))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def is_drawn(self, file: str) -> bool:
        """Return true if there is nothing to draw, or a video that shows the answer on disk."""
        try:
            entry = json.loads(self._entry(file).read_text(encoding="utf-8"))
            if not entry["pictures"]:
                return True
            drawn = self._video_entry(file).read_text(encoding="utf-8")
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return drawn == entry["answer"] and self.video(file).exists()

    def drawn(self, file: str) -> None:
        """Note that the video shows the answer on disk."""
        write_text(self._video_entry(file), file_hash(self.answer(file)))

    def finish(self, file: str, key: str, record: dict[str, Any]) -> None:
        """Write an answer and its entry; raise `OutputError` if they cannot be written."""
        path, entry = self.answer(file), self._entry(file)
        pictures = bool(record["frames"]["times"])
        try:
            self.video(file).unlink(missing_ok=True)  # it shows an older answer
            for place in (path, entry):
                place.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, record_json(record))
            write_json(entry, {"key": key, "answer": file_hash(path), "pictures": pictures})
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from None

    def load(self, file: str) -> Analysis:
        """Read a finished answer."""
        return Analysis.from_dict(json.loads(self.answer(file).read_text(encoding="utf-8")))

    def answer(self, file: str) -> Path:
        return self.results / SESSIONS / f"{file}.json"

    def report(self, file: str) -> Path:
        return self.results / SESSIONS / f"{file}.html"

    def video(self, file: str) -> Path:
        return video_of(self.results / VIDEOS, file)

    def recording(self, file: str) -> Path:
        return Path(self.setup.folder, file)

    def left_over(self, files: set[str]) -> list[str]:
        """Return the sessions with a finished answer whose file is not among `files`."""
        folder = self.results / FINISHED
        known = (path.relative_to(folder).as_posix() for path in folder.rglob("*.json"))
        return sorted({name.removesuffix(".json") for name in known} - files)

    def is_reported(self, file: str, *inputs: Any) -> bool:
        """Return true if the report on disk was made from this answer and these inputs."""
        try:
            digest = self._report_entry(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return False
        return self.report(file).exists() and digest == self._report_digest(file, inputs)

    def report_finished(self, file: str, *inputs: Any) -> None:
        """Note that the report was made from this answer and these inputs."""
        write_text(self._report_entry(file), self._report_digest(file, inputs))

    def _report_digest(self, file: str, inputs: Sequence[Any]) -> str:
        link = os.path.relpath(self.recording(file), self.report(file).parent)
        parts = [__version__, file_hash(self.answer(file)), link, *map(repr, inputs)]
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def _entry(self, file: str) -> Path:
        return self.results / FINISHED / f"{file}.json"

    def _video_entry(self, file: str) -> Path:
        return self.results / FINISHED / f"{file}.video"

    def _report_entry(self, file: str) -> Path:
        return self.results / FINISHED / f"{file}.report"
