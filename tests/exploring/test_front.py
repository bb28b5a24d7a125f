"""The front against its definition spelled out, and what is taken from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from neurocompile.reports.explore import Point, Wanted
from neurocompile.verbs.exploring.front import beats, chosen, front_of
from tests.exploring.points import SAMPLES, point

Figures = tuple[int, float | None, float | None, str, tuple[str, ...]]

costs = st.one_of(st.none(), st.integers(1, 4).map(float))
drawn = st.lists(
    st.tuples(
        st.integers(0, SAMPLES), costs, costs, st.sampled_from(["time", "cycles"]),
        st.sampled_from([(), ("mac",), ("mac", "spike")]),
    ),
    min_size=1, max_size=9,
)  # fmt: skip
wishes = st.builds(
    Wanted,
    st.one_of(st.none(), st.integers(1, 4).map(lambda n: n / 1e6)),
    st.one_of(st.none(), st.integers(0, SAMPLES).map(lambda n: n / SAMPLES)),
    st.one_of(st.none(), st.integers(1, 4).map(lambda n: n / 1e6)),
)


def points_of(drawn: list[Figures]) -> list[Point]:
    found = []
    for number, (right, energy, time, unit, missing) in enumerate(drawn):
        latency, cycles = (time, None) if unit == "time" else (None, time)
        found.append(point(f"p{number}", right, energy, latency, cycles, missing, target=f"chip{number % 2}"))
    return found


def slowly(one: Point, other: Point) -> bool:
    """The definition, in so many words."""
    worse_somewhere = better_somewhere = False
    if one.accuracy < other.accuracy:
        worse_somewhere = True
    if one.accuracy > other.accuracy:
        better_somewhere = True
    if (one.energy_pj is None) != (other.energy_pj is None):
        worse_somewhere = True  # for all that is known
    if one.energy_pj is not None and other.energy_pj is not None:
        if one.unpriced == other.unpriced:  # both leave out the same, or nothing
            worse_somewhere |= one.energy_pj > other.energy_pj
            better_somewhere |= one.energy_pj < other.energy_pj
        elif not one.unpriced and one.energy_pj <= other.energy_pj:
            better_somewhere = True  # the other takes more than its number says
        else:
            worse_somewhere = True
    for mine, its in ((one.latency_ns, other.latency_ns), (one.cycles, other.cycles)):
        if (mine is None) != (its is None):
            worse_somewhere = True
        elif mine is not None and its is not None:
            worse_somewhere |= mine > its
            better_somewhere |= mine < its
    return better_somewhere and not worse_somewhere


def figures_of(each: Point) -> tuple[object, ...]:
    missing = each.unpriced if each.energy_pj is not None else None
    return each.target, each.accuracy, each.energy_pj, missing, each.latency_ns, each.cycles


@given(drawn)
def test_the_front_is_what_nothing_beats(
    drawn: list[Figures],
) -> None:
    points = points_of(drawn)
    for one in points:
        for other in points:
            assert beats(one, other) == slowly(one, other)
    left = [each for each in points if not any(slowly(other, each) for other in points)]
    front = front_of(points)
    assert front == [each for each in left if each in front]  # in their order, and none that is beaten
    for gone in [each for each in left if each not in front]:  # only where a chip has an equal point before it
        alike = [each for each in front if figures_of(each) == figures_of(gone)]
        assert alike
        assert points.index(alike[0]) < points.index(gone)
    assert front


def keeps(each: Point, wanted: Wanted) -> bool:
    """Whether a point keeps to what is wanted, as far as it is priced."""
    most = (wanted.max_energy_uj or 0) * 1e6
    slowest = (wanted.max_latency_ms or 0) * 1e6
    return (
        (wanted.min_accuracy is None or each.accuracy >= wanted.min_accuracy)
        and (wanted.max_energy_uj is None or (each.energy_pj is not None and each.energy_pj <= most))
        and (wanted.max_latency_ms is None or (each.latency_ns is not None and each.latency_ns <= slowest))
    )


@given(drawn, wishes)
def test_what_is_taken_keeps_to_what_is_wanted(drawn: list[Figures], wanted: Wanted) -> None:
    points = points_of(drawn)
    choice, by_name = chosen(points, wanted), {each.name: each for each in points}
    fitting = [each for each in points if keeps(each, wanted)]
    if not fitting:
        assert choice.met is False
        assert choice.point is None
        assert choice.nearest[0].point in choice.sentence
        assert all(near.misses for near in choice.nearest)
        return
    assert choice.point is not None
    taken = by_name[choice.point]
    assert taken in front_of(points)
    assert keeps(taken, wanted)
    surely = [each for each in fitting if wanted.max_energy_uj is None or not each.unpriced]
    assert choice.met is (True if surely else None)
    assert choice.point in choice.sentence
    if wanted and wanted.min_accuracy is None:  # nothing that surely keeps to it is more accurate
        assert taken.accuracy == max(each.accuracy for each in (surely or fitting))
    for neighbour in choice.neighbours:
        other = by_name[neighbour.point]
        better = {
            "accuracy": other.accuracy > taken.accuracy,
            "energy": (other.energy_pj or 0) < (taken.energy_pj or 0),
            "latency": (other.latency_ns or 0) < (taken.latency_ns or 0),
        }
        assert better[neighbour.better]


def test_the_sentence() -> None:
    best = point("big", 8, 8e6, 2e6)
    small = point("small", 7, 2e6, 1e6)
    tiny = point("tiny", 2, 1e6, 0.9e6)
    choice = chosen([best, small, tiny], Wanted())
    assert choice.point == "small"  # one sample less is within chance, six are not
    choice = chosen([best, small, tiny], Wanted(max_energy_uj=3))
    assert choice.point == "small"
    assert choice.sentence.startswith(
        "Take small for at most 3 uJ: accuracy 87.50% (52.91% to 97.76%), energy 2 uJ, latency 1 ms."
    )
    assert (
        "For more accuracy: big is 12.50 points more accurate (within chance, p = 1), takes 8 uJ (4 times)"
        in choice.sentence
    )
    assert "For less energy: tiny is 62.50 points less accurate (within chance, p = 0.062)" in choice.sentence
    choice = chosen([best, small, tiny], Wanted(min_accuracy=0.8, max_latency_ms=0.5))
    assert choice.met is False
    assert [near.point for near in choice.nearest] == ["small", "tiny", "big"]
    assert choice.nearest[0].misses == {"latency": 2.0}


def test_a_lower_bound_does_not_show_that_a_bound_is_kept_to() -> None:
    sure = point("sure", 6, 2e6)
    least = point("least", 8, 1e6, unpriced=["mac"], target="other")
    choice = chosen([sure, least], Wanted(max_energy_uj=3))
    assert (choice.point, choice.met) == ("sure", True)
    choice = chosen([sure, least], Wanted(max_energy_uj=1.5))
    assert (choice.point, choice.met) == ("least", None)
    assert "no price for mac" in choice.sentence
