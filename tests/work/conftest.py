from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.work.clusters import ByHand, by_hand


@pytest.fixture(scope="session")
def local() -> Iterator[str]:
    """The address of a cluster that Dask started on this machine, with two workers."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as started:
        yield started.scheduler_address


@pytest.fixture(scope="session")
def cluster() -> Iterator[ByHand]:
    """A scheduler and two workers, started by hand."""
    with by_hand() as started:
        yield started


@pytest.fixture(scope="session")
def hand(cluster: ByHand) -> str:
    """Where that scheduler is."""
    return cluster.address
