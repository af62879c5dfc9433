"""A time of day that passes when a test says so."""


class Clock:
    """Seconds since 1970 that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.001  # ids and moments follow each other
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
