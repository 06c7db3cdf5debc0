"""Determine the shapes of a network's tensors before any memory is allocated for them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from multimodal_fer.errors import WeightsError
from multimodal_fer.layers.pretrained import PretrainedEncoder
from multimodal_fer.models import MODELS, build

MOST_CALLS = 20_000  # of torch while a network is made; the largest one here needs under 1,000


class _ShapesOnly(TorchFunctionMode):
    """Skip the initialisation of tensors, and stop if settings ask for too many layers."""

    calls = 0

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        self.calls += 1
        if self.calls > MOST_CALLS:
            raise WeightsError("its settings ask for more layers than any network here has")
        name = getattr(func, "__name__", "")
        # Tensors without content need no initialisation, for which torch takes seconds to prepare.
        if "out" in kwargs:
            return kwargs["out"]
        if name.endswith("_") and not name.endswith("__"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def tensor_shapes_of(name: str, settings: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """Return name and shape of every tensor of the network `name` with these settings.

    Return None for encoders by `transformers`, whose size depends on a folder. Raises `WeightsError` if
    the network cannot be built.
    """
    if name in MODELS and issubclass(MODELS[name][0], PretrainedEncoder):
        return None
    try:
        # Torch's initialisers switch gradients off and on again; an error amid one must not leave them off.
        with torch.set_grad_enabled(torch.is_grad_enabled()), torch.device("meta"), _ShapesOnly():
            model = build(name, settings)
    except (LookupError, ArithmeticError, AttributeError, AssertionError) as error:
        raise WeightsError(f"model {name!r} cannot be built from its settings ({error})") from None
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}
