"""Run the FER+ recipe on generated faces, and the vote rules on the real label files."""

import csv
import json
import subprocess
import sys
import tarfile
from dataclasses import replace

import cv2
import numpy
import pytest
import torch
from conftest import ROOT, every, write_clip

from multimodal_fer.analyzer import Analyzer
from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.hub import loading
from multimodal_fer.labels import OPEN7
from multimodal_fer.training.config import load_config
from multimodal_fer.training.distributed import Workers
from multimodal_fer.training.run import load_checkpoint
from multimodal_fer.training.sampling import draw_order
from recipes.ferplus import evaluate, export, prepare
from recipes.ferplus.corpus import releases, votes
from recipes.ferplus.learning.augmentation import AUGMENTATIONS, augment, compress
from recipes.ferplus.learning.config import TrainConfig
from recipes.ferplus.learning.runs import load_any
from recipes.ferplus.learning.schemes import SCHEMES
from recipes.ferplus.learning.views import predict
from recipes.ferplus.train import load_samples, train, with_teacher

FERPLUS = ROOT.parent / "shared" / "data" / "ferplus.tar"
CONFIG = ROOT / "recipes" / "ferplus" / "systems" / "compact.toml"


def write_corpus(root, counts=(96, 32, 32)):
    """Write FER+ folders with smiles (curve up) and frowns (curve down) drawn on ovals."""
    random = numpy.random.default_rng(0)
    own = [["image", "usage", "emotion"]]
    usages = ("Training", "PublicTest", "PrivateTest")
    for folder, usage, count in zip(releases.SPLITS.values(), usages, counts, strict=True):
        target = root / "data" / folder
        target.mkdir(parents=True)
        rows = []
        for number in range(count):
            smiles = number % 2 == 0
            face = random.integers(60, 120, (48, 48), dtype=numpy.uint8)
            cv2.ellipse(face, (24, 24), (16, 20), 0, 0, 360, 200, -1)
            start = 0 if smiles else 180
            cv2.ellipse(face, (24, 32), (9, 5), 0, start, start + 180, 30, 2)
            cv2.imwrite(str(target / f"fer{number:07}.png"), face)
            votes = [1, 9, 0, 0, 0, 0, 0, 0, 0, 0] if smiles else [2, 0, 0, 8, 0, 0, 0, 0, 0, 0]
            rows.append([f"fer{number:07}.png", "(0, 0, 48, 48)", *votes])
            own.append([f"fer{number:07}.png", usage, "happy" if smiles else "sad"])
        with (target / "label.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    with (root / "fer2013_labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(own)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("ferplus")
    write_corpus(root)
    prepare.main(str(root), str(root / "ferplus.npz"))
    return root


def train_command(corpus, run):
    return [
        sys.executable, "-m", "recipes.ferplus.train", str(CONFIG),
        f"data={corpus / 'ferplus.npz'}", f"run={run}", "epochs=3", "batch=32",
        "learning_rate=0.02", "average_decay=0.9",
    ]  # fmt: skip


def test_prepare_train_kill_resume_evaluate_export_analyze(corpus, tmp_path, monkeypatch, portrait):
    straight = subprocess.run(
        train_command(corpus, tmp_path / "straight"), cwd=ROOT, capture_output=True, text=True
    )
    assert straight.returncode == 0, straight.stderr
    assert "epoch 3/3" in straight.stdout

    killed = subprocess.Popen(
        train_command(corpus, tmp_path / "killed"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    assert killed.stdout.readline().startswith("epoch 1/3")
    killed.kill()
    killed.wait()
    with pytest.raises(DataError, match="finish the training first"):
        export.export(str(tmp_path / "killed"), str(corpus / "ferplus.npz"), str(tmp_path / "no"))
    resumed = subprocess.run(
        train_command(corpus, tmp_path / "killed"), cwd=ROOT, capture_output=True, text=True
    )
    assert "continuing after epoch" in resumed.stdout
    first = load_checkpoint(tmp_path / "straight" / "last.pt")
    second = load_checkpoint(tmp_path / "killed" / "last.pt")
    for name, value in first["average"].items():
        assert torch.allclose(value, second["average"][name], atol=1e-6), name

    other = subprocess.run(
        [*train_command(corpus, tmp_path / "killed"), "seed=2"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert other.returncode == 1
    assert "seed was 1, now 2" in other.stderr and "Traceback" not in other.stderr
    assert json.loads((tmp_path / "killed" / "config.json").read_text())["seed"] == 1

    weights = tmp_path / "weights" / "face-drawn"
    export.export(str(tmp_path / "straight"), str(corpus / "ferplus.npz"), str(weights))
    assert loading.verify_model(weights) < loading.GOLDEN_TOLERANCE
    assert json.loads((weights / "config.json").read_text())["settings"]["temperature"] > 0

    monkeypatch.setattr(evaluate, "RESULTS", tmp_path / "results")
    evaluate.main(str(weights), str(corpus / "ferplus.npz"), "test")
    result = json.loads((tmp_path / "results" / "face-drawn.test.json").read_text())
    assert result["training"]["epochs_done"] == 3
    picture = (tmp_path / "results" / "face-drawn.test.svg").read_text()
    assert "happiness" in picture and "<dc:date>" not in picture
    report = result["protocols"]["cntk-majority"]
    assert report["single"]["images"] == 32
    assert report["single"]["support"]["happiness"] == 16
    assert result["votes"]["emotions"]["happiness"]["images"] == 16
    assert 0 <= report["flip_averaged"]["accuracy"] <= 1

    loading.save_bundle(tmp_path / "weights" / "drawn7", OPEN7, 0.5, {"face": weights})
    clip = write_clip(tmp_path / "a.mp4", frame_times=every(1, 10), picture=lambda _: portrait)
    answer = Analyzer(tmp_path / "weights" / "drawn7", speech_model="none").analyze(clip)
    assert answer.emotion in OPEN7


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, "gone.png", "row 5: gone.png is missing"),
        (2, "many", "row 5: votes must be whole numbers"),
        (2, "7", r"row 5: votes must sum to 10, found \d+"),
        (None, None, "row 5: expected a name, a box and 10 votes .*found 11 columns"),
    ],
)
def test_bad_rows_are_named(tmp_path, column, value, message):
    write_corpus(tmp_path, (6, 2, 2))
    table = tmp_path / "data" / "FER2013Train" / "label.csv"
    rows = list(csv.reader(table.open()))
    if column is None:
        rows[4].pop()
    else:
        rows[4][column] = value
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(DataError, match=message):
        releases.read_split(tmp_path, "train")


def test_a_wrong_folder_and_a_wrong_size_are_named(tmp_path):
    with pytest.raises(DataError, match=r"label\.csv: not found"):
        releases.read_split(tmp_path, "train")
    write_corpus(tmp_path, (2, 2, 2))
    path = tmp_path / "data" / "FER2013Train" / "fer0000001.png"
    cv2.imwrite(str(path), numpy.zeros((50, 48), numpy.uint8))
    with pytest.raises(DataError, match=r"row 2: fer0000001\.png is \(50, 48\), expected 48x48"):
        releases.read_split(tmp_path, "train")


def test_vote_rules_by_hand():
    tags = numpy.array(
        [
            [0, 10, 0, 0, 0, 0, 0, 0, 0, 0],  # all agree
            [4, 3, 0, 0, 0, 0, 0, 0, 3, 0],  # no majority; unknown is tied and pushed out
            [5, 5, 0, 0, 0, 0, 0, 0, 0, 0],  # a tie is no majority, but a distribution
            [1, 1, 0, 0, 0, 0, 0, 0, 8, 0],  # not recognisable
            [6, 0, 0, 2, 1, 0, 0, 0, 1, 0],  # single votes are mistakes
        ],
        numpy.uint8,
    )
    majority = votes.majority_targets(tags)
    winners = [int(row.argmax()) if row.any() else None for row in majority]
    assert winners == [1, None, None, None, 0]
    distribution = votes.distribution_targets(tags)
    assert distribution[0][1] == 1.0
    assert distribution[1][:2] == pytest.approx([4 / 7, 3 / 7])
    assert distribution[2][:2] == pytest.approx([0.5, 0.5])
    assert not distribution[3].any()
    assert distribution[4][0] == 1.0  # six of eight votes hold three quarters
    several = votes.multi_targets(tags)
    assert several[2][:2] == pytest.approx([0.5, 0.5])
    assert not several[3].any()
    assert numpy.flatnonzero(several[4]).tolist() == [0]  # two of eight votes are under 30 %


@pytest.mark.parametrize("name", [path.name for path in sorted(CONFIG.parent.glob("*.toml"))])
def test_every_configuration_trains_and_is_measured(corpus, tmp_path, name):
    data, run = str(corpus / "ferplus.npz"), tmp_path / "run"
    small = ["epochs=1", "limit=12", "batch=6", "patience=0", "start=", "teachers=[]"]
    small += [f"data={data}", f"run={run}"]
    train(load_config(TrainConfig, CONFIG.with_name(name), small))
    result = evaluate.evaluate(str(run), data, "test")
    assert result["training"]["epochs_done"] == 1
    for protocol, reports in result["protocols"].items():
        views = {"single", "flip_averaged"}
        assert set(reports) == views | ({"ten_crop"} if protocol.startswith("fer2013") else set())
        low, high = reports["single"]["accuracy_interval"]
        assert 0 <= low <= reports["single"]["accuracy"] <= high <= 1
    assert result["protocols"]


def test_a_run_starts_from_weights_and_learns_from_teachers(corpus, tmp_path):
    small = TrainConfig(
        data=str(corpus / "ferplus.npz"), run=str(tmp_path / "first"), epochs=1, limit=16, batch=8,
        settings={"widths": [16, 16], "blocks": [1, 1]}, learning_rate=0.02,
    )  # fmt: skip
    first = str(train(small))
    student = replace(small, run=str(tmp_path / "second"), start=first, learning_rate=1e-9)
    images = load_samples(small, "train", SCHEMES["majority"], torch.device("cpu")).images
    before, after = (predict(load_any(str(name))[1], images) for name in (first, train(student)))
    torch.testing.assert_close(before, after, atol=0.3, rtol=0)  # batch statistics move a little

    samples = load_samples(small, "train", SCHEMES["crossentropy"], torch.device("cpu"))
    config = replace(small, teachers=(first,), teacher_share=0.25)
    taught = with_teacher(samples, config, images.device)
    predictions = predict(load_any(first)[1], samples.images, "flip_averaged").softmax(1)
    torch.testing.assert_close(taught.targets, 0.75 * samples.targets + 0.25 * predictions)
    with pytest.raises(ConfigError, match=r"first: expected the labels .*of this run, found"):
        train(replace(small, run=str(tmp_path / "third"), scheme="fer2013", start=first))


def test_several_networks_answer_with_the_mean_of_their_probabilities(corpus, tmp_path):
    data = str(corpus / "ferplus.npz")
    small = TrainConfig(
        data=data, run=str(tmp_path / "first"), epochs=1, limit=16, batch=8,
        settings={"widths": [16, 16], "blocks": [1, 1]}, learning_rate=0.02,
    )  # fmt: skip
    first = str(train(small))
    second = str(train(replace(small, run=str(tmp_path / "second"), seed=2)))
    part = prepare.load_split(data, "test")
    models = [load_any(name)[1] for name in (first, second)]
    images = torch.from_numpy(part.images)
    scores = [predict(model, images).softmax(1) for model in models]
    expected = torch.stack(scores).mean(0).numpy()
    truth = votes.majority_targets(part.votes).argmax(axis=1)
    result = evaluate.evaluate(f"{first}+{second}", data, "test")
    assert result["name"] == "first+second" and result["training"] == {}
    found = result["protocols"]["cntk-majority"]["single"]["accuracy"]
    assert found == pytest.approx((expected.argmax(axis=1) == truth).mean())
    other = str(train(replace(small, run=str(tmp_path / "other"), scheme="fer2013")))
    with pytest.raises(ConfigError, match=r"other: expected the labels .* of first, found"):
        evaluate.evaluate(f"{first}+{other}", data, "test")


def test_two_workers_train_the_same_network_together(corpus, tmp_path):
    command = train_command(corpus, tmp_path / "two")[3:]
    together = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "recipes.ferplus.train", *command, "augmentation=none",
         "settings={ widths = [16, 16], blocks = [1, 1] }"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("epoch 3/3") == 1  # one of them prints
    log = json.loads((tmp_path / "two" / "log.json").read_text())
    assert log[-1]["loss"] < log[0]["loss"]


def test_batches_are_shared_out_evenly():
    picks = torch.arange(7)
    shares = [Workers(rank, 3, torch.device("cpu")).share(picks) for rank in range(3)]
    assert [share.tolist() for share in shares] == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_scheme_trains(corpus, tmp_path, scheme):
    config = TrainConfig(
        data=str(corpus / "ferplus.npz"), run=str(tmp_path), scheme=scheme, epochs=1, batch=16,
        limit=32, learning_rate=0.02,
    )  # fmt: skip
    train(config)
    (epoch,) = json.loads((tmp_path / "log.json").read_text())
    assert 0 < epoch["loss"] < 5


def test_training_in_bfloat16_learns_like_float32_and_keeps_its_weights_exact(corpus, tmp_path):
    losses = {}
    for precision in ("float32", "bfloat16"):
        run = tmp_path / precision
        config = TrainConfig(
            data=str(corpus / "ferplus.npz"), run=str(run), epochs=3, batch=16, limit=32,
            settings={"widths": [16, 16], "blocks": [1, 1]}, precision=precision,
        )  # fmt: skip
        train(config)
        losses[precision] = [epoch["loss"] for epoch in json.loads((run / "log.json").read_text())]
        _, model, _ = load_any(str(run))
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)


def test_losses_by_hand():
    logits = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]]).log()
    targets = torch.tensor([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    generator = torch.Generator().manual_seed(0)
    best = SCHEMES["multi_target"].loss(logits, targets, generator)
    assert float(best) == pytest.approx(-numpy.log([0.3, 0.2]).mean(), abs=1e-4)
    whole = SCHEMES["crossentropy"].loss(logits, targets, generator)
    expected = -numpy.mean([0.5 * numpy.log(0.3) + 0.5 * numpy.log(0.1), numpy.log(0.2)])
    assert float(whole) == pytest.approx(expected, abs=1e-5)
    drawn = [float(SCHEMES["probability"].loss(logits, targets, generator)) for _ in range(400)]
    assert len({round(value, 4) for value in drawn}) == 2  # one or the other of the voted emotions
    assert numpy.mean(drawn) == pytest.approx(expected, abs=0.05)


@pytest.mark.skipif(not FERPLUS.is_file(), reason=f"the FER+ corpus is not at {FERPLUS.name}")
def test_vote_rules_give_the_published_counts():
    """Compare with the counts of the released code on the official label files (microsoft/FERPlus)."""
    expected = {
        "train": (25045, 27947, 26628, 27667, [8733, 7284, 3136, 3022, 2098, 116, 536, 120]),
        "valid": (3191, 3508, 3359, 3472, [1180, 862, 411, 348, 289, 25, 60, 16]),
        "test": (3137, 3507, 3335, 3466, [1083, 892, 394, 382, 269, 16, 86, 15]),
    }
    with tarfile.open(FERPLUS) as archive:
        for split, (*counts, classes) in expected.items():
            member = archive.extractfile(f"data/{releases.SPLITS[split]}/label.csv")
            assert member is not None
            rows = list(csv.reader(member.read().decode().splitlines()))
            tags = numpy.array([row[2:] for row in rows], numpy.uint8)
            majority = votes.majority_targets(tags)
            assert majority.sum(axis=0).astype(int).tolist() == classes
            rules = (votes.distribution_targets, votes.paper_targets, votes.multi_targets)
            found = [majority, *(rule(tags) for rule in rules)]
            assert [int((rows.sum(axis=1) > 0).sum()) for rows in found] == counts


def test_augmentation_keeps_shape_and_range_and_follows_its_seed():
    images = torch.randint(0, 256, (16, 48, 48), dtype=torch.uint8)
    policy = AUGMENTATIONS["compact-recorded"]
    first = augment(images, policy, torch.Generator().manual_seed(1))
    second = augment(images, policy, torch.Generator().manual_seed(1))
    other = augment(images, policy, torch.Generator().manual_seed(2))
    assert first.shape == images.shape
    assert augment(images, policy, torch.Generator(), size=32).shape == (16, 32, 32)
    same = augment(images, AUGMENTATIONS["none"], torch.Generator())
    torch.testing.assert_close(same, images.float(), atol=0.01, rtol=0)
    assert first.min() >= 0 and first.max() <= 255
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_compressed_pictures_are_those_of_a_jpeg_library(portrait):
    grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    picture = cv2.resize(grey, (44, 44), interpolation=cv2.INTER_AREA)  # no multiple of 8
    for quality in (10, 50, 90):
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        expected = torch.from_numpy(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)).float()
        images = torch.from_numpy(picture).float()[None]
        found = compress(images, torch.tensor([float(quality)]))[0]
        assert (found - expected).abs().mean() < 1  # the library computes in whole numbers
        assert (found - expected).abs().mean() < 0.3 * (found - images[0]).abs().mean()


def test_balanced_order_draws_rare_classes_more_often_and_forgets_no_image():
    targets = torch.eye(2)[torch.tensor([0] * 90 + [1] * 10)]
    plain = draw_order(targets, 0.0, torch.Generator().manual_seed(1))
    assert torch.equal(plain.sort().values, torch.arange(100))
    balanced = draw_order(targets, 0.5, torch.Generator().manual_seed(1))
    counts = torch.bincount(balanced, minlength=100)
    assert len(balanced) == 100
    # 90 ** 0.5 against 10 ** 0.5 in total: a quarter of the draws
    assert counts[90:].sum() == 25 and counts[90:].min() == 2


def test_a_missing_archive_and_scheme_are_named(tmp_path):
    config = TrainConfig(data=str(tmp_path / "none.npz"))
    with pytest.raises(DataError, match=r"none\.npz: cannot be read .*recipes\.ferplus\.prepare"):
        load_samples(config, "train", SCHEMES["majority"], torch.device("cpu"))
    for key in ("scheme", "augmentation", "optimizer", "schedule", "keep", "precision"):
        with pytest.raises(ConfigError, match=f"unknown {key} 'none such'"):
            load_config(TrainConfig, CONFIG, [f"{key}=none such"])


def test_rare_classes_are_lifted_as_far_as_it_costs_nothing():
    frequency = torch.tensor([0.99, 0.01])
    full = float(numpy.log(3))  # from one hundredth to three hundredths
    truth = torch.tensor([0] * 900 + [1] * 100)
    # Rare images become right at a share of 0.55, frequent ones wrong at 0.85.
    margins = torch.tensor([0.8 * full + 1e-3] * 900 + [0.5 * full + 1e-3] * 100)
    logits = torch.stack([margins, torch.zeros(1000)], dim=1)
    share, added = export.lift_rare(logits, truth, frequency)
    assert share == pytest.approx(0.8)
    assert added.tolist() == pytest.approx([0, 0.8 * full])
    assert export.lift_rare(logits, 1 - truth, frequency)[0] == pytest.approx(1.0)
    assert export.lift_rare(logits, truth, torch.tensor([0.5, 0.5]))[1].tolist() == [0, 0]


def test_images_without_labels_of_a_scheme_are_no_training_data(tmp_path):
    write_corpus(tmp_path, (4, 2, 2))
    (tmp_path / "fer2013_labels.csv").unlink()
    prepare.main(str(tmp_path), str(tmp_path / "votes.npz"))
    config = TrainConfig(data=str(tmp_path / "votes.npz"))
    with pytest.raises(DataError, match="no image of train has a label by this scheme"):
        load_samples(config, "train", SCHEMES["fer2013"], torch.device("cpu"))


def test_wrong_configurations_are_refused(tmp_path):
    assert load_config(TrainConfig, CONFIG).weight_decay == 5e-4
    assert load_config(TrainConfig, CONFIG, ["learning_rate=1", "device=cuda"]).device == "cuda"
    for override, message in [
        ("epoch=3", "unknown key 'epoch'"),
        ("epochs=many", "epochs must be int"),
        ("epochs", "expected key=value"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_config(TrainConfig, CONFIG, [override])
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        load_config(TrainConfig, tmp_path / "none.toml")
