"""Detection, crops and tracks, on a real portrait and on constructed boxes."""

import cv2
import numpy
import pytest

from multimodal_fer.face.detection import crop_face, find_faces
from multimodal_fer.face.tracking import FaceTracker
from multimodal_fer.types import Faces


def faces(*boxes) -> Faces:
    count = len(boxes)
    corners = numpy.array(boxes, "f4").reshape(-1, 4)
    return Faces(corners, numpy.ones(count, "f4"), numpy.zeros((count, 5, 2), "f4"))


def follow(tracker: FaceTracker, time: float, found: Faces) -> list[int]:
    """Update as the frame classifier does: look up the tracks, then add the rows."""
    tracks = tracker.update(time, found)
    for box, track in zip(found.boxes, tracks, strict=True):
        track.times.append(time)
        track.boxes.append(box.tolist())
    return [track.id for track in tracks]


def test_the_portrait_is_found_where_it_is(portrait):
    found = find_faces(portrait)
    assert len(found.boxes) == 1
    assert found.confidences[0] > 0.85
    height, width = portrait.shape[:2]
    left, top, right, bottom = found.boxes[0]
    assert 0 <= left < right <= width and 0 <= top < bottom <= height


def test_boxes_follow_the_picture_through_scaling(portrait):
    """Check that the search in a reduced copy does not move the box in the large image."""
    one = find_faces(portrait).boxes[0]
    large = cv2.resize(portrait, None, fx=2.5, fy=2.5)
    assert find_faces(large).boxes[0] / 2.5 == pytest.approx(one, abs=0.03 * portrait.shape[1])


def test_two_people_are_two_faces_largest_first(portrait):
    small = cv2.resize(portrait, None, fx=0.6, fy=0.6)
    canvas = numpy.zeros((portrait.shape[0], portrait.shape[1] + small.shape[1], 3), numpy.uint8)
    canvas[:, : portrait.shape[1]] = portrait
    canvas[: small.shape[0], portrait.shape[1] :] = small
    found = find_faces(canvas)
    assert len(found.boxes) == 2
    assert found.boxes[0][0] < portrait.shape[1] < found.boxes[1][0]


@pytest.mark.parametrize("shape", [(240, 320), (1, 1), (3, 900), (1080, 1920)])
def test_no_face_is_found_in_grey_and_noise(shape):
    assert len(find_faces(numpy.full((*shape, 3), 120, numpy.uint8)).boxes) == 0
    noise = numpy.random.default_rng(0).integers(0, 255, (*shape, 3), numpy.uint8)
    assert len(find_faces(noise).boxes) == 0


def test_crop_is_the_square_around_the_box():
    image = numpy.zeros((100, 200, 3), numpy.uint8)
    image[30:70, 80:120] = 255
    crop = crop_face(image, numpy.array([80, 30, 120, 70], "f4"), 51)  # 40 x 1.28 = 51
    assert crop.shape == (51, 51) and crop.dtype == numpy.uint8
    assert crop[25, 25] == 255 and crop[0, 0] == 0
    assert (crop == 255).sum() == pytest.approx(1600, rel=0.05)


@pytest.mark.parametrize("box", [[-20, -20, 40, 60], [170, 70, 230, 130], [-50, -50, 260, 160]])
def test_crop_over_the_edge_repeats_it(box):
    image = numpy.full((100, 200, 3), 77, numpy.uint8)
    crop = crop_face(image, numpy.array(box, "f4"), 48)
    assert crop.shape == (48, 48)
    assert (crop == 77).all()


def test_people_keep_their_numbers_if_they_move_or_change_order():
    tracker = FaceTracker()
    assert follow(tracker, 0.0, faces([0, 0, 50, 50], [200, 0, 240, 40])) == [0, 1]
    assert follow(tracker, 0.2, faces([205, 0, 245, 40], [8, 0, 58, 50])) == [1, 0]
    assert follow(tracker, 0.4, faces([16, 0, 66, 50])) == [0]
    assert follow(tracker, 0.6, faces([207, 0, 247, 40])) == [1]


def test_a_face_that_returns_within_30_seconds_keeps_its_number():
    tracker = FaceTracker()
    here = faces([0, 0, 50, 50])
    assert follow(tracker, 0.0, here) == [0]
    assert follow(tracker, 0.2, faces()) == []
    assert follow(tracker, 10.0, here) == [0]
    assert follow(tracker, 60.0, here) == [1]


def test_a_face_elsewhere_starts_a_new_track():
    tracker = FaceTracker()
    follow(tracker, 0.0, faces([0, 0, 50, 50]))
    assert follow(tracker, 0.2, faces([100, 100, 150, 150])) == [1]


def test_single_detections_are_dropped_except_in_short_recordings():
    tracker = FaceTracker()
    for time in (0.0, 0.2, 0.4):
        follow(tracker, time, faces([200, 0, 240, 40]))
    follow(tracker, 0.6, faces([0, 0, 50, 50], [200, 0, 240, 40]))
    kept = tracker.finish(frames=4)
    assert [track.id for track in kept] == [0]
    assert kept[0].times == [0.0, 0.2, 0.4, 0.6]
    single = FaceTracker()
    follow(single, 0.0, faces([0, 0, 50, 50]))
    assert len(single.finish(frames=1)) == 1
