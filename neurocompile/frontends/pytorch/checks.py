"""What must not be guessed at in a module, looked for before it is run."""

from __future__ import annotations

import logging

import torch
from torch import nn

from neurocompile.errors import BadInput, Problem, UnsupportedModel

__all__ = ["check_module"]

# torch says on stderr that it found no Triton, whoever asks.
logging.getLogger("torch._library.triton").setLevel(logging.ERROR)


def check_module(model: nn.Module) -> None:
    """Refuse what must not be guessed at: lazy modules, training mode, numbers that are not finite.

    Raises:
        UnsupportedModel: for lazy modules and for modules that behave otherwise in training mode.
        BadInput: for weights and statistics that are NaN or infinite.
    """
    problems = []
    for path, module in model.named_modules():
        kind = type(module).__name__
        if any(nn.parameter.is_lazy(p) for p in (*module.parameters(False), *module.buffers(False))):
            problems.append(
                Problem(f"{kind} has no weights yet", path, fix="run the model once on real data before saving it")
            )
        norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        drops = "Dropout" in kind and not any(module.children())
        if module.training and (norm or drops or hasattr(module, "vbn")):
            what = f"{kind} acts otherwise in training mode"
            problems.append(Problem(what, path, fix="call model.eval() before"))
        surrogate = getattr(module, "surrogate_function", None)
        if getattr(surrogate, "spiking", True) is False:
            what = "its surrogate function does not spike (spiking=False)"
            problems.append(Problem(what, f"{path} ({kind})", fix="set spiking=True"))
    if problems:
        raise UnsupportedModel(problems)
    broken = []
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        bad = int((~torch.isfinite(tensor)).sum()) if tensor.is_floating_point() else 0
        if not bad and path.endswith("running_var") and bool((tensor < 0).any()):
            fix = "the file is damaged; restore an earlier checkpoint"
            broken.append(Problem("a variance is negative", path, f"{float(tensor.min()):g}", ">= 0", fix))
        if bad:
            fix = "the training diverged or the file is damaged; restore an earlier checkpoint"
            broken.append(Problem("weights are NaN or infinite", path, f"{bad} of {tensor.numel()}", "finite", fix))
    if broken:
        raise BadInput(broken)
