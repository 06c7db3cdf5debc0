"""Test MFCC and log mel energies against other implementations, and with padding."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from multimodal_fer.voice.log_mel import log_mel, mel_filters
from multimodal_fer.voice.mfcc import MFCC_SIZE, mfcc

RATE = 16_000

# The components of an openSMILE configuration file by name: class, input level, settings.
Parts = dict[str, tuple[str, str, Mapping[str, object]]]

# The settings of the configuration that Yoon et al. 2018 used (MFCC12_E_D_A).
MFCC12_E_D_A: Parts = {
    "frames": (
        "cFramer",
        "wave",
        {
            "frameSize": 0.025,
            "frameStep": 0.01,
            "frameCenterSpecial": "left",
            "noPostEOIprocessing": 1,
        },
    ),
    "sharp": ("cVectorPreemphasis", "frames", {"k": 0.97}),
    "windowed": ("cWindower", "sharp", {"winFunc": "ham"}),
    "fourier": ("cTransformFFT", "windowed", {"zeroPadSymmetric": 0}),
    "magnitude": ("cFFTmagphase", "fourier", {"magnitude": 1, "phase": 0}),
    "mel": (
        "cMelspec",
        "magnitude",
        {
            "htkcompatible": 1,
            "nBands": 26,
            "usePower": 1,
            "lofreq": 0,
            "hifreq": 8000,
            "specScale": "mel",
        },
    ),
    "cepstra": (
        "cMfcc",
        "mel",
        {"firstMfcc": 1, "lastMfcc": 12, "cepLifter": 22, "htkcompatible": 1},
    ),
    "energy": ("cEnergy", "frames", {"htkcompatible": 1, "rms": 0, "log": 1}),
    "static": ("cVectorConcat", "cepstra;energy", {"processArrayFields": 0}),
    "delta": ("cDeltaRegression", "static", {"deltawin": 2, "noPostEOIprocessing": 0}),
    "acceleration": ("cDeltaRegression", "delta", {"deltawin": 2, "noPostEOIprocessing": 0}),
    "all": ("cVectorConcat", "static;delta;acceleration", {"includeSingleElementFields": 1}),
}


def ask_opensmile(folder: Path, parts: Parts, level: str, waveform: numpy.ndarray) -> numpy.ndarray:
    """Return openSMILE's features of a waveform, (T, D); skip the test if it is not installed."""
    opensmile = pytest.importorskip("opensmile", reason="pip install opensmile to compare with it")
    lines = ["[componentInstances:cComponentManager]", "instance[dataMemory].type=cDataMemory"]
    lines += [r"\{\cm[source{?}:where the sound comes from]}"]
    lines += ["[componentInstances:cComponentManager]"]
    lines += [f"instance[{name}].type={kind}" for name, (kind, _, _) in parts.items()]
    for name, (kind, source, settings) in parts.items():
        lines += [f"[{name}:{kind}]", f"reader.dmLevel={source}", f"writer.dmLevel={name}"]
        lines += [f"{key}={value}" for key, value in settings.items()]
    lines += [r"\{\cm[sink{?}:where the values go]}", ""]
    (folder / "settings.conf").write_text("\n".join(lines))
    smile = opensmile.Smile(str(folder / "settings.conf"), level, loglevel=1)
    return smile.process_signal(waveform, RATE).to_numpy()


def speechlike(seconds: float, seed: int = 0) -> numpy.ndarray:
    """Return harmonics and noise of changing loudness, with 16 bits."""
    chance = numpy.random.default_rng(seed)
    time = numpy.arange(round(seconds * RATE)) / RATE
    phase = 2 * numpy.pi * numpy.cumsum(140 + 40 * numpy.sin(5 * time)) / RATE
    voice = sum(numpy.sin(number * phase) / number for number in range(1, 25))
    sound = 0.1 * voice * (numpy.sin(7 * time) > -0.3) + 0.01 * chance.standard_normal(len(time))
    return (numpy.round(sound * 32768) / 32768).astype("f4")


def batch_of(*waveforms: numpy.ndarray, padding: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    tensors = [torch.from_numpy(waveform) for waveform in waveforms]
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    return pad_sequence(tensors, batch_first=True, padding_value=padding), lengths


def test_mfcc_equals_kaldi_and_librosa():
    """Check MFCC against the HTK mode of torchaudio's Kaldi, and deltas against librosa."""
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi", exc_type=ImportError)
    librosa = pytest.importorskip("librosa")
    waveform = speechlike(2.3)
    values, frames = mfcc(*batch_of(waveform))
    reference = kaldi.mfcc(
        torch.from_numpy(waveform)[None] * 32768,
        sample_frequency=RATE,
        num_ceps=13,
        num_mel_bins=26,
        low_freq=0.0,
        high_freq=8000.0,
        window_type="hamming",
        preemphasis_coefficient=0.97,
        cepstral_lifter=22.0,
        remove_dc_offset=False,
        use_energy=True,
        raw_energy=True,
        energy_floor=0.0,
        htk_compat=True,
        dither=0.0,
    ).numpy()
    assert values.shape == (1, len(reference), MFCC_SIZE) and frames.tolist() == [len(reference)]
    found = values[0].numpy()
    assert numpy.abs(found[:, :13] - reference).max() < 1e-3
    delta = librosa.feature.delta(reference.T, width=5, mode="nearest").T
    assert numpy.abs(found[:, 13:26] - delta).max() < 1e-3
    acceleration = librosa.feature.delta(delta.T, width=5, mode="nearest").T
    # The last two differ: openSMILE continues deltas after the end, librosa repeats the last one.
    assert numpy.abs(found[:-2, 26:] - acceleration[:-2]).max() < 1e-3


def test_mfcc_equals_opensmile(tmp_path):
    waveform = speechlike(2.3)
    # The binding truncates samples to 16 bits; the addition keeps their values.
    kept = waveform + numpy.sign(waveform) * 1e-6
    reference = ask_opensmile(tmp_path, MFCC12_E_D_A, "all", kept)
    found, frames = mfcc(*batch_of(waveform))
    assert frames.tolist() == [len(reference)]
    assert numpy.abs(found[0].numpy() - reference).max() < 1e-3  # of values up to 42


def test_log_mel_equals_librosa():
    librosa = pytest.importorskip("librosa")
    waveform = speechlike(1.7)
    found, frames = log_mel(*batch_of(waveform))
    cut = numpy.lib.stride_tricks.sliding_window_view(waveform, 400)[::160]
    power = numpy.abs(numpy.fft.rfft(cut * numpy.hamming(400), 1024)) ** 2
    # librosa's triangles are linear in hertz, HTK's in mel: nearly the same for narrow bands.
    filters = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=64, htk=True, norm=None)
    reference = numpy.log(numpy.maximum(power @ filters.T, 1e-8))
    assert found.shape == (1, len(cut), 64) and frames.tolist() == [len(cut)]
    assert numpy.abs(found[0].numpy() - reference).mean() < 0.01
    assert numpy.abs(found[0].numpy() - reference).max() < 0.05


@pytest.mark.parametrize("bands", [1, 26, 64, 128])
def test_every_band_of_log_mel_responds_to_its_tone(bands):
    assert mel_filters(bands, 513).sum(0).min() > 0
    centre = 700 * math.expm1(math.log1p(8000 / 700) * ((bands + 1) // 2) / (bands + 1))
    wave = 0.5 * torch.sin(2 * math.pi * centre * torch.arange(RATE) / RATE)
    values, _ = log_mel(wave[None], torch.tensor([RATE]), bands)
    assert values[0, 50].argmax() == (bands + 1) // 2 - 1


def test_log_mel_is_in_stated_units():
    """Check that twice the pressure adds log 4 and that digital silence gives the floor."""
    wave = torch.from_numpy(speechlike(1.0))[None]
    length = torch.tensor([RATE])
    louder = log_mel(2 * wave, length)[0] - log_mel(wave, length)[0]
    assert louder == pytest.approx(math.log(4), abs=1e-3)
    assert log_mel(0 * wave, length)[0] == pytest.approx(math.log(1e-8))


@pytest.mark.parametrize("features", [mfcc, log_mel])
@pytest.mark.parametrize("padding", [0.0, 0.7, math.nan, math.inf])
def test_padding_changes_nothing(features, padding):
    waveforms = [speechlike(seconds, seed) for seed, seconds in enumerate((1.3, 0.4, 2.0, 0.025))]
    together, frames = features(*batch_of(*waveforms, padding=padding))
    assert frames.tolist() == [(len(waveform) - 400) // 160 + 1 for waveform in waveforms]
    for row, count, waveform in zip(together, frames, waveforms, strict=True):
        alone, _ = features(*batch_of(waveform))
        assert (row[:count] - alone[0]).abs().max() < 1e-4
        assert (row[count:] == 0).all()


def test_deltas_end_on_the_last_real_frame():
    """Check that steady growth gives constant deltas, halved at the edge."""
    steps = torch.exp(0.05 * torch.arange(40).repeat_interleave(160))
    wave = 0.01 * steps * torch.sin(2 * math.pi * 1000 * torch.arange(6400) / RATE)
    energy_delta = mfcc(wave[None], torch.tensor([6400]))[0][0, :, 25]
    assert energy_delta[2:-2] == pytest.approx(0.1, abs=2e-3)
    assert energy_delta[-1] == pytest.approx(0.05, abs=2e-3)  # (1·1 + 2·2) / 10 of the step


def test_silence_is_zero():
    """Check that HTK's floor prevents minus infinity for silence."""
    values, _ = mfcc(torch.zeros(1, RATE), torch.tensor([RATE]))
    assert values.abs().max() < 1e-4


@pytest.mark.parametrize("features", [mfcc, log_mel])
@pytest.mark.parametrize("samples", [0, 1, 399])
def test_less_than_a_window_is_one_frame(features, samples):
    values, frames = features(torch.full((1, samples), 0.1), torch.tensor([samples]))
    assert frames.tolist() == [1] and values.shape[1] == 1
    assert values.isfinite().all()


@pytest.mark.parametrize("features", [mfcc, log_mel])
def test_input_that_does_not_fit_is_refused(features):
    with pytest.raises(ValueError, match=r"expected waveforms \(B, N\).*got \(100,\)"):
        features(torch.zeros(100), torch.tensor([100]))
    with pytest.raises(ValueError, match=r"expected lengths of 0 to 100 samples, got \[101\]"):
        features(torch.zeros(1, 100), torch.tensor([101]))
    with pytest.raises(ValueError, match="whole samples"):
        features(torch.zeros(1, 100), torch.tensor([1.0]))


def test_too_many_bands_are_refused():
    with pytest.raises(ValueError, match="1 to 128 mel bands, got 129"):
        log_mel(torch.zeros(1, 400), torch.tensor([400]), 129)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("features", [mfcc, log_mel])
def test_a_gpu_gives_the_same(features):
    waveforms, lengths = batch_of(speechlike(1.3), speechlike(0.4, 1))
    there, _ = features(waveforms.cuda(), lengths)
    assert (there.cpu() - features(waveforms, lengths)[0]).abs().max() < 2e-3
