"""From a release of IEMOCAP to a table of results and a bundle, in one command.

    python -m recipes.iemocap.pipeline IEMOCAP_PATH [home=runs] [weights=weights/iemocap4]
        [systems=face,speech,words,mdre] [seeds=1] [transcripts=corpus|whisper] [protocol=loso5]
        [workers=N] [engine=auto] [small=1] [allow_partial=1] [dry_run=1] [any=setting of a training]

Prepares the release, trains every system on every fold, fuses face, voice and words, measures all on the
test turns, writes the table, trains once more on all turns and writes the bundle. The same command goes
on where it was stopped. `dry_run=1` says what would be done, with which commands and for how long, and
writes nothing but what the facial network sees. `small=1` takes systems that learn from a generated
corpus in seconds.
"""

from dataclasses import dataclass, field
from pathlib import Path

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.training.config import load_config
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_text
from recipes.iemocap import export, grid
from recipes.iemocap.corpus.published_counts import check_contract
from recipes.iemocap.corpus.release import find_release, list_release
from recipes.iemocap.corpus.turns import read_all_turns
from recipes.iemocap.evaluate import evaluate
from recipes.iemocap.figures.scan import check_free
from recipes.iemocap.fuse import FuseConfig, fuse
from recipes.iemocap.learning.settings import read_settings
from recipes.iemocap.preparation.prepared import load_prepared
from recipes.iemocap.prepare import Settings as PrepareSettings
from recipes.iemocap.prepare import default_workers, prepare
from recipes.iemocap.tables import read_results, tables

FACE = "face-ferplus-seresnet"  # of the bundle, as it is
JOINED = ("speech", "words")  # the other parts of the bundle
PREPARE_COST = 0.3  # seconds of one core for a second of a turn; README.md says how it was measured
HEARING_COST = 0.3  # the same for tiny.en, which hears a whole window for each turn
TABLE = "table.md"


@dataclass(frozen=True)
class Settings:
    """What is made of a release, and where; `rest` are settings of every training."""

    home: str = "runs"
    weights: str = "weights/iemocap4"
    systems: tuple[str, ...] = ("face", *JOINED, "mdre")
    seeds: tuple[str, ...] = ("1",)
    transcripts: str = "corpus"
    workers: int = field(default_factory=default_workers)
    engine: str = "auto"
    small: bool = False
    allow_partial: bool = False
    dry_run: bool = False
    device: str = "auto"
    rest: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if missing := set(JOINED) - set(self.systems):
            raise ConfigError(f"systems: the bundle needs {' and '.join(sorted(missing))} as well")

    def place(self, name: str) -> str:
        return str(Path(self.home) / f"iemocap{name}")

    @property
    def data(self) -> str:
        return self.place("")

    @property
    def grid(self) -> grid.Settings:
        """Every system on every fold."""
        rest = (*self.rest, f"transcripts={self.transcripts}", f"device={self.device}")
        return grid.Settings(
            data=self.data,
            home=self.home,
            systems=self.systems,
            seeds=self.seeds,
            engine=self.engine,
            workers=max(self.workers, 1),
            small=self.small,
            dry_run=self.dry_run,
            rest=rest,
        )

    @property
    def fusion(self) -> FuseConfig:
        """The bundle's parts, joined."""
        toml = grid.TOMLS / ("small/fusion.toml" if self.small else "fusion.toml")
        parts = [FACE, *(grid.run_of(self.home, name, self.seeds[0]) for name in JOINED)]
        words = [f"data={self.data}", f"run={self.place('-fusion')}", f"parts={','.join(parts)}"]
        return load_config(FuseConfig, toml, [*words, f"device={self.device}"])

    @property
    def export(self) -> export.Settings:
        return export.Settings(
            data=self.data,
            fusion=self.place("-fusion"),
            run=self.place("-final"),
            results=self.place("-results"),
            weights=self.weights,
            device=self.device,
        )


def run(source: str, settings: Settings) -> Path:
    """All stages; returns the bundle's folder."""
    _say("prepare")
    prepare(
        source,
        settings.data,
        PrepareSettings(workers=settings.workers, allow_partial=settings.allow_partial),
    )
    _say("train")
    runs = grid.train_grid(settings.grid)
    _say("fuse")
    fused = fuse(settings.fusion)
    _say("measure")
    results = Path(settings.place("-results"))
    evaluate([str(fused), *runs], settings.data, str(results))
    page = tables(read_results([str(path) for path in sorted(results.glob("*.json"))]))
    write_text(results / TABLE, page + "\n")
    print(page)
    check_free([results], load_prepared(settings.data))
    _say("export")
    return export.export(settings.export)


def plan(source: str, settings: Settings) -> None:
    """What `run` would do, stage by stage, and how long each takes."""
    root = find_release(source)
    release = list_release(root, allow_partial=settings.allow_partial)
    turns = read_all_turns(release.dialogs)
    check_contract(turns, allow_partial=settings.allow_partial)
    seconds = sum(turn.duration for turn in turns)
    minutes = seconds * PREPARE_COST / max(settings.workers, 1) / 60
    print(
        f"1. prepare {len(turns):,} turns, {seconds / 3600:.1f} h of them: about {minutes:.0f} min on "
        f"{max(settings.workers, 1)} cores\n   python -m recipes.iemocap.prepare {source} {settings.data}"
    )
    if settings.transcripts == "whisper":
        print(f"   hear their words: about {seconds * HEARING_COST / 60:.0f} min with tiny.en")
    config = settings.grid
    words = (
        f"systems={','.join(config.systems)} seeds={','.join(config.seeds)} {' '.join(config.rest)}"
    )
    print(
        f"2. train\n   python -m recipes.iemocap.grid data={config.data} home={config.home} {words}"
    )
    try:
        load_prepared(settings.data)
    except DataError:
        print("   for how long is measured once the release is prepared")
    else:
        if settings.transcripts == "whisper":
            print("   (the words are heard before they can be timed)")
        else:
            grid.train_grid(config)
    fusion = settings.fusion
    print(
        "3. fuse, a few minutes\n"
        f"   python -m recipes.iemocap.fuse data={fusion.data} run={fusion.run} parts={fusion.parts}\n"
        "4. measure, a few minutes\n"
        f"   python -m recipes.iemocap.evaluate {fusion.run} ... results={settings.place('-results')}\n"
        f"5. train {' and '.join(JOINED)} on all turns, half the time of their folds; write the bundle\n"
        f"   python -m recipes.iemocap.export fusion={fusion.run} weights={settings.weights}"
    )


def _say(stage: str) -> None:
    print(f"== {stage}", flush=True)


def main(source: str, *words: str) -> None:
    """The command line."""
    settings = read_settings(Settings, words)
    if settings.dry_run:
        plan(source, settings)
    else:
        run(source, settings)


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
