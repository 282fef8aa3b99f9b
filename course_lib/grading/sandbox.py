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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import course_lib
from course_lib.cache import cache_dir
from course_lib.grading import family, memory

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
_BIND, _RECURSIVE, _PRIVATE, _READ_ONLY = 4096, 16384, 1 << 18, 1
_NOSUID, _NODEV, _DETACH = 2, 4, 2


class UnsafeError(RuntimeError):
    """This system cannot keep a learner's code in."""


class SandboxError(BaseException):
    """A sandbox could not be made: nobody's fault who is graded, so there is no grade."""


def level() -> str:
    """How well this system keeps a learner's code in: "namespaces", "account" or "limits"."""
    if sys.platform == "linux" and _in_child(_try_namespaces) == 0:
        return "namespaces"
    return "account" if hasattr(os, "getuid") and os.getuid() == 0 else "limits"


def _try_namespaces() -> None:
    """Whether it is allowed to make them, and to show a folder in them that cannot be written to."""
    _unshare()
    _mount("none", "/", "", _RECURSIVE | _PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV)
    _bind("/usr", "/tmp/usr")


def _in_child(work: Callable[[], object]) -> int:
    """What a fork of this process ends with that does this and nothing else: 0 if it went well."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


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
        if self.level == "account" and _in_child(self._read_cache):
            raise UnsafeError(
                f"Learners' code runs as another user here, who may not read all of {cache_dir()}. "
                "Set COURSE_CACHE to a folder that all users may read, and fetch the data again."
            )
        self.folder = Path(tempfile.mkdtemp(prefix="nursery-"))
        self.folder.chmod(0o755)
        self.group = memory.new_group(self.folder.name)
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

    def _read_cache(self) -> None:
        _drop(self.uid)
        for place in (cache_dir(), *cache_dir().rglob("*")):
            os.stat(place)
            if not os.access(place, os.R_OK | (os.X_OK if place.is_dir() else 0)):
                raise PermissionError(place)

    def start(self, files: Path | None) -> tuple[int, socket.socket, int]:
        """A worker whose home holds copies of these files: its process, its socket, what it prints.

        Raises:
            SandboxError: it could not be made; says why.
        """
        mine, its = socket.socketpair()
        read, write = os.pipe()
        os.set_blocking(read, False)
        order: dict[str, Any] = {"files": files and str(files), "level": self.level}
        order |= {"uid": self.uid, "hidden": hidden()}
        order["group"] = self.group and str(self.group)
        try:
            socket.send_fds(self.socket, [json.dumps(order).encode()], [its.fileno(), write])
            answer = self.socket.recv(100)
        except OSError as error:
            answer, said = b"", str(error)
        else:
            said = "what starts workers has ended; its message stands above"
        its.close()
        os.close(write)
        if answer:
            mine.settimeout(120)
            said = _first_words(mine)
        if said:
            mine.close()
            os.close(read)
            if answer:
                self.end(int(answer))
            raise SandboxError(f"The sandbox could not be made: {said}. There is no grade.")
        return int(answer), mine, read

    def greedy(self, pid: int) -> bool:
        """Whether the system has ended something of this worker's for its memory."""
        return self.group is not None and memory.was_full(self.group / str(pid))

    def end(self, pid: int) -> None:
        """End a worker and all that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.level == "namespaces":
                os.kill(pid, signal.SIGTERM)  # the first process of the namespace passes it on
            elif self.level == "account":
                _in_child(self._end_all)
            else:
                everyone = family.of(pid)  # some may have begun a session of their own
                os.killpg(pid, signal.SIGKILL)
                for one in everyone:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)
            while True:  # until it is gone
                os.kill(pid, 0)
                time.sleep(0.005)
        if self.group:
            memory.remove(self.group / str(pid))

    def _end_all(self) -> None:
        _drop(self.uid)
        os.kill(-1, signal.SIGKILL)  # whatever this user runs

    def close(self) -> None:
        self.socket.close()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.group:
            memory.remove(self.group)


def _first_words(mine: socket.socket) -> str:
    """What a new worker says before it runs anything: "" if all is well."""
    try:
        said = mine.recv(1)
        if said == b"+":
            return ""
        return (said + mine.recv(2000)).decode(errors="replace") or "it has ended at once"
    except OSError as error:
        return str(error)


def hidden() -> list[str]:
    """Where right answers, and what is the teacher's, may lie within what a worker is shown."""
    checkout = HOUSE.parent
    places = [HOUSE, Path.cwd(), Path("/usr/local/share/nbgrader")]
    if (checkout / "solutions").is_dir():
        places.append(checkout)
    return [*dict.fromkeys(str(one) for place in places for one in (place, place.resolve()))]


def lay_out(course: Path) -> None:
    """The course without its right answers: of the checks only what labs ask for besides them."""
    skip = shutil.ignore_patterns("__pycache__", "lesson?.py")
    shutil.copytree(HOUSE, course / "course_lib", ignore=skip)
    checks = course / "course_lib" / "checks"
    for path in checks.iterdir():
        if path.name not in ("__init__.pyi", "given.py", "guarding.py"):
            path.unlink()
    shutil.copy(HOUSE / "grading" / "stand_in.py", checks / "__init__.py")


# --- the nursery ----------------------------------------------------------------------------------


def main(control: socket.socket) -> None:
    """Fork a worker for each order that comes, until the judge has closed the socket."""
    from course_lib.grading import worker  # noqa: F401, with all that it imports

    warm(sys.argv[2])
    signal.signal(signal.SIGCHLD, _reap)
    while True:
        order, fds, _, _ = socket.recv_fds(control, 2**16, 2)
        if not order:
            return
        child = os.fork()
        if child:
            for fd in fds:
                os.close(fd)
            control.sendall(str(child).encode())
            continue
        try:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _live(json.loads(order), *fds)
        except BaseException as error:
            os.write(fds[0], f"{type(error).__name__}: {error}"[:2000].encode())
        finally:
            os._exit(1)


def _reap(*_: object) -> None:
    """Let go of the workers that have ended; what they have computed then counts as the nursery's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def warm(imports: str) -> None:
    """Import what a lab imports, and what PyTorch does when it is first used, once for all workers."""
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1).step()
    # Where that fails, each worker imports by itself, or says what is missing.
    with contextlib.suppress(Exception):
        exec(imports, {})


def _live(order: dict[str, Any], fd: int, output: int) -> None:
    """A worker's whole life, in the process that the nursery has just forked; it does not return."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()  # many processes of one session then get no more of a processor than one of another
    _prctl(1, signal.SIGKILL)  # it does not outlive the nursery
    # Where memory ends, it goes first. Hostile code can undo it, but for a root with CAP_SYS_RESOURCE.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if order["group"]:
        memory.join(Path(order["group"], str(os.getpid())), LIMITS["memory"])
    if order["level"] == "namespaces":
        _unshare()
        inner = os.fork()
        if inner:  # this one keeps the number that the judge knows
            signal.signal(signal.SIGTERM, lambda *_: os.kill(inner, signal.SIGKILL))
            with contextlib.suppress(ChildProcessError):
                os.waitpid(inner, 0)
            os._exit(0)
        _prctl(1, signal.SIGKILL)
        _own_root(order)
        inner = os.fork()
        if inner:  # the first process of the namespace: all others end with it
            with contextlib.suppress(ChildProcessError):
                while os.wait()[0] != inner:
                    pass
            os._exit(0)
    else:
        _prctl(36, 1)  # whose parent has ended stays one of its own
        home = tempfile.mkdtemp(dir=Path(os.environ["PYTHONPATH"]).parent)
        if order["files"]:
            shutil.copytree(order["files"], home, symlinks=True, dirs_exist_ok=True)
        if order["level"] == "account":
            for place in (home, *map(str, Path(home).rglob("*"))):
                os.chown(place, order["uid"], order["uid"], follow_symlinks=False)
        os.environ |= {"HOME": home, "IPYTHONDIR": f"{home}/.ipython"}
        os.chdir(home)
    for source, number in ((output, 1), (output, 2), (os.open("/dev/null", os.O_RDONLY), 0)):
        os.dup2(source, number)
    _drop(order["uid"])
    _limit()
    os.closerange(3, fd)
    os.closerange(fd + 1, 256)
    from course_lib.grading import worker

    os.write(fd, b"+")  # from here on it speaks as a learner's
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


def _own_root(order: dict[str, Any]) -> None:
    """A root folder that holds Python, the course without answers, the cache, and a home."""
    _mount("none", "/", "", _RECURSIVE | _PRIVATE)
    root = str(Path(os.environ["PYTHONPATH"]).with_name("root"))
    size = f"size={LIMITS['disk']},mode=755"
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, size)
    system = ["/usr", "/lib", "/lib64", "/bin", "/etc"]
    python = [sys.prefix, sys.base_prefix, os.environ["PYTHONPATH"]]
    python += [*map(os.path.realpath, python)]  # a home may be a link: both names must lead there
    for path in dict.fromkeys([*map(os.path.realpath, system), *python]):
        if os.path.isdir(path):
            _bind(path, root + path)
    for path in order["hidden"]:
        _hide(path, root, python)
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
    if order["files"]:
        shutil.copytree(order["files"], root + HOME, symlinks=True, dirs_exist_ok=True)
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
_MOUNT_SETATTR = 442  # of this one, everywhere
_OF_PYTHON = {"bin", "include", "lib", "lib64", "share", "pyvenv.cfg"}


def _hide(path: str, root: str, python: list[str]) -> None:
    """Nothing lies at this path any more, but for Python."""
    if path in ("/", "/tmp") or not os.path.isdir(root + path):  # a worker's own are others
        return
    inner = [one for one in dict.fromkeys(python) if Path(one).is_relative_to(path)]
    if path in inner:  # a virtual environment whose folder is the course's own
        for name in set(os.listdir(root + path)) - _OF_PYTHON:
            _cover(Path(root + path, name))
        return
    _cover(Path(root + path))
    for one in inner:
        _bind(one, root + one)


def _cover(place: Path) -> None:
    """Nothing is there any more."""
    if place.is_dir():
        _mount("tmpfs", str(place), "tmpfs", 0, "size=1m,mode=755")
    else:
        _mount("/dev/null", str(place), "", _BIND)


def _cache(root: str) -> None:
    """The cache: what lies in it is read, what is written stays in the sandbox."""
    real, cache, layers = os.environ["COURSE_CACHE"], Path(root, "cache"), Path(root, ".layers")
    for name in ("upper", "work"):
        (layers / name).mkdir(parents=True)
        (layers / name).chmod(0o1777)
    data = f"lowerdir={real},upperdir={layers}/upper,workdir={layers}/work"
    for how in ("metacopy=on", "userxattr"):  # with the first, a new mode copies no file
        with contextlib.suppress(OSError):
            _mount("overlay", str(cache), "overlay", _NOSUID | _NODEV, f"{data},{how}")
            break
    else:
        _bind(real, str(cache))  # then nothing can be written to it
        for found in (path for pattern in ANSWERS for path in cache.glob(pattern)):
            _cover(found)
        return
    _cover(layers)
    for found in (path for pattern in ANSWERS for path in cache.glob(pattern)):
        shutil.rmtree(found, ignore_errors=True)
    for name in ("zoo", "checkpoints", "demonstration"):  # a grader's folder may be made later
        (cache / name).mkdir(exist_ok=True)
    for place, _, names in os.walk(cache):  # the grader's files may be for the grader alone
        os.chmod(place, 0o777)
        for file in (Path(place, name) for name in names):
            mode = file.lstat().st_mode
            if stat.S_ISREG(mode) and not mode & 0o004 and os.getuid() == 0:
                file.chmod(0o666)


def _bind(path: str, place: str) -> None:
    """Show a folder, and all that is mounted in it, for reading."""
    os.makedirs(place, exist_ok=True)
    _mount(path, place, "", _BIND | _RECURSIVE)
    flags = (ctypes.c_uint64 * 4)(_READ_ONLY | _NOSUID | _NODEV, 0, 0, 0)
    where = ctypes.c_int(-100), place.encode(), ctypes.c_uint(0x8000)  # from here, and below it
    _check(_libc().syscall(_MOUNT_SETATTR, *where, flags, ctypes.c_size_t(32)))


def _drop(uid: int) -> None:
    """No rights: another user where root may choose one, no capabilities in any case."""
    if os.getuid() == 0 and _mapped(uid):
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    if sys.platform == "linux":
        _prctl(1, signal.SIGKILL)  # a new user loses it
        _prctl(38, 1)  # no new ones, ever
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        _libc().capset(header, none)


def _mapped(uid: int) -> bool:
    """Whether that user is there: a user namespace may know one user alone."""
    if sys.platform != "linux":
        return True
    rows = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(int(start) <= uid < int(start) + int(n) for start, _, n in rows)


def _limit() -> None:
    mapped = LIMITS["memory"] + 4096 * MB  # libraries map much that they never touch
    limits = {"AS": mapped, "FSIZE": LIMITS["disk"], "NPROC": LIMITS["processes"]}
    for name, most in (limits | {"NOFILE": LIMITS["files"], "CORE": 0}).items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


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
