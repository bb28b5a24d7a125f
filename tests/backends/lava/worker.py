"""Runs bundles one after the other in one Python 3.10 process: a line of JSON in, a line of JSON out."""

import importlib.util
import json
import sys
import traceback
from pathlib import Path

import numpy as np


def main():
    """Until the input ends."""
    for line in sys.stdin:
        job = json.loads(line)
        try:
            run_one(Path(job["folder"]), job["data"], job["out"])
            answer = {"ok": True}
        except BaseException as error:
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        print("@@" + json.dumps(answer), flush=True)


def run_one(folder, data, out):
    """One bundle, with its own modules."""
    for name in [n for n in sys.modules if n == "own" or n.startswith("own.") or n in ("equation", "network")]:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location("bundle_run", folder / "run.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
        with np.load(data) as archive:
            inputs = {name: archive[name] for name in archive.files}
        found = module.run(folder, module.load_bundle(folder), inputs, membranes=True)
    finally:
        sys.path[:] = before
    np.savez(out, **found)


if __name__ == "__main__":
    main()
