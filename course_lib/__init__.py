"""Make networks small: prune, distill and quantize plain PyTorch models.

The library is imported as ``import course_lib as cl``. Its verbs load when they are first used, so
importing it costs nothing and changes nothing: no environment variable, no hook, no other package
(``python -m course_lib doctor`` must run where every package is missing).
"""

from importlib import import_module

__version__ = "0.1.0"

# Where each verb lives. The same list, as an editor reads it, is in __init__.pyi.
_VERBS = {
    "distill": "distillation.loop",
    "evaluate": "evaluation.prediction",
    "fit": "training.loop",
    "footprint": "evaluation.size",
    "latency": "evaluation.timing",
    "load": "serialization",
    "make_permanent": "pruning.masks",
    "predict": "evaluation.prediction",
    "prune": "structured.selection",
    "prune_weights": "pruning.unstructured",
    "quantize": "quantization.int8",
    "remove": "structured.removal",
    "remove_layers": "structured.removal",
    "save": "serialization",
    "sparsity": "pruning.masks",
    "speed_up": "structured.latency_target",
}
__all__ = list(_VERBS)


def __getattr__(name):
    if name not in _VERBS:
        raise AttributeError(f"course_lib has no {name!r}; it has {', '.join(_VERBS)}.")
    globals()[name] = getattr(import_module(f"course_lib.{_VERBS[name]}"), name)
    return globals()[name]


def __dir__():
    return sorted({*globals(), *_VERBS})
