from .loop import fit as fit
from .recipe import Fitted as Fitted
from .recipe import Loss as Loss
from .recipe import Recipe as Recipe
from .recipe import cross_entropy as cross_entropy
from .recipe import next_token_loss as next_token_loss
from .recipe import recipe_fields as recipe_fields
