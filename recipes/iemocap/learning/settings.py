"""Settings of commands as `name=value` words of the command line."""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from multimodal_fer.errors import ConfigError

Settings = TypeVar("Settings")
SWITCHES = {"1": True, "true": True, "0": False, "false": False}


def read_settings(kind: type[Settings], words: Sequence[str]) -> Settings:
    """Make the dataclass `kind` from words, each read as its field's default is.

    A field whose default is a tuple takes texts parted by commas. Words with another name go into the field
    `rest`, where there is one, as settings of something else; otherwise they raise `ConfigError`.
    """
    known: dict[str, Any] = {
        field.name: field.default_factory() if field.default is MISSING else field.default  # type: ignore[misc]
        for field in fields(kind)  # type: ignore[arg-type]
    }
    values: dict[str, Any] = {}
    rest: list[str] = []
    for word in words:
        name, separator, text = word.partition("=")
        if separator and name in known:
            values[name] = _read(name, text, known[name])
        elif separator and "rest" in known:
            rest.append(word)
        else:
            names = ", ".join(f"{name}=..." for name in known)
            raise ConfigError(f"unknown setting {word!r}; known: {names}")
    return kind(**values, **({"rest": tuple(rest)} if rest else {}))


def _read(name: str, text: str, usual: Any) -> Any:
    if isinstance(usual, bool):
        if text.lower() not in SWITCHES:
            raise ConfigError(f"{name}: expected 1 or 0, found {text!r}")
        return SWITCHES[text.lower()]
    if isinstance(usual, int):
        if not text.isdecimal():
            raise ConfigError(f"{name}: expected a number, found {text!r}")
        return int(text)
    if isinstance(usual, tuple):
        return tuple(part for part in text.split(",") if part)
    return text


def split_words(words: Sequence[str], **defaults: str) -> tuple[dict[str, str], list[str]]:
    """Words of the command line that are about this sitting only, and the settings."""
    values, rest = dict(defaults), []
    for word in words:
        name, separator, text = word.partition("=")
        if separator and name in values:
            values[name] = text
        else:
            rest.append(word)
    return values, rest
