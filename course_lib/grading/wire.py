"""Values on their way between two processes that do not trust each other: JSON and safetensors.

No pickle. What both sides hold has a number, so an object that goes there and back is the same one
afterwards, with what was changed in it; two tensors that shared memory share it on the other side,
too. A gradient, and the call of a function, are asked of the side that holds it.
"""

from __future__ import annotations

import builtins
import importlib
import json
import select
import socket
import struct
import sys
import traceback
import types
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

# Bytes of the text and of the tensors of one message: SmolLM2, whole, takes 513 MB.
LARGEST = 8 * 2**20, 768 * 2**20
THING = 128  # bytes for which anything but a tensor counts
FILES = 128 * 2**20  # bytes of a folder that an answer names
UNREAD = 60.0  # seconds that a learner's side may leave a message unread
# How the name of a class must begin that a learner's side names: its code is known.
KNOWN = (
    "torch.nn.modules.",
    "course_lib.models.",
    "course_lib.structured.",
    "transformers.activations:",
    *(f"transformers.models.{family}." for family in ("bert", "distilbert", "llama", "vit")),
)
_PLAIN = (bool, int, float, str, type(None))
_VIEWS: tuple[type, ...] = (list, type({}.keys()), type({}.values()), type({}.items()))
_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)


class GoneError(BaseException):
    """The other side has ended, or says what makes no sense."""


class LateError(GoneError):
    """The other side takes too long."""


class Opaque:
    """A value that cannot travel; its class has the name of the real one."""

    def __init__(self, shown: str = "") -> None:
        self.shown = shown

    def __str__(self) -> str:
        return self.shown


class Peer:
    """One end of a connection.

    Attributes:
        serve: called with the name and the values of each request that comes.
        guest: whether the other side is a learner's: then only known classes come in, and no code.
        wait: called again and again while nothing comes; may raise.
        also: other files that end such a wait when something can be read from them.
    """

    def __init__(self, sock: socket.socket, serve: Callable[..., Any], guest: bool) -> None:
        self.sock, self.serve, self.guest = sock, serve, guest
        if guest:
            sock.settimeout(UNREAD)
        self.buffer, self.asked, self.also = bytearray(), 0, list[int]()
        self.wait: Callable[[], None] = lambda: None
        self.forget()

    def forget(self) -> None:
        """Forget all numbers; the other side must do the same."""
        self.objects: dict[int, Any] = {}
        self.numbers: dict[Any, int] = {}
        self.kinds: dict[int, tuple[Any, Any]] = {}
        self.next = 0

    def hold(self, value: Any, key: Any, number: int | None = None) -> int:
        """Give an object its number, the next one if it comes from here."""
        number = self.next if number is None else number
        self.objects[number], self.numbers[key] = value, number
        self.next = max(self.next, number + 1)
        return number

    def request(self, what: str, *values: Any) -> Any:
        """Ask the other side, and answer its own questions until the answer is there."""
        self.asked += 1
        number = self.asked
        head = {"ask": what, "id": number, "grad": torch.is_grad_enabled()}
        self._send(self._packed(head, values))
        while True:
            head, blob = self._receive()
            if "ask" in head:
                self.answer(head, blob)
            elif head["id"] == number:  # an older one was given up by an interrupt
                if "error" in head:
                    raise raised(head["error"])
                return Unpacking(self, blob).value(head["value"])

    def answer_all(self) -> None:
        """Answer requests until the other side hangs up."""
        while True:
            head, blob = self._receive()
            if "ask" in head:
                self.answer(head, blob)

    def answer(self, head: Any, blob: bytes) -> None:
        answer = {"id": head["id"]}
        try:
            values = Unpacking(self, blob).value(head["value"])
            with torch.set_grad_enabled(bool(head["grad"])):
                found = self.serve(head["ask"], *values)
            packed = self._packed(answer, found)
        except GoneError:
            raise
        except BaseException as error:
            if self.guest and not isinstance(error, Exception | SystemExit):
                raise  # Ctrl-C, or time is up: meant for this side
            packed = self._packed(answer | {"error": said_of(error)}, None)
        self._send(packed)

    def _packed(self, head: dict[str, Any], value: Any) -> tuple[bytes, bytes]:
        """The text and the tensors of a message; where it cannot be made, no number is given."""
        before, packing = self.next, Packing(self)
        try:
            text = json.dumps(head | {"value": packing.node(value)}).encode()
            blob = safetensors.torch.save(packing.bytes) if packing.bytes else b""
            for found, most in zip((text, blob), LARGEST, strict=True):
                if len(found) > most:
                    raise ValueError(f"{len(found):,} bytes are to travel; at most {most:,} may")
        except BaseException:
            self.numbers = {key: n for key, n in self.numbers.items() if n < before}
            self.objects = {n: one for n, one in self.objects.items() if n < before}
            self.next = before
            raise
        return text, blob

    def _send(self, packed: tuple[bytes, bytes]) -> None:
        text, blob = packed
        try:
            self.sock.sendall(struct.pack("<II", len(text), len(blob)) + text)
            self.sock.sendall(blob)
        except OSError as error:
            raise GoneError(str(error)) from None

    def _receive(self) -> tuple[Any, bytes]:
        while True:
            sizes = struct.unpack("<II", self.buffer[:8]) if len(self.buffer) >= 8 else LARGEST
            if sizes[0] > LARGEST[0] or sizes[1] > LARGEST[1]:
                raise GoneError("a message that is too long")
            if len(self.buffer) >= 8 + sum(sizes):
                blob = bytes(self.buffer[8 : 8 + sum(sizes)])
                del self.buffer[: 8 + sum(sizes)]
                try:
                    head = json.loads(blob[: sizes[0]])
                    head["id"], head["value"]
                except (ValueError, TypeError, LookupError, RecursionError):
                    raise GoneError("a message that makes no sense") from None
                return head, blob[sizes[0] :]
            self.wait()
            sources: list[Any] = [self.sock, *self.also]
            if self.sock in select.select(sources, [], [], 0.05)[0]:
                try:
                    some = self.sock.recv(2**20)
                except OSError:
                    some = b""
                if not some:
                    raise GoneError("it has ended")
                self.buffer += some


def said_of(error: BaseException) -> dict[str, Any]:
    """An exception: the names of its class and of those above, its text, the learner's line."""
    ours = (str(Path(__file__).parents[1]), sys.prefix, sys.base_prefix)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(ours)]
    kinds = [kind.__name__ for kind in type(error).__mro__]
    text = ["its text cannot be shown"]
    with suppress(Exception):  # a learner's class may do anything here
        text = [str(error)[:2000]] if error.args else []
    return {"kinds": kinds, "text": text, "at": (own[-1].line or "")[:200] if own else ""}


def raised(said: Any) -> BaseException:
    """The exception that was raised there, as one of Python's own kinds, under its own name."""
    kinds = [getattr(builtins, str(name), None) for name in said["kinds"]]
    own = [k for k in kinds if isinstance(k, type) and issubclass(k, (Exception, SystemExit))]
    name, text = str(said["kinds"][0]), [str(line) for line in said["text"]]
    for base in (*own, Exception):
        with suppress(TypeError):  # some kinds want more than a text
            error: Any = (base if name == base.__name__ else type(name, (base,), {}))(*text)
            error.at = str(said["at"])
            return error  # type: ignore[no-any-return]
    raise GoneError("an error without a kind")


# --- from values to messages ----------------------------------------------------------------------


class Number(int):
    """An object that the other side holds, named by its number alone."""


class RemoteModule(nn.Module):
    """A module whose code is on the other side, which sees in which mode it is called."""

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self._peer = peer

    def forward(self, *given: Any, **more: Any) -> Any:
        return self._peer.request("call", self, list(given), more)[0]


class Packing:
    """One message that goes out."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.done, self.bytes = peer, set[int](), dict[str, Tensor]()

    def node(self, value: Any) -> Any:
        if isinstance(value, Number):
            return {"n": int(value)}
        if type(value) in _PLAIN:
            return value
        if isinstance(value, np.generic) and value.dtype.kind in "biufU":
            return {"k": "numpy", "dtype": str(value.dtype), "v": value.item()}
        if isinstance(value, str | int | float):  # of a class of its own
            return next(kind(value) for kind in (str, int, float) if isinstance(value, kind))
        if isinstance(value, tuple):
            return {"k": "tuple", "v": list(map(self.node, value))}
        if isinstance(value, range):
            return {"k": "range", "v": [value.start, value.stop, value.step]}
        if isinstance(value, Path) or value is ...:
            return {"k": "path" if value is not ... else "dots", "v": str(value)}
        if isinstance(value, Iterator):
            some = [one for one, _ in zip(value, range(10_000), strict=False)]
            return {"k": "iterator", "v": list(map(self.node, some))}
        pack = _pack(value)
        if pack is Packing.function and not self.peer.guest:
            pack = None  # a learner's function is called by its name alone
        return self.numbered(value, id(value), pack) if pack else _opaque(value)

    def numbered(self, value: Any, key: Any, pack: Any) -> Any:
        number = self.peer.numbers.get(key)
        if number is None:
            number = self.peer.hold(value, key)
        if number in self.done:
            return {"n": number}
        self.done.add(number)
        node = {"n": number} | pack(self, value)
        self.peer.kinds[number] = node["k"], node.get("class")
        return node

    def function(self, value: Any) -> Any:
        return {"k": "function"}

    def list(self, value: Any) -> Any:
        return {"k": "list", "v": list(map(self.node, value))}

    def set(self, value: Any) -> Any:
        return {"k": "set", "v": list(map(self.node, value))}

    def dict(self, value: Any) -> Any:
        pairs = [[self.node(key), self.node(one)] for key, one in value.items()]
        name = _name(type(value)) if _is(value, "ModelOutput") else ""
        return {"k": "dict", "v": pairs, "open": isinstance(value, defaultdict), "class": name}

    def array(self, value: Any) -> Any:
        if value.dtype.kind not in "biuf":
            return _opaque(value)
        return {"k": "array", "v": self.node(torch.from_numpy(np.ascontiguousarray(value)))}

    def tensor(self, value: Any) -> Any:
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            return _opaque(value)
        flat = value.detach().resolve_conj().resolve_neg()
        store = flat.untyped_storage()
        key = ("storage", store.data_ptr())
        said = {
            "k": "tensor",
            "storage": self.numbered(store, key, Packing.storage) if store.nbytes() else None,
            "as": [str(flat.dtype)[6:], list(flat.shape), list(flat.stride())],
            "offset": flat.storage_offset(),
            "learns": value.requires_grad,
            "parameter": isinstance(value, nn.Parameter),
        }
        if value.is_leaf:
            return said | {"grad": self.node(value.grad)}
        return said | {"leaves": list(map(self.node, _leaves(value.grad_fn)))}

    def storage(self, value: Any) -> Any:
        name = str(len(self.bytes))
        self.bytes[name] = _bytes(value)
        return {"k": "storage", "v": name}

    def object(self, value: Any) -> Any:
        """A module, a config or an optimizer: its class, and what it holds but for functions."""
        kind, said = type(value), dict(vars(value))
        if kind.__module__.startswith("course_lib.checks.") or kind is RemoteModule:
            return {"k": "remote", "training": value.training}  # its code stays where it is
        if isinstance(value, nn.Module):
            masked = [n[:-5] for n in value._parameters if n.endswith("_orig")]  # nn.utils.prune
            if parametrize.is_parametrized(value):  # or masks of this course, still attached
                kind, masked = type(value).__mro__[1], [*value.parametrizations]  # type: ignore[misc]
            flat = {name: nn.Parameter(getattr(value, name).detach()) for name in masked}
            left = {n: p for n, p in value._parameters.items() if not n.endswith("_orig")}
            children = {n: m for n, m in value._modules.items() if n != "parametrizations"}
            if masked:
                said |= {"_parameters": left | flat, "_modules": children}
        pairs = [[key, self.node(one)] for key, one in said.items() if _travels(one)]
        return {"k": "object", "class": _name(kind), "v": pairs}


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _is(value: Any, *names: str) -> bool:
    """Whether one of its classes has such a name: transformers need not be imported for it."""
    return any(kind.__name__ in names for kind in type(value).__mro__)


def _opaque(value: Any) -> dict[str, Any]:
    shown = ""
    with suppress(Exception):
        shown = str(value)[:200]
    return {"k": "opaque", "class": type(value).__name__, "v": shown}


def _bytes(storage: Any) -> Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def _leaves(node: Any) -> list[Tensor]:
    """The tensors by which this result can be differentiated."""
    found, todo, seen = {}, [node], {None}
    while todo:
        if (one := todo.pop()) not in seen:
            seen.add(one)
            if hasattr(one, "variable"):
                found[id(one.variable)] = one.variable
            todo += [before for before, _ in one.next_functions]
    return list(found.values())


def _travels(value: Any) -> bool:
    """Whether an attribute goes with its object."""
    if isinstance(value, Mapping):
        return all(_travels(one) for one in (*value, *value.values()))
    if isinstance(value, list | tuple | set):
        return all(map(_travels, value))
    return isinstance(value, (*_PLAIN, Tensor, nn.Module)) or _is(value, *_CONFIGS)


_CONFIGS = ("PretrainedConfig", "PreTrainedConfig")


def weight(value: Any) -> int:
    """Bytes of a value as somebody meets them who walks through it: what is shared counts each time.

    Example:
        >>> row = [0] * 9
        >>> weight([row] * 1000) // weight(row)
        1000
    """
    known: dict[int, int] = {}

    def of(one: Any) -> int:
        if isinstance(one, Tensor | np.ndarray):
            return int(one.nbytes)  # of an expanded one, all that it seems to hold
        is_object = isinstance(one, nn.Module | torch.optim.Optimizer) or _is(one, *_CONFIGS)
        if not is_object and not isinstance(one, Mapping | list | tuple | set):
            return THING + (len(one) if isinstance(one, str) else 0)
        if id(one) not in known:
            known[id(one)] = 0 if is_object else 2 * LARGEST[1]  # a list within itself has no end
            inner = vars(one) if is_object else one
            parts = (*inner, *inner.values()) if isinstance(inner, Mapping) else inner
            found = THING + sum(map(of, parts))
            if not is_object:
                known[id(one)] = found
            return found
        return known[id(one)]

    return of(value)


def _is_ours(value: Any) -> bool:
    """Whether the other side may name it without sending it: to call it, or for its gradient."""
    return isinstance(value, Tensor) or callable(value)


def _pack(value: Any) -> Any:
    """How a value of this kind is packed; None if it cannot travel."""
    if isinstance(value, nn.Module | torch.optim.Optimizer) or _is(value, *_CONFIGS):
        return Packing.object
    packs = {Tensor: Packing.tensor, np.ndarray: Packing.array, Mapping: Packing.dict}
    packs |= {set: Packing.set, frozenset: Packing.set} | dict.fromkeys(_VIEWS, Packing.list)
    found = (pack for kind, pack in packs.items() if isinstance(value, kind))
    return next(found, Packing.function if callable(value) else None)


# --- from messages to values ----------------------------------------------------------------------


class _Remote(torch.autograd.Function):
    """A tensor that the other side has computed: it is asked for the gradient."""

    @staticmethod
    def forward(ctx: Any, peer: Peer, number: int, value: Tensor, *leaves: Tensor) -> Any:
        ctx.peer, ctx.number, ctx.leaves = peer, number, leaves
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        found = ctx.peer.request("backward", Number(ctx.number), grads[0], list(ctx.leaves))
        return None, None, None, *found


def backward(value: Tensor, grad: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    """What `_Remote` asks for: the gradient of a tensor of this side by its leaves."""
    return list(torch.autograd.grad(value, leaves, grad, retain_graph=True, allow_unused=True))


class Unpacking:
    """One message that came in. `_new_…` makes an object of its number, `_renew_…` changes it."""

    def __init__(self, peer: Peer, blob: bytes) -> None:
        self.peer, self.blob = peer, blob
        self.done, self.weight = set[int](), 0

    def value(self, node: Any) -> Any:
        try:
            self.bytes = safetensors.torch.load(self.blob) if self.blob else {}
            found = self._value(node)
            if self.peer.guest and self.weight + weight(found) > LARGEST[1]:
                raise GoneError(f"an answer of more than {LARGEST[1]:,} bytes, once it is unfolded")
            return found
        except GoneError:
            raise
        except Exception as error:  # whatever a message can do that no `Packing` has made
            raise GoneError(f"a message that makes no sense: {error!r}") from None

    def _value(self, node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        if "n" not in node:
            return getattr(self, f"_make_{node['k']}")(node["v"], node)
        number, objects, guest = int(node["n"]), self.peer.objects, self.peer.guest
        if "k" not in node:
            if guest and number not in self.done and not _is_ours(objects[number]):
                raise ValueError("only what this message holds can be named again")
            return objects[number]
        self.done.add(number)
        if number not in objects:
            if guest and node["k"] in ("function", "remote"):
                raise ValueError("code of the other side's")
            found = getattr(self, f"_new_{node['k']}")(node, number)
            key = ("storage", found.data_ptr()) if node["k"] == "storage" else id(found)
            self.peer.hold(found, key, number)
            self.peer.kinds[number] = node["k"], node.get("class")
        elif not isinstance(objects[number], Opaque):
            if guest and self.peer.kinds[number] != (node["k"], node.get("class")):
                raise ValueError("it was of another kind")
            getattr(self, f"_renew_{node['k']}", lambda *_: None)(objects[number], node)
        return objects[number]

    def _list(self, nodes: Any) -> list[Any]:
        return list(map(self._value, nodes))

    def _pairs(self, nodes: Any) -> dict[Any, Any]:
        return {self._value(key): self._value(one) for key, one in nodes}

    def _make_dots(self, v: Any, node: Any) -> Any:
        return ...

    def _make_numpy(self, v: Any, node: Any) -> Any:
        return np.dtype(str(node["dtype"])).type(v)

    def _make_tuple(self, v: Any, node: Any) -> Any:
        return tuple(self._list(v))

    def _make_range(self, v: Any, node: Any) -> Any:
        return range(*v)

    def _make_path(self, v: Any, node: Any) -> Any:
        return Path(v)

    def _make_iterator(self, v: Any, node: Any) -> Any:
        found = self._list(v)
        self.weight += weight(found)  # who walks over it does so once
        return iter(found)

    def _make_opaque(self, v: Any, node: Any) -> Any:
        return type(str(node["class"]), (Opaque,), {})(str(v))

    def _new_opaque(self, node: Any, number: int) -> Any:
        return self._make_opaque(node["v"], node)

    def _new_function(self, node: Any, number: int) -> Any:
        peer = self.peer
        return lambda *given, **more: peer.request("call", Number(number), list(given), more)[0]

    def _new_remote(self, node: Any, number: int) -> Any:
        return RemoteModule(self.peer).train(node["training"])

    def _renew_remote(self, known: Any, node: Any) -> None:
        known.train(node["training"])

    def _new_list(self, node: Any, number: int) -> Any:
        return self._list(node["v"])

    def _renew_list(self, known: Any, node: Any) -> None:
        known[:] = self._list(node["v"])

    def _new_set(self, node: Any, number: int) -> Any:
        return set(self._list(node["v"]))

    def _renew_set(self, known: Any, node: Any) -> None:
        known ^= known ^ set(self._list(node["v"]))

    def _new_dict(self, node: Any, number: int) -> Any:
        found = self._pairs(node["v"])
        if node["class"] and not self.peer.guest:
            return self._class(node["class"])(**found)
        return defaultdict(dict, found) if node["open"] else found

    def _renew_dict(self, known: Any, node: Any) -> None:
        found = self._pairs(node["v"])
        for key in [key for key in known if key not in found]:
            del known[key]
        for key, one in found.items():
            known[key] = one

    def _new_array(self, node: Any, number: int) -> Any:
        return self._value(node["v"]).numpy()

    def _renew_array(self, known: Any, node: Any) -> None:
        known[...] = self._value(node["v"]).numpy()

    def _new_storage(self, node: Any, number: int) -> Any:
        return self.bytes[node["v"]].clone().untyped_storage()

    def _renew_storage(self, known: Any, node: Any) -> None:
        found, mine = self.bytes[node["v"]], _bytes(known)
        if not torch.equal(found, mine):
            mine.copy_(found)

    def _seen(self, node: Any) -> Tensor:
        name, shape, stride = node["as"]
        if node["storage"] is None:
            if 0 not in shape:
                raise ValueError("no memory for a tensor that has elements")
            return torch.empty(shape, dtype=getattr(torch, name))
        store = self._value(node["storage"])
        flat = torch.empty(0, dtype=getattr(torch, name)).set_(store)
        return flat.as_strided(shape, stride, node["offset"])  # an error where memory ends

    def _new_tensor(self, node: Any, number: int) -> Any:
        found = self._seen(node)
        if "leaves" in node:
            with torch.enable_grad():
                return _Remote.apply(self.peer, number, found, *self._list(node["leaves"]))
        found = nn.Parameter(found, False) if node["parameter"] else found
        found.requires_grad_(node["learns"]).grad = self._value(node["grad"])
        return found

    def _renew_tensor(self, known: Tensor, node: Any) -> None:
        found = self._seen(node)
        looks = [
            (one.dtype, one.shape, one.stride(), one.data_ptr(), one.numel())
            for one in (known, found)
        ]
        if looks[0] != looks[1]:
            known.data = found
        if known.is_leaf and "grad" in node:
            known.requires_grad_(node["learns"]).grad = self._value(node["grad"])

    def _class(self, name: Any) -> Any:
        """A class by its name; of a learner's side, one whose code is known."""
        module, _, path = str(name).partition(":")
        if self.peer.guest and not str(name).startswith(KNOWN):
            return None
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        # A module holds what it has imported, too: only its own classes are meant.
        return found if isinstance(found, type) and _name(found) == name else None

    def _new_object(self, node: Any, number: int) -> Any:
        kind = self._class(node["class"])
        if kind is None:
            self._pairs(node["v"])
            return self._make_opaque("", {"class": str(node["class"]).rpartition(":")[2]})
        is_config = any(one.__name__ in _CONFIGS for one in kind.__mro__)
        if self.peer.guest and not is_config and not issubclass(kind, nn.Module):
            raise TypeError(kind)
        found = kind() if is_config else kind.__new__(kind)
        alike = (one for one in self.peer.objects.values() if type(one) is kind)
        like = next(alike, kind() if kind.__module__ == "transformers.activations" else found)
        self.peer.hold(found, id(found), number)  # its children may lead back to it
        kept = {key: one for key, one in vars(like).items() if isinstance(one, _FUNCTIONS)}
        state = kept | self._said(kind, node)
        getattr(found, "__setstate__", found.__dict__.update)(state)
        return found

    def _renew_object(self, known: Any, node: Any) -> None:
        """What went there comes back; hooks and the like, which did not, stay as they are."""
        said, mine = self._said(type(known), node), vars(known)
        known.__dict__.update({n: v for n, v in said.items() if n not in mine or _travels(mine[n])})

    def _said(self, kind: type, node: Any) -> dict[str, Any]:
        found = self._pairs(node["v"]).items()
        return {str(key): one for key, one in found if not callable(getattr(kind, str(key), None))}
