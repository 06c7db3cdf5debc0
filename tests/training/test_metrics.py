"""Check metrics on predictions small enough to count by hand."""

import numpy
import pytest
import torch

from multimodal_fer.training.metrics import (
    calibration_error,
    classification_report,
    fit_temperature,
)


def test_report_by_hand():
    truth = numpy.array([0, 0, 0, 0, 1, 1])
    predicted = numpy.array([0, 0, 0, 1, 1, 0])
    probabilities = numpy.eye(3)[predicted] * 0.7 + 0.1
    report = classification_report(probabilities, truth, ["a", "b", "c"])
    assert report["accuracy"] == pytest.approx(4 / 6)
    assert report["uar"] == pytest.approx(
        (3 / 4 + 1 / 2) / 2
    )  # a class without samples is left out
    assert report["recall"] == {"a": 0.75, "b": 0.5, "c": 0.0}
    assert report["confusion"] == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert report["macro_f1"] == pytest.approx((0.75 + 0.5) / 2)  # over two classes


def test_calibration_by_hand():
    probabilities = numpy.array([[0.8, 0.2]] * 10)
    assert calibration_error(probabilities, numpy.array([0] * 8 + [1] * 2)) == pytest.approx(0)
    assert calibration_error(probabilities, numpy.array([0] * 5 + [1] * 5)) == pytest.approx(0.3)


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_small_and_large_logits_are_calibrated(size):
    generator = torch.Generator().manual_seed(0)
    logits = size * torch.randn(4000, 4, generator=generator)
    drawn = torch.multinomial((logits / size).softmax(1), 1, generator=generator)[:, 0]
    assert fit_temperature(logits, drawn) == pytest.approx(size, rel=0.1)
    assert fit_temperature(logits, logits.argmax(1)) == pytest.approx(1 / 20)  # the lowest allowed


def test_shares_of_classes_calibrate_as_the_drawn_classes_do():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(500, 4, generator=generator)
    drawn = torch.multinomial((logits / 2).softmax(1), 1, generator=generator)[:, 0]
    shares = torch.nn.functional.one_hot(drawn, 4).float()
    assert fit_temperature(logits, shares) == pytest.approx(fit_temperature(logits, drawn))
