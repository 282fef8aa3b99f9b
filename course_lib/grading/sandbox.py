"""Keep a learner's code in: a process of its own that sees, reaches and takes only what it may.

python -m course_lib.grading.sandbox FD IMPORTS is the nursery: it has imported all that a lab needs,
and forks a worker for each request that comes over the socket FD. Where the system lets it (Linux, as
root or with user namespaces) a worker has its own root folder, processes, network (none) and, for root,
user.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import course_lib
from course_lib.cache import cache_dir

try:
    import resource
except ImportError as error:  # Windows
    cure = "Grading needs Linux or macOS. On Windows use WSL 2, or a Linux container."
    raise ImportError(cure) from error

HOUSE = Path(course_lib.__file__).parent
HOME = "/learner"
MB = 2**20
# Folders of the cache in which the instructor's own answers may lie.
ANSWERS = ("exercise-*", "checkpoints", "demonstration/*/*small*")
# What a worker may take. Processes count threads, too.
LIMITS = {"memory": 4096 * MB, "disk": 1024 * MB, "processes": 128, "files": 512}
_NEW = 0x6C020000  # linux/sched.h: files, host name, memory segments, processes, network
_USER = 0x10000000
_BIND, _RECURSIVE, _PRIVATE, _READ_ONLY, _REMOUNT = 4096, 16384, 1 << 18, 1, 32
_NOSUID, _NODEV, _DETACH = 2, 4, 2


class UnsafeError(RuntimeError):
    """This system cannot keep a learner's code in."""


def level() -> str:
    """How well this system keeps a learner's code in: "namespaces", "account" or "limits"."""
    if sys.platform == "linux":
        child = os.fork()
        if not child:
            with contextlib.suppress(OSError):
                _unshare()
                os._exit(0)
            os._exit(1)
        if os.waitpid(child, 0)[1] == 0:
            return "namespaces"
    return "account" if hasattr(os, "getuid") and os.getuid() == 0 else "limits"


# --- the judge's end ------------------------------------------------------------------------------


class Nursery:
    """Starts workers. Close it when the class is graded.

    Args:
        imports: the teacher's cell that imports what a lab needs; each worker then has it at once.
        unsafe: go on where the system keeps nothing in but time and memory.

    Raises:
        UnsafeError: it does not, and `unsafe` is False; says what to do.
    """

    def __init__(self, imports: str = "", unsafe: bool = False) -> None:
        self.level = level()
        self.uid = 60_000 + os.getpid() % 5000  # one of its own for each grader
        if self.level == "limits" and not unsafe:
            raise UnsafeError(
                "Here a learner's code could read the right answers and change the grades: this "
                "system has no user namespaces, and you are not root. Grade in a Linux container. If "
                "you trust this class, set c.Judge.unsafe = True in nbgrader_config.py."
            )
        self.folder = Path(tempfile.mkdtemp(prefix="nursery-"))
        self.folder.chmod(0o755)
        lay_out(self.folder / "course")
        (self.folder / "root").mkdir()
        self.socket, other = socket.socketpair()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(self.folder / "course"),
            "COURSE_CACHE": str(cache_dir()),
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            **dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"), "1"),
            **{"TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""},
            **{"MPLBACKEND": "agg", "HOME": str(self.folder), "IPYTHONDIR": f"{HOME}/.ipython"},
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "course_lib.grading.sandbox", str(other.fileno()), imports],
            pass_fds=[other.fileno()],
            cwd=self.folder,
            env=environment,
        )
        other.close()

    def start(self, files: Path | None) -> tuple[int, socket.socket, int]:
        """A worker whose home holds copies of these files: its process, its socket, what it prints."""
        mine, its = socket.socketpair()
        read, write = os.pipe()
        os.set_blocking(read, False)
        order: dict[str, Any] = {"files": files and str(files), "level": self.level}
        hidden = [str(HOUSE), str(Path.cwd()), *map(str, HOUSE.parent.glob("[!.]*"))]
        order |= {"uid": self.uid, "hidden": hidden}
        socket.send_fds(self.socket, [json.dumps(order).encode()], [its.fileno(), write])
        its.close()
        os.close(write)
        answer = self.socket.recv(100)
        if not answer:
            raise RuntimeError("What starts workers has ended; its message stands above.")
        return int(answer), mine, read

    def end(self, pid: int) -> None:
        """End a worker and all that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.level == "namespaces":
                os.kill(pid, signal.SIGTERM)  # the first process of the namespace passes it on
            elif self.level == "account" and not (child := os.fork()):
                _drop(self.uid)
                os.kill(-1, signal.SIGKILL)  # whatever this user runs
                os._exit(0)
            elif self.level == "account":
                os.waitpid(child, 0)
            else:
                os.killpg(pid, signal.SIGKILL)
            while True:  # until it is gone
                os.kill(pid, 0)
                time.sleep(0.005)

    def close(self) -> None:
        self.socket.close()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def lay_out(course: Path) -> None:
    """The course without its right answers: of the checks only what labs ask for besides them."""
    skip = shutil.ignore_patterns("__pycache__", "lesson?.py")
    shutil.copytree(HOUSE, course / "course_lib", ignore=skip)
    checks = course / "course_lib" / "checks"
    for path in checks.iterdir():
        if path.name not in ("__init__.pyi", "given.py", "guarding.py"):
            path.unlink()
    shutil.copy(HOUSE / "grading" / "stand_in.py", checks / "__init__.py")


def taken(pid: int) -> int:
    """Bytes of memory that a worker and all that it has started have for themselves (Linux)."""
    parents, sizes = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages, one = (entry / "statm").read_text().split(), int(entry.name)
            parents[one] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            sizes[one] = (int(pages[1]) - int(pages[2])) * resource.getpagesize()
    family = {pid}
    while more := {one for one, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(sizes.get(one, 0) for one in family)


# --- the nursery ----------------------------------------------------------------------------------


def main(control: socket.socket) -> None:
    """Fork a worker for each order that comes, until the judge has closed the socket."""
    from course_lib.grading import worker  # noqa: F401, with all that it imports

    warm(sys.argv[2])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        order, fds, _, _ = socket.recv_fds(control, 4096, 2)
        if not order:
            return
        child = os.fork()
        if child:
            for fd in fds:
                os.close(fd)
            control.sendall(str(child).encode())
            continue
        control.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _live(json.loads(order), *fds)


def warm(imports: str) -> None:
    """Import what a lab imports, and what PyTorch does when it is first used, once for all workers."""
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1).step()
    with contextlib.suppress(
        Exception
    ):  # then each worker imports by itself, or says what is missing
        exec(imports, {})


def _live(order: dict[str, Any], fd: int, output: int) -> None:
    """A worker's whole life, in the process that the nursery has just forked; it does not return."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _prctl(1, signal.SIGKILL)  # it does not outlive the nursery
    if order["level"] == "namespaces":
        _unshare()
        inner = os.fork()
        if inner:  # this one keeps the number that the judge knows
            signal.signal(signal.SIGTERM, lambda *_: os.kill(inner, signal.SIGKILL))
            with contextlib.suppress(ChildProcessError):
                os.waitpid(inner, 0)
            os._exit(0)
        _prctl(1, signal.SIGKILL)
        _own_root(order["files"], order["hidden"])
        inner = os.fork()
        if inner:  # the first process of the namespace: all others end with it
            with contextlib.suppress(ChildProcessError):
                while os.wait()[0] != inner:
                    pass
            os._exit(0)
    else:
        home = tempfile.mkdtemp(dir=Path(os.environ["PYTHONPATH"]).parent)
        if order["files"]:
            shutil.copytree(order["files"], home, dirs_exist_ok=True)
        if order["level"] == "account":
            for place in (home, *map(str, Path(home).rglob("*"))):
                os.chown(place, order["uid"], order["uid"])
        os.environ |= {"HOME": home, "IPYTHONDIR": f"{home}/.ipython"}
        os.chdir(home)
        os.setsid()
    for source, number in ((output, 1), (output, 2), (os.open("/dev/null", os.O_RDONLY), 0)):
        os.dup2(source, number)
    _drop(order["uid"])
    _limit()
    os.closerange(3, fd)
    os.closerange(fd + 1, 256)
    from course_lib.grading import worker

    with contextlib.suppress(BaseException):
        worker.serve(socket.socket(fileno=fd))
    os._exit(0)


def _unshare() -> None:
    """Namespaces of its own; a user namespace first where that is what allows the others."""
    user, group = os.getuid(), os.getgid()
    if user == 0:
        with contextlib.suppress(OSError):
            return _check(_libc().unshare(_NEW))
    _check(_libc().unshare(_NEW | _USER))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _own_root(files: str | None, hidden: list[str]) -> None:
    """A root folder that holds Python, the course without answers, the cache, and a home."""
    _mount("none", "/", "", _RECURSIVE | _PRIVATE)
    root = str(Path(os.environ["PYTHONPATH"]).with_name("root"))
    size = f"size={LIMITS['disk']},mode=755"
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, size)
    system = ["/usr", "/lib", "/lib64", "/bin", "/etc"]
    python = [sys.prefix, sys.base_prefix, os.environ["PYTHONPATH"]]
    for path in dict.fromkeys(map(os.path.realpath, [*system, *python])):
        if os.path.isdir(path):
            _bind(path, root + path)
    for path in [*hidden, "/usr/local/share/nbgrader"]:  # where one of these lies in what is shown
        if os.path.isdir(root + path) and not any(one.startswith(path) for one in python):
            _mount("tmpfs", root + path, "tmpfs", _READ_ONLY)
    for path in system:  # /bin → usr/bin
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
    for name in ("null", "zero", "full", "random", "urandom"):
        place = Path(root, "dev", name)
        place.parent.mkdir(exist_ok=True)
        place.touch()
        _mount(f"/dev/{name}", str(place), "", _BIND)
    for name in ("dev/shm", "tmp", HOME[1:], "cache", "proc"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
        os.chmod(f"{root}/{name}", 0o1777)
    _mount("proc", f"{root}/proc", "proc", _NOSUID | _NODEV)
    _cache(root)
    if files:
        shutil.copytree(files, root + HOME, symlinks=True, dirs_exist_ok=True)
        for one in (Path(root + HOME), *Path(root + HOME).rglob("*")):
            if not one.is_symlink():
                one.chmod(0o777 if one.is_dir() else 0o666)
    os.chdir(root)
    old = f"{root}/old"
    os.mkdir(old)
    _check(_libc().syscall(_PIVOT_ROOT, root.encode(), old.encode()))
    os.chdir("/")
    _check(_libc().umount2(b"/old", _DETACH))
    os.rmdir("/old")
    os.chdir(HOME)
    os.environ |= {"HOME": HOME, "COURSE_CACHE": "/cache", "TMPDIR": "/tmp"}


_PIVOT_ROOT = 41 if platform.machine() == "aarch64" else 155  # the number of this system call


def _cache(root: str) -> None:
    """The cache: what lies in it is read, what is written stays in the sandbox."""
    real = os.environ["COURSE_CACHE"]
    upper, work = Path(root, ".layers", "upper"), Path(root, ".layers", "work")
    for folder in (upper, work):
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    layers = f"lowerdir={real},upperdir={upper},workdir={work}"
    cache = Path(root, "cache")
    for how in ("metacopy=on", "userxattr"):  # with the first, a new mode copies no file
        with contextlib.suppress(OSError):
            _mount("overlay", str(cache), "overlay", _NOSUID | _NODEV, f"{layers},{how}")
            break
    else:
        return _bind(real, str(cache))  # then nothing can be written to it
    for found in (path for pattern in ANSWERS for path in cache.glob(pattern)):
        shutil.rmtree(found, ignore_errors=True)
    for place, _, names in os.walk(cache):  # the grader's files may be for the grader alone
        os.chmod(place, 0o777)
        for file in (Path(place, name) for name in names):
            found = file.lstat()
            if stat.S_ISREG(found.st_mode) and not found.st_mode & 0o004 and os.getuid() == 0:
                file.chmod(0o666)


def _bind(path: str, place: str) -> None:
    os.makedirs(place, exist_ok=True)
    _mount(path, place, "", _BIND | _RECURSIVE)
    with contextlib.suppress(OSError):  # of a user namespace not all flags may go
        _mount("none", place, "", _BIND | _REMOUNT | _READ_ONLY | _NOSUID | _NODEV)


def _drop(uid: int) -> None:
    """No rights: another user where root may choose one, no capabilities in any case."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    if sys.platform == "linux":
        _prctl(1, signal.SIGKILL)  # a new user loses it
        _prctl(38, 1)  # no new ones, ever
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        _libc().capset(header, none)


def _limit() -> None:
    mapped = LIMITS["memory"] + 4096 * MB  # libraries map much that they never touch
    limits = {"AS": mapped, "FSIZE": LIMITS["disk"], "NPROC": LIMITS["processes"]}
    for name, most in (limits | {"NOFILE": LIMITS["files"], "CORE": 0}).items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


@contextlib.contextmanager
def in_memory(most: int) -> Iterator[None]:
    """What asks for more memory stops with an error: a network of a learner's may be made to."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _mount(source: str, place: str, kind: str, flags: int, data: str = "") -> None:
    texts = (source.encode(), place.encode(), kind.encode() or None)
    _check(_libc().mount(*texts, ctypes.c_ulong(flags), data.encode() or None))


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _libc().prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
