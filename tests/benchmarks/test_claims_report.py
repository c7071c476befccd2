"""What the report says of time."""

from types import SimpleNamespace

from benchmarks.claims_report import _hours


def test_a_resumed_training_counts_all_its_epochs():
    """Its `seconds` are those of the last process."""
    whole = SimpleNamespace(facts={"seconds": 5400.0, "epoch_seconds": 5000.0})
    resumed = SimpleNamespace(facts={"seconds": 600.0, "epoch_seconds": 3600.0})
    assert _hours([whole, resumed]) == "2 trainings, at least 2.5 hours"  # pyright: ignore[reportArgumentType]
