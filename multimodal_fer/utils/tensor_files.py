"""Read safetensors files strictly: no tensor is read before its name and shape are known to be right."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from multimodal_fer.errors import WeightsError

MOST_TENSORS = 20_000


def package_weights() -> Path:
    """Return the folder of the weights that come with the package."""
    package = Path(__file__).parent.parent
    # In a wheel the weights are inside the package, in a checkout beside it.
    inside = package / "weights"
    return inside if inside.is_dir() else package.parent / "weights"


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each tensor of a safetensors file without reading a tensor.

    Raises `WeightsError` if the header does not match the file.
    """
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            if len(names) > MOST_TENSORS:
                raise SafetensorError(f"{len(names):,} tensors, at most {MOST_TENSORS:,} are read")
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: is not a complete safetensors file ({error}); save the weights again"
        ) from None


def check_shapes(path: Path, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `WeightsError` if the file has other tensors than expected."""
    found = tensor_shapes(path)
    differing = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
    if differing:
        first = differing[0]
        raise WeightsError(
            f"{path}: does not fit its config.json ({len(differing)} tensors, such as {first}: "
            f"expected {_in_words(expected.get(first))}, found {_in_words(found.get(first))}); "
            "copy the folder again"
        )


def load_into(
    network: Any,
    path: Path,
    restore: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
) -> Any:
    """Load a file of the network's own tensors, in single precision; return the network in eval mode.

    `restore` turns the tensors of the file into those of the network, if they are stored otherwise.
    Raises `WeightsError` if the file does not fit, or a value is NaN or infinite.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
        if restore is not None:
            tensors = restore(tensors)
        network.load_state_dict({key: value.float() for key, value in tensors.items()})
    except (SafetensorError, RuntimeError, OSError) as error:
        raise WeightsError(f"{path}: does not fit its config.json ({error})") from None
    broken = [key for key, value in network.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise WeightsError(
            f"{path}: {broken[0]} holds NaN or infinity; train or save the weights again"
        )
    return network.eval()


def _in_words(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else " x ".join(f"{size:,}" for size in shape) or "one number"
