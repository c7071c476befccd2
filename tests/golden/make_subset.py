"""Cut the part that the tests read out of the full set of reference arrays (16 MB): python make_subset.py FULL_SET."""

import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
BINS = 4  # noise estimates are kept at every 4th bin: the estimator couples all bins by its sums, so every bin shows in each
SIGNALS = ["white", "step10db", "scene", "scene2s", "white2s", "chirp2s", "impulse2s", "tone1k2s"]
GAMMATONE_SIGNALS = ["scene2s", "white2s", "chirp2s", "tone1k2s"]


def main(full: Path) -> None:
    for name in SIGNALS:
        shutil.copyfile(full / f"{name}.wav", HERE / f"{name}.wav")
    for name in ["A_white", "A_step10db", "A_scene", "B_white", "B_step10db", "B_scene", "C_scene"]:
        data = np.load(full / f"minstat_{name}.npz")
        kept = {key: data[key] for key in ("win", "hop", "tinc")} | {"x": data["x"][:, ::BINS]}
        if name in ("A_step10db", "B_scene"):  # the others start from the signal
            kept["yf"] = data["yf"]
        if name == "C_scene":
            kept["x"] = data["x"][::4, ::BINS]
        np.savez_compressed(HERE / f"minstat_{name}.npz", **kept)
    for name in ["minstat_edges", "minstat_constants"]:
        shutil.copyfile(full / f"{name}.npz", HERE / f"{name}.npz")

    data = np.load(full / "specsub_scene.npz")
    kept = {f"{n}_{key}": data[f"{n}_{key}"] for n in ("default_16ms", "mag_50ms") for key in ("gain", "yp", "dp")}
    kept["default_16ms_ss"] = data["default_16ms_ss"]
    kept["mag_50ms_ss_end"] = data["mag_50ms_ss"][-22050:]
    np.savez_compressed(HERE / "specsub_scene.npz", **kept)

    data = np.load(full / "gammatone.npz")
    kept = {key: data[key] for key in ("cf_hz", "fcoefs")} | {"mag_nfft2048": data["mag_nfft2048"][:, ::2]}
    kept |= {f"gtgram_td_{name}": data[f"gtgram_td_{name}"] for name in GAMMATONE_SIGNALS}
    np.savez_compressed(HERE / "gammatone.npz", **kept)

    data = np.load(full / "logmel.npz")
    kept = {key: data[key] for key in ("fb_librosa_n2048_slaney_slaney", "fb_librosa_n1102_slaney_slaney")}
    kept |= {key: data[key] for key in data.files if key.endswith(("n1102_nocenter_slaney_slaney", "nosnip_htk"))}
    kept["fb_librosa_n2048_htk_nonorm"] = data["fb_librosa_n2048_htk_nonorm"]
    np.savez_compressed(HERE / "logmel.npz", **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
