"""Extract features the plain way: one script, one process, clip after clip, a pickle at the end.

For every clip: ffmpeg writes a wav, openSMILE reads it, OpenCV reads every 10th frame, MTCNN looks at each frame, the
largest face is cropped (or the last box where none is found), the network and BERT see one clip at a time.

    python -m benchmarks.plain_script manifest.parquet CORPUS_ROOT features.pkl --clips 100
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
import opensmile
import pandas as pd
import torch
from transformers import AutoModel, AutoTokenizer

from mmpipe.extractors.faces.crops import crop
from mmpipe.extractors.faces.densenet import load_network
from mmpipe.extractors.faces.detectors.mtcnn import MTCNN, MTCNNConfig
from mmpipe.extractors.faces.ferplus import FERPLUS_MEAN, FERPLUS_STD
from mmpipe.extractors.weights.bundled import FERPLUS_DENSENET, bundled
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL, find_model


def cut_wav(media: Path, start: float, end: float, wav: Path) -> None:
    """Cut a span of the audio into a 16 kHz mono wav."""
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y"]
    span = ["-ss", str(start), "-t", str(end - start), "-i", str(media)]
    subprocess.run([*ffmpeg, *span, "-ac", "1", "-ar", "16000", str(wav)], check=True)


def read_frames(media: Path, start: float, end: float) -> list[Any]:
    """Every 10th frame of a span, RGB."""
    video = cv2.VideoCapture(str(media))
    rate = video.get(cv2.CAP_PROP_FPS)
    first, last = round(start * rate), round(end * rate)
    video.set(cv2.CAP_PROP_POS_FRAMES, first)
    frames = []
    for number in range(last - first):
        if not video.grab():
            break
        if number % 10 == 0:
            frames.append(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
    video.release()
    return frames


def crop_faces(detector: MTCNN, frames: list[Any]) -> list[Any]:
    """The largest face of each frame; the last box where there is none."""
    box, crops = None, []
    for frame in frames:
        faces = detector.detect([frame])[0]
        if faces:
            box = max(faces, key=lambda face: face.box[2] * face.box[3]).box
        if box is not None:
            crops.append(crop(frame, box, MTCNN.margin))
    return crops


def processor_seconds() -> float:
    """What this process and its children took of the processors so far."""
    return sum(os.times()[:4])


@torch.inference_mode()
def main() -> None:
    """Extract and pickle."""
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, help="clips, evenly spread over the manifest (default: all)")
    parser.add_argument("--text-model", default=PACKAGED_MODEL)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: its own)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
    detector = MTCNN(MTCNNConfig())
    detector.prepare()
    network = load_network(bundled(FERPLUS_DENSENET))
    tokenizer: Any = AutoTokenizer.from_pretrained(find_model(options.text_model, None))
    bert: Any = AutoModel.from_pretrained(find_model(options.text_model, None)).eval()

    clips = pd.read_parquet(options.manifest)
    if options.clips:
        clips = clips.iloc[np.linspace(0, len(clips) - 1, options.clips).astype(int)]
    features = {}
    began, processor = time.perf_counter(), processor_seconds()
    clip: Any
    for clip in clips.itertuples():
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder) / "clip.wav"
            cut_wav(options.root / clip.audio["uri"], clip.audio["start_seconds"], clip.audio["end_seconds"], wav)
            row: dict[str, Any] = {"audio": smile.process_file(str(wav)).to_numpy()[0]}
        if clip.video is not None:
            span = clip.video
            frames = read_frames(options.root / span["uri"], span["start_seconds"], span["end_seconds"])
            if crops := crop_faces(detector, frames):
                faces = (torch.from_numpy(np.stack(crops)).float().unsqueeze(1) - FERPLUS_MEAN) / FERPLUS_STD
                row["faces"] = np.stack(crops)
                row["expression"] = np.concatenate([network.embed(face.unsqueeze(0)).numpy() for face in faces])
        encoding = tokenizer([word["text"] for word in clip.words], is_split_into_words=True, return_tensors="pt")
        row["text"] = bert(**encoding).last_hidden_state[0, 1:-1].numpy()
        features[clip.utterance_id] = row
    with options.out.open("wb") as file:
        pickle.dump(features, file)
    seconds = time.perf_counter() - began
    print(f"{len(features)} clips after loading: {seconds:.3f} s, processor {processor_seconds() - processor:.3f} s")


if __name__ == "__main__":
    main()
