"""Figures of merit on predictions small enough to count by hand."""

import numpy
import pytest

from multimodal_fer.metrics import calibration_error, classification_report


def test_report_by_hand():
    truth = numpy.array([0, 0, 0, 0, 1, 1])
    predicted = numpy.array([0, 0, 0, 1, 1, 0])
    probabilities = numpy.eye(3)[predicted] * 0.7 + 0.1
    report = classification_report(probabilities, truth, ["a", "b", "c"])
    assert report["accuracy"] == pytest.approx(4 / 6)
    assert report["uar"] == pytest.approx((3 / 4 + 1 / 2) / 2)  # a class nobody shows is left out
    assert report["recall"] == {"a": 0.75, "b": 0.5, "c": 0.0}
    assert report["confusion"] == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert report["macro_f1"] == pytest.approx((0.75 + 0.5 + 0) / 3)


def test_calibration_by_hand():
    probabilities = numpy.array([[0.8, 0.2]] * 10)
    assert calibration_error(probabilities, numpy.array([0] * 8 + [1] * 2)) == pytest.approx(0)
    assert calibration_error(probabilities, numpy.array([0] * 5 + [1] * 5)) == pytest.approx(0.3)
