"""`mmpipe predict`: what a trained model says of a clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mmpipe.pipeline.cli.console import complain, table
from mmpipe.pipeline.cli.modes import one_mode
from mmpipe.pipeline.cli.options import Device

__all__ = ["predict"]


def predict(
    model: Annotated[Path, typer.Argument(help="A run folder of `mmpipe train` (mean of its models), or one fold's.")],
    clip: Annotated[Path, typer.Argument(help="A video or audio file.")],
    text: Annotated[str | None, typer.Option(help="What is said.")] = None,
    vtt: Annotated[
        Path | None, typer.Option(help="What is said, as a file: WebVTT, SubRip, TextGrid or plain text.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            help="A store of clips recorded as this one: its statistics normalise the features, not training's."
        ),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Use the extractors' code and the files that the run folder names.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    device: Annotated[Device, typer.Option(help="Where the models run.")] = Device.AUTO,
) -> None:
    """From a clip to class probabilities, with the extraction settings that the model was trained on."""
    from mmpipe.pipeline.training.predict import predict as predict_clip

    one_mode({"--text": text, "--vtt": vtt})
    notes: list[str] = []
    answer = predict_clip(model, clip, text, vtt, like=like, device=device.value, trust=trust, note=notes.append)
    for note in notes:
        complain(f"Warning: {note}", red=False)
    if json_:
        rounded = {label: round(probability, 6) for label, probability in answer.items()}
        print(json.dumps({"clip": str(clip), "probabilities": rounded}))
        return
    table(
        f"{clip.name} by {model}",
        ["label", "probability", ""],
        ((label, f"{p:.3f}", "█" * round(30 * p)) for label, p in answer.items()),
    )
