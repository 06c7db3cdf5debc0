"""Late attention and its baselines on constructed evidence with known results."""

import math

import pytest
import torch

from multimodal_fer.fusion.late_attention import (
    Evidence,
    FusionConfig,
    LateAttention,
    drop_modalities,
    fold_labels,
    mean_of_scores,
    product_rule,
)
from multimodal_fer.labels import FER_PLUS, FER_PLUS_TO_OPEN7, OPEN7

SIZES = {"face": 12, "voice": 10, "text": 8}
LABELS: dict[str, tuple[str, ...]] = {"face": FER_PLUS, "voice": OPEN7, "text": OPEN7}

TWO: dict[str, tuple[str, ...]] = {"voice": OPEN7, "text": OPEN7}


def make_network(**settings):
    torch.manual_seed(0)
    return LateAttention(FusionConfig(embeddings=SIZES, part_labels=LABELS, **settings)).eval()


def make_evidence(count):
    generator = torch.Generator().manual_seed(1)
    return {
        name: Evidence(
            torch.randn(count, size, generator=generator),
            torch.randn(count, len(LABELS[name]), generator=generator).log_softmax(1),
        )
        for name, size in SIZES.items()
    }


def test_one_modality_alone_keeps_the_scores_of_its_part():
    network, evidence = make_network(temperature=3.0), make_evidence(3)
    scores, attention = network.predict(evidence, torch.eye(3))
    torch.testing.assert_close(attention, torch.eye(3))
    for row, name in enumerate(SIZES):
        own = dict(zip(LABELS[name], evidence[name].log_scores[row].exp().tolist(), strict=True))
        own["disgust"] += own.pop("contempt", 0.0)
        assert scores[row].tolist() == pytest.approx([own[label] for label in OPEN7], abs=1e-5)


def test_a_part_with_labels_that_the_fusion_lacks_passes_through_the_network():
    labels = {"face": FER_PLUS, "voice": ("anger", "sadness")}
    config = FusionConfig(
        labels=("anger", "sadness"), embeddings={"face": 2, "voice": 2}, part_labels=labels
    )
    network = LateAttention(config).eval()
    evidence = {
        name: Evidence(torch.zeros(1, 2), torch.ones(1, len(own)).log_softmax(1))
        for name, own in labels.items()
    }
    face_alone, _ = network.predict(evidence, torch.tensor([[1, 0]]))
    joint = network(evidence, torch.tensor([[1, 0]])).logits.softmax(1)
    torch.testing.assert_close(face_alone, joint)


def test_each_pattern_of_modalities_has_its_own_temperature():
    network = make_network(temperature=2.0, pattern_temperatures={"face+text": 0.5})
    evidence, present = make_evidence(2), torch.tensor([[1, 0, 1], [1, 1, 1]])
    logits = network(evidence, present).logits
    scores, _ = network.predict(evidence, present)
    torch.testing.assert_close(scores[0], (logits[0] / 0.5).softmax(0))
    torch.testing.assert_close(scores[1], (logits[1] / 2.0).softmax(0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"part_labels": {"face": 8, "voice": 7, "text": 7}},
        {"pattern_temperatures": {"text+face": 1.0}},
        {"pattern_temperatures": {"face+text": 0}},
    ],
)
def test_invalid_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        FusionConfig(**({"embeddings": SIZES, "part_labels": LABELS} | wrong))


def test_attention_sums_to_one_over_the_present_modalities():
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]])
    fused = make_network()(make_evidence(4), present)
    assert fused.logits.shape == (4, 7) and fused.own_logits.shape == (4, 3, 7)
    torch.testing.assert_close(fused.attention.sum(1), torch.tensor([1.0, 1, 1, 0]))
    assert (fused.attention[present == 0] == 0).all()
    assert torch.isfinite(fused.logits).all()


def test_absent_modalities_have_no_effect():
    network, present = make_network(), torch.tensor([[1, 0, 1]] * 3)
    evidence = make_evidence(3)
    changed = evidence | {
        "voice": Evidence(evidence["voice"].embedding + 9, evidence["voice"].log_scores)
    }
    before, after = network(evidence, present), network(changed, present)
    torch.testing.assert_close(before.logits, after.logits)
    torch.testing.assert_close(before.attention, after.attention)


def test_a_batch_of_one_equals_a_batch_of_many():
    network, evidence = make_network(), make_evidence(5)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    together = network(evidence, present).logits
    for row in range(5):
        one = {
            name: Evidence(*(part[row : row + 1] for part in both))
            for name, both in evidence.items()
        }
        torch.testing.assert_close(network(one, present[row : row + 1]).logits[0], together[row])


def test_it_starts_as_the_product_rule():
    two = {"voice": 7, "text": 7}
    network = LateAttention(FusionConfig(embeddings=two, part_labels=TWO)).eval()
    scores = torch.rand(6, 2, 7, generator=torch.Generator().manual_seed(2)).softmax(2)
    evidence = {
        name: Evidence(torch.zeros(6, 7), scores[:, number].log())
        for number, name in enumerate(("voice", "text"))
    }
    present = torch.ones(6, 2)
    expected = product_rule(scores, present, torch.full((7,), 1 / 7))
    torch.testing.assert_close(network(evidence, present).logits.softmax(1), expected)


def test_attention_grows_with_the_evidence():
    two = {"voice": 7, "text": 7}
    network = LateAttention(FusionConfig(embeddings=two, part_labels=TWO)).eval()
    flat, sure = torch.full((1, 7), 1 / 7), torch.tensor([[0.94, *[0.01] * 6]])
    vague = 0.5 * flat + 0.5 * sure

    def attention(voice, text):
        both = {"voice": voice, "text": text}
        evidence = {name: Evidence(torch.zeros(1, 7), p.log()) for name, p in both.items()}
        return network(evidence, torch.ones(1, 2)).attention[0].tolist()

    assert attention(flat, sure) == pytest.approx([0, 1], abs=1e-5)
    assert attention(sure, sure) == pytest.approx([0.5, 0.5])
    assert attention(vague, sure)[0] < 0.45


def test_attention_learns_which_modality_is_informative():
    """Train with a voice that is right in even samples, a text in odd ones, and embeddings that show it."""
    torch.manual_seed(0)
    sizes = {"voice": 3, "text": 3}
    network = LateAttention(FusionConfig(embeddings=sizes, part_labels=TWO))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)

    def sample(count):
        labels = torch.randint(0, 7, (count,))
        other = torch.randint(0, 7, (count,))
        voice_right = torch.arange(count) % 2 == 0
        evidence = {}
        for name, right in (("voice", voice_right), ("text", ~voice_right)):
            predicted = torch.where(right, labels, other)
            scores = 0.3 * torch.nn.functional.one_hot(predicted, 7) + 0.1  # equally sure
            evidence[name] = Evidence(
                right[:, None].float().expand(-1, 3) + 0.1 * torch.randn(count, 3), scores.log()
            )
        return evidence, labels, voice_right

    for _ in range(300):
        evidence, labels, _ = sample(128)
        loss = torch.nn.functional.cross_entropy(
            network(evidence, torch.ones(128, 2)).logits, labels
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    evidence, labels, voice_right = sample(512)
    fused = network(evidence, torch.ones(512, 2))
    assert (fused.logits.argmax(1) == labels).float().mean() > 0.95
    attention = fused.attention[:, 0]
    assert attention[voice_right].mean() > 0.7 > 0.3 > attention[~voice_right].mean()


def test_baselines_by_hand():
    scores = torch.tensor([[[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]]])
    both, none = torch.tensor([[1, 1, 0]]), torch.tensor([[0, 0, 0]])
    torch.testing.assert_close(mean_of_scores(scores, both), torch.tensor([[0.7, 0.3]]))
    even = torch.tensor([0.5, 0.5])
    torch.testing.assert_close(
        product_rule(scores, both, even), torch.tensor([[0.48, 0.08]]) / 0.56
    )
    prior = torch.tensor([0.75, 0.25])  # counted once, not twice: 0.48 / 0.75 against 0.08 / 0.25
    torch.testing.assert_close(
        product_rule(scores, both, prior), torch.tensor([[0.64, 0.32]]) / 0.96
    )
    assert torch.isfinite(product_rule(scores, none, prior)).all()
    assert mean_of_scores(scores, none).sum() == 0


def test_hiding_modalities_keeps_at_least_one():
    present = torch.tensor([[1.0, 0, 1]] * 2000 + [[0, 1, 0]] * 100)
    kept = drop_modalities(present, 0.5, torch.Generator().manual_seed(1))
    assert (kept <= present).all() and (kept.sum(1) >= 1).all()
    assert (kept[2000:] == present[2000:]).all()
    both = (kept[:2000].sum(1) == 2).float().mean().item()
    assert math.isclose(both, 0.25, abs_tol=0.05)
    assert torch.equal(drop_modalities(present, 0.0, torch.Generator()), present)


def test_labels_are_folded_by_name():
    scores = torch.tensor([[0.1, 0.2, 0.0, 0.0, 0.0, 0.3, 0.0, 0.4]])
    folded = fold_labels(scores, FER_PLUS, OPEN7, FER_PLUS_TO_OPEN7)
    assert folded[0, OPEN7.index("disgust")].item() == pytest.approx(0.7)
    assert folded.sum().item() == pytest.approx(1)
    with pytest.raises(KeyError):
        fold_labels(scores, (*FER_PLUS[:-1], "boredom"), OPEN7, FER_PLUS_TO_OPEN7)
