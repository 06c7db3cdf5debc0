"""A small artificial corpus, run once through the whole recipe for all tests that use it."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import iemocap_plan
import pytest
from iemocap_corpus import CorpusConfig, write_corpus

from recipes.iemocap.grid import toml_of
from recipes.iemocap.pipeline import Settings, run
from recipes.iemocap.prepare import Settings as PrepareSettings
from recipes.iemocap.prepare import prepare

CORPUS = CorpusConfig(turns=240, sessions=(1, 2, 3), seconds=0.8, oddities=False)
FOUR = {"ang": 1103, "hap": 595, "exc": 1041, "sad": 1084, "neu": 1708}


@cache
def place() -> Path:
    """Make a folder that is removed when the tests end."""
    folder = Path(tempfile.mkdtemp(prefix="iemocap-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def release() -> Path:
    """Write a corpus in which every turn has one of four classes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iemocap_plan, "OUTSIDE", ())
        patch.setattr(iemocap_plan, "LABEL_TOTALS", FOUR)
        return write_corpus(place(), CORPUS)


@cache
def prepared_folder() -> Path:
    """Prepare the corpus in the folder of the whole recipe."""
    settings = PrepareSettings(workers=2, allow_partial=True)
    prepare(release(), whole_settings().data, settings)
    return Path(whole_settings().data)


@cache
def whole_settings() -> Settings:
    """Return the settings of the whole recipe with small systems."""
    return Settings(
        home=str(place() / "runs"),
        weights=str(place() / "weights" / "iemocap4"),
        systems=("face", "speech", "words", "mdre"),
        workers=2,
        engine="processes",
        small=True,
        allow_partial=True,
        device="cpu",
    )


@cache
def bundle() -> Path:
    """Run the recipe from the release to the bundle."""
    prepared_folder()
    return run(str(release()), whole_settings())


def grid_toml(system: str) -> Path:
    """Return the settings file of a small system."""
    return toml_of(system, small=True)
