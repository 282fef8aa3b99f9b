"""Load the pruned transformer in this folder. Needs torch, transformers and safetensors, nothing else.

    from load_pruned import load
    model = load()

Read it before you run it, as any program. `course_lib.load` reads the same folder without it.
"""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from transformers.pytorch_utils import Conv1D


def load(folder=None):
    """The model, in eval mode, with the widths that its tensors have."""
    folder = Path(folder or __file__).resolve()
    folder = folder if folder.is_dir() else folder.parent
    note = json.loads((folder / "compressed.json").read_text("utf-8"))
    if note["embedding_rank"]:
        raise ValueError("Its embeddings are factored: only course_lib.load can build them.")
    kind = getattr(transformers, note["model"])
    model = kind(kind.config_class.from_pretrained(folder))
    for name, tensor in load_file(folder / "model.safetensors").items():
        place, _, kind = name.rpartition(".")
        module = model.get_submodule(place)
        old = getattr(module, kind)
        new = torch.nn.Parameter(tensor) if isinstance(old, torch.nn.Parameter) else tensor
        setattr(module, kind, new)
        if isinstance(module, torch.nn.Linear) and kind == "weight":
            module.out_features, module.in_features = tensor.shape
        elif isinstance(module, Conv1D) and kind == "weight":
            module.nx, module.nf = tensor.shape
        elif isinstance(module, torch.nn.Embedding):
            module.num_embeddings, module.embedding_dim = tensor.shape
    for place, name, number in note["counts"]:  # such as the heads of a layer
        setattr(model.get_submodule(place), name, number)
    model.tie_weights()
    return model.eval()
