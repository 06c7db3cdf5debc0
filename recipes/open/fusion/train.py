"""Train late attention on evidence that is paired by label.

    python -m recipes.open.fusion.train recipes/open/fusion/fusion.toml evidence=runs/evidence run=runs/fusion

No corpus that may be redistributed has face, voice and words of the same moments with labels. A sample is
therefore a face, a voice and a text of three people with the same label: it teaches which evidence to trust,
not how the modalities of one person relate. To teach reliability, some evidence is corrupted, some has label
noise (is of another label) and some is missing.

Training uses the `validation` evidence, on which the parts were not trained (their scores are overconfident
on training data). A third of its people is left out to choose the epoch and fit the temperature.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from multimodal_fer.fusion.late_attention import Evidence, drop_modalities, fusion_loss
from multimodal_fer.labels import MODALITIES, OPEN7
from multimodal_fer.models import build
from multimodal_fer.training.distributed import Workers, seed_everything
from multimodal_fer.training.evidence import EvidenceSet
from multimodal_fer.training.run import Run, decayed_apart

HELD_OUT = 3  # every third person of the validation evidence is left out of training


@dataclass(frozen=True)
class FusionTrainConfig:
    """Settings of a fusion training."""

    evidence: str = "runs/evidence"
    run: str = "runs/fusion"
    scores_only: tuple[str, ...] = ()  # modalities of which only the scores are read
    width: int = 64
    dropout: float = 0.1
    prior: tuple[float, ...] = (
        0.3,
        0.2,
        0.1,
        0.15,
        0.1,
        0.075,
        0.075,
    )  # shares of the labels of open7
    corrupted: float = 0.5  # share of the evidence in a random condition instead of the clean one
    label_noise: float = 0.1  # share of the evidence that is of a random label
    missing: float = 0.3  # share of the modalities that are left out
    own_loss: float = 0.3  # weight of each modality's own head
    epochs: int = 30
    steps: int = 200  # batches of an epoch
    batch: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    average_decay: float = 0.99
    keep: str = "best"
    patience: int = 0
    seed: int = 1
    device: str = "auto"


@dataclass(frozen=True, eq=False)
class Paired:
    """A batch of samples paired by label."""

    evidence: dict[str, Evidence]
    present: Tensor  # (B, M)
    labels: Tensor  # (B,)


class Pairing:
    """A source of random samples: evidence of each modality for a label."""

    def __init__(self, sets: dict[str, EvidenceSet], picks: dict[str, Tensor]) -> None:
        self.sets = sets
        self.of_label = {
            name: [picks[name][held.labels[picks[name]] == label] for label in range(len(OPEN7))]
            for name, held in sets.items()
        }

    def draw(self, labels_B: Tensor, config: Any, generator: torch.Generator) -> Paired:
        """Return one sample for each label."""
        evidence = {}
        for name, held in self.sets.items():
            noisy_B = torch.rand(len(labels_B), generator=generator) < config.label_noise
            others_B = torch.randint(len(OPEN7), labels_B.shape, generator=generator)
            corrupted_B = torch.rand(len(labels_B), generator=generator) < config.corrupted
            conditions_B = torch.randint(len(held.conditions), labels_B.shape, generator=generator)
            picks_B = self.pick(name, torch.where(noisy_B, others_B, labels_B), generator)
            evidence[name] = held.rows(picks_B, torch.where(corrupted_B, conditions_B, 0))
        present_BM = torch.ones(len(labels_B), len(self.sets))
        present_BM = drop_modalities(present_BM, config.missing, generator)
        return Paired(evidence, present_BM, labels_B)

    def pick(self, name: str, labels_B: Tensor, generator: torch.Generator) -> Tensor:
        """Return a random row for each label, of any label if the modality has none of it."""
        chance_B = torch.rand(len(labels_B), generator=generator)
        everything = torch.cat(self.of_label[name])
        picks_B = everything[(chance_B * len(everything)).long()]
        for label, numbers in enumerate(self.of_label[name]):
            rows = (labels_B == label).nonzero().squeeze(1)
            if len(numbers) and len(rows):
                picks_B[rows] = numbers[(chance_B[rows] * len(numbers)).long()]
        return picks_B


def load_sets(folder: str, part: str) -> dict[str, EvidenceSet]:
    """Load the evidence of every modality, in the order of `MODALITIES`."""
    paths = {name: Path(folder) / f"{name}-{part}.npz" for name in MODALITIES}
    return {name: EvidenceSet.load(path) for name, path in paths.items()}


def draw_labels(count: int, prior: tuple[float, ...], generator: torch.Generator) -> Tensor:
    return torch.multinomial(torch.tensor(prior), count, replacement=True, generator=generator)


def split_evidence(sets: dict[str, EvidenceSet]) -> tuple[Pairing, Pairing]:
    """Split the evidence by person into training and validation."""
    training = {name: (held.people % HELD_OUT != 0).nonzero()[:, 0] for name, held in sets.items()}
    validation = {
        name: (held.people % HELD_OUT == 0).nonzero()[:, 0] for name, held in sets.items()
    }
    return Pairing(sets, training), Pairing(sets, validation)


class FusionRun(Run):
    """The training of late attention."""

    def __init__(self, config: FusionTrainConfig, group: Workers) -> None:
        super().__init__(config, group)
        seed_everything(config.seed)
        sets = load_sets(config.evidence, "validation")
        self.training, self.validation = split_evidence(sets)
        self.about["parts"] = {name: held.digest for name, held in sets.items()}
        self.about["settings"] = {
            "labels": OPEN7,
            "embeddings": {name: held.embeddings.shape[2] for name, held in sets.items()},
            "part_labels": {name: held.part_labels for name, held in sets.items()},
            "scores_only": config.scores_only,
            "width": config.width,
            "dropout": config.dropout,
        }
        self.model = build("late-attention", self.about["settings"]).to(group.device)
        self.average = self.averaged(self.model)
        self.optimizer = AdamW(decayed_apart(self.model, config.weight_decay), config.learning_rate)
        self.schedule = OneCycleLR(
            self.optimizer, config.learning_rate, total_steps=config.steps * config.epochs
        )

    def train_epoch(self) -> float:
        config, generator = self.config, self.seed_epoch()
        self.model.train()
        total = 0.0
        for _ in range(config.steps):
            labels_B = draw_labels(config.batch, config.prior, generator)
            loss = self.loss(self.training.draw(labels_B, config, generator))
            self.update(loss)
            total += loss.item()
        return total / config.steps

    def loss(self, batch: Paired) -> Tensor:
        """Return the cross-entropy of the fused prediction and of each present modality's own head."""
        device = self.group.device
        evidence = {
            name: Evidence(*(part.to(device) for part in both))
            for name, both in batch.evidence.items()
        }
        present_BM, labels_B = batch.present.to(device), batch.labels.to(device)
        fused = self.model(evidence, present_BM)
        return fusion_loss(fused, present_BM, labels_B, self.config.own_loss)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        self.result.eval()
        generator = torch.Generator().manual_seed(0)
        labels_B = draw_labels(8192, self.config.prior, generator)
        batch = self.validation.draw(labels_B, self.config, generator)
        logits = self.result(batch.evidence, batch.present).logits
        right = (logits.argmax(1) == labels_B).float().mean().item()
        loss = nn.functional.cross_entropy(logits, labels_B).item()
        return {"valid_accuracy": right, "valid_loss": loss}


train = FusionRun.train

if __name__ == "__main__":
    FusionRun.command(FusionTrainConfig, __doc__)
