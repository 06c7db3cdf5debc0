"""The voice network on Whisper's first layers: equal to Whisper's own encoder, and sound of any length."""

import math
from dataclasses import replace

import numpy
import pytest
import torch
from torch.nn import functional

from multimodal_fer.speech.whisper_tensors import load_encoder
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.voice.reference import MOST_UTTERANCES, Reference, reference_of, shrunk
from multimodal_fer.voice.whisper_encoder import (
    LONGEST_STEPS,
    WhisperVoice,
    WhisperVoiceConfig,
    loudness_weights,
    slaney_filters,
    whisper_log_mel,
)

SMALL = WhisperVoiceConfig(width=48, heads=4, blocks=2, units=16)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return WhisperVoice(SMALL).eval()


def noise(*lengths):
    """Return noise of several lengths, with garbage in the padding."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(lengths), max(lengths), generator=generator) * 0.1, torch.tensor(lengths)


def test_the_features_are_whispers(speech):
    extractor = pytest.importorskip("faster_whisper.feature_extractor").FeatureExtractor()
    numpy.testing.assert_allclose(slaney_filters().numpy().T, extractor.mel_filters, atol=1e-6)
    sound = speech[: 4 * SAMPLE_RATE]
    frames, count = whisper_log_mel(torch.from_numpy(sound)[None], torch.tensor([len(sound)]))
    expected = extractor(sound, padding=0).T[: count.item()]
    assert frames.shape == (1, 400, 80)
    # At the edges Whisper mirrors the sound, here it is silent.
    numpy.testing.assert_allclose(frames[0, 2:-2], expected[2:-2], atol=1e-4)


def test_the_layers_are_those_of_openai_whisper(speech):
    whisper = pytest.importorskip("whisper")
    state = load_encoder(2)
    network = WhisperVoice(WhisperVoiceConfig(blocks=2, last_mlp=True)).eval()
    network.encoder.load_state_dict(state)
    reference = whisper.model.AudioEncoder(80, LONGEST_STEPS, 384, 6, 2).eval()
    missing, unexpected = reference.load_state_dict(state, strict=False)
    # The positional embedding is computed, and the norm after the last block is not used.
    assert not unexpected
    assert set(missing) == {"positional_embedding", "ln_post.weight", "ln_post.bias"}
    sound = torch.from_numpy(speech[: 3 * SAMPLE_RATE])[None]
    frames, count = whisper_log_mel(sound, torch.tensor([sound.shape[1]]))
    with torch.inference_mode():
        layers, steps = network.encoder(frames, count)
        expected = functional.gelu(reference.conv1(frames.transpose(1, 2)))
        expected = functional.gelu(reference.conv2(expected)).transpose(1, 2)
        expected = expected + reference.positional_embedding[: expected.shape[1]]
        for layer, block in zip(layers, [None, *reference.blocks], strict=True):
            expected = block(expected) if block else expected
            torch.testing.assert_close(layer, expected, atol=1e-4, rtol=1e-4)
    assert steps.item() == 150


def test_padding_and_company_never_change_an_answer(network):
    padded, lengths = noise(16_000, 9_000, 3_210, 400, 1)
    with torch.inference_mode():
        together = network(padded, lengths).logits
        for row, length in enumerate(lengths.tolist()):
            alone = network(padded[row : row + 1, :length], lengths[row : row + 1]).logits[0]
            torch.testing.assert_close(alone, together[row], atol=1e-4, rtol=1e-3)
    assert torch.isfinite(together).all()


def test_what_exceeds_thirty_seconds_is_cut_off(network):
    padded, lengths = noise(31 * SAMPLE_RATE)
    with torch.inference_mode():
        whole = network(padded, lengths).logits
        cut = network(padded[:, : 30 * SAMPLE_RATE], lengths.clamp(max=30 * SAMPLE_RATE)).logits
    torch.testing.assert_close(whole, cut)


def test_silence_gives_a_finite_answer_and_no_sound_is_refused(network):
    silent = torch.zeros(1, 8_000)
    assert torch.isfinite(network(silent, torch.tensor([8_000])).logits).all()
    with pytest.raises(ValueError, match="leave this modality out"):
        network(silent, torch.tensor([0]))


def test_settings_without_sense_are_refused():
    with pytest.raises(ValueError, match="the heads divide"):
        WhisperVoiceConfig(width=50, heads=4)


def test_silence_around_speech_hardly_changes_the_moments(network, speech):
    sound = torch.from_numpy(speech[SAMPLE_RATE : 3 * SAMPLE_RATE])
    quiet = functional.pad(sound, (0, SAMPLE_RATE))
    with torch.inference_mode():
        weights, padded = (
            loudness_weights(*whisper_log_mel(one[None], torch.tensor([len(one)])))[0]
            for one in (sound, quiet)
        )
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(padded[: len(weights) - 3], weights[:-3], atol=1e-4, rtol=0.02)
    assert padded[len(weights) + 3 :].max() < 1e-3


def test_a_prior_raises_what_it_favours(network):
    sounds = noise(16_000, 9_000)
    favouring = WhisperVoice(replace(SMALL, prior=(4.0, *[1.0] * 6))).eval()
    favouring.load_state_dict(network.state_dict())
    with torch.inference_mode():
        plain, shifted = network(*sounds).logits, favouring(*sounds).logits
    odds = (shifted - plain)[:, :2].diff(dim=1)
    torch.testing.assert_close(odds, torch.full_like(odds, -math.log(4)), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="a positive share for each of 7 labels"):
        WhisperVoiceConfig(prior=(1.0, 2.0))


# --- a person's own reference ---


def test_without_utterances_a_reference_is_the_corpus(network):
    moments = torch.randn(5, network.size)
    nothing = Reference(torch.zeros(5, 1), torch.full_like(moments, 7.0), torch.ones_like(moments))
    with torch.inference_mode():
        torch.testing.assert_close(
            network.judge(moments, nothing).logits, network.judge(moments).logits
        )


def test_a_reference_takes_out_what_is_constant_in_a_voice(network):
    generator = torch.Generator().manual_seed(3)
    moments = torch.randn(40, network.size, generator=generator)
    even = torch.full((40, 2), 0.5)
    other = moments + 5 * torch.randn(1, network.size, generator=generator)
    with torch.inference_mode():
        own, shifted, moved = (
            network.judge(one, reference).logits
            for one, reference in (
                (moments, reference_of(moments, even)),
                (other, reference_of(other, even)),
                (other, None),
            )
        )
    # Some of the shift remains, as the reference is shrunk towards the corpus.
    assert (own - shifted).norm() < 0.5 * (own - moved).norm()
    assert reference_of(moments, even).count.item() == MOST_UTTERANCES


def test_a_reference_does_not_follow_the_commonest_emotion():
    """Check that nine neutral utterances and one angry one count nearly as one of each."""
    moments = torch.tensor([[0.0]] * 9 + [[1.0]])
    scores = torch.tensor([[1.0, 0.0]] * 9 + [[0.0, 1.0]])
    found = reference_of(moments, scores)
    assert found.mean.item() == pytest.approx((1 / 1.5) / (1 / 1.5 + 9 / 9.5), abs=1e-5)
    assert 1 < found.count.item() < 6
    often = reference_of(moments[[0, 9]], scores[[0, 9]], torch.tensor([[9.0, 1.0]]))
    for one, other in zip(found, often, strict=True):
        torch.testing.assert_close(one, other)


def test_a_persons_own_mean_is_shrunk_by_their_number():
    person = Reference(torch.tensor([[8.0]]), torch.tensor([[3.0]]), torch.tensor([[4.0]]))
    mean, variance = shrunk(person, torch.tensor([1.0]), torch.tensor([2.0]), weight=8.0)
    assert (mean.item(), variance.item()) == (2.0, 3.0)


# --- bad input ---


@pytest.mark.parametrize("kind", ["short", "clipped", "narrow", "long", "music"])
def test_any_sound_gets_finite_scores(network, kind):
    generator = torch.Generator().manual_seed(2)
    time = torch.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    sound = {
        "short": torch.randn(SAMPLE_RATE // 10, generator=generator) * 0.1,
        "clipped": (3 * torch.randn(SAMPLE_RATE, generator=generator)).clamp(-1, 1),
        "narrow": functional.interpolate(
            torch.randn(1, 1, 8_000, generator=generator), 16_000, mode="linear"
        )[0, 0],
        "long": torch.randn(1800 * SAMPLE_RATE // 20, generator=generator) * 0.1,
        "music": sum(torch.sin(6.283 * tone * time) for tone in (220, 277, 330)) * 0.2,
    }[kind]
    with torch.inference_mode():
        scores = network(sound[None], torch.tensor([len(sound)])).logits.softmax(1)
    assert torch.isfinite(scores).all() and scores.sum().item() == pytest.approx(1, abs=1e-5)
