"""The implementations that the course's notebooks call. Each module is one idea.

Importing the package imports nothing else, so that ``python -m course_lib doctor`` works where a
dependency is missing or broken.
"""

import os

__version__ = "0.1.0"

# Threads that wait for each other shall sleep, not spin: on a laptop with other work to do, spinning
# makes small networks ten times slower. OpenMP reads this when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
