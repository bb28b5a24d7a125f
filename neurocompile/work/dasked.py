"""What a worker of Dask runs."""

from __future__ import annotations

from neurocompile.work.remote import Answer, Call, do

__all__ = ["do_there"]


def do_there(call: Call, digests: list[str], values: list[bytes]) -> tuple[Answer, str]:
    """Do a task; the answer, and which worker gave it.

    Args:
        call: the task.
        digests: of the values that it shares with others.
        values: these, packed.
    """
    name = _worker()
    return do(call, dict(zip(digests, values)).__getitem__, name), name


def _worker() -> str:
    import distributed

    try:
        return f"worker {distributed.get_worker().address}"
    except ValueError:  # it left meanwhile
        return "a worker"
