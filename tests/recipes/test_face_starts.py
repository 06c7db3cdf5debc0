"""Start facial networks from published files: TensorFlow.js graphs and timm's MobileNet."""

import json
from dataclasses import replace

import numpy
import pytest
import torch
from conftest import ROOT
from safetensors.torch import save_file
from torch.nn import functional

from multimodal_fer.errors import ConfigError, WeightsError
from multimodal_fer.face.zoo.mobilenet import MobileNet, MobileNetConfig
from multimodal_fer.hub import loading
from multimodal_fer.training.run import load_checkpoint
from recipes.ferplus.learning.config import TrainConfig
from recipes.ferplus.learning.optimisation import freeze, parameter_groups
from recipes.ferplus.learning.runs import load_any
from recipes.ferplus.starts import graph, timm
from recipes.ferplus.starts.layers import GREY
from recipes.ferplus.starts.mobilenet import start_from
from recipes.ferplus.train import train

WIDTHS = (8, 12, 12, 16)  # of the four blocks of the tiny network
HALVED = (2, 4)
TINY = MobileNetConfig(widths=WIDTHS, halved=HALVED, stem=4, plain=1, enlarged=64)


def write_archive(folder):
    """Write an archive of bright and dark-topped pictures, voted happy and sad, and return its path."""
    random = numpy.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 64), ("valid", 16)):
        images = random.integers(0, 100, (count, 48, 48), dtype=numpy.uint8)
        images[::2, :24] += 120
        images[1::2, 24:] += 120
        votes = numpy.zeros((count, 10), numpy.uint8)
        votes[::2, 1] = votes[1::2, 3] = 10
        names = numpy.array([f"fer{number:07}.png" for number in range(count)])
        arrays |= {f"{split}_images": images, f"{split}_votes": votes, f"{split}_names": names}
    numpy.savez(folder / "faces.npz", **arrays)
    return folder / "faces.npz"


def tiny_arrays():
    """Return the arrays of a tiny graph by name, with the names of HSE's network."""
    random = numpy.random.default_rng(0)

    def draw(*shape):
        return (random.normal(size=shape) / max(1, numpy.prod(shape[:-1])) ** 0.5).astype("float32")

    arrays = {
        "conv1/convolution/merged_input": draw(3, 3, 3, 4) / 40,
        "conv1_bn/batchnorm_1/sub": draw(4),
        "conv1_relu/Cast": numpy.float32(6),
    }
    inputs = 4
    for number, width in enumerate(WIDTHS, 1):
        arrays |= {
            f"conv_dw_{number}/depthwise_kernel": draw(3, 3, inputs, 1) * 3,
            f"conv_dw_{number}_bn/batchnorm_1/mul": random.uniform(0.5, 2, inputs).astype("f4"),
            f"conv_dw_{number}_bn/batchnorm_1/sub": draw(inputs),
            f"conv_pw_{number}/convolution/merged_input": draw(1, 1, inputs, width) * 2,
            f"conv_pw_{number}_bn/batchnorm_1/sub": draw(width),
        }
        inputs = width
    return arrays


def write_graph(folder, arrays):
    """Write a TensorFlow.js graph in two binary files and return the path of its JSON file."""
    data = b"".join(numpy.asarray(array, "<f4").tobytes() for array in arrays.values())
    (folder / "tiny-1.bin").write_bytes(data[:100])
    (folder / "tiny-2.bin").write_bytes(data[100:])
    weights = [
        {"name": name, "shape": list(numpy.shape(array)), "dtype": "float32"}
        for name, array in arrays.items()
    ]
    manifest = [{"paths": ["tiny-1.bin", "tiny-2.bin"], "weights": weights}]
    path = folder / "tiny.json"
    path.write_text(json.dumps({"format": "graph-model", "weightsManifest": manifest}))
    return path


@pytest.fixture
def tiny(tmp_path):
    return write_graph(tmp_path, tiny_arrays())


def convolve(picture_HWC, kernel, stride, depthwise=False):
    """Convolve with the padding SAME, from the definition of TensorFlow, without torch."""
    side = picture_HWC.shape[0]
    steps = -(-side // stride)
    padding = max((steps - 1) * stride + kernel.shape[0] - side, 0)
    first = padding // 2
    padded = numpy.pad(picture_HWC, ((first, padding - first), (first, padding - first), (0, 0)))
    output = []
    for row in range(steps):
        for column in range(steps):
            window = padded[
                row * stride : row * stride + kernel.shape[0],
                column * stride : column * stride + kernel.shape[1],
            ]
            if depthwise:
                output.append((window * kernel[..., 0]).sum((0, 1)))
            else:
                output.append(numpy.tensordot(window, kernel, 3))
    return numpy.array(output).reshape(steps, steps, -1)


def run_graph(arrays, picture_HW):
    """Return the last map (H, W, C) of a grey picture as three equal channels, as TensorFlow computes it."""
    map_HWC = picture_HW[..., None] - numpy.array(graph.MEANS)
    map_HWC = convolve(map_HWC, arrays["conv1/convolution/merged_input"], 2)
    map_HWC = (map_HWC + arrays["conv1_bn/batchnorm_1/sub"]).clip(0, 6)
    for number in range(1, len(WIDTHS) + 1):
        depthwise, pointwise = f"conv_dw_{number}", f"conv_pw_{number}"
        stride = 2 if number in HALVED else 1
        kernel = arrays[f"{depthwise}/depthwise_kernel"]
        map_HWC = convolve(map_HWC, kernel, stride, depthwise=True)
        map_HWC = map_HWC * arrays[f"{depthwise}_bn/batchnorm_1/mul"]
        map_HWC = (map_HWC + arrays[f"{depthwise}_bn/batchnorm_1/sub"]).clip(0, 6)
        map_HWC = convolve(map_HWC, arrays[f"{pointwise}/convolution/merged_input"], 1)
        map_HWC = (map_HWC + arrays[f"{pointwise}_bn/batchnorm_1/sub"]).clip(0, 6)
    return map_HWC


@pytest.mark.parametrize("plain", [0, 1, 4])
@pytest.mark.parametrize("side", [64, 50])  # 50: 25, then sides that need no or another padding
def test_a_graph_gives_the_maps_that_tensorflow_defines(tiny, plain, side):
    arrays = tiny_arrays()
    images = torch.randint(0, 256, (6, 64, 64), generator=torch.Generator().manual_seed(0))
    network = MobileNet(replace(TINY, plain=plain))
    start_from(network, tiny, images.float())
    picture = numpy.random.default_rng(1).integers(0, 256, (side, side)).astype(float)
    expected = run_graph(arrays, picture)
    with torch.inference_mode():
        input_11SS = torch.from_numpy(picture).float()[None, None] - GREY
        found = network.eval().stages(network.stem(input_11SS))[0].permute(1, 2, 0).numpy()
    # The channels' means differ; beside the padding at the bottom and right this cannot be exact.
    inside = slice(0, -3)
    assert expected[inside, inside].std() > 0.1
    numpy.testing.assert_allclose(
        found[inside, inside], expected[inside, inside], atol=2e-3, rtol=1e-3
    )


def timm_state():
    """Return a tiny state_dict with the names of timm's mobilenetv1, and its convolutions for torch."""
    random = torch.Generator().manual_seed(0)
    state = {}

    def add(name, normalisation, *shape):
        state[f"{name}.weight"] = torch.randn(*shape, generator=random) / (shape[1] * 9) ** 0.5
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{normalisation}.{part}"] = torch.rand(shape[0], generator=random) + 0.5
        state[f"{normalisation}.num_batches_tracked"] = torch.tensor(1)

    add("conv_stem", "bn1", 4, 3, 3, 3)
    inputs = 4
    for place, width in zip(("0.0", "1.0", "1.1", "10.0"), WIDTHS, strict=True):
        add(f"blocks.{place}.conv_dw", f"blocks.{place}.bn1", inputs, 1, 3, 3)
        add(f"blocks.{place}.conv_pw", f"blocks.{place}.bn2", width, inputs, 1, 1)
        inputs = width
    state["classifier.weight"] = torch.zeros(1000, 16)
    return state


def test_a_state_of_timm_gives_the_same_maps_as_its_own_layers(tmp_path):
    state = timm_state()
    save_file(state, tmp_path / "timm.safetensors")
    torch.save({"state_dict": state}, tmp_path / "timm.pth")
    picture = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(2)) * 255
    means, scales = (torch.tensor(v).view(1, 3, 1, 1) for v in (timm.MEANS, timm.SCALES))

    def norm(map_BCHW, name):
        parts = (state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return functional.relu6(functional.batch_norm(map_BCHW, *parts))

    expected = functional.pad((picture - means) / scales, (0, 1, 0, 1))
    expected = norm(functional.conv2d(expected, state["conv_stem.weight"], stride=2), "bn1")
    for number, place in enumerate(("0.0", "1.0", "1.1", "10.0"), 1):
        kernel = state[f"blocks.{place}.conv_dw.weight"]
        if number in HALVED:
            expected = functional.pad(expected, (0, 1, 0, 1))
            expected = functional.conv2d(expected, kernel, stride=2, groups=len(kernel))
        else:
            expected = functional.conv2d(expected, kernel, padding=1, groups=len(kernel))
        expected = norm(expected, f"blocks.{place}.bn1")
        expected = functional.conv2d(expected, state[f"blocks.{place}.conv_pw.weight"])
        expected = norm(expected, f"blocks.{place}.bn2")
    for file in ("timm.safetensors", "timm.pth"):
        network = MobileNet(TINY)
        start_from(network, tmp_path / file, picture[0].repeat(4, 1, 1))
        with torch.inference_mode():
            found = network.eval().stages(network.stem(picture - GREY))
        torch.testing.assert_close(
            found[..., :-3, :-3], expected[..., :-3, :-3], atol=2e-3, rtol=1e-3
        )


def test_normalisation_has_the_statistics_of_the_images(tiny):
    images = torch.randint(0, 256, (8, 64, 64), generator=torch.Generator().manual_seed(0)).float()
    network = MobileNet(TINY)
    start_from(network, tiny, images)
    torch.manual_seed(0)
    with torch.no_grad():
        still = network.eval()(images).embedding
        moving = network.train()(images).embedding  # statistics of the batch: the same images
    torch.testing.assert_close(still, moving, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a | {"conv_pw_2_bn/batchnorm_1/sub": numpy.zeros(5)}, r"conv_pw_2: expected 12 biases"),
        (lambda a: a | {"conv_pw_3/convolution/merged_input": numpy.zeros((1, 1, 12, 13))},
         r"conv_pw_3: expected a kernel of \(12, 12, 1, 1\), found \(13, 12, 1, 1\)"),
        (lambda a: {n.replace("conv_dw_2/", "dw_2/"): v for n, v in a.items()}, r"no array 'conv_dw_"),
        (lambda a: {n: v for n, v in a.items() if "_4" not in n}, "at least 9 convolutions, found 7"),
        (lambda a: a | {"conv1_bn/batchnorm_1/sub": numpy.zeros((2, 2))}, r"conv1_bn.*expected 1 axes"),
        (lambda a: a | {"conv1/convolution/merged_input": numpy.zeros((3, 3, 4, 4))},
         "expected 3 input channels, found 4"),
    ],
)  # fmt: skip
def test_a_graph_of_another_shape_or_with_other_names_is_refused(tmp_path, change, message):
    path = write_graph(tmp_path, change(tiny_arrays()))
    with pytest.raises(WeightsError, match=message) as error:
        start_from(MobileNet(TINY), path, torch.zeros(2, 64, 64))
    assert "tiny.json" in str(error.value)


def test_an_incomplete_graph_is_refused(tiny):
    data = (tiny.parent / "tiny-2.bin").read_bytes()
    (tiny.parent / "tiny-2.bin").write_bytes(data[:-4])
    with pytest.raises(
        WeightsError, match=r"expected [\d,]+ bytes in tiny-1.bin, tiny-2.bin, found"
    ):
        graph.read_graph(tiny)
    (tiny.parent / "tiny-2.bin").unlink()
    with pytest.raises(WeightsError, match=r"a file that it lists cannot be read .*tiny-2"):
        graph.read_graph(tiny)
    listed = json.loads(tiny.read_text())
    listed["weightsManifest"][0]["weights"][0]["dtype"] = "uint8"
    for text in (json.dumps(listed), json.dumps([1]), "{", json.dumps({"weightsManifest": 3})):
        tiny.write_text(text)
        with pytest.raises(WeightsError, match=r"tiny.json: expected a TensorFlow.js graph"):
            graph.read_graph(tiny)
    with pytest.raises(WeightsError, match=r"none\.json: cannot be read"):
        graph.read_graph(tiny.with_name("none.json"))


def test_a_file_of_another_family_is_refused(tmp_path):
    state = timm_state()
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.safetensors")
    del state["blocks.1.1.bn2.running_var"]
    save_file(state, tmp_path / "part.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 no archive")
    for name, message in [
        ("vgg.safetensors", "no block found; expected a MobileNet v1 of timm"),
        ("part.safetensors", r"no tensor 'blocks.1.1.bn2.running_var'; expected a MobileNet v1"),
        ("list.pth", "expected a state_dict, names and tensors"),
        ("broken.pth", "expected a state_dict as .safetensors or torch file"),
        ("none.pth", "expected a state_dict as .safetensors or torch file"),
    ]:
        with pytest.raises(WeightsError, match=message) as error:
            timm.read_timm(tmp_path / name)
        assert name in str(error.value)


def test_a_tiny_network_learns_from_a_tiny_graph(tmp_path, tiny):
    config = TrainConfig(
        data=str(write_archive(tmp_path)), run=str(tmp_path / "run"), model="mobilenet",
        settings={"widths": list(WIDTHS), "halved": list(HALVED), "stem": 4, "plain": 1, "enlarged": 64},
        start=str(tiny), frozen=("stem", "stages.0"), early_rate=0.5, optimizer="adamw",
        learning_rate=0.02, epochs=4, batch=16, sizes=(56, 64), augmentation="none",
        average_decay=0.5, validate_every=3,
    )  # fmt: skip
    checkpoint = load_checkpoint(train(config) / "last.pt")
    assert checkpoint["started_from"]["file"] == "tiny.json"
    log = checkpoint["epochs"]
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert [row["epoch"] for row in log if "valid_accuracy" in row] == [3, 4]
    fresh = MobileNet(TINY)
    start_from(fresh, tiny, torch.rand(4, 64, 64))
    trained, untrained = checkpoint["model"], fresh.state_dict()
    for name, value in trained.items():
        if name.startswith(("stem", "stages.0.")):
            assert torch.equal(value, untrained[name]), name
    assert not torch.equal(trained["stages.1.0.weight"], untrained["stages.1.0.weight"])
    with pytest.raises(ConfigError, match="only a mobilenet starts from a published file"):
        train(
            replace(config, run=str(tmp_path / "other"), model="se-resnet", settings={}, frozen=())
        )


def test_rates_grow_towards_the_classifier_and_frozen_parts_have_none():
    network = MobileNet(TINY)
    freeze(network, ("stem", "stages.0"))
    config = TrainConfig(early_rate=0.25, learning_rate=0.1, weight_decay=0.01)
    groups = parameter_groups(network, config)
    rates = [group["lr"] for group in groups]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(0.025) and rates[-1] == pytest.approx(0.1)
    assert groups[-1]["params"][0] is network.head.bias and not groups[-1]["weight_decay"]
    trained = sum(parameter.numel() for group in groups for parameter in group["params"])
    frozen = sum(
        p.numel()
        for p in [*network.stem.parameters(), *network.get_submodule("stages.0").parameters()]
    )
    assert trained + frozen == sum(parameter.numel() for parameter in network.parameters())
    flat = parameter_groups(network, replace(config, early_rate=1.0))
    assert sum(p.numel() for group in flat for p in group["params"]) == trained
    with pytest.raises(ConfigError, match=r"no part 'stages.9'; known: .*stages.3"):
        freeze(network, ("stages.9",))
    with pytest.raises(ConfigError, match="validate_every = 1"):
        TrainConfig(keep="best", validate_every=2)


def test_the_kept_network_gives_its_reference_outputs():
    folder = ROOT / "recipes" / "ferplus" / "checkpoints" / "face-ferplus-mobilenet"
    assert loading.verify_model(folder) < loading.GOLDEN_TOLERANCE
    assert load_any(str(folder))[1].config.input_size == 48  # as crops of the corpus
