"""Small changes of a right answer: one token, or one line. What differs somewhere must be caught."""

from __future__ import annotations

import ast
import copy
import itertools
from collections.abc import Iterator

SWAPS: dict[type, tuple[type, ...]] = {
    **{ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,)},
    **{
        ast.FloorDiv: (ast.Mult,),
        ast.Pow: (ast.Mult,),
        ast.BitAnd: (ast.BitOr,),
        ast.Is: (ast.IsNot,),
    },
    **{ast.Gt: (ast.GtE, ast.Lt), ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE)},
    **{ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,)},
    **{ast.And: (ast.Or,), ast.Or: (ast.And,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,)},
}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """(what was changed, the changed text), each once."""
    tree, seen = ast.parse(source), {ast.unparse(ast.parse(source))}
    for number in range(len(list(ast.walk(tree)))):
        for change in itertools.count():
            other = copy.deepcopy(tree)
            place = list(ast.walk(other))[number]
            if not _change(place, change):
                break
            text = ast.unparse(ast.fix_missing_locations(other))
            if text not in seen:
                seen.add(text)
                yield _difference(ast.unparse(tree), text), text


def _difference(before: str, after: str) -> str:
    """The first line that differs, as it is in the mutant; or the one that is gone."""
    old, new = before.split("\n"), after.split("\n")
    gone = [line.strip() for line in old if line not in new]
    come = [line.strip() for line in new if line not in old]
    return " ".join(come) if come else f"without {' '.join(gone)}"


def _change(node: ast.AST, change: int) -> bool:
    """Make the change of this number in a node; whether there is one."""
    changes = [
        *(lambda kind=kind: _operator(node, kind) for kind in _operators(node)),
        *(lambda value=value: setattr(node, "value", value) for value in _constants(node)),
        *(lambda field=field, i=i: getattr(node, field).pop(i) for field, i in _lines(node)),
        *_others(node),
    ]
    if change >= len(changes):
        return False
    changes[change]()
    return True


def _operators(node: ast.AST) -> tuple[type, ...]:
    operator = node.ops[0] if isinstance(node, ast.Compare) else getattr(node, "op", None)
    return SWAPS.get(type(operator), ())


def _operator(node: ast.AST, kind: type) -> None:
    if isinstance(node, ast.Compare):
        node.ops[0] = kind()
    else:
        node.op = kind()  # type: ignore[attr-defined]


def _constants(node: ast.AST) -> tuple[object, ...]:
    value = getattr(node, "value", None)
    if not isinstance(node, ast.Constant):
        return ()
    if isinstance(value, bool):
        return (not value,)
    return (value + 1, value - 1) if isinstance(value, int | float) else ()


def _lines(node: ast.AST) -> list[tuple[str, int]]:
    """Lines that can be dropped, and elements of a tuple of names or texts."""
    body = getattr(node, "body", None)
    lines = (
        [("body", i) for i in range(len(body))] if isinstance(body, list) and len(body) > 1 else []
    )
    if isinstance(node, ast.Tuple) and all(isinstance(one, ast.Constant) for one in node.elts):
        lines += [("elts", i) for i in range(len(node.elts))]
    return lines


def _others(node: ast.AST) -> list:
    """A method, a sign or a keyword left out; two arguments exchanged."""
    found = []
    if isinstance(node, ast.Call):
        if len(node.args) > 1:
            found.append(lambda: node.args.reverse())
        found += [lambda i=i: node.keywords.pop(i) for i in range(len(node.keywords))]
    for name in ("value", "left", "right", "func", "operand", "elt", "test"):
        inner = getattr(node, name, None)
        if isinstance(inner, ast.UnaryOp):
            found.append(lambda name=name, inner=inner: setattr(node, name, inner.operand))
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            found.append(lambda name=name, inner=inner: setattr(node, name, inner.func.value))
    return found
