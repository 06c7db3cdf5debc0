"""Go from a release of IEMOCAP to a table of results and a bundle, in one command.

    python -m recipes.iemocap.pipeline IEMOCAP_PATH [home=runs] [weights=weights/iemocap4]
        [systems=face,speech,words,mdre] [seeds=1] [transcripts=corpus|whisper] [protocol=loso5]
        [workers=N] [engine=auto] [small=1] [allow_partial=1] [dry_run=1] [any=setting of a training]

Prepares the release, trains every system on every fold, fuses face, voice and text, measures all on the test
turns, writes the table, trains on all turns and writes the bundle. The same command continues after an
interruption. `dry_run=1` prints the commands and their estimated time, and writes only the facial network's
features. `small=1` uses small systems that learn from a generated corpus in seconds.
"""

from dataclasses import dataclass, field
from pathlib import Path

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.training.config import load_config
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_text
from recipes.iemocap import export, grid
from recipes.iemocap.corpus.published_counts import check_counts
from recipes.iemocap.corpus.release import find_release, list_release
from recipes.iemocap.corpus.turns import read_all_turns
from recipes.iemocap.evaluate import evaluate
from recipes.iemocap.fuse import FuseConfig, fuse
from recipes.iemocap.learning.config import read_settings
from recipes.iemocap.preparation.prepared import load_prepared
from recipes.iemocap.prepare import Settings as PrepareSettings
from recipes.iemocap.prepare import default_workers, prepare
from recipes.iemocap.publication.scan import check_free
from recipes.iemocap.tables import read_results, tables

FACE = "face-ferplus-seresnet"  # of the bundle, without further training
JOINED = ("speech", "words")  # the other parts of the bundle
PREPARE_COST = 0.3  # seconds of one core per second of turns; README.md describes the measurement
TRANSCRIPTION_COST = 0.3  # the same for tiny.en, which computes a whole window for each turn
TABLE = "table.md"


@dataclass(frozen=True)
class Settings:
    """The stages and folders of a pipeline; `rest` are settings of every training."""

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
    """Run all stages and return the bundle's folder."""
    _print_stage("prepare")
    preparation = PrepareSettings(settings.workers, settings.allow_partial)
    prepare(source, settings.data, preparation)
    _print_stage("train")
    runs = grid.train_grid(settings.grid)
    _print_stage("fuse")
    fused = fuse(settings.fusion)
    _print_stage("measure")
    results = Path(settings.place("-results"))
    evaluate([str(fused), *runs], settings.data, str(results))
    page = tables(read_results([str(path) for path in sorted(results.glob("*.json"))]))
    write_text(results / TABLE, page + "\n")
    print(page)
    check_free([results], load_prepared(settings.data))
    _print_stage("export")
    return export.export(settings.export)


def plan(source: str, settings: Settings) -> None:
    """Print the commands of all stages and their estimated time."""
    root = find_release(source)
    release = list_release(root, allow_partial=settings.allow_partial)
    turns = read_all_turns(release.dialogs)
    check_counts(turns, allow_partial=settings.allow_partial)
    seconds = sum(turn.duration for turn in turns)
    minutes = seconds * PREPARE_COST / max(settings.workers, 1) / 60
    print(
        f"1. prepare {len(turns):,} turns of {seconds / 3600:.1f} h: about {minutes:.0f} min on "
        f"{max(settings.workers, 1)} cores\n   python -m recipes.iemocap.prepare {source} {settings.data}"
    )
    if settings.transcripts == "whisper":
        minutes = seconds * TRANSCRIPTION_COST / 60
        print(f"   transcribe their words: about {minutes:.0f} min with tiny.en")
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
        print("   the time can be measured once the release is prepared")
    else:
        if settings.transcripts == "whisper":
            print("   (the time can be measured once the words are transcribed)")
        else:
            grid.train_grid(config)
    fusion = settings.fusion
    print(
        "3. fuse, a few minutes\n"
        f"   python -m recipes.iemocap.fuse data={fusion.data} run={fusion.run} parts={fusion.parts}\n"
        "4. measure, a few minutes\n"
        f"   python -m recipes.iemocap.evaluate {fusion.run} ... results={settings.place('-results')}\n"
        f"5. train {' and '.join(JOINED)} on all turns, in half the time of their folds; write the bundle\n"
        f"   python -m recipes.iemocap.export fusion={fusion.run} weights={settings.weights}"
    )


def _print_stage(stage: str) -> None:
    print(f"== {stage}", flush=True)


def main(source: str, *words: str) -> None:
    """Run the command."""
    settings = read_settings(Settings, words)
    (plan if settings.dry_run else run)(source, settings)


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
