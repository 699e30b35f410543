"""Medians of times that a made-up clock tells."""

from mobileinst_d2.benchmark import medians


def test_medians_are_of_the_calls_after_the_first():
    now, order = 0.0, []

    def lasting(name, *durations):
        left = iter(durations)

        def call():
            nonlocal now
            order.append(name)
            now += next(left)

        return call

    calls = {"a": lasting("a", 100.0, 3.0, 1.0, 2.0), "b": lasting("b", 7.0, 5.0, 5.0, 6.0)}
    assert medians.median_seconds(calls, 3, clock=lambda: now) == {"a": 2.0, "b": 5.0}
    assert order == ["a", "b"] * 4
