"""Fetch published weights from a model hub into the user's cache: whole, checked, or not at all.

    folder = fetch("owner/name", revision="0123…", sha256="4567…")
    analyzer = Analyzer(bundle=folder)

Each commit has a folder of its own that is never changed afterwards, so a commit that was fetched once
needs no network again. What is relied on in `huggingface_hub`: redirects, access tokens, streaming to disk,
and going on after a lost connection within one download.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from multimodal_fer.errors import HubError, HubUnreachableError, WeightsError
from multimodal_fer.hub.weights_folder import (
    COMMIT,
    CONFIG,
    LOADED,
    WEIGHTS,
    check_repository,
    content_hash,
    hub_errors,
    hub_library,
    in_words,
    largest,
    part_folders,
    read_config,
    tensor_shapes,
    travels,
)
from multimodal_fer.utils.files import file_hash, write_text

CACHE_VARIABLE = "MULTIMODAL_FER_CACHE"  # a folder to keep fetched weights in
DEFAULT_REVISION = "main"
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", re.ASCII)
LOOK_UP_SECONDS = 15.0
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Listed:
    """A file as the hub lists it."""

    size: int
    sha256: str | None  # the hub knows that of large files


@dataclass(frozen=True)
class Published:
    """The files of one commit, by their paths in the repository."""

    commit: str
    files: Mapping[str, Listed]


def fetch(repo_id: str, revision: str | None = None, sha256: str | None = None) -> Path:
    """The folder of published weights on this machine, fetched where it is not there yet.

    Parameters
    ----------
    repo_id : str
        Owner and name on the hub.
    revision : str, optional
        A commit (40 hexadecimal digits), so that answers stay the same; or a branch or tag, which is looked
        up each time and taken as last seen while the hub cannot be reached. The default is "main".
    sha256 : str, optional
        What the content must be: `PublishPlan.sha256` of whoever published it, or `sha256_of` a folder.

    Returns
    -------
    Path for `load_model`, or `load_bundle` where the weights are a bundle

    Raises
    ------
    HubError (`HubUnreachableError` without a network), WeightsError, OutputError
    """
    name, wanted = check_repository(repo_id), _checked_revision(revision)
    if sha256 is not None and not SHA256.fullmatch(sha256):
        raise WeightsError(
            f"{repo_id}: expected a sha256 of 64 hexadecimal digits, found {sha256!r}"
        )
    home = _home(repo_id)
    commit = wanted if COMMIT.fullmatch(wanted) else None
    if commit is None or not (home / commit).is_dir():
        try:
            commit = _fetch_commit(repo_id, wanted, home, sha256)
        except HubUnreachableError as error:
            commit = _last_seen(home, wanted)
            if commit is None:
                raise HubUnreachableError(
                    f"{error}; or copy the folder from a machine that has it and give its path"
                ) from error
    folder = home / commit / name
    if sha256 is not None:
        _check_pin(folder, sha256)
    return folder


def cached(repo_id: str, revision: str | None = None) -> Path | None:
    """The folder that `fetch` gave last for a revision, without asking the hub; None where it never did."""
    name, wanted = check_repository(repo_id), _checked_revision(revision)
    home = _home(repo_id)
    commit = wanted if COMMIT.fullmatch(wanted) else _last_seen(home, wanted)
    folder = home / commit / name if commit else None
    return folder if folder and folder.is_dir() else None


def all_cached() -> Iterator[tuple[str, Path]]:
    """Every repository with each folder of it that was fetched."""
    for folder in sorted(cache_folder().glob("*--*/*/*/")):
        repo_id = folder.parent.parent.name.replace("--", "/")
        if COMMIT.fullmatch(folder.parent.name) and repo_id.endswith(f"/{folder.name}"):
            yield repo_id, folder


def _home(repo_id: str) -> Path:
    return cache_folder() / repo_id.replace("/", "--")


def cache_folder() -> Path:
    """Where fetched weights are kept: the variable's folder, or one in the user's cache."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    kept = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", "")
    # A relative path would mean another cache in every folder that a command is started from.
    base = Path(kept) if os.path.isabs(kept) else Path.home() / ".cache"
    return base / "multimodal_fer"


def sha256_of(folder: str | os.PathLike[str]) -> str:
    """The sha256 that pins a model's or bundle's content, its parts beside it included."""
    folder = Path(folder)
    places = {"": folder} | {
        f"{part}/": folder.parent / part
        for part in part_folders(read_config(folder), folder / CONFIG)
    }
    return content_hash(
        {
            f"{prefix}{name}": file_hash(place / name)
            for prefix, place in places.items()
            for name in LOADED
            if (place / name).is_file()
        }
    )


def _fetch_commit(repo_id: str, revision: str, home: Path, sha256: str | None) -> str:
    """Look a revision up and have its commit in the cache; returns the commit."""
    about = f"{repo_id} at {revision}"
    with hub_errors(about):
        published = _look_up(repo_id, revision)
        if not (home / published.commit).is_dir():
            _check_listing(about, published)
            home.mkdir(parents=True, exist_ok=True)
            # Beside its place, so that the last step is one renaming; a failure leaves nothing behind.
            with tempfile.TemporaryDirectory(dir=home, prefix=".part-") as staging:
                whole = _receive(repo_id, published, Path(staging))
                if sha256 is not None:
                    _check_pin(whole / check_repository(repo_id), sha256)
                _put_in_place(whole, home / published.commit)
        if revision != published.commit:
            write_text(_seen_file(home, revision), published.commit)
    return published.commit


def _look_up(repo_id: str, revision: str) -> Published:
    """Ask the hub which commit a revision is and what it holds, leaving out all that does not travel."""
    info = (
        hub_library()
        .HfApi()
        .model_info(repo_id, revision=revision, files_metadata=True, timeout=LOOK_UP_SECONDS)
    )
    expected = revision if COMMIT.fullmatch(revision) else info.sha or ""
    if info.sha != expected or not COMMIT.fullmatch(expected):
        raise HubError(
            f"{repo_id}: expected commit {expected or 'of any kind'}, found {info.sha!r}"
        )
    files = {
        file.rfilename: Listed(
            file.size if isinstance(file.size, int) else -1, file.lfs.sha256 if file.lfs else None
        )
        for file in info.siblings or ()
        if travels(file.rfilename)
    }
    return Published(info.sha, files)


def _check_listing(about: str, published: Published) -> None:
    """Refuse what is no published weights folder, and what is too large, before anything is fetched."""
    if CONFIG not in published.files:
        raise WeightsError(
            f"{about}: holds no {CONFIG}, so it is no model or bundle of this package"
        )
    for path, file in published.files.items():
        if not 0 <= file.size <= largest(path):
            claim = in_words(file.size) if file.size >= 0 else "an unknown size"
            raise WeightsError(
                f"{about}: {path} is announced with {claim}, at most {in_words(largest(path))} are fetched; "
                "take another revision, or fetch it by hand and give the folder"
            )


def _receive(repo_id: str, published: Published, staging: Path) -> Path:
    """Fetch what the config needs, check it, and lay it out: the weights, and parts beside them."""
    received, whole, name = staging / "received", staging / "whole", check_repository(repo_id)
    _receive_file(repo_id, published, CONFIG, received)
    parts = part_folders(read_config(received), f"{repo_id}: {CONFIG}")
    if name in parts:
        raise WeightsError(
            f"{repo_id}: is a bundle with a part of its own name; publish it under another name"
        )
    for folder in ("", *parts) if parts else ("",):
        needed = (CONFIG,) if parts and not folder else (CONFIG, WEIGHTS)
        _receive_folder(repo_id, published, folder, received, needed)
        place = whole / (folder or name)
        place.mkdir(parents=True)
        for file in sorted((received / folder).iterdir()):
            if file.is_file():
                os.replace(file, place / file.name)
    return whole


def _receive_folder(
    repo_id: str, published: Published, folder: str, received: Path, needed: tuple[str, ...]
) -> None:
    """Fetch one folder's files; `needed` must be among them."""
    prefix = f"{folder}/" if folder else ""
    for name in needed:
        if prefix + name not in published.files:
            raise WeightsError(f"{repo_id}: lacks {prefix}{name}; publish the weights again")
    for path in published.files:
        if path.rpartition("/")[0] == folder and not (received / path).exists():
            _receive_file(repo_id, published, path, received)


def _receive_file(repo_id: str, published: Published, path: str, received: Path) -> None:
    """Fetch one file and see that it is the listed one."""
    hub_library().hf_hub_download(repo_id, path, revision=published.commit, local_dir=received)
    file, listed = received / path, published.files[path]
    if file.is_symlink() or not file.is_file() or file.stat().st_size != listed.size:
        raise WeightsError(
            f"{repo_id}: {path}: expected a file of {listed.size} bytes, received something else; "
            "fetch it again"
        )
    if listed.sha256 is not None and (found := file_hash(file)) != listed.sha256:
        raise WeightsError(
            f"{repo_id}: {path}: expected sha256 {listed.sha256}, received {found}; fetch it again"
        )
    if path.rpartition("/")[2] == WEIGHTS:
        tensor_shapes(file)


def _put_in_place(whole: Path, place: Path) -> None:
    """The last step. Another process may have been quicker, with the same commit."""
    try:
        os.replace(whole, place)
    except OSError:
        if not place.is_dir():
            raise


def _check_pin(folder: Path, sha256: str) -> None:
    found = sha256_of(folder)
    if found != sha256:
        raise WeightsError(
            f"{folder.name}: expected content with sha256 {sha256}, found {found}; "
            "take the revision that the pin was made for, or make the pin anew"
        )


def _checked_revision(revision: str | None) -> str:
    revision = DEFAULT_REVISION if revision is None else revision
    if not REVISION.fullmatch(revision):
        raise HubError(f"{revision!r}: expected a commit, branch or tag")
    return revision


def _seen_file(home: Path, revision: str) -> Path:
    """Holds the commit that a branch or tag was when it was last looked up."""
    return home / f"{quote(revision, safe='')}.commit"


def _last_seen(home: Path, revision: str) -> str | None:
    try:
        commit = _seen_file(home, revision).read_text(encoding="utf-8")
    except OSError:
        return None
    return commit if COMMIT.fullmatch(commit) and (home / commit).is_dir() else None
