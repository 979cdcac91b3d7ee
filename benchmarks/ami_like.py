"""A corpus like AMI for measurements: the sample meetings played again and again, so that crops lie hours apart.

The films are copied packet by packet (352x288, 25 frames/s, MPEG-4 as in AMI), the words once for each round. Media are
real files of the true length; only what is filmed comes back every 24 seconds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import wave
from functools import partial
from pathlib import Path

import imageio_ffmpeg

from mmpipe.manifests.samples import sample_root

__all__ = ["write_ami_like"]

_TIME = re.compile(r'(starttime|endtime)="([\d.]+)"')
_ID = re.compile(r'nite:id="([^"]+)"')


def write_ami_like(root: Path, rounds: int = 60) -> Path:
    """Write the sample meetings, `rounds` times as long (24 minutes with 60), into `root`; an existing one is kept."""
    if root.is_dir():
        return root
    part = root.with_name(f"{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    sample = sample_root("ami")
    seconds = {path.parts[-3]: _seconds(path) for path in sorted(sample.glob("*/audio/*-0.wav"))}
    for source in sorted(path for path in sample.rglob("*") if path.is_file()):
        target = part / source.relative_to(sample)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix in (".avi", ".wav"):
            _play_again(source, target, rounds)
        elif source.parent.name == "words":
            _repeat_words(source, target, rounds, seconds[source.name.split(".")[0]])
        else:
            text = source.read_text("iso-8859-1")
            target.write_text(
                re.sub(r'duration="(\d+)"', lambda m: f'duration="{int(m[1]) * rounds}"', text), "iso-8859-1"
            )
    part.rename(root)
    return root


def _seconds(path: Path) -> float:
    with wave.open(str(path)) as sound:
        return float(sound.getnframes() / sound.getframerate())


def _play_again(source: Path, target: Path, rounds: int) -> None:
    """Copy the packets of a file this many times, without encoding them again."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-stream_loop", str(rounds - 1)]
    subprocess.run([*command, "-i", str(source), "-c", "copy", str(target)], check=True)


def _repeat_words(source: Path, target: Path, rounds: int, seconds: float) -> None:
    """Write the elements of a words file once for each round, later by the length of the meeting."""
    head, opening, *elements, closing = source.read_text("iso-8859-1").splitlines()
    again = []
    for number in range(rounds):
        later = partial(_later, seconds=number * seconds)
        again += [_ID.sub(rf'nite:id="\1.{number}"', _TIME.sub(later, element)) for element in elements]
    target.write_text("\n".join([head, opening, *again, closing]) + "\n", "iso-8859-1")


def _later(match: re.Match[str], seconds: float) -> str:
    return f'{match[1]}="{float(match[2]) + seconds:.2f}"'
