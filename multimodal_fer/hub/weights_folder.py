"""The files of weights: their names and sizes, what is wrong with them, and the library that carries them to
and from a model hub (extra `hub`).

A repository holds the files of one model, or of one bundle with each of its parts in a folder beside them.
Only files of known names travel, and none of them is ever executed.
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

from safetensors import SafetensorError, safe_open

from multimodal_fer.errors import (
    HubError,
    HubUnreachableError,
    MultimodalFerError,
    OutputError,
    WeightsError,
)
from multimodal_fer.text.vocabulary import Vocabulary

CONFIG, WEIGHTS, GOLDEN, CARD = "config.json", "model.safetensors", "golden.json", "README.md"
VOCABULARY = "vocabulary.txt"
TERMS = ("LICENSE", "LICENSE.md")  # the two names that hubs link a licence of its own kind to
LOADED = (CONFIG, WEIGHTS, GOLDEN, VOCABULARY)  # what answers depend on; cards and terms may change
TRAVELS = (*LOADED, CARD, *TERMS)

MEBIBYTE = 2**20
LARGEST = {WEIGHTS: 4096 * MEBIBYTE}  # a network of 10⁹ parameters takes half of it
LARGEST_OTHER = 8 * MEBIBYTE
MOST_TENSORS = 20_000

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
    """The name after the owner's, once both are seen to be plain."""
    owner, _, name = repo.partition("/")
    plain = PLAIN_NAME.fullmatch(owner) and PLAIN_NAME.fullmatch(name)
    if not plain or ".." in repo or "--" in repo or repo.endswith(".git"):
        raise HubError(
            f"{repo!r}: expected a repository as owner/name of letters, digits, '-', '_' and '.'"
        )
    return name


def travels(path: str) -> bool:
    """Whether a path of a repository is one that weights are published under."""
    folder, _, name = path.rpartition("/")
    return name in TRAVELS and (not folder or PLAIN_NAME.fullmatch(folder) is not None)


def largest(path: str) -> int:
    """How many bytes a file may have."""
    return LARGEST.get(path.rpartition("/")[2], LARGEST_OTHER)


def in_words(size: int) -> str:
    """Bytes for people."""
    return f"{size / MEBIBYTE:,.1f} MiB"


def part_folders(config: Mapping[str, Any], where: str | Path) -> tuple[str, ...]:
    """The folders of a bundle's parts, none for a model. Raises where a name could lead elsewhere."""
    # A model of fusion notes which parts it was trained with; that makes it no bundle.
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
    """One sha256 for all files that answers depend on: that of `sha256sum`'s lines, sorted by path.

    `hashes` maps a repository's paths to the sha256 of each file; cards and terms do not count.
    """
    lines = [
        f"{hashes[path]}  {path}\n" for path in sorted(hashes) if path.rpartition("/")[2] in LOADED
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def weights_file(folder: Path, name: str) -> Path:
    """A file of a weights folder. Raises unless it is a regular one, lies in it, and is not too large."""
    path = folder / name
    if path.is_symlink() and Path(os.path.realpath(path)).parent != folder.resolve():
        raise WeightsError(
            f"{path}: is a link that leads out of its folder; put the file itself there"
        )
    if not path.is_file():
        raise WeightsError(f"{path}: is missing or no file; copy the folder again")
    if (size := path.stat().st_size) > largest(name):
        raise WeightsError(
            f"{path}: has {in_words(size)}, at most {in_words(largest(name))} are read; save it again"
        )
    return path


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


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of a safetensors file; no tensor is read.

    Raises where the header does not describe just this file.
    """
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            if len(names) > MOST_TENSORS:
                raise SafetensorError(f"{len(names):,} tensors, at most {MOST_TENSORS:,} are read")
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: is no whole safetensors file ({error}); save the weights again"
        ) from None


def foreign_files(folder: str | os.PathLike[str]) -> dict[str, str]:
    """What does not belong into a folder of published weights: name → why, and what to do.

    Everything but regular files of the known names and kinds: links, folders, and whatever looks like
    material of a corpus, under its own name or under one of ours.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        raise WeightsError(f"{folder}: expected a folder of weights ({error.strerror})") from None
    reasons = {name: _why_foreign(Path(folder, name), status) for name, status in found}
    return {name: why for name, why in reasons.items() if why}


def _why_foreign(path: Path, status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "is a link, which may lead out of the folder; put the file itself there"
    if stat.S_ISDIR(status.st_mode):
        return "is a folder, but the files of weights lie flat; remove it"
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file; remove it"
    if path.name not in TRAVELS:
        for kind, suffixes in MATERIAL.items():
            if path.suffix.lower() in suffixes.split():
                return f"looks like {kind} of a corpus, which is never published; remove it"
        return f"is none of the files of weights ({', '.join(TRAVELS)}); remove it"
    if status.st_size > largest(path.name):
        return (
            f"has {in_words(status.st_size)}, at most {in_words(largest(path.name))} are published"
        )
    try:
        return _why_odd(path)
    except (MultimodalFerError, OSError, ValueError, RecursionError) as error:
        return f"is not what its name says ({error}); save the weights again"


def _why_odd(path: Path) -> str | None:
    """What is wrong inside a file that has a known name; may raise as well."""
    if path.name == WEIGHTS:
        tensor_shapes(path)
        return None
    text = path.read_bytes().decode("utf-8")
    if "\0" in text:
        raise ValueError("not text")
    if found := TURN.search(text):
        return f"names turns of IEMOCAP ({found[0]}…), which are not published; remove them"
    if path.name == VOCABULARY:
        Vocabulary.load(path)  # one word a line, each once: no transcript
    if path.name == GOLDEN and set(json.loads(text)) != {"logits"}:
        raise ValueError("expected logits alone")
    return None


def hub_library() -> Any:
    """huggingface_hub, or a sentence on how to get it."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise HubError(
            f"a model hub needs huggingface_hub ({error}); pip install 'multimodal_fer[hub]'"
        ) from None
    return huggingface_hub


@contextmanager
def hub_errors(about: str) -> Iterator[None]:
    """What the library and the disk raise becomes a sentence that begins with `about`."""
    hub_library()
    try:
        yield
    except MultimodalFerError:
        raise
    except Exception as error:
        if (sentence := _explained(about, error)) is None:
            raise
        raise sentence from error


def _explained(about: str, error: BaseException) -> MultimodalFerError | None:
    """An error of the library in our words; None for one that is no news of a hub or disk."""
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    match error:
        case errors.OfflineModeIsEnabled():
            return HubUnreachableError(f"{about}: HF_HUB_OFFLINE forbids to ask the hub; unset it")
        case errors.LocalTokenNotFoundError():
            return HubError(
                f"{about}: the hub wants to know who asks; log in with `hf auth login` or set HF_TOKEN"
            )
        case errors.HfHubHTTPError():
            return HubError(f"{about}: {_refusal(error)}")
        case errors.LocalEntryNotFoundError() | RuntimeError() if error.__cause__ is not None:
            return _explained(about, error.__cause__)  # the library wraps what happened on the way
        case httpx.HTTPError():
            return HubUnreachableError(
                f"{about}: the connection to the hub failed or was lost ({error}); "
                "look at the network and run it again"
            )
        case OSError() if error.errno is not None:
            place = f" {error.filename}" if error.filename else ""
            return OutputError(
                f"{about}: reading or writing{place} failed ({error.strerror}); "
                "free some space or choose another folder, and run it again"
            )
        # Broken answers: no JSON, fields that are missing, fewer bytes than announced.
        case OSError() | ValueError() | KeyError():
            return HubError(f"{about}: the hub's answer cannot be used ({_first_line(error)})")
    return None


def _refusal(error: Any) -> str:
    """What an answer of the hub other than yes means, and what to do."""
    from huggingface_hub import errors

    status = error.response.status_code
    match error:
        case errors.GatedRepoError():
            return "is gated; ask for access on its page, then log in with `hf auth login` or set HF_TOKEN"
        case errors.RepositoryNotFoundError():
            return (
                "there is no such repository, or this access token may not see it; look at the name, "
                "and for a private one log in with `hf auth login` or set HF_TOKEN"
            )
        case errors.RevisionNotFoundError():
            return "there is no such revision; take a commit, branch or tag that its page lists"
        case errors.EntryNotFoundError():
            return f"a file is missing there ({_first_line(error)}); publish the weights again"
    if status == 401:
        return (
            "the hub does not know this access token; log in with `hf auth login` or set HF_TOKEN"
        )
    if status == 403:
        return "this access token has no right to do it; take one that has, to write if you publish"
    if status in (409, 412):
        return "somebody changed the repository at the same moment; look at it and run this again"
    if status == 429 or status >= 500:
        return f"the hub is overloaded or out of order (status {status}); run it again later"
    return f"the hub answered with status {status} ({_first_line(error)})"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
