"""All networks by name: the field `model` of a config is a key of `MODELS`."""

import reprlib
from collections.abc import Mapping
from dataclasses import fields
from math import isfinite
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from multimodal_fer.errors import WeightsError
from multimodal_fer.face.network import FaceConfig, FaceNetwork, SEResNet, SEResNetConfig
from multimodal_fer.face.yunet import YuNet, YuNetConfig
from multimodal_fer.face.zoo import article, deepface, hybrid, mobilenet, vgg, xception
from multimodal_fer.fusion import late_attention
from multimodal_fer.fusion import recurrent as fusion_recurrent
from multimodal_fer.text import network as text_network
from multimodal_fer.text import pretrained as text_pretrained
from multimodal_fer.text import recurrent as text_recurrent
from multimodal_fer.text.sentences import encoder as sentence_encoder
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
    "mobilenet": (mobilenet.MobileNet, mobilenet.MobileNetConfig),
    "deepface": (deepface.DeepFaceNet, deepface.DeepFaceConfig),
}

MODELS: dict[str, tuple[Any, Any]] = {
    **FACE_MODELS,
    "yunet": (YuNet, YuNetConfig),
    "speech": (voice_network.SpeechNetwork, voice_network.SpeechConfig),
    "whisper-voice": (whisper_encoder.WhisperVoice, whisper_encoder.WhisperVoiceConfig),
    "are": (voice_recurrent.PublishedVoice, voice_recurrent.VoiceConfig),
    "words": (text_network.WordNetwork, text_network.WordConfig),
    "sentences": (sentence_encoder.SentenceEncoder, sentence_encoder.SentenceConfig),
    "tre": (text_recurrent.TRE, text_recurrent.TextConfig),
    "mdre": (fusion_recurrent.MDRE, fusion_recurrent.DualConfig),
    "mdrea": (fusion_recurrent.MDREA, fusion_recurrent.AttentionConfig),
    "pretrained-voice": (voice_pretrained.PretrainedVoice, voice_pretrained.PretrainedVoiceConfig),
    "pretrained-text": (text_pretrained.PretrainedText, text_pretrained.PretrainedTextConfig),
    "late-attention": (late_attention.LateAttention, late_attention.FusionConfig),
}

__all__ = ["FACE_MODELS", "MODELS", "build"]


def check_kinds(name: str, config: Any, settings: Mapping[str, Any]) -> None:
    """Raise `WeightsError` if a setting is not of the kind of its field, or if labels are no names."""
    kinds = get_type_hints(config)
    for key, value in settings.items():
        if not _is_of(value, kinds[key]):
            kind = getattr(kinds[key], "__name__", None) if not get_args(kinds[key]) else None
            raise WeightsError(
                f"model {name!r}: expected {key} as {kind or kinds[key]}, found {reprlib.repr(value)}; "
                "save the weights again"
            )
    own = {"labels": settings.get("labels", ("a",)), **settings.get("part_labels", {})}
    for key, labels in own.items():
        if not labels or not all(labels) or len(set(labels)) < len(labels):
            raise WeightsError(
                f"model {name!r}: expected different names as labels ({key}), found {reprlib.repr(labels)}; "
                "save the weights again"
            )


def _is_of(value: Any, kind: Any) -> bool:
    """Return true if a value from JSON fits the annotation of a field."""
    inner = get_args(kind)
    origin = get_origin(kind)
    if origin is tuple:
        several = isinstance(value, list | tuple)
        kinds = inner[:1] * len(value) if several and inner[-1] is ... else inner
        return several and len(kinds) == len(value) and all(map(_is_of, value, kinds))
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(
            _is_of(key, inner[0]) and _is_of(item, inner[1]) for key, item in value.items()
        )
    if origin in (Union, UnionType):
        return any(_is_of(value, each) for each in inner)
    if kind in (int, float):
        number = isinstance(value, int) or (kind is float and isinstance(value, float))
        return number and not isinstance(value, bool) and isfinite(value)
    return kind is Any or not isinstance(kind, type) or isinstance(value, kind)


def build(name: str, settings: Mapping[str, Any]) -> Any:
    """Return the untrained network `name`; every setting must be a field of its config.

    Raises `WeightsError` for an unknown network or setting.
    """
    if name not in MODELS:
        raise WeightsError(f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}")
    network, config = MODELS[name]
    unknown = sorted(set(settings) - {field.name for field in fields(config)})
    if unknown:
        raise WeightsError(
            f"model {name!r} has no setting {unknown}; the weights are of another version of this package"
        )
    check_kinds(name, config, settings)
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    try:
        return network(config(**values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"model {name!r} cannot be built from {values} ({error})") from None
