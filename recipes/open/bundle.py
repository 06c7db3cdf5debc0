"""Write the default bundle, which pins each trained part by its hash.

python -m recipes.open.bundle
"""

from pathlib import Path

from multimodal_fer.hub import loading
from multimodal_fer.labels import OPEN7

WEIGHTS = Path(__file__).parent.parent.parent / "weights"
PARTS = {
    "face": "face-ferplus-seresnet",
    "voice": "voice-open7-whisper",
    "text": "text-open7-minilm",
    "fusion": "fusion-open7",
}
UNSURE_BELOW = 0.5  # a calibrated score below this is more likely wrong than right


def main() -> None:
    """Write `weights/open7/config.json` from the parts in `weights`."""
    parts = {modality: WEIGHTS / name for modality, name in PARTS.items()}
    loading.save_bundle(WEIGHTS / loading.DEFAULT_BUNDLE, OPEN7, UNSURE_BELOW, parts)
    print(f"written: {loading.load_bundle(WEIGHTS / loading.DEFAULT_BUNDLE).version}")


if __name__ == "__main__":
    main()
