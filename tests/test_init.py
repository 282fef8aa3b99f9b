"""What importing the package does to a process."""

import subprocess
import sys

CODE = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 0))  # registered first, called last
import course_lib
"""


def test_a_process_that_ends_does_not_look_for_garbage_once_more():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
