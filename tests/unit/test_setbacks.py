"""What a run does when something goes wrong on its way."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ml_core.atomic import replace_files
from ml_core.cleaning.batches import Batch
from ml_core.cleaning.loop import train
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.cleaning.state import read_facts
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, Done, Message, Metric, from_json
from ml_core.jobs.cluster import elsewhere, export_job
from ml_core.jobs.journal import write_json
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import CleanSpec, halved, read_spec, write_spec
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.triggers import badnets_patch, save_trigger
from ml_core.triggers.files import load_trigger
from tests.unit.draining import drain, finished
from tests.unit.small_jobs import small_recipe, small_spec
from tests.unit.tiny_models import batches
from tests.warm import Warm

RECIPE = make_recipe(
    {
        "method": "mmcl",
        "pairs": 24,
        "batch_size": 2,
        "warmup_steps": 0,
        "lr_end": 1.0,
        "eval_every": 0,
        "save_every": 2,
        "precision": "fp32",
    }
)


class _Broken:
    """The image encoder gives NaN at chosen calls, one call a step."""

    def __init__(self, model: ClipModel, calls: set[int], patch: pytest.MonkeyPatch) -> None:
        whole, self.count = model.module.encode_image, 0

        def encode(images: torch.Tensor) -> torch.Tensor:
            self.count += 1
            features: torch.Tensor = whole(images)  # type: ignore[operator]
            return features * float("nan") if self.count in calls else features

        patch.setattr(model.module, "encode_image", encode, raising=False)


def _train(model: ClipModel, path: Path, resume: bool = False, recipe: Recipe = RECIPE) -> Any:
    return train(model, recipe, batches(model, recipe), Control(), state_path=path, resume=resume)


def test_a_loss_that_is_no_number_goes_back_to_the_save_at_half_the_rate(
    tiny_model: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    _Broken(tiny_model, {6}, monkeypatch)
    events, outcome = drain(_train(tiny_model, path))
    said = [e.text for e in events if isinstance(e, Message) and e.level == "warning"]
    assert said == [
        "The loss became infinite or not a number at step 6: the run goes back to the save of "
        "step 4 and continues at half the learning rate."
    ]
    metrics = [e for e in events if isinstance(e, Metric)]
    assert [m.step for m in metrics] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12]
    assert {m.values["lr"] for m in metrics[:5]} == {RECIPE.lr}
    assert {m.values["lr"] for m in metrics[5:]} == {RECIPE.lr / 2}
    assert metrics[4].values["loss"] == metrics[5].values["loss"]  # the same step once more
    assert (outcome.status, outcome.step, outcome.rate_factor) == ("finished", 12, 0.5)
    assert read_facts(path)["rate_factor"] == 0.5


@pytest.mark.parametrize("broken", [1, 6])
def test_a_recipe_without_saves_goes_back_to_the_start(
    tiny_model: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    recipe, slower = RECIPE.changed(save_every=0), RECIPE.changed(save_every=0, lr=RECIPE.lr / 2)
    wanted = tiny_model.copy()
    _, _ = drain(train(wanted, slower, batches(wanted, slower), Control()))
    _Broken(tiny_model, {broken}, monkeypatch)
    events, outcome = drain(_train(tiny_model, tmp_path / "state.safetensors", recipe=recipe))
    said = [e.text for e in events if isinstance(e, Message) and e.level == "warning"]
    assert said == [
        f"The loss became infinite or not a number at step {broken}: the run goes back to the "
        "save of step 0 and continues at half the learning rate."
    ]
    steps = [e.step for e in events if isinstance(e, Metric)]
    assert steps == [*range(1, broken), *range(1, 13)]
    assert (outcome.status, outcome.step, outcome.rate_factor) == ("finished", 12, 0.5)
    found, whole = tiny_model.module.state_dict(), wanted.module.state_dict()
    assert all(torch.equal(whole[name], found[name]) for name in whole)


def test_a_kill_after_going_back_resumes_to_the_same_bits(
    tiny_model: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = [tiny_model.copy() for _ in range(2)]
    path = tmp_path / "state.safetensors"
    with monkeypatch.context() as patch:
        _Broken(tiny_model, {6}, patch)
        drain(_train(tiny_model, path))
    again = tmp_path / "again.safetensors"
    with monkeypatch.context() as patch:
        _Broken(fresh[0], {6}, patch)
        run = _train(fresh[0], again)
        for event in run:
            if isinstance(event, Message) and event.level == "warning":
                run.close()  # killed right after
                break
    assert read_facts(again)["step"] == 4
    drain(_train(fresh[1], again, resume=True))
    wanted, found = tiny_model.module.state_dict(), fresh[1].module.state_dict()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_the_second_time_ends_the_run_with_the_reason(
    tiny_model: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    _Broken(tiny_model, {6, 9}, monkeypatch)
    with pytest.raises(
        InputError, match=r"step 7 again, at half the learning rate: lower.* intact"
    ):
        drain(_train(tiny_model, path))
    assert read_facts(path)["step"] == 6
    _Broken(tiny_model, {1}, monkeypatch)
    with pytest.raises(InputError, match="again, at half"):
        drain(_train(tiny_model, path, resume=True))


def test_a_gradient_that_is_no_number_takes_no_step(tiny_model: ClipModel) -> None:
    scale = tiny_model.module.logit_scale
    scale.register_hook(lambda gradient: gradient * float("nan"))
    start = tiny_model.module.token_embedding.weight.detach().clone()
    with pytest.raises(InputError, match="step 1"):
        drain(train(tiny_model, RECIPE, batches(tiny_model, RECIPE), Control()))
    assert torch.equal(start, tiny_model.module.token_embedding.weight)


def test_a_more_careful_recipe_goes_on_from_the_same_save(
    tiny_model: ClipModel, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    recipe = RECIPE.changed(batch_norm="frozen", batch_size=4)
    whole = tiny_model.copy()
    _, _ = drain(train(whole, recipe, batches(whole, recipe), Control()))
    run = _train(tiny_model, path, recipe=recipe)
    for event in run:
        if isinstance(event, Metric) and event.step == 3:
            run.close()
            break
    careful = recipe.changed(cache_chunk=2)
    events, outcome = drain(_train(tiny_model, path, resume=True, recipe=careful))
    assert outcome.chunk == 2
    assert next(e.step for e in events if isinstance(e, Metric)) == 3
    weight = tiny_model.module.visual.conv1.weight
    torch.testing.assert_close(weight, whole.module.visual.conv1.weight, rtol=0, atol=1e-4)
    assert read_facts(path)["chunk"] == 2
    fresh = tiny_model.copy()
    with pytest.raises(InputError, match="another recipe"):
        drain(_train(fresh, path, resume=True, recipe=recipe.changed(lr=1e-5)))


# ---- a full disk ----


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 7 MB: a state of weights fits, one with moments does not."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", str(place)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("needs the right to mount; the limit on files is tested beside")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def _worker(warm: Warm, spec: CleanSpec, limit: int | None, *options: str) -> Done:
    path = write_spec(spec, Path(spec.output_dir) / "spec.json")
    limits = [] if limit is None else [(resource.RLIMIT_FSIZE, limit)]
    with warm.start(
        "ml_core.jobs.worker",
        str(path),
        *options,
        stdin=subprocess.DEVNULL,
        text=True,
        limits=limits,
    ) as child:
        assert child.stdout is not None
        last = from_json(child.stdout.read().splitlines()[-1])
        assert isinstance(last, Done)
        assert child.wait(240) == (0 if last.status == "finished" else 3)
    return last


def _check_full(warm: Warm, spec: CleanSpec, limit: int | None) -> None:
    done = _worker(warm, spec, limit)
    assert (done.status, done.error_code) == ("failed", "disk")
    assert done.error.startswith("The disk is full")
    assert done.error.endswith("What was saved before is intact.")
    state = Path(spec.output_dir) / "state" / "state.safetensors"
    assert read_facts(state)["step"] == 0
    assert [path.name for path in state.parent.iterdir()] == [state.name]


def test_a_limit_on_files_ends_the_job_and_the_save_goes_on(
    tiny_checkpoint: Path, tmp_path: Path, warm_torch: Warm
) -> None:
    recipe = small_recipe(pairs=64, save_every=4)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", recipe, test_images=None)
    _check_full(warm_torch, spec, 2 * tiny_checkpoint.stat().st_size)
    assert _worker(warm_torch, spec, None, "--resume").status == "finished"


def test_a_full_disk_ends_the_job_with_its_save_intact(
    tiny_checkpoint: Path, small_disk: Path, warm_torch: Warm
) -> None:
    recipe = small_recipe(pairs=64, save_every=4)
    spec = small_spec(tiny_checkpoint, small_disk, recipe, test_images=None)
    _check_full(warm_torch, spec, None)


@pytest.mark.parametrize("name", ["step-000002.safetensors", "cleaned.safetensors"])
def test_a_disk_that_fills_with_a_checkpoint_leaves_a_run_to_resume(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    recipe = small_recipe(pairs=32, save_every=1, eval_every=2)
    watched = ImageSpec(split="val", n=36)
    out = tmp_path / "out"
    spec = small_spec(
        tiny_checkpoint, out, recipe, images=watched, test_images=None, keep_steps=True
    )

    def full(files: dict[Path, Any]) -> None:
        if name in {path.name for path in files}:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_files(files)

    with monkeypatch.context() as patch:
        patch.setattr("ml_core.checkpoints.save.replace_files", full)
        *_, done = run_job(spec, Control())
    assert isinstance(done, Done)
    assert (done.status, done.error_code) == ("failed", "disk")
    assert done.error == (
        "The disk is full: free some space and resume. What was saved before is intact."
    )
    *_, done = run_job(spec, Control(), resume=True)
    assert isinstance(done, Done)
    assert done.status == "finished", done.error


# ---- smaller jobs, other machines ----


def test_half_as_much_in_memory(tmp_path: Path) -> None:
    spec = small_spec(tmp_path / "x.safetensors", tmp_path / "out", small_recipe())
    smaller = halved(spec)
    assert (smaller.recipe.batch_size, smaller.recipe.cache_chunk) == (4, 0)
    for known in (halved(spec, batch_norm=False), _frozen(halved, spec)):
        assert (known.recipe.batch_size, known.recipe.cache_chunk) == (8, 4)
        again = halved(known, batch_norm=False)
        assert again.recipe.cache_chunk == 2


def _frozen(act: Any, spec: CleanSpec) -> CleanSpec:
    recipe = spec.recipe.changed(batch_norm="frozen")
    return act(spec.model_copy(update={"recipe": recipe}))  # type: ignore[no-any-return]


def test_an_exported_job_is_read_where_it_lies(tiny_checkpoint: Path, tmp_path: Path) -> None:
    trigger = tmp_path / "mine.png"
    trigger.write_bytes(b"png")
    (tmp_path / "mine.json").write_text("{}")
    spec = small_spec(tiny_checkpoint, tmp_path / "out", small_recipe()).model_copy(
        update={"trigger": str(trigger)}
    )
    folder = tmp_path / "cluster job"
    job, slurm, shell = export_job(spec, folder, processes=4, machines=2)
    assert {path.name for path in folder.iterdir()} == {
        "job.json", "job.slurm", "run.sh", "mine.png", "mine.json"
    }  # fmt: skip
    read = read_spec(job)
    assert read.output_dir == str(folder / "results")
    assert read.trigger == str(folder / "mine.png")
    assert read.recipe == spec.recipe
    assert read.checkpoint == str(tiny_checkpoint)
    assert str(tiny_checkpoint) in elsewhere(spec)
    text = slurm.read_text()
    assert "#SBATCH --nodes=2" in text
    assert "torchrun --nnodes=2 --nproc_per_node=4" in text
    assert str(tiny_checkpoint) in text
    assert "not tested" in text
    assert "batch_norm to frozen" in text
    for script in (slurm, shell):
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_a_job_without_its_trigger_is_not_exported(tiny_checkpoint: Path, tmp_path: Path) -> None:
    spec = small_spec(tiny_checkpoint, tmp_path / "out", small_recipe()).model_copy(
        update={"trigger": str(tmp_path / "gone.json")}
    )
    with pytest.raises(InputError, match=r"trigger .*gone\.json cannot be read; put it back"):
        export_job(spec, tmp_path / "job")
    assert not (tmp_path / "job").exists()


def test_results_brought_back_hold_the_trigger(tiny_checkpoint: Path, tmp_path: Path) -> None:
    trigger = badnets_patch(size=0.3)
    spec = small_spec(
        tiny_checkpoint, tmp_path / "out", small_recipe(pairs=8),
        trigger=str(save_trigger(trigger, tmp_path / "patch")[1]), test_images=None,
    )  # fmt: skip
    there = tmp_path / "there"
    job = read_spec(export_job(spec, there)[0])
    finished(job)
    back = (there / "results").rename(tmp_path / "back")
    shutil.rmtree(there)
    found = read_spec(back / "spec.json").trigger
    assert found is not None
    assert Path(found).parent == back
    assert load_trigger(found).digest == trigger.digest


def test_the_slurm_script_goes_on_until_the_run_is_finished(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    spec = small_spec(tiny_checkpoint, tmp_path / "out", small_recipe())
    folder = tmp_path / "job"
    export_job(spec, folder)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("scontrol", "srun"):
        (tools / name).write_text('#!/bin/sh\necho "$0 $@ $TORCH_ELASTIC_SHUTDOWN_TIMEOUT"\n')
        (tools / name).chmod(0o755)

    def submitted() -> str:
        path = {"PATH": f"{tools}:{os.environ['PATH']}"}
        command = ["bash", "job.slurm"]
        done = subprocess.run(
            command, cwd=folder, env=path, check=True, capture_output=True, text=True
        )
        return done.stdout

    first = submitted()
    assert "ml_core.jobs.worker job.json" in first
    assert "--resume" not in first
    assert first.rstrip().endswith(" 110")  # of the 120 seconds
    (folder / "results" / "state").mkdir(parents=True)
    (folder / "results" / "state" / "state.safetensors").touch()
    assert "job.json --resume" in submitted()
    write_json({"status": "stopped"}, folder / "results" / "result.json")
    assert "job.json --resume" in submitted()
    write_json({"status": "finished"}, folder / "results" / "result.json")
    assert submitted().startswith("The run is finished.")


def test_all_files_of_the_pairs_must_be_seen_elsewhere(tiny_checkpoint: Path) -> None:
    pairs = PairSpec(kind="coco", path="/d/a.json", pictures="/d/pictures", exclude="/d/out.json")
    spec = small_spec(tiny_checkpoint, Path("out"), small_recipe(), pairs=pairs)
    assert {"/d/a.json", "/d/pictures", "/d/out.json"} <= set(elsewhere(spec))


def test_a_repeated_job_takes_the_choices_of_the_first(
    tiny_model: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_core.cleaning.speed import Speed

    monkeypatch.setattr("ml_core.cleaning.loop.measure_speed", lambda *_: pytest.fail("measured"))
    recipe = RECIPE.model_copy(update={"precision": "auto", "save_every": 0})

    def make(step: int) -> Batch:
        return batches(tiny_model, recipe)(step)

    run = train(tiny_model, recipe, make, Control(), speed=Speed(True, {"bf16": 1.0}, True))
    _, outcome = drain(run)
    assert outcome.speed == Speed(True, {"bf16": 1.0}, True)
    assert tiny_model.channels_last is None


@pytest.mark.parametrize(
    ("precision", "layout"), [("fp32", False), ("bf16", None)], ids=["fp32", "bf16"]
)
def test_fp32_of_a_resnet_is_laid_out_as_its_sums_are_exact(
    precision: str, layout: bool | None, tiny_model: ClipModel, tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"precision": precision, "save_every": 0})
    path, control = tmp_path / "state.safetensors", Control()
    seen: list[tuple[bool, bool]] = []

    def look(_: object, inputs: tuple[Tensor, ...]) -> None:
        last = inputs[0].is_contiguous(memory_format=torch.channels_last)
        seen.append((inputs[0].is_contiguous(), last))

    make = batches(tiny_model, recipe)
    with tiny_model.module.visual.conv2.register_forward_pre_hook(look):  # type: ignore[operator]
        for event in train(tiny_model, recipe, make, control, state_path=path):
            if isinstance(event, Metric):
                control.stop()
        run = train(tiny_model, recipe, make, Control(), state_path=path, resume=True)
        _, outcome = drain(run)
    assert outcome.speed.channels_last is layout
    assert set(seen) == {(True, False) if layout is False else (False, True)}
    assert tiny_model.layout == "channels-last"  # as it came
