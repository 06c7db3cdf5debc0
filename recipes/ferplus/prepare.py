"""Read FER2013 and its FER+ votes into one archive.

    python -m recipes.ferplus.prepare SOURCE runs/ferplus.npz

SOURCE is a folder that holds one of:

- `data/FER2013{Train,Valid,Test}/` with label.csv and the PNG files named there: the FER+ folders. Beside
  `data`, `fer2013new.csv` adds its votes and `fer2013_labels.csv` FER2013's own labels;
- `fer2013.csv`, with or without `fer2013new.csv`: the official tables;
- `train/<class>/` and `test/<class>/` with JPEG or PNG files: the release in class folders, without votes.
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import DataError
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import replacing
from recipes.ferplus.corpus.class_folders import read_class_folders
from recipes.ferplus.corpus.releases import (
    FACE_TABLE,
    SPLITS,
    UNKNOWN,
    Release,
    Split,
    read_folders,
    read_split,
    read_tables,
)

__all__ = ["SPLITS", "Split", "load_split", "main", "read_release", "read_split"]


def read_release(source: str | Path) -> Release:
    """Read whichever of the three releases `source` holds.

    A fer2013.csv is preferred to FER+ folders without pictures (a clone of their repository).
    """
    root = Path(source)
    training = root / "data" / SPLITS["train"]
    has_table = (root / FACE_TABLE).is_file()
    if training.is_dir() and not (has_table and not any(training.glob("*.png"))):
        return read_folders(root)
    if has_table:
        return read_tables(root)
    if (root / "train").is_dir() and (root / "test").is_dir():
        return read_class_folders(root)
    raise DataError(
        f"{root}: expected a folder with data/{SPLITS['train']} and its neighbours (the FER+ folders), "
        f"or with {FACE_TABLE} (the official tables), or with train/<class> and test/<class> (class "
        "folders), found none of them; give the folder that holds these"
    )


def main(source: str, output: str) -> None:
    """Write the three splits as one compressed archive, and print what is known of each."""
    release = read_release(source)
    arrays: dict[str, NDArray] = {}
    for split, part in release.parts.items():
        arrays |= {f"{split}_{name}": value for name, value in part._asdict().items()}
        print(
            f"{split}: {len(part.images)} images; {_voted(part.votes)} with votes, "
            f"{_voted(part.new_votes)} with votes of fer2013new.csv, "
            f"{int((part.emotions != UNKNOWN).sum())} with FER2013's own label"
        )
    for note in release.notes:
        print(f"note: {note}")
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as temporary, temporary.open("wb") as file:
        numpy.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    print(f"written: {output}")


def _voted(votes: NDArray[numpy.uint8]) -> int:
    return int(votes.any(axis=1).sum())


def load_split(archive: str | Path, split: str) -> Split:
    """Read one split of an archive; arrays that an older archive lacks are filled in as unknown."""
    try:
        with numpy.load(archive, allow_pickle=False) as arrays:
            found = {name: arrays[f"{split}_{name}"] for name in ("images", "votes", "names")}
            unknown = {
                "emotions": numpy.full(len(found["images"]), UNKNOWN, numpy.int8),
                "new_votes": numpy.zeros_like(found["votes"]),
            }
            known = {
                name: arrays.get(f"{split}_{name}", default) for name, default in unknown.items()
            }
            return Split(**found, **known)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{archive}: cannot be read ({error}); make it with python -m recipes.ferplus.prepare"
        ) from None


if __name__ == "__main__":
    run_command(main, __doc__, 2)
