"""What engines cost: two workers beside one, a task that does nothing, and ten thousand of them.

``python -m benchmarks.cluster [--samples N] [--points N] [--json]`` (docs/cluster.md has the figures)
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from neurocompile.work import Engine, Here, Pool, Shared, Task, engine_of


@click.command()
@click.option("--samples", default=20_000, show_default=True, help="Digits, perturbed, that are simulated.")
@click.option("--points", default=10_000, show_default=True, help="Tasks that do next to nothing, on a Dask cluster.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(samples: int, points: int, seed: int, as_json: bool) -> None:
    """Measure, then calculate up to how many workers it pays."""
    with tempfile.TemporaryDirectory() as place, _dask() as address:
        program, data = _digits(Path(place), samples, seed)
        engines: dict[str, Callable[[int], Engine]] = {"pool": Pool, "dask": lambda workers: engine_of(address)}
        rows: dict[str, Any] = {"simulate": _speed_up(program, data)}
        for name, make in engines.items():
            rows[name] = _overhead(make(2), 1000)
        rows["points"] = _growth(engine_of(address), address, points)
    shard_s = rows["simulate"]["task_s"]
    for name in engines:
        # One client hands out tasks one after the other: more workers than tasks end in that time wait for it.
        rows[name]["pays_up_to_workers"] = int(shard_s / rows[name]["client_s_per_task"])
        rows[name]["pays_up_to_workers_at_100_ms"] = int(0.1 / rows[name]["client_s_per_task"])
    if as_json:
        print(json.dumps({"seed": seed, "samples": samples, "rows": rows}, indent=1))
        return
    for name, row in rows.items():
        print(name)
        for key, value in row.items():
            print(f"  {key:32} {value:,.4g}" if isinstance(value, float) else f"  {key:32} {value}")


def _digits(place: Path, samples: int, seed: int) -> tuple[Path, Path]:
    """The demo's network for Loihi, and its digits, repeated with noise, in a folder."""
    import neurocompile

    neurocompile.demo(write_data=place / "d.npz")
    neurocompile.demo(write_model=place / "m.pt")
    neurocompile.export(place / "m.pt", place / "program", "loihi", validate=False)
    draw = np.random.default_rng(seed)
    with np.load(place / "d.npz") as digits:
        chosen = draw.integers(0, len(digits["x"]), samples)
        x = digits["x"][chosen]
        np.save(place / "y.npy", digits["y"][chosen])
    np.save(place / "x.npy", (x + draw.normal(0, 0.1, x.shape)).clip(0, 1).astype(np.float32))
    (place / "data").mkdir()
    for name in ("x.npy", "y.npy"):
        (place / name).rename(place / "data" / name)
    return place / "program", place / "data"


def _speed_up(program: Path, data: Path) -> dict[str, Any]:
    """Timed simulations, shard by shard: in one process, by one worker, by two; alternating, the least of each."""
    from neurocompile.data import load_data
    from neurocompile.program import load_program
    from neurocompile.verbs.running import begun
    from neurocompile.verbs.sharded import run_sharded, shards_of

    read = load_program(program)
    samples = load_data(data, read.input_shapes, read.timesteps)
    seconds: dict[str, list[float]] = {}
    reports, shards = set(), 0
    for _ in range(3):
        for name, engine in (("here", Here()), ("one", Pool(1)), ("two", Pool(2))):
            list(engine.run([Task("builtins:dict", {"a": n}) for n in range(2)]))  # they have started
            run, _ = begun(read, samples)
            cut = shards_of(run)
            shards = len(cut)
            start = time.perf_counter()
            found = run_sharded(run, samples, engine, cut, False, 1, False, None, lambda done: None)
            seconds.setdefault(name, []).append(time.perf_counter() - start)
            engine.close()
            assert found.clock is not None
            reports.add(json.dumps(repr(found.clock.report())))
    assert len(reports) == 1, "engines do not agree"
    least = {name: min(each) for name, each in seconds.items()}
    return {
        "shards": shards, "here_s": least["here"], "one_worker_s": least["one"], "two_workers_s": least["two"],
        "speed_up": least["one"] / least["two"], "task_s": least["here"] / shards,
    }  # fmt: skip


def _overhead(engine: Engine, tasks: int) -> dict[str, Any]:
    """What a task costs that does nothing, with a program's size of shared values."""
    shared = Shared(np.zeros(1 << 17))
    work = [Task("benchmarks.cluster:nothing", {"number": n, "shared": shared}) for n in range(tasks)]
    list(engine.run(work[:20]))
    seconds = []
    for _ in range(3):
        start, mine = time.perf_counter(), time.process_time()
        assert sum(engine.run(work)) == tasks * (tasks - 1) // 2
        seconds.append((time.perf_counter() - start, time.process_time() - mine))
    engine.close()
    return {
        "s_per_task": min(wall for wall, _ in seconds) / tasks,
        "client_s_per_task": min(mine for _, mine in seconds) / tasks,
    }


def nothing(number: int, shared: Any) -> int:
    """A point that costs nothing."""
    return number


def _growth(engine: Engine, address: str, points: int) -> dict[str, Any]:
    """The memory of each worker, and of the scheduler, over many tasks."""
    from distributed import Client

    shared = Shared(np.zeros(1 << 17))
    work = [Task("benchmarks.cluster:nothing", {"number": n, "shared": shared}) for n in range(points)]
    watching = Client(address, set_as_default=False)
    taken = []
    start = time.perf_counter()
    for number, _ in enumerate(engine.run(work)):
        if number % (points // 10) == points // 10 - 1:
            workers = watching.run(_memory_mb)
            taken.append((statistics.mean(workers.values()), watching.run_on_scheduler(_memory_mb)))
    seconds = time.perf_counter() - start
    watching.close()
    engine.close()
    workers, scheduler = zip(*taken)
    return {
        "points": points, "seconds": seconds, "worker_mb": list(workers), "scheduler_mb": list(scheduler),
        "worker_mb_from_first_tenth_to_last": workers[-1] - workers[0],
    }  # fmt: skip


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6, 1)


@contextmanager
def _dask() -> Iterator[str]:
    """A cluster of two workers on this machine."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        yield cluster.scheduler_address


if __name__ == "__main__":
    main()
