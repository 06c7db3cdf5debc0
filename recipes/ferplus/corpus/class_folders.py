"""Read FER2013 from a release with a folder for each class."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy

from multimodal_fer.errors import DataError
from multimodal_fer.labels import FER2013, FER2013_NAMES
from recipes.ferplus.corpus.releases import VOTE_COLUMNS, Release, Split, read_image

PICTURES = {".jpg", ".jpeg", ".png"}


class _Picture(NamedTuple):
    path: Path
    emotion: int


def read_class_folders(root: Path) -> Release:
    """Read `train/<class>/` and `test/<class>/`: FER2013's own labels, no votes.

    The folder `test` holds PublicTest and PrivateTest. If the file names tell them apart (`PublicTest_…`,
    `PrivateTest_…`, as in the Kaggle release), `valid` and `test` are these. Otherwise `test` is the whole
    test folder and `valid` a fixed tenth of every class of train, which is not PublicTest.
    """
    train, test = _list_pictures(root / "train"), _list_pictures(root / "test")
    public, private = (
        [picture for picture in test if picture.path.name.startswith(f"{usage}_")]
        for usage in ("PublicTest", "PrivateTest")
    )
    if public and private and len(public) + len(private) == len(test):
        chosen = {"train": train, "valid": public, "test": private}
        note = "by the file names, valid is PublicTest and test is PrivateTest"
    else:
        rest, tenth = _hold_out_tenth(train)
        chosen = {"train": rest, "valid": tenth, "test": test}
        note = (
            "the file names do not tell PublicTest from PrivateTest: test is both together, valid is "
            "a tenth of train, and figures are not comparable with published ones on either"
        )
    parts = {split: _load_pictures(root, pictures) for split, pictures in chosen.items()}
    return Release(parts, [note, "class folders hold no votes: only FER2013's own label is known"])


def _list_pictures(folder: Path) -> list[_Picture]:
    """Return the pictures of all class folders in a fixed order that mixes the classes."""
    found = []
    for place in (entry for entry in folder.iterdir() if entry.is_dir()):
        if place.name not in FER2013_NAMES:
            raise DataError(
                f"{place}: expected folders named {', '.join(FER2013_NAMES)}, found {place.name!r}; "
                "rename or remove it"
            )
        emotion = FER2013.index(FER2013_NAMES[place.name])
        files = (path for path in place.iterdir() if path.suffix.lower() in PICTURES)
        found += [_Picture(path, emotion) for path in files]
    held = {picture.path.parent.name for picture in found}
    if missing := [name for name in FER2013_NAMES if name not in held]:
        raise DataError(
            f"{folder}: expected JPEG or PNG files in each of {', '.join(FER2013_NAMES)}, found none "
            f"in {', '.join(missing)}; unpack the whole release"
        )
    return sorted(found, key=_mixed)


def _hold_out_tenth(pictures: list[_Picture]) -> tuple[list[_Picture], list[_Picture]]:
    """Split off the first tenth of every class, at least one picture."""
    rest, tenth = [], []
    for emotion in range(len(FER2013)):
        same = [picture for picture in pictures if picture.emotion == emotion]
        count = max(1, len(same) // 10)
        tenth += same[:count]
        rest += same[count:]
    return sorted(rest, key=_mixed), sorted(tenth, key=_mixed)


def _mixed(picture: _Picture) -> bytes:
    """Return a sort key that mixes classes, the same on every machine."""
    return sha256(f"{picture.path.parent.name}/{picture.path.name}".encode()).digest()


def _load_pictures(root: Path, pictures: Sequence[_Picture]) -> Split:
    no_votes = numpy.zeros((len(pictures), VOTE_COLUMNS), numpy.uint8)
    return Split(
        numpy.stack([read_image(picture.path, str(picture.path.parent)) for picture in pictures]),
        no_votes,
        numpy.array([picture.path.relative_to(root).as_posix() for picture in pictures]),
        numpy.array([picture.emotion for picture in pictures], numpy.int8),
        no_votes,
    )
