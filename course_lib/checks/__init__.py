"""Does this answer to an exercise hold? If not, which mistake is it? One module a lesson.

``checks.sparsity(sparsity)`` takes the learner's own function. It prints what it checked and what it
did not, or raises `WrongAnswerError` with a message that fits on one screen.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
