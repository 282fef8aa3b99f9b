"""The implementations that the course's notebooks call. Each module is one idea.

Importing the package imports nothing else, so that ``python -m course_lib doctor`` works where a
dependency is missing or broken.
"""

import atexit
import gc
import os

__version__ = "0.1.0"

# A thread that waits for another shall spin briefly and then sleep. GNU OpenMP's default is to spin
# for long: on a machine with other work to do, small networks then train ten times slower. It is
# read when PyTorch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Python looks for garbage once more before it ends. Among all that torch and transformers hold this
# takes two seconds: so long you wait for a restarted kernel. What is frozen is not looked through.
atexit.register(gc.freeze)
