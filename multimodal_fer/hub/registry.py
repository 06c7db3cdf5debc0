"""Find weights by name: folders on this machine first, then published weights.

`registry.json` maps names to published weights:

    {"NAME": {"repo": "OWNER/NAME", "revision": "40 digits of a commit", "sha256": "as `fetch` prints it"}}
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from multimodal_fer.errors import HubError, WeightsError
from multimodal_fer.hub.downloading import SHA256, all_cached, cache_folder, cached, fetch
from multimodal_fer.hub.weights_folder import COMMIT, CONFIG, check_repository
from multimodal_fer.utils.tensor_files import package_weights

WEIGHTS_VARIABLE = "MULTIMODAL_FER_WEIGHTS"  # a folder of bundles and models to look in first
REGISTRY = Path(__file__).with_name("registry.json")


@dataclass(frozen=True)
class Pin:
    """Published weights pinned to one content."""

    repo: str
    revision: str  # a commit
    sha256: str  # of the files that predictions depend on; see `content_hash`

    def __post_init__(self) -> None:
        check_repository(self.repo)
        if not COMMIT.fullmatch(self.revision) or not SHA256.fullmatch(self.sha256):
            raise ValueError(f"expected a commit and a sha256, found {self}")


def find_weights(name: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Return the folder of a bundle or model.

    Places are searched in this order: the folder of that path; the folder in MULTIMODAL_FER_WEIGHTS; the
    weights of the package; the cache of downloaded weights; a model hub. A hub is asked only for names of
    the registry, whose commit and content are pinned, and for OWNER/NAME as a string. Downloaded weights
    stay in use until `fetch` looks up the revision again.

    Parameters
    ----------
    name : a folder, a name to look up, or OWNER/NAME of published weights
    revision : commit, branch or tag of published weights; by default the one downloaded last, or "main"

    Raises
    ------
    WeightsError that lists the places searched, HubError (`HubUnreachableError` without a network)
    """
    repo = _repository(name)
    if revision and not repo:
        raise WeightsError(
            f"{name}: only published weights have a revision; give their name as OWNER/NAME"
        )
    if not revision and (folder := folder_here(name)):
        return folder
    if not revision and (pin := registered().get(os.fspath(name))):
        return _fetch(name, pin.repo, pin.revision, pin.sha256)
    if repo and (folder := cached(repo, revision)):
        return folder
    # A mistyped path must not be sent to a hub.
    if repo and not os.path.isdir(Path(repo).parent):
        return _fetch(name, repo, revision)
    raise WeightsError(
        f"weights {str(name)!r} not found; known: {', '.join(sorted(known_weights())) or 'none'}; "
        f"searched {_places(name)}; give one of these names, a folder with a {CONFIG}, or OWNER/NAME of "
        "published weights, which `multimodal-fer fetch OWNER/NAME` downloads"
    )


def weights_folders() -> list[Path]:
    """Return the folders searched for names: that of MULTIMODAL_FER_WEIGHTS, then that of the package."""
    chosen = os.environ.get(WEIGHTS_VARIABLE)
    own = package_weights()
    return [Path(chosen), own] if chosen else [own]


def known_weights() -> dict[str, Path | Pin]:
    """Return every name that `find_weights` knows, with its folder, or its pin if not yet downloaded."""
    found: dict[str, Path | Pin] = {}
    for folder in weights_folders():
        for config in sorted(folder.glob(f"*/{CONFIG}")):
            found.setdefault(config.parent.name, config.parent)
    for name, pin in registered().items():
        found.setdefault(name, cached(pin.repo, pin.revision) or pin)
    for repo, _ in all_cached():
        if folder := cached(repo):
            found.setdefault(repo, folder)
    return found


def registered() -> dict[str, Pin]:
    """Return the published weights that `registry.json` names."""
    try:
        rows = json.loads(REGISTRY.read_text(encoding="utf-8"))
        return {name: Pin(**row) for name, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError, HubError) as error:
        raise WeightsError(f"{REGISTRY}: is damaged ({error}); install the package again") from None


def folder_here(name: str | os.PathLike[str]) -> Path | None:
    """Return a folder of weights on this machine by path or name; None if there is none."""
    return next((place for place in _places_here(name) if _is_file(place / CONFIG)), None)


def _is_file(path: Path) -> bool:
    """Return true for a file; false for a name that the file system refuses, such as one of 300 letters."""
    return os.path.isfile(path)


def _places_here(name: str | os.PathLike[str]) -> list[Path]:
    return [Path(name), *(folder / name for folder in weights_folders())]


def _repository(name: str | os.PathLike[str]) -> str | None:
    """Return `name` if it is a string OWNER/NAME, else None; a `Path` is never a repository."""
    with suppress(HubError):
        if isinstance(name, str) and check_repository(name):
            return name
    return None


def _fetch(
    name: str | os.PathLike[str], repo: str, revision: str | None, sha256: str | None = None
) -> Path:
    try:
        return fetch(repo, revision, sha256)
    except HubError as error:
        raise type(error)(f"{error}; before that, searched {_places(name)}") from error


def _places(name: str | os.PathLike[str]) -> str:
    return f"{', '.join(map(str, _places_here(name)))} and in the cache {cache_folder()}"
