"""Write requirements.lock: every package that the course installs, with the checksum of its wheel.

python tools/lock.py     after constraints.txt changed; on Linux x86-64 with Python 3.11

Versions are those of constraints.txt. Each line ends with the groups that need the package: the
extras of pyproject.toml; `cpu`, PyTorch's CPU build; and `cuda`, the public index's build, with what it
needs. tools/setup_env.py installs the groups that are asked for, and one of the last two.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
HEADER = """\
# Made by tools/lock.py; see there. For Linux x86-64 and Python 3.11, wheels only. pip compares every
# checksum: pip install --require-hashes --no-deps -r requirements.lock
# (without the lines for cuda, or without the one for cpu). `make setup` chooses.
"""


def resolve(*requirements: str, public: bool = True) -> list[dict[str, Any]]:
    """What pip would install, as its report has it; nothing is installed.

    Args:
        requirements: as pip takes them.
        public: ask the public index alone; else those that pip is set up for.
    """
    environment = dict(os.environ)
    if public:
        environment["PIP_CONFIG_FILE"] = os.devnull
        for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
            environment.pop(name, None)
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--only-binary", ":all:", "--report", "-", "-c", str(ROOT / "constraints.txt")]
    done = subprocess.run(
        [*command, *requirements], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)["install"]


def key(item: dict[str, Any]) -> str:
    """``name==version``, as the lock has it."""
    name = item["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
    return f"{name}=={item['metadata']['version']}"


def main() -> None:
    """Write the lock, with one call of pip for each extra."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project, build = settings["project"], settings["build-system"]["requires"]
    tested = (ROOT / "constraints.txt").read_text("utf-8").lower().replace("_", "-").splitlines()
    torch = next(line for line in tested if line.startswith("torch=="))
    hashes: dict[str, str] = {}
    groups: dict[str, set[str]] = defaultdict(set)
    for extra, lines in project["optional-dependencies"].items():
        for item in resolve(*project["dependencies"], *lines, *build, torch):
            hashes[key(item)] = item["download_info"]["archive_info"]["hashes"]["sha256"]
            known = {key(item), key(item).partition("==")[0]} & {*tested, "setuptools"}
            groups[key(item)].add(extra if known and key(item) != torch else "cuda")
    (item,) = resolve("--no-deps", torch, public=False)
    if key(item) == torch:
        sys.exit("pip is set up for no CPU build of PyTorch here: add its index, then try again.")
    hashes[key(item)] = item["download_info"]["archive_info"]["hashes"]["sha256"]
    groups[key(item)].add("cpu")
    rows = [
        f"{name} --hash=sha256:{hashes[name]}  # {' '.join(sorted(groups[name]))}"
        for name in sorted(hashes)
    ]
    LOCK.write_text(HEADER + "\n".join(rows) + "\n", "utf-8")
    print(f"{LOCK.name}: {len(rows)} packages")


if __name__ == "__main__":
    main()
