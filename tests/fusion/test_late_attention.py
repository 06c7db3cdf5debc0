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
    label_frequencies,
    mean_of_scores,
    product_rule,
)
from multimodal_fer.labels import FER_PLUS, FER_PLUS_TO_OPEN7, OPEN7

LABELS: dict[str, tuple[str, ...]] = {"face": FER_PLUS, "voice": OPEN7, "text": OPEN7}
TWO: dict[str, tuple[str, ...]] = {"voice": OPEN7, "text": OPEN7}
PRIOR = (0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)


def make_network(part_labels=LABELS, **settings):
    return LateAttention(FusionConfig(part_labels=part_labels, **settings)).eval()


def make_evidence(count, part_labels=LABELS):
    generator = torch.Generator().manual_seed(1)
    return {
        name: Evidence(
            torch.randn(count, len(labels), generator=generator).mul(2).log_softmax(1),
            torch.rand(count, generator=generator),
        )
        for name, labels in part_labels.items()
    }


def of_scores(scores, quality=1.0):
    """Return evidence of one sample with the given probabilities."""
    return Evidence(torch.tensor([scores]).log(), torch.tensor([quality]))


def sure_of(label, score):
    """Return probabilities over open7 with one label in front."""
    rest = (1 - score) / 6
    return [score if name == label else rest for name in OPEN7]


def predict(network, **evidence):
    """Return the scores by label and the attention by modality of one sample; the others are absent."""
    absent = of_scores([1 / 7] * 7)
    given = {name: evidence.get(name, absent) for name in network.modalities}
    present = torch.tensor([[float(name in evidence) for name in network.modalities]])
    scores, attention = network.predict(given, present)
    return (
        dict(zip(network.config.labels, scores[0].tolist(), strict=True)),
        dict(zip(network.modalities, attention[0].tolist(), strict=True)),
    )


def test_one_modality_alone_keeps_the_scores_of_its_part():
    network, evidence = make_network(temperature=3.0, prior=PRIOR), make_evidence(3)
    scores, attention = network.predict(evidence, torch.eye(3))
    torch.testing.assert_close(attention, torch.eye(3))
    for row, name in enumerate(LABELS):
        own = dict(zip(LABELS[name], evidence[name].log_scores[row].exp().tolist(), strict=True))
        own["disgust"] += own.pop("contempt", 0.0)
        assert scores[row].tolist() == pytest.approx([own[label] for label in OPEN7], abs=1e-5)


def test_labels_that_the_fusion_lacks_are_left_out():
    labels = {"face": FER_PLUS, "voice": ("anger", "sadness")}
    network = make_network(labels, labels=("anger", "sadness"))
    face = [0.3, 0.2, 0.1, 0.1, 0.2, 0.04, 0.03, 0.03]  # sadness 0.1, anger 0.2
    evidence = {"face": of_scores(face), "voice": of_scores([0.5, 0.5])}
    alone, _ = network.predict(evidence, torch.tensor([[1, 0]]))
    torch.testing.assert_close(alone, torch.tensor([[2 / 3, 1 / 3]]))


def test_a_label_that_a_part_lacks_gets_no_evidence_from_it():
    """Check that a face without frustration neither favours nor excludes it."""
    labels = {"face": ("neutral", "anger"), "voice": ("neutral", "anger", "frustration")}
    network = make_network(labels, labels=("neutral", "anger", "frustration"))
    evidence = {
        "face": of_scores([0.5, 0.5]),
        "voice": of_scores([0.1, 0.1, 0.8]),
    }
    scores, attention = network.predict(evidence, torch.ones(1, 2))
    assert scores[0, 2] > 0.6 and attention[0, 0] < 0.4


def test_each_pattern_of_modalities_has_its_own_temperature():
    network = make_network(temperature=2.0, pattern_temperatures={"face+text": 0.5})
    evidence, present = make_evidence(2), torch.tensor([[1, 0, 1], [1, 1, 1]])
    turned = evidence["voice"].log_scores.roll(3, dims=1)  # modalities that disagree
    evidence["voice"] = Evidence(turned, evidence["voice"].quality)
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
        {"prior": (0.5, 0.5)},
        {"prior": (1.0, 0, 0, 0, 0, 0, 0)},
        {"prior": (0.2,) * 7},
        {"frequencies": {"face": (1 / 8,) * 8}},
        {"frequencies": {"face": "often"}},
    ],
)
def test_invalid_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        FusionConfig(**({"part_labels": LABELS} | wrong))


def test_attention_sums_to_one_over_the_present_modalities():
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]])
    fused = make_network()(make_evidence(4), present)
    assert fused.logits.shape == (4, 7)
    torch.testing.assert_close(fused.attention.sum(1), torch.tensor([1.0, 1, 1, 0]))
    assert (fused.attention[present == 0] == 0).all()
    assert torch.isfinite(fused.logits).all()


def test_without_any_modality_the_prior_is_returned():
    network = make_network(prior=PRIOR)
    scores = network(make_evidence(1), torch.zeros(1, 3)).logits.softmax(1)
    torch.testing.assert_close(scores, torch.tensor([PRIOR]))


def test_attention_is_the_change_of_the_logits_if_a_modality_is_left_out():
    network, evidence = make_network(), make_evidence(5)
    whole = network(evidence, torch.ones(5, 3))
    changes = []
    for number in range(3):
        present = torch.ones(5, 3)
        present[:, number] = 0
        change = whole.logits - network(evidence, present).logits
        changes.append((change - change.mean(1, keepdim=True)).norm(dim=1))
    sizes = torch.stack(changes, dim=1)
    torch.testing.assert_close(whole.attention, sizes / sizes.sum(1, keepdim=True))


def test_absent_modalities_have_no_effect():
    network, present = make_network(), torch.tensor([[1, 0, 1]] * 3)
    evidence = make_evidence(3)
    changed = evidence | {"voice": Evidence(evidence["text"].log_scores, torch.zeros(3))}
    before, after = network(evidence, present), network(changed, present)
    torch.testing.assert_close(before.logits, after.logits)
    torch.testing.assert_close(before.attention, after.attention)


def test_a_batch_of_one_equals_a_batch_of_many():
    network, evidence = make_network(), make_evidence(5)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    together, _ = network.predict(evidence, present)
    for row in range(5):
        one = {
            name: Evidence(*(part[row : row + 1] for part in both))
            for name, both in evidence.items()
        }
        torch.testing.assert_close(
            network.predict(one, present[row : row + 1])[0][0], together[row]
        )


def test_fully_reliable_and_never_restrained_it_is_the_product_rule():
    network = make_network(TWO)
    with torch.no_grad():
        network.reliability.fill_(30.0)
        network.restraint.fill_(-30.0)
        network.doubt.fill_(12.0)
    scores = torch.rand(6, 2, 7, generator=torch.Generator().manual_seed(2)).softmax(2)
    evidence = {
        name: Evidence(scores[:, number].log(), torch.ones(6)) for number, name in enumerate(TWO)
    }
    expected = product_rule(scores, torch.ones(6, 2), torch.full((7,), 1 / 7))
    fused = network(evidence, torch.ones(6, 2)).logits.softmax(1)
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-4)


def test_evidence_that_agrees_never_lowers_the_shared_label():
    network = make_network(TWO, prior=PRIOR, temperature=2.0)
    for label in OPEN7:
        for first in (0.3, 0.6, 0.9, 0.99):
            for second in (0.2, 0.5, 0.95):
                scores, _ = predict(
                    network,
                    voice=of_scores(sure_of(label, first), quality=0.1),
                    text=of_scores(sure_of(label, second)),
                )
                assert scores[label] >= max(first, second) - 1e-6
                assert sum(scores.values()) == pytest.approx(1)


def test_one_modality_that_is_surely_wrong_does_not_decide():
    network = make_network(prior=PRIOR)
    face = of_scores([0.005, 0.96, *[0.005] * 5, 0.01])
    wrong = of_scores(sure_of("anger", 0.99999))
    scores, _ = predict(network, face=face, voice=of_scores(sure_of("happiness", 0.9)), text=wrong)
    assert scores["happiness"] > 0.8


def test_neutral_words_hardly_contradict_an_emotional_voice():
    network = make_network(TWO)
    with torch.no_grad():
        network.restraint[1] = 0.0  # half of the words of emotional answers are factual
    voice, words = sure_of("anger", 0.8), sure_of("neutral", 0.9)
    scores, attention = predict(network, voice=of_scores(voice), text=of_scores(words))
    assert scores["anger"] > 0.6 and attention["text"] < 0.35
    loud, _ = predict(network, voice=of_scores(sure_of("neutral", 0.8)), text=of_scores(words))
    assert loud["neutral"] > 0.9


def test_attention_follows_the_evidence():
    network = make_network(TWO)
    flat, sure = [1 / 7] * 7, sure_of("anger", 0.94)
    vague = [0.5 / 7 + 0.5 * score for score in sure]

    def share(voice, text, quality=1.0):
        return predict(network, voice=of_scores(voice, quality), text=of_scores(text))[1]["voice"]

    assert share(flat, sure) == pytest.approx(0, abs=1e-4)
    assert share(sure, sure) == pytest.approx(0.5)
    assert share(vague, sure) < 0.45
    assert share(sure, sure, quality=0.0) < 0.5 - 1e-3


def test_scores_that_are_spread_evenly_say_nothing_about_rare_labels():
    often = (0.4, 0.3, 0.1, 0.1, 0.06, 0.02, 0.02)
    network = make_network(TWO, frequencies={"voice": often, "text": often}, prior=often)
    words = of_scores(sure_of("happiness", 0.8))
    alone, _ = predict(network, text=words)
    scores, attention = predict(network, text=words, voice=of_scores([1 / 7] * 7))
    assert attention["voice"] < 1e-3 and scores["fear"] < 2 * alone["fear"]


def test_it_learns_which_modality_is_reliable():
    """Train with a voice whose quality shows when it is right, and a text that is right half of the time."""
    network = LateAttention(FusionConfig(part_labels=TWO))
    optimizer = torch.optim.Adam(network.parameters(), 3e-2)
    generator = torch.Generator().manual_seed(0)

    def sample(count):
        labels, other = torch.randint(0, 7, (2, count), generator=generator)
        right = {name: torch.rand(count, generator=generator) < 0.5 for name in TWO}
        evidence = {}
        for name, is_right in right.items():
            shown = torch.where(is_right, labels, other)
            scores = 0.65 * torch.nn.functional.one_hot(shown, 7) + 0.05  # equally sure
            quality = is_right.float() if name == "voice" else torch.ones(count)
            evidence[name] = Evidence(scores.log(), quality)
        return evidence, labels, right["voice"]

    for _ in range(200):
        evidence, labels, _ = sample(256)
        logits = network(evidence, torch.ones(256, 2)).logits
        loss = torch.nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    evidence, labels, voice_right = sample(2048)
    fused = network(evidence, torch.ones(2048, 2))
    right = fused.logits.argmax(1) == labels
    assert right[voice_right].float().mean() > 0.95
    attention = fused.attention[:, 0]
    assert attention[voice_right].mean() > 0.6 > 0.2 > attention[~voice_right].mean()


def test_frequencies_are_mean_scores_by_name():
    scores = torch.tensor([[0.5, 0.1, 0.1, 0.1, 0.1, 0.02, 0.04, 0.04]] * 3)
    found = label_frequencies(scores.log(), FER_PLUS, OPEN7)
    assert found == pytest.approx((0.5, 0.1, 0.1, 0.1, 0.1, 0.06, 0.04), abs=1e-5)
    few = label_frequencies(scores.log(), FER_PLUS, ("anger", "happiness", "frustration"))
    assert few == pytest.approx((0.4975, 0.4975, 0.005), abs=1e-3)


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
