"""What the literature reports for LITIS Rouen, in per cent, as printed in Tables 2 and 3 of the paper, and who reports it.

Source: Phan, Chén, Pham, Koch, De Vos, McLoughlin and Mertins, Spatio-Temporal Attention Pooling for Audio Scene
Classification, Interspeech 2019: means over the 20 splits that come with the data set.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A work that a row of Table 3 is of, as the paper's list of references has it.

    Attributes:
        authors: Surnames, in their order.
        year: Of publication.
        title: Without a subtitle's capitals.
        venue: Conference or journal, in short.
    """

    authors: tuple[str, ...]
    year: int
    title: str
    venue: str

    @property
    def cited(self) -> str:
        """Return authors and year in words.

        >>> REFERENCES[9].cited
        'Yin, Shah and Zimmermann 2018'
        """
        *first, last = self.authors
        return f"{', '.join(first)}{' and ' if first else ''}{last} {self.year}"


@dataclass(frozen=True)
class Published:
    """One row of the paper's Table 3.

    Attributes:
        title: As printed.
        name: Our system or fusion that it corresponds to.
        segment: Accuracy by 2 seconds, "" where nothing is printed.
        recording: Accuracy by 30 seconds.
        f1: Mean over scenes.
        precision: Mean over scenes.
        kind: Of system, one of `KINDS`.
        page: Number of the decision page on what is known of another author's system and what we chose, "" for our own.
        head: Our classifier that the figures stand beside.
        reference: Number of the work in the paper's list, 0 for the paper's own systems.
    """

    title: str
    name: str
    segment: str = ""
    recording: str = ""
    f1: str = ""
    precision: str = ""
    kind: str = ""
    page: str = ""
    head: str = "svm"
    reference: int = 0


ATTENTION, CNN, NETWORK, IMAGE, FACTOR, TREE, BASELINE = (
    "attention networks",
    "CNN baseline",
    "other networks",
    "images of a recording",
    "matrix factorisations",
    "label trees",
    "baselines",
)
KINDS = (ATTENTION, CNN, NETWORK, TREE, IMAGE, FACTOR, BASELINE)
"""Kinds of system, in the order of Table 3 of a report."""

REFERENCES = {
    2: Reference(
        ("Phan", "Koch", "Katzberg", "Maass", "Mazur", "Mertins"),
        2017,
        "Audio scene classification with deep recurrent neural networks",
        "Interspeech",
    ),
    6: Reference(
        ("Phan", "Hertel", "Maass", "Koch", "Mazur", "Mertins"),
        2017,
        "Improved audio scene classification based on label-tree embeddings and convolutional neural networks",
        "TASLP 25(6)",
    ),
    9: Reference(
        ("Yin", "Shah", "Zimmermann"),
        2018,
        "Learning and fusing multimodal deep features for acoustic scene categorization",
        "ACM Multimedia",
    ),
    10: Reference(
        ("Zhang", "Zhang", "Wu"), 2018, "Temporal transformer networks for acoustic scene classification", "Interspeech"
    ),
    19: Reference(
        ("Rakotomamonjy", "Gasso"),
        2015,
        "Histogram of gradients of time-frequency representations for audio scene classification",
        "TASLP 23(1)",
    ),
    34: Reference(
        ("Zhang", "Zhang", "Wu"),
        2018,
        "Data independent sequence augmentation method for acoustic scene classification",
        "Interspeech",
    ),
    35: Reference(
        ("Ye", "Kobayashi", "Toyama", "Tsuda", "Murakawa"),
        2018,
        "Acoustic scene classification using efficient summary statistics and multiple spectro-temporal descriptor fusion",
        "Applied Sciences 8",
    ),
    36: Reference(
        ("Phan", "Hertel", "Maass", "Koch", "Mertins"),
        2016,
        "Label tree embeddings for acoustic scene classification",
        "ACM Multimedia",
    ),
    37: Reference(
        ("Ye", "Kobayashi", "Murakawa", "Higuchi"),
        2015,
        "Acoustic scene classification based on sound textures and events",
        "ACM Multimedia",
    ),
    38: Reference(
        ("Bisot", "Serizel", "Essid", "Richard"),
        2016,
        "Acoustic scene classification with matrix factorization for unsupervised feature learning",
        "ICASSP",
    ),
    39: Reference(
        ("Bisot", "Essid", "Richard"),
        2015,
        "HOG and subband power distribution image features for acoustic scene classification",
        "EUSIPCO",
    ),
    40: Reference(("Petetin", "Laroche", "Mayoue"), 2015, "Deep neural networks for audio scene recognition", "EUSIPCO"),
}
"""Works of other authors in Table 3, by their number in the paper's list of references."""

PUBLISHED = (
    Published("Att-CRNN (fusion)", "att-crnn-fusion", "", "98.72", "98.57", "98.40", ATTENTION),
    Published("Att-CRNN (logMel)", "att-crnn-mel", "93.78", "98.53", "98.39", "98.20", ATTENTION),
    Published("Att-CRNN (logGam)", "att-crnn-gammatone", "93.65", "98.46", "98.28", "98.10", ATTENTION),
    Published("CNN baseline (fusion)", "cnn-fusion", "", "98.17", "97.92", "97.71", CNN),
    Published("CNN baseline (logMel)", "cnn-mel", "92.33", "98.11", "97.82", "97.63", CNN),
    Published("CNN baseline (logGam)", "cnn-gammatone", "92.13", "97.87", "97.59", "97.39", CNN),
    Published("Temp. Transformer CNN", "tt-cnn", recording="98.06", kind=NETWORK, page="0115", head="softmax", reference=10),
    Published(
        "Temp. Transformer LSTM", "tt-lstm", recording="97.86", kind=NETWORK, page="0115", head="softmax", reference=10
    ),
    Published("LSTM-SA", "lstm-sa", recording="97.92", kind=NETWORK, page="0115", head="softmax", reference=34),
    Published("LTE-RNN", "lte-rnn", recording="97.8", f1="97.7", precision="97.5", kind=TREE, page="0116", reference=2),
    Published("Temp. Transformer DNN", "tt-dnn", recording="97.40", kind=NETWORK, page="0115", head="softmax", reference=10),
    Published("CQT+HOG", "cqt-hog", recording="97.0", kind=IMAGE, page="0110", reference=35),
    Published("LTE-CNN", "lte-cnn", recording="96.6", f1="96.5", precision="96.3", kind=TREE, page="0116", reference=6),
    Published(
        "Scene-LTE + Speech-LTE",
        "scene-speech-lte",
        recording="96.4",
        f1="96.2",
        precision="95.9",
        kind=TREE,
        page="0117",
        reference=36,
    ),
    Published("1D+2D+3D CNNs", "cnn-1d-2d-3d", recording="96.4", kind=NETWORK, page="0118", head="softmax", reference=9),
    Published("FisherHOG+ProbSVM", "fisher-hog", recording="96.0", kind=IMAGE, page="0112", reference=37),
    Published("Kernel PCA", "kernel-pca", f1="95.6", kind=FACTOR, page="0111", head="softmax", reference=38),
    Published("Convolutive NMF", "conv-nmf", f1="94.5", kind=FACTOR, page="0111", head="softmax", reference=38),
    Published("Sparse NMF", "sparse-nmf", f1="94.1", kind=FACTOR, page="0111", head="softmax", reference=38),
    Published("HOG+SPD", "hog-spd", recording="93.4", f1="92.8", precision="93.3", kind=IMAGE, page="0110", reference=39),
    Published("MFCC+DNN", "mfcc-dnn", precision="92.2", kind=NETWORK, page="0054", head="softmax", reference=40),
    Published("HOG", "hog", precision="91.7", kind=IMAGE, page="0054", reference=19),
)

BASELINES = ("nearest-mean", "band-statistics")
"""Our own plain systems that measure how hard a corpus is, which have no published row."""

PAGES = {
    "0054": "docs/decisions/0054-hog-and-mfcc-dnn.md",
    "0110": "docs/decisions/0110-images-of-a-recording.md",
    "0111": "docs/decisions/0111-factorisations.md",
    "0112": "docs/decisions/0112-fisher-hog.md",
    "0115": "docs/decisions/0115-temporal-transformer-and-lstm-sa.md",
    "0116": "docs/decisions/0116-label-trees.md",
    "0117": "docs/decisions/0117-scene-and-speech-trees.md",
    "0118": "docs/decisions/0118-three-cnns.md",
    "0119": "docs/decisions/0119-baselines.md",
}
"""Path of each page in the source of soundscene, which has no public address."""

EARLIER = tuple(row.name for row in PUBLISHED if row.page)
"""Systems of other authors, which our Att-CRNN and CNN are compared with."""


def kind_of(system: str) -> str:
    """Return the kind of a system, of the system that it is a variant of, or of a fusion; "" for others.

    >>> kind_of("kernel-pca+kernel=linear"), kind_of("nearest-mean"), kind_of("yamnet")
    ('matrix factorisations', 'baselines', '')
    """
    if system.partition("+")[0] in BASELINES:
        return BASELINE
    row = row_of(system)
    return row.kind if row else ""


def page_of(system: str) -> str:
    """Return the number of the page on what is known and what was chosen of a system or its variant, "" for none.

    >>> page_of("tt-cnn+reduction=mean"), PAGES[page_of("nearest-mean")]
    ('0115', 'docs/decisions/0119-baselines.md')
    """
    if system.partition("+")[0] in BASELINES:
        return "0119"
    row = row_of(system)
    return row.page if row else ""


def row_of(system: str) -> Published | None:
    """Return the published row of a system or of the system that it is a variant of, None for others.

    >>> row_of("hog-spd+blocks=spd").title
    'HOG+SPD'
    """
    return next((row for row in PUBLISHED if row.name == system.partition("+")[0]), None)


def works_of(systems: Iterable[str]) -> str:
    """Return the works that systems or variants are named after, with their numbers in the paper, "" for none.

    >>> works_of(["tt-cnn", "hog", "tt-dnn", "cnn-mel"])
    '[10] Zhang, Zhang and Wu 2018; [19] Rakotomamonjy and Gasso 2015'
    """
    rows = [row for row in map(row_of, systems) if row and row.reference]
    return "; ".join(f"[{number}] {REFERENCES[number].cited}" for number in sorted({row.reference for row in rows}))
