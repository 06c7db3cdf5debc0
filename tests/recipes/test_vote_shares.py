"""Probabilities against shares of votes."""

import numpy
import pytest

from multimodal_fer.labels import FER_PLUS
from recipes.ferplus.vote_shares import RESTRAINED, vote_report, vote_shares

HAPPINESS, ANGER = FER_PLUS.index("happiness"), FER_PLUS.index("anger")


def test_shares_are_of_the_emotions_and_unclear_images_are_left_out():
    votes = numpy.zeros((4, 10), numpy.uint8)
    votes[0, :2] = 4, 6
    votes[1, :2], votes[1, 8] = (2, 6), 2  # two of ten: unknown
    votes[2, 1], votes[2, 9] = 4, 6  # mostly "not a face"
    votes[3, 8] = 0
    shares, usable = vote_shares(votes)
    assert usable.tolist() == [0, 1]
    numpy.testing.assert_allclose(shares[:, :2], [[0.4, 0.6], [0.25, 0.75]])
    assert shares.sum(axis=1) == pytest.approx(1)


def test_probabilities_equal_to_the_shares_are_perfect():
    shares = numpy.random.default_rng(0).dirichlet(numpy.full(8, 0.5), 200)
    report = vote_report(shares, shares)
    assert report["images"] == 200
    expected = {
        "correlation": 1,
        "correlation_if_voted": 1,
        "calibration_error": 0,
        "absolute_error": 0,
    }
    assert report["mean"] == pytest.approx(expected)
    for row in report["emotions"].values():
        restrained = row["restrained"]
        assert restrained["share"] == pytest.approx(restrained["probability"])
        assert restrained["among_two_strongest"] > 0.9


def test_gaps_and_order_by_hand():
    shares = numpy.zeros((4, 8))
    shares[:, HAPPINESS] = [1.0, 0.5, 0.4, 0.0]
    shares[:, ANGER] = 1 - shares[:, HAPPINESS]
    probabilities = numpy.zeros((4, 8))
    probabilities[:, HAPPINESS] = [0.95, 0.91, 0.15, 0.05]
    probabilities[:, ANGER] = 1 - probabilities[:, HAPPINESS]
    report = vote_report(probabilities, shares)["emotions"]
    happiness = report["happiness"]
    assert happiness["images"] == 3
    assert happiness["correlation"] == happiness["correlation_if_voted"] == pytest.approx(1)
    # Bins: 0.95 and 0.91 against 1 and 0.5; 0.15 against 0.4; 0.05 against 0.
    assert happiness["calibration_error"] == pytest.approx((0.18 * 2 + 0.25 + 0.05) / 4)
    assert happiness["absolute_error"] == pytest.approx((0.05 + 0.41 + 0.25) / 3)
    assert happiness["restrained"] == pytest.approx(
        {"images": 2, "share": 0.45, "probability": 0.53, "among_two_strongest": 1}
    )
    assert RESTRAINED == (0.4, 0.6)
    assert report["fear"]["correlation"] is None and report["fear"]["restrained"] == {"images": 0}
    assert report["fear"]["absolute_error"] is None and report["fear"]["calibration_error"] == 0
