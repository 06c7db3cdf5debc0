"""Make an artificial corpus in the format of an IEMOCAP release, to test and try the recipe.

    python tests/recipes/iemocap/corpus/iemocap_corpus.py FOLDER \\
        [turns=200 seconds=1.5 media=1 oddities=1 sessions=1,2 seed=1]

Nothing in it comes from IEMOCAP: sentences are invented, voices synthesised, faces drawn. Folders, names and
text formats are those of the release. 40 turns suffice for all irregularities of the real release:

- `Ses03M_impro05a` and `Ses05M_script01_1b`; the latter has no MOCAP file
- macOS files named `._` and the file's name, beside txt, wav and avi
- turns of both actors that overlap; in evaluations all F turns stand before all M turns
- transcript lines without an id, empty ones, turns XX without label and sound, `]:` and `:` in the words,
  non-verbal tags, a byte that is not UTF-8
- evaluations with several labels in a line, without a dominance, with `;` in a comment; self-evaluations that
  the means exclude; sub-directories with files of other formats
- all eleven labels
- one AVI that ends two seconds early, before its dialog's last turn, and one dialog without AVI

`oddities=0` omits these files, lines and gaps. `ForcedAlignment` and the MOCAP files of single turns are
never written. `iemocap_plan` describes the cues of each modality.
"""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy
from iemocap_faces import write_picture
from iemocap_plan import TICKS, CorpusConfig, Dialog, plan_corpus
from iemocap_ratings import rate, write_evaluations, write_text
from iemocap_voices import write_sounds
from iemocap_words import vocabulary

__all__ = ["CorpusConfig", "main", "write_corpus"]

RELEASE = "IEMOCAP_full_release"
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x02\x00\x00\x00\x09\xff\xfe"
ABOUT = "An artificial corpus for tests. Sentences, voices and faces are invented; none is of IEMOCAP.\n"
NO_MOTION = "Ses05M_script01_1b"


def write_corpus(folder: Path, config: CorpusConfig = CorpusConfig()) -> Path:  # noqa: B008
    """Write the corpus, dialog by dialog, and return its root `<folder>/IEMOCAP_full_release`."""
    root = folder / RELEASE
    _write_documentation(root)
    with_junk = set()
    for dialog in plan_corpus(config):
        session_folder = root / f"Session{dialog.session}"
        _write_texts(dialog, config, session_folder)
        if config.media:
            write_sounds(dialog, config, session_folder)
            if dialog.picture:
                path = session_folder / "dialog" / "avi" / "DivX" / f"{dialog.name}.avi"
                write_picture(dialog, path)
        if config.oddities and dialog.session not in with_junk:
            with_junk.add(dialog.session)
            _write_junk(dialog, session_folder)
    return root


def _write_texts(dialog: Dialog, config: CorpusConfig, session_folder: Path) -> None:
    folder = session_folder / "dialog"
    write_evaluations(dialog, rate(dialog, config), folder / "EmoEvaluation")
    transcript = transcription_text(dialog, config.oddities)
    write_text(folder / "transcriptions" / f"{dialog.name}.txt", transcript)
    for speaker in "FM":
        tree = folder / "lab" / f"Ses0{dialog.session}_{speaker}"
        write_text(tree / f"{dialog.name}.lab", lab_text(dialog, speaker))
    if dialog.name != NO_MOTION:
        for part in ("hand", "head", "rotated"):
            rows = [f"{frame} {frame / 120:.5f} 0.00000 0.00000" for frame in range(1, 4)]
            text = "\n".join(["Frame# Time X Y", "0 0 mm mm", *rows]) + "\n"
            write_text(folder / f"MOCAP_{part}" / f"{dialog.name}.txt", text)


def transcription_text(dialog: Dialog, oddities: bool) -> str:
    """Return the transcription by time; irregular lines follow the first turn."""
    lines = [
        f"{turn.name} [{turn.start / TICKS:08.4f}-{turn.end / TICKS:08.4f}]: {turn.text}"
        for turn in dialog.turns
    ]
    if oddities:
        lines[1:1] = ["M: sorry", "", "F: no, go on"]
    return "\n".join(lines) + "\n"


def lab_text(dialog: Dialog, speaker: str) -> str:
    """Return the times of one actor's turns, labelled or not."""
    lines = [
        f"{turn.start / TICKS:.4f} {turn.end / TICKS:.4f} {turn.name}"
        for turn in dialog.turns
        if turn.speaker == speaker
    ]
    return "\n".join(["% start end turn", *lines]) + "\n"


def _write_junk(dialog: Dialog, session_folder: Path) -> None:
    """Write AppleDouble files beside one file of every kind."""
    places = [
        f"dialog/EmoEvaluation/{dialog.name}.txt",
        f"dialog/transcriptions/{dialog.name}.txt",
        f"dialog/wav/{dialog.name}.wav",
        f"dialog/avi/DivX/{dialog.name}.avi",
        f"sentences/wav/{dialog.name}/{dialog.labelled[0].name}.wav",
    ]
    for path in (session_folder / place for place in places):
        if path.exists():
            path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE + bytes(64))


def _write_documentation(root: Path) -> None:
    folder = root / "Documentation"
    write_text(root / "README.txt", ABOUT)
    spelt = "".join(f"{word}\t{' '.join(word)}\n" for word in vocabulary())
    write_text(folder / "corpus.dic", spelt)
    for name in ("HumaineInfo.txt", "phonemes.txt", "timeinfo.txt"):
        write_text(folder / name, ABOUT)
    blank = numpy.full((120, 90), 255, numpy.uint8)
    (folder / "FIVE_face_markers2.png").write_bytes(cv2.imencode(".png", blank)[1].tobytes())


def main(arguments: list[str]) -> None:
    """Run the command: a folder, then settings as name=value."""
    if not arguments or any("=" not in setting for setting in arguments[1:]):
        raise SystemExit(__doc__)
    settings = dict(setting.split("=", 1) for setting in arguments[1:])
    unknown = set(settings) - {field.name for field in fields(CorpusConfig)}
    if unknown:
        raise SystemExit(f"no such setting: {', '.join(sorted(unknown))}")
    values = {name: _read(name, text) for name, text in settings.items()}
    print(write_corpus(Path(arguments[0]), CorpusConfig(**values)))


def _read(name: str, text: str) -> Any:
    match name:
        case "media" | "oddities":
            return bool(int(text))
        case "seconds":
            return float(text)
        case "sessions":
            return tuple(int(session) for session in text.split(","))
        case _:
            return int(text)


if __name__ == "__main__":
    main(sys.argv[1:])
