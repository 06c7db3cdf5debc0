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

weights = typer.Typer(no_args_is_help=True, help="The weights that can be loaded here.")


class Gating(StrEnum):
    """Who lets people in: the hub, the owner, or there is no gate."""

    AUTO = "auto"
    MANUAL = "manual"
    NO = "no"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command()(publish)
    app.command()(fetch)
    app.add_typer(weights, name="weights")


def publish(
    folder: Annotated[Path, typer.Argument(help="A model's folder, or a bundle's.")],
    repo: Annotated[str, typer.Option(help="Where to: OWNER/NAME on the hub.")],
    private: Annotated[bool, typer.Option("--private", help="Visible to its owner only.")] = False,
    gated: Annotated[
        Gating | None,
        typer.Option(help="Who lets people in; default: manual for weights of IEMOCAP, else no."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and ask no hub.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before publishing.")] = False,
) -> None:
    """Publish weights on a model hub, complete and verified, or not at all."""
    from multimodal_fer.hub import publishing

    gate = {Gating.NO: False, Gating.AUTO: "auto", Gating.MANUAL: "manual", None: None}[gated]
    with explained():
        planned = publishing.plan(folder, repo, private=private, gated=gate)  # type: ignore[arg-type]
        show_plan(planned)
        if planned.problems:
            raise typer.Exit(FAILED)
        if dry_run:
            return
        if not yes and somebody_is_there():
            typer.confirm(f"publish on {planned.repo}? It cannot be taken back", abort=True)
        print(f"published: {publishing.publish(planned)}")


def somebody_is_there() -> bool:
    """Whether a question would be seen."""
    return sys.stdin.isatty()


def show_plan(planned: "PublishPlan") -> None:
    """What would be published, for people, and what forbids it."""
    gate = f"gated ({planned.gated})" if planned.gated else "not gated"
    print(
        f"{planned.folder} → {planned.repo}, {'private' if planned.private else 'public'}, {gate}"
    )
    for file in planned.files:
        print(f"  {file.size:>12,} bytes  {file.path}")
    print(f"  {sum(file.size for file in planned.files):>12,} bytes  in all")
    print(f"licence: {planned.licence or 'missing'}")
    print(f"sha256: {planned.sha256}")
    for problem in planned.problems:
        print(f"missing or wrong: {problem}")
    if planned.problems:
        print(f"cannot be published: {len(planned.problems)} problems")


def fetch(
    repo: Annotated[str, typer.Argument(help="Published weights: OWNER/NAME.")],
    revision: Annotated[
        str | None, typer.Option(help="Commit, branch or tag; default: main.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="What the content must be, as an earlier fetch printed it.")
    ] = None,
) -> None:
    """Fetch published weights into the cache, and say what to pin them with."""
    from multimodal_fer.hub import downloading

    with explained():
        folder = downloading.fetch(repo, revision, sha256)
        print(f"folder: {folder}")
        print(f"revision: {folder.parent.name}")
        print(f"sha256: {downloading.sha256_of(folder)}")


@weights.command("list")
def show_weights() -> None:
    """Show what can be loaded, where it lies, its labels and its size."""
    from multimodal_fer.hub import registry
    from multimodal_fer.hub.weights_folder import in_words, part_folders, read_config

    with explained():
        for name, place in registry.known_weights().items():
            if isinstance(place, registry.Pin):
                print(f"{name}: published as {place.repo}, fetched when it is asked for\n")
                continue
            try:
                config = read_config(place)
                parts = part_folders(config, place)
                size = in_words(sum(map(_size, [place, *(place.parent / p for p in parts)])))
            except MultimodalFerError as error:
                print(f"{name}: cannot be loaded: {error}\n")
                continue
            kind = (
                f"bundle of {', '.join(parts)}"
                if parts
                else f"model for {config.get('modality', 'unknown')}"
            )
            print(f"{name}: {kind}, {size}\n  {place}\n  labels: {_labels(config)}\n")


def _size(folder: Path) -> int:
    from multimodal_fer.hub.weights_folder import TRAVELS

    paths = [folder / name for name in TRAVELS]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _labels(config: dict) -> str:
    labels = config.get("labels") or config.get("settings", {}).get("labels", [])
    return ", ".join(map(str, labels))


@weights.command("verify")
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names, folders, or OWNER/NAME; default: all that are here."),
    ] = None,
) -> None:
    """Compare bundles with the hashes they pin, and answers with those stored beside the weights."""
    from multimodal_fer.hub import loading, registry

    failed = 0
    with explained():
        here = registry.known_weights()
        chosen = names or [name for name, place in here.items() if isinstance(place, Path)]
        for name in chosen:
            try:
                difference = loading.verify(name)
                print(f"{name}: as saved, largest difference of a logit {difference:.1g}")
            except MultimodalFerError as error:
                failed += 1
                print(f"{name}: FAILED: {error}")
    if failed:
        raise typer.Exit(FAILED)
