"""The sliders. What each one shows is a pure function of its position (`…_view`), which tests call.

``…_explorer(…)`` is the slider in a notebook, ``…_chart(…)`` the drawing that stays the same at all
positions. `states` and `static_html` bring a slider to a page that has no kernel.
"""

from course_lib.lessons.sliders.amount import Smaller, amount_explorer, amount_table, measured
from course_lib.lessons.sliders.attention import (
    answers_explorer,
    attention_explorer,
    attention_maps,
    overlap,
)
from course_lib.lessons.sliders.bits import bits_explorer
from course_lib.lessons.sliders.charts import State
from course_lib.lessons.sliders.compression import (
    Variant,
    compression_explorer,
    grid_variants,
    pareto,
    prices,
)
from course_lib.lessons.sliders.depth import Depth, depth_explorer
from course_lib.lessons.sliders.sparsity import sparsity_explorer
from course_lib.lessons.sliders.static import Control, page_script, states, static_html
from course_lib.lessons.sliders.temperature import temperature_explorer
from course_lib.lessons.sliders.wiring import Explorer, explore

__all__ = [
    "Control",
    "Depth",
    "Explorer",
    "Smaller",
    "State",
    "Variant",
    "amount_explorer",
    "amount_table",
    "answers_explorer",
    "attention_explorer",
    "attention_maps",
    "bits_explorer",
    "compression_explorer",
    "depth_explorer",
    "explore",
    "grid_variants",
    "measured",
    "overlap",
    "page_script",
    "pareto",
    "prices",
    "sparsity_explorer",
    "states",
    "static_html",
    "temperature_explorer",
]
