"""The sliders. What each one shows is a pure function of its position (`…_view`), which tests call.

``…_explorer(…)`` is the slider in a notebook, ``…_chart(…)`` the drawing that stays the same at all
positions. `states` and `static_html` bring a slider to a page that has no kernel.
"""

from course_lib.lessons.sliders.advice import Advice, advise, chooser, decision_table
from course_lib.lessons.sliders.amount import Smaller, amount_explorer
from course_lib.lessons.sliders.attention import (
    answers_explorer,
    attention_explorer,
    attention_maps,
    overlap,
)
from course_lib.lessons.sliders.charts import State
from course_lib.lessons.sliders.compression import Variant, compression_explorer, pareto
from course_lib.lessons.sliders.depth import Depth, depth_explorer
from course_lib.lessons.sliders.sparsity import sparsity_explorer
from course_lib.lessons.sliders.static import Control, page_script, states, static_html
from course_lib.lessons.sliders.temperature import grid_explorer, temperature_explorer
from course_lib.lessons.sliders.wiring import Explorer, explore

__all__ = [
    "Advice",
    "Control",
    "Depth",
    "Explorer",
    "Smaller",
    "State",
    "Variant",
    "advise",
    "amount_explorer",
    "answers_explorer",
    "attention_explorer",
    "attention_maps",
    "chooser",
    "compression_explorer",
    "decision_table",
    "depth_explorer",
    "explore",
    "grid_explorer",
    "overlap",
    "page_script",
    "pareto",
    "sparsity_explorer",
    "states",
    "static_html",
    "temperature_explorer",
]
