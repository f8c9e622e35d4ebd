"""What needs a CUDA device: ``pytest -m gpu``; skipped elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ml_core.cleaning.recipes import make_recipe
from ml_core.data.specs import ImageSpec
from ml_core.events import Message
from ml_core.jobs.demo import demo_checkpoint, demo_spec, demo_target
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.triggers import demo_trigger, save_trigger
from tests.unit.draining import events_of, finished, losses_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def spec(folder, **fields):
    recipe = make_recipe({"eval_every": 0, "save_every": 0, **fields})
    return demo_spec(recipe, folder, trigger=None, device="cuda", test_images=256)


def test_a_measurement_agrees_with_the_cpu(tmp_path):
    trigger = str(save_trigger(demo_trigger(), tmp_path / "trigger")[1])
    rates = []
    for device in ("cpu", "cuda"):
        job = MeasurementSpec(
            checkpoint=str(demo_checkpoint()), images=ImageSpec(split="test", n=512), device=device,
            trigger=trigger, target=demo_target(), output_dir=str(tmp_path / device),
        )  # fmt: skip
        result = finished(job).result
        rates.append((result["ca"], result["asr_excl"]))
    assert np.allclose(*rates, atol=0.01)


def test_a_batch_that_does_not_fit_goes_on_in_halves(tmp_path):
    fields: dict[str, object] = {
        "method": "mmcl", "batch_norm": "frozen", "batch_size": 1024, "pairs": 2048,
        "precision": "fp32", "warmup_steps": 1,
    }  # fmt: skip

    def measured(name, chunk=0):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        events, last = events_of(spec(tmp_path / name, **fields, cache_chunk=chunk))
        assert last.status == "finished", last.details
        return events, losses_of(events), torch.cuda.max_memory_reserved()

    _, expected, whole = measured("whole")
    _, _, quarter = measured("quarter", 256)
    assert quarter < 0.8 * whole
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((whole + quarter) / 2 / total)
    try:
        events, losses_of_halves, _ = measured("little")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    messages = [e.text for e in events if isinstance(e, Message) and "does not fit" in e.text]
    last = events[-1]
    assert last.result["cache_chunk"] == 1024 >> len(messages) < 1024
    assert "from step 1 on 512 are encoded at a time, through gradient caching" in messages[0]
    assert losses_of_halves == pytest.approx(expected, rel=1e-2)
