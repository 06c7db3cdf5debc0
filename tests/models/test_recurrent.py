"""The networks of Yoon et al. 2018: published sizes, TensorFlow's cell, no effect of padding."""

import math
from dataclasses import replace

import numpy
import pytest
import torch
from torch import nn

from multimodal_fer.fusion.recurrent import MDRE, MDREA, AttentionConfig, DualConfig
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.recurrent import GRU, ScalarBiasLinear, sigmoid_cross_entropy
from multimodal_fer.text.recurrent import TRE, TextConfig
from multimodal_fer.text.vocabulary import PAD_NUMBER
from multimodal_fer.voice.recurrent import ARE, PUBLISHED_FRAMES, VoiceConfig

FOUR = ("anger", "happiness", "sadness", "neutral")
FRAMES, WORDS = (7, 3, 9, 1), (4, 6, 1, 2)  # true lengths of the four utterances
PUBLISHED = {
    "are": (ARE, VoiceConfig(FOUR), 144_941, 235),
    "tre": (TRE, TextConfig(FOUR), 1_425_501, 200),
    "mdre": (MDRE, DualConfig(FOUR), 1_617_066, 217),
    "mdrea": (MDREA, AttentionConfig(FOUR), 1_617_302, 400),
}
SMALL = {
    "are": (ARE, VoiceConfig(FOUR, units=8)),
    "tre": (TRE, TextConfig(FOUR, units=8, vocabulary_size=20, word_size=5)),
    "mdre": (MDRE, DualConfig(FOUR, units=8, vocabulary_size=20, word_size=5)),
    "mdrea": (MDREA, AttentionConfig(FOUR, units=8, vocabulary_size=20, word_size=5)),
}
SMALL["mdrea-published"] = (MDREA, replace(SMALL["mdrea"][1], mask_attention=False))


def make(name):
    torch.manual_seed(0)
    network, config = SMALL[name]
    model = network(config)
    if hasattr(model, "text"):
        nn.init.normal_(model.text.embedding.weight)  # so that words have an effect
    return model.eval()


@pytest.fixture(params=sorted(SMALL))
def network(request):
    return make(request.param)


def evidence(network, frames: int = 9, words: int = 6, garbage: float = 0.0):
    """Return features of four utterances; the padding is filled with `garbage`."""
    generator = torch.Generator().manual_seed(1)
    mfcc_BTF = torch.randn(4, 9, 39, generator=generator)
    prosody_BP = torch.randn(4, 35, generator=generator)
    tokens_BT = torch.randint(2, 20, (4, 6), generator=generator)
    mfcc_BTF = nn.functional.pad(mfcc_BTF, (0, 0, 0, frames - 9))
    tokens_BT = nn.functional.pad(tokens_BT, (0, words - 6))
    for row, (frame, word) in enumerate(zip(FRAMES, WORDS, strict=True)):
        mfcc_BTF[row, frame:] = garbage
        tokens_BT[row, word:] = 999_999 if garbage else PAD_NUMBER
    voice = (mfcc_BTF, torch.tensor(FRAMES), prosody_BP)
    text = (tokens_BT, torch.tensor(WORDS))
    return pick(network, voice, text)


def pick(network, voice, text):
    """Return the inputs that a network takes."""
    return (
        *(voice if hasattr(network, "voice") else ()),
        *(text if hasattr(network, "text") else ()),
    )


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_parameters_and_embeddings_have_the_published_sizes(name):
    network, config, parameters, embedding = PUBLISHED[name]
    model = network(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    voice = torch.zeros(2, 5, 39), torch.tensor([5, 2]), torch.zeros(2, 35)
    text = torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3, 1])
    output = model(*pick(model, voice, text))
    assert isinstance(output, Output)
    assert output.logits.shape == (2, 4) and output.embedding.shape == (2, embedding)


def test_the_cell_is_tensorflows():
    torch.manual_seed(0)
    gru = GRU(3, 4)
    nn.init.normal_(gru.gates_bias)
    nn.init.normal_(gru.candidate_bias)
    inputs_BTI, lengths = torch.randn(2, 5, 3), (5, 2)
    outputs_BTH, last_BH = gru(inputs_BTI, torch.tensor(lengths))
    kernels = {name: value.detach().double().numpy() for name, value in gru.named_parameters()}
    for row, length in enumerate(lengths):
        state = numpy.zeros(4)
        for step in range(length):
            given = inputs_BTI[row, step].double().numpy()
            gates = numpy.concatenate([given, state]) @ kernels["gates_kernel"]
            gates = 1 / (1 + numpy.exp(-gates - kernels["gates_bias"]))
            reset, update = gates[:4], gates[4:]
            new = numpy.concatenate([given, reset * state]) @ kernels["candidate_kernel"]
            state = update * state + (1 - update) * numpy.tanh(new + kernels["candidate_bias"])
            numpy.testing.assert_allclose(outputs_BTH[row, step].detach(), state, atol=1e-6)
        numpy.testing.assert_allclose(last_BH[row].detach(), state, atol=1e-6)
        assert not outputs_BTH[row, length:].any()


def test_weights_start_as_published():
    torch.manual_seed(0)
    gru = GRU(39, 200)
    kernel = gru.gates_kernel
    torch.testing.assert_close(kernel @ kernel.T, torch.eye(239), atol=1e-5, rtol=0)
    kernel = gru.candidate_kernel
    torch.testing.assert_close(kernel.T @ kernel, torch.eye(200), atol=1e-5, rtol=0)
    assert gru.gates_bias.eq(1).all() and gru.candidate_bias.eq(0).all()
    linear = ScalarBiasLinear(235, 117)
    assert 0.24 < linear.weight.abs().max() <= 0.25 and abs(linear.weight.mean()) < 0.01
    assert linear.bias.shape == (1,) and linear.bias == 0


def test_a_linear_layer_has_one_bias_for_all_outputs():
    linear = ScalarBiasLinear(3, 4)
    before = linear(torch.ones(2, 3))
    nn.init.constant_(linear.bias, 2.0)
    torch.testing.assert_close(linear(torch.ones(2, 3)), before + 2)


@pytest.mark.parametrize("garbage", [0.0, 1e6, math.nan, math.inf])
def test_padding_has_no_effect(network, garbage):
    with torch.inference_mode():
        expected = network(*evidence(network))
        found = network(*evidence(network, frames=30, words=25, garbage=garbage))
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.embedding, expected.embedding, atol=1e-5, rtol=1e-5)


def test_a_batch_of_one_equals_a_batch_of_many(network):
    given = evidence(network)
    with torch.inference_mode():
        together = network(*given).logits
        alone = torch.cat(
            [network(*(part[row, None] for part in given)).logits for row in range(4)]
        )
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def test_everything_that_is_trained_gets_a_finite_gradient(network):
    network.train()
    logits = network(*evidence(network, frames=12, words=8, garbage=math.nan)).logits
    sigmoid_cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    if hasattr(network, "text"):
        gradient_VD = network.text.embedding.weight.grad
        assert gradient_VD[PAD_NUMBER].eq(0).all() and gradient_VD.abs().sum() > 0


def test_voice_and_text_both_have_an_effect():
    for name in ("mdre", "mdrea", "mdrea-published"):
        network = make(name)
        given = evidence(network)
        with torch.inference_mode():
            before = network(*given).logits
            for place in (0, 2, 3):  # frames, prosody, tokens
                changed = list(given)
                changed[place] = given[place].flip(0) if place < 3 else 21 - given[place].clamp(2)
                assert not torch.allclose(network(*changed).logits, before, atol=1e-3), (
                    name,
                    place,
                )


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (0, "a length of 0.*leave this modality out"),
        (-1, "length of -1"),
        (99, "length of 99, but"),
    ],
)
def test_impossible_lengths_are_refused(network, length, reason):
    given = list(evidence(network))
    for place in (1, -1) if hasattr(network, "voice") and hasattr(network, "text") else (1,):
        wrong = list(given)
        wrong[place] = given[place].clone()
        wrong[place][2] = length
        with pytest.raises(ValueError, match=reason):
            network(*wrong)


def test_an_empty_batch_is_refused(network):
    with pytest.raises(ValueError, match="empty batch"):
        network(*(part[:0] for part in evidence(network)))


def test_dropout_acts_on_inputs_and_on_attended_outputs_only():
    """Check the keep rates of 0.7 (voice) and 0.3 (text), and that states and prosody are kept."""
    torch.manual_seed(0)
    model = MDREA(replace(SMALL["mdrea"][1], vocabulary_size=2000)).train()
    inputs = {}
    model.voice.gru.register_forward_pre_hook(lambda _, given: inputs.update(mfcc=given[0]))
    model.text.gru.register_forward_pre_hook(lambda _, given: inputs.update(words=given[0]))
    frames, tokens = torch.ones(20, 50, 39), torch.randint(2, 2000, (20, 100))
    length = torch.full((20,), 50), torch.full((20,), 100)
    voice_BD = model.voice(frames, length[0], torch.ones(20, 35))
    outputs_BTD, last_BD = model.text(tokens, length[1])
    assert inputs["mfcc"].ne(0).float().mean() == pytest.approx(0.7, abs=0.02)
    assert inputs["words"].ne(0).float().mean() == pytest.approx(0.3, abs=0.02)
    assert inputs["mfcc"].max() == pytest.approx(1 / 0.7)  # what is kept is scaled up
    assert outputs_BTD.ne(0).float().mean() == pytest.approx(0.3, abs=0.02)
    assert voice_BD.ne(0).all() and last_BD.ne(0).all()


def test_projections_have_no_non_linearity():
    network = make("mdre")
    voice_BD = torch.randn(3, network.voice.size)
    for bias in (layer.bias for layer in (network.voice_projection, network.text_projection)):
        assert bias.eq(0).all()
    double = network.voice_projection(2 * voice_BD)
    torch.testing.assert_close(double, 2 * network.voice_projection(voice_BD))


def test_only_the_published_attention_gives_padding_a_share():
    query_BD, outputs_BTD, lengths_B = torch.zeros(2, 8), torch.ones(2, 4, 8), torch.tensor([4, 1])
    outputs_BTD[1, 1:] = 0
    masked = make("mdrea").attention(query_BD, outputs_BTD, lengths_B)
    torch.testing.assert_close(masked, torch.tensor([[0.25] * 4, [1.0, 0, 0, 0]]))
    # A query of zeros gives all 128 places the same share, padding included.
    published = make("mdrea-published").attention(query_BD, outputs_BTD, lengths_B)
    torch.testing.assert_close(published, torch.full((2, 4), 1 / 128))


def test_published_attention_is_a_softmax_over_128_places():
    network = make("mdrea-published")
    query_BD, outputs_BTD = torch.randn(1, 8), torch.randn(1, 3, 8)
    scores = (outputs_BTD[0] @ query_BD[0]).exp()
    found = network.attention(query_BD, outputs_BTD, torch.tensor([3]))
    torch.testing.assert_close(found[0], scores / (scores.sum() + 125))
    with pytest.raises(ValueError, match="pads to 128 tokens, found 129"):
        network.attention(query_BD, torch.randn(1, 129, 8), torch.tensor([129]))


def test_the_published_loss_is_the_mean_over_batch_and_labels():
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    by_hand = [math.log1p(math.exp(-2)), math.log1p(math.exp(-1))]
    by_hand += [math.log1p(math.exp(0.5)), math.log1p(math.exp(-3))]
    assert sigmoid_cross_entropy(logits, torch.tensor([0, 1])).item() == pytest.approx(
        sum(by_hand) / 4
    )
    with pytest.raises(RuntimeError):
        sigmoid_cross_entropy(logits, torch.tensor([0, 2]))


def test_word_vectors_are_copied_and_trained():
    network = make("tre")
    vectors_VD = torch.randn(20, 5)
    network.text.set_word_vectors(vectors_VD)
    weight = network.text.embedding.weight
    assert torch.equal(weight[1:], vectors_VD[1:]) and weight[PAD_NUMBER].eq(0).all()
    assert (
        weight.requires_grad and not vectors_VD[PAD_NUMBER].eq(0).all()
    )  # the original is unchanged
    with pytest.raises(ValueError, match=r"expected shape \(20, 5\), found \(20, 6\)"):
        network.text.set_word_vectors(torch.zeros(20, 6))


def test_word_vectors_start_small_and_padding_at_zero():
    torch.manual_seed(0)
    weight = TRE(TextConfig(FOUR)).text.embedding.weight
    assert weight[PAD_NUMBER].eq(0).all() and weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_weights_of_one_network_fit_another_of_the_same_settings(network):
    copy = type(network)(network.config)
    copy.load_state_dict(network.state_dict())
    with torch.inference_mode():
        given = evidence(network)
        assert torch.equal(copy.eval()(*given).logits, network(*given).logits)


def test_gradients_reach_the_start_of_the_longest_published_voice():
    """Check that gradients reach the first frames, 7.5 seconds before the end."""
    torch.manual_seed(0)
    network = make("are").train()
    mfcc_BTF = torch.zeros(2, PUBLISHED_FRAMES, 39)
    mfcc_BTF[0, :5] = 1.0
    given = mfcc_BTF.requires_grad_(), torch.full((2,), PUBLISHED_FRAMES), torch.zeros(2, 35)
    network(*given).logits.sum().backward()
    assert mfcc_BTF.grad is not None and mfcc_BTF.grad[0].abs().sum() > 0


def test_mixed_precision_gives_nearly_the_same_logits(network):
    given = evidence(network)
    with torch.inference_mode():
        full = network(*given).logits
        with torch.autocast("cpu", torch.bfloat16):
            half = network(*given).logits
    torch.testing.assert_close(half.float(), full, atol=0.1, rtol=0.05)
