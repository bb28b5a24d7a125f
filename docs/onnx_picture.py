"""The picture of docs/onnx.md: `python docs/onnx_picture.py FILE.png` shows the digits' step.onnx in Netron's page."""

from __future__ import annotations

import argparse
import io
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import netron
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import neurocompile

WIDTH, HEIGHT = 1500, 1150
LAYER = "neuron1.neuron"
"""Whose properties are shown beside the graph."""


def shoot(picture: Path) -> None:
    """Compile the digits, open step.onnx in Netron, and choose a layer of neurons."""
    with TemporaryDirectory() as made:
        model, out = Path(made) / "digits.pt", Path(made) / "chip"
        neurocompile.demo(write_model=model)
        neurocompile.export(model, out, emit=["onnx"], validate=False)
        host, port = netron.start(str(out / "onnx" / "step.onnx"), browse=False)
        try:
            shown = _shown(f"http://{host}:{port}")
        finally:
            netron.stop((host, port))
    few = shown.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


def _shown(address: str) -> Image.Image:
    options = webdriver.ChromeOptions()
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={WIDTH},{HEIGHT}"):
        options.add_argument(switch)
    with webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"))) as browser:
        browser.get(address)
        browser.add_cookie({"name": "consent", "value": "1"})  # else it asks first
        browser.get(address)
        WebDriverWait(browser, 60).until(lambda page: page.find_elements(By.ID, f"node-name-{LAYER}"))
        layer = browser.find_element(By.CSS_SELECTOR, f"[id='node-name-{LAYER}'] .node-item-type")
        ActionChains(browser).click(layer).perform()
        time.sleep(2)
        return Image.open(io.BytesIO(browser.get_screenshot_as_png()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    shoot(parser.parse_args().picture)
