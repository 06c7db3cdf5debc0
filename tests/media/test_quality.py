"""Check the quality of faces and voices on pictures and sounds whose quality is known."""

import cv2
import numpy
import pytest
import torch

from multimodal_fer.media.quality import face_quality, voice_quality
from multimodal_fer.types import SAMPLE_RATE


@pytest.fixture
def face(portrait):
    return portrait[:200, 140:300]


def test_a_sharp_face_has_full_quality_and_a_blurred_one_little(face):
    qualities = [face_quality(face)]
    qualities += [face_quality(cv2.GaussianBlur(face, (0, 0), width)) for width in (4, 8, 16)]
    assert qualities[0] > 0.9 and qualities[-1] < 0.25
    assert qualities == sorted(qualities, reverse=True)


def test_a_small_face_has_less_quality_than_a_large_one(face):
    large, small = (
        cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA) for size in (96, 14)
    )
    assert face_quality(small) < face_quality(large)
    enlarged = cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC)
    assert face_quality(enlarged) == pytest.approx(face_quality(small), abs=0.15)


def test_grey_and_colour_agree_and_an_even_picture_has_none(face):
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    assert face_quality(grey) == pytest.approx(face_quality(face), abs=1e-3)
    assert face_quality(numpy.full((48, 48), 128, numpy.uint8)) == 0


def test_noise_lowers_the_quality_of_a_voice(speech):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(speech), generator=generator).numpy() * speech.std()
    qualities = [voice_quality(speech + share * noise) for share in (0, 0.1, 0.3, 1.0)]
    assert qualities[0] > 0.9 and qualities[-1] < 0.3
    assert qualities == sorted(qualities, reverse=True)
    assert voice_quality(0.1 * speech) == pytest.approx(qualities[0], abs=0.05)


def test_very_short_and_silent_sounds_have_no_quality(speech):
    assert voice_quality(speech[: SAMPLE_RATE // 100]) == 0
    assert voice_quality(numpy.zeros(2 * SAMPLE_RATE, numpy.float32)) == 0
    start = int(numpy.abs(speech).argmax())
    brief, longer = (speech[start : start + round(t * SAMPLE_RATE)] for t in (0.4, 0.9))
    assert voice_quality(brief) <= 0.25 + 1e-6 and voice_quality(longer) <= 0.875 + 1e-6
