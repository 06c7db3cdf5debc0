"""Properties of all facial networks: shapes, independence of samples, fast copies, settings."""

import pytest
import torch
from torch import nn

from multimodal_fer.errors import WeightsError
from multimodal_fer.face.network import SEResNet
from multimodal_fer.models import FACE_MODELS, build
from multimodal_fer.models.inference import for_inference


@pytest.fixture(params=sorted(FACE_MODELS))
def network(request):
    torch.manual_seed(0)
    return build(request.param, {}).eval()


def images(count: int, size: int = 48):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, size, size), dtype=torch.uint8, generator=generator)


def test_shapes(network):
    output = network(images(3))
    assert output.logits.shape == (3, len(network.config.labels))
    assert output.embedding.shape[0] == 3 and output.embedding.ndim == 2


def test_a_batch_of_one_equals_a_batch_of_many(network):
    with torch.inference_mode():
        together = network(images(5)).logits
        alone = torch.cat([network(image[None]).logits for image in images(5)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_the_copy_for_inference_has_the_same_outputs(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            module.running_mean = torch.rand(module.num_features) - 0.5
            module.running_var = torch.rand(module.num_features) + 0.5
    before = [value.clone() for value in network.state_dict().values()]
    copy = for_inference(network)
    with torch.inference_mode():
        torch.testing.assert_close(
            copy(images(5)).logits, network(images(5)).logits, atol=1e-4, rtol=1e-3
        )
    for old, new in zip(before, network.state_dict().values(), strict=True):
        assert torch.equal(old, new)  # the original is untouched
    if isinstance(network, SEResNet):
        assert not any(isinstance(module, nn.BatchNorm2d) for module in copy.modules())


def test_light_and_contrast_of_a_crop_have_no_effect():
    network = build("se-resnet", {}).eval()
    dim = images(4).float() * 0.5 + 20
    with torch.inference_mode():
        assert torch.allclose(network(images(4)).logits, network(dim).logits, atol=1e-2)


def test_a_single_coloured_crop_gives_finite_logits(network):
    with torch.inference_mode():
        logits = network(torch.full((1, 48, 48), 255, dtype=torch.uint8)).logits
    assert torch.isfinite(logits).all()


def test_the_compact_network_has_under_3_million_parameters():
    network = build("se-resnet", {})
    assert sum(p.numel() for p in network.parameters()) < 3_000_000


def test_unknown_names_and_settings_are_refused():
    with pytest.raises(WeightsError, match="unknown model 'resnet-99'"):
        build("resnet-99", {})
    with pytest.raises(WeightsError, match=r"no setting \['colour'\]"):
        build("se-resnet", {"colour": 1})
    with pytest.raises(WeightsError, match=r"expected widths as tuple\[int, ...\], found 'wide'"):
        build("se-resnet", {"widths": "wide"})
    with pytest.raises(WeightsError, match="cannot be built"):
        build("se-resnet", {"widths": [-8, 8]})
