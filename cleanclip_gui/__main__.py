"""``python -m cleanclip_gui``; a frozen program starts its worker processes here too."""

import sys


def _start() -> int:
    """Dispatch the worker and the reader of files before Qt is imported."""
    if sys.argv[1:] == ["--reader"]:
        from ml_core.reading.worker import main as reader

        return reader()
    if sys.argv[1:] == ["--verifier"]:
        from ml_core.reports.verify.worker import main as verifier

        return verifier()
    if len(sys.argv) > 1 and sys.argv[1] == "--worker":
        from ml_core.jobs.worker import main as worker

        del sys.argv[1]
        return int(worker() or 0)
    if len(sys.argv) > 1 and sys.argv[1] == "--torchrun":
        from torch.distributed.run import main as torchrun

        torchrun(sys.argv[2:])
        return 0
    if len(sys.argv) == 3 and sys.argv[1] == "--tsne":
        from ml_core.evaluation.tsne_worker import main as layout

        return layout(sys.argv[2:])
    from cleanclip_gui.app import main

    return main()


if __name__ == "__main__":
    sys.exit(_start())
