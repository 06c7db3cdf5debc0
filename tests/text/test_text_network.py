"""Test the text network: padding, word vectors and learning."""

import pytest
import torch

from multimodal_fer.labels import GOEMOTIONS_TO_EKMAN, GOEMOTIONS_TO_OPEN7, OPEN7
from multimodal_fer.layers.hierarchical import HierarchicalHead, sum_fine_labels
from multimodal_fer.text.network import WordConfig, WordNetwork
from multimodal_fer.text.vocabulary import Vocabulary, collate_tokens

SMALL = WordConfig(vocabulary_size=40, word_size=8, units=12)


def make_network(**settings):
    torch.manual_seed(0)
    return WordNetwork(WordConfig(**{**SMALL.__dict__, **settings}))


def test_padding_and_batch_do_not_change_the_output():
    network = make_network().eval()
    tokens, lengths = collate_tokens([[5, 6, 7, 8, 9], [10], [11, 12, 13]])
    tokens[1, 1:] = 39  # nonzero padding
    with torch.inference_mode():
        together = network(tokens, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = network(tokens[row : row + 1, :length], lengths[row : row + 1])
            torch.testing.assert_close(alone.logits[0], together.logits[row])
    assert together.embedding.shape == (3, 48) and together.logits.shape == (3, 7)


def test_an_empty_text_is_refused():
    with pytest.raises(ValueError, match="leave this modality out"):
        make_network()(torch.zeros(1, 3, dtype=torch.long), torch.tensor([0]))


def test_word_vectors_are_taken_over():
    network = make_network()
    vectors = torch.randn(40, 8)
    network.set_word_vectors(vectors)
    torch.testing.assert_close(network.embedding.weight[1:], vectors[1:])
    assert (network.embedding.weight[0] == 0).all() and network.embedding.weight.requires_grad


def test_words_are_hidden_in_training_only():
    network = make_network(word_dropout=1.0, dropout=0.0)
    tokens, lengths = collate_tokens([[5, 6, 7], [8, 9, 10]])
    network.train()
    first, second = network(tokens, lengths).logits
    torch.testing.assert_close(first, second)  # all words are unknown
    network.eval()
    first, second = network(tokens, lengths).logits
    assert not torch.allclose(first, second)


def test_it_learns_negation():
    texts = [f"{start} {negation} {word}" for start in ("it is", "this was", "that seems")
             for negation in ("", "not") for word in ("good", "bad")]  # fmt: skip
    labels = torch.tensor([("not" in text) == ("good" in text) for text in texts]).long()
    vocabulary = Vocabulary.build(texts)
    tokens, lengths = collate_tokens([vocabulary.encode(text) for text in texts])
    network = make_network(
        vocabulary_size=len(vocabulary), labels=("good", "bad"), word_dropout=0.0
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(100):
        loss = torch.nn.functional.cross_entropy(network(tokens, lengths).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    assert torch.equal(network(tokens, lengths).logits.argmax(1), labels)


def test_labels_are_the_sums_of_their_fine_labels():
    network = make_network(finer=GOEMOTIONS_TO_OPEN7).eval()
    tokens, lengths = collate_tokens([[5, 6, 7], [8]])
    with torch.inference_mode():
        output = network(tokens, lengths)
        fine = network.head.finely(output.embedding).softmax(1)
    names = list(GOEMOTIONS_TO_OPEN7)
    joy = [names.index(name) for name in ("joy", "love", "gratitude", "amusement")]
    scores = output.logits.softmax(1)
    assert fine.shape == (2, 28) and scores.shape == (2, 7)
    assert (fine[:, joy].sum(1) < scores[:, OPEN7.index("happiness")]).all()
    questions = ["neutral", "approval", "curiosity", "desire", "realization"]
    neutral = fine[:, [names.index(name) for name in questions]].sum(1)
    torch.testing.assert_close(neutral, scores[:, OPEN7.index("neutral")])


def test_fine_scores_can_be_summed_by_ekman_too():
    fine = torch.full((1, 28), -9.0)
    fine[0, list(GOEMOTIONS_TO_EKMAN).index("curiosity")] = 9
    for mapping, expected in ((GOEMOTIONS_TO_EKMAN, "surprise"), (GOEMOTIONS_TO_OPEN7, "neutral")):
        coarse = sum_fine_labels(fine, OPEN7, list(mapping.values()))
        assert OPEN7[int(coarse.argmax())] == expected


def test_a_head_without_fine_labels_is_a_linear_layer_and_a_label_needs_one():
    head = HierarchicalHead(4, ("a", "b"), {})
    inputs = torch.randn(3, 4)
    torch.testing.assert_close(head(inputs), head.linear(inputs))
    with pytest.raises(ValueError, match="each at least once"):
        HierarchicalHead(4, ("a", "b"), {"x": "a"})
