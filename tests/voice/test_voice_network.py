"""Test the voice network: padding, settings and learning."""

from dataclasses import replace

import pytest
import torch

from multimodal_fer.voice.network import SpeechConfig, SpeechNetwork

SMALL = SpeechConfig(bands=32, channels=(8, 12), units=12)
VARIANTS = {
    "default": SMALL,
    "mfcc": replace(SMALL, front="mfcc"),
    "like ARE": replace(
        SMALL, front="mfcc", normalise=False, bidirectional=False, pooling="last", prosody=True
    ),
    "with prosody": replace(SMALL, prosody=True),
}


@pytest.fixture(params=sorted(VARIANTS))
def network(request):
    torch.manual_seed(0)
    return SpeechNetwork(VARIANTS[request.param]).eval()


def waveforms(*lengths):
    """Return noise of several lengths, with nonzero padding."""
    generator = torch.Generator().manual_seed(1)
    padded = torch.randn(len(lengths), max(lengths), generator=generator) * 0.1
    return padded, torch.tensor(lengths)


def test_shapes(network):
    output = network(*waveforms(16_000, 9_000))
    assert output.logits.shape == (2, 7)
    assert output.embedding.shape == (2, network.head.in_features)


def test_padding_and_batch_do_not_change_the_output(network):
    padded, lengths = waveforms(16_000, 9_000, 3_000, 400, 1)
    with torch.inference_mode():
        together = network(padded, lengths).logits
        for row, length in enumerate(lengths.tolist()):
            alone = network(padded[row : row + 1, :length], lengths[row : row + 1]).logits[0]
            torch.testing.assert_close(alone, together[row], atol=1e-4, rtol=1e-3)
    assert torch.isfinite(together).all()


def test_silence_gives_a_finite_answer(network):
    logits = network(torch.zeros(1, 8_000), torch.tensor([8_000])).logits
    assert torch.isfinite(logits).all()


def test_a_length_of_zero_is_refused(network):
    with pytest.raises(ValueError, match="leave this modality out"):
        network(torch.zeros(1, 8_000), torch.tensor([0]))


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="unknown front 'cochlea'"):
        SpeechConfig(front="cochlea")


def test_loudness_does_not_matter():
    """Check that gain does not change the output if all energies exceed the floor."""
    torch.manual_seed(0)
    network = SpeechNetwork(SMALL).eval()
    padded, lengths = waveforms(16_000, 12_000)
    with torch.inference_mode():
        loud, quiet = network(padded, lengths).logits, network(padded * 0.25, lengths).logits
    torch.testing.assert_close(loud, quiet, atol=1e-3, rtol=1e-3)


def test_it_learns_to_tell_rising_from_falling_pitch():
    torch.manual_seed(0)
    network = SpeechNetwork(replace(SMALL, labels=("rising", "falling"), dropout=0.0))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    time = torch.arange(12_000) / 16_000

    def sample(count):
        labels = torch.arange(count) % 2
        start, slope = 150 + 100 * torch.rand(count, 1), 200 * (1 - 2 * labels[:, None].float())
        base = start + (slope < 0) * 200
        phase = 2 * torch.pi * (base * time + slope * time.square() / 2)
        sound = sum(torch.sin(harmonic * phase) / harmonic for harmonic in range(1, 8))
        return 0.1 * sound, torch.full((count,), 12_000), labels

    for _ in range(40):
        sound, lengths, labels = sample(16)
        loss = torch.nn.functional.cross_entropy(network(sound, lengths).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    sound, lengths, labels = sample(32)
    with torch.inference_mode():
        assert (network(sound, lengths).logits.argmax(1) == labels).float().mean() > 0.9
