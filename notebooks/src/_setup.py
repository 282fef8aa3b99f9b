# This cell finds the course, or installs it. Run it as often as you like.
import importlib.metadata as packages
import importlib.util
import subprocess
import sys
from pathlib import Path

REPOSITORY = ""  # filled in from pyproject.toml
if not importlib.util.find_spec("course_lib") and Path("../course_lib").is_dir():
    sys.path.insert(0, str(Path.cwd().parent))  # a clone that nobody has installed
missing = [m for m in ("course_lib", "torch", "onnxscript") if not importlib.util.find_spec(m)]
if missing and not REPOSITORY:
    cure = "clone the project, run `make lab` in it (or its README's commands), open this there"
    raise ModuleNotFoundError(f"{', '.join(missing)} not found: {cure}")
if missing:  # naming the torch that is here, at its version, keeps pip from replacing it
    torches = [f"torch=={found.version}" for found in packages.distributions(name="torch")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", f"git+{REPOSITORY}"]
    subprocess.run(pip + torches[:1], check=True)
    importlib.invalidate_caches()
importlib.import_module("course_lib.lessons.settings").prepare_process()  # before PyTorch loads
course = [found.version for found in packages.distributions(name="small-networks-course")]
here = f"course_lib {(course or ['(clone)'])[0]} · Python {sys.version.split()[0]}"
print(f"{here} · torch {packages.version('torch')}")
