"""Make an account for each learner: sudo python3 add_learners.py names.txt > passwords.csv

names.txt has one name a line. Each new account gets a random password, a home that only its owner can
open, and the group `learners`. What is printed is NAME,PASSWORD. Accounts that exist are left alone.
"""

import argparse
import pwd
import re
import secrets
import subprocess
import sys
from pathlib import Path

GROUP = "learners"
GROUPS = (GROUP, "teachers")  # the hub asks for both


def names_in(text: str) -> list[str]:
    """The names, one a line; empty lines do not count.

    Raises:
        ValueError: a name that no account may have.
    """
    names = text.split("\n")
    names = [name.strip() for name in names if name.strip()]
    if wrong := [name for name in names if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name)]:
        raise ValueError(
            f"These names cannot be accounts: {', '.join(wrong[:5])}. Use small letters, digits and "
            "hyphens, and begin with a letter."
        )
    if wrong := [name for name in names if name in GROUPS]:
        raise ValueError(
            f"No account can be called {wrong[0]}, because a group is. Change that name."
        )
    return names


def add(name: str) -> str:
    """Make the account `name`; its password, or "" where there is one of that name already."""
    try:
        pwd.getpwnam(name)
        return ""
    except KeyError:
        password = secrets.token_urlsafe(9)
    make = ["useradd", "--create-home", "--groups", GROUP, "--shell", "/bin/bash", name]
    subprocess.run(make, check=True)
    try:
        Path(pwd.getpwnam(name).pw_dir).chmod(0o700)
        subprocess.run(["chpasswd"], input=f"{name}:{password}\n", text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # else it would be left alone the next time
        subprocess.run(["userdel", "--remove", name], check=False)
        raise
    return password


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", type=Path, help="a text file with one name a line")
    try:
        names = names_in(parser.parse_args().names.read_text("utf-8"))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for group in GROUPS:
        subprocess.run(["groupadd", "--force", group], check=True)
    for name in names:
        if password := add(name):
            print(f"{name},{password}", flush=True)
        else:
            print(f"{name} is there already: left alone", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
