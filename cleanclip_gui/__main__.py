"""``python -m cleanclip_gui`` is the window; so is the frozen ``cleanclip-gui``."""

import sys

from ml_core.children import dispatch

if __name__ == "__main__":
    dispatch()  # before Qt is imported
    from cleanclip_gui.app import main

    sys.exit(main())
