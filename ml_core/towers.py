"""open_clip's module of a checked config: its own encoders, timm's and those of transformers.

Nothing is fetched: timm makes an encoder by its name without weights, and transformers gets its
config as a local file that was written here.
"""

from __future__ import annotations

import copy
import json
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from ml_core.children import collector_off
from ml_core.reading.clip_config import HF_CONFIG, MAX_PARAMETERS, is_hf, is_timm
from ml_core.reading.errors import InputError

_GELU = ("GELU", "GELUTanh", "PytorchGELUTanh")
_RANDOM = (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_)
_Watch = Callable[[nn.Parameter], nn.Parameter | None]


def make_module(config: Mapping[str, Any]) -> nn.Module:
    """A module with random values from torch's generator.

    Raises
    ------
    InputError
        ``unsupported`` if a library that is needed does not know the model or is not installed.
    """
    # Searching for garbage would take a fifth of the import.
    with warnings.catch_warnings(), collector_off(for_good=False):
        warnings.simplefilter("ignore")
        from ml_core.last_layer import spare_last_layer
        from ml_core.open_clip_parts import CLIP, CoCa, CustomTextCLIP
    arguments = copy.deepcopy(dict(config))
    custom = arguments.pop("custom_text", False)
    _check_timm(arguments)
    kind = CoCa if "multimodal_cfg" in arguments else CustomTextCLIP if custom else CLIP
    with ExitStack() as stack:
        if is_hf(config):
            stack.enter_context(_hf_folder(arguments["text_cfg"]))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        module: nn.Module = kind(**arguments)
    activation = config["vision_cfg"].get("act_kwargs")
    if is_timm(config) and activation is not None:
        _set_gelu(module.get_submodule("visual"), str(activation.get("approximate", "none")))
    spare_last_layer(module)
    return module


def make_empty(config: Mapping[str, Any], most: int = MAX_PARAMETERS) -> nn.Module:
    """A module whose parameters have shapes and no values; buffers that no file holds have both.

    Parameters
    ----------
    most
        Numbers that may be allocated where a library computes with its parameters as it makes
        them, so that they must have values.

    Raises
    ------
    InputError
        As `make_module`, or if it would be larger.
    """
    try:
        with _watched(_without_values):
            module = make_module(config)
        if not any(buffer.is_meta for buffer in module.buffers()):
            return module
    except InputError:
        raise
    except (RuntimeError, NotImplementedError):  # it computes with parameters, see timm's hybrids
        pass
    with _watched(_Budget(most).spend), _NoRandomValues():
        return make_module(config)


def shapes_of(config: Mapping[str, Any], most: int = MAX_PARAMETERS) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the state dict; raises as `make_empty`."""
    module = make_empty(config, most)
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


class _Budget:
    """Counts what is allocated."""

    def __init__(self, most: int) -> None:
        self._left = most

    def spend(self, parameter: nn.Parameter) -> None:
        self._left -= parameter.numel()
        if self._left < 0:
            raise InputError(
                "The config asks for a model much larger than what the file holds; get both again.",
                "damaged",
            )


class _NoRandomValues(TorchFunctionMode):
    """Leaves new parameters as they are: drawing values that are replaced takes seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _RANDOM:
            return args[0]
        return func(*args, **(kwargs or {}))


def _without_values(parameter: nn.Parameter) -> nn.Parameter | None:
    """The parameter on torch's device without memory; None if it is there already."""
    if parameter.is_meta:
        return None
    return nn.Parameter(parameter.to("meta"), parameter.requires_grad)


@contextmanager
def _watched(watch: _Watch) -> Iterator[None]:
    """See each parameter that this thread's modules get, before it is given values."""
    own = threading.get_ident()

    def hook(module: nn.Module, name: str, parameter: Tensor | None) -> nn.Parameter | None:
        if threading.get_ident() != own or not isinstance(parameter, nn.Parameter):
            return None
        return watch(parameter)

    # torch's own type says that a hook returns nothing; its documentation says what it does.
    handle = register_module_parameter_registration_hook(hook)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


def _check_timm(config: Mapping[str, Any]) -> None:
    """Refuse a name that timm does not have, in a sentence."""
    if not is_timm(config):
        return
    import timm

    name = config["vision_cfg"]["timm_model_name"]
    if not timm.is_model(name):
        raise InputError(
            f"The config asks for the image encoder {name[:80]}, which timm {timm.__version__} "
            "does not have; a newer timm may (pip install -U timm).",
            "unsupported",
        )


@contextmanager
def _hf_folder(text: dict[str, Any]) -> Iterator[None]:
    """Let open_clip find the text encoder's config in a folder that holds it alone."""
    config = text.pop(HF_CONFIG, None)
    if config is None:
        raise InputError(
            f"The config asks for the text encoder {text['hf_model_name'][:80]} without its sizes; "
            "put its config.json beside the weights.",
            "unsupported",
        )
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise InputError(
            "The text encoder needs the transformers library: pip install "
            "'cleanclip-gui[transformers]'.",
            "unsupported",
        ) from None
    extra = {"num_decoder_layers": 1} if config["model_type"] == "mt5" else {}
    if config["model_type"] == "m2m_100":
        extra = {"decoder_layers": 1, "decoder_ffn_dim": 8, "decoder_attention_heads": 1}
    with tempfile.TemporaryDirectory(prefix="cleanclip-") as folder:
        Path(folder, "config.json").write_text(json.dumps(config | extra))
        text["hf_model_name"] = folder
        yield


def _set_gelu(part: nn.Module, approximate: str) -> None:
    """Compute GELU exactly or by its tanh approximation in all layers of an encoder."""
    for module in list(part.modules()):
        for name, child in module.named_children():
            if type(child).__name__ in _GELU:
                setattr(module, name, nn.GELU(approximate))
