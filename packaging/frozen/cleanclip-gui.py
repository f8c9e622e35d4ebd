"""What the frozen `cleanclip-gui` runs: `python -m cleanclip_gui`."""

import runpy

runpy.run_module("cleanclip_gui", run_name="__main__", alter_sys=True)
