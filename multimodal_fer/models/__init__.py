"""The networks, by name. A config's `model` field is a key of `MODELS`; nothing is imported by string."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from multimodal_fer.errors import WeightsError
from multimodal_fer.models import fusion, hybrid, pretrained, published, recurrent, text, voice
from multimodal_fer.models.face import FaceConfig, FaceNetwork, SEResNet, SEResNetConfig
from multimodal_fer.models.output import Output

FACE_MODELS: dict[str, tuple[type[FaceNetwork], type[FaceConfig]]] = {
    "se-resnet": (SEResNet, SEResNetConfig),
    "article": (published.ArticleCNN, published.ArticleConfig),
    "arriaga-sequential": (published.ArriagaSequential, published.ArriagaConfig),
    "mini-xception": (published.MiniXception, published.MiniXceptionConfig),
    "vgg13": (published.VGG13, published.VGG13Config),
    "vgg19": (published.VGG19, published.CroppedConfig),
    "resnet18": (published.ResNet18, published.CroppedConfig),
    "hybrid": (hybrid.Hybrid, hybrid.HybridConfig),
    "deepface": (published.DeepFaceNet, published.DeepFaceConfig),
}

MODELS: dict[str, tuple[Any, Any]] = {
    **FACE_MODELS,
    "speech": (voice.SpeechNetwork, voice.SpeechConfig),
    "are": (voice.PublishedVoice, recurrent.VoiceConfig),
    "words": (text.WordNetwork, text.WordConfig),
    "tre": (recurrent.TRE, recurrent.TextConfig),
    "mdre": (recurrent.MDRE, recurrent.DualConfig),
    "mdrea": (recurrent.MDREA, recurrent.AttentionConfig),
    "pretrained-voice": (pretrained.PretrainedVoice, pretrained.PretrainedVoiceConfig),
    "pretrained-text": (pretrained.PretrainedText, pretrained.PretrainedTextConfig),
    "late-attention": (fusion.LateAttention, fusion.FusionConfig),
}

__all__ = ["FACE_MODELS", "MODELS", "FaceConfig", "FaceNetwork", "Output", "SEResNet", "build"]


def build(name: str, settings: Mapping[str, Any]) -> Any:
    """Make the untrained network `name`; every setting must be a field of its config.

    Raises `WeightsError` for an unknown network or setting.
    """
    if name not in MODELS:
        raise WeightsError(f"unknown model {name!r}; this version knows {sorted(MODELS)}")
    network, config = MODELS[name]
    unknown = sorted(set(settings) - {field.name for field in fields(config)})
    if unknown:
        raise WeightsError(f"model {name!r} has no setting {unknown}")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    try:
        return network(config(**values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"model {name!r} cannot be built from {values} ({error})") from None
