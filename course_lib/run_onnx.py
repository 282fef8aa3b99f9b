"""Classify texts with the model in this folder: python run.py "A great film." "What a bore."

Needs onnxruntime, tokenizers and numpy, and no PyTorch. The course copies this file into each folder
that `save_onnx_folder` writes.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession, SessionOptions
from tokenizers import Tokenizer


def load(folder: Path, threads: int = 1) -> Callable[[Sequence[str]], list[tuple[str, float]]]:
    """A function that takes texts and gives, for each of them, a label and its probability."""
    labels = json.loads((folder / "config.json").read_text("utf-8"))["labels"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))  # also cuts and pads
    options = SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Processors without VNNI add products of int8 in 16 bits, which can overflow: not so.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = InferenceSession(str(folder / "model.onnx"), options)

    def classify(texts: Sequence[str]) -> list[tuple[str, float]]:
        if not texts:
            return []
        rows = tokenizer.encode_batch(list(texts))
        ids = np.array([row.ids for row in rows], dtype=np.int64)
        mask = np.array([row.attention_mask for row in rows], dtype=np.int64)
        (logits,) = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
        shares = np.exp(logits - logits.max(-1, keepdims=True))  # softmax
        shares /= shares.sum(-1, keepdims=True)
        return [(labels[row.argmax()], float(row.max())) for row in shares]

    return classify


if __name__ == "__main__":
    given = sys.argv[1:]
    for text, (label, share) in zip(given, load(Path(__file__).parent)(given), strict=True):
        print(f"{label} {share:.3f} {text}")
    if not given:
        print(__doc__)
