"""Configuration of a training: a dataclass, a flat TOML file, `key=value` overrides."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from multimodal_fer.errors import ConfigError
from multimodal_fer.utils.files import write_json

Config = TypeVar("Config")

RENAMED = {"wear": "augmentation", "worn": "corrupted", "foreign": "label_noise"}  # old name → name


def load_config(config: type[Config], path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a flat TOML file into the dataclass `config`, then apply `key=value` overrides.

    Raises `ConfigError` for an unknown or renamed key and for a value of the wrong type, so that a typo
    does not train for an hour with the default.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from None
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ConfigError(f"override {override!r}: expected key=value")
        values[key] = _parse_value(text)
    kinds = {
        field.name: dict
        if field.default is MISSING
        else type(field.default)  # tables use a factory
        for field in fields(config)  # type: ignore[arg-type]
    }
    for key, value in values.items():
        if key not in kinds:
            if RENAMED.get(key) in kinds:
                raise ConfigError(
                    f"{path}: the key {key!r} is now called {RENAMED[key]!r}; rename it"
                )
            raise ConfigError(f"{path}: unknown key {key!r}; known: {sorted(kinds)}")
        values[key] = _checked(path, key, value, kinds[key])
    return config(**values)


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # an unquoted word, as in device=cuda


def _checked(path: Path, key: str, value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if type(value) is not kind:
        found = f"{value!r} ({type(value).__name__})"
        raise ConfigError(f"{path}: {key} must be {kind.__name__}, found {found}")
    return value


def current_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored record (of a run, weights or a result) with renamed keys under their new names."""
    return {RENAMED.get(key, key): value for key, value in record.items()}


def save_config(config: Any, path: str | Path) -> None:
    """Write a resolved configuration, defaults included."""
    write_json(path, asdict(config))
