"""The commands behind ``python -m course_lib``."""
