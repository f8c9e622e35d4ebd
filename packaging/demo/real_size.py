"""One pass of the program over a checkpoint of real size, with random weights.

python real_size.py WORK MODEL PAIRS.csv [--batch N] [--steps N] [--methods NAME ...]

MODEL is a name of open_clip, such as ViT-B-32 or RN50; PAIRS is a table of pictures and captions,
such as that of foreign_pairs.py. Everything is done by the command line: the rate finder and its
estimate, some steps of each method, a run that is killed and taken up again, compared with one that
was not, and an evaluation with a trigger. A line each: exit status, seconds of the processor and of
the clock, and the highest memory of its processes together (PSS), all without the accuracy, which
is chance here. Output is kept beside; what is there already is not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import open_clip
import psutil
from PIL import Image
from safetensors.torch import save_file

from ml_core.cleaning.catalogue import FACTS, METHODS, Method
from ml_core.cleaning.recipes import fields_of
from ml_core.data.demo import compose, demo_classes
from ml_core.jobs.specs import CLEANED_FILE, SPEC_FILE

IMAGES = 100
TRIGGER, TARGET = "T2", "banana"
RESUMED = "mmcl"


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    status: int
    cpu_seconds: float
    seconds: float
    peak_gib: float

    def __str__(self) -> str:
        return (
            f"status {self.status}, {self.cpu_seconds:.0f} CPU-s, {self.seconds:.0f} s, "
            f"{self.peak_gib:.1f} GiB"
        )


class Pass:
    """All commands on one model, in one folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.folder = args.work.resolve() / args.model
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model = self.folder / "model.safetensors"
        self.images = self.folder / "images"
        self.batch, self.steps, self.pairs = args.batch, args.steps, args.pairs.resolve()
        if not self.model.exists():
            model = open_clip.create_model(args.model)
            save_file(model.state_dict(), self.model)
        if not self.images.exists():
            self._write_images()
        self.trigger = self.folder / f"{TRIGGER}.json"
        if not self.trigger.exists():
            self.run("trigger", "triggers", "export", TRIGGER, "-o", self.trigger)

    def run(self, name: str, *words: object, kill_after: int = 0) -> None:
        """One command; `kill_after` so many steps it is killed."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            cost = self._measured(name, [str(word) for word in words], kill_after)
            path.write_text(json.dumps(asdict(cost)))
        print(f"{self.folder.name} {name}: {Cost(**json.loads(path.read_text()))}", flush=True)

    def clean(self, method: Method, name: str, **options: int) -> None:
        """Some steps of a method at its default rate."""
        facts, out = FACTS[method], self.folder / name
        words: list[object] = ["clean", self.model, "-o", out, "--method", method]
        if facts.data == "pairs":
            words += ["--pairs", self.pairs]
        elif facts.data != "none":
            words += ["--training-images", self.images]
        if "trigger" in facts.needs:
            words += ["--trigger", self.trigger, "--target", TARGET]
        if "reference" in facts.needs:
            words += ["--reference", self.model]
        self.run(name, *words, *self.labelled(), *self._short(method), **options)

    def _short(self, method: Method) -> list[str]:
        shorter = {
            "pairs": self.batch * self.steps, "batch_size": self.batch, "epochs": 1,
            "warmup_steps": 5, "eval_every": 0, "save_every": 5, "stop_below_ca": 0,
        }  # fmt: skip
        has = fields_of(method)
        return [w for n, value in shorter.items() if n in has for w in ("--set", f"{n}={value}")]

    def labelled(self) -> list[object]:
        """Where accuracy is measured."""
        return ["--images", self.images, "--test-images", self.images]

    def _measured(self, name: str, words: list[str], kill_after: int) -> Cost:
        began = time.monotonic()
        with open(self.folder / f"{name}.log", "wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "ml_core", *words], stdout=log, stderr=subprocess.STDOUT
            )
        peak, process = 0, psutil.Process(child.pid)
        while True:
            done, status, used = os.wait4(child.pid, os.WNOHANG)
            if done:
                break
            peak = max(peak, memory(process))
            if kill_after and steps_done(self.folder / name / "events.jsonl") >= kill_after:
                child.send_signal(signal.SIGKILL)
            time.sleep(0.2)
        return Cost(
            os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime,
            time.monotonic() - began, peak / 2**30,
        )  # fmt: skip

    def _write_images(self) -> None:
        names = demo_classes()
        part = compose("test", range(IMAGES), seed=0)
        for i, (picture, label) in enumerate(zip(part.images, part.labels, strict=True)):
            place = self.images / names[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).resize((256, 256)).save(place / f"{i}.jpg")


def memory(process: psutil.Process) -> int:
    """Bytes of a process and all below it, shared pages counted once."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += member.memory_full_info().pss
    return total


def steps_done(events: Path) -> int:
    """How many steps a run has told of."""
    if not events.exists():
        return 0
    records = (json.loads(line) for line in events.read_text().splitlines() if line.endswith("}"))
    return max((event["step"] for event in records if event["event"] == "metric"), default=0)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("model")
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    args = parser.parse_args()
    checkpoint = Pass(args)
    checkpoint.run("inspect", "inspect", checkpoint.model)
    rates = ["rates", checkpoint.model, "--pairs", checkpoint.pairs, *checkpoint.labelled(),
             "--steps", "20", "--set", f"batch_size={args.batch}"]  # fmt: skip
    checkpoint.run("rates-estimate", *rates, "--estimate")
    checkpoint.run("rates", *rates)
    for method in args.methods:
        checkpoint.clean(method, method)
    killed = checkpoint.folder / "killed"
    checkpoint.clean(RESUMED, killed.name, kill_after=args.steps // 2)
    checkpoint.run("resumed", "clean", "--job", killed / SPEC_FILE, "--resume")
    same = digest(killed / CLEANED_FILE) == digest(checkpoint.folder / RESUMED / CLEANED_FILE)
    print(f"{args.model} resumed: {'the same' if same else 'NOT the same'} weights", flush=True)
    checkpoint.run("evaluate", "evaluate", checkpoint.model, "--images", checkpoint.images,
                   "--trigger", checkpoint.trigger, "--target", TARGET)  # fmt: skip


if __name__ == "__main__":
    main()
