"""Fill-in cells and guesses: look at what a learner wrote, and let the lesson go on in any case."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Callable, Sequence
from typing import Any


def check(
    answer: Callable[..., Any],
    *,
    against: Callable[..., Any],
    examples: Sequence[tuple[Any, ...]],
) -> Callable[..., Any]:
    """Compare the learner's function with the library's on small examples; print what came out.

    Nothing raises: a lesson runs to its end with any answer. Use what comes back::

        mask_of = fill_in.check(mask_of, against=lessons_own, examples=[(weight, 0.5)])

    Args:
        answer: what the learner wrote. A body of ``...``, one that returns None, and one that raises
            NotImplementedError count as not written yet.
        against: the library's function, which takes the same arguments and gives the right results.
        examples: the arguments of each call, small enough to work out by hand. Each call gets its own
            copy of them.

    Returns:
        `answer` where every example comes out right, else `against`.

    Example:
        >>> def double(x):
        ...     return x + x
        >>> def square(x):
        ...     return x * x
        >>> check(double, against=lambda x: 2 * x, examples=[(2,), (3,)])(10)
        ✓ double: 2 of 2 examples are right.
        20
        >>> check(square, against=double, examples=[(2,), (3,)])(10)
        ✗ square: example 2 of 2 is wrong; the lesson goes on with the library's own function.
          square(3)
          returned: 9
          expected: 6
        20
    """
    if not examples:
        raise ValueError("examples is empty; give one or more tuples of arguments.")
    name = getattr(answer, "__name__", "your function")
    goes_on = "the lesson goes on with the library's own function."
    if answer is against:
        print(f"{name} is the library's own function: run the cell that defines yours first.")
        return against
    for number, arguments in enumerate(examples, start=1):
        expected = against(*copy.deepcopy(arguments))
        given = copy.deepcopy(arguments)
        try:
            came: Any = answer(*given)
        except NotImplementedError:
            came = None
        except Exception as error:
            came = error
        if (came is None or came is ...) and not (expected is None or expected is ...):
            print(f"{name}: not written yet; {goes_on}")
            return against
        if fault := _fault(came, expected, given, arguments):
            print(f"✗ {name}: example {number} of {len(examples)} is wrong; {goes_on}")
            print(textwrap.indent(f"{_call(name, arguments)}\n{fault}", "  "))
            return against
    right = (
        "1 example is" if len(examples) == 1 else f"{len(examples)} of {len(examples)} examples are"
    )
    print(f"✓ {name}: {right} right.")
    return answer


def reveal(measured: str, guess: Any = None) -> None:
    """Print what was measured, and before it the learner's guess, if there is one.

    Example:
        >>> reveal("half zeros: 0.98 × as fast")
        half zeros: 0.98 × as fast
        >>> reveal("half zeros: 0.98 × as fast", guess=2)
        You guessed 2. Measured: half zeros: 0.98 × as fast
    """
    print(measured if guess is None else f"You guessed {guess}. Measured: {measured}")


def _fault(came: Any, expected: Any, given: Any, arguments: Any) -> str:
    """What is wrong with one result, in words; "" where nothing is."""
    if isinstance(came, Exception):
        return f"stopped with {type(came).__name__}: {came}\n{_shown('expected', expected)}"
    if reason := _difference(came, expected):
        note = f"\n({reason})" if reason != "other value" else ""
        return f"{_shown('returned', came)}\n{_shown('expected', expected)}{note}"
    if _difference(given, arguments):
        return "returned the right result, but changed its argument: work on a copy (x.clone())"
    return ""


def _difference(came: Any, expected: Any) -> str:
    """How two results differ: in kind, shape, type or value; "" where they agree."""
    import torch

    if isinstance(expected, torch.Tensor):
        if not isinstance(came, torch.Tensor):
            return f"a {type(came).__name__}, expected a tensor"
        if came.shape != expected.shape:
            return f"shape {tuple(came.shape)}, expected {tuple(expected.shape)}"
        if came.dtype != expected.dtype:
            return f"type {came.dtype}, expected {expected.dtype}"
        same = torch.allclose(came.double(), expected.double(), 1e-5, 1e-7, equal_nan=True)
        return "" if same else "other value"
    if isinstance(expected, dict):
        if not isinstance(came, dict) or came.keys() != expected.keys():
            return f"expected a dict with the keys {list(expected)}"
        return next(filter(None, (_difference(came[key], expected[key]) for key in expected)), "")
    if isinstance(expected, list | tuple):
        if not isinstance(came, list | tuple) or len(came) != len(expected):
            return f"expected a {type(expected).__name__} with {len(expected)} entries"
        pairs = zip(came, expected, strict=True)
        return next(filter(None, (_difference(a, b) for a, b in pairs)), "")
    if isinstance(expected, float) and isinstance(came, float | int | torch.Tensor):
        if isinstance(came, torch.Tensor) and came.numel() != 1:
            return f"shape {tuple(came.shape)}, expected one number"
        return _difference(torch.tensor(float(came)), torch.tensor(expected))
    try:
        return "" if bool(came == expected) else "other value"
    except (RuntimeError, ValueError):  # an array, where one value was expected
        return f"a {type(came).__name__}, expected a {type(expected).__name__}"


def _call(name: str, arguments: tuple[Any, ...]) -> str:
    """The call as the learner would write it; a large argument on lines of its own."""
    texts = [repr(one) for one in arguments]
    if any("\n" in text for text in texts):
        inner = textwrap.indent(",\n".join(texts), "    ")
        return f"{name}(\n{inner}\n)"
    return f"{name}({', '.join(texts)})"


def _shown(word: str, value: Any) -> str:
    text = repr(value)
    return f"{word}:\n{textwrap.indent(text, '    ')}" if "\n" in text else f"{word}: {text}"
