"""Sequences of unequal lengths: the recurrent layer as torch runs it on packed sequences."""

import time

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from multimodal_fer.models.sequences import run_gru


def run_packed(layer, steps, lengths):
    packed = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
    outputs, last = layer(packed)
    return pad_packed_sequence(outputs, batch_first=True)[0], last.transpose(0, 1).flatten(1)


def gradients(run, layer, steps, lengths):
    """Outputs, last states, and the slopes of a sum over both for every weight and the inputs."""
    steps = steps.clone().requires_grad_()
    outputs, last = run(layer, steps, lengths)
    weight = torch.arange(outputs.numel()).reshape(outputs.shape).sin()
    found = (outputs * weight).sum() + last.square().sum()
    return outputs, last, *torch.autograd.grad(found, [*layer.parameters(), steps])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[5], [7, 1, 4], [3, 6, 6, 2]])
def test_gru_equals_the_packed_one(bidirectional, lengths):
    torch.manual_seed(3)
    layer = nn.GRU(5, 4, batch_first=True, bidirectional=bidirectional)
    steps, sizes = torch.randn(len(lengths), 9, 5), torch.tensor(lengths)
    got, wanted = (gradients(run, layer, steps, sizes) for run in (run_gru, run_packed))
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_lies_behind_an_end_reaches_neither_answer_nor_gradient(bidirectional):
    torch.manual_seed(3)
    layer = nn.GRU(5, 4, batch_first=True, bidirectional=bidirectional)
    steps, lengths = torch.randn(2, 6, 5), torch.tensor([6, 3])
    clean = gradients(run_gru, layer, steps, lengths)
    steps[1, 3:] = torch.nan
    for ours, theirs in zip(gradients(run_gru, layer, steps, lengths), clean, strict=True):
        assert torch.equal(ours, theirs)


def test_training_time_grows_with_the_steps_and_not_with_their_square():
    layer = nn.GRU(16, 64, batch_first=True)

    def seconds(steps):
        values, lengths = torch.randn(16, steps, 16), torch.full((16,), steps)
        started = time.perf_counter()
        gradients(run_gru, layer, values, lengths)
        return time.perf_counter() - started

    seconds(50)
    packed_would_be = 8**2 / 2
    assert min(seconds(800) for _ in range(3)) < packed_would_be * min(
        seconds(100) for _ in range(3)
    )
