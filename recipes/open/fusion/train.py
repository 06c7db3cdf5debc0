"""Train late attention on evidence that is paired by label.

    python -m recipes.open.fusion.train recipes/open/fusion/fusion.toml evidence=runs/evidence run=runs/fusion

No corpus that may be redistributed has face, voice and words of the same moments with labels. A sample is
therefore a face, a voice and a text of three people with the same label: it teaches which evidence to trust,
not how the modalities of one person relate. To teach reliability, some evidence is corrupted, some has label
noise (is of another label), some is restrained (is neutral although the label is another) and some is
missing. The shares are assumptions, and results are given with and without them.

Training uses the `validation` evidence, on which the parts were not trained (their scores are overconfident
on training data). A third of its people is left out to choose the epoch and fit the temperatures. Batches
have several priors, which the network is told, so that it does not depend on one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from multimodal_fer.fusion.late_attention import Evidence, drop_modalities, label_frequencies
from multimodal_fer.labels import MODALITIES, NEUTRAL, OPEN7
from multimodal_fer.models import build
from multimodal_fer.training.distributed import Workers, seed_everything
from multimodal_fer.training.evidence import EvidenceSet
from multimodal_fer.training.run import Run, decayed_apart

HELD_OUT = 3  # every third person of the validation evidence is left out of training
DEFAULT_PRIOR = (0.4, 0.14, 0.1, 0.1, 0.1, 0.08, 0.08)
EQUAL_PRIOR = (1 / 7,) * 7
NEUTRAL_PRIOR = (0.7,) + (0.05,) * 6  # most of what people say in a test is neutral


@dataclass(frozen=True)
class FusionTrainConfig:
    """Settings of a fusion training."""

    evidence: str = "runs/evidence"
    run: str = "runs/fusion"
    prior: tuple[float, ...] = DEFAULT_PRIOR  # shares of the labels of open7 that `analyze` expects
    corrupted: float = 0.5  # share of the evidence in a random condition instead of the clean one
    label_noise: float = 0.05  # share of the evidence that is of a random label
    restraint: tuple[float, ...] = (0.3, 0.3, 0.5)  # share that is neutral: face, voice, text
    missing: float = 0.3  # share of the modalities that are left out
    epochs: int = 4
    steps: int = 200  # batches of an epoch
    batch: int = 256
    learning_rate: float = 1e-2
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
    log_prior: Tensor  # (B, K), of the labels


class Pairing:
    """A source of random samples: evidence of each modality for a label."""

    def __init__(self, sets: dict[str, EvidenceSet], picks: dict[str, Tensor]) -> None:
        self.sets = sets
        self.of_label = {
            name: [picks[name][held.labels[picks[name]] == label] for label in range(len(OPEN7))]
            for name, held in sets.items()
        }

    def draw(
        self,
        count: int,
        prior: Sequence[float],
        config: FusionTrainConfig,
        generator: torch.Generator,
    ) -> Paired:
        """Return random samples whose labels have the shares `prior`."""
        prior_K = torch.tensor(prior)
        labels_B = torch.multinomial(prior_K, count, replacement=True, generator=generator)

        def chance(share: float) -> Tensor:
            return torch.rand(count, generator=generator) < share

        evidence = {}
        for (name, held), restraint in zip(self.sets.items(), config.restraint, strict=True):
            shown_B = labels_B.masked_fill(chance(restraint), OPEN7.index(NEUTRAL))
            others_B = torch.randint(len(OPEN7), (count,), generator=generator)
            shown_B = torch.where(chance(config.label_noise), others_B, shown_B)
            conditions_B = torch.randint(len(held.conditions), (count,), generator=generator)
            conditions_B = conditions_B.masked_fill(~chance(config.corrupted), 0)
            evidence[name] = held.rows(self.pick(name, shown_B, generator), conditions_B)
        present_BM = torch.ones(count, len(self.sets))
        present_BM = drop_modalities(present_BM, config.missing, generator)
        return Paired(evidence, present_BM, labels_B, prior_K.log().expand(count, -1))

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
            "part_labels": {name: held.part_labels for name, held in sets.items()},
            "frequencies": {
                name: label_frequencies(held.log_scores[0], held.part_labels, OPEN7)
                for name, held in sets.items()
            },
            "prior": config.prior,
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
        priors = (config.prior, EQUAL_PRIOR, NEUTRAL_PRIOR)
        for step in range(config.steps):
            prior = priors[step % len(priors)]
            loss = self.loss(self.model, self.training.draw(config.batch, prior, config, generator))
            self.update(loss)
            total += loss.item()
        return total / config.steps

    def loss(self, model: nn.Module, batch: Paired) -> Tensor:
        """Return the cross-entropy of the fused prediction."""
        device = self.group.device
        evidence = {
            name: Evidence(*(part.to(device) for part in both))
            for name, both in batch.evidence.items()
        }
        fused = model(evidence, batch.present.to(device), batch.log_prior.to(device))
        return functional.cross_entropy(fused.logits, batch.labels.to(device))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        self.result.eval()
        generator = torch.Generator().manual_seed(0)
        batch = self.validation.draw(8192, self.config.prior, self.config, generator)
        logits = self.result(batch.evidence, batch.present).logits
        right = (logits.argmax(1) == batch.labels).float().mean().item()
        return {"valid_accuracy": right, "valid_loss": self.loss(self.result, batch).item()}


train = FusionRun.train

if __name__ == "__main__":
    FusionRun.command(FusionTrainConfig, __doc__)
