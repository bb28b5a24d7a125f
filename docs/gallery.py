"""The pages of docs/gallery.md, and the pictures of them: `python docs/gallery.py FOLDER [--pictures FOLDER]`."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import neurocompile

SAMPLES = 60
# How high a picture is, and what of its page is left out: README shows verdicts, network and spikes.
PICTURES = {
    "loihi": ("report.png", 1236, "nav, #checked, #network .scroll, #network details, #network figcaption"),
    "disagrees": ("disagrees.png", 892, "nav"),
}
_SMALLER = "#network .drawing svg { max-height: 22em }"
WIDTH = 1000


def write(folder: Path) -> None:
    """The digits on Loihi, on nc1, and on a Loihi that resets another way."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as made:
        model, data = Path(made) / "digits.pt", Path(made) / "digits.npz"
        neurocompile.demo(write_model=model, write_data=data)
        with np.load(data) as arrays:
            x, y = arrays["x"][:SAMPLES], arrays["y"][:SAMPLES]

        def page(name: str, target: str, title: str, recorded: Mapping[str, np.ndarray] | None = None) -> None:
            neurocompile.report(
                neurocompile.compile(model, target), x, y, reference=model, recorded=recorded,
                backend_samples=4 if recorded is None else 0, title=title, out=folder / f"{name}.html", overwrite=True,
            )  # fmt: skip

        page("loihi", "loihi", "digits")
        page("nc1", "nc1", "digits")
        program = neurocompile.compile(model, "loihi")
        node = program.integer["neuron2"]
        soft = replace(node, op=replace(node.op, reset="by", amount=node.op.threshold))
        chip = replace(program, integer=program.integer.rewritten({"neuron2": soft}))
        page("disagrees", "loihi", "digits on a chip that resets softly", neurocompile.simulate(chip, x).spikes)


def shoot(folder: Path, pictures: Path) -> None:
    """Pictures of the pages, as Chromium shows them, in few colours."""
    pictures.mkdir(parents=True, exist_ok=True)
    for name, (picture, height, left_out) in PICTURES.items():
        with TemporaryDirectory() as made:
            page, shot = Path(made) / "page.html", Path(made) / "shot.png"
            style = f"<style>{left_out} {{ display: none !important }} {_SMALLER}</style></head>"
            page.write_text((folder / f"{name}.html").read_text().replace("</head>", style, 1))
            switches = "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"
            opened = [f"--window-size={WIDTH},{height}", f"--screenshot={shot}", page.as_uri()]
            subprocess.run(["chromium", *switches, *opened], check=True, capture_output=True)
            with Image.open(shot) as shown:
                few = shown.convert("RGB").quantize(64, dither=Image.Dither.NONE)
        few.save(pictures / picture, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    write(given.folder)
    if given.pictures is not None:
        shoot(given.folder, given.pictures)
