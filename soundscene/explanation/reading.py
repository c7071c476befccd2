"""The segments of a sound in batches, in constant memory: what both pictures are made from."""

from collections.abc import Generator, Iterator

from soundscene.bundle import BATCH, ModelBundle
from soundscene.signal.frontend import FrontEnd, join_segments
from soundscene.types import Samples, SegmentImages


def segments(bundle: ModelBundle, blocks: Iterator[Samples]) -> Generator[SegmentImages, None, None]:
    """Segments of a recording in batches of about `BATCH`, so that memory does not grow with its length.

    blocks: of mono samples at the recipe's rate, as `AudioFile.blocks` gives them; what they raise comes through.
    """
    stream = FrontEnd(bundle.recipe.audio, bundle.recipe.features).stream()
    waiting: list[SegmentImages] = []
    for block in blocks:
        waiting.append(stream.push(block))
        if sum(len(piece.start_s) for piece in waiting) >= BATCH:
            yield join_segments(waiting)
            waiting = []
    yield join_segments([*waiting, stream.flush()])
