"""Names of systems as members of a model."""

import pytest

from soundscene.errors import RecipeError
from soundscene.systems.catalogue import members, split_names
from tests.support.tiny import TINY


def test_members_are_systems_with_seeds_and_settings() -> None:
    found = members(split_names("att-crnn-mel, att-crnn-mel@3,cnn-gammatone:network.filters=[4, 4, 8]@1"), TINY)
    assert list(found) == ["att-crnn-mel", "att-crnn-mel@3", "cnn-gammatone+network.filters=[4, 4, 8]@1"]
    first, second, third = found.values()
    assert first == TINY
    assert second == TINY.with_settings(["training.seed=3"])
    settings = ["network.kind=cnn", "features.kind=gammatone", "network.filters=[4, 4, 8]", "training.seed=1"]
    assert third == TINY.with_settings(settings)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("att-crnn-mel,att-crnn-mel", "'att-crnn-mel' is given twice; give the second another seed, as in att-crnn-mel@1"),
        ("cnn-mel@1,cnn-mel@01", "'cnn-mel@01' is given twice; give the second another seed, as in cnn-mel@1"),
        ("cnn-mel@", "'cnn-mel@': expected a seed after @, a whole number, as in cnn-mel@1"),
        ("cnn-mel@-1", "'cnn-mel@-1': expected a seed after @, a whole number, as in cnn-mel@1"),
        ("cnn-mel@99999999999999999999", "recipe value training.seed"),
        ("cnn-mel,hog", "'hog' cannot be a member of a model; allowed are att-crnn-mel, att-crnn-gammatone, cnn-mel"),
        ("", "system '': allowed are att-crnn-mel"),
        ("cnn-mel,", "system '': allowed are att-crnn-mel"),
        (",".join(f"cnn-mel@{n}" for n in range(17)), "17 systems for one model: allowed are 1 to 16"),
        ("cnn-mel,att-crnn-mel:audio.segment_s=1", "cnn-mel and att-crnn-mel+audio.segment_s=1 differ in audio.segment_s"),
        ("cnn-mel,cnn-mel:calibration.held_out=0.3", "differ in calibration.held_out, which members of a model share"),
        ("cnn-mel,cnn-mel:training.segment_hop_s=1", "differ in training.segment_hop_s, which members of a model share"),
    ],
)
def test_what_cannot_be_members_is_refused_in_one_line(names: str, message: str) -> None:
    with pytest.raises(RecipeError) as refusal:
        members(split_names(names), TINY)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
