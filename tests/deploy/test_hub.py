"""The hub of one machine: two learners work on it side by side, and see nothing of each other."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest

from course_lib.cache import cache_dir
from course_lib.cached_files import cached_file
from course_lib.folder_checks import checked_folder

pytest.importorskip("jupyterhub", reason="make hub installs it")
import hub_driver as driver
from jupyterhub.auth import PAMAuthenticator
from traitlets.config import Config, PyFileConfigLoader
from traitlets.utils.importstring import import_item

BENCHMARKS = driver.ROOT / "benchmarks"
PROXY = shutil.which(
    "configurable-http-proxy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
)
NAMES = [f"ann-{os.getpid()}", f"ben-{os.getpid()}"]
TEACHER = f"tea-{os.getpid()}"
pytestmark = [
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="accounts are made by root"
    ),
    pytest.mark.skipif(not PROXY, reason="make hub installs the proxy, with npm"),
]


class Class(NamedTuple):
    """The hub, its two learners, a kernel of each, and where the hub's files are."""

    hub: driver.Hub
    learners: list[driver.Learner]
    kernels: list[Any]
    folder: Path
    passwords: dict[str, str]


@pytest.fixture(scope="module")
def open_doors() -> Iterator[None]:
    with driver.open_doors():
        yield


@pytest.fixture(scope="module")
def both(open_doors) -> Iterator[Class]:
    with driver.open_folder() as folder, driver.accounts(*NAMES, TEACHER) as passwords:
        subprocess.run(["usermod", "--append", "--groups", "teachers", TEACHER], check=True)
        with driver.serve(folder) as hub:
            with ThreadPoolExecutor(2) as pool:
                learners = list(pool.map(lambda name: driver.log_in(hub, name), NAMES))
                list(pool.map(lambda one: driver.start_server(hub, one), learners))
                kernels = list(pool.map(driver.open_kernel, learners))
            yield Class(hub, learners, kernels, folder, passwords)
            for kernel in kernels:
                kernel.close()


def first_cells(count: int = 5) -> list[str]:
    """The first code cells of lesson 1."""
    notebook = nbformat.read(driver.ROOT / "notebooks" / "01_pruning_basics.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"][:count]


def test_each_learner_runs_the_first_cells_of_lesson_1(both):
    cells = ["import os; os.environ['COURSE_PROFILE'] = 'quick'", *first_cells()]

    def run(kernel: Any) -> str:
        return "".join(driver.execute(kernel, cell) for cell in cells)

    with ThreadPoolExecutor(2) as pool:
        for printed in pool.map(run, both.kernels):
            assert "quick profile" in printed
            assert "parameters per training image" in printed


def test_each_learner_has_an_account_a_copy_of_the_course_and_the_shared_data(both):
    code = """
import course_lib, getpass, os
from course_lib.cache import cache_dir
print(getpass.getuser(), os.getcwd(), course_lib.__file__)
print(os.path.realpath(cache_dir() / "mnist_5k.safetensors"))
print(os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0])
"""
    for kernel, name in zip(both.kernels, NAMES, strict=True):
        user, place, library, data, settings = driver.execute(kernel, code).split()
        assert user == name
        assert Path(place) == Path("~" + name).expanduser() / "small-networks"
        assert Path(library).is_relative_to(driver.ROOT)
        assert Path(data) == both.folder / "cache" / "mnist_5k.safetensors"
        assert Path(settings) == driver.ROOT / "course_lib" / "cli" / "jupyter"


REFUSED = {
    "list its home": "os.listdir(home)",
    "read its file": "open(f'{home}/small-networks/mine.txt').read()",
    "change its file": "open(f'{home}/small-networks/mine.txt', 'w')",
    "read its variables": "open(f'/proc/{process}/environ').read()",
    "end its kernel": "os.kill(process, 9)",
    "change the shared data": "open(f'{folder}/cache/fetched.txt', 'w')",
    "read the hub's secrets": "os.listdir(f'{folder}/state')",
    "change the course": f"open({str(driver.CONFIG)!r}, 'a')",
}


def test_a_learner_sees_and_changes_nothing_of_the_other(both):
    pids = [int(driver.execute(kernel, "import os; print(os.getpid())")) for kernel in both.kernels]
    for kernel in both.kernels:
        driver.execute(kernel, "open('mine.txt', 'w').write('mine')")
    for kernel, name, pid in zip(both.kernels, NAMES[::-1], pids[::-1], strict=True):
        names = f"home, process, folder = {os.path.expanduser('~' + name)!r}, {pid}, "
        driver.execute(kernel, names + repr(str(both.folder)))
        for what, code in REFUSED.items():
            with pytest.raises(RuntimeError, match="PermissionError"):
                pytest.fail(f"{name}'s neighbor could {what}: {driver.execute(kernel, code)}")


def test_a_learner_cannot_use_the_server_of_the_other(both):
    for me, other in zip(both.learners, both.learners[::-1], strict=True):
        own = driver.ask(me, f"{me.server}/api/contents/mine.txt")
        assert own.status_code == 200 and own.json()["content"] == "mine"
        for place in ("contents/mine.txt", "kernels", "terminals"):
            assert driver.ask(me, f"{other.server}/api/{place}").status_code == 403
        assert driver.ask(me, f"{me.hub}/hub/api/users/{other.name}").status_code in (403, 404)
        assert driver.ask(me, f"{me.hub}/hub/api/users").status_code == 403


def test_a_wrong_password_opens_nothing(both):
    with pytest.raises(PermissionError):
        driver.log_in(both.hub._replace(password="wrong"), NAMES[0])


def test_a_cell_that_asks_for_too_much_memory_fails_and_the_kernel_lives(both):
    kernel = both.kernels[0]
    with pytest.raises(RuntimeError, match="MemoryError"):
        driver.execute(kernel, "much = bytearray(4 * 10**9)")
    assert driver.execute(kernel, "print(6 * 7)") == "42\n"


def test_what_stops_idle_servers_may_see_them(both):
    said = both.hub.log.read_text("utf-8")
    assert re.search(r"200 GET /hub/api/users\S* \(culler@127", said), said[-3000:]
    assert "Limits for each learner: 3G of memory for each process; none on cores" in said


def test_learners_move_the_slider_while_it_is_timed(both, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import bench_hub

    players = [bench_hub.Learner(learner) for learner in both.learners]
    moves = bench_hub.measure(both.hub, players, 2.0)
    assert len(bench_hub.measure(both.hub, players[:1], 3.0, pause=0.0).taken) > 2
    assert len(moves.taken) >= 2 and 0 < min(moves.taken) <= max(moves.taken) < 60
    assert 0 < moves.processor < 10
    assert len(bench_hub.report(2, moves, 2.0).split()) == 7


def test_no_more_learners_are_tried_than_memory_holds(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from bench_hub import ROOM, how_many_next

    assert how_many_next(4, 8, used=4e9, free=ROOM + 9e9) == 8
    assert how_many_next(4, 8, used=4e9, free=ROOM + 2.5e9) == 6
    assert how_many_next(4, 8, used=4e9, free=ROOM - 1e9) == 4
    assert how_many_next(4, 8, used=-1e9, free=ROOM + 9e9) == 8


def test_a_teacher_sees_and_stops_servers_and_opens_none(both):
    teacher, (ann, _) = driver.log_in(both.hub, TEACHER), both.learners
    users, address = f"{both.hub.url}/hub/api/users", f"{both.hub.url}/hub/api/users/{ann.name}"
    for one in (teacher, ann):  # who may open the page /hub/admin
        may = driver.ask(one, f"{both.hub.url}/hub/api/user").json()["scopes"]
        assert ("admin-ui" in may) == (one is teacher)
    found = {one["name"]: one for one in driver.ask(teacher, users).json()}
    assert found[ann.name]["servers"][""]["ready"]
    assert driver.ask(teacher, f"{ann.server}/api/contents").status_code == 403
    for place in ("tokens", "server"):
        assert driver.ask(teacher, f"{address}/{place}", "POST").status_code in (403, 404)
    assert driver.ask(teacher, f"{users}/someone", "POST").status_code == 403
    assert driver.ask(teacher, f"{address}/server", "DELETE").status_code in (202, 204)
    assert driver.ask(ann, f"{users}/{TEACHER}/server", "DELETE").status_code in (403, 404)


def test_an_account_outside_both_groups_gets_no_server(both):
    stranger = driver.log_in(both.hub, "nobody")  # the test's password lets everybody in
    address = f"{both.hub.url}/hub/api/users/nobody/server"
    refused = driver.ask(stranger, address, "POST")
    assert refused.status_code == 403 and "no learner and no teacher" in refused.text


# --- the config, without a hub --------------------------------------------------------------------


@pytest.fixture
def cache(monkeypatch) -> Iterator[Path]:
    """The shared cache of a hub, which looks as if it were filled."""
    with driver.open_folder() as folder:
        (folder / "fetched.txt").touch()
        monkeypatch.setenv("HUB_CACHE", str(folder))
        yield folder


@pytest.fixture
def load(open_doors, cache, tmp_path, monkeypatch):
    """A function: environment variables → the hub's config."""
    monkeypatch.setenv("HUB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HUB_LEARNERS", "root")  # a group that every machine has
    monkeypatch.setattr("sys.argv", ["jupyterhub"])
    monkeypatch.setattr("sys.path", sys.path[:])

    def loaded(**settings: str) -> Config:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        return PyFileConfigLoader(driver.CONFIG.name, str(driver.HERE)).load_config()

    return loaded


DUMMY = "The hub does not start: the dummy authenticator lets everybody in as anybody"


def test_a_hub_with_the_dummy_authenticator_does_not_start(tmp_path):
    command = [sys.executable, "-m", "jupyterhub", "-f", str(driver.CONFIG)]
    environment = os.environ | {"HUB_AUTHENTICATOR": "dummy"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and DUMMY in done.stderr


@pytest.mark.parametrize("word", ["dummy", "jupyterhub.auth.DummyAuthenticator", "=", " "])
def test_the_dummy_authenticator_is_refused_however_it_is_chosen(load, monkeypatch, word):
    if word in ("=", " "):  # after the flag of jupyterhub
        flag = f"--JupyterHub.authenticator_class{word}dummy"
        monkeypatch.setattr("sys.argv", ["jupyterhub", *flag.split()])
        word = "pam"
    with pytest.raises(SystemExit, match=DUMMY):
        load(HUB_AUTHENTICATOR=word)
    assert load(HUB_AUTHENTICATOR=word, HUB_TEST_PASSWORD="x").JupyterHub.authenticator_class


def test_without_a_word_learners_log_in_with_their_accounts(load):
    assert load().JupyterHub.authenticator_class == "pam"


def test_a_password_opens_the_account_and_only_for_learners_and_teachers(both, load):
    checker = PAMAuthenticator(config=load(HUB_LEARNERS="learners"))

    def opened(name: str, password: str) -> Any:
        given = {"username": name, "password": password}
        return asyncio.run(checker.get_authenticated_user(None, given))

    for name, password in both.passwords.items():
        assert opened(name, password)["name"] == name
    assert opened(name, "x" + password) is None  # PAM takes its time to say so
    assert not asyncio.run(_truth(checker.check_allowed("root", None)))


async def _truth(answer: Any) -> bool:
    return bool(await answer if asyncio.iscoroutine(answer) else answer)


@pytest.mark.parametrize("limits", ["systemd", "process"])
def test_every_setting_is_one_that_jupyterhub_knows(load, limits):
    config = load(HUB_LIMITS=limits)
    places = {
        "JupyterHub": "jupyterhub.app.JupyterHub",
        "ConfigurableHTTPProxy": "jupyterhub.proxy.ConfigurableHTTPProxy",
        "Spawner": "jupyterhub.spawner.Spawner",
        "SystemdSpawner": "systemdspawner.SystemdSpawner",
        **{name: f"jupyterhub.auth.{name}" for name in ("LocalAuthenticator", "PAMAuthenticator")},
    }
    for name, settings in config.items():
        known = import_item(places[name])
        assert [one for one in settings if not known.class_traits().get(one)] == [], name
    chosen = config.JupyterHub.spawner_class
    assert chosen == "systemd" if limits == "systemd" else chosen.__name__ == "LimitedSpawner"
    assert config.JupyterHub.bind_url == "http://127.0.0.1:8000"
    assert {"name": "admin", "users": []} in config.JupyterHub.load_roles


def test_a_hub_without_data_says_where_to_read_how_to_fill_it(load, cache):
    (cache / "fetched.txt").unlink()
    with pytest.raises(SystemExit, match=r"holds no data yet\. docs/hub\.md says"):
        load()


def test_a_hub_that_nobody_could_log_in_to_says_so(load):
    with pytest.raises(SystemExit, match=r"Make accounts with deploy/jupyterhub/add_learners\.py"):
        load(HUB_LEARNERS="no-such-group", HUB_TEACHERS="nor-this-one")


def test_a_hub_that_learners_could_not_read_says_so(load, cache):
    cache.chmod(0o700)
    with pytest.raises(SystemExit, match=rf"learners cannot open {cache}\."):
        load()


def test_a_hub_that_is_not_root_says_so(load, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match="it must be root"):
        load()


# --- what runs as the learner, and what makes accounts --------------------------------------------


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, driver.HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_changed_notebook_stays_and_a_deleted_one_comes_back(tmp_path):
    start = script("start_learner")
    start.copy_course(tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert {"README.md", "notebooks/01_pruning_basics.ipynb", "docs/pictures/01.png"} <= names
    assert {name.partition("/")[0] for name in names} == {*start.COPIED} - {"LICENSE"}
    assert "docs/instructors.md" not in names and "docs/hub.md" in names  # it has the answers
    assert not [name for name in names if name.endswith(".part")]
    mine, gone = (tmp_path / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS)
    mine.write_text("mine")
    gone.unlink()
    start.copy_course(tmp_path)
    assert mine.read_text() == "mine" and gone.stat().st_size > 1000


NOTEBOOKS = ("01_pruning_basics", "03_distillation_loss")


def test_an_interrupted_copy_is_not_taken_for_the_learners(tmp_path, monkeypatch):
    def interrupted(source: Path, target: Path) -> None:
        target.write_text("half")
        raise OSError

    start = script("start_learner")
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr("shutil.copyfile", interrupted)
        start.copy_course(tmp_path)
    start.copy_course(tmp_path)
    assert (tmp_path / "README.md").read_bytes() == (start.COURSE / "README.md").read_bytes()


def test_jupyterlab_has_the_courses_settings_whoever_starts_it(tmp_path, monkeypatch):
    started: list[str] = []
    monkeypatch.setattr("os.environ", {"HOME": str(tmp_path), "PATH": "/bin"})
    monkeypatch.setattr("os.execv", lambda _, command: started.extend(command))
    monkeypatch.setattr("sys.argv", ["start_learner.py", "--ip=0.0.0.0"])
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o022)
    try:
        script("start_learner").main()
    finally:
        os.umask(before)
    assert started[1:3] == ["-m", "jupyterhub.singleuser"] and started[-1] == "--ip=0.0.0.0"
    assert {"--LabApp.news_url=None", "--LabApp.extension_manager=readonly"} < {*started}
    assert not [one for one in started if "default_url" in one or "root_dir" in one]
    assert os.environ["JUPYTER_CONFIG_PATH"] == str(driver.ROOT / "course_lib" / "cli" / "jupyter")
    assert Path(os.environ["COURSE_CACHE"]).is_relative_to(tmp_path)


def test_shared_data_are_read_through_links_and_what_is_made_anew_is_the_learners(
    tmp_path, monkeypatch
):
    shared, own = cache_dir(), tmp_path / "own"
    monkeypatch.setenv("COURSE_CACHE", str(own))
    own.mkdir()
    data = "mnist_5k.safetensors"
    for name in ("of-last-week", data):
        (own / name).symlink_to(tmp_path / "gone")
    start = script("start_learner")
    start.link_cache(shared, own)
    assert not os.path.lexists(own / "of-last-week") and not list(own.rglob("*.lock"))
    assert (own / "sources" / "minilm").resolve() == (shared / "sources" / "minilm").resolve()
    checked_folder(own / "sources" / "minilm")  # it refuses links inside of a folder

    assert (own / data).is_symlink() and cached_file(data, pytest.fail) == own / data
    (own / data).unlink()
    cached_file(data, lambda path: path.write_text("mine"))  # in place of one that is damaged
    start.link_cache(shared, own)
    assert (own / data).read_text() == "mine" != (shared / data).read_bytes()[:4]


@pytest.mark.parametrize("name", ["Ann", "a b", "../ann", "-ann", "ann:x", "root\x00", "ä"])
def test_a_name_that_is_no_account_is_refused(name):
    with pytest.raises(ValueError, match="These names cannot be accounts"):
        script("add_learners").names_in(f"ann\n{name}\n")


@pytest.mark.parametrize("name", ["learners", "teachers"])
def test_a_name_that_is_a_group_is_refused(name):
    with pytest.raises(ValueError, match=f"No account can be called {name}, because a group is"):
        script("add_learners").names_in(f"ann\n{name}\n")


def test_an_account_without_a_password_is_taken_away(both, tmp_path, monkeypatch):
    name, broken = f"cat-{os.getpid()}", tmp_path / "chpasswd"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(subprocess.CalledProcessError):
        script("add_learners").add(name)
    assert subprocess.run(["id", name], capture_output=True).returncode == 1
    assert not Path("/home", name).exists()


def test_an_account_that_exists_is_left_alone(both, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text(f"root\n{NAMES[0]}\n\n")
    command = [sys.executable, str(driver.HERE / "add_learners.py"), str(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "" and done.stderr.count("is there already: left alone") == 2
    groups = subprocess.run(["id", "-nG", "root"], capture_output=True, text=True).stdout
    assert "learners" not in groups
