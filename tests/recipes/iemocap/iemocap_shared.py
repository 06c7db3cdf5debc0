"""A small artificial corpus, prepared and taken through the whole recipe once for all tests that read it."""

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
    """A folder that goes when the tests end."""
    folder = Path(tempfile.mkdtemp(prefix="iemocap-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def release() -> Path:
    """A corpus in which every turn has one of four classes: all of it can be learnt from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iemocap_plan, "OUTSIDE", ())
        patch.setattr(iemocap_plan, "LABEL_TOTALS", FOUR)
        return write_corpus(place(), CORPUS)


@cache
def prepared_folder() -> Path:
    """The corpus, prepared where the whole recipe prepares it."""
    settings = PrepareSettings(workers=2, allow_partial=True)
    prepare(release(), whole_settings().data, settings)
    return Path(whole_settings().data)


@cache
def whole_settings() -> Settings:
    """The whole recipe with small systems."""
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
    """From the release to the bundle, in one command."""
    prepared_folder()
    return run(str(release()), whole_settings())


def grid_toml(system: str) -> Path:
    """The settings of a small system."""
    return toml_of(system, small=True)
