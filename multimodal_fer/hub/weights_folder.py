"""Check the files of a weights folder: names, sizes and content; explain errors of a model hub.

A repository holds the files of one model, or of one bundle with each part in a subfolder. Only files of known
names are uploaded and downloaded, and none of them is ever executed.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from multimodal_fer.errors import (
    HubError,
    HubUnreachableError,
    MultimodalFerError,
    OutputError,
    WeightsError,
)
from multimodal_fer.text.sentences.word_pieces import PAD, WordPieces
from multimodal_fer.text.vocabulary import Vocabulary
from multimodal_fer.utils.tensor_files import tensor_shapes

CONFIG, WEIGHTS, REFERENCE, CARD = "config.json", "model.safetensors", "golden.json", "README.md"
VOCABULARY = "vocabulary.txt"
TERMS = ("LICENSE", "LICENSE.md")  # the two names that hubs link for a custom licence
LOADED = (
    CONFIG,
    WEIGHTS,
    REFERENCE,
    VOCABULARY,
)  # predictions depend on these; cards and terms may change
TRAVELS = (*LOADED, CARD, *TERMS)

MEBIBYTE = 2**20
LARGEST = {WEIGHTS: 4096 * MEBIBYTE}  # a network of 10⁹ parameters needs half of it
LARGEST_OTHER = 8 * MEBIBYTE

PLAIN_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)

MATERIAL = {
    "sound": ".wav .flac .mp3 .ogg .opus .m4a .aac .sph",
    "pictures": ".jpg .jpeg .png .bmp .gif .tif .tiff .webp",
    "video": ".avi .mp4 .mkv .mov .webm .mpg",
    "a table": ".csv .tsv .jsonl .ndjson .parquet .arrow .xlsx",
    "arrays": ".npz .npy .pt .pth .pkl .pickle .h5 .hdf5 .mat",
    "transcripts": ".txt .srt .vtt .lab .ctm .textgrid",
    "an archive": ".zip .tar .gz .tgz .7z",
}
TURN = re.compile(r"Ses0[1-5][FM]_(?:impro|script)\d\d", re.ASCII | re.IGNORECASE)


def check_repository(repo: str) -> str:
    """Return the name in OWNER/NAME; raise `HubError` unless both have only plain characters."""
    owner, _, name = repo.partition("/")
    plain = PLAIN_NAME.fullmatch(owner) and PLAIN_NAME.fullmatch(name)
    if not plain or ".." in repo or "--" in repo or repo.endswith(".git"):
        raise HubError(
            f"{repo!r}: expected a repository as owner/name of letters, digits, '-', '_' and '.'"
        )
    return name


def travels(path: str) -> bool:
    """Return whether weights are published under a path of a repository."""
    folder, _, name = path.rpartition("/")
    return name in TRAVELS and (not folder or PLAIN_NAME.fullmatch(folder) is not None)


def largest(path: str) -> int:
    """Return the most bytes that a file may have."""
    return LARGEST.get(path.rpartition("/")[2], LARGEST_OTHER)


def in_words(size: int) -> str:
    """Return a number of bytes as MiB."""
    return f"{size / MEBIBYTE:,.1f} MiB"


def part_folders(config: Mapping[str, Any], where: str | Path) -> tuple[str, ...]:
    """Return the folders of a bundle's parts, none for a model; raise if a name could lead elsewhere."""
    # The config of a fusion also has 'parts': those that it was trained with.
    parts = {} if "model" in config else config.get("parts", {})
    if not isinstance(parts, dict):
        raise WeightsError(
            f"{where}: expected 'parts' to name folders, found {type(parts).__name__}"
        )
    folders = []
    for modality, pinned in parts.items():
        folder = pinned.get("model") if isinstance(pinned, dict) else None
        files = pinned.get("files") if isinstance(pinned, dict) else None
        if not isinstance(folder, str) or not PLAIN_NAME.fullmatch(folder):
            raise WeightsError(
                f"{where}: part {modality}: expected the plain name of a folder, found {folder!r}; "
                "save the bundle again with the part beside it"
            )
        if not isinstance(files, dict) or not set(files) <= set(LOADED):
            raise WeightsError(
                f"{where}: part {modality}: expected files among {', '.join(LOADED)}, found {files!r}; "
                "save the bundle again"
            )
        folders.append(folder)
    return tuple(dict.fromkeys(folders))


def content_hash(hashes: Mapping[str, str]) -> str:
    """Return the sha256 of the lines that `sha256sum` prints, sorted by path, for the files in `LOADED`.

    `hashes` maps the paths of a repository to the sha256 of each file; cards and terms do not count.
    """
    lines = [
        f"{hashes[path]}  {path}\n" for path in sorted(hashes) if path.rpartition("/")[2] in LOADED
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def weights_file(folder: Path, name: str) -> Path:
    """Return the path of a file; raise unless it is a regular file in the folder and not too large."""
    path = folder / name
    if path.is_symlink() and not _stays_inside(path, folder):
        raise WeightsError(
            f"{path}: is a link that leads out of its folder; replace it by the file"
        )
    if not path.is_file():
        raise WeightsError(f"{path}: is missing or not a file; copy the folder again")
    if (size := path.stat().st_size) > largest(name):
        raise WeightsError(
            f"{path}: has {in_words(size)}, at most {in_words(largest(name))} are read; save it again"
        )
    return path


def _stays_inside(path: Path, folder: Path) -> bool:
    """Return true if a link leads into its folder, or from a hub's snapshot to the blobs beside it.

    The cache of huggingface_hub is `REPOSITORY/snapshots/COMMIT/…` with links to `REPOSITORY/blobs`.
    """
    target, folder = Path(os.path.realpath(path)).parent, folder.resolve()
    snapshots = (place for place in folder.parents if place.name == "snapshots")
    return target == folder or any(target == place.parent / "blobs" for place in snapshots)


def read_config(folder: Path) -> dict[str, Any]:
    """Read a folder's config.json."""
    path = weights_file(folder, CONFIG)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: cannot be read ({error})") from None
    if not isinstance(config, dict):
        raise WeightsError(f"{path}: expected an object, found {type(config).__name__}")
    return config


def unexpected_files(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return the files that may not be published with weights: name → why, and what to do.

    These are links, folders, files of other names, and files of known names with other content, such as
    material of a corpus.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        raise WeightsError(f"{folder}: expected a folder of weights ({error.strerror})") from None
    reasons = {name: _problem_of(Path(folder, name), status) for name, status in found}
    return {name: why for name, why in reasons.items() if why}


def _problem_of(path: Path, status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "is a link, which may lead out of the folder; replace it by the file"
    if stat.S_ISDIR(status.st_mode):
        return "is a folder; a weights folder has no subfolders; remove it"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file; remove it"
    if path.name not in TRAVELS:
        for kind, suffixes in MATERIAL.items():
            if path.suffix.lower() in suffixes.split():
                return f"looks like {kind} of a corpus, which is never published; remove it"
        return f"is not a file of a weights folder ({', '.join(TRAVELS)}); remove it"
    if status.st_size > largest(path.name):
        return (
            f"has {in_words(status.st_size)}, at most {in_words(largest(path.name))} are published"
        )
    try:
        return _content_problem(path)
    except (MultimodalFerError, OSError, ValueError, RecursionError) as error:
        return f"has content that does not fit its name ({error}); save the weights again"


def _content_problem(path: Path) -> str | None:
    """Check the content of a file of a known name; return the problem or raise it."""
    if path.name == WEIGHTS:
        tensor_shapes(path)
        return None
    text = path.read_bytes().decode("utf-8")
    if "\0" in text:
        raise ValueError("not text")
    if found := TURN.search(text):
        return f"names turns of IEMOCAP ({found[0]}…), which may not be published; remove them"
    if path.name == VOCABULARY:
        load_vocabulary(path)  # one word per line, each once: not a transcript
    if path.name == REFERENCE and set(json.loads(text)) != {"logits"}:
        raise ValueError("expected only logits")
    return None


def load_vocabulary(path: Path) -> Vocabulary | WordPieces:
    """Load a file of words or of word pieces, which its first line tells apart. Raises `DataError`."""
    try:
        with path.open(encoding="utf-8") as lines:
            pieces = lines.readline().rstrip("\n") == PAD
    except (OSError, ValueError):
        pieces = False
    return WordPieces.load(path) if pieces else Vocabulary.load(path)


def hub_library() -> Any:
    """Import huggingface_hub; raise `HubError` if it is not installed."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise HubError(
            f"a model hub needs huggingface_hub ({error}); pip install 'multimodal_fer[hub]'"
        ) from None
    return huggingface_hub


@contextmanager
def hub_errors(about: str) -> Iterator[None]:
    """Turn errors of the library and the disk into one sentence of this package that begins with `about`."""
    hub_library()
    try:
        yield
    except MultimodalFerError:
        raise
    except Exception as error:
        if (explained := _explain(about, error)) is None:
            raise
        raise explained from error


def _explain(about: str, error: BaseException) -> MultimodalFerError | None:
    """Return an error of this package for one of the hub or the disk, else None."""
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    match error:
        case errors.OfflineModeIsEnabled():
            return HubUnreachableError(
                f"{about}: HF_HUB_OFFLINE forbids access to the hub; unset it"
            )
        case errors.LocalTokenNotFoundError():
            return HubError(
                f"{about}: the hub needs an access token; log in with `hf auth login` or set HF_TOKEN"
            )
        case errors.HfHubHTTPError():
            return HubError(f"{about}: {_http_problem(error)}")
        case errors.LocalEntryNotFoundError() | RuntimeError() if error.__cause__ is not None:
            return _explain(about, error.__cause__)  # the library wraps the original error
        case httpx.HTTPError():
            return HubUnreachableError(
                f"{about}: the connection to the hub failed or was lost ({error}); "
                "check the network and run the command again"
            )
        case OSError() if error.errno is not None:
            place = f" {error.filename}" if error.filename else ""
            return OutputError(
                f"{about}: reading or writing{place} failed ({error.strerror}); "
                "free some space or choose another folder, and run the command again"
            )
        # Invalid answers: not JSON, missing fields, fewer bytes than announced.
        case OSError() | ValueError() | KeyError():
            return HubError(f"{about}: the answer of the hub cannot be used ({_first_line(error)})")
    return None


def _http_problem(error: Any) -> str:
    """Explain an error status of the hub, and what to do."""
    from huggingface_hub import errors

    status = error.response.status_code
    match error:
        case errors.GatedRepoError():
            return "is gated; request access on its page, then log in with `hf auth login` or set HF_TOKEN"
        case errors.RepositoryNotFoundError():
            return (
                "there is no such repository, or this access token may not read it; check the name; "
                "for a private repository log in with `hf auth login` or set HF_TOKEN"
            )
        case errors.RevisionNotFoundError():
            return "there is no such revision; use a commit, branch or tag that its page lists"
        case errors.EntryNotFoundError():
            return f"the repository lacks a file ({_first_line(error)}); publish the weights again"
    if status == 401:
        return "the hub rejects this access token; log in with `hf auth login` or set HF_TOKEN"
    if status == 403:
        return "this access token has no right to do this; to publish, use a token with the right to write"
    if status in (409, 412):
        return "somebody else changed the repository at the same time; check it and run the command again"
    if status == 429 or status >= 500:
        return f"the hub is overloaded or out of order (status {status}); try again later"
    return f"the hub answered with status {status} ({_first_line(error)})"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].strip() or type(error).__name__
