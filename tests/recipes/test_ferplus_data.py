"""Read the three releases of FER2013 and FER+ from generated images, and join the real tables."""

import csv
import tarfile

import cv2
import numpy
import pytest
from conftest import ROOT

from multimodal_fer.errors import DataError
from multimodal_fer.labels import FER2013, FER2013_NAMES, FER_PLUS, FER_PLUS_VOTES
from recipes.ferplus import prepare
from recipes.ferplus.corpus import releases as corpus_releases
from recipes.ferplus.corpus import rows as corpus_rows
from recipes.ferplus.corpus.votes import albanie_targets, majority_targets, paper_targets

FERPLUS = ROOT.parent / "shared" / "data" / "ferplus.tar"
FACE_HEADER = ["emotion", "pixels", "Usage"]
VOTE_HEADER = ["Usage", "Image name", *FER_PLUS_VOTES]
LABEL_HEADER = ["image", "usage", "emotion"]
HAPPY = [1, 9, 0, 0, 0, 0, 0, 0, 0, 0]
SAD = [2, 0, 0, 8, 0, 0, 0, 0, 0, 0]
NOT_A_FACE = [0] * 9 + [10]
CLASS_NAMES = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]  # by alphabet


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def random_image(seed, shape=(48, 48)):
    return numpy.random.default_rng(seed).integers(0, 256, shape, dtype=numpy.uint8)


def write_image(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


# --- miniature releases ---


def write_folders(root):
    """Write FER+ folders with four images in every split, without the tables beside them."""
    for part, folder in enumerate(corpus_releases.SPLITS.values()):
        rows = []
        for number in range(4):
            name = f"fer{number:07}.png"
            write_image(root / "data" / folder / name, random_image(10 * part + number))
            rows.append([name, "(0, 0, 48, 48)", *(HAPPY if number % 2 else SAD)])
        write_rows(root / "data" / folder / "label.csv", rows)


def vote_rows(*rows):
    """Return fer2013new.csv with its header and these rows."""
    return [VOTE_HEADER, *([usage, name, *votes] for usage, name, votes in rows)]


def face_rows():
    """Return fer2013.csv with seven rows, not in the order of their Usage, one label each."""
    usages = ["Training", "PublicTest", "Training", "PrivateTest", "Training", "PrivateTest"]
    return [
        FACE_HEADER,
        *(
            [emotion, " ".join(map(str, random_image(emotion).ravel())), usage]
            for emotion, usage in enumerate([*usages, "PublicTest"])
        ),
    ]


def write_tables(root, votes=True):
    """Write the official tables: row 4 was dropped by FER+, rows 2 and 6 have the same name."""
    faces = face_rows()
    write_rows(root / "fer2013.csv", faces)
    names = ["same.png", "b.png", "", "d.png", "same.png", "f.png", "g.png"]
    counts = [HAPPY, SAD, NOT_A_FACE, HAPPY, SAD, HAPPY, SAD]
    usages = [row[2] for row in faces[1:]]
    if votes:
        write_rows(root / "fer2013new.csv", vote_rows(*zip(usages, names, counts, strict=True)))


def write_class_folders(root, file_name):
    """Write twelve training and four test images for each class k, of the grey level 30 * k + 10."""
    for index, name in enumerate(CLASS_NAMES):
        image = numpy.full((48, 48), 30 * index + 10, numpy.uint8)
        for folder, count in (("train", 12), ("test", 4)):
            for number in range(count):
                write_image(root / folder / name / file_name(folder, number), image)


def kaggle_name(folder, number):
    usage = "Training" if folder == "train" else ("PublicTest", "PrivateTest")[number % 2]
    return f"{usage}_{number}.jpg"


def prepared(root):
    prepare.main(str(root), str(root / "out" / "ferplus.npz"))
    return {
        split: prepare.load_split(root / "out" / "ferplus.npz", split)
        for split in corpus_releases.SPLITS
    }


# --- the FER+ folders ---


def test_folders_alone_have_votes_only(tmp_path, capsys):
    write_folders(tmp_path)
    parts = prepared(tmp_path)
    assert [part.votes.sum(axis=1).tolist() for part in parts.values()] == [[10] * 4] * 3
    for part in parts.values():
        assert (part.emotions == -1).all() and not part.new_votes.any()
        assert part.emotions.dtype == numpy.int8 and part.new_votes.shape == (4, 10)
    numpy.testing.assert_array_equal(parts["test"].images[2], random_image(22))
    printed = capsys.readouterr().out
    assert "fer2013new.csv is not beside the data folder" in printed
    assert "fer2013_labels.csv is not beside the data folder" in printed


def test_folders_are_joined_with_the_tables_by_name_within_the_usage(tmp_path, capsys):
    write_folders(tmp_path)
    write_rows(
        tmp_path / "fer2013new.csv",
        vote_rows(
            ("Training", "fer0000001.png", SAD),
            ("PublicTest", "fer0000001.png", HAPPY),  # the same name is another picture here
            ("Training", "", NOT_A_FACE),
            ("Training", "fer0000002.png", SAD),  # twice with the same votes
            ("Training", "fer0000002.png", SAD),
            ("PrivateTest", "fer0000003.png", SAD),  # twice with different votes: unknown
            ("PrivateTest", "fer0000003.png", NOT_A_FACE),
        ),
    )
    write_rows(
        tmp_path / "fer2013_labels.csv",
        [
            LABEL_HEADER,
            ["fer0000003.png", "Training", "happy"],
            ["fer0000000.png", "Training", "angry"],
            ["fer0000001.png", "Training", ""],
            ["fer0000000.png", "PrivateTest", "neutral"],
        ],
    )
    parts = prepared(tmp_path)
    nothing = [0] * 10
    assert parts["train"].new_votes.tolist() == [nothing, SAD, SAD, nothing]
    assert parts["valid"].new_votes.tolist() == [nothing, HAPPY, nothing, nothing]
    assert not parts["test"].new_votes.any()
    anger, happiness, neutral = map(FER2013.index, ("anger", "happiness", "neutral"))
    assert parts["train"].emotions.tolist() == [anger, -1, -1, happiness]
    assert parts["valid"].emotions.tolist() == [-1] * 4
    assert parts["test"].emotions.tolist() == [neutral, -1, -1, -1]
    assert (
        "train: 4 images; 4 with votes, 2 with votes of fer2013new.csv, 2 with FER2013's own label"
        in capsys.readouterr().out
    )


def test_a_name_that_comes_twice_cannot_be_joined(tmp_path):
    write_folders(tmp_path)
    labels = [LABEL_HEADER, *([["fer0000001.png", "Training", "sad"]] * 2)]
    write_rows(tmp_path / "fer2013_labels.csv", labels)
    message = (
        r"fer2013_labels\.csv, row 3: expected every name once, found 'fer0000001\.png' on row 2"
    )
    with pytest.raises(DataError, match=message):
        corpus_releases.read_split(tmp_path, "train")
    assert (corpus_releases.read_split(tmp_path, "valid").emotions == -1).all()

    row = ["fer0000001.png", "(0, 0, 48, 48)", *HAPPY]
    write_rows(tmp_path / "data" / "FER2013Valid" / "label.csv", [row, row])
    with pytest.raises(DataError, match=r"label\.csv, row 2: expected every name once"):
        corpus_releases.read_split(tmp_path, "valid")


# --- the official tables ---


def test_official_pair_round_trip(tmp_path, capsys):
    write_tables(tmp_path)
    parts = prepared(tmp_path)
    assert {split: part.emotions.tolist() for split, part in parts.items()} == {
        "train": [0, 2, 4],
        "valid": [1, 6],
        "test": [3, 5],
    }
    assert parts["train"].names.tolist() == ["same.png", "row 4", "same.png"]
    assert parts["train"].votes.tolist() == [HAPPY, [0] * 10, SAD]
    for part in parts.values():
        numpy.testing.assert_array_equal(part.votes, part.new_votes)
        for image, emotion in zip(part.images, part.emotions, strict=True):
            numpy.testing.assert_array_equal(image, random_image(int(emotion)))
    assert "differ from those of FER+'s label.csv" in capsys.readouterr().out


def test_official_table_alone_has_no_votes(tmp_path, capsys):
    write_tables(tmp_path, votes=False)
    parts = prepared(tmp_path)
    assert not any(part.votes.any() or part.new_votes.any() for part in parts.values())
    assert parts["valid"].names.tolist() == ["row 3", "row 8"]
    assert "fer2013new.csv is not beside fer2013.csv: no image has votes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (1, 0, "7", "row 2: expected 0 to 6 as the emotion, found '7'"),
        (1, 0, "happy", "row 2: expected 0 to 6 as the emotion, found 'happy'"),
        (2, 1, "12 " * 2303, r"row 3: expected 2304 pixels \(48x48\), found 2303"),
        (2, 1, "12 " * 2303 + "256", "row 3: expected pixels from 0 to 255, found '256'"),
        (2, 1, "12 " * 2303 + "-1", "row 3: expected pixels from 0 to 255, found '-1'"),
        (2, 1, "12 " * 2303 + "x", "row 3: expected pixels from 0 to 255, found 'x'"),
        (2, 1, "1.5 " * 2304, r"row 3: expected pixels from 0 to 255, found '1\.5'"),
        (2, 1, "", r"row 3: expected"),
        (3, 2, "Test", "row 4: expected Training, PublicTest, PrivateTest .*found 'Test'"),
        (
            0,
            None,
            ["emotion", "Usage"],
            r"row 1: expected .*emotion,pixels,Usage, found 'emotion,U",
        ),
        (0, None, ["emotion", "Usage", "pixels"], "row 1: .*found 'emotion,Usage,pixels'"),
        (4, None, ["3", "1 2 3"], r"row 5: expected 3 columns .*found 2"),
    ],
)
def test_mistakes_in_the_face_table_are_named(tmp_path, row, column, value, message):
    faces = face_rows()
    if column is None:
        faces[row] = value
    else:
        faces[row][column] = value
    write_rows(tmp_path / "fer2013.csv", faces)
    with pytest.raises(DataError, match=rf"fer2013\.csv, {message}"):
        prepare.read_release(tmp_path)


def swap_vote_columns(rows):
    for row in rows:
        row[2], row[3] = row[3], row[2]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (swap_vote_columns, "row 1: expected .*neutral,happiness.*found .*happiness,neutral"),
        (
            lambda rows: [row.pop() for row in rows],
            "row 1: expected the columns .*unknown,NF, found",
        ),
        (lambda rows: rows[3].pop(), "row 4: expected 12 columns .*found 11"),
        (lambda rows: rows[2].__setitem__(3, "4"), r"row 3: votes must sum to 10, found 14"),
        (lambda rows: rows[2].__setitem__(3, "x"), r"row 3: votes must be whole numbers"),
        (lambda rows: rows[2].__setitem__(0, "Public"), "row 3: expected Training.*found 'Public'"),
        (
            lambda rows: rows[2].__setitem__(0, "Training"),
            "row 3: expected the Usage PublicTest of the same row of fer2013.csv, found Training",
        ),
    ],
)
def test_mistakes_in_the_vote_table_are_named(tmp_path, spoil, message):
    write_tables(tmp_path)
    rows = list(csv.reader((tmp_path / "fer2013new.csv").open()))
    spoil(rows)
    write_rows(tmp_path / "fer2013new.csv", rows)
    with pytest.raises(DataError, match=rf"fer2013new\.csv, {message}"):
        prepare.read_release(tmp_path)


def test_the_one_official_row_of_nine_votes_is_allowed(tmp_path):
    write_tables(tmp_path)
    rows = list(csv.reader((tmp_path / "fer2013new.csv").open()))
    rows[1][3] = "8"
    write_rows(tmp_path / "fer2013new.csv", rows)
    assert prepare.read_release(tmp_path).parts["train"].votes.sum(axis=1).tolist() == [9, 0, 10]


def test_tables_that_do_not_belong_together_are_named(tmp_path):
    write_tables(tmp_path)
    rows = list(csv.reader((tmp_path / "fer2013new.csv").open()))
    write_rows(tmp_path / "fer2013new.csv", rows[:-1])
    with pytest.raises(DataError, match=r"expected 7 rows below the header.*fer2013\.csv, found 6"):
        prepare.read_release(tmp_path)
    (tmp_path / "fer2013new.csv").unlink()
    write_rows(tmp_path / "fer2013.csv", [row for row in face_rows() if row[2] != "PublicTest"])
    with pytest.raises(DataError, match=r"fer2013\.csv: no row has the Usage PublicTest"):
        prepare.read_release(tmp_path)
    write_rows(tmp_path / "fer2013.csv", [FACE_HEADER])
    with pytest.raises(DataError, match=r"fer2013\.csv: has no rows below its header"):
        prepare.read_release(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["image", "emotion", "usage"]], "row 1: expected the columns image,usage,emotion"),
        ([LABEL_HEADER, ["a.png", "Train", "sad"]], "row 2: expected Training.*found 'Train'"),
        ([LABEL_HEADER, ["a.png", "Training", "bored"]], "row 2: expected one of angry.*'bored'"),
    ],
)
def test_mistakes_in_the_label_table_are_named(tmp_path, rows, message):
    write_folders(tmp_path)
    write_rows(tmp_path / "fer2013_labels.csv", rows)
    with pytest.raises(DataError, match=rf"fer2013_labels\.csv, {message}"):
        prepare.read_release(tmp_path)


# --- class folders ---


def expected_emotion(image):
    return FER2013.index(FER2013_NAMES[CLASS_NAMES[round((image.mean() - 10) / 30)]])


def test_class_folders_are_split_by_their_file_names(tmp_path, capsys):
    write_class_folders(tmp_path, kaggle_name)
    (tmp_path / "train" / ".DS_Store").write_text("left by a file manager")
    parts = prepared(tmp_path)
    assert [len(part.images) for part in parts.values()] == [84, 14, 14]
    for split, usage in (("valid", "PublicTest_"), ("test", "PrivateTest_")):
        assert all(name.split("/")[2].startswith(usage) for name in parts[split].names)
    for part in parts.values():
        assert not part.votes.any() and not part.new_votes.any()
        found = [expected_emotion(image) for image in part.images]
        assert part.emotions.tolist() == found  # by name: the alphabet has another order
    assert numpy.bincount(parts["train"].emotions).tolist() == [12] * 7
    assert len(set(parts["train"].emotions[:20].tolist())) > 3  # the order mixes the classes
    assert "valid is PublicTest and test is PrivateTest" in capsys.readouterr().out


def test_class_folders_with_other_names_hold_out_a_fixed_tenth(tmp_path, capsys):
    write_class_folders(tmp_path, lambda folder, number: f"{number}.png")
    parts = prepared(tmp_path)
    assert [len(part.images) for part in parts.values()] == [77, 7, 28]
    assert numpy.bincount(parts["valid"].emotions).tolist() == [1] * 7
    names = [set(part.names.tolist()) for part in parts.values()]
    assert not names[0] & names[1] and all(
        name.startswith("train/") for name in names[0] | names[1]
    )
    assert "do not tell PublicTest from PrivateTest" in capsys.readouterr().out
    again = prepare.read_release(tmp_path).parts
    assert again["valid"].names.tolist() == parts["valid"].names.tolist()


def test_mistakes_in_class_folders_are_named(tmp_path):
    write_class_folders(tmp_path, kaggle_name)
    spoiled = tmp_path / "train" / "sad" / "Training_3.jpg"
    spoiled.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"sad: Training_3\.jpg is missing or cannot be decoded"):
        prepare.read_release(tmp_path)
    write_image(spoiled, random_image(0, (48, 50)))
    with pytest.raises(DataError, match=r"Training_3\.jpg is \(48, 50\), expected 48x48"):
        prepare.read_release(tmp_path)
    write_image(spoiled, random_image(0))
    for path in (tmp_path / "test" / "fear").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"test: expected .*in each of .*found none in fear"):
        prepare.read_release(tmp_path)
    (tmp_path / "test" / "bored").mkdir()
    with pytest.raises(DataError, match=r"bored: expected folders named angry.*found 'bored'"):
        prepare.read_release(tmp_path)


# --- which release, and the archive ---


def test_a_folder_with_none_of_the_releases_lists_all_three(tmp_path):
    expected = r"data/FER2013Train.*fer2013\.csv.*train/<class> and test/<class>.*found none"
    with pytest.raises(DataError, match=expected):
        prepare.main(str(tmp_path), str(tmp_path / "out.npz"))
    with pytest.raises(DataError, match=expected):
        prepare.main(str(tmp_path / "none"), str(tmp_path / "out.npz"))
    assert not (tmp_path / "out.npz").exists()


def test_a_clone_of_ferplus_with_the_face_table_is_read_by_tables(tmp_path):
    write_folders(tmp_path)
    write_tables(tmp_path)
    for path in tmp_path.glob("data/*/*.png"):
        path.unlink()
    assert len(prepare.read_release(tmp_path).parts["train"].images) == 3


def test_folders_with_pictures_come_before_the_face_table(tmp_path):
    write_folders(tmp_path)
    write_tables(tmp_path)
    assert len(prepare.read_release(tmp_path).parts["train"].images) == 4


def test_missing_arrays_of_an_older_archive_are_filled_in(tmp_path):
    images, votes = numpy.zeros((2, 48, 48), numpy.uint8), numpy.array([HAPPY, SAD], numpy.uint8)
    old = {"train_images": images, "train_votes": votes, "train_names": numpy.array(["a", "b"])}
    numpy.savez_compressed(tmp_path / "old.npz", **old)
    part = prepare.load_split(tmp_path / "old.npz", "train")
    assert part.emotions.tolist() == [-1, -1] and part.emotions.dtype == numpy.int8
    assert part.new_votes.tolist() == [[0] * 10] * 2 and part.new_votes.dtype == numpy.uint8
    numpy.testing.assert_array_equal(part.votes, votes)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"text"])
def test_a_damaged_archive_is_named(tmp_path, content):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.npz: cannot be read .*recipes\.ferplus\.prepare"):
        prepare.load_split(tmp_path / "bad.npz", "train")


# --- the rule of Albanie et al. ---


@pytest.mark.parametrize(
    ("row", "winner"),
    [
        ([0, 10, 0, 0, 0, 0, 0, 0, 0, 0], "happiness"),
        ([0, 0, 0, 5, 5, 0, 0, 0, 0, 0], "sadness"),  # two share the most: the first column counts
        ([3, 3, 3, 0, 0, 0, 0, 0, 1, 0], None),  # three share it
        ([5, 0, 0, 0, 0, 0, 0, 0, 5, 0], None),  # "unknown" is among them
        ([0, 2, 0, 0, 0, 0, 0, 0, 0, 8], None),  # not a face
        ([4, 2, 2, 0, 0, 0, 0, 0, 2, 0], None),  # four of ten are no more than half
        ([4, 2, 1, 1, 1, 1, 0, 0, 0, 0], "neutral"),  # four of six are, once single votes are gone
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], None),  # nothing is left
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),  # not known
    ],
)
def test_albanie_rule_by_hand(row, winner):
    (target,) = albanie_targets(numpy.array([row], numpy.uint8))
    assert target.shape == (len(FER_PLUS),) and target.sum() == (winner is not None)
    assert winner is None or FER_PLUS[target.argmax()] == winner


# --- the real tables ---


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Unpack the tables of the real corpus without its images."""
    if not FERPLUS.is_file():
        pytest.skip(f"the FER+ corpus is not at shared/data/{FERPLUS.name}")
    root = tmp_path_factory.mktemp("tables")
    with tarfile.open(FERPLUS) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(".csv") else None
            if content is not None:
                target = root / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
    return root


@pytest.fixture(scope="module")
def parts(real):
    """Read the real splits with one blank picture in place of all images."""
    blank = numpy.zeros((48, 48), numpy.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_releases, "read_image", lambda path, place: blank)
        return corpus_releases.read_folders(real).parts


def kept(targets):
    return int(targets.any(axis=1).sum())


def test_real_own_labels(parts):
    counts = {split: numpy.bincount(part.emotions + 1).tolist() for split, part in parts.items()}
    assert {split: sum(found[1:]) for split, found in counts.items()} == {
        "train": 28399,
        "valid": 3560,
        "test": 3549,
    }
    assert sum(found[0] for found in counts.values()) == 202  # duplicates with two labels
    total = numpy.sum(list(counts.values()), axis=0)[1:]
    assert dict(zip(FER2013, total.tolist(), strict=True)) == {
        "anger": 4885,
        "disgust": 541,
        "fear": 5037,
        "happiness": 8948,
        "sadness": 6000,
        "surprise": 3950,
        "neutral": 6147,
    }


def test_real_albanie_counts(real, parts):
    """Compare fer2013new.csv with the counts of the released code; the folders lack four pictures.

    Three pictures of Training and one of PrivateTest were overwritten by others of the same name. The votes
    of fer0033120.png are unknown because its two rows differ.
    """
    rows = list(csv.reader((real / "fer2013new.csv").open()))[1:]
    tags = numpy.array([row[2:] for row in rows], numpy.uint8)
    usages = numpy.array([row[0] for row in rows])
    targets = {split: albanie_targets(tags[usages == u]) for split, u in corpus_rows.USAGES.items()}
    assert [kept(found) for found in targets.values()] == [26196, 3318, 3294]
    assert targets["test"].sum(axis=0).tolist() == [1175, 908, 413, 399, 282, 18, 83, 16]
    at_hand = [kept(albanie_targets(part.new_votes)) for part in parts.values()]
    assert at_hand == [26193, 3318, 3293]
    assert kept(paper_targets(tags[usages == "PrivateTest"])) == 3343  # not label.csv's 3,335


def test_real_tables_are_joined_rightly(real, parts):
    """Check that the order of names and nearly all votes of both tables agree."""
    rows = list(csv.reader((real / "fer2013new.csv").open()))[1:]
    differing = {}
    for split, part in parts.items():
        names = [name for usage, name, *_ in rows if usage == corpus_rows.USAGES[split] and name]
        assert part.names.tolist() == sorted(set(names))
        differing[split] = int((part.votes != part.new_votes).any(axis=1).sum())
        unknown = part.names[~part.new_votes.any(axis=1)].tolist()
        assert unknown == (["fer0033120.png"] if split == "test" else [])
    assert differing == {"train": 1073, "valid": 246, "test": 283}
    assert [kept(majority_targets(part.votes)) for part in parts.values()] == [25045, 3191, 3137]
