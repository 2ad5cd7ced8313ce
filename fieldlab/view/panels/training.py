"""How training gets on: curves, speed, and what can be told to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fieldlab.view.training import Training
    from fieldlab.view.visitor import Visitor


class TrainingPanel:
    """Controls of a training run."""

    def __init__(self, training: Training, visitor: Visitor) -> None:
        self.training = training
        gui = visitor.handle.gui
        self.word = gui.add_markdown("starting")
        self.pause = gui.add_button("Pause")
        self.save = gui.add_button("Save now")
        self.share = gui.add_slider("Share for rendering", 0.05, 0.9, 0.05, training.turns.share,
                                    hint="Share of the time that rendering may take from training")  # fmt: skip
        self.psnr = _plot(visitor, "PSNR (dB)", "#1c7ed6")
        self.held_out = _plot(visitor, "held-out PSNR (dB)", "#2f9e44") if training.holds_out else None
        self.loss = _plot(visitor, "log10 loss", "#e8590c")
        self.pause.on_click(lambda _: self._pause())
        self.save.on_click(lambda _: training.save())
        self.share.on_update(lambda _: self._share())
        training.watchers.append(self.say)
        self.say()

    def _pause(self) -> None:
        paused = self.training.paused
        if paused.is_set():
            paused.clear()
        else:
            paused.set()
        self.pause.label = "Resume" if paused.is_set() else "Pause"

    def _share(self) -> None:
        self.training.turns.share = float(self.share.value)

    def leave(self) -> None:
        """The visitor has gone."""
        if self.say in self.training.watchers:
            self.training.watchers.remove(self.say)

    def say(self) -> None:
        """What there is to say."""
        event = self.training.last
        if event is None:
            return
        left = "" if event.seconds_left is None else f", {event.seconds_left:.0f} s left"
        state = "done" if self.training.finished else f"{self.training.steps_per_second:.1f} steps/s{left}"
        held = "" if event.validation is None else f", {event.validation:.2f} dB on held-out photographs"
        self.word.content = f"step {event.step}, {event.psnr:.2f} dB{held}, {state}"
        steps, losses, psnrs = self.training.curve()
        x = np.array(steps, float)
        self.psnr.data = (x, np.array(psnrs))
        if self.held_out is not None:
            known, values = self.training.held_out_curve()
            self.held_out.data = (np.array(known, float), np.array(values, float))
        self.loss.data = (x, np.log10(np.maximum(losses, 1e-12)))


def _plot(visitor: Visitor, name: str, color: str) -> Any:
    """An empty curve over steps."""
    from viser import uplot

    series = uplot.Series(label="step"), uplot.Series(label=name, stroke=color, width=2)
    empty, scales = np.zeros(1), {"x": uplot.Scale(time=False)}
    return visitor.handle.gui.add_uplot((empty, empty), series, scales=scales, aspect=1.8)
