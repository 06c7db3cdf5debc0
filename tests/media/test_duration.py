"""Test the duration of recordings whose header is silent or wrong, and streams that end apart."""

import pytest

from multimodal_fer.errors import MediaError
from multimodal_fer.media.clock import true_duration
from multimodal_fer.types import Media


def duration(stated, sound, pictures):
    notes: list[str] = []
    media = Media("a.mp4", stated, True, True, 2, 2, 25.0)
    return true_duration(media, sound, pictures, notes.append), " ".join(notes)


def test_a_still_picture_lasts_as_long_as_it_is_shown():
    assert duration(0.0, 0.0, 0.04) == (0.04, "")  # a PNG states no duration, a JPEG 0.04 s


def test_the_container_says_the_end():
    assert duration(14.8, 14.81, 14.8) == (14.8, "")
    assert duration(4.0, 8.0, 8.0) == (8.0, "")
    assert "its end may be missing" in duration(8.0, 4.0, 4.0)[1]
    with pytest.raises(MediaError, match="nothing in it can be decoded"):
        duration(8.0, 0.0, 0.0)


def test_streams_that_end_apart_are_reported():
    assert "the pictures end at 5.0 s, the sound at 10.0 s" in duration(10.0, 10.0, 5.0)[1]
    assert "the sound ends at 5.0 s, the pictures at 10.0 s" in duration(10.0, 5.0, 10.0)[1]
    assert duration(10.0, 10.0, 0.0) == (10.0, "")
