"""Values on their way between two processes that do not trust each other: JSON and safetensors.

No pickle. What both sides hold has a number, so that an object that goes there and back is the same
one afterwards, with what was changed in it: two tensors that shared memory share it on the other
side, too. A gradient, and the call of a function, are asked of the side that holds it.
"""

from __future__ import annotations

import builtins
import json
import select
import socket
import struct
import sys
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

LARGEST = 256 * 2**20  # bytes of one message
# Classes that a learner's side may name: their code is known, and has been imported here.
KNOWN = (
    "torch.nn.",
    "torch.optim.",
    "transformers.",
    "course_lib.models.",
    "course_lib.structured.",
)
_PLAIN = (bool, int, float, str, type(None))


class GoneError(BaseException):
    """The other side has ended, takes too long, or says what makes no sense."""


class LateError(GoneError):
    """The other side takes too long."""


class Opaque:
    """A value that cannot travel: its class has the name of the real one."""

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
    """

    def __init__(self, sock: socket.socket, serve: Callable[..., Any], guest: bool) -> None:
        self.sock, self.serve, self.guest = sock, serve, guest
        self.buffer, self.asked = bytearray(), 0
        self.wait: Callable[[], None] = lambda: None
        self.forget()

    def forget(self) -> None:
        """Forget all numbers; the other side must do the same."""
        self.objects: dict[int, Any] = {}
        self.numbers: dict[Any, int] = {}
        self.next = 0

    def hold(self, value: Any, key: Any, number: int | None = None) -> int:
        """Give an object its number, the next one if it comes from here."""
        number = self.next if number is None else number
        self.objects[number], self.numbers[key] = value, number
        self.next = max(self.next, number + 1)
        return number

    # --- messages ---------------------------------------------------------------------------------

    def request(self, what: str, *values: Any) -> Any:
        """Ask the other side, and answer its own questions until the answer is there."""
        self.asked += 1
        number = self.asked
        self._send({"ask": what, "id": number, "grad": torch.is_grad_enabled()}, values)
        while True:
            head, blob = self._receive()
            if "ask" in head:
                self.handle(head, blob)
            elif head.get("id") == number:  # an older one was given up by an interrupt
                if "error" in head:
                    raise self._raised(head["error"])
                return Unpacking(self, blob).value(head["value"])

    def handle(self, head: Any = None, blob: bytes = b"") -> None:
        """Answer one request."""
        if head is None:
            head, blob = self._receive()
        if "ask" not in head:
            return
        try:
            values = Unpacking(self, blob).value(head["value"])
            with torch.set_grad_enabled(bool(head["grad"])):
                found = self.serve(head["ask"], *values)
            answer: Any = {}
        except GoneError:
            raise
        except BaseException as error:
            answer, found = {"error": said_of(error)}, None
        self._send(answer | {"id": head["id"]}, found)

    def _send(self, head: dict[str, Any], value: Any) -> None:
        packing = Packing(self)
        text = json.dumps(head | {"value": packing.node(value)}).encode()
        blob = safetensors.torch.save(packing.bytes) if packing.bytes else b""
        try:
            self.sock.sendall(struct.pack("<II", len(text), len(blob)) + text + blob)
        except OSError as error:
            raise GoneError(str(error)) from None

    def _receive(self) -> tuple[Any, bytes]:
        while True:
            sizes = struct.unpack("<II", self.buffer[:8]) if len(self.buffer) >= 8 else None
            if sizes and sum(sizes) > LARGEST:
                raise GoneError("a message that is too long")
            if sizes and len(self.buffer) >= 8 + sum(sizes):
                text = bytes(self.buffer[8 : 8 + sizes[0]])
                blob = bytes(self.buffer[8 + sizes[0] : 8 + sum(sizes)])
                del self.buffer[: 8 + sum(sizes)]
                try:
                    head = json.loads(text)
                    assert isinstance(head, dict) and "value" in head and "id" in head
                except (ValueError, AssertionError, RecursionError):
                    raise GoneError("a message that makes no sense") from None
                return head, blob
            self.wait()
            if select.select([self.sock], [], [], 0.05)[0]:
                try:
                    some = self.sock.recv(2**20)
                except OSError:
                    some = b""
                if not some:
                    raise GoneError("it has ended")
                self.buffer += some

    def _raised(self, said: Any) -> BaseException:
        """The exception that was raised there, as one of Python's own kinds, under its own name."""
        kinds = [getattr(builtins, str(name), None) for name in said["kinds"]]
        own = [k for k in kinds if isinstance(k, type) and issubclass(k, (Exception, SystemExit))]
        name, text = str(said["kinds"][0]), [str(line) for line in said["text"]]
        for base in (*own, Exception):
            with suppress(TypeError):  # some kinds want more than a text
                error = (base if name == base.__name__ else type(name, (base,), {}))(*text)
                error.at = str(said["at"])
                return error
        raise GoneError("an error without a kind")


def said_of(error: BaseException) -> dict[str, Any]:
    """An exception: the names of its class and of those above, its text, the learner's line."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    outside = (str(Path(__file__).parents[1]), sys.prefix, sys.base_prefix)
    own = [frame for frame in frames if not frame.filename.startswith(outside)]
    return {
        "kinds": [kind.__name__ for kind in type(error).__mro__],
        "text": [str(error)[:2000]] if error.args else [],
        "at": (own[-1].line or "")[:200] if own else "",
    }


# --- from values to messages ----------------------------------------------------------------------


class Number(int):
    """An object that the other side holds, named by its number alone."""


class Packing:
    """One message that goes out."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.done, self.bytes = peer, set[int](), dict[str, Tensor]()

    def node(self, value: Any) -> Any:
        if isinstance(value, Number):
            return {"n": int(value)}
        if type(value) in _PLAIN:
            return value
        if isinstance(value, np.generic):
            kind = {"k": "numpy", "dtype": str(value.dtype), "v": value.item()}
            return kind if type(kind["v"]) in _PLAIN else _opaque(value)
        if isinstance(value, str | int | float):
            kind = next(one for one in (str, int, float) if isinstance(value, one))
            return kind(value)
        if value is ...:
            return {"k": "..."}
        if isinstance(value, tuple):
            return {"k": "tuple", "v": [self.node(one) for one in value]}
        if isinstance(value, range):
            return {"k": "range", "v": [value.start, value.stop, value.step]}
        if isinstance(value, Path):
            return {"k": "path", "v": str(value)}
        if isinstance(value, BaseException):
            return {"k": "raised", "v": said_of(value)}
        if isinstance(value, Iterator) and not isinstance(value, nn.Module):
            some = [one for one, _ in zip(value, range(10_000), strict=False)]
            return {"k": "iterator", "v": [self.node(one) for one in some]}
        state = next((state for kind, state in _STATES if isinstance(value, kind)), None)
        if state is None and callable(value) and not self.peer.guest:
            return _opaque(value)  # a learner's functions are called by their names alone
        if state is None and not callable(value):
            return _opaque(value)
        return self.numbered(value, id(value), state)

    def numbered(self, value: Any, key: Any, state: Any) -> Any:
        number = self.peer.numbers.get(key)
        if number is None:
            number = self.peer.hold(value, key)
        if number in self.done:
            return {"n": number}
        self.done.add(number)
        return {"n": number} | (state(self, value) if state else {"k": "function"})

    def items(self, mapping: Mapping[Any, Any]) -> list[Any]:
        return [[self.node(key), self.node(one)] for key, one in mapping.items()]

    def list(self, value: Any) -> Any:
        return {"k": "list", "v": [self.node(one) for one in value]}

    def set(self, value: Any) -> Any:
        return {"k": "set", "v": [self.node(one) for one in value]}

    def dict(self, value: Any) -> Any:
        return {"k": "dict", "v": self.items(value)}

    def output(self, value: Any) -> Any:
        return {"k": "output", "class": _name(value), "v": self.items(value)}

    def array(self, value: Any) -> Any:
        if value.dtype.kind not in "biuf":
            return _opaque(value)
        return {"k": "array", "v": self.node(torch.from_numpy(np.ascontiguousarray(value)))}

    def tensor(self, value: Any) -> Any:
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            return _opaque(value)
        flat = value.detach().resolve_conj().resolve_neg()
        store = flat.untyped_storage()
        whole = {
            "k": "tensor",
            "storage": self.numbered(store, ("storage", store.data_ptr()), Packing.storage)
            if store.nbytes()
            else None,
            "as": [str(value.dtype)[6:], list(value.shape), list(value.stride())],
            "offset": value.storage_offset(),
            "learns": value.requires_grad,
            "parameter": isinstance(value, nn.Parameter),
        }
        if value.requires_grad and not value.is_leaf:
            return whole | {"leaves": [self.node(leaf) for leaf in _leaves(value.grad_fn)]}
        return whole | {"grad": self.node(value.grad)}

    def storage(self, value: Any) -> Any:
        name = str(len(self.bytes))
        self.bytes[name] = _bytes(value).clone()
        return {"k": "storage", "v": name}

    def module(self, value: Any) -> Any:
        ours = type(value).__module__.startswith("course_lib.checks.")  # its code stays here
        if ours or isinstance(value, RemoteModule):
            return {"k": "remote", "training": value.training}
        kind, parameters = type(value), dict(value._parameters)
        children = dict(value._modules)
        if parametrize.is_parametrized(value):  # masks that are still attached
            kind = type(value).__mro__[1]
            lists = children.pop("parametrizations")
            parameters |= {name: nn.Parameter(getattr(value, name).detach()) for name in lists}
        for name in [name for name in parameters if name.endswith("_orig")]:  # torch.nn.utils.prune
            del parameters[name]
            parameters[name[:-5]] = nn.Parameter(getattr(value, name[:-5]).detach())
        said = {key: one for key, one in vars(value).items() if _travels(one)}
        return {
            "k": "module",
            "class": f"{kind.__module__}:{kind.__qualname__}",
            "parameters": [[name, self.node(one)] for name, one in parameters.items()],
            "buffers": [[name, self.node(one)] for name, one in value._buffers.items()],
            "modules": [[name, self.node(one)] for name, one in children.items()],
            "passing": sorted(value._non_persistent_buffers_set),
            "said": self.items(said),
        }

    def config(self, value: Any) -> Any:
        said = {key: one for key, one in vars(value).items() if _travels(one)}
        return {"k": "config", "class": _name(value), "v": self.items(said)}

    def optimizer(self, value: Any) -> Any:
        return {
            "k": "optimizer",
            "class": _name(value),
            "groups": [self.items(group) for group in value.param_groups],
            "state": [[self.node(key), self.items(one)] for key, one in value.state.items()],
        }


def _name(value: Any) -> str:
    return f"{type(value).__module__}:{type(value).__qualname__}"


def _opaque(value: Any) -> dict[str, Any]:
    with suppress(Exception):
        return {"k": "opaque", "class": type(value).__name__, "v": str(value)[:200]}
    return {"k": "opaque", "class": type(value).__name__, "v": ""}


def _bytes(storage: Any) -> Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def _leaves(node: Any) -> list[Tensor]:
    """The tensors whose gradient this result can give."""
    found, todo, seen = {}, [node], set()
    while todo:
        one = todo.pop()
        if one is None or one in seen:
            continue
        seen.add(one)
        if hasattr(one, "variable"):
            found[id(one.variable)] = one.variable
        todo += [before for before, _ in one.next_functions]
    return list(found.values())


def _travels(value: Any) -> bool:
    """Whether a module's or a config's attribute goes with it."""
    if isinstance(value, Mapping):
        return bool(value) and all(_travels(one) for one in (*value, *value.values()))
    if isinstance(value, list | tuple):
        return all(map(_travels, value))
    return isinstance(value, _PLAIN) or _is_config(value)


def _is_config(value: Any) -> bool:
    return any(
        kind.__name__ in ("PretrainedConfig", "PreTrainedConfig") for kind in type(value).__mro__
    )


class _Configs(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return _is_config(value)


class _Config(metaclass=_Configs):
    """Whatever is a config of transformers, without importing them."""


class _Outputs(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return any(kind.__name__ == "ModelOutput" for kind in type(value).__mro__)


class _Output(metaclass=_Outputs):
    """Whatever is an output of a model of transformers."""


_STATES: list[tuple[Any, Any]] = [
    (nn.Module, Packing.module),
    (Tensor, Packing.tensor),
    (np.ndarray, Packing.array),
    (torch.optim.Optimizer, Packing.optimizer),
    (_Output, Packing.output),
    (_Config, Packing.config),
    (Mapping, Packing.dict),
    (set | frozenset, Packing.set),
    ((list, type({}.keys()), type({}.values()), type({}.items())), Packing.list),
]


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


class RemoteModule(nn.Module):
    """A module whose code is on the other side, which sees in which mode it is called."""

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self._peer = peer

    def forward(self, *given: Any, **more: Any) -> Any:
        return self._peer.request("call", self, list(given), more)[0]


class Unpacking:
    """One message that came in. Of a learner's everything is doubted."""

    def __init__(self, peer: Peer, blob: bytes) -> None:
        self.peer = peer
        try:
            self.bytes = safetensors.torch.load(blob) if blob else {}
        except Exception as error:
            raise GoneError(f"tensors that cannot be read: {error}") from None

    def value(self, node: Any) -> Any:
        try:
            return self._value(node)
        except GoneError:
            raise
        except Exception as error:  # whatever a message can do that no `Packing` has made
            raise GoneError(f"a message that makes no sense: {error!r}") from None

    def _value(self, node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        kind = node.get("k")
        if "n" not in node:
            return getattr(self, f"_{kind}" if kind != "..." else "_dots")(node.get("v"), node)
        number, objects = int(node["n"]), self.peer.objects
        if kind is None:
            return objects[number]
        if number in objects:
            renew = getattr(self, f"_renew_{kind}", None)
            if renew is not None and not isinstance(objects[number], Opaque):
                renew(objects[number], node)
            return objects[number]
        found = getattr(self, f"_new_{kind}")(node, number)
        key = ("storage", found.data_ptr()) if kind == "storage" else id(found)
        self.peer.hold(found, key, number)
        return found

    def _list(self, nodes: Any) -> list[Any]:
        return [self._value(one) for one in nodes]

    def _pairs(self, nodes: Any) -> dict[Any, Any]:
        return {self._value(key): self._value(one) for key, one in nodes}

    # values without a number

    def _dots(self, v: Any, node: Any) -> Any:
        return ...

    def _numpy(self, v: Any, node: Any) -> Any:
        dtype = np.dtype(node["dtype"])
        if dtype.kind not in "biufU":
            raise ValueError(dtype)
        return dtype.type(v)

    def _tuple(self, v: Any, node: Any) -> Any:
        return tuple(self._list(v))

    def _range(self, v: Any, node: Any) -> Any:
        return range(*map(int, v))

    def _path(self, v: Any, node: Any) -> Any:
        return Path(str(v))

    def _raised(self, v: Any, node: Any) -> Any:
        return self.peer._raised(v)

    def _iterator(self, v: Any, node: Any) -> Any:
        return iter(self._list(v))

    def _opaque(self, v: Any, node: Any) -> Any:
        return type(str(node["class"]), (Opaque,), {})(str(v))

    # values with one

    def _new_opaque(self, node: Any, number: int) -> Any:
        return self._opaque(node.get("v"), node)

    def _new_function(self, node: Any, number: int) -> Any:
        if self.peer.guest:
            raise ValueError("a function")
        peer = self.peer
        return lambda *given, **more: peer.request("call", Number(number), list(given), more)[0]

    def _new_remote(self, node: Any, number: int) -> Any:
        if self.peer.guest:
            raise ValueError("a module without code")
        return RemoteModule(self.peer).train(node["training"])

    def _renew_remote(self, known: Any, node: Any) -> None:
        known.train(node["training"])

    def _new_list(self, node: Any, number: int) -> Any:
        return self._list(node["v"])

    def _renew_list(self, known: list[Any], node: Any) -> None:
        known[:] = self._list(node["v"])

    def _new_set(self, node: Any, number: int) -> Any:
        return set(self._list(node["v"]))

    def _renew_set(self, known: set[Any], node: Any) -> None:
        found = self._list(node["v"])
        if isinstance(known, set):
            known.clear()
            known.update(found)

    def _new_dict(self, node: Any, number: int) -> Any:
        return self._pairs(node["v"])

    def _renew_dict(self, known: dict[Any, Any], node: Any) -> None:
        found = self._pairs(node["v"])
        known.clear()
        known.update(found)

    def _new_output(self, node: Any, number: int) -> Any:
        return self._class(node["class"])(**self._pairs(node["v"]))

    def _renew_output(self, known: Any, node: Any) -> None:
        for key, one in self._pairs(node["v"]).items():
            known[key] = one

    def _new_array(self, node: Any, number: int) -> Any:
        return self._value(node["v"]).numpy()

    def _renew_array(self, known: Any, node: Any) -> None:
        found = self._value(node["v"]).numpy()
        if found.shape == known.shape:
            known[...] = found

    def _new_storage(self, node: Any, number: int) -> Any:
        return self.bytes[node["v"]].clone().untyped_storage()

    def _renew_storage(self, known: Any, node: Any) -> None:
        found, mine = self.bytes[node["v"]], _bytes(known)
        if len(found) != len(mine):
            raise ValueError("memory that has grown")
        if not torch.equal(found, mine):
            mine.copy_(found)

    def _seen(self, node: Any) -> Tensor:
        name, shape, stride = node["as"]
        dtype = getattr(torch, name)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(name)
        if node["storage"] is None:
            return torch.empty(shape, dtype=dtype)
        return torch.empty(0, dtype=dtype).set_(
            self._value(node["storage"]), node["offset"], shape, stride
        )

    def _new_tensor(self, node: Any, number: int) -> Any:
        found = self._seen(node)
        if "leaves" in node:
            leaves = self._list(node["leaves"])
            with torch.enable_grad():
                return _Remote.apply(self.peer, number, found, *leaves)
        if node["parameter"]:
            found = nn.Parameter(found, requires_grad=node["learns"])
        found.requires_grad_(node["learns"])
        found.grad = self._value(node["grad"])
        return found

    def _renew_tensor(self, known: Tensor, node: Any) -> None:
        found = self._seen(node)
        same = known.dtype == found.dtype and known.shape == found.shape
        same = same and known.stride() == found.stride() and known.data_ptr() == found.data_ptr()
        if not same:
            known.data = found
        if known.is_leaf and "leaves" not in node:
            known.requires_grad_(node["learns"])
            known.grad = self._value(node["grad"])

    def _class(self, name: str) -> Any:
        """A class by its name, if this side knows it; of a learner's, one whose code is known."""
        module, _, path = str(name).partition(":")
        if self.peer.guest and not module.startswith(KNOWN):
            raise LookupError(name)
        found: Any = sys.modules.get(module)
        if found is None and not self.peer.guest:
            found = __import__(module, fromlist=["_"])
        for part in path.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, type):
            raise LookupError(name)
        return found

    def _new_module(self, node: Any, number: int) -> Any:
        try:
            kind = self._class(node["class"])
        except LookupError:
            return type(str(node["class"]).rpartition(":")[2], (Opaque,), {})("a class of its own")
        if not issubclass(kind, nn.Module):
            raise TypeError(kind)
        found = kind.__new__(kind)
        nn.Module.__init__(found)
        self.peer.hold(found, id(found), number)  # its children may lead back to it
        like = (o for o in self.peer.objects.values() if type(o) is kind and o is not found)
        for key, one in vars(next(like, found)).items():  # functions, which do not travel
            if isinstance(one, types.FunctionType | types.MethodType | types.BuiltinFunctionType):
                found.__dict__.setdefault(key, one)
        self._renew_module(found, node)
        return found

    def _renew_module(self, known: nn.Module, node: Any) -> None:
        for place, kinds in (
            ("parameters", nn.Parameter),
            ("buffers", Tensor),
            ("modules", nn.Module),
        ):
            pairs = {str(name): self._value(one) for name, one in node[place]}
            if not all(one is None or isinstance(one, kinds) for one in pairs.values()):
                raise TypeError(place)
            mine = getattr(known, f"_{place}")
            mine.clear()
            mine.update(pairs)
        known._non_persistent_buffers_set = set(node["passing"])
        for key, one in self._pairs(node["said"]).items():
            if not callable(getattr(type(known), key, None)):
                known.__dict__[key] = one

    def _new_config(self, node: Any, number: int) -> Any:
        kind = self._class(node["class"])
        if not _is_config(kind.__new__(kind)):
            raise TypeError(kind)
        found = kind()
        self._renew_config(found, node)
        return found

    def _renew_config(self, known: Any, node: Any) -> None:
        for key, one in self._pairs(node["v"]).items():
            if not callable(getattr(type(known), key, None)):
                known.__dict__[key] = one

    def _groups(self, node: Any) -> list[dict[str, Any]]:
        return [self._pairs(group) for group in node["groups"]]

    def _new_optimizer(self, node: Any, number: int) -> Any:
        if self.peer.guest:
            raise TypeError("an optimizer")
        found = self._class(node["class"])(self._groups(node))
        self._renew_optimizer(found, node)
        return found

    def _renew_optimizer(self, known: Any, node: Any) -> None:
        for group, said in zip(known.param_groups, self._groups(node), strict=True):
            group.update(said)
        known.state = defaultdict(dict)
        for key, one in node["state"]:
            known.state[self._value(key)] = self._pairs(one)
