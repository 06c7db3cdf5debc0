"""Publish a folder of weights, or a bundle with its parts, on a model hub (extra `hub`).

    planned = plan("weights/face-ferplus-seresnet", "owner/face-ferplus-seresnet")  # without a network
    print(planned.files, planned.problems)
    print(publish(planned))

A publication cannot be taken back, since others may copy it. Therefore nothing is uploaded unless the folder
is complete, reproduces its reference outputs and holds only weights, and a gate is set before the upload.

`create_commit` of `huggingface_hub` commits all files at once, so that no repository is ever half filled. It
skips files that the hub already has and uploads large files before it commits, so after an interruption only
the missing files are uploaded. Without changes there is no new commit.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from multimodal_fer.errors import MultimodalFerError, WeightsError
from multimodal_fer.hub import loading
from multimodal_fer.hub.cards import (
    Card,
    card_problems,
    model_index,
    read_card,
    results_of,
    write_card,
)
from multimodal_fer.hub.weights_folder import (
    CARD,
    CONFIG,
    TERMS,
    TRAVELS,
    check_repository,
    content_hash,
    hub_errors,
    hub_library,
    part_folders,
    read_config,
    travels,
    unexpected_files,
)
from multimodal_fer.utils.files import file_hash

__all__ = ["PlannedFile", "PublishPlan", "plan", "publish", "unexpected_files"]

Gate = Literal["auto", "manual", False]

# Weights trained on this corpus are gated unless the publisher chooses otherwise.
GUARDED = "iemocap"
GATE_PROMPT = (
    "These weights were trained on IEMOCAP, which USC SAIL releases under a signed form for research. "
    "Request access only if you will use them for research, within the terms in this repository, and not to "
    "make decisions about people."
)
GATE_FIELDS = {
    "Affiliation": "text",
    "Intended use": "text",
    "I hold an IEMOCAP release form": "checkbox",
    "I will use the weights within the terms of this repository": "checkbox",
}


@dataclass(frozen=True)
class PlannedFile:
    """A file as it will be published."""

    path: str  # in the repository
    size: int
    sha256: str
    source: Path | None = field(repr=False)  # None for the card, which is generated


@dataclass(frozen=True)
class PublishPlan:
    """The files that would be published, and the problems that prevent it."""

    folder: Path
    repo: str
    private: bool
    gated: Gate
    licence: str  # of the card's front matter; a custom one with its name
    card: str  # with figures, terms and gate in its front matter
    files: tuple[PlannedFile, ...]
    sha256: str  # of the files that predictions depend on, to pin a download
    problems: tuple[str, ...]  # sentences; empty if the weights can be published


@dataclass(frozen=True)
class _Part:
    """One folder: a model, or the config and card of a bundle."""

    folder: Path
    prefix: str  # of paths in the repository
    config: Mapping[str, Any]
    card: Card


def plan(
    folder: str | os.PathLike[str],
    repo: str,
    *,
    private: bool = False,
    gated: Gate | None = None,
) -> PublishPlan:
    """Return the files that `publish` would upload, and all problems of the folder.

    Needs no network and changes nothing.

    Parameters
    ----------
    folder : path
        A model, or a bundle with its parts beside it.
    repo : str
        Owner and name on the hub.
    private : bool
        Visible only to the owner.
    gated : "auto", "manual" or False, optional
        Whether people must request access, and who grants it: the hub ("auto") or the owner ("manual"). By
        default "manual" for weights trained on IEMOCAP, else False.
    """
    hub_library()
    folder, name = Path(folder).absolute(), check_repository(repo)
    parts = _read_parts(folder)
    root, others = parts[0], parts[1:]
    guarded = any(_is_guarded(part) for part in parts)
    gate: Gate = ("manual" if guarded else False) if gated is None else gated
    problems = [problem for part in parts for problem in _problems(part)]
    if guarded:
        problems += _guarded_problems(root)
    if any(part.folder.name == name for part in others):
        problems.append(f"{repo}: a part of the bundle has this name; choose another name")
    card = _published_card(root, others, gate, guarded)
    files = tuple(_planned_files(parts, card))
    return PublishPlan(
        folder=folder,
        repo=repo,
        private=private,
        gated=gate,
        licence=_licence(root.card),
        card=card,
        files=files,
        sha256=content_hash({file.path: file.sha256 for file in files}),
        problems=tuple(problems),
    )


def publish(plan: PublishPlan, token: str | None = None) -> str:
    """Upload the planned files in one commit and return its address.

    `token` is an access token with the right to write; by default that of `hf auth login` or HF_TOKEN. An
    existing repository gets a new commit; its access may become more restricted, never less.

    Raises `WeightsError` if the plan has problems or the folder has changed since, and `HubError` if the hub
    refuses. After an interruption call it again.
    """
    if plan.problems:
        raise WeightsError(f"{plan.folder}: cannot be published: " + "; ".join(plan.problems))
    _check_unchanged(plan)
    api = hub_library().HfApi(token=token)
    with hub_errors(plan.repo):
        api.whoami()  # distinguishes an unknown token from a missing right
        api.create_repo(plan.repo, private=plan.private, exist_ok=True)
        wanted = {"gated": plan.gated, "private": plan.private}
        if closed := {name: value for name, value in wanted.items() if value}:
            api.update_repo_settings(plan.repo, **closed)
        now = api.model_info(plan.repo)
        commit = api.create_commit(
            plan.repo,
            _operations(plan, [file.rfilename for file in now.siblings or ()]),
            commit_message=f"Weights {plan.sha256[:12]} of {plan.folder.name}",
            parent_commit=now.sha,  # fails if somebody else has committed in the meantime
        )
    return commit.commit_url


def _read_parts(folder: Path) -> list[_Part]:
    """Read the folder and the parts of a bundle; raise if one cannot be read at all."""
    root = _read_part(folder, "")
    names = part_folders(root.config, folder / CONFIG)
    return [root, *(_read_part(folder.parent / name, f"{name}/") for name in names)]


def _read_part(folder: Path, prefix: str) -> _Part:
    if not folder.is_dir() or (prefix and folder.is_symlink()):
        raise WeightsError(f"{folder}: expected a folder of weights, found none; save it again")
    return _Part(folder, prefix, read_config(folder), read_card(folder / CARD))


def _is_guarded(part: _Part) -> bool:
    """Return whether the weights were trained on IEMOCAP; results measured on it do not count."""
    config = {key: value for key, value in part.config.items() if key != "results"}
    about = [config, *(part.card.metadata.get(key) for key in ("license_name", "tags"))]
    return GUARDED in json.dumps(about, default=str).lower()


def _problems(part: _Part) -> Iterator[str]:
    """Yield a sentence for everything that prevents publishing a folder."""
    unexpected = unexpected_files(part.folder)
    yield from (f"{part.folder / name}: {why}" for name, why in unexpected.items())
    yield from card_problems(part.card)
    if "model" in part.config and not part.config.get("licence"):
        yield f"{part.folder / CONFIG}: lacks 'licence', the terms of the weights; save them with it"
    try:
        if not results_of(part.config) and not part.card.has_figures:
            yield (
                f"{part.folder}: has no evaluation results; add a table below '## Figures' of the card, "
                f"or 'results' to {CONFIG}"
            )
    except ValueError as error:
        yield f"{part.folder}: {error}; save the weights again"
    if not unexpected:
        yield from _verification_problems(part)


def _verification_problems(part: _Part) -> Iterator[str]:
    """Check that a model reproduces its reference outputs, and that a bundle can be loaded."""
    try:
        if "model" in part.config:
            loading.verify(part.folder)
        else:
            loading.load_bundle(part.folder)  # its parts are verified separately
    except MultimodalFerError as error:
        yield str(error)


def _guarded_problems(root: _Part) -> Iterator[str]:
    """Check what weights trained on IEMOCAP need to be published."""
    if root.card.metadata.get("license") != "other":
        yield f"{root.card.path}: trained on IEMOCAP, so license must be 'other', with terms in {TERMS[0]}"
    if "datasets" in root.card.metadata:
        yield (
            f"{root.card.path}: the front matter has 'datasets'; IEMOCAP is not published on a hub, so this "
            "would link to a copy; remove it"
        )
    terms = _terms_file(root)
    if terms is None or GUARDED not in terms.read_text("utf-8", errors="replace").lower():
        yield (
            f"{root.folder}: trained on IEMOCAP, but no {' or '.join(TERMS)} names it; "
            "write down the terms after reading your release form"
        )


def _licence(card: Card) -> str:
    licence, name = (card.metadata.get(key) for key in ("license", "license_name"))
    return f"{licence} ({name})" if licence and name else str(licence or "")


def _terms_file(part: _Part) -> Path | None:
    return next((path for name in TERMS if (path := part.folder / name).is_file()), None)


def _published_card(root: _Part, others: Sequence[_Part], gate: Gate, guarded: bool) -> str:
    """Return the card with terms, gate and figures in its front matter, as hub pages show them."""
    metadata = dict(root.card.metadata)
    terms = _terms_file(root)
    if metadata.get("license") == "other" and terms is not None:
        metadata.setdefault("license_link", terms.name)
    if gate and guarded:
        metadata.setdefault("extra_gated_prompt", GATE_PROMPT)
        metadata.setdefault("extra_gated_fields", dict(GATE_FIELDS))
    with suppress(ValueError):  # listed as a problem
        metadata |= model_index(root.folder.name, root.card, root.config)
    return write_card(root.card, metadata, [part.folder.name for part in others])


def _planned_files(parts: Sequence[_Part], card: str) -> Iterator[PlannedFile]:
    """Yield the generated card and all other files of known names."""
    content = card.encode()
    yield PlannedFile(CARD, len(content), hashlib.sha256(content).hexdigest(), None)
    for part in parts:
        for name in TRAVELS:
            path = part.folder / name
            is_card = name == CARD and not part.prefix
            if not is_card and path.is_file() and not path.is_symlink():
                yield PlannedFile(part.prefix + name, path.stat().st_size, file_hash(path), path)


def _check_unchanged(plan: PublishPlan) -> None:
    for file in plan.files:
        path = file.source
        if path and (path.is_symlink() or not path.is_file() or file_hash(path) != file.sha256):
            raise WeightsError(f"{path}: has changed since the plan was made; make the plan again")


def _operations(plan: PublishPlan, present: Sequence[str]) -> list[Any]:
    """Return operations that add the planned files and delete weights files that are not planned."""
    library = hub_library()
    planned = {file.path for file in plan.files}
    added = [
        library.CommitOperationAdd(
            path_in_repo=file.path,
            path_or_fileobj=plan.card.encode() if file.source is None else str(file.source),
        )
        for file in plan.files
    ]
    old = [path for path in present if travels(path) and path not in planned]
    return [*added, *(library.CommitOperationDelete(path_in_repo=path) for path in old)]
