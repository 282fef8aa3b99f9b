from .distillation.loop import distill as distill
from .evaluation.prediction import evaluate as evaluate
from .evaluation.prediction import predict as predict
from .evaluation.size import footprint as footprint
from .evaluation.timing import latency as latency
from .pruning.masks import make_permanent as make_permanent
from .pruning.masks import sparsity as sparsity
from .pruning.unstructured import prune_weights as prune_weights
from .quantization.int8 import quantize as quantize
from .serialization import load as load
from .serialization import save as save
from .structured.latency_target import speed_up as speed_up
from .structured.removal import remove as remove
from .structured.removal import remove_layers as remove_layers
from .structured.selection import prune as prune
from .training.loop import fit as fit

__version__: str
