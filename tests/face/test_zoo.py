"""The networks of the literature: sizes and inputs as published."""

import numpy
import pytest
import torch
from skimage.feature import hog

from multimodal_fer.errors import MultimodalFerError, WeightsError
from multimodal_fer.face.detection import crop_face, find_faces
from multimodal_fer.face.normalisation import equalise, without_plane
from multimodal_fer.face.zoo import landmarks
from multimodal_fer.face.zoo.hybrid import histograms_of_gradients, sliding_histograms
from multimodal_fer.face.zoo.landmarks import find_landmarks
from multimodal_fer.face.zoo.xception import pool_same
from multimodal_fer.models import build


def count(model, statistics=False):
    """Count the parameters, as in Keras with the running statistics of batch normalisation."""
    buffers = [value for name, value in model.named_buffers() if "running" in name]
    return sum(value.numel() for value in [*model.parameters(), *(buffers if statistics else ())])


@pytest.mark.parametrize(
    ("name", "published", "statistics"),
    [
        ("vgg13", 8_757_704, False),
        ("mini-xception", 58_423, True),
        ("arriaga-sequential", 642_935, True),
        ("vgg19", 20_038_983, False),
        ("resnet18", 11_172_423, False),
        ("deepface", 1_485_831, False),
    ],
)
def test_parameter_counts_are_the_published_ones(name, published, statistics):
    assert count(build(name, {}), statistics) == published


@pytest.mark.parametrize("name", ["vgg13", "mini-xception"])
def test_networks_of_a_fixed_size_enlarge_their_input(name):
    torch.manual_seed(0)
    model = build(name, {}).eval()
    images = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    enlarged = torch.nn.functional.interpolate(images[:, None].float(), (64, 64), mode="bilinear")
    with torch.inference_mode():
        direct, prepared = model(images).logits, model(enlarged[:, 0]).logits
    torch.testing.assert_close(direct, prepared)


def test_mini_xception_learns_channels_last():
    """Check the memory layout of training, which crashed the process on some processors."""
    torch.manual_seed(0)
    model = build("mini-xception", {}).eval()
    images = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8)
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        model.to(memory_format=layout).zero_grad()
        model(images).logits.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_resnet18_uses_the_middle_44_pixels():
    torch.manual_seed(0)
    model = build("resnet18", {}).eval()
    images = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    rimmed = images.clone()
    rimmed[:, :2] = rimmed[:, -2:] = 0
    with torch.inference_mode():
        whole, middle = model(images).logits, model(images[:, 2:-2, 2:-2]).logits
        assert torch.equal(model(rimmed).logits, whole)
    torch.testing.assert_close(whole, middle)


def test_mobilenet_enlarges_corpus_crops_takes_others_as_they_are_and_ignores_brightness():
    torch.manual_seed(0)
    model = build("mobilenet", {}).eval()
    small = torch.randint(0, 200, (2, 48, 48), dtype=torch.uint8)
    large = torch.nn.functional.interpolate(small[:, None].float(), (112, 112), mode="bilinear")
    with torch.inference_mode():
        output = model(small)
        assert output.embedding.shape == (2, 1024)
        torch.testing.assert_close(output.logits, model(large[:, 0]).logits)
        torch.testing.assert_close(output.logits, model(small * 0.5 + 20).logits, atol=1e-3, rtol=0)
        assert not torch.allclose(output.logits, model(large[:, 0, 8:-8, 8:-8]).logits, atol=1e-3)


def test_mobilenet_overwrites_maps_without_gradients_only():
    torch.manual_seed(0)
    model = build("mobilenet", {}).eval()
    images = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        fast = model(images).logits
        again = model(images).logits
    slow = model(images).logits
    slow.sum().backward()
    torch.testing.assert_close(fast, again, atol=0, rtol=0)
    torch.testing.assert_close(fast, slow.detach())
    assert model.stages[0][0].weight.grad.abs().sum() > 0


def test_equalised_grey_levels_are_evenly_spread():
    ramp = torch.arange(256.0).view(1, 16, 16)
    expected = (torch.arange(1, 257) / 128 - 1).view(1, 16, 16)
    torch.testing.assert_close(equalise(ramp), expected)
    torch.testing.assert_close(equalise(ramp / 2 + 60), expected, atol=0.02, rtol=0)
    assert (equalise(torch.full((1, 4, 4), 9.0)) == 1).all()


def test_a_plane_of_light_is_removed():
    numbers = numpy.random.default_rng(0).normal(size=(1, 12, 12)).astype("float32")
    picture = torch.from_numpy(numbers)
    rows = torch.arange(12.0).view(1, 12, 1)
    lit = picture + 0.3 * rows - 0.1 * rows.transpose(1, 2) + 5
    torch.testing.assert_close(without_plane(lit), without_plane(picture), atol=1e-4, rtol=0)
    assert without_plane(lit).square().mean().item() == pytest.approx(1, abs=1e-4)
    assert without_plane(torch.zeros(1, 4, 4)).abs().max() == 0


def test_pooling_pads_as_keras_does():
    ramp = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 1, 6, 6)
    assert pool_same(ramp)[0, 0, 0].tolist() == [2, 4, 5]  # even: windows start at the first pixel
    assert pool_same(ramp[..., :5, :5])[0, 0, 0].tolist() == [1, 3, 4]  # odd: one pixel before it


def test_histograms_of_gradients_equal_scikit_image(portrait):
    grey = numpy.ascontiguousarray(portrait[60:108, 300:348, 1]).astype("float32")
    images = torch.from_numpy(grey)[None]
    ours = histograms_of_gradients(images, cell=16)[0].numpy()
    theirs = hog(grey, orientations=8, pixels_per_cell=(16, 16), cells_per_block=(1, 1))
    assert ours.shape == (72,)
    numpy.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert sliding_histograms(images).shape == (1, 2592)


def test_unknown_parts_of_the_hybrid_are_refused():
    with pytest.raises(WeightsError, match="variant is one of"):
        build("hybrid", {"variant": "c"})


def test_landmarks_lie_on_the_face(portrait):
    pytest.importorskip("dlib", reason="the extra landmarks is not installed")
    face = crop_face(portrait, find_faces(portrait).boxes[0], 48)
    points = find_landmarks(torch.from_numpy(face)[None]).view(68, 2)
    eyes, mouth, chin = points[36:48, 1].mean(), points[48:68, 1].mean(), points[8, 1]
    assert 10 < eyes < mouth < chin < 50
    model = build("hybrid", {"variant": "a", "features": "hog", "landmarks": True}).eval()
    assert model(torch.from_numpy(face)[None]).logits.shape == (1, 7)


def test_without_dlib_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("multimodal_fer.face.zoo.landmarks.package_folders", lambda name: [])
    landmarks._load.cache_clear()
    with pytest.raises(MultimodalFerError, match=r"multimodal_fer\[landmarks\]"):
        find_landmarks(torch.zeros(1, 48, 48))
