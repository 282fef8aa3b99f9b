"""Classify texts with the model in this folder: python run.py "A great film." "What a bore."

Needs onnxruntime, tokenizers and numpy, and no PyTorch. The course copies this file into each folder
that `save_onnx_folder` writes. A model that computes for more than 30 seconds is ended. For a model
from a stranger take onnxruntime 1.24 or newer: older ones read whatever file the model names.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Timer
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime reports its use to its maker

import numpy as np
from onnxruntime import InferenceSession, RunOptions, SessionOptions
from tokenizers import Tokenizer

MOST_BYTES = {"config.json": 2**20, "tokenizer.json": 2**26, "model.onnx": 2**31}
MOST_LABELS, MOST_TOKENS, MOST_CHARACTERS = 10_000, 8192, 100  # characters for each token


def load(
    folder: str | Path, threads: int = 1, seconds: float = 30
) -> Callable[[Sequence[str]], list[tuple[str, float]]]:
    """A function that takes texts and gives, for each of them, a label and its probability.

    Texts are cut to ``max_length`` tokens, as config.json says, and to 100 characters for each of
    these before. The function raises a TimeoutError when the model has run for `seconds` (default 30),
    and a ValueError, as `load` does, where the folder holds something else than such a model.
    """
    files = (_checked(Path(folder) / name) for name in MOST_BYTES)
    config_file, tokenizer_file, model_file = files
    labels, longest = _made(config_file, lambda: _config(json.loads(config_file.read_bytes())))
    tokenizer = _made(tokenizer_file, lambda: Tokenizer.from_file(str(tokenizer_file)))
    # The file may ask for padding to any length: pad to the longest text at hand instead.
    tokenizer.enable_padding(pad_id=(tokenizer.padding or {}).get("pad_id", 0))
    _made(tokenizer_file, lambda: tokenizer.enable_truncation(longest))
    options = SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # errors are raised, so do not print them, too
    # Processors without VNNI add products of int8 in 16 bits, which can saturate: not so.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = _made(model_file, lambda: InferenceSession(str(model_file), options))

    def run(ids: np.ndarray, mask: np.ndarray) -> Any:
        options = RunOptions()
        options.log_severity_level = 4
        timer = Timer(seconds, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return session.run(["logits"], {"input_ids": ids, "attention_mask": mask}, options)[0]
        except Exception:
            if options.terminate:
                raise TimeoutError(f"The model ran for {seconds} seconds and was ended.") from None
            raise
        finally:
            timer.cancel()

    def classify(texts: Sequence[str]) -> list[tuple[str, float]]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("Expected a list of texts, such as ['A great film.'].")
        if not texts:
            return []
        short = [text[: MOST_CHARACTERS * longest] for text in texts]
        clean = [text.encode("utf-8", "replace").decode() for text in short]  # a lone surrogate: ?
        rows = _made(tokenizer_file, lambda: tokenizer.encode_batch(clean))
        ids = np.array([row.ids for row in rows], dtype=np.int64)
        mask = np.array([row.attention_mask for row in rows], dtype=np.int64)
        logits = np.asarray(_made(model_file, lambda: run(ids, mask)))
        finite = logits.dtype.kind == "f" and np.isfinite(logits).all()
        if logits.shape != (len(texts), len(labels)) or not finite:
            raise ValueError("model.onnx must give a finite logit for each text and each label.")
        shares = np.exp(logits - logits.max(-1, keepdims=True))  # softmax
        shares /= shares.sum(-1, keepdims=True)
        return [(labels[row.argmax()], float(row.max())) for row in shares]

    return classify


def _config(config: Any) -> tuple[list[str], int]:
    """Labels and max_length; the caller says in which file a KeyError or TypeError came up."""
    labels, longest = config["labels"], config["max_length"]
    if not (isinstance(labels, list) and 0 < len(labels) <= MOST_LABELS):
        raise ValueError(f"labels must be a list of 1 to {MOST_LABELS:,} texts.")
    if not all(isinstance(label, str) and len(label) <= 200 for label in labels):
        raise ValueError("each label must be text of at most 200 characters.")
    if type(longest) is not int or not 0 < longest <= MOST_TOKENS:
        raise ValueError(f"max_length must be a number from 1 to {MOST_TOKENS:,}.")
    return labels, longest


def _checked(path: Path) -> Path:
    """The path of a plain file that is not too large; a pipe would be waited for without an end."""
    if not path.is_file():
        raise ValueError(f"There is no file {path.name} beside this program.")
    if path.stat().st_size > MOST_BYTES[path.name]:
        raise ValueError(f"{path.name} has more than the allowed {MOST_BYTES[path.name]:,} bytes.")
    return path


def _made(path: Path, make: Callable[[], Any]) -> Any:
    """What `make` returns; an error of any kind becomes a sentence that names the file."""
    try:
        return make()
    except (TimeoutError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of tokenizers is no Exception
        said = " ".join(str(error)[:200].split())
        raise ValueError(f"{path.name} cannot be used: {said}") from None


if __name__ == "__main__":
    given = sys.argv[1:]
    try:
        for text, (label, share) in zip(given, load(Path(__file__).parent)(given), strict=True):
            line = f"{label} {share:.3f} {text}"
            print("".join(c if c.isprintable() else "?" for c in line))  # nothing steers a terminal
    except (OSError, TypeError, ValueError) as error:
        sys.exit(str(error))
    if not given:
        print(__doc__)
