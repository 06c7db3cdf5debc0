"""The voice network on Whisper's first layers: equal to Whisper's own encoder, and sound of any length."""

import numpy
import pytest
import torch
from torch.nn import functional

from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.voice.whisper_encoder import (
    LONGEST_STEPS,
    WhisperVoice,
    WhisperVoiceConfig,
    slaney_filters,
    whisper_log_mel,
)
from recipes.open.voice.whisper_start import load_encoder

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
    network = WhisperVoice(WhisperVoiceConfig(blocks=2)).eval()
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


def test_statistics_in_training_are_of_real_steps_alone():
    torch.manual_seed(0)
    network = WhisperVoice(SMALL).train()
    padded, lengths = noise(16_000, 6_400)
    network(padded, lengths)
    after = [torch.clone(mean) for mean in running_means(network)]
    torch.manual_seed(0)
    other = WhisperVoice(SMALL).train()
    other(functional.pad(padded, (0, 32_000), value=0.3), lengths)
    for mean, same in zip(after, running_means(other), strict=True):
        torch.testing.assert_close(mean, same, atol=1e-5, rtol=1e-4)


def running_means(network):
    return [value for name, value in network.named_buffers() if name.endswith("running_mean")]
