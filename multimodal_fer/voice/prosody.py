"""Compute prosody: pitch, voicing, harmonicity and loudness over time, and 35 values per utterance.

The features follow Yoon et al. 2018 (openSMILE's prosodyShsViterbiLoudness). Pitch candidates come from
sub-harmonic summation (Hermes 1988, JASA 83(1)): the score of a candidate sums the energy of its harmonics
in a spectrum with a logarithmic axis. A path of least cost through the candidates avoids octave jumps.

Shapes: B waveforms, N samples at 16 kHz, T frames of 10 ms, W samples of a window, K bins of a spectrum,
S points of the logarithmic axis, C candidates and last "unvoiced", P values of an utterance.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from multimodal_fer.layers.sequences import present
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.voice.log_mel import mel, mel_filters, power_spectrum, split_frames

CONTOURS = ("f0", "semitones", "voicing", "hnr", "loudness")
FUNCTIONALS = ("mean", "stddev", "slope", "centroid", "p10", "p90", "range")
PROSODY_NAMES = tuple(f"{contour}_{name}" for contour in CONTOURS for name in FUNCTIONALS)
PROSODY_SIZE = len(PROSODY_NAMES)  # 35

PITCH_WINDOW = SAMPLE_RATE * 55 // 1000  # samples
PITCH_BINS = 513  # of the spectrum of such a window, and points of the logarithmic axis
GAUSSIAN = 0.4  # standard deviation of the window, relative to half its length
LOWEST, HIGHEST = 25.0, SAMPLE_RATE / 2  # Hz, ends of the logarithmic axis
STEP = math.log2(HIGHEST / LOWEST) / (PITCH_BINS - 1)  # octaves between points of this axis
PITCH_RANGE = (52.0, 620.0)  # Hz
REFERENCE = 27.5  # Hz: zero semitones
HARMONICS = 15
COMPRESSION = 0.85  # weight of each harmonic, relative to the previous one
HEARING = (31.8, 2.994)  # Hz at half sensitivity, and steepness, of Hermes' raised arctangent
CANDIDATES = 4
SILENCE = 0.0008  # root mean square of a windowed frame; quieter frames count as silent

# The cost of a candidate is 1 - voicing probability. `JUMP` and `CHANGE` were chosen for agreement with the
# voicing decisions of openSMILE on 66 recordings of RAVDESS.
VOICED = 0.7  # voicing probability above which a candidate costs less than "unvoiced"
JUMP = 0.05  # cost of an octave from one frame to the next
CHANGE = 0.02  # cost of a start or end of voicing
PERIOD_TOLERANCE = 0.08  # of the period; search range around it for the autocorrelation peak
CENTROID_RANGE = (-1.0, 2.0)  # limit, because values around zero can give any centroid
IMPOSSIBLE = 1e3  # cost of a missing candidate

LOUDNESS_WINDOW = SAMPLE_RATE // 50  # samples: 20 ms
LOUDNESS_BANDS = 26
LOUDNESS_LOWEST = 20.0  # Hz
LOUDNESS_POWER = 0.33  # Stevens' law, close to the cube root of Hermansky 1990


class Contours(NamedTuple):
    """Features over time, smoothed over three frames; zero after a waveform's last frame.

    Frame t covers 55 ms from t/100 seconds on, for loudness 20 ms.
    """

    f0: Tensor  # (B, T) Hz, 0 if unvoiced
    semitones: Tensor  # (B, T) above 27.5 Hz, 0 if unvoiced
    voicing: Tensor  # (B, T) 0 to 1, prominence of the best pitch; 0 without pitch
    hnr: Tensor  # (B, T) harmonic-to-noise ratio in dB, 0 if unvoiced
    loudness: Tensor  # (B, T') arbitrary unit, proportional to sound pressure to the power of 0.66
    frames: Tensor  # (B,) pitch frames of each waveform, at least one
    loudness_frames: Tensor  # (B,) loudness frames, a few more because windows are shorter


def prosody(waveforms_BN: Tensor, lengths_B: Tensor) -> Tensor:
    """Return the 35 prosody values of each waveform, named by `PROSODY_NAMES`.

    Parameters
    ----------
    waveforms_BN
        mono 16 kHz sound in [-1, 1], with any padding
    lengths_B
        samples of each waveform; one shorter than a window is padded with silence

    Returns
    -------
    (B, 35) float32, contour by contour (units: see `Contours`): mean, standard deviation, slope of the
        regression line per frame, centroid in time (0 start, 1 end), 10th and 90th percentile, and their
        difference. All contours but loudness are reduced to their nonzero frames first; the values are
        zero if there are none.

    Raises `ValueError` if shapes or lengths are wrong. Needs about 2 MB for a second of sound.
    """
    contours = prosody_contours(waveforms_BN, lengths_B)
    parts = [_functionals(values_BT, values_BT != 0) for values_BT in contours[:4]]
    known_BT = present(contours.loudness_frames, contours.loudness.shape[1])
    return torch.cat([*parts, _functionals(contours.loudness, known_BT)], dim=1)


def prosody_contours(waveforms_BN: Tensor, lengths_B: Tensor) -> Contours:
    """Return the contours from which `prosody` computes its values, for the same input."""
    frames_BTW, frames_B = split_frames(waveforms_BN, lengths_B, PITCH_WINDOW)
    frames_BTW = frames_BTW * _gaussian(frames_BTW.device)
    power_BTK = power_spectrum(frames_BTW)
    pitch_BTC, voicing_BTC = _candidates(power_BTK.sqrt())
    path_BT = _cheapest_path(pitch_BTC, voicing_BTC, frames_B)
    silent_BT = frames_BTW.square().mean(-1).sqrt() < SILENCE
    silent_BT |= ~present(frames_B, silent_BT.shape[1])
    unvoiced_BT = silent_BT | (path_BT == CANDIDATES)
    f0_BT = _chosen(pitch_BTC, path_BT).masked_fill(unvoiced_BT, 0)
    voicing_BT = torch.where(unvoiced_BT, voicing_BTC.amax(-1), _chosen(voicing_BTC, path_BT))
    loudness_BT, loudness_frames_B = _loudness(waveforms_BN, lengths_B)
    semitones_BT = 12 * torch.log2(f0_BT.clamp(min=1) / REFERENCE)
    return Contours(
        f0=_smooth_nonzero(f0_BT),
        semitones=_smooth_nonzero(semitones_BT.masked_fill(unvoiced_BT, 0)),
        voicing=_smooth_nonzero(voicing_BT.masked_fill(silent_BT, 0)),
        hnr=_smooth_nonzero(_harmonicity(power_BTK, f0_BT)),
        loudness=loudness_BT,
        frames=frames_B,
        loudness_frames=loudness_frames_B,
    )


def _candidates(magnitude_BTK: Tensor) -> tuple[Tensor, Tensor]:
    """Return the strongest pitches of each frame, Hz and voicing probability, (B, T, C) each.

    The probability is 1 - mean / height of the summed spectrum. Like in openSMILE, peaks outside
    `PITCH_RANGE` count as candidates of 0 Hz, so that hiss and hum have no pitch.
    """
    summed_BTS = _only_peaks(magnitude_BTK) @ _summation().to(magnitude_BTK.device)
    left, here, right = summed_BTS[..., :-2], summed_BTS[..., 1:-1], summed_BTS[..., 2:]
    peak = (here > left) & (here >= right) & (here > 0)
    # A parabola through three points gives the position of the peak between them.
    offset = (right - left) / (2 * (2 * here - left - right).clamp(min=1e-30))
    height = torch.where(peak, here + (right - left) * offset / 4, 0.0)
    height_BTC, point_BTC = height.topk(CANDIDATES, dim=-1)
    place_BTC = (offset.gather(-1, point_BTC) + point_BTC + 1) * STEP
    pitch_BTC = LOWEST * torch.exp2(place_BTC)
    found_BTC = (height_BTC > 0) & (pitch_BTC >= PITCH_RANGE[0]) & (pitch_BTC <= PITCH_RANGE[1])
    voicing_BTC = (1 - summed_BTS.mean(-1, True) / height_BTC.clamp(min=1e-30)).clamp(0, 1)
    return torch.where(found_BTC, pitch_BTC, 0.0), torch.where(found_BTC, voicing_BTC, 0.0)


def _only_peaks(magnitude_BTK: Tensor) -> Tensor:
    """Keep local maxima and two bins on each side; the rest is noise between harmonics."""
    edged = functional.pad(magnitude_BTK, (1, 1), value=-1.0)
    peak = (magnitude_BTK > edged[..., :-2]) & (magnitude_BTK > edged[..., 2:])
    near = functional.max_pool1d(peak.float(), 5, stride=1, padding=2)
    return magnitude_BTK * near


@cache
def _summation() -> Tensor:
    """Return the matrix from peaks of a spectrum to the sum of sub-harmonics, (K, S).

    All steps of Hermes 1988 after peak picking are linear: smoothing over three bins, interpolation on the
    logarithmic axis, weights of hearing, and the sum over the harmonics 1 to 15.
    """
    eye_KK = torch.eye(PITCH_BINS, dtype=torch.float64)
    smooth_KK = eye_KK / 2 + (eye_KK.roll(1, 0).tril() + eye_KK.roll(-1, 0).triu()) / 4
    octave_S = torch.arange(PITCH_BINS, dtype=torch.float64) * STEP
    half, steepness = HEARING
    angle_S = torch.atan(steepness * (octave_S - math.log2(half / LOWEST)))
    spectrum_KS = smooth_KK @ _spline() * (0.5 + angle_S / math.pi)
    summed_KS = torch.zeros_like(spectrum_KS)
    for number in range(HARMONICS):
        shift = int(math.log2(number + 1) / math.log2(HIGHEST / LOWEST) * PITCH_BINS)
        summed_KS[:, : PITCH_BINS - shift] += COMPRESSION**number * spectrum_KS[:, shift:]
    return summed_KS.float()


def _spline() -> Tensor:
    """Return the natural cubic spline from bins to equal steps of log frequency, (K, S)."""
    bins_K = torch.arange(PITCH_BINS, dtype=torch.float64)
    bins_K[0] = 0.5  # zero Hz has no logarithm
    knots_K = torch.log2(bins_K * (HIGHEST / (PITCH_BINS - 1)) / LOWEST)
    points_S = torch.arange(PITCH_BINS, dtype=torch.float64) * STEP
    left_S = (torch.searchsorted(knots_K, points_S, right=True) - 1).clamp(0, PITCH_BINS - 2)
    gaps = knots_K.diff()
    gap_S1 = gaps[left_S][:, None]
    right_S1 = (points_S - knots_K[left_S])[:, None] / gap_S1  # share of the right knot
    left_S1 = 1 - right_S1
    eye_KK, bend_KK = torch.eye(PITCH_BINS, dtype=torch.float64), _second_derivatives(gaps)
    line_SK = left_S1 * eye_KK[left_S] + right_S1 * eye_KK[left_S + 1]
    curve_SK = (left_S1**3 - left_S1) * bend_KK[left_S]
    curve_SK += (right_S1**3 - right_S1) * bend_KK[left_S + 1]
    return (line_SK + curve_SK * gap_S1.square() / 6).T


def _second_derivatives(gaps: Tensor) -> Tensor:
    """Return the matrix from values at knots with these gaps to second derivatives of the spline."""
    inner = torch.arange(1, len(gaps))
    before, after = gaps[:-1], gaps[1:]
    equations = torch.eye(len(gaps) + 1, dtype=gaps.dtype)  # no curvature at the ends
    equations[inner, inner - 1], equations[inner, inner + 1] = before, after
    equations[inner, inner] = 2 * (before + after)
    changes = torch.zeros_like(equations)  # of slope at each knot, times six
    changes[inner, inner - 1], changes[inner, inner + 1] = 6 / before, 6 / after
    changes[inner, inner] = -6 / before - 6 / after
    return torch.linalg.solve(equations, changes)


def _cheapest_path(pitch_BTC: Tensor, voicing_BTC: Tensor, frames_B: Tensor) -> Tensor:
    """Choose a candidate or "unvoiced" (number C) for each frame by dynamic programming, (B, T)."""
    local_BTC, change_BTCC = _costs(pitch_BTC, voicing_BTC)
    inside_BT = present(frames_B, local_BTC.shape[1])
    # Padding costs nothing, so that the best state of the last frame before it remains the best.
    local_BTC = local_BTC * inside_BT[..., None]
    change_BTCC = change_BTCC * inside_BT[:, 1:, None, None]
    total_BC = local_BTC[:, 0]
    origins = []
    for local_BC, change_BCC in zip(local_BTC.unbind(1)[1:], change_BTCC.unbind(1), strict=True):
        total_BC, origin_BC = (total_BC[:, :, None] + change_BCC).min(dim=1)
        # Only differences matter; large sums would lose their precision.
        total_BC = total_BC - total_BC.amin(dim=1, keepdim=True) + local_BC
        origins.append(origin_BC)
    state_B1 = total_BC.argmin(dim=1, keepdim=True)
    path = [state_B1]
    for origin_BC in reversed(origins):
        state_B1 = origin_BC.gather(1, state_B1)
        path.append(state_B1)
    return torch.cat(path[::-1], dim=1)


def _chosen(values_BTC: Tensor, path_BT: Tensor) -> Tensor:
    """Return the value of each frame's candidate, (B, T); undefined for unvoiced frames."""
    return values_BTC.gather(2, path_BT.clamp(max=CANDIDATES - 1)[..., None])[..., 0]


def _costs(pitch_BTC: Tensor, voicing_BTC: Tensor) -> tuple[Tensor, Tensor]:
    """Return the costs of states, (B, T, C + 1), and of changes, (B, T - 1, C + 1, C + 1)."""
    voiced_BTC = torch.where(pitch_BTC > 0, 1 - voicing_BTC, IMPOSSIBLE)
    unvoiced_BT1 = torch.full_like(voiced_BTC[..., :1], 1 - VOICED)
    octave_BTC = torch.log2(pitch_BTC.clamp(min=1))
    jump = (octave_BTC[:, :-1, :, None] - octave_BTC[:, 1:, None, :]).abs() * JUMP
    change = functional.pad(jump, (0, 1, 0, 1), value=CHANGE)
    change[..., -1, -1] = 0
    return torch.cat([voiced_BTC, unvoiced_BT1], dim=-1), change


def _harmonicity(power_BTK: Tensor, f0_BT: Tensor) -> Tensor:
    """Return the harmonic-to-noise ratio in dB from the autocorrelation; 0 in unvoiced frames.

    Like in openSMILE, the decay of the window is not corrected: a voice without noise reaches about 6 dB at
    100 Hz and 13 dB at 200 Hz. Compare voices of similar pitch only.
    """
    correlation = torch.fft.irfft(power_BTK)
    total_BT = correlation[..., 0]
    period_BT1 = (SAMPLE_RATE / f0_BT.clamp(min=PITCH_RANGE[0]))[..., None]
    first, last = int(SAMPLE_RATE / PITCH_RANGE[1] * 0.8), int(SAMPLE_RATE / PITCH_RANGE[0] * 1.2)
    lags = torch.arange(first, last, device=f0_BT.device)
    near = (lags - period_BT1).abs() <= PERIOD_TOLERANCE * period_BT1
    periodic_BT = torch.where(near, correlation[..., first:last], -math.inf).amax(-1)
    # Limited to ±40 dB, so that single values near zero do not dominate the mean of an utterance.
    share_BT = (periodic_BT / total_BT.clamp(min=1e-30)).clamp(1e-4, 1 - 1e-4)
    return torch.where(f0_BT > 0, 10 * torch.log10(share_BT / (1 - share_BT)), 0.0)


def _loudness(waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over bands of weighted power to the 0.33, smoothed, (B, T), and frames, (B,)."""
    frames_BTW, frames_B = split_frames(waveforms_BN, lengths_B, LOUDNESS_WINDOW)
    window_W = torch.hamming_window(LOUDNESS_WINDOW, periodic=False, device=frames_BTW.device)
    power_BTK = power_spectrum(frames_BTW * window_W)
    bins = power_BTK.shape[-1]
    mel_BTM = power_BTK @ mel_filters(LOUDNESS_BANDS, bins, LOUDNESS_LOWEST).to(power_BTK.device)
    loudness_BTM = (mel_BTM * _equal_loudness().to(mel_BTM.device)).pow(LOUDNESS_POWER)
    return _smooth(loudness_BTM.mean(-1), frames_B), frames_B


@cache
def _equal_loudness() -> Tensor:
    """Return the ear's sensitivity at the centre of each band, (M,): Hermansky 1990, JASA 87(4), eq. 7.

    The last factor is that of openSMILE, steeper above 5 kHz than the paper's ω⁶. A 1 kHz tone at half of
    full scale has a loudness of 1.24.
    """
    low, high = mel(torch.tensor([LOUDNESS_LOWEST, HIGHEST], dtype=torch.float64)).tolist()
    centres_M = torch.linspace(low, high, LOUDNESS_BANDS + 2, dtype=torch.float64)[1:-1]
    square_M = (2 * math.pi * 700 * torch.expm1(centres_M / 1127)).square()
    curve_M = (square_M + 56.8e6) * square_M.square() / (square_M + 6.3e6).square()
    curve_M = curve_M / (square_M + 0.38e9)
    return (curve_M * 1e32 / (square_M**3.5 + 1.7e31)).float()


def _smooth(values_BT: Tensor, frames_B: Tensor) -> Tensor:
    """Return the mean of three frames, the outermost ones repeated; zero after the last frame."""
    frames_T = torch.arange(values_BT.shape[1], device=values_BT.device)
    last_B1 = frames_B[:, None] - 1
    before_BT = values_BT.gather(1, (frames_T - 1).clamp(min=0).minimum(last_B1))
    after_BT = values_BT.gather(1, (frames_T + 1).minimum(last_B1))
    mean_BT = (before_BT + values_BT + after_BT) / 3
    return mean_BT * present(frames_B, values_BT.shape[1])


def _smooth_nonzero(values_BT: Tensor) -> Tensor:
    """Return the mean of the nonzero values of three frames; zero stays zero."""
    triples_BT3 = functional.pad(values_BT, (1, 1)).unfold(1, 3, 1)
    count_BT = (triples_BT3 != 0).sum(-1).clamp(min=1)
    return torch.where(values_BT != 0, triples_BT3.sum(-1) / count_BT, 0.0)


def _functionals(values_BT: Tensor, known_BT: Tensor) -> Tensor:
    """Return the `FUNCTIONALS` of the known values of each row, (B, 7); zeros if none is known."""
    values_BT = torch.where(known_BT, values_BT, 0.0).float()
    count_B = known_BT.sum(1)
    divisor_B = count_B.clamp(min=1)
    order_BT = (known_BT.cumsum(1) - 1).float()  # index among the known values
    mean_B = values_BT.sum(1) / divisor_B
    deviation_BT = torch.where(known_BT, values_BT - mean_B[:, None], 0.0)
    distance_BT = torch.where(known_BT, order_BT - (divisor_B[:, None] - 1) / 2, 0.0)
    slope_B = (distance_BT * deviation_BT).sum(1) / distance_BT.square().sum(1).clamp(min=0.5)
    total_B = values_BT.sum(1)
    moment_B = (order_BT * values_BT).sum(1) / divisor_B
    centroid_B = torch.where(total_B != 0, moment_B / total_B, 0.0).clamp(*CENTROID_RANGE)
    low_B, high_B = (_quantile(values_BT, known_BT, share) for share in (0.1, 0.9))
    spread_B = (deviation_BT.square().sum(1) / divisor_B).sqrt()
    parts = [mean_B, spread_B, slope_B, centroid_B, low_B, high_B, high_B - low_B]
    return torch.where(count_B[:, None] > 0, torch.stack(parts, dim=1), 0.0)


def _quantile(values_BT: Tensor, known_BT: Tensor, share: float) -> Tensor:
    """Return the value below which `share` of the known ones lie, interpolated linearly."""
    sorted_BT = torch.where(known_BT, values_BT, math.inf).sort(dim=1).values
    place_B1 = share * (known_BT.sum(1, keepdim=True) - 1).clamp(min=0)
    below_B1 = sorted_BT.gather(1, place_B1.floor().long())
    above_B1 = sorted_BT.gather(1, place_B1.ceil().long())
    return torch.lerp(below_B1, above_B1, place_B1.frac())[:, 0]


def _gaussian(device: torch.device) -> Tensor:
    middle = (PITCH_WINDOW - 1) / 2
    samples_W = torch.arange(PITCH_WINDOW, device=device)
    return torch.exp(-0.5 * ((samples_W - middle) / (GAUSSIAN * middle)).square())
