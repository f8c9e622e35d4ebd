"""From a file to a CLIP and back. Importing this package imports no torch.

`ml_core.checkpoints.save.save_checkpoint` writes and
`ml_core.checkpoints.tensor_stats.tensor_stats` looks into single tensors.
"""

from ml_core.checkpoints.architecture import Architecture
from ml_core.checkpoints.open import Checkpoint, open_checkpoint

__all__ = ["Architecture", "Checkpoint", "open_checkpoint"]
