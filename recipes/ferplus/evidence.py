"""Write the scores of the facial network on labelled faces, clean and corrupted, for the fusion.

    python -m recipes.ferplus.evidence weights/face-ferplus-seresnet runs/ferplus.npz runs/evidence

Writes `face-{validation,test}.npz`: the images with a majority label in each condition. Contempt counts as
disgust, as in the default bundle.
"""

from pathlib import Path

import torch
from torch import Tensor

from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.hub.loading import load_model
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.labels import FER_PLUS, FER_PLUS_TO_OPEN7, OPEN7
from multimodal_fer.media.quality import face_quality
from multimodal_fer.training.evidence import EvidenceSet, log_scores_of
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import file_hash
from recipes.ferplus.corpus.votes import counted, majority_targets
from recipes.ferplus.learning.augmentation import Augmentation, augment
from recipes.ferplus.prepare import load_split

PARTS = {"valid": "validation", "test": "test"}  # a network is overconfident on its training split
CONDITIONS = {
    "clean": Augmentation(),
    "turned": Augmentation(flip=0.5, rotation=20, scale=0.12, shift=0.12),
    "blurred": Augmentation(blur=1.0, coarsest=4),
    "compressed": Augmentation(jpeg=1.0),
    "covered": Augmentation(erase=1.0),
    "dark and noisy": Augmentation(gamma=0.7, side_light=1.0, noise=1.0),
}
BATCH = 256


@torch.inference_mode()
def predict_scores(model: FaceNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return log scores (N, L) and the quality of the images (N,)."""
    scores = [
        log_scores_of(model(chunk), model.config.temperature) for chunk in images.split(BATCH)
    ]
    quality = [face_quality(image) for image in images.round().clamp(0, 255).byte().numpy()]
    return torch.cat(scores), torch.tensor(quality)


def main(name: str, archive: str, folder: str) -> None:
    """Write the evidence of every split in every condition."""
    weights = find_weights(name)
    model = load_model(weights)
    places = torch.tensor([OPEN7.index(FER_PLUS_TO_OPEN7[label]) for label in FER_PLUS])
    for split, part_name in PARTS.items():
        part = load_split(archive, split)
        targets = majority_targets(part.votes)
        usable = counted(targets)
        images = torch.from_numpy(part.images[usable])
        generator = torch.Generator().manual_seed(1)
        outputs = [
            predict_scores(model, augment(images, policy, generator))
            for policy in CONDITIONS.values()
        ]
        evidence = EvidenceSet(
            torch.stack([scores for scores, _ in outputs]),
            torch.stack([quality for _, quality in outputs]),
            places[torch.from_numpy(targets[usable].argmax(axis=1))],
            tuple(CONDITIONS),
            tuple(model.config.labels),
            file_hash(weights / "model.safetensors"),
            torch.arange(len(usable)),  # people are not known
        )
        evidence.save(Path(folder) / f"face-{part_name}.npz")
        print(f"{part_name}: {len(usable)} faces in {len(CONDITIONS)} conditions", flush=True)


if __name__ == "__main__":
    run_command(main, __doc__, 3)
