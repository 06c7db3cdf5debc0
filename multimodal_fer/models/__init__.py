"""All networks by name: the field `model` of a config is a key of `MODELS`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from multimodal_fer.errors import WeightsError
from multimodal_fer.face.network import FaceConfig, FaceNetwork, SEResNet, SEResNetConfig
from multimodal_fer.face.yunet import YuNet, YuNetConfig
from multimodal_fer.face.zoo import article, deepface, hybrid, vgg, xception
from multimodal_fer.fusion import late_attention
from multimodal_fer.fusion import recurrent as fusion_recurrent
from multimodal_fer.text import network as text_network
from multimodal_fer.text import pretrained as text_pretrained
from multimodal_fer.text import recurrent as text_recurrent
from multimodal_fer.voice import network as voice_network
from multimodal_fer.voice import pretrained as voice_pretrained
from multimodal_fer.voice import recurrent as voice_recurrent
from multimodal_fer.voice import whisper_encoder

FACE_MODELS: dict[str, tuple[type[FaceNetwork], type[FaceConfig]]] = {
    "se-resnet": (SEResNet, SEResNetConfig),
    "article": (article.ArticleCNN, article.ArticleConfig),
    "arriaga-sequential": (xception.ArriagaSequential, xception.ArriagaConfig),
    "mini-xception": (xception.MiniXception, xception.MiniXceptionConfig),
    "vgg13": (vgg.VGG13, vgg.VGG13Config),
    "vgg19": (vgg.VGG19, vgg.CroppedConfig),
    "resnet18": (vgg.ResNet18, vgg.CroppedConfig),
    "hybrid": (hybrid.Hybrid, hybrid.HybridConfig),
    "deepface": (deepface.DeepFaceNet, deepface.DeepFaceConfig),
}

MODELS: dict[str, tuple[Any, Any]] = {
    **FACE_MODELS,
    "yunet": (YuNet, YuNetConfig),
    "speech": (voice_network.SpeechNetwork, voice_network.SpeechConfig),
    "whisper-voice": (whisper_encoder.WhisperVoice, whisper_encoder.WhisperVoiceConfig),
    "are": (voice_recurrent.PublishedVoice, voice_recurrent.VoiceConfig),
    "words": (text_network.WordNetwork, text_network.WordConfig),
    "tre": (text_recurrent.TRE, text_recurrent.TextConfig),
    "mdre": (fusion_recurrent.MDRE, fusion_recurrent.DualConfig),
    "mdrea": (fusion_recurrent.MDREA, fusion_recurrent.AttentionConfig),
    "pretrained-voice": (voice_pretrained.PretrainedVoice, voice_pretrained.PretrainedVoiceConfig),
    "pretrained-text": (text_pretrained.PretrainedText, text_pretrained.PretrainedTextConfig),
    "late-attention": (late_attention.LateAttention, late_attention.FusionConfig),
}

__all__ = ["FACE_MODELS", "MODELS", "build"]


def build(name: str, settings: Mapping[str, Any]) -> Any:
    """Return the untrained network `name`; every setting must be a field of its config.

    Raises `WeightsError` for an unknown network or setting.
    """
    if name not in MODELS:
        raise WeightsError(f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}")
    network, config = MODELS[name]
    unknown = sorted(set(settings) - {field.name for field in fields(config)})
    if unknown:
        raise WeightsError(f"model {name!r} has no setting {unknown}; remove it from the config")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    try:
        return network(config(**values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"model {name!r} cannot be built from {values} ({error})") from None
