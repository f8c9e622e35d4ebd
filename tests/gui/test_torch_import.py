"""torch is imported without stopping the window."""

import gc
import os
import subprocess
import sys

import pytest

from cleanclip_gui.inference import inference
from cleanclip_gui.inference.inference import imported_beside_the_window, load_unlocked

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


def test_the_collector_rests_meanwhile_and_goes_on_afterwards(monkeypatch):
    monkeypatch.setattr(inference, "torch_library", lambda: None)
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


@linux
def test_a_library_is_loaded_and_one_that_is_none_is_not(tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"no library")
    assert not load_unlocked(broken)
    assert not load_unlocked(tmp_path / "missing.so")
    code = (
        "import sys; from pathlib import Path\n"
        "from cleanclip_gui.inference.inference import load_unlocked, torch_library\n"
        "assert 'torch' not in sys.modules\n"
        "assert load_unlocked(torch_library())\n"
        "assert 'libtorch_cpu' in Path('/proc/self/maps').read_text()\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


_SLOW_OPEN_CLIP = {  # as open_clip, whose package imports its modules and takes its time
    "__init__": (
        "import sys, time\n"
        "sys.modules['__main__'].begun.set()\n"
        "time.sleep(0.3)\n"
        "from . import coca_model, model, modified_resnet, tokenizer, transformer\n"
        "get_model_config = None\n"
    ),
    "coca_model": (
        "import time\n"
        "time.sleep(0.6)\n"
        "from .modified_resnet import AttentionPool2d\n"
        "class CoCa: pass\n"
    ),
    "model": (
        "class CLIP:\n"
        "    def __init__(self, **config): pass\n"
        "CustomTextCLIP = CLIPTextCfg = CLIPVisionCfg = CLIP\n"
    ),
    "modified_resnet": "class AttentionPool2d: pass",
    "tokenizer": "get_clean_fn = tokenize = None",
    "transformer": "class ResidualAttentionBlock: pass\nclass VisionTransformer: pass",
}
_TWO_THREADS = """
import threading
import torch
import ml_core.towers

begun, failed = threading.Event(), []
threading.excepthook = lambda crash: failed.append(f"{crash.exc_type.__name__}: {crash.exc_value}")

def start_engine():
    import ml_core.last_layer

def examine():
    begun.wait(60)
    ml_core.towers.make_module({"vision_cfg": {}, "text_cfg": {}})

threads = [threading.Thread(target=work) for work in (start_engine, examine)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
print(*failed or ["both"], sep="; ")
"""


def test_two_threads_may_need_open_clip_at_once(tmp_path):
    package = tmp_path / "open_clip"
    package.mkdir()
    for name, text in _SLOW_OPEN_CLIP.items():
        (package / f"{name}.py").write_text(text)
    ran = subprocess.run(
        [sys.executable, "-c", _TWO_THREADS],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "both\n"
