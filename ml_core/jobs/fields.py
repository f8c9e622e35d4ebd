"""Fields that the records of several kinds of job have. Torch-free.

In all of them ``checkpoint`` is a file, a folder or ``hf-hub:owner/name``; ``donor`` is a whole
CLIP that supplies the encoder which a file lacks; ``use_choice`` says whether the settings that the
doctor remembers for the file are used; ``label_set`` is a name or a text file with one class a
line; ``templates`` are prompt templates, None for those of the label set; ``output_dir`` is the
folder of everything that is written.
"""

from __future__ import annotations

from typing import Annotated

from ml_core.options import option

Device = Annotated[
    str,
    option(
        help="auto, cpu, mps or cuda:N.",
        flag="--device",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
    ),
]
Threads = Annotated[
    int,
    option(
        help="CPU threads; 0: OMP_NUM_THREADS, else all cores but one, or both of two.",
        flag="--threads",
        ge=0,
        le=1024,
    ),
]
Processes = Annotated[int, option(help="Processes that share the work, one a GPU.", ge=1, le=1024)]
Target = Annotated[int, option(help="Index of the target class in the label set.", ge=0, lt=2**31)]
