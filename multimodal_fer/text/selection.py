"""Select the texts that a text network can classify: in its language, recognised with confidence, known."""

from collections.abc import Callable, Sequence

from multimodal_fer.text.network import Reader
from multimodal_fer.text.sentences.reader import SentenceReader
from multimodal_fer.text.vocabulary import LONGEST
from multimodal_fer.types import Window

MIN_KNOWN = 0.4  # share of the tokens that must be in the vocabulary
# Mean confidence of recognised words. An English-only speech model turns speech of any language into English
# sentences, and their low confidence is the only sign of it: 19 of 20 Polish utterances lie below this
# threshold, none of 57 English sentences does.
MIN_CONFIDENCE = 0.6


def select_texts(
    reader: Reader | SentenceReader,
    windows: Sequence[Window],
    language: str | None,
    warn: Callable[[str], None],
) -> dict[int, str]:
    """Return the texts that can be classified, by the index of their window.

    `language` is None if it is unknown. `warn` gets a sentence for each reason to leave texts out.
    """
    languages = reader.network.config.languages
    known = " or ".join(languages)
    texts = {number: window.text for number, window in enumerate(windows) if window.text}
    if texts and language is not None and language not in languages:
        warn(
            f"the words were not analysed: their language is {language}, the text network was trained "
            f"on {known}"
        )
        return {}
    texts = _confident(texts, windows, warn)
    if not texts:
        return {}
    share = reader.known_share(" ".join(texts.values()))
    if share < MIN_KNOWN:
        warn(
            f"the words were not analysed: the text network knows {share:.0%} of them, at least "
            f"{MIN_KNOWN:.0%} are needed; it was trained on {known}"
        )
        return {}
    if any(reader.is_truncated(text) for text in texts.values()):
        warn(f"only the first {LONGEST} words and punctuation marks of a long text were analysed")
    return texts


def _confident(
    texts: dict[int, str], windows: Sequence[Window], warn: Callable[[str], None]
) -> dict[int, str]:
    """Return the texts that were recognised with confidence; written texts have none and pass."""
    confidences = {
        number: confidence
        for number in texts
        if (confidence := windows[number].confidence) is not None
    }
    if not confidences:
        return texts
    lengths = {number: windows[number].end - windows[number].start for number in confidences}
    total = sum(lengths.values()) or 1.0
    mean = sum(confidences[number] * lengths[number] for number in confidences) / total
    if mean < MIN_CONFIDENCE:
        warn(
            f"the words were not analysed: they were recognised with a mean confidence of {mean:.2f}, at "
            f"least {MIN_CONFIDENCE} is needed; check the language of the recording and its noise"
        )
        return {}
    unsure = {number for number, value in confidences.items() if value < MIN_CONFIDENCE}
    if unsure:
        warn(
            f"the words of {len(unsure)} of {len(confidences)} utterances were not analysed: they were "
            f"recognised with a confidence below {MIN_CONFIDENCE}"
        )
    return {number: text for number, text in texts.items() if number not in unsure}
