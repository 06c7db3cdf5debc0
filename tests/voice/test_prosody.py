"""Test pitch, voicing, harmonicity and loudness on synthetic sounds and real voices."""

import math
import tarfile
import time
from itertools import pairwise
from pathlib import Path

import numpy
import pytest
import torch
from conftest import ROOT
from test_mfcc import Parts, ask_opensmile, batch_of, speechlike
from torch import Tensor

from multimodal_fer.media.sound import read_audio
from multimodal_fer.voice.prosody import (
    PROSODY_NAMES,
    PROSODY_SIZE,
    Contours,
    prosody,
    prosody_contours,
)

RATE = 16_000
RAVDESS = ROOT.parent / "shared" / "data" / "ravdess.tar"
ACTORS = range(1, 23)  # of that archive; even numbers are women

FUNCTIONALS = {
    "frameMode": "full",
    "frameSize": 0,
    "frameStep": 0,
    "functionalsEnabled": "Moments;Regression;Percentiles",
    **dict.fromkeys(("Moments.stddev", "Moments.amean"), 1),
    **dict.fromkeys(("Regression.linregc1", "Regression.centroid"), 1),
    **dict.fromkeys(("Moments.stddevNorm", "Moments.doRatioLimit"), 0),
    **dict.fromkeys(("Moments.variance", "Moments.skewness", "Moments.kurtosis"), 0),
    **dict.fromkeys(("Regression.linregc2", "Regression.linregerrA", "Regression.linregerrQ"), 0),
    **dict.fromkeys(("Regression.qregc1", "Regression.qregc2", "Regression.qregc3"), 0),
    **dict.fromkeys(("Regression.qregerrA", "Regression.qregerrQ", "Percentiles.iqr"), 0),
    **dict.fromkeys(("Regression.centroidRatioLimit", "Regression.doRatioLimit"), 0),
    **dict.fromkeys(("Regression.centroidUseAbsValues", "Percentiles.quartiles"), 0),
    "Regression.centroidNorm": "segment",
    "Percentiles.percentile[0]": 0.1,
    "Percentiles.percentile[1]": 0.9,
    "Percentiles.pctlrange[0]": "0-1",
    "Percentiles.interp": 1,
}
GROWING = {"writer.levelconf.growDyn": 1, "writer.levelconf.isRb": 0, "writer.levelconf.nT": 1000}
DELAYED = {"writer.levelconf.growDyn": 0, "writer.levelconf.isRb": 1, "writer.levelconf.nT": 200}

# The settings of the configuration that Yoon et al. 2018 used (prosodyShsViterbiLoudness).
PROSODY: Parts = {
    "frames20": (
        "cFramer",
        "wave",
        {"frameSize": 0.02, "frameStep": 0.01, "frameCenterSpecial": "left"},
    ),
    "windowed20": ("cWindower", "frames20", {"winFunc": "hamming"}),
    "fourier20": ("cTransformFFT", "windowed20", {"zeroPadSymmetric": 0}),
    "magnitude20": ("cFFTmagphase", "fourier20", {}),
    "mel": (
        "cMelspec",
        "magnitude20",
        {"htkcompatible": 0, "nBands": 26, "usePower": 1, "lofreq": 20, "hifreq": 8000},
    ),
    "heard": (
        "cPlp",
        "mel",
        {"firstCC": 0, "lpOrder": 5, "compression": 0.33, "htkcompatible": 0, "doAud": 1}
        | dict.fromkeys(("doIDFT", "doLpToCeps", "doLP", "doInvLog", "doLog", "RASTA"), 0),
    ),
    "loudness": (
        "cVectorOperation",
        "heard",
        {"processArrayFields": 0, "operation": "ll1", **DELAYED},
    ),
    "loud": ("cContourSmoother", "loudness", {"smaWin": 3, "noZeroSma": 0, **GROWING}),
    "frames55": (
        "cFramer",
        "wave",
        {"frameSize": 0.055, "frameStep": 0.01, "frameCenterSpecial": "left"},
    ),
    "windowed55": ("cWindower", "frames55", {"winFunc": "gauss", "sigma": 0.4}),
    "fourier55": ("cTransformFFT", "windowed55", {"zeroPadSymmetric": 0}),
    "magnitude55": ("cFFTmagphase", "fourier55", DELAYED),
    "octaves": (
        "cSpecScale",
        "magnitude55",
        {"scale": "octave", "sourceScale": "lin", "interpMethod": "spline", "minF": 25, "maxF": -1}
        | {"nPointsTarget": 0, "specSmooth": 1, "specEnhance": 1, "auditoryWeighting": 1}
        | {"processArrayFields": 0, "writer.levelconf.nT": 3},
    ),
    "candidates": (
        "cPitchShs",
        "octaves",
        {"maxPitch": 620, "minPitch": 52, "nCandidates": 4, "scores": 1, "voicing": 1, "F0raw": 1}
        | {"F0C1": 0, "voicingC1": 0, "voicingClip": 0, "voicingCutoff": 0.7, "greedyPeakAlgo": 1}
        | {"inputFieldSearch": "Mag_octScale", "octaveCorrection": 0, "nHarmonics": 15}
        | {"compressionFactor": 0.85, "lfCut": 0, "processArrayFields": 0},
    ),
    "path": (
        "cPitchSmootherViterbi",
        "candidates",
        {"reader2.dmLevel": "candidates", "bufferLength": 90, "F0final": 1, "F0finalLog": 1}
        | {"F0finalEnv": 0, "voicingFinalClipped": 0, "voicingFinalUnclipped": 1, "F0raw": 0}
        | {"voicingC1": 0, "voicingClip": 0, "wTvv": 10, "wTvvd": 5, "wTvuv": 10, "wThr": 4}
        | {"wTuu": 0, "wLocal": 2, "wRange": 1, **DELAYED},
    ),
    "harmonicity": (
        "cHarmonics",
        "magnitude55;path",
        {"nHarmonics": 10, "f0ElementName": "F0final", "magSpecFieldName": "pcm_fftMag"}
        | {"computeAcfHnrLogdB": 1, **DELAYED},
    ),
    "energy": ("cEnergy", "windowed55", {"rms": 1, "log": 0, **DELAYED}),
    "audible": (
        "cValbasedSelector",
        "energy;path",
        {"idx": 0, "threshold": 0.0008, "removeIdx": 1, "zeroVec": 1, "outputVal": 0, **DELAYED},
    ),
    "voice": (
        "cContourSmoother",
        "audible;harmonicity",
        {"smaWin": 3, "noZeroSma": 1, **GROWING},
    ),
    "summedvoice": ("cFunctionals", "voice", {**FUNCTIONALS, "nonZeroFuncts": 1}),
    "summedloud": ("cFunctionals", "loud", {**FUNCTIONALS, "nonZeroFuncts": 0}),
    "all": ("cVectorConcat", "summedvoice;summedloud", {"includeSingleElementFields": 1}),
}


def complex_tone(pitch: float | Tensor, seconds: float = 1.0, strength: float = 0.1) -> Tensor:
    """Return harmonics to 7 kHz with -6 dB per octave; `pitch` in Hz, constant or per sample."""
    pitch_N = torch.as_tensor(pitch, dtype=torch.float64).expand(round(seconds * RATE))
    phase_N = 2 * math.pi * pitch_N.cumsum(0) / RATE
    count = int(7000 / float(pitch_N.max()))
    parts = [torch.sin(n * phase_N + n * n) / n for n in range(1, count + 1)]
    return strength * torch.stack(parts).sum(0).float()


def contours(wave: Tensor) -> Contours:
    return prosody_contours(wave[None], torch.tensor([len(wave)]))


def summed(wave: Tensor) -> dict[str, float]:
    """Return the 35 values by name."""
    values = prosody(wave[None], torch.tensor([len(wave)]))[0].tolist()
    return dict(zip(PROSODY_NAMES, values, strict=True))


def noise(samples: int = RATE, seed: int = 0) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def voices(tmp_path_factory) -> dict[int, numpy.ndarray]:
    """Return one neutral sentence of each RAVDESS actor, by the actor's number."""
    if not RAVDESS.exists():
        pytest.skip(f"{RAVDESS}: no such file; real voices are not tested")
    folder = tmp_path_factory.mktemp("ravdess")
    found = {}
    with tarfile.open(RAVDESS) as archive:
        for member in archive:
            name = Path(member.name).name
            if name.startswith("03-01-01-01-01-01-"):
                archive.extract(member, folder, filter="data")
                found[int(Path(name).stem[-2:])] = read_audio(folder / member.name)
    return found


@pytest.mark.parametrize("pitch", [60, 80, 100, 141, 200, 283, 400, 590])
@pytest.mark.parametrize("pure", [True, False])
def test_pitch_is_found(pitch, pure):
    time_N = torch.arange(RATE) / RATE
    wave = 0.3 * torch.sin(2 * math.pi * pitch * time_N) if pure else complex_tone(pitch)
    found = contours(wave)
    assert (found.f0 > 0).all()
    assert found.f0.median() == pytest.approx(pitch, rel=0.02)
    assert found.semitones.median() == pytest.approx(12 * math.log2(pitch / 27.5), abs=0.35)


def test_a_missing_fundamental_is_found():
    """Check that the common pitch of harmonics is found without the fundamental."""
    time_N = torch.arange(RATE) / RATE
    wave = sum(0.05 * torch.sin(2 * math.pi * 150 * n * time_N + n) for n in range(3, 12))
    assert isinstance(wave, Tensor)
    assert contours(wave).f0.median() == pytest.approx(150, rel=0.02)


@pytest.mark.parametrize(("start", "end"), [(120, 220), (300, 180), (150, 150)])
def test_a_glide_has_its_slope(start, end):
    values = summed(complex_tone(torch.linspace(start, end, 2 * RATE), 2.0))
    assert values["f0_slope"] == pytest.approx((end - start) / 200, abs=0.02)  # Hz per 10 ms
    assert values["f0_mean"] == pytest.approx((start + end) / 2, rel=0.02)
    assert values["f0_range"] == pytest.approx(0.8 * abs(end - start), abs=3)
    octaves = math.log2(end / start)
    assert values["semitones_slope"] == pytest.approx(12 * octaves / 200, abs=2e-3)
    assert values["f0_centroid"] == pytest.approx(0.5 + (end - start) / (end + start) / 6, abs=0.01)


def test_an_octave_jump_of_one_frame_is_smoothed_away():
    """Check that a short weak sub-harmonic does not cause an octave jump."""
    wave = complex_tone(240)
    middle = slice(RATE // 2, RATE // 2 + 500)
    wave[middle] += 0.5 * complex_tone(120)[middle]
    assert contours(wave).f0.min() > 200


def test_silence_has_no_voice():
    values = summed(torch.zeros(RATE))
    assert set(values.values()) == {0.0}
    # A tone at a millionth of full scale is a rounding error, not a voice.
    assert (contours(1e-6 * complex_tone(150)).f0 == 0).all()


def test_the_edge_of_silence_is_where_it_is_stated():
    """Check the threshold of 0.0008; the root mean square of the window is 0.595."""
    wave = complex_tone(150)
    wave = wave / wave.square().mean().sqrt()
    assert (contours(wave * 0.0008 / 0.595 * 0.9).f0 == 0).all()
    assert (contours(wave * 0.0008 / 0.595 * 1.1).f0 > 0).all()


def test_noise_is_mostly_unvoiced():
    found = contours(0.1 * noise(4 * RATE))
    assert (found.f0 > 0).float().mean() < 0.05
    assert found.voicing.mean() < 0.6
    assert contours(complex_tone(200)).voicing.mean() > 0.8


def test_voice_between_pauses_is_found_where_it_is():
    wave = torch.cat([0.003 * noise(RATE), complex_tone(180), 0.003 * noise(RATE, 1)])
    voiced = contours(wave).f0[0] > 0
    assert voiced[100:195].all()
    assert not voiced[:94].any() and not voiced[205:].any()
    values = summed(wave)
    assert values["f0_mean"] == pytest.approx(180, rel=0.02)  # pauses do not count
    assert values["f0_centroid"] == pytest.approx(0.5, abs=0.02)  # over voiced frames only


def test_loudness_grows_with_amplitude():
    """Check that twice the pressure is 2^0.66 times as loud."""
    wave = complex_tone(150)
    loud = [summed(wave * factor)["loudness_mean"] for factor in (0.1, 0.2, 0.4, 0.8)]
    for quiet, louder in pairwise(loud):
        assert louder / quiet == pytest.approx(2**0.66, rel=1e-3)


def test_loudness_follows_the_ear():
    """Check that 50 Hz is quieter than 3 kHz and that 1 kHz at half scale is 1.24."""
    time_N = torch.arange(RATE) / RATE
    low, middle, high = (
        contours(0.5 * torch.sin(2 * math.pi * pitch * time_N)).loudness[0, 50].item()
        for pitch in (50, 1000, 3000)
    )
    assert middle == pytest.approx(1.24, abs=0.01)
    assert low < 0.3 * middle < 0.3 * high


@pytest.mark.parametrize("pitch", [110, 220])
def test_harmonicity_grows_with_the_share_of_harmonics(pitch):
    wave = complex_tone(pitch)
    hiss = noise() * wave.square().mean().sqrt()
    found = []
    for ratio in (10, 15, 20, 40):
        mixed = contours(wave + hiss * 10 ** (-ratio / 20))
        found.append(mixed.hnr[mixed.f0 > 0].mean().item())
    assert found == sorted(found)
    assert found[-1] - found[0] > 1
    assert found[-1] == pytest.approx(6.9 if pitch == 110 else 13.3, abs=1)


@pytest.mark.parametrize("padding", [0.0, 0.7, math.nan])
def test_padding_changes_nothing(padding):
    waves = [speechlike(seconds, seed) for seed, seconds in enumerate((1.3, 0.4, 2.0, 0.055))]
    batch = batch_of(*waves, padding=padding)
    together, values = prosody_contours(*batch), prosody(*batch)
    assert values.shape == (4, PROSODY_SIZE)
    for row, wave in enumerate(waves):
        alone = prosody_contours(*batch_of(wave))
        for name in ("f0", "semitones", "voicing", "hnr", "loudness"):
            whole, part = getattr(together, name)[row], getattr(alone, name)[0]
            assert (whole[: len(part)] - part).abs().max() < 1e-2, name
            assert (whole[len(part) :] == 0).all(), name
        assert values[row] == pytest.approx(prosody(*batch_of(wave))[0], rel=1e-3, abs=1e-3)
    assert together.frames.tolist() == [(len(wave) - 880) // 160 + 1 for wave in waves]
    assert together.loudness_frames.tolist() == [(len(wave) - 320) // 160 + 1 for wave in waves]


@pytest.mark.parametrize("samples", [0, 1, 100, 320, 879, 881])
def test_less_than_a_window_gives_a_finite_answer(samples):
    assert prosody(noise(samples)[None], torch.tensor([samples])).isfinite().all()


def test_input_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"expected waveforms \(B, N\)"):
        prosody(torch.zeros(100), torch.tensor([100]))


def test_a_second_of_sound_takes_30_ms_at_most():
    wave = torch.from_numpy(speechlike(4.0))[None]
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for _ in range(4):
            start = time.process_time()
            prosody(wave, torch.tensor([wave.shape[1]]))
            times.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    assert min(times) / 4 < 0.030


def test_women_speak_higher_than_men(voices):
    """Check mean pitches over eleven actors each: about 120 and 215 Hz in neutral speech."""
    batch = batch_of(*(voices[actor] for actor in ACTORS))
    pitch = prosody(*batch)[:, 0]
    men, women = pitch[0::2], pitch[1::2]
    assert 95 < men.mean() < 140
    assert 190 < women.mean() < 240
    assert (women > 1.1 * men.mean()).all()


def test_real_voices_agree_with_opensmile(voices, tmp_path):
    """Compare contours of 22 neutral sentences; only the choice of the path differs."""
    ours, theirs = [], []
    for actor in ACTORS:
        wave = voices[actor]
        found = prosody_contours(*batch_of(wave))
        names = (found.f0, found.semitones, found.voicing, found.hnr)
        ours.append(torch.stack([values[0] for values in names], dim=1).numpy())
        theirs.append(ask_opensmile(tmp_path, PROSODY, "voice", wave)[: len(ours[-1])])
    ours, theirs = numpy.concatenate(ours), numpy.concatenate(theirs)
    voiced = (ours[:, 0] > 0, theirs[:, 0] > 0)
    both = voiced[0] & voiced[1]
    assert (voiced[0] == voiced[1]).mean() > 0.985
    assert numpy.corrcoef(ours[both, 0], theirs[both, 0])[0, 1] > 0.98
    assert (numpy.abs(ours[both, 0] / theirs[both, 0] - 1) > 0.2).mean() < 0.01
    assert numpy.corrcoef(ours[:, 2], theirs[:, 2])[0, 1] > 0.99
    assert numpy.median(numpy.abs(ours[both] - theirs[both]), axis=0).max() < 1e-3


def test_functionals_agree_with_opensmile(tmp_path):
    """Compare all 35 values for a voice with an unambiguous path."""
    steps = torch.arange(2 * RATE) / RATE
    wave = complex_tone(200 + 30 * torch.sin(3 * steps), 2.0) * (1.2 + torch.sin(4 * steps))
    wave = ((wave + 0.002 * noise(2 * RATE)) * 32768).round() / 32768
    theirs = ask_opensmile(tmp_path, PROSODY, "all", wave.numpy())[0].reshape(5, 7)
    theirs = theirs[:, [1, 0, 2, 3, 4, 5, 6]]  # openSMILE returns the deviation before the mean
    ours = prosody(wave[None], torch.tensor([len(wave)])).numpy().reshape(5, 7)
    # openSMILE counts the last frame of each contour twice.
    size = numpy.abs(theirs[:, [0, 1, 1, 0, 0, 0, 1]])
    size[:, 2], size[:, 3] = size[:, 1] / 10, 1
    assert (numpy.abs(ours - theirs) / size).max() < 0.03


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same():
    waves, lengths = batch_of(speechlike(1.3), speechlike(0.4, 1))
    assert prosody(waves.cuda(), lengths).cpu() == pytest.approx(
        prosody(waves, lengths), rel=1e-2, abs=1e-2
    )
