"""A JupyterHub for a class on one machine; docs/hub.md says how to set it up, step by step.

sudo .venv/bin/jupyterhub -f deploy/jupyterhub/jupyterhub_config.py

Each learner has an account on this machine and works as that account, in a copy of the course of their
own. What can be set stands in SETTINGS; an environment variable of the same name wins.
"""

import grp
import os
import pwd
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyterhub.spawner import LocalProcessSpawner
from tornado.web import HTTPError

COURSE = Path(__file__).resolve().parents[2]
SETTINGS = {
    "HUB_ADDRESS": "http://127.0.0.1:8000",  # a web server with a certificate stands in front of it
    "HUB_STATE": "/var/lib/small-networks-hub",  # the hub's own files: its database, its secrets
    "HUB_CACHE": "/srv/small-networks/cache",  # data and trained models, which learners only read
    "HUB_AUTHENTICATOR": "pam",  # the accounts of this machine; or the name of another one
    "HUB_LEARNERS": "learners",  # who may log in: accounts of this group
    "HUB_TEACHERS": "teachers",  # and of this one, who may also stop the servers of others
    "HUB_MEMORY": "3G",  # the most that a learner may have; lesson 7 needs 6G
    "HUB_CPUS": "2",
    "HUB_IDLE": "3600",  # seconds after which a server that nobody uses is stopped
    "HUB_LIMITS": "auto",  # systemd where it runs, else process
    "HUB_TEST_PASSWORD": "",  # says that this is a test, and is everyone's password then
}
SET = {name: os.environ.get(name, value) for name, value in SETTINGS.items()}
PROCESSES = 512  # of a learner, with threads


class LimitedSpawner(LocalProcessSpawner):
    """A process of the learner's account, for a system without systemd.

    The limit on memory then holds for each process alone, and processor time has none.
    """

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        become = super().make_preexec_fn(name)

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_DATA, (self.mem_limit, self.mem_limit))
            resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
            become()

        return limited


def refuse(reason: str) -> None:
    sys.exit(f"The hub does not start: {reason}")


def check_authenticator(chosen: str) -> None:
    """A hub where any name and password is right must not start by accident."""
    given = [chosen, *sys.argv[1:]]
    if any("dummy" in word.lower() for word in given) and not SET["HUB_TEST_PASSWORD"]:
        refuse(
            "the dummy authenticator lets everybody in as anybody. Leave HUB_AUTHENTICATOR out: then "
            "learners log in with their accounts on this machine. For a test of the hub alone, set "
            "HUB_TEST_PASSWORD to a password that nobody knows."
        )


def check_machine() -> None:
    """What would only show when the first learner logs in."""
    if os.geteuid() != 0:
        refuse("it must be root, to give each learner a process of their own account. Use sudo.")
    for place in map(Path, (COURSE, sys.prefix, sys.base_prefix, SET["HUB_CACHE"])):
        closed = [
            one for one in (place, *place.parents) if one.exists() and not one.stat().st_mode & 1
        ]
        if closed:
            refuse(
                f"learners cannot open {closed[-1]}. Put the course, its Python and its cache where "
                "all accounts of this machine may read: docs/hub.md takes /opt/small-networks."
            )
    if not Path(SET["HUB_CACHE"], "fetched.txt").is_file():
        refuse(f"{SET['HUB_CACHE']} holds no data yet. docs/hub.md says how to fill it.")


def existing(*groups: str) -> set[str]:
    """Those of these groups that this machine has; JupyterHub lets nobody in where one is missing."""
    return {one.gr_name for one in grp.getgrall()} & {*groups}


def refuse_strangers(spawner: Any) -> None:
    """No server for an account outside both groups, however it came to be one of the hub's users."""
    account = pwd.getpwnam(spawner.user.name)
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    allowed = existing(SET["HUB_LEARNERS"], SET["HUB_TEACHERS"])
    if not any(grp.getgrnam(name).gr_gid in groups for name in allowed):
        raise HTTPError(403, f"{account.pw_name} is no learner and no teacher of this hub.")


def roles() -> list[dict[str, Any]]:
    """What the culler and teachers may do. Nobody is an admin, who could open any account."""
    members = {one for name in existing(SET["HUB_TEACHERS"]) for one in grp.getgrnam(name).gr_mem}
    teachers = sorted(members & {one.pw_name for one in pwd.getpwall()})
    stop = ["list:users", "read:servers", "delete:servers"]
    return [
        {"name": "culler", "services": ["culler"], "scopes": [*stop, "read:users:activity"]},
        {"name": "teacher", "users": teachers, "scopes": [*stop, "admin-ui"]},
        {"name": "admin", "users": []},
    ]


def find_proxy() -> list[str]:
    """The program that sends each request to its learner's server."""
    name = "configurable-http-proxy"
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name, path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if not found:
        refuse(f"{name} is missing. Install it with: make hub")
    return [str(found)]


def choose_spawner(c: Any) -> str:
    """Set limits for each learner, as far as this system offers them; which ones, in a sentence."""
    c.Spawner.mem_limit, c.Spawner.cpu_limit = SET["HUB_MEMORY"], float(SET["HUB_CPUS"])
    chosen = SET["HUB_LIMITS"]
    if chosen == "auto":
        chosen = "systemd" if Path("/run/systemd/system").is_dir() else "process"
    if chosen == "systemd":
        c.JupyterHub.spawner_class = "systemd"
        c.SystemdSpawner.isolate_tmp = True
        c.SystemdSpawner.disable_user_sudo = True
        c.SystemdSpawner.readonly_paths = [SET["HUB_CACHE"]]
        c.SystemdSpawner.unit_extra_properties = {"TasksMax": str(PROCESSES)}
        return "{HUB_MEMORY} of memory and {HUB_CPUS} cores for all that a learner runs (systemd)"
    c.JupyterHub.spawner_class = LimitedSpawner
    return (
        "{HUB_MEMORY} of memory for each process; none on cores, because systemd does not run here"
    )


def configure(c: Any) -> None:
    state = Path(SET["HUB_STATE"])
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    c.JupyterHub.bind_url = SET["HUB_ADDRESS"]
    c.JupyterHub.db_url = f"sqlite:///{state}/hub.sqlite"
    c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")
    c.ConfigurableHTTPProxy.command = find_proxy()
    c.ConfigurableHTTPProxy.pid_file = str(state / "proxy.pid")

    c.JupyterHub.authenticator_class = SET["HUB_AUTHENTICATOR"]
    allowed = existing(SET["HUB_LEARNERS"], SET["HUB_TEACHERS"])
    if SET["HUB_AUTHENTICATOR"] == "pam" and not allowed:
        refuse("nobody could log in. Make accounts with deploy/jupyterhub/add_learners.py first.")
    c.LocalAuthenticator.allowed_groups = allowed
    c.PAMAuthenticator.open_sessions = False
    if SET["HUB_TEST_PASSWORD"]:
        c.DummyAuthenticator.password = SET["HUB_TEST_PASSWORD"]
        c.DummyAuthenticator.allow_all = True

    c.Spawner.environment = {"HUB_CACHE": SET["HUB_CACHE"], "OMP_NUM_THREADS": SET["HUB_CPUS"]}
    c.Spawner.pre_spawn_hook = refuse_strangers
    c.Spawner.cmd = [sys.executable, str(COURSE / "deploy" / "jupyterhub" / "start_learner.py")]
    c.Spawner.default_url = "/lab/tree/README.md"
    c.Spawner.start_timeout = c.Spawner.http_timeout = 120
    print("Limits for each learner:", choose_spawner(c).format(**SET), flush=True)

    culler = [sys.executable, "-m", "jupyterhub_idle_culler", f"--timeout={SET['HUB_IDLE']}"]
    c.JupyterHub.services = [{"name": "culler", "command": culler}]
    c.JupyterHub.load_roles = roles()


check_authenticator(SET["HUB_AUTHENTICATOR"])
check_machine()
configure(get_config())  # noqa: F821, JupyterHub brings it
