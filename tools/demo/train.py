# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Trains the demo model: an 80-layer LLaMA that writes and answers in simple English.

The model grows: ten layers learn the language, then each is followed by seven copies that add
nothing at first, and all eighty go on learning; so most of the training costs little. Towards
the end each weight row gets random errors as large as those of 3.5-bit quantization, and the
model learns not to mind them.
"""

import argparse
import os
import time
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from data import Rows, train_tokenizer
from export import measure, save
from model import Llama, Shape
from muon import Muon


class Stage(NamedTuple):
    """A part of the training, with learning rates that go from `first` to `last`."""

    layers: int
    steps: int
    stories: float  # share of the documents that have a story
    noise: float  # relative error on the weights, reached half-way
    first: float
    last: float


ROWS, LENGTH = 16, 256  # a batch
STAGES = [
    Stage(10, 1800, 0.6, 0.00, 1.0, 0.6),
    Stage(10, 900, 0.2, 0.00, 0.8, 0.8),
    Stage(10, 300, 0.5, 0.08, 0.8, 0.4),
    Stage(80, 200, 0.5, 0.11, 0.2, 0.0),
]


def arguments():
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--out", required=True, help="Hugging Face directory to write")
    p.add_argument("--vocab", type=int, default=1024, help="tokens in the vocabulary (1024)")
    p.add_argument("--seed", type=int, default=35, help="seed of everything (35)")
    p.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    p.add_argument("--scale", type=float, default=1.0, help="multiplies all step counts (1)")
    p.add_argument("--minutes", type=float, default=60,
                   help="end the last stage early when so much time has passed (60)")
    p.add_argument("--cases", type=int, default=64, help="held-out prompts per class (64)")
    p.add_argument("--checkpoint", help="file for the state of training; continued if it exists")
    p.add_argument("--save-every", type=int, default=100, help="steps between checkpoints (100)")
    p.add_argument("--no-compile", action="store_true", help="do not compile the layer")
    return p.parse_args()


def loss_of(model, batch):
    """Weighted mean cross entropy of the tokens to learn."""
    ids, targets, weights, mask = (t.to(model.embed.device) for t in batch)
    logits = model(ids, mask)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return (loss * weights.flatten()).sum() / weights.sum()


@torch.no_grad()
def held_out_loss(model, tokenizer, noise):
    """Loss on text that training never sees, with the given noise on the weights."""
    rows = Rows(tokenizer, LENGTH, seed=7777)
    model.noise, before = noise, model.noise
    loss = sum(loss_of(model, rows.batch(ROWS)).item() for _ in range(2)) / 2
    model.noise = before
    return loss


def optimizers(model):
    """Muon for the matrices, Adam for everything else; each with its full rate."""
    rest = [model.norms, model.final_norm, model.embed]
    return [(Muon(list(model.linear.values())), 0.02),
            (torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0), 0.004)]


class Trainer:
    """The state of a training run; one object from the first stage to the last."""

    def __init__(self, args):
        self.args, self.start, self.stage, self.step = args, time.time(), 0, 0
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        torch._dynamo.config.automatic_dynamic_shapes = False
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = train_tokenizer(args.vocab, args.seed)
        self.model = self.prepare(Llama(Shape(args.vocab, num_hidden_layers=STAGES[0].layers)))

    def prepare(self, model):
        """Places a model on the device, in the precision and form to train it in."""
        model = model.to(self.device)
        model.dtype = torch.bfloat16
        if not self.args.no_compile:
            model.block = torch.compile(model.block)
        return model

    def log(self, text):
        """Prints a line with the minutes since the start."""
        print(f"{(time.time() - self.start) / 60:6.1f} min  {text}", flush=True)

    def resume(self):
        """Continues from the checkpoint if there is one."""
        path = self.args.checkpoint
        if not path or not os.path.exists(path):
            return
        state = torch.load(path, weights_only=True)
        self.stage, self.step = state["stage"], state["step"]
        self.tokenizer = Tokenizer.from_str(state["tokenizer"])
        if self.model.shape.num_hidden_layers < state["layers"]:
            self.model = self.model.grown(state["layers"])
        self.model.load_state_dict(state["model"])
        self.log(f"continuing stage {self.stage} at step {self.step}")

    def keep(self):
        """Writes a checkpoint."""
        if self.args.checkpoint:
            state = {"stage": self.stage, "step": self.step, "model": self.model.state_dict(),
                     "layers": self.model.shape.num_hidden_layers,
                     "tokenizer": self.tokenizer.to_str()}
            torch.save(state, self.args.checkpoint + ".new")
            os.replace(self.args.checkpoint + ".new", self.args.checkpoint)

    def progress(self, steps, began):
        """The part of the stage that is done; the last stage also watches the clock."""
        done = self.step / steps
        if self.stage == len(STAGES) - 1:
            end = self.start + 60 * self.args.minutes
            done = max(done, (time.time() - began) / max(1.0, end - began))
        return done

    def train_stage(self):
        """Trains one stage to its end."""
        stage = STAGES[self.stage]
        layers, steps = stage.layers, max(1, round(stage.steps * self.args.scale))
        if self.model.shape.num_hidden_layers < layers:
            self.model = self.model.grown(layers)
        rows = Rows(self.tokenizer, LENGTH,
                    self.args.seed + 10000 * self.stage + self.step + 1, stage.stories)
        opts, resumed, average = optimizers(self.model), self.step, None
        began, done = time.time(), self.step / steps
        while done < 1:
            warm = min(1.0, (self.step - resumed + 1) / 20)
            for opt, rate in opts:
                opt.param_groups[0]["lr"] = rate * warm * (
                    stage.first + (stage.last - stage.first) * done)
            self.model.noise = stage.noise * min(1.0, 2 * done)
            loss = loss_of(self.model, rows.batch(ROWS))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(opts[1][0].param_groups[0]["params"], 1.0)
            for opt, _ in opts:
                opt.step()
                opt.zero_grad(set_to_none=True)
            self.step += 1
            done = self.progress(steps, began)
            now = loss.item()
            average = now if average is None else 0.9 * average + 0.1 * now
            if self.step % 20 == 0 or self.step in (1, 5, 10):
                self.log(f"layers {layers} step {self.step}/{steps} loss {average:.4f}")
            if self.step % self.args.save_every == 0:
                self.keep()
                if self.stage == len(STAGES) - 1:
                    self.export(f"UNFINISHED: step {self.step} of {steps}, loss {average:.4f}")
        self.stage, self.step = self.stage + 1, 0
        self.keep()

    def report(self, count):
        """Measures the model; returns the findings as text."""
        lines = [f"layers {self.model.shape.num_hidden_layers}"]
        for noise in (0.0, 0.11):
            loss = held_out_loss(self.model, self.tokenizer, noise)
            right = measure(self.model, self.tokenizer, count, noise)
            lines.append(f"noise {noise:.2f}: held-out loss {loss:.4f}, right on unseen prompts: "
                         + ", ".join(f"{k} {v:.1%}" for k, v in right.items()))
        for line in lines:
            self.log(line)
        return "\n".join(lines)

    def export(self, status):
        """Writes the Hugging Face directory, once the model has its full depth."""
        if self.model.shape.num_hidden_layers == STAGES[-1].layers:
            save(self.model, self.tokenizer, self.args.out, status)
            self.log(f"wrote {self.args.out}")

    def run(self):
        """All stages, then the report and the directory."""
        self.resume()
        while self.stage < len(STAGES):
            self.train_stage()
        self.export(self.report(self.args.cases))


if __name__ == "__main__":
    Trainer(arguments()).run()
