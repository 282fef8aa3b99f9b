"""All drawings of the lessons under one name: ``diagrams.mask_times_weights(weights, mask)``.

Each function takes the numbers to draw, has an example as its default, and returns a
`sketch.Drawing`, which a cell displays by itself.
"""

from course_lib.lessons.diagrams_combined import factored_table, orders, what_goes
from course_lib.lessons.diagrams_distilbert import distill_before_or_after, share_of_gain
from course_lib.lessons.diagrams_distillation import (
    copied_layers,
    distilbert_losses,
    pipeline,
    teacher_and_student,
)
from course_lib.lessons.diagrams_losses import kl_terms, training_sets
from course_lib.lessons.diagrams_structure import (
    attention_head,
    channel_with_batch_norm,
    neuron_removed,
    residual_groups,
)
from course_lib.lessons.diagrams_transformer import gated_units, transformer_layer
from course_lib.lessons.diagrams_weights import (
    int8_number_line,
    mask_times_weights,
    sparse_storage,
    two_of_four,
)
from course_lib.lessons.diagrams_your_model import compress_steps, loss_verdicts, texts_cut

__all__ = [
    "attention_head",
    "channel_with_batch_norm",
    "compress_steps",
    "copied_layers",
    "distilbert_losses",
    "distill_before_or_after",
    "factored_table",
    "gated_units",
    "int8_number_line",
    "kl_terms",
    "loss_verdicts",
    "mask_times_weights",
    "neuron_removed",
    "orders",
    "pipeline",
    "residual_groups",
    "share_of_gain",
    "sparse_storage",
    "teacher_and_student",
    "texts_cut",
    "training_sets",
    "transformer_layer",
    "two_of_four",
    "what_goes",
]
