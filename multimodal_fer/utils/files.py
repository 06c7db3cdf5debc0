"""Write files completely or not at all, hash them, and find installed packages."""

import errno
import hashlib
import importlib.util
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from multimodal_fer.errors import OutputError

PARTIAL = ".part"  # ending of files that are being written
BLOCK_END = "<!-- end -->"


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be printed and written as UTF-8.

    Names need not be UTF-8, such as those of archives from Windows: their other bytes become `\\xNN`.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` on success; after a crash the old file is unchanged.

    The temporary name is another one in each call, so that two processes may write the same file.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}{PARTIAL}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text, completely or not at all."""
    with replacing(path) as temporary:
        # Names of files need not be UTF-8; see `printable`.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write indented JSON, completely or not at all; raise `ValueError` for NaN and infinity."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a results folder; raise `OutputError` if another process holds it.

    Files that an interrupted process left half written are removed. The lock ends with the process.
    """
    with (folder / ".lock").open("a") as file:
        try:
            _lock(file.fileno())
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise OutputError(
                    f"{folder}: another run is writing its results there; wait for its end, or choose "
                    "another output folder"
                ) from None
        for partial in folder.rglob(f".*{PARTIAL}"):
            partial.unlink(missing_ok=True)
        yield


def _lock(number: int) -> None:
    """Lock an open file; raise `OSError` if another process has locked it, or if nobody can."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def file_hash(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def package_folders(name: str) -> list[Path]:
    """Return the folders of an installed package without importing it; empty if it is not installed."""
    found = importlib.util.find_spec(name)
    return [Path(folder) for folder in (found and found.submodule_search_locations) or ()]


def fill_block(page: str, name: str, content: str) -> str:
    """Return a page with `content` between the marks of its generated block `name`."""
    start = f"<!-- generated: {name} -->"
    before, rest = page.split(start)
    return f"{before}{start}\n{content}\n{BLOCK_END}{rest.split(BLOCK_END, 1)[1]}"


def prepare_folder(folder: str | os.PathLike[str]) -> Path:
    """Create a folder and check that it is writable, before hours of work are lost."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror}); choose another output folder"
        ) from None
