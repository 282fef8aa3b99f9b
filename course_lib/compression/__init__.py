"""Your own text classifier, compressed in one call: measure, prune, distill, int8, measure again.

`pipeline.compress` combines what `structured`, `distillation` and `quantization` do, for people with a
file of labeled texts. ``python -m course_lib compress`` calls it. Explained in lesson 6.
"""

from course_lib.compression.pipeline import compress
from course_lib.compression.report import Report
from course_lib.compression.shapes import Shape, Target
from course_lib.compression.work import Options

__all__ = ["Options", "Report", "Shape", "Target", "compress"]
