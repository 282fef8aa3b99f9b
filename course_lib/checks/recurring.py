"""Slips that recur in any function: found in a right answer by its grammar, not listed by a check.

A sum for a mean, a sign not taken off, a limit on the wrong side, one place too far, two arguments
exchanged: `slips` makes each of them, in each place of the right answer where it can be made. `naming`
tries them behind the mistakes that a check lists.
"""

from __future__ import annotations

import ast
import itertools
import textwrap
from collections.abc import Iterator

from course_lib.checks.guarding import Mistake

MODULES = {"F", "copy", "math", "nn", "np", "statistics", "stats", "torch"}
# Methods and functions → what is written for them, and how that is called.
OTHERS = {
    "mean": {"sum": "the sum for the mean", "amax": "the largest for the mean"},
    "sum": {"mean": "the mean for the sum", "amax": "the largest for the sum"},
    "amax": {"amin": "the smallest for the largest", "mean": "the mean for the largest"},
    "log": {"log2": "bits for nats (log2)", "log10": "log10 for the natural logarithm"},
    "softmax": {"log_softmax": "logarithms for probabilities"},
    "log_softmax": {"softmax": "probabilities for their logarithms"},
    "norm": {"sum": "the sum for the length"},
    "abs": {"square": "the square for the absolute value"},
    "round": {
        "floor": "rounded down",
        "ceil": "rounded up",
        "int": "rounded down",
        "math.ceil": "rounded up",
    },
    "min": {"max": "the largest for the smallest"},
    "max": {"min": "the smallest for the largest"},
    "any": {"all": "all of them for any of them"},
    "all": {"any": "any of them for all of them"},
}
LEFT_OUT = {
    "abs": "the sign is not taken off",
    "detach": "a gradient flows where none should",
    "round": "not rounded",
    "log": "the logarithm is left out",
    "exp": "the exponential is left out",
    "mean": "no mean is taken",
    "sum": "not added up",
    "sorted": "not sorted",
    "softmax": "the softmax is left out",
    "log_softmax": "the softmax is left out",
    "min": "a limit is left out",
    "max": "a limit is left out",
}
ALONG = {"sum", "mean", "amax", "softmax", "log_softmax", "norm", "cosine_similarity", "argsort"}
LIMIT = "what is exactly at the limit falls on the other side"
WAY = "a comparison the wrong way round"
COMPARED = {
    **{ast.Gt: {">=": LIMIT, "<": WAY, "<=": WAY}, ast.GtE: {">": LIMIT, "<=": WAY, "<": WAY}},
    **{ast.Lt: {"<=": LIMIT, ">": WAY, ">=": WAY}, ast.LtE: {"<": LIMIT, ">=": WAY, ">": WAY}},
    **{ast.Eq: {"!=": WAY, "<=": "what is below counts as equal"}, ast.NotEq: {"==": WAY}},
    **{ast.In: {"not in": WAY}, ast.NotIn: {"in": WAY}},
}
WALKED = {
    "list({})[:1]": "only the first of several counts",
    "list({})[-1:]": "only the last of several counts",
    "list({})[1:]": "the first of several is left out",
    "list({})[:-1]": "the last of several is left out",
    "list({})[::-1]": "in the reverse order",
}
NUMBERS = {
    "({} + 1)": "1 more than",
    "({} - 1)": "1 less than",
    "(2 * {})": "twice what",
    "({} / 2)": "half of what",
}
WHY = (
    "With this slip in it the right answer gives just what yours gives, in all that was tried. Compare "
    "the text of the exercise with your code, word by word."
)

OPEN = ast.BinOp | ast.BoolOp | ast.Compare | ast.UnaryOp | ast.IfExp  # in need of brackets
WHYS = {
    "rounded down": "int(), floor() and // cut off: too little comes out. Take the nearest number.",
    "rounded up": "A ceiling takes too much, most of all of small things. Take the nearest number.",
    "halves are rounded up": "Python's round() takes the even neighbor of a half: round(2.5) is 2.",
    "the sign is not taken off": "−0.9 is large by size, though a small number: take its abs().",
    "whole numbers only (//)": "// rounds down to a whole number, and a share becomes 0. One slash.",
    LIMIT: "Put a value in that is exactly at the limit. Should it be on this side, or on that?",
    "the sum for the mean": "A sum grows with the number of things in it, a mean does not.",
    "the mean for the sum": "A mean divides by the number of things in it, a sum does not.",
    "sum for batchmean": "A sum grows with the batch, and with it each step of training.",
    "mean for batchmean": "It divides by the number of classes as well as by the examples.",
    "a gradient flows where none should": "What should stay as it is would learn, too. Detach it.",
    "only the first of several counts": "Is `return` inside the loop, or is there a [0] or a break?",
    "only the last of several counts": "Is a result overwritten each time round the loop?",
}

Slip = tuple[str, ast.AST, str]  # its name, the node that goes, the text that comes


def slips(source: str) -> tuple[Mistake, ...]:
    """Each small slip that can be made in a function of one line of head, once.

    Example:
        >>> [slip.name for slip in slips("def f(x):\\n    return x.abs().mean()")][:3]
        ['the sum for the mean', 'the largest for the mean', 'no mean is taken']
    """
    lines = source.strip().split("\n")
    source = "\n".join(lines)
    found: dict[str, str] = {}
    starts = [0, *itertools.accumulate(len(line.encode()) + 1 for line in lines)]
    tree = ast.parse(source)
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    given = [one.arg for one in function.args.args]
    data = source.encode()

    def made(*together: tuple[int, int, str]) -> str:
        text = data
        for first, last, new in sorted(together, reverse=True):
            text = text[:first] + new.encode() + text[last:]
        return text.decode()

    alike: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
    for name, node, new in itertools.chain(
        *(_of(node, source, given) for node in ast.walk(function))
    ):
        first = starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        last = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        found.setdefault(made((first, last, new)), name)
        alike.setdefault((name, new if len(new) < 3 else ""), []).append((first, last, new))
    for (name, _), places in alike.items():  # the same slip in several places
        if len(places) in (2, 3) and all(
            a[1] <= b[0] for a, b in itertools.pairwise(sorted(places))
        ):
            found.setdefault(made(*places), name.replace(" in one place", ""))
    for one, other in itertools.combinations(given, 2):
        found.setdefault(_exchanged(function, one, other), f"`{one}` and `{other}` are exchanged")
    bodies = {
        textwrap.dedent(text.partition("\n")[2]): name
        for text, name in found.items()
        if text.split("\n")[0] == lines[0] and text != source
    }
    return tuple(
        Mistake(name, WHYS.get(name, WHY), ((None, body),)) for body, name in bodies.items()
    )


def _exchanged(function: ast.FunctionDef, one: str, other: str) -> str:
    """The text with two arguments exchanged throughout its body."""
    turned = ast.parse(ast.unparse(function)).body[0]
    for node in itertools.chain(*(ast.walk(line) for line in turned.body)):  # type: ignore[attr-defined]
        if isinstance(node, ast.Name):
            node.id = {one: other, other: one}.get(node.id, node.id)
    return ast.unparse(turned)


def _of(node: ast.AST, source: str, given: list[str]) -> Iterator[Slip]:
    """The slips in one node of the grammar."""

    def text(one: ast.AST) -> str:
        said = ast.get_source_segment(source, one) or ""
        return f"({said})" if isinstance(one, OPEN) else said

    def word(one: ast.AST) -> str:
        if isinstance(one, ast.Constant):
            return str(one.value)
        return f"`{text(one)}`" if text(one) in given else "a part of it"

    if isinstance(node, ast.BinOp):
        yield from _sums(node, text(node.left), text(node.right), word)
    if isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
        name = (
            "a minus is left out" if isinstance(node.op, ast.USub) else "yes and no are exchanged"
        )
        yield name, node, text(node.operand)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for sign, name in COMPARED.get(type(node.ops[0]), {}).items():
            yield name, node, f"({text(node.left)} {sign} {text(node.comparators[0])})"
    if isinstance(node, ast.Call):
        yield from _calls(node, text)
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield from _places(node, text(node.value), text(node.slice), word(node.slice))
    if isinstance(node, ast.comprehension | ast.For):
        for form, name in WALKED.items():
            yield name, node.iter, form.format(text(node.iter))
    if isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield "a condition is left out", test, "True"
    if isinstance(node, ast.If | ast.IfExp):
        yield "a condition is turned round", node.test, f"not ({text(node.test)})"
        yield "one of two cases for both", node.test, "True"
        yield "one of two cases for both", node.test, "False"
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        for form, name in NUMBERS.items():
            yield f"{name} it should be: a number in it", node, form.format(text(node))
    if isinstance(node, ast.Name) and node.id in given and isinstance(node.ctx, ast.Load):
        yield f"`{node.id}` has no effect in one place", node, "int(1)"  # a bare 1 makes warnings
        yield f"`{node.id}` is detached in one place", node, f"{node.id}.detach()"
        yield f"1 minus `{node.id}` in its place", node, f"(1 - {node.id})"
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr) and node.col_offset:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", node)
        if not isinstance(target, ast.Name):
            yield "one of the steps is left out", node, "pass"
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        backward = ", ".join(text(one) for one in reversed(node.value.elts))
        yield "the results are in another order", node.value, backward


def _sums(node: ast.BinOp, left: str, right: str, word) -> Iterator[Slip]:  # type: ignore[no-untyped-def]
    """The slips in a sum, a product, a power."""
    without = word(node.right)
    if isinstance(node.op, ast.Add):
        yield "minus for plus", node, f"({left} - {right})"
        yield f"{without} is not added", node, left
        yield f"{word(node.left)} is left out of a sum", node, right
    if isinstance(node.op, ast.Sub):
        yield "plus for minus", node, f"({left} + {right})"
        yield "the two sides of a minus are exchanged", node, f"({right} - {left})"
        yield f"{without} is not taken off", node, left
    if isinstance(node.op, ast.Mult):
        yield "divided instead of multiplied", node, f"({left} / {right})"
        yield f"not multiplied by {without}", node, left
        yield f"not multiplied by {word(node.left)}", node, right
    if isinstance(node.op, ast.Div | ast.FloorDiv):
        yield "multiplied instead of divided", node, f"({left} * {right})"
        yield f"not divided by {without}", node, left
        yield f"divided by the square of {without}", node, f"({left} / {right} ** 2)"
        yield "a fraction is upside down", node, f"({right} / {left})"
        whole = "//" if isinstance(node.op, ast.Div) else "/"
        title = "whole numbers only (//)" if whole == "//" else "not whole (/ for //)"
        yield title, node, f"({left} {whole} {right})"
    if isinstance(node.op, ast.Pow):
        yield "the power is left out", node, left
        yield "times for a power", node, f"({left} * {right})"
    if isinstance(node.op, ast.BitAnd):
        yield "or for and", node, f"({left} | {right})"


def _calls(node: ast.Call, text) -> Iterator[Slip]:  # type: ignore[no-untyped-def]
    """The slips in a call: another function, none, other arguments."""
    function, plain = node.func, [text(one) for one in node.args]
    called = getattr(function, "attr", getattr(function, "id", ""))
    method = isinstance(function, ast.Attribute) and text(function.value) not in MODULES
    for other, name in OTHERS.get(called, {}).items():
        new = f"{text(function.value)}.{other}" if isinstance(function, ast.Attribute) else other
        yield name, function, new
    if called in LEFT_OUT:
        kept = [text(function.value)] if method else plain  # type: ignore[attr-defined]
        for one in kept if method or called in ("min", "max") else kept[:1]:
            yield LEFT_OUT[called], node, one
    if called == "round":
        yield "halves are rounded up", function, "(lambda x: math.floor(x + 0.5))"
    if called == "range" and len(plain) == 1:
        yield "counted from 1", node, f"range(1, {plain[0]} + 1)"
        yield "one too few", node, f"range({plain[0]} - 1)"
        yield "one too many", node, f"range({plain[0]} + 1)"
    if len(node.args) == 2 and not isinstance(node.args[0], ast.Starred):
        both = ", ".join([*reversed(plain), *(f"{k.arg}={text(k.value)}" for k in node.keywords)])
        yield "two arguments are exchanged", node, f"{text(function)}({both})"
    if called in ALONG:
        inside = [*node.args[0 if method else 1 :], *(k.value for k in node.keywords)]
        for one in inside:
            for number in ast.walk(one):
                if isinstance(number, ast.Constant) and type(number.value) is int:
                    place = one if isinstance(one, ast.UnaryOp) else number
                    for other in ("0", "1", "2", "-1"):
                        yield "along another dimension", place, other
    for keyword in node.keywords:
        if text(keyword.value) == '"batchmean"':
            yield "mean for batchmean", keyword.value, '"mean"'
            yield "sum for batchmean", keyword.value, '"sum"'


def _places(node: ast.Subscript, of: str, places: str, word: str) -> Iterator[Slip]:
    """The slips in an index or a slice."""
    if isinstance(node.slice, ast.Slice):
        if node.slice.lower is None and node.slice.upper is not None:
            upper = places.split(":")[1].strip()
            yield "the other part of a row", node, f"{of}[{upper}:]"
            yield "counted from the end of a row", node, f"{of}[-({upper}):]"
            yield "one too few", node, f"{of}[: {upper} - 1]"
            yield "one too many", node, f"{of}[: {upper} + 1]"
        return
    if isinstance(node.slice, ast.Tuple):
        first, *others = places.strip("()").split(",") if places.count(",") == 1 else ("", "")
        if first.strip() == ":" and ":" not in others[0]:
            index = others[0].strip()
            yield "rows for columns", node, f"{of}[{index}]"
            yield "the first ones, not those that are asked for", node, f"{of}[:, : len({index})]"
        return
    yield f"not picked by {word}", node, of
    yield "columns for rows", node, f"{of}[:, {places}]"
    yield "the first ones, not those that are asked for", node, f"{of}[: len({places})]"
    yield "one place too far", node, f"{of}[{places} + 1]"
    yield "one place too early", node, f"{of}[{places} - 1]"
