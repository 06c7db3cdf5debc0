"""The commands for weights: `publish`, `fetch`, `weights list` and `weights verify`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multimodal_fer.cli.options import FAILED, explained
from multimodal_fer.errors import MultimodalFerError

if TYPE_CHECKING:
    from multimodal_fer.hub.publishing import PublishPlan

weights = typer.Typer(no_args_is_help=True, help="List and verify weights.")


class Gating(StrEnum):
    """Access to published weights: granted by the hub, by the owner, or without a request."""

    AUTO = "auto"
    MANUAL = "manual"
    NO = "no"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command()(publish)
    app.command()(fetch)
    app.add_typer(weights, name="weights")


def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of a model or a bundle.")],
    repo: Annotated[str, typer.Option(help="Repository on the hub: OWNER/NAME.")],
    private: Annotated[bool, typer.Option("--private", help="Visible only to the owner.")] = False,
    gated: Annotated[
        Gating | None,
        typer.Option(
            help="Who grants access; default: manual for weights trained on IEMOCAP, else no."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan without a network.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before publishing.")] = False,
) -> None:
    """Publish complete and verified weights on a model hub."""
    from multimodal_fer.hub import publishing

    gate = {Gating.NO: False, Gating.AUTO: "auto", Gating.MANUAL: "manual", None: None}[gated]
    with explained():
        planned = publishing.plan(folder, repo, private=private, gated=gate)  # type: ignore[arg-type]
        show_plan(planned)
        if planned.problems:
            raise typer.Exit(FAILED)
        if dry_run:
            return
        if not yes and is_interactive():
            typer.confirm(f"publish on {planned.repo}? It cannot be taken back", abort=True)
        print(f"published: {publishing.publish(planned)}")


def is_interactive() -> bool:
    """Return whether a question can be answered."""
    return sys.stdin.isatty()


def show_plan(planned: "PublishPlan") -> None:
    """Print the files that would be published and the problems that prevent it."""
    gate = f"gated ({planned.gated})" if planned.gated else "not gated"
    print(
        f"{planned.folder} → {planned.repo}, {'private' if planned.private else 'public'}, {gate}"
    )
    for file in planned.files:
        print(f"  {file.size:>12,} bytes  {file.path}")
    print(f"  {sum(file.size for file in planned.files):>12,} bytes  in total")
    print(f"licence: {planned.licence or 'missing'}")
    print(f"sha256: {planned.sha256}")
    for problem in planned.problems:
        print(f"problem: {problem}")
    if planned.problems:
        print(f"cannot be published: {len(planned.problems)} problems")


def fetch(
    repo: Annotated[str, typer.Argument(help="Published weights: OWNER/NAME.")],
    revision: Annotated[
        str | None, typer.Option(help="Commit, branch or tag; default: main.")
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(help="Expected sha256 of the content, as printed by an earlier fetch."),
    ] = None,
) -> None:
    """Download published weights into the cache; print folder, revision and sha256."""
    from multimodal_fer.hub import downloading

    with explained():
        folder = downloading.fetch(repo, revision, sha256)
        print(f"folder: {folder}")
        print(f"revision: {folder.parent.name}")
        print(f"sha256: {downloading.sha256_of(folder)}")


@weights.command("list")
def show_weights() -> None:
    """List all weights with folder, labels and size."""
    from multimodal_fer.hub import registry
    from multimodal_fer.hub.weights_folder import in_words, part_folders, read_config

    with explained():
        for name, place in registry.known_weights().items():
            if isinstance(place, registry.Pin):
                print(f"{name}: published as {place.repo}, downloaded when first used\n")
                continue
            try:
                config = read_config(place)
                parts = part_folders(config, place)
                size = in_words(sum(map(_size, [place, *(place.parent / p for p in parts)])))
            except MultimodalFerError as error:
                print(f"{name}: cannot be loaded: {error}\n")
                continue
            model = f"model for {config.get('modality', 'unknown')}"
            kind = f"bundle of {', '.join(parts)}" if parts else model
            labels = config.get("labels") or config.get("settings", {}).get("labels", [])
            print(f"{name}: {kind}, {size}\n  {place}\n  labels: {', '.join(map(str, labels))}\n")


def _size(folder: Path) -> int:
    from multimodal_fer.hub.weights_folder import TRAVELS

    return sum((folder / name).stat().st_size for name in TRAVELS if (folder / name).is_file())


@weights.command("verify")
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names, folders, or OWNER/NAME; default: all on this machine."),
    ] = None,
) -> None:
    """Verify weights by their sha256 and their reference outputs."""
    from multimodal_fer.hub import loading, registry

    failed = 0
    with explained():
        known = registry.known_weights()
        for name in names or [name for name, place in known.items() if isinstance(place, Path)]:
            try:
                difference = loading.verify(name)
                print(f"{name}: verified, largest difference of a logit {difference:.1g}")
            except MultimodalFerError as error:
                failed += 1
                print(f"{name}: FAILED: {error}")
    if failed:
        raise typer.Exit(FAILED)
