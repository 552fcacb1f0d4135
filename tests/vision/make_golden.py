"""Cuts the reference files of the project's test models down to what tests/all/vision.rs needs.

    pip install numpy==2.4.6 safetensors==0.8.0
    python make_golden.py REFERENCE_DIR    # holds tiny/golden.safetensors and tiny/golden-video.safetensors

The reference files were written by the float32 reference model (huggingface/transformers 5.23) for random weights.
Pixel values are multiples of 1/127.5 and are stored as the bytes they came from; the two frames of a picture are the
same, so one is kept. image.png, frames/ and mmproj.gguf beside this file are the reference's inputs, unchanged.
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

reference = Path(sys.argv[1])
image = load_file(reference / "tiny/golden.safetensors")
video = load_file(reference / "tiny/golden-video.safetensors")


def to_bytes(values):
    """Back to bytes; exact, or this script fails."""
    scaled = (values.astype(np.float64) + 1) * 127.5
    assert np.abs(scaled - scaled.round()).max() < 1e-3
    return scaled.round().astype(np.uint8)


# [patches, channel, frame, row, column]
pixels = to_bytes(image["image.pixel_values"]).reshape(-1, 3, 2, 16, 16)
assert (pixels[:, :, 0] == pixels[:, :, 1]).all()
frames = to_bytes(video["video.pixel_values"]).reshape(-1, 3, 2, 16, 16)

out = {
    "image.pixels": pixels[:, :, 0].copy(),
    "image.grid_thw": image["image.grid_thw"],
    "image.embeddings": image["image.embeddings"],
    "image.prompt_ids": image["image.prompt_ids"],
    "image.positions": image["image.positions"],
    "video.grid_thw": video["video.grid_thw"],
    "video.prompt_ids": video["video.prompt_ids"],
    "video.positions": video["video.positions"],
    # Every seventh patch: all places of a group and all groups are met.
    "video.pixels": frames[::7].copy(),
}
save_file(out, Path(__file__).parent / "golden.safetensors")
