"""The implementations that the course's notebooks call. Each module is one idea.

Importing the package imports nothing else, so that ``python -m course_lib doctor`` works where a
dependency is missing or broken.
"""

__version__ = "0.1.0"
