"""Publish a folder of weights, or a bundle with its parts, on a model hub (extra `hub`).

    planned = plan("weights/face-ferplus-seresnet", "owner/face-ferplus-seresnet")  # asks no hub
    print(planned.files, planned.problems)
    print(publish(planned))

Published weights are for good: what once was public is copied. So nothing is uploaded unless it is complete,
proven by its golden logits, and holds nothing but weights, and a repository is closed before it is filled.

What is relied on in `huggingface_hub`: `create_commit` makes one commit of all files, so a repository never
holds half of a publication; it leaves out files whose content the hub has already, and uploads large files
before it commits, so that after an interruption only what is missing is uploaded. Where nothing changed there
is no new commit.
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
    foreign_files,
    hub_errors,
    hub_library,
    part_folders,
    read_config,
    travels,
)
from multimodal_fer.utils.files import file_hash

__all__ = ["PlannedFile", "PublishPlan", "foreign_files", "plan", "publish"]

Gate = Literal["auto", "manual", False]

# Weights that learnt from this corpus are gated unless the publisher says otherwise.
GUARDED = "iemocap"
GATE_PROMPT = (
    "These weights were trained on IEMOCAP, which USC SAIL releases under a signed form for research. "
    "Ask for access only if you will use them within the terms in this repository, for research, and not "
    "to decide about people."
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
    source: Path | None = field(repr=False)  # None for the card, which is made from the folder's


@dataclass(frozen=True)
class PublishPlan:
    """What would be published, and what forbids it."""

    folder: Path
    repo: str
    private: bool
    gated: Gate
    licence: str  # as the card's front matter has it; one of its own kind with its name
    card: str  # with figures, terms and gate in its front matter
    files: tuple[PlannedFile, ...]
    sha256: str  # of all that answers depend on, to pin a download with
    problems: tuple[str, ...]  # sentences; empty where it can be published


@dataclass(frozen=True)
class _Part:
    """One folder: a model, or a bundle's own config and card."""

    folder: Path
    prefix: str  # of its paths in the repository
    config: Mapping[str, Any]
    card: Card


def plan(
    folder: str | os.PathLike[str],
    repo: str,
    *,
    private: bool = False,
    gated: Gate | None = None,
) -> PublishPlan:
    """What `publish` would do with a model's or bundle's folder, and everything that is wrong with it.

    Asks no hub and changes nothing.

    Parameters
    ----------
    folder : path
        A weights folder; the parts of a bundle lie beside it.
    repo : str
        Owner and name on the hub.
    private : bool
        Visible to its owner only.
    gated : "auto", "manual" or False, optional
        Whether people must ask for the files, and who lets them in: the hub or its owner. By default
        "manual" for weights that learnt from IEMOCAP, and no gate for others.
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
        problems.append(f"{repo}: a part of the bundle has this name; choose another")
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
    """Make the repository hold what was planned; returns the address of the commit.

    `token` is an access token with the right to write; by default the one of `hf auth login` or HF_TOKEN.
    A repository that exists gets a new commit; it is closed further where the plan says so, never opened.

    Raises `WeightsError` where the plan has problems or the folder changed since, `HubError` where the
    hub refuses; run it again after an interruption.
    """
    if plan.problems:
        raise WeightsError(f"{plan.folder}: cannot be published: " + "; ".join(plan.problems))
    _check_unchanged(plan)
    api = hub_library().HfApi(token=token)
    with hub_errors(plan.repo):
        api.whoami()  # tells a wrong token from a missing right
        api.create_repo(plan.repo, private=plan.private, exist_ok=True)
        wanted = {"gated": plan.gated, "private": plan.private}
        if closed := {name: value for name, value in wanted.items() if value}:
            api.update_repo_settings(plan.repo, **closed)
        now = api.model_info(plan.repo)
        commit = api.create_commit(
            plan.repo,
            _operations(plan, [file.rfilename for file in now.siblings or ()]),
            commit_message=f"Weights {plan.sha256[:12]} of {plan.folder.name}",
            parent_commit=now.sha,  # somebody else's commit in the meantime is not written over
        )
    return commit.commit_url


def _read_parts(folder: Path) -> list[_Part]:
    """The folder and, for a bundle, its parts. Raises where one cannot be read at all."""
    root = _read_part(folder, "")
    names = part_folders(root.config, folder / CONFIG)
    return [root, *(_read_part(folder.parent / name, f"{name}/") for name in names)]


def _read_part(folder: Path, prefix: str) -> _Part:
    if not folder.is_dir() or (prefix and folder.is_symlink()):
        raise WeightsError(f"{folder}: expected a folder of weights, found none; save it again")
    return _Part(folder, prefix, read_config(folder), read_card(folder / CARD))


def _is_guarded(part: _Part) -> bool:
    """Whether weights learnt from IEMOCAP. Figures that were only measured on it do not count."""
    config = {key: value for key, value in part.config.items() if key != "results"}
    told = [config, *(part.card.metadata.get(key) for key in ("license_name", "tags"))]
    return GUARDED in json.dumps(told, default=str).lower()


def _problems(part: _Part) -> list[str]:
    """Everything that forbids to publish a folder, as sentences."""
    foreign = foreign_files(part.folder)
    return [
        *(f"{part.folder / name}: {why}" for name, why in foreign.items()),
        *card_problems(part.card),
        *_terms_problems(part),
        *_results_problems(part),
        *([] if foreign else _golden_problems(part)),
    ]


def _terms_problems(part: _Part) -> Iterator[str]:
    if "model" in part.config and not part.config.get("licence"):
        yield f"{part.folder / CONFIG}: lacks 'licence', the terms of the weights; save them with it"


def _results_problems(part: _Part) -> Iterator[str]:
    """Weights are published with figures: results in the config, or a table in the card."""
    try:
        if not results_of(part.config) and not part.card.has_figures:
            yield (
                f"{part.folder}: has no evaluation results; write a table of them under '## Figures', "
                f"or 'results' into {CONFIG}"
            )
    except ValueError as error:
        yield f"{part.folder}: {error}; save the weights again"


def _golden_problems(part: _Part) -> Iterator[str]:
    """A model must answer its golden input as when it was saved; a bundle must load."""
    try:
        if "model" in part.config:
            loading.verify(part.folder)
        else:
            loading.load_bundle(part.folder)  # its parts are verified each by itself
    except MultimodalFerError as error:
        yield str(error)


def _guarded_problems(root: _Part) -> Iterator[str]:
    """What is asked of weights that learnt from IEMOCAP."""
    if root.card.metadata.get("license") != "other":
        yield f"{root.card.path}: learnt from IEMOCAP, so license must be 'other', with terms in {TERMS[0]}"
    if "datasets" in root.card.metadata:
        yield (
            f"{root.card.path}: the front matter has 'datasets'; IEMOCAP has no place on a hub, "
            "and naming one would link to a copy; remove it"
        )
    terms = _terms_file(root)
    if terms is None or GUARDED not in terms.read_text("utf-8", errors="replace").lower():
        yield (
            f"{root.folder}: learnt from IEMOCAP, but no {' or '.join(TERMS)} names it; "
            "write down the terms after reading your release form"
        )


def _licence(card: Card) -> str:
    licence, name = (card.metadata.get(key) for key in ("license", "license_name"))
    return f"{licence} ({name})" if licence and name else str(licence or "")


def _terms_file(part: _Part) -> Path | None:
    return next((path for name in TERMS if (path := part.folder / name).is_file()), None)


def _published_card(root: _Part, others: Sequence[_Part], gate: Gate, guarded: bool) -> str:
    """The folder's card with what hub pages read: terms, gate and figures in its front matter."""
    metadata = dict(root.card.metadata)
    terms = _terms_file(root)
    if metadata.get("license") == "other" and terms is not None:
        metadata.setdefault("license_link", terms.name)
    if gate and guarded:
        metadata.setdefault("extra_gated_prompt", GATE_PROMPT)
        metadata.setdefault("extra_gated_fields", dict(GATE_FIELDS))
    with suppress(ValueError):  # told as a problem
        metadata |= model_index(root.folder.name, root.card, root.config)
    return write_card(root.card, metadata, [part.folder.name for part in others])


def _planned_files(parts: Sequence[_Part], card: str) -> Iterator[PlannedFile]:
    """The files of known names; the card as it will be, everything else as it is."""
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
            raise WeightsError(f"{path}: changed since it was planned; plan it again")


def _operations(plan: PublishPlan, there: Sequence[str]) -> list[Any]:
    """Add what is planned; remove files of weights that an earlier publication left behind."""
    library = hub_library()
    planned = {file.path for file in plan.files}
    added = [
        library.CommitOperationAdd(
            path_in_repo=file.path,
            path_or_fileobj=plan.card.encode() if file.source is None else str(file.source),
        )
        for file in plan.files
    ]
    left = [path for path in there if travels(path) and path not in planned]
    return [*added, *(library.CommitOperationDelete(path_in_repo=path) for path in left)]
