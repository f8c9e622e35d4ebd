"""torch is imported without stopping the window."""

import contextlib
import gc
import subprocess
import sys

import pytest

from cleanclip_gui.inference import torch_import, worker
from cleanclip_gui.inference.torch_import import (
    imported_beside_the_window,
    load_unlocked,
    torch_library,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


def test_the_collector_rests_meanwhile_and_goes_on_afterwards(monkeypatch):
    monkeypatch.setattr(torch_import, "torch_library", lambda: None)
    assert gc.isenabled()
    try:
        with imported_beside_the_window():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        with pytest.raises(ImportError), imported_beside_the_window():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.enable()


def test_torchs_library_is_found():
    library = torch_library()
    assert library is not None
    assert library.parent.parent.name == "torch"


@linux
def test_a_library_is_loaded_and_one_that_is_none_is_not(tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"no library")
    assert not load_unlocked(broken)
    assert not load_unlocked(tmp_path / "missing.so")
    code = (
        "import sys; from pathlib import Path\n"
        "from cleanclip_gui.inference.torch_import import load_unlocked, torch_library\n"
        "assert 'torch' not in sys.modules\n"
        "assert load_unlocked(torch_library())\n"
        "assert 'libtorch_cpu' in Path('/proc/self/maps').read_text()\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_open_clip_is_there_before_a_checkpoint_is_chosen(monkeypatch):
    monkeypatch.setattr(worker, "imported_beside_the_window", contextlib.nullcontext)
    monkeypatch.delitem(sys.modules, "ml_core.last_layer", raising=False)
    worker._torch_engine(lambda what, done, total: None)
    assert "ml_core.last_layer" in sys.modules
