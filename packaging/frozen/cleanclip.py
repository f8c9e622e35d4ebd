"""What the frozen `cleanclip` runs: `python -m ml_core`."""

import runpy

runpy.run_module("ml_core", run_name="__main__", alter_sys=True)
