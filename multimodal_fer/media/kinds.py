"""Say what a file is that is no recording, and what to do with it."""

from contextlib import suppress
from os import PathLike
from pathlib import Path

HEAD = 4096  # bytes that are looked at
DAMAGED = "The file is not a recording or is incomplete: copy or export it again"
DOCUMENT = "It is a document: save a written answer as plain text (.txt, UTF-8)"
TABLE = "It is a table: save each written answer as plain text (.txt, UTF-8)"
TEXT = "It is a text: save a written answer with the ending .txt, in UTF-8"
ARCHIVE = "It is an archive: unpack it and name the recordings in it"
DATA = "It holds data, such as the answers of this program: name the recording itself"
BY_ENDING = {
    **dict.fromkeys((".doc", ".docx", ".odt", ".pages", ".pdf", ".pptx", ".rtf"), DOCUMENT),
    **dict.fromkeys((".csv", ".ods", ".tsv", ".xls", ".xlsx"), TABLE),
    **dict.fromkeys((".eaf", ".json", ".jsonl", ".textgrid", ".xml", ".yaml"), DATA),
    **dict.fromkeys((".htm", ".html", ".md", ".rst", ".srt", ".vtt"), TEXT),
    **dict.fromkeys((".7z", ".gz", ".rar", ".tar", ".zip"), ARCHIVE),
}
BY_HEAD = {b"%PDF": DOCUMENT, b"{\\rtf": DOCUMENT, b"\xd0\xcf\x11\xe0": DOCUMENT, b"PK": ARCHIVE}


def advice_for(path: str | PathLike[str]) -> str:
    """Return a sentence about a file without video and sound, from its ending and its first bytes."""
    ending = Path(path).suffix.lower()
    if ending in BY_ENDING:
        return BY_ENDING[ending]
    head = b""
    with suppress(OSError), Path(path).open("rb") as file:
        head = file.read(HEAD)
    for start, advice in BY_HEAD.items():
        if head.startswith(start):
            return advice
    return TEXT if _is_text(head) else DAMAGED


def _is_text(head: bytes) -> bool:
    """Return true for UTF-8 without control characters; the last character may be cut off."""
    text = head.decode("utf-8", "ignore")
    return len(text.encode()) >= max(1, len(head) - 3) and all(
        letter.isprintable() or letter in "\t\r\n\f" for letter in text
    )
