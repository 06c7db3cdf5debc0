"""What others report on IEMOCAP, with the protocol that each figure is of: those of two never compare.

Random folds have the speakers and the script lines of the test turns in training. Rows that are `recalled`
have not been seen in their source by whoever wrote this: look them up before they are printed elsewhere.
"""

from typing import NamedTuple

RANDOM5 = "random 5 folds of turns"
SESSIONS5 = "5 folds by session"
SPEAKERS10 = "10 folds by speaker"


class Published(NamedTuple):
    """A figure of another system."""

    system: str
    modalities: tuple[str, ...]
    protocol: str
    figure: str  # four labels, where it does not say otherwise
    model: str = ""  # the same network here, if there is one
    recalled: bool = False


VOICE, TEXT = ("voice",), ("text",)
BOTH, ALL = ("voice", "text"), ("face", "voice", "text")

PUBLISHED = (
    Published("ARE (Yoon 2018)", VOICE, RANDOM5, "WAP 0.546", "are"),
    Published("TRE (Yoon 2018)", TEXT, RANDOM5, "WAP 0.635", "tre"),
    Published("MDRE (Yoon 2018)", BOTH, RANDOM5, "WAP 0.718", "mdre"),
    Published("MDREA (Yoon 2018)", BOTH, RANDOM5, "WAP 0.690", "mdrea", recalled=True),
    Published("WavLM large, frozen (SUPERB)", VOICE, SESSIONS5, "WA 0.706", recalled=True),
    Published("wav2vec 2.0 base, frozen (SUPERB)", VOICE, SESSIONS5, "WA 0.634", recalled=True),
    Published("FBANK (SUPERB)", VOICE, SESSIONS5, "WA 0.354", recalled=True),
    Published("wav2vec 2.0 or HuBERT, fine-tuned (Wang 2021)", VOICE, "speakers unheard", "WA 0.730"),
    Published("wav2vec 2.0 or HuBERT, fine-tuned (Wang 2021)", VOICE, "speakers heard", "WA 0.796"),
    Published("ECAPA-TDNN (SpeechBrain)", VOICE, "random 80/10/10", "WA 0.657"),
    Published("IAAN", VOICE, SESSIONS5, "WA 0.653, UA 0.671"),
    Published("IAAN and DED-CRF, with the dialog", VOICE, SESSIONS5, "WA 0.717, UA 0.732"),
    Published("DAG-ERC, with the dialog", TEXT, "test session 5, six labels", "weighted F1 0.679"),
    Published("MMIN and IF-MMIN, nothing missing", ALL, SPEAKERS10, "WA and UA 0.75 to 0.78", recalled=True),
    Published("Singh and Fang 2020", ("face", "voice"), "own split", "WA 0.540"),
)  # fmt: skip


def published_beside(model: str, modalities: tuple[str, ...]) -> list[Published]:
    """Figures of the same network; where there are none, those of the same modalities."""
    same = [row for row in PUBLISHED if row.model == model]
    return same or [row for row in PUBLISHED if row.modalities == modalities and not row.model]
