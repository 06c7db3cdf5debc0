"""Find weights by name: folders on this machine first, then published ones that were or can be fetched.

`registry.json` says which published weights a name stands for:

    {"NAME": {"repo": "OWNER/NAME", "revision": "40 digits of a commit", "sha256": "as `fetch` prints it"}}
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from multimodal_fer.errors import HubError, WeightsError
from multimodal_fer.hub.downloading import SHA256, all_cached, cache_folder, cached, fetch
from multimodal_fer.hub.weights_folder import COMMIT, CONFIG, check_repository

WEIGHTS_VARIABLE = "MULTIMODAL_FER_WEIGHTS"  # a folder of bundles and models to look in first
REGISTRY = Path(__file__).with_name("registry.json")


@dataclass(frozen=True)
class Pin:
    """Published weights whose content can never be another one."""

    repo: str
    revision: str  # a commit
    sha256: str  # of all that answers depend on

    def __post_init__(self) -> None:
        check_repository(self.repo)
        if not COMMIT.fullmatch(self.revision) or not SHA256.fullmatch(self.sha256):
            raise ValueError(f"expected a commit and a sha256, found {self}")


def find_weights(name: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The folder of a bundle or model.

    It is looked for in this order: the folder of that path; the folder that MULTIMODAL_FER_WEIGHTS names;
    the weights that came with the package; the cache of fetched weights; a model hub. A hub is asked only
    for a name of the registry, whose commit and content are pinned, or for a text OWNER/NAME; what was
    fetched once is taken from the cache from then on, until `fetch` looks again.

    Parameters
    ----------
    name : a folder, a name to look up, or OWNER/NAME of published weights
    revision : commit, branch or tag of published weights; the default is what was fetched last, or "main"

    Raises
    ------
    WeightsError saying where it looked, HubError (`HubUnreachableError` without a network)
    """
    repo = _repository(name)
    if revision and not repo:
        raise WeightsError(
            f"{name}: a revision belongs to published weights; give them as OWNER/NAME"
        )
    if not revision and (folder := folder_here(name)):
        return folder
    if not revision and (pin := registered().get(os.fspath(name))):
        return _fetched(name, pin.repo, pin.revision, pin.sha256)
    if repo and (folder := cached(repo, revision)):
        return folder
    # A mistyped path is nobody else's business.
    if repo and not Path(repo).parent.is_dir():
        return _fetched(name, repo, revision)
    raise WeightsError(
        f"weights {str(name)!r} not found; known: {', '.join(sorted(known_weights())) or 'none'}; "
        f"looked for {_places(name)}; give one of these names, a folder that holds {CONFIG}, or "
        "OWNER/NAME of published weights, which `multimodal-fer fetch OWNER/NAME` brings here"
    )


def weights_folders() -> list[Path]:
    """Where names are looked up: the variable's folder, then what came with the package."""
    package = Path(__file__).parent.parent
    chosen = os.environ.get(WEIGHTS_VARIABLE)
    # In a wheel the weights lie inside the package, in a checkout beside it.
    own = package / "weights"
    own = own if own.is_dir() else package.parent / "weights"
    return [Path(chosen), own] if chosen else [own]


def known_weights() -> dict[str, Path | Pin]:
    """Every name that `find_weights` finds: its folder, or what would be fetched."""
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
    """The names of published weights that came with this version."""
    try:
        rows = json.loads(REGISTRY.read_text(encoding="utf-8"))
        return {name: Pin(**row) for name, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError, HubError) as error:
        raise WeightsError(f"{REGISTRY}: is damaged ({error}); install the package again") from None


def folder_here(name: str | os.PathLike[str]) -> Path | None:
    """The folder of weights on this machine, by path or name; None where there is none."""
    return next((place for place in _places_here(name) if (place / CONFIG).is_file()), None)


def _places_here(name: str | os.PathLike[str]) -> list[Path]:
    return [Path(name), *(folder / name for folder in weights_folders())]


def _repository(name: str | os.PathLike[str]) -> str | None:
    """OWNER/NAME, where a text is that. A `Path` is always meant as a path."""
    if not isinstance(name, str):
        return None
    try:
        check_repository(name)
    except HubError:
        return None
    return name


def _fetched(
    name: str | os.PathLike[str], repo: str, revision: str | None, sha256: str | None = None
) -> Path:
    try:
        return fetch(repo, revision, sha256)
    except HubError as error:
        raise type(error)(f"{error}; before that, looked for {_places(name)}") from error


def _places(name: str | os.PathLike[str]) -> str:
    return f"{', '.join(map(str, _places_here(name)))} and in the cache {cache_folder()}"
