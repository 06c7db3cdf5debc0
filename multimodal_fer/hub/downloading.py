"""Download published weights from a model hub into the user's cache: complete and checked, or not at all.

    folder = fetch("owner/name", revision="0123…", sha256="4567…")
    analyzer = Analyzer(bundle=folder)

Each commit has its own folder, which never changes, so a downloaded commit needs no network again. Files come
one by one through `hf_hub_download`, which handles redirects, access tokens and lost connections. Its
`snapshot_download` would finish the current file, up to 4 GiB, before it obeys Ctrl+C.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
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

CACHE_VARIABLE = "MULTIMODAL_FER_CACHE"  # a folder for downloaded weights
DEFAULT_REVISION = "main"
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", re.ASCII)
LOOK_UP_SECONDS = 15.0
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)

Listing = Mapping[
    str, Any
]  # path in the repository → the hub's entry with `size` and, if large, `lfs.sha256`


def fetch(repo_id: str, revision: str | None = None, sha256: str | None = None) -> Path:
    """Return the folder of published weights on this machine; download them if they are not in the cache.

    Parameters
    ----------
    repo_id : str
        Owner and name on the hub.
    revision : str, optional
        A commit (40 hexadecimal digits), for the same predictions always; or a branch or tag, which is
        looked up each time; if the hub cannot be reached, the commit that was found last is used. The
        default is "main".
    sha256 : str, optional
        The expected sha256 of the content: `PublishPlan.sha256` of the publisher, or `sha256_of` a folder.

    Returns
    -------
    Path for `load_model`, or for `load_bundle` if the weights are a bundle

    Raises
    ------
    HubError (`HubUnreachableError` without a network), WeightsError, OutputError
    """
    name, revision = check_repository(repo_id), _checked_revision(revision)
    if sha256 is not None and not SHA256.fullmatch(sha256):
        raise WeightsError(
            f"{repo_id}: expected a sha256 of 64 hexadecimal digits, found {sha256!r}"
        )
    folder = cached(repo_id, revision)
    if folder is None or not COMMIT.fullmatch(revision):
        try:
            folder = _cache_of(repo_id) / _fetch_commit(repo_id, revision, sha256) / name
        except HubUnreachableError as error:
            if folder is None:
                raise HubUnreachableError(
                    f"{error}; or copy the folder from a machine that has it and give its path"
                ) from error
    if sha256 is not None:
        _check_pin(folder, sha256)
    return folder


def cached(repo_id: str, revision: str | None = None) -> Path | None:
    """Return the folder that `fetch` last returned for a revision, without a network; else None."""
    name, revision = check_repository(repo_id), _checked_revision(revision)
    commit = revision
    if not COMMIT.fullmatch(revision):
        try:
            commit = _commit_file(repo_id, revision).read_text(encoding="utf-8")
        except OSError:
            return None
    folder = _cache_of(repo_id) / commit / name
    return folder if COMMIT.fullmatch(commit) and folder.is_dir() else None


def all_cached() -> Iterator[tuple[str, Path]]:
    """Yield each repository in the cache with each of its folders."""
    for folder in sorted(cache_folder().glob("*--*/*/*/")):
        repo_id = folder.parent.parent.name.replace("--", "/")
        if COMMIT.fullmatch(folder.parent.name) and repo_id.endswith(f"/{folder.name}"):
            yield repo_id, folder


def cache_folder() -> Path:
    """Return the folder of downloaded weights: that of MULTIMODAL_FER_CACHE, or one in the user's cache."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", "")
    # A relative path would give another cache in each working directory.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "multimodal_fer"


def sha256_of(folder: str | os.PathLike[str]) -> str:
    """Return the sha256 that pins the content of a model, or of a bundle with its parts."""
    folder = Path(folder)
    parts = part_folders(read_config(folder), folder / CONFIG)
    places = {"": folder} | {f"{part}/": folder.parent / part for part in parts}
    return content_hash(
        {
            f"{prefix}{name}": file_hash(place / name)
            for prefix, place in places.items()
            for name in LOADED
            if (place / name).is_file()
        }
    )


def _fetch_commit(repo_id: str, revision: str, sha256: str | None) -> str:
    """Look up the commit of a revision, download it if needed, and return it."""
    about, home = f"{repo_id} at {revision}", _cache_of(repo_id)
    with hub_errors(about):
        commit, files = _look_up(repo_id, revision)
        if not (home / commit).is_dir():
            _check_listing(about, files)
            home.mkdir(parents=True, exist_ok=True)
            # In the cache itself, so that the last step is one renaming; a failure leaves nothing behind.
            with tempfile.TemporaryDirectory(dir=home, prefix=".part-") as staging:
                whole = _download(repo_id, commit, files, Path(staging))
                if sha256 is not None:
                    _check_pin(whole / check_repository(repo_id), sha256)
                _put_in_place(whole, home / commit)
        if revision != commit:
            write_text(_commit_file(repo_id, revision), commit)
    return commit


def _look_up(repo_id: str, revision: str) -> tuple[str, Listing]:
    """Ask the hub for the commit of a revision and its files of known names."""
    api = hub_library().HfApi()
    info = api.model_info(repo_id, revision=revision, files_metadata=True, timeout=LOOK_UP_SECONDS)
    commit = revision if COMMIT.fullmatch(revision) else info.sha or ""
    if info.sha != commit or not COMMIT.fullmatch(commit):
        raise HubError(f"{repo_id}: expected commit {commit or 'of any kind'}, found {info.sha!r}")
    return commit, {file.rfilename: file for file in info.siblings or () if travels(file.rfilename)}


def _check_listing(about: str, files: Listing) -> None:
    """Refuse other repositories and files that are too large, before anything is downloaded."""
    if CONFIG not in files:
        raise WeightsError(
            f"{about}: holds no {CONFIG}, so it is not a model or bundle of this package"
        )
    for path, file in files.items():
        known = isinstance(file.size, int) and file.size >= 0
        if not known or file.size > largest(path):
            size = in_words(file.size) if known else "an unknown size"
            raise WeightsError(
                f"{about}: the hub lists {path} with {size}, at most {in_words(largest(path))} are "
                "downloaded; use another revision, or download it by hand and give the folder"
            )


def _download(repo_id: str, commit: str, files: Listing, staging: Path) -> Path:
    """Download the files that the config needs; return a folder with the weights and their parts."""
    name, whole = check_repository(repo_id), staging / "whole"
    received = whole / name
    _download_file(repo_id, commit, files, CONFIG, received)
    parts = part_folders(read_config(received), f"{repo_id}: {CONFIG}")
    if name in parts:
        raise WeightsError(
            f"{repo_id}: is a bundle with a part of its own name; publish it under another name"
        )
    needed = [f"{part}/{file}" for part in parts for file in (CONFIG, WEIGHTS)] or [WEIGHTS]
    if missing := [path for path in needed if path not in files]:
        raise WeightsError(f"{repo_id}: lacks {missing[0]}; publish the weights again")
    for path in files:
        if path != CONFIG and path.rpartition("/")[0] in ("", *parts):
            _download_file(repo_id, commit, files, path, received)
    shutil.rmtree(received / ".cache", ignore_errors=True)  # notes of the library
    for part in parts:
        os.replace(received / part, whole / part)
    return whole


def _download_file(repo_id: str, commit: str, files: Listing, path: str, folder: Path) -> None:
    """Download one file and compare it with the hub's entry."""
    hub_library().hf_hub_download(repo_id, path, revision=commit, local_dir=folder)
    file, listed = folder / path, files[path]
    if file.is_symlink() or not file.is_file() or file.stat().st_size != listed.size:
        raise WeightsError(
            f"{repo_id}: {path}: expected a file of {listed.size} bytes, received something else; "
            "download it again"
        )
    if listed.lfs is not None and (found := file_hash(file)) != listed.lfs.sha256:
        raise WeightsError(
            f"{repo_id}: {path}: expected sha256 {listed.lfs.sha256}, received {found}; "
            "download it again"
        )
    if file.name == WEIGHTS:
        tensor_shapes(file)


def _put_in_place(whole: Path, place: Path) -> None:
    """Move a finished download into the cache, unless another process has just done so."""
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
            "use the revision that this sha256 was made for, or update the sha256"
        )


def _checked_revision(revision: str | None) -> str:
    revision = DEFAULT_REVISION if revision is None else revision
    if not REVISION.fullmatch(revision):
        raise HubError(f"{revision!r}: expected a commit, branch or tag")
    return revision


def _cache_of(repo_id: str) -> Path:
    return cache_folder() / repo_id.replace("/", "--")


def _commit_file(repo_id: str, revision: str) -> Path:
    """Return the file with the commit that a branch or tag had when it was last looked up."""
    return _cache_of(repo_id) / f"{quote(revision, safe='')}.commit"
