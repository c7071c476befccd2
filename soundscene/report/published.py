"""What the literature reports for LITIS Rouen, in per cent, as printed in Tables 2 and 3 of the paper.

Source: Phan, Chén, Pham, Koch, De Vos, McLoughlin and Mertins, Spatio-Temporal Attention Pooling for Audio Scene
Classification, Interspeech 2019: means over the 20 splits that come with the data set.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One row of the paper's Table 3.

    Attributes:
        title: As printed.
        name: Our system or fusion that it corresponds to, "" for none.
        segment: Accuracy by 2 seconds, "" where nothing is printed.
        recording: Accuracy by 30 seconds.
        f1: Mean over scenes.
        precision: Mean over scenes.
    """

    title: str
    name: str = ""
    segment: str = ""
    recording: str = ""
    f1: str = ""
    precision: str = ""


PUBLISHED = (
    Published("Att-CRNN (fusion)", "att-crnn-fusion", "", "98.72", "98.57", "98.40"),
    Published("Att-CRNN (logMel)", "att-crnn-mel", "93.78", "98.53", "98.39", "98.20"),
    Published("Att-CRNN (logGam)", "att-crnn-gammatone", "93.65", "98.46", "98.28", "98.10"),
    Published("CNN baseline (fusion)", "cnn-fusion", "", "98.17", "97.92", "97.71"),
    Published("CNN baseline (logMel)", "cnn-mel", "92.33", "98.11", "97.82", "97.63"),
    Published("CNN baseline (logGam)", "cnn-gammatone", "92.13", "97.87", "97.59", "97.39"),
    Published("Temp. Transformer CNN", recording="98.06"),
    Published("Temp. Transformer LSTM", recording="97.86"),
    Published("LSTM-SA", recording="97.92"),
    Published("LTE-RNN", recording="97.8", f1="97.7", precision="97.5"),
    Published("Temp. Transformer DNN", recording="97.40"),
    Published("CQT+HOG", recording="97.0"),
    Published("LTE-CNN", recording="96.6", f1="96.5", precision="96.3"),
    Published("Scene-LTE + Speech-LTE", recording="96.4", f1="96.2", precision="95.9"),
    Published("1D+2D+3D CNNs", recording="96.4"),
    Published("FisherHOG+ProbSVM", recording="96.0"),
    Published("Kernel PCA", f1="95.6"),
    Published("Convolutive NMF", f1="94.5"),
    Published("Sparse NMF", f1="94.1"),
    Published("HOG+SPD", recording="93.4", f1="92.8", precision="93.3"),
    Published("MFCC+DNN", "mfcc-dnn", precision="92.2"),
    Published("HOG", "hog", precision="91.7"),
)
